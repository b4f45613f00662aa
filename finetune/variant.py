"""What stages that tune a model ask of their recipe and of their ranks."""

import os
import re
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput
from snakmodel.paths import PRETRAINED, STAGES

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # as torchrun sets them


def check_name(name: str, where: str, example: str) -> None:
    """Refuses a variant whose folder could not be told from the others in instruct/."""
    taken = [PRETRAINED, *(Path(stage.folder).name for stage in STAGES if stage.folder.startswith("instruct/"))]
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name) or name in taken:
        raise BadInput(f"{where}: {name!r} cannot be a folder's name for a variant; try {example}")


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
