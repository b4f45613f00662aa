"""What the loop knows of an engine, be it FSDP2 (engine_fsdp.py) or DeepSpeed (engine_deepspeed.py)."""

from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import torch

from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.recipe import Settings


class Engine(Protocol):
    """A model over all ranks, with its optimiser. Every rank makes every call."""

    settings: Settings

    def describe(self) -> str:
        """What was really built, to print at the start."""

    def step(self, batch: Batch, rate: float, guard: Guard) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One optimiser step: loss, gradient norm before clipping, and 1 where the guard had it skipped."""

    def summed_loss(self, batches: Iterable[Batch]) -> torch.Tensor:
        """The sum of the loss over all ranks' batches, nats."""

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the live model, float32 on the CPU, shape [batch, length, vocabulary]."""

    def checkpoint_bytes(self) -> int:
        """Bytes that all ranks together write for one checkpoint."""

    def save(self, folder: Path, with_optimizer: bool) -> list[Future[Any]]:
        """Writes folder/model and folder/optimizer; what to wait for, if anything."""

    def load(self, folder: Path) -> None:
        """Loads what save() wrote."""
