"""What the loop asks of an engine, whichever it is."""

from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from pretrain.guard import Guard
from pretrain.loader import Batch
from pretrain.recipe import Settings


class Engine(Protocol):
    """A model spread over the ranks, with its optimiser. Every rank must make every call but describe()."""

    settings: Settings

    def describe(self) -> str:
        """What was really built: ranks, what is sharded, types."""

    def step(self, batch: Batch, rate: float, guard: Guard) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One optimiser step on this rank's part of the global batch.

        Returns the loss (nats per token, mean over all ranks), the global gradient norm before clipping, and 1 where
        the guard had the step skipped.
        """

    def summed_loss(self, batches: Iterable[Batch]) -> torch.Tensor:
        """The sum of the loss over all ranks' batches, nats. Every rank must bring as many."""

    def logits(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the live model, float32 on the CPU, shape [batch, length, vocabulary]."""

    def checkpoint_bytes(self) -> int:
        """Bytes that all ranks together write for one checkpoint."""

    def save(self, folder: Path, with_optimizer: bool) -> list["Future[Any]"]:
        """Writes folder/model (torch's distributed format, the Hugging Face model's names) and folder/optimizer.

        Returns what to wait for, if anything; everything is copied by then, so training may go on.
        """

    def load(self, folder: Path) -> None:
        """Loads what save() wrote, whatever number of ranks wrote it."""


def make_engine(model: PreTrainedModel, device: torch.device, s: Settings) -> Engine:
    """The engine that the recipe names, around a model whose weights the first rank has."""
    if s.engine == "deepspeed":
        from pretrain.engine_deepspeed import DeepSpeedEngine  # late: it takes seconds

        return DeepSpeedEngine(model, device, s)
    from pretrain.engine_fsdp import FsdpEngine

    return FsdpEngine(model, device, s)
