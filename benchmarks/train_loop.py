"""Our training loop beside Hugging Face's Trainer: same model, batch, tokens and optimiser, one process, in one run.

python benchmarks/train_loop.py
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.utils import logging

from snakmodel.records import read_jsonl
from snakmodel.shards import ShardWriter

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = yaml.safe_load((ROOT / "configs/tiny-base.yaml").read_text())["pretrain"]["architecture"]


@dataclass
class Settings:
    vocabulary: int = 2_048  # token types
    sequence_length: int = 128  # tokens
    global_batch: int = 32  # sequences a step
    micro_batch: int = 16  # sequences at a time
    steps: int = 30  # timed optimiser steps of each run
    skipped: int = 5  # first steps, not timed
    repeats: int = 5  # alternating runs of both; the median counts


def main() -> None:
    s = Settings()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = save_tokenizer(folder / "tokenizer", s.vocabulary)
        tokens = np.random.default_rng(0).integers(3, s.vocabulary, s.global_batch * s.sequence_length * 40)
        pairs = [(ours(folder / str(i), tokens, tokenizer, s), trainers(folder, tokens, s)) for i in range(s.repeats)]
    our, their = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"ours {our:,.0f} tokens/s, Trainer {their:,.0f} tokens/s, ratio {our / their:.2f} (torch {torch.__version__})"
    )


def save_tokenizer(folder: Path, vocabulary: int) -> Path:
    """A tokenizer of the right size; nothing is tokenised with it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, vocabulary)}}
    model = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


def ours(folder: Path, tokens: np.ndarray, tokenizer: Path, s: Settings) -> float:
    """Tokens per second of pretrain/train.py, by the median step."""
    for name in ("train", "validation"):
        with ShardWriter(folder / "shards" / name, s.vocabulary) as shard:
            shard.write(tokens.tolist())
            shard.finish()
    (folder / "shards/run.json").write_text("{}")
    section = {
        "tokenizer": str(tokenizer),
        "architecture": ARCHITECTURE,
        "sequence_length": s.sequence_length,
        "global_batch": s.global_batch,
        "micro_batch": s.micro_batch,
        "steps": s.skipped + s.steps,
        "warmup_steps": 1,
        "validate_every": 0,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"run_dir": str(folder), "pretrain": section}))
    command = [sys.executable, "pretrain/train.py", "--config", str(folder / "recipe.yaml")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    log = read_jsonl(folder / "checkpoints/log.jsonl")[s.skipped :]
    return statistics.median(row["tokens_per_second"] for row in log)


def trainers(folder: Path, tokens: np.ndarray, s: Settings) -> float:
    """Tokens per second of the Trainer: a long run less a short one, so that starting up does not count."""
    length = s.sequence_length
    rows = [tokens[i * length : (i + 1) * length].tolist() for i in range(len(tokens) // length)]
    examples = [{"input_ids": row, "labels": row} for row in rows]
    seconds = []
    for steps in (s.skipped, s.skipped + s.steps):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURE, vocab_size=s.vocabulary))
        arguments = TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=s.micro_batch,
            gradient_accumulation_steps=s.global_batch // s.micro_batch,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = Trainer(model, arguments, train_dataset=examples)
        clock = time.perf_counter()
        trainer.train()
        seconds.append(time.perf_counter() - clock)
    return s.steps * s.global_batch * length / (seconds[1] - seconds[0])


if __name__ == "__main__":
    main()
