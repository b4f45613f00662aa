"""What stages that tune a model ask of their recipe and of their ranks."""

import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, Command
from snakmodel.paths import PRETRAINED, STAGES
from snakmodel.records import begin, only_one
from snakmodel.signals import STOPPED

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # as torchrun sets them


def check_name(name: str, where: str, example: str) -> None:
    """Refuses a variant whose folder could not be told from the others in instruct/."""
    taken = [PRETRAINED, *(Path(stage.folder).name for stage in STAGES if stage.folder.startswith("instruct/"))]
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name) or name in taken:
        raise BadInput(f"{where}: {name!r} cannot be a folder's name for a variant; try {example}")


def tune_once(
    command: Command[Any], folder: Path, inputs: dict[str, str | Path], tune: Callable[[], dict[str, Any]]
) -> None:
    """Does the work of a step, all ranks together, unless it is done; `tune` returns the facts for its record."""
    cure = f"or give another {command.section}.variant than {folder.parent.name}"
    if RANK:
        if from_first_rank(None):
            tune()
        return
    if command.check:
        begin(command, folder, inputs, cure=cure)
        from_first_rank(False)
        return
    with only_one(folder):
        work = begin(command, folder, inputs, cure=cure)
        if from_first_rank(work is not None):
            facts = tune()
            assert work
            work.finish(**facts)
            shutil.rmtree(folder / "trainer", ignore_errors=True)


def check_batch(global_batch: int, micro_batch: int, where: str) -> None:
    """Refuses a global batch that the ranks cannot share."""
    if global_batch % (micro_batch * RANKS):
        multiple = -(-global_batch // (micro_batch * RANKS)) * micro_batch * RANKS
        raise BadInput(
            f"{where}.global_batch {global_batch} is not a multiple of micro_batch {micro_batch} x {RANKS} ranks; "
            f"try {multiple}"
        )


def check_length(model: Any, sequence_length: int, where: str) -> None:
    """Refuses rows that are longer than the model can tell positions apart."""
    positions = getattr(model.config, "max_position_embeddings", None) or sequence_length
    if sequence_length > positions:
        raise BadInput(f"{where}.sequence_length {sequence_length:,} is more than the model's {positions:,} positions")


def from_first_rank(value: Any) -> Any:
    """The first rank's value, on every rank."""
    if RANKS == 1:
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())  # the ranks meet
    return broadcast_object_list([value])[0]


def one_device() -> None:
    """Hides all GPUs but the first from a process that is alone: with several, the Trainer would multiply the batch."""
    if RANKS == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def device() -> Any:
    """Where this rank trains."""
    import torch

    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def trainer_options(s: Any, folder: Path, steps: int) -> dict[str, Any]:
    """What a section of the recipe means to transformers' Trainer, and to TRL's: its state lies in folder/trainer."""
    import torch

    return {
        "output_dir": str(folder / "trainer"),
        "max_steps": steps,
        "per_device_train_batch_size": s.micro_batch,
        "gradient_accumulation_steps": s.global_batch // (s.micro_batch * RANKS),
        "train_sampling_strategy": "sequential",
        "learning_rate": s.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if s.schedule == "constant" else "cosine",
        "warmup_steps": s.warmup_steps,
        "max_grad_norm": s.gradient_clip,
        "bf16": s.precision == "bfloat16",
        "ddp_find_unused_parameters": False,
        "seed": s.seed,
        "save_steps": s.save_every,
        "save_total_limit": 1,
        "logging_steps": s.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def run_trainer(trainer: Any, s: Any, folder: Path, label: str) -> None:
    """Trains, from the newest whole state where there is one; says what the callbacks say, and nothing else.

    Ends the process with status STOPPED where a signal has asked for it.
    """
    from transformers import PrinterCallback

    from finetune.steps import EachStep
    from snakmodel.models import last_state

    trainer.remove_callback(PrinterCallback)
    steps = EachStep(s.seed)
    trainer.add_callback(steps)
    assert (trainer.args.world_size, trainer.args.train_batch_size) == (RANKS, s.micro_batch)
    state = from_first_rank(last_state(folder / "trainer") if RANK == 0 else None)
    if state and RANK == 0:
        print(f"{label}: goes on from {Path(state).name.replace('checkpoint-', 'step ')}", flush=True)
    with steps.signals():
        trainer.train(resume_from_checkpoint=state)
    if steps.stopped:
        if RANK == 0:
            print(f"{label}: stopped by {steps.stopped} after step {trainer.state.global_step}, which is saved")
        sys.exit(STOPPED)


def check_loss(loss: float, label: str, step: int) -> None:
    """Stops a tuning that has come to nothing."""
    if not math.isfinite(loss):
        raise BadInput(f"{label}: the loss is {loss} at step {step}; lower learning_rate, then --overwrite")
