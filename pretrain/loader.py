"""The batches of a rank, cut from the shards a few steps ahead by a thread of their own."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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

    def pieces(self, sequences: int, device: torch.device) -> Iterator["Batch"]:
        """Micro-batches on the device."""
        for start in range(0, len(self.inputs_BT), sequences):
            parts = (x if x is None else x[start : start + sequences].to(device, non_blocking=True) for x in self)
            yield Batch(*parts)


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
    return Batch(*(x.pin_memory() if x is not None and torch.cuda.is_available() else x for x in batch))


def batches(first: int, last: int, s: Settings, pools: list[Pool], rank: int, ranks: int) -> Iterator[Batch]:
    """The batches of steps first ... last."""
    with ThreadPoolExecutor(1, "loader") as thread:
        waiting: list[Future[Batch]] = []
        for step in range(first, last + 1 + AHEAD):
            if step <= last:
                waiting.append(thread.submit(cut_batch, step, s, pools, rank, ranks))
            if step >= first + AHEAD:
                yield waiting.pop(0).result()
