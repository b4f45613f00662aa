"""Tuning's tokens per CPU second beside TRL's SFTTrainer with the same settings, and what packing gains.

python benchmarks/tuning.py [REPEATS]        needs trl

ours: finetune/train.py as a user runs it. trl: SFTTrainer, its own fused output layer. Both: the miniature's model,
adapters on the seven matrices of a layer (TRL refuses one on lm_head), the same tokens and masks. Each in a process of
its own, in turn; counted are tokens of conversations, not what fills rows up, per second of CPU time, which other work
on the machine disturbs least; of a run's blocks of two steps, without the first, and of the repeats the medians count.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.made_run import TINY
from benchmarks.made_tuning import make_tuning
from finetune.adapters import ALL
from snakmodel.records import read_jsonl

ROOT = Path(__file__).resolve().parent.parent
LENGTH, BATCH, MICRO, BLOCK, CONVERSATIONS = 256, 16, 8, 2, 700
RANK, ALPHA, DROPOUT, RATE = 8, 16, 0.05, 1e-3
TARGETS = [name for name in ALL if name != "lm_head"]
# how conversations share a row -> TRL's name for it
PACKINGS = {"none": None, "plain": "wrapped", "isolated": "bfd"}


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(run_trl(Path(sys.argv[1]), sys.argv[2])))
        return
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    speeds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        how = {"rank": RANK, "alpha": ALPHA, "dropout": DROPOUT, "learning_rate": RATE, "targets": TARGETS}
        batch = {"sequence_length": LENGTH, "global_batch": BATCH, "micro_batch": MICRO, "log_every": BLOCK}
        make_tuning(home, TINY, [0], CONVERSATIONS, epochs=1, gradient_clip=1.0, weight_decay=0.0, **how, **batch)
        for number in range(repeats):
            for packing in PACKINGS:
                speeds.setdefault(("ours", packing), []).append(run_ours(home, packing, f"{packing}-{number}"))
                command = [sys.executable, __file__, str(home), packing]
                said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
                speeds.setdefault(("trl", packing), []).append(json.loads(said.splitlines()[-1]))
                print(
                    number, packing, *(f"{who} {speeds[who, packing][-1]:,.0f}" for who in ("ours", "trl")), flush=True
                )
    middle = {key: statistics.median(values) for key, values in speeds.items()}
    for packing in PACKINGS:
        ours, trl = middle["ours", packing], middle["trl", packing]
        gain = ours / middle["ours", "none"]
        said = f"ours {ours:,.0f} tokens per CPU second, trl {trl:,.0f}, ratio {ours / trl:.2f}"
        print(f"{packing}: {said}; ours / unpacked {gain:.2f}")


def run_ours(home: Path, packing: str, variant: str) -> float:
    """Tokens per CPU second of a tuning, by when the lines of its log come."""
    command = [sys.executable, "finetune/train.py", "--config", str(home / "recipe.yaml")]
    command += [f"variant={variant}", f"packing={packing}"]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    clocks = [sum(process.cpu_times()[:2]) for line in process.stdout if " | loss " in line]
    assert process.wait() == 0
    tokens = [row["tokens"] for row in read_jsonl(home / f"instruct/adapters/{variant}/step-00000/log.jsonl")]
    return median_speed(list(zip(clocks, tokens, strict=True)))


def median_speed(marks: list[tuple[float, int]]) -> float:
    """Tokens per second between marks (second, tokens so far), without the start and the end of a training."""
    inner = zip(marks[1:-2], marks[2:-1], strict=True)
    return statistics.median((after - before) / (end - begin) for (begin, before), (end, after) in inner)


def run_trl(home: Path, packing: str) -> float:
    """Tokens per CPU second of TRL's trainer on the same examples."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from finetune.examples import open_examples
    from snakmodel.models import load_model, load_tokenizer
    from snakmodel.prompts import IGNORED, set_format

    location = home / "models/step-00000"
    tokenizer = load_tokenizer(location)
    set_format(tokenizer, "chat")
    tokenizer.pad_token = tokenizer.eos_token
    examples, _ = open_examples(
        home / "trl-tokens", home / "instruct/data/train.parquet", tokenizer, "answer", LENGTH, 1, True
    )
    pairs = [examples.get(number) for number in range(len(examples))]
    rows = [{"input_ids": i.tolist(), "completion_mask": [int(y != IGNORED) for y in labels]} for i, labels in pairs]
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=TARGETS, task_type="CAUSAL_LM")
    how: dict[str, Any] = {"packing": True, "packing_strategy": PACKINGS[packing]} if PACKINGS[packing] else {}
    arguments = SFTConfig(
        output_dir=str(home / "trl"), max_length=LENGTH, completion_only_loss=True, num_train_epochs=1,
        per_device_train_batch_size=MICRO, gradient_accumulation_steps=BATCH // MICRO, learning_rate=RATE,
        lr_scheduler_type="constant", weight_decay=0.0, bf16=False, gradient_checkpointing=False, use_cpu=True,
        save_strategy="no", logging_steps=BLOCK, report_to=[], disable_tqdm=True, dataloader_pin_memory=False, **how,
    )  # fmt: skip
    seen, blocks = [0], []

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            blocks.append((time.process_time(), seen[0]))

    model = load_model(location, dtype=torch.float32)
    trainer = SFTTrainer(
        model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora,
        callbacks=[Clock()],
    )  # fmt: skip
    inner = trainer.data_collator

    def counting(features: Any) -> Any:
        batch = inner(features)
        seen[0] += int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
        return batch

    trainer.data_collator = counting
    trainer.train()
    return median_speed(blocks)


if __name__ == "__main__":
    main()
