"""The batches of a rank, cut from the shards a few steps ahead by a thread of their own."""

import operator
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from pretrain.mixture import Pool, step_windows
from pretrain.recipe import Settings

AHEAD = 2  # steps that are ready before they are needed


class Batch(NamedTuple):
    """A rank's part of a global batch. Shapes [sequences, length], int64."""

    inputs_BT: torch.Tensor
    targets_BT: torch.Tensor  # the next token of every position
    positions_BT: torch.Tensor | None  # within the token's own document; None: attention is not cut

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The same change to all of it."""
        positions_BT = None if self.positions_BT is None else change(self.positions_BT)
        return Batch(change(self.inputs_BT), change(self.targets_BT), positions_BT)

    def pieces(self, sequences: int, device: torch.device) -> Iterator["Batch"]:
        """Micro-batches on the device."""
        for start in range(0, len(self.inputs_BT), sequences):
            piece = slice(start, start + sequences)
            yield self.each(operator.itemgetter(piece)).each(partial(torch.Tensor.to, device=device, non_blocking=True))


def cut_batch(step: int, s: Settings, pools: list[Pool], rank: int, ranks: int) -> Batch:
    """This rank's sequences of a step: the same global batch however many ranks there are."""
    local = s.global_batch // ranks
    drawn = step_windows(step, s.global_batch, pools, s.seed)[rank * local : (rank + 1) * local]
    tokens_BT = torch.from_numpy(np.concatenate([pools[pool].stream.cut([window]) for pool, window in drawn]))
    positions_BT = None
    if s.isolate_documents:
        rows = [pools[pool].stream.positions(window) for pool, window in drawn]
        positions_BT = torch.from_numpy(np.stack(rows))
    batch = Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), positions_BT)
    # pinned memory is copied to a GPU while it computes
    return batch.each(torch.Tensor.pin_memory) if torch.cuda.is_available() else batch


def batches(first: int, last: int, s: Settings, pools: list[Pool], rank: int, ranks: int) -> Iterator[Batch]:
    """The batches of steps first ... last."""
    with ThreadPoolExecutor(1, "loader") as thread:
        waiting: list[Future[Batch]] = []
        for step in range(first, last + 1 + AHEAD):
            if step <= last:
                waiting.append(thread.submit(cut_batch, step, s, pools, rank, ranks))
            if step >= first + AHEAD:
                yield waiting.pop(0).result()
