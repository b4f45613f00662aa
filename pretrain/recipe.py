"""The recipe of pre-training: every setting of section `pretrain`, and what must hold among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snakmodel.config import BadInput, knob
from snakmodel.records import missing


@dataclass
class Replay:
    """Text that the model has seen before, mixed in so that it is not forgotten."""

    shards: str = knob(help="shards folder of another run, made with the same tokenizer")
    share: float = knob(help="share of the training tokens", above=0, high=1)


@dataclass
class Settings:
    # the model
    tokenizer: str = knob(help="tokenizer folder or Hub id; its special tokens go into the exported models")
    init_from: str | None = knob(None, "run folder (its last export), model folder or Hub id")
    branch_from: str | None = knob(
        None, "RUN_FOLDER@STEP: continue that exported step, with its optimiser's state if it is kept; steps count anew"
    )
    architecture: dict[str, Any] | None = knob(None, "transformers config of a model from scratch, with model_type")
    config: dict[str, Any] = knob({}, "changes to the parent's transformers config, such as output_router_logits")
    new_embeddings: Literal["parts", "mean", "random"] = knob(
        "parts", "of tokens that the parent lacks: mean of the old tokens that spell it, mean of all, or random"
    )
    frozen: list[str] = knob(
        [], "parameters that are not trained, by name: model.layers.* or model.embed_tokens.weight"
    )

    # the text
    sequence_length: int = knob(4096, "tokens", low=2)
    global_batch: int = knob(512, "sequences per optimiser step, over all ranks", low=1)
    micro_batch: int = knob(1, "sequences per rank at a time", low=1, execution=True)
    steps: int | None = knob(None, "optimiser steps; or give `tokens`", low=1)
    tokens: int | None = knob(None, "budget, from which the steps follow, rounded down", low=1)
    shares: dict[str, float] = knob(
        {}, "share of the training tokens of a source, by name; the other sources divide the rest by size"
    )
    replay: Replay | None = knob(None, "text of the parent's language, so that it is not forgotten")
    max_epochs: float | None = knob(None, "most times that any text may be seen; null: no limit", above=0)
    isolate_documents: bool = knob(False, "tokens attend to their own document only (the paper: to the whole window)")
    seed: int = knob(8446, "order of the data, initial weights", low=0)

    # the schedule and the optimiser
    schedule: Literal["cosine", "wsd", "constant"] = knob("cosine", "after the warm-up; wsd: constant, then an anneal")
    learning_rate: float = knob(1.5e-5, "peak", above=0)
    minimum_learning_rate: float = knob(5e-8, "at the last step", low=0)
    warmup_steps: int = knob(1_250, "optimiser steps of linear (re-)warm-up", low=0)
    anneal_steps: int = knob(0, "wsd: optimiser steps of the fall at the end", low=0)
    gradient_clip: float = knob(1.0, "global norm", above=0)
    weight_decay: float = knob(0.1, "AdamW, matrices only", low=0)
    beta1: float = knob(0.9, "AdamW", low=0, high=1)
    beta2: float = knob(0.95, "AdamW", low=0, high=1)
    epsilon: float = knob(1e-8, "AdamW", above=0)
    spike_deviations: float | None = knob(
        None, "skip a step whose loss or gradient is this many deviations above the last 128; null: none", above=0
    )
    max_skipped: int = knob(10, "skipped steps in a row (NaN, infinity, spikes) before training stops", low=1)

    # the computation
    engine: Literal["fsdp", "deepspeed"] = knob("fsdp", "torch's FSDP2, or DeepSpeed's ZeRO")
    deepspeed: str | None = knob(None, "DeepSpeed's JSON, as configs/deepspeed/zero3.json; needed by its engine")
    shard_ranks: int | None = knob(
        None, "hybrid sharding: ranks that hold one copy of the model, a node's say; null: all", low=1, execution=True
    )
    shard_from: int = knob(
        1_000_000, "parameters of a layer that FSDP2 shards by itself; smaller ones go together, in one message",
        low=0, execution=True,
    )  # fmt: skip
    precision: Literal["float32", "bfloat16"] = knob("float32", "of the computation; master weights are float32")
    activation_checkpointing: Literal["none", "selective", "full"] = knob(
        "none", "recompute in the backward pass: nothing, all but matrix products and attention, or whole layers",
        execution=True,
    )  # fmt: skip
    compile: bool = knob(False, "torch.compile of every layer", execution=True)
    cross_entropy: Literal["chunked", "whole", "liger"] = knob(
        "chunked", "logits of `loss_chunk` tokens at a time; the model's own loss; or Liger's kernel (GPU)",
        execution=True,
    )  # fmt: skip
    loss_chunk: int = knob(4_096, "tokens whose logits are in memory at once", low=1, execution=True)

    # checkpoints
    save_every: int = knob(500, "optimiser steps between checkpoints; the last step is saved too", low=1)
    keep_resumable: int = knob(2, "newest checkpoints that keep their optimiser state", low=1, execution=True)
    asynchronous_saving: bool = knob(True, "write checkpoints while training goes on", execution=True)

    # watching
    validate_every: int = knob(100, "optimiser steps; 0: never", low=0, execution=True)
    validation: dict[str, str] = knob(
        {}, "held-out Parquet documents by language; none: this run's own, as `held-out`", execution=True
    )
    validation_documents: int = knob(64, "of each language, spread over the file", low=1, execution=True)
    log_every: int = knob(10, "optimiser steps between printed lines", low=1, execution=True)
    profile_step: int = knob(
        0, "write torch.profiler's trace of three steps from this one (2 or later); 0: never", low=0, execution=True
    )
    peak_tflops: float | None = knob(
        None, "of one device, dense, for MFU; null: as configs/machines.yaml says of its name", above=0, execution=True
    )
    tensorboard: bool = knob(False, "write checkpoints/tensorboard too", execution=True)
    wandb: str | None = knob(None, "project of Weights & Biases to log to; its key from WANDB_API_KEY", execution=True)
    hang_minutes: float = knob(30, "without a finished step before the job ends itself", above=0, execution=True)
    verify: bool = knob(
        True, "compare checksums of shards and of the checkpoint to resume from (a second a GB)", execution=True
    )


def check(s: Settings, where: object) -> None:
    """Refuses settings that contradict each other. `where`: the recipe's name, for the message."""
    starts = [name for name in ("init_from", "branch_from", "architecture") if getattr(s, name) is not None]
    if len(starts) != 1:
        raise BadInput(
            f"{where}: pretrain needs exactly one of init_from, branch_from and architecture, "
            f"got {' and '.join(starts) or 'none'}"
        )
    if s.config and s.architecture is not None:
        raise BadInput(f"{where}: pretrain.config changes a parent's; without one, say it in pretrain.architecture")
    if (s.steps is None) == (s.tokens is None):
        raise BadInput(f"{where}: pretrain needs exactly one of steps and tokens")
    if s.tokens is not None and s.tokens < s.global_batch * s.sequence_length:
        raise BadInput(
            f"{where}: pretrain.tokens {s.tokens:,} are less than one step's, "
            f"global_batch {s.global_batch} x sequence_length {s.sequence_length}"
        )
    if (s.schedule == "wsd") != (s.anneal_steps > 0):
        raise BadInput(
            f"{where}: pretrain.anneal_steps {s.anneal_steps} with schedule {s.schedule}; "
            "wsd needs some, the others take none"
        )
    steps = total_steps(s)
    if s.profile_step and not 2 <= s.profile_step <= steps - 2:
        raise BadInput(f"{where}: pretrain.profile_step {s.profile_step} should be from 2 to {steps - 2}")
    if s.warmup_steps + s.anneal_steps > steps:
        raise BadInput(
            f"{where}: pretrain.warmup_steps {s.warmup_steps} and anneal_steps {s.anneal_steps} "
            f"are more than all {steps} steps"
        )
    if s.minimum_learning_rate > s.learning_rate:
        raise BadInput(
            f"{where}: pretrain.minimum_learning_rate {s.minimum_learning_rate:g} "
            f"is above learning_rate {s.learning_rate:g}"
        )
    given = sum(s.shares.values()) + (s.replay.share if s.replay else 0)
    if any(share <= 0 for share in s.shares.values()) or given > 1 + 1e-9:
        raise BadInput(
            f"{where}: pretrain.shares and replay.share should be above 0 and sum to 1 at most, got {given:g}"
        )
    if (s.engine == "deepspeed") != (s.deepspeed is not None):
        raise BadInput(
            f"{where}: pretrain.deepspeed names the JSON of engine: deepspeed, and of no other; "
            f"got engine {s.engine}, deepspeed {s.deepspeed}"
        )


def check_batch(global_batch: int, micro_batch: int, ranks: int) -> None:
    """Refuses a global batch that the ranks cannot share; it never depends on their number."""
    if global_batch % (micro_batch * ranks):
        fitting = [m for m in range(micro_batch, 0, -1) if global_batch % (m * ranks) == 0]
        cure = f"try micro_batch={fitting[0]}" if fitting else f"no micro_batch fits {ranks} ranks: change one of them"
        raise BadInput(
            f"global_batch {global_batch} is no multiple of micro_batch {micro_batch} x {ranks} ranks; {cure}"
        )


def total_steps(s: Settings) -> int:
    """Optimiser steps of the run: as given, or as the token budget allows."""
    if s.steps is not None:
        return s.steps
    assert s.tokens is not None
    return s.tokens // (s.global_batch * s.sequence_length)


def validation_files(s: Settings, shards: Path) -> dict[str, Path]:
    """The held-out documents of each language; refuses what is not there."""
    files = {name: Path(path) for name, path in s.validation.items()} or {"held-out": shards / "validation.parquet"}
    for name, path in files.items():
        if not path.is_file():
            raise BadInput(f"pretrain.validation.{name}: {missing(path)}")
    return files
