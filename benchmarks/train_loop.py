"""Our training loop beside Hugging Face's Trainer: same model, batch and tokens, in one run. First: make demo

python benchmarks/train_loop.py
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from pretrain.models import build_model
from pretrain.recipe import Settings
from pretrain.schedule import window_numbers
from snakmodel.config import BadInput, read_recipe, run_script
from snakmodel.records import read_jsonl
from snakmodel.shards import TokenStream, open_shards

ROOT = Path(__file__).resolve().parent.parent
RECIPE, BASE = ROOT / "configs/tiny-base.yaml", ROOT / "out/tiny-base"
SETTINGS = read_recipe(RECIPE)[0]["pretrain"]
LENGTH, BATCH, MICRO_BATCH = (SETTINGS[key] for key in ("sequence_length", "global_batch", "micro_batch"))
SKIPPED, STEPS, REPEATS = 5, 30, 5  # optimiser steps not timed, timed; alternating runs of both, whose medians count
SEED = 8446  # of the order of the data and the initial weights: the default of pretrain/train.py


def main() -> None:
    if not (BASE / "shards/run.json").is_file():
        raise BadInput(f"{BASE}/shards/run.json not found: `make demo` makes the shards and the tokenizer of this run")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(ours(Path(folder, str(number))), trainers(folder)) for number in range(REPEATS)]
    our, their = (statistics.median(column) for column in zip(*pairs, strict=True))
    speeds = f"ours {our:,.0f} tokens/s, Trainer {their:,.0f} tokens/s, ratio {our / their:.2f}"
    print(f"{speeds} (torch {torch.__version__})")


def ours(run_dir: Path) -> float:
    """Tokens per second of pretrain/train.py, by the median step."""
    run_dir.mkdir()
    for part in ("shards", "tokenizer"):
        (run_dir / part).symlink_to(BASE / part)
    changed = [f"run_dir={run_dir}", f"steps={SKIPPED + STEPS}", "validate_every=0", f"seed={SEED}"]
    command = [sys.executable, "pretrain/train.py", "--config", str(RECIPE), *changed]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return statistics.median(r["tokens_per_second"] for r in read_jsonl(run_dir / "checkpoints/log.jsonl")[SKIPPED:])


def trainers(folder: str) -> float:
    """Tokens per second of the Trainer: a long run less a short one, so that starting up does not count."""
    stream = TokenStream(open_shards(BASE / "shards", "train"), LENGTH)
    numbers = [
        number for step in range(SKIPPED + STEPS) for number in window_numbers(step + 1, BATCH, len(stream), SEED)
    ]
    examples = [{"input_ids": row, "labels": row} for row in stream.cut(numbers)[:, :-1]]
    options = {"save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True}
    options |= {"per_device_train_batch_size": MICRO_BATCH, "gradient_accumulation_steps": BATCH // MICRO_BATCH}
    seconds = []
    for steps in (SKIPPED, SKIPPED + STEPS):
        s = Settings(str(BASE / "tokenizer"), architecture=SETTINGS["architecture"], seed=SEED)
        model = build_model(s, None)
        arguments = TrainingArguments(folder, max_steps=steps, use_cpu=not torch.cuda.is_available(), **options)
        trained = Trainer(model, arguments, train_dataset=examples).train()
        seconds.append(trained.metrics["train_runtime"])
    return STEPS * BATCH * LENGTH / (seconds[1] - seconds[0])


if __name__ == "__main__":
    run_script(main)
