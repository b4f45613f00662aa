"""Our training loop beside Hugging Face's Trainer: same model, batch and tokens, one process, in one run.

python benchmarks/train_loop.py
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments
from transformers.utils import logging

from snakmodel.records import read_jsonl
from snakmodel.shards import ShardWriter

ROOT = Path(__file__).resolve().parent.parent
RECIPE = yaml.safe_load((ROOT / "configs/tiny-base.yaml").read_text())["pretrain"]
VOCABULARY, LENGTH, BATCH, MICRO_BATCH = (
    2_048,
    128,
    32,
    16,
)  # token types, tokens, sequences a step, sequences at a time
SKIPPED, STEPS, REPEATS = 5, 30, 5  # optimiser steps not timed, timed; alternating runs of both, whose medians count


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokens = np.random.default_rng(0).integers(3, VOCABULARY, BATCH * LENGTH * (SKIPPED + STEPS + 1))
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(ours(Path(folder, str(i)), tokens), trainers(Path(folder), tokens)) for i in range(REPEATS)]
    our, their = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"ours {our:,.0f} tokens/s, Trainer {their:,.0f} tokens/s, ratio {our / their:.2f} (torch {torch.__version__})"
    )


def ours(folder: Path, tokens: np.ndarray) -> float:
    """Tokens per second of pretrain/train.py, by the median step."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    for name in ("train", "validation"):
        with ShardWriter(folder / "shards" / name, VOCABULARY) as shard:
            shard.write(tokens.tolist())
            shard.finish()
    (folder / "shards/run.json").write_text("{}")
    sizes = {"sequence_length": LENGTH, "global_batch": BATCH, "micro_batch": MICRO_BATCH, "steps": SKIPPED + STEPS}
    section = {**RECIPE, **sizes, "tokenizer": str(folder), "validate_every": 0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"run_dir": str(folder), "pretrain": section}))
    command = [sys.executable, "pretrain/train.py", "--config", str(folder / "recipe.yaml")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return statistics.median(r["tokens_per_second"] for r in read_jsonl(folder / "checkpoints/log.jsonl")[SKIPPED:])


def trainers(folder: Path, tokens: np.ndarray) -> float:
    """Tokens per second of the Trainer: a long run less a short one, so that starting up does not count."""
    rows = [row.tolist() for row in tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)]
    seconds = []
    for steps in (SKIPPED, SKIPPED + STEPS):
        config = AutoConfig.for_model(**RECIPE["architecture"], vocab_size=VOCABULARY)
        arguments = TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=BATCH // MICRO_BATCH,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        examples = [{"input_ids": row, "labels": row} for row in rows]
        trainer = Trainer(AutoModelForCausalLM.from_config(config), arguments, train_dataset=examples)
        clock = time.perf_counter()
        trainer.train()
        seconds.append(time.perf_counter() - clock)
    return STEPS * BATCH * LENGTH / (seconds[1] - seconds[0])


if __name__ == "__main__":
    main()
