"""Tune chosen steps of the series on the instructions, by LoRA. Writes one adapter a step.

python finetune/train.py --config configs/tiny.yaml [finetune.steps=0,200] [finetune.rank=64 finetune.variant=all-r64]

LoRA: Hu et al. 2021. An interrupted step resumes from its last saved state.
"""

import json
import os
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin
from snakmodel.series import Checkpoint, choose, read_series

ALL_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]  # SnakModel's


@dataclass
class Settings:
    variant: str = knob(help="name of this set of tuning settings, and of the tuned series")
    steps: str = knob("all", "of the pre-trained series: all, first, last, 0,500,1000:12000:1000", execution=True)
    targets: list[str] = knob(["all"], "names of the matrices that get an adapter, or all (SnakModel's eight)")
    rank: int = knob(128, "of the adapters", low=1)
    alpha: float = knob(16, "scale of the adapters: alpha / rank", above=0)
    dropout: float = knob(0.05, "on the adapters' input", low=0, high=1)
    learning_rate: float = knob(2e-4, "constant, as in the paper", above=0)
    gradient_clip: float = knob(0.3, "global norm", above=0)
    weight_decay: float = knob(0.001, "AdamW", low=0)
    epochs: float = knob(1.0, "passes over the instructions", above=0)
    micro_batch: int = knob(1, "examples at a time", low=1)
    accumulation: int = knob(64, "micro-batches per optimiser step", low=1)
    sequence_length: int = knob(4096, "tokens; longer examples are dropped and counted", low=8)
    loss_on: Literal["answer", "all"] = knob("answer", "tokens that carry the loss; the paper trained on all")
    precision: Literal["float32", "bfloat16"] = knob("float32", "of the frozen base and the computation")
    seed: int = knob(42, "adapter weights, dropout, order of the examples", low=0)
    save_every: int = knob(500, "optimiser steps between resumable states", low=1, execution=True)
    log_every: int = knob(10, "optimiser steps between printed lines", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "finetune", __doc__)
    s, run = command.settings, command.run
    if Path(s.variant).name != s.variant or s.variant in (PRETRAINED, "data", "adapters"):
        raise BadInput(
            f"{command.config}: finetune.variant {s.variant!r} cannot be a folder's name; try all-r{s.rank}-chat"
        )
    data = run.folder("instructions")
    series = read_series(run.series(PRETRAINED))
    for checkpoint in choose(series, s.steps, f"{command.config}: finetune.steps"):
        folder = run.folder("finetune") / s.variant / step_name(checkpoint.step)
        work = begin(command, folder, {"model": checkpoint.source, "instructions": data})
        if work is None:
            continue
        work.finish(**tune(checkpoint, data / "train.parquet", folder, command))
        shutil.rmtree(folder / "trainer", ignore_errors=True)


def tune(checkpoint: Checkpoint, data: Path, folder: Path, command: Command[Settings]) -> dict[str, Any]:
    """Trains the adapter of one step and writes it to `folder`. Returns the facts for its record."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with several, the Trainer would multiply the batch
    import torch  # late: a finished stage says so at once
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from snakmodel.models import last_state, load_model, load_tokenizer
    from snakmodel.prompts import set_format

    warnings.filterwarnings("ignore", module="peft")  # saves no embeddings, whatever it says
    s = command.settings
    tokenizer = load_tokenizer(checkpoint.location)
    set_format(tokenizer, "chat")
    examples, dropped = tokenise(data, tokenizer, s)
    show_example(examples[0], tokenizer, step_name(checkpoint.step))

    torch.manual_seed(s.seed)
    base = load_model(checkpoint.location, dtype=getattr(torch, s.precision))
    targets = ALL_TARGETS if s.targets == ["all"] else s.targets
    try:
        lora = LoraConfig(r=s.rank, lora_alpha=s.alpha, lora_dropout=s.dropout, target_modules=targets)  # type: ignore[arg-type]
        model = get_peft_model(base, lora)
    except ValueError as error:
        raise BadInput(f"{command.config}: finetune.targets {targets}: {str(error).splitlines()[0]}") from None
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        learning_rate=s.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=s.gradient_clip,
        weight_decay=s.weight_decay,
        num_train_epochs=s.epochs,
        per_device_train_batch_size=s.micro_batch,
        gradient_accumulation_steps=s.accumulation,
        bf16=s.precision == "bfloat16",
        seed=s.seed,
        save_steps=s.save_every,
        save_total_limit=1,
        logging_steps=s.log_every,
        logging_first_step=True,
        disable_tqdm=True,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked in attention and loss; saved nowhere
    trainer = Trainer(model, arguments, collator, train_dataset=Dataset.from_list(examples))
    trainer.train(resume_from_checkpoint=last_state(folder / "trainer"))
    model.save_pretrained(str(folder), save_embedding_layers=False)  # an adapter on lm_head is no reason to copy it
    last = [row for row in trainer.state.log_history if "loss" in row][-1]  # whatever was done before an interruption
    print(f"finetune {step_name(checkpoint.step)}: loss {last['loss']:.3f} at step {last['step']}", flush=True)
    return {"examples": len(examples), "dropped": dropped, "loss": last["loss"], "step": checkpoint.step}


def tokenise(data: Path, tokenizer: Any, s: Settings) -> tuple[list[dict[str, list[int]]], dict[str, int]]:
    """Instructions as input_ids and labels, with the counts of those dropped by reason."""
    from snakmodel.documents import read_documents
    from snakmodel.prompts import NotLearnable, training_ids

    examples: list[dict[str, list[int]]] = []
    dropped = Counter[str]()
    for row in read_documents(data):
        turns = json.loads(row["turns"])
        try:
            whole, labels = training_ids(tokenizer, turns)
        except NotLearnable as reason:
            dropped[str(reason)] += 1
            continue
        if len(whole) > s.sequence_length:
            dropped["longer than sequence_length"] += 1
            continue
        labels = labels if s.loss_on == "answer" else whole
        examples.append({"input_ids": whole, "attention_mask": [1] * len(whole), "labels": labels})
    if not examples:
        raise BadInput(f"{data}: no instruction fits sequence_length {s.sequence_length}")
    return examples, dropped


def show_example(example: dict[str, list[int]], tokenizer: Any, name: str) -> None:
    """Prints one example with what carries the loss between marks, so that a wrong mask is seen at once."""
    learnt = [i for i, label in zip(example["input_ids"], example["labels"], strict=True) if label != -100]
    given = example["input_ids"][: len(example["input_ids"]) - len(learnt)]
    print(f"finetune {name}: {tokenizer.decode(given)} >>>{tokenizer.decode(learnt)}<<<", flush=True)


if __name__ == "__main__":
    run_script(main)
