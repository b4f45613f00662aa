"""Train a model on token shards: from scratch, or continued from another model. Writes a series of checkpoints.

python pretrain/train.py --config configs/tiny.yaml --check        # settings and inputs, without torch
torchrun --nproc-per-node 2 pretrain/train.py --config configs/tiny.yaml

The same command resumes after an interruption, bit for bit on the same number of ranks.
Exit status of --check: 0 there is something to do, 3 finished (no need to start torchrun), 2 bad input.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pretrain.checkpoints import check_files, newest_resumable, save
from pretrain.schedule import learning_rate, window_numbers
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import step_name
from snakmodel.records import begin, file_hash, read_jsonl, write_jsonl
from snakmodel.series import resolve_model

if TYPE_CHECKING:
    import numpy as np

    from snakmodel.shards import ShardReader, TokenStream


@dataclass
class Settings:
    tokenizer: str = knob(help="tokenizer folder or Hub id; its special tokens go into the exported models")
    init_from: str | None = knob(None, "run folder (its last export), model folder or Hub id; none: from scratch")
    architecture: dict[str, Any] | None = knob(None, "transformers config of a model from scratch, with model_type")
    new_embeddings: Literal["parts", "mean", "random"] = knob("parts", "of tokens that the parent lacks")
    frozen: list[str] = knob([], "parameters that are not trained, by name")
    sequence_length: int = knob(4096, "tokens", low=2)
    global_batch: int = knob(512, "sequences per optimiser step, over all ranks", low=1)
    micro_batch: int = knob(1, "sequences per rank at a time", low=1, execution=True)
    steps: int = knob(12_500, "optimiser steps", low=1)
    learning_rate: float = knob(1.5e-5, "peak", above=0)
    minimum_learning_rate: float = knob(5e-8, "at the last step", low=0)
    warmup_steps: int = knob(1_250, "optimiser steps of linear warm-up", low=0)
    gradient_clip: float = knob(1.0, "global norm", above=0)
    weight_decay: float = knob(0.1, "AdamW, matrices only", low=0)
    beta1: float = knob(0.9, "AdamW", low=0, high=1)
    beta2: float = knob(0.95, "AdamW", low=0, high=1)
    epsilon: float = knob(1e-8, "AdamW", above=0)
    precision: Literal["float32", "bfloat16"] = knob("float32", "of the computation; master weights are float32")
    activation_checkpointing: bool = knob(False, "recompute activations to save memory", execution=True)
    seed: int = knob(8446, "order of the data, initial weights", low=0)
    save_every: int = knob(500, "optimiser steps between checkpoints; the last step is saved too", low=1)
    keep_resumable: int = knob(2, "newest checkpoints that keep their optimiser state", low=1, execution=True)
    validate_every: int = knob(100, "optimiser steps; 0: never", low=0)
    validation_windows: int = knob(64, "sequences of held-out text, over all ranks", low=1)
    log_every: int = knob(10, "optimiser steps between printed lines", low=1, execution=True)
    verify_shards: bool = knob(True, "compare the shards' checksums first (about a second a GB)", execution=True)


def main() -> None:
    command = read_command(Settings, "pretrain", __doc__)
    s, folder, shards = command.settings, command.run.folder("pretrain"), command.run.folder("make_shards")
    if (s.init_from is None) == (s.architecture is None):
        raise BadInput(f"{command.config}: pretrain needs exactly one of init_from and architecture")
    parent = resolve_model(s.init_from) if s.init_from else None
    rank = int(os.environ.get("RANK", 0))
    work = begin(command, folder, {"shards": shards, **({"parent": parent} if parent else {})}, writes=rank == 0)
    if work is None and (folder / "run.json").is_file() and not command.overwrite:
        raise SystemExit(3 if command.check else 0)
    if work is None:
        ranks = int(os.environ.get("WORLD_SIZE", 1))  # runs/pretrain.sh says how many there will be
        read_inputs(s, shards, folder, ranks, s.verify_shards)
        return

    import torch  # late: a finished or faulty run says so at once
    import torch.distributed as dist

    from pretrain.engine_fsdp import FsdpEngine, start_ranks
    from pretrain.models import build_model

    rank, ranks, device = start_ranks()
    train, validation, done = read_inputs(s, shards, folder, ranks, s.verify_shards and rank == 0)
    local_batch, probe = s.global_batch // ranks, probe_tokens(validation)
    model = build_model(s, parent)  # type: ignore[arg-type]
    if rank == 0:
        model.config.save_pretrained(folder / "config")
    engine = FsdpEngine(model, device, s)
    if done:
        engine.load(folder / step_name(done))
    say(rank, f"{engine.describe()}; {len(train):,} windows of text; from step {done} of {s.steps}")
    log = [row for row in read_jsonl(folder / "log.jsonl") if row["step"] <= done] if done else []
    held_out = held_out_windows(validation, s, rank, ranks)
    if not done and parent is None:
        save(engine, folder, 0, 0, probe, keep=None)

    for step in range(done + 1, s.steps + 1):
        clock = time.perf_counter()
        rate = learning_rate(step, s.steps, s.warmup_steps, s.learning_rate, s.minimum_learning_rate)
        numbers = window_numbers(step, s.global_batch, len(train), s.seed)[rank * local_batch :][:local_batch]
        batch_BT = torch.from_numpy(train.cut(numbers))
        torch.manual_seed(s.seed + 1_000_003 * step + rank)  # whatever is random in a step repeats on resuming
        loss, norm = engine.step(batch_BT, s.micro_batch, rate)
        row: dict[str, Any] = {
            "step": step,
            "loss": engine.average(loss),
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "tokens": step * s.global_batch * s.sequence_length,
            "seconds": time.perf_counter() - clock,
        }
        if not math.isfinite(row["loss"]):
            raise BadInput(
                f"step {step}: the loss is {row['loss']}; lower learning_rate {s.learning_rate:g} or look at the data"
            )
        row["tokens_per_second"] = s.global_batch * s.sequence_length / row["seconds"]
        if held_out is not None and s.validate_every and (step % s.validate_every == 0 or step == s.steps):
            row["validation_loss"] = engine.validation_loss(torch.from_numpy(held_out), s.micro_batch)
        log.append(row)
        if step % s.log_every == 0 or step == s.steps:
            say(rank, log_line(row, s.steps))
        if step % s.save_every == 0 or step == s.steps:
            if rank == 0:
                write_jsonl(folder / "log.jsonl", log)
            save(engine, folder, step, row["tokens"], probe, s.keep_resumable)

    dist.barrier()
    if rank == 0:
        work.finish(steps=s.steps, tokens=log[-1]["tokens"], ranks=ranks, device=device.type, loss=log[-1]["loss"])
    dist.destroy_process_group()


def read_inputs(
    s: Settings, shards: Path, folder: Path, ranks: int, verify: bool
) -> tuple["TokenStream", "TokenStream", int]:
    """Training and validation text, and the step to resume from (0: none); refuses what training would fail on."""
    from snakmodel.shards import TokenStream, open_shards  # late: a finished run says so at once

    check_batch(s.global_batch, s.micro_batch, ranks)
    train, validation = (
        TokenStream(open_shards(shards, name, verify), s.sequence_length) for name in ("train", "validation")
    )
    if not len(train):
        most = max((len(shard.tokens) for shard in train.shards), default=0)
        raise BadInput(f"{shards}: the largest source has {most:,} tokens, no sequence of {s.sequence_length} and one")
    probe_tokens(validation)
    for shard in train.shards:
        check_tokenizer(shard, s.tokenizer)
    if done := newest_resumable(folder):
        check_files(folder / step_name(done))
    return train, validation, done


def check_batch(global_batch: int, micro_batch: int, ranks: int) -> None:
    """Refuses a global batch that the ranks cannot share; it never depends on their number."""
    if global_batch % (micro_batch * ranks):
        fitting = [m for m in range(micro_batch, 0, -1) if global_batch % (m * ranks) == 0]
        cure = f"try micro_batch={fitting[0]}" if fitting else f"no micro_batch fits {ranks} ranks: change one of them"
        raise BadInput(
            f"global_batch {global_batch} is no multiple of micro_batch {micro_batch} x {ranks} ranks; {cure}"
        )


def check_tokenizer(shard: "ShardReader", tokenizer: str) -> None:
    """Refuses a local tokenizer other than the one that made the shards."""
    path, made_by = Path(tokenizer) / "tokenizer.json", shard.facts.get("tokenizer_sha256")
    if path.is_file() and made_by and file_hash(path) != made_by:
        raise BadInput(
            f"pretrain.tokenizer {tokenizer} is not the one that made {shard.prefix}; set it to make_shards'"
        )


def probe_tokens(validation: "TokenStream") -> "np.ndarray":
    """Two pieces of held-out text, [2, up to 64], whose logits go with every checkpoint for the export to match."""
    tokens = max((shard.tokens for shard in validation.shards), key=len)
    length = min(64, len(tokens) // 2)
    if length < 1:
        raise BadInput("the held-out text has too few tokens to check exports by; raise make_shards.validation_share")
    return tokens[: 2 * length].reshape(2, length).astype("int64")


def held_out_windows(validation: "TokenStream", s: Settings, rank: int, ranks: int) -> "np.ndarray | None":
    """This rank's windows of held-out text, spread over all of it; None where there are fewer windows than ranks."""
    count = min(s.validation_windows, len(validation)) // ranks
    numbers = [place * len(validation) // (count * ranks) for place in range(rank * count, (rank + 1) * count)]
    return validation.cut(numbers) if count else None


def log_line(row: dict[str, Any], steps: int) -> str:
    """One step as a line."""
    validation = f" | validation {row['validation_loss']:.3f}" if "validation_loss" in row else ""
    return (
        f"step {row['step']:5d}/{steps} | loss {row['loss']:.3f} | lr {row['learning_rate']:.2e} | "
        f"grad {row['gradient_norm']:.2f} | {row['tokens_per_second']:,.0f} tok/s{validation}"
    )


def say(rank: int, text: str) -> None:
    """Prints on the first rank."""
    if rank == 0:
        print(text, flush=True)


if __name__ == "__main__":
    run_script(main)
