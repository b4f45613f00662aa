"""What every step of a tuning needs beside it: its own randomness, and an ear for signals."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from snakmodel.signals import Listener


class EachStep(TrainerCallback):
    """Seeds a step by its number, so that it repeats on resuming; saves and ends the training where a signal asks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.listener = Listener()
        self.stopped: str | None = None  # why all ranks have ended the training before its last step

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Listens while a training runs."""
        before = self.listener.listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        torch.manual_seed(self.seed + 1_000_003 * (state.global_step + 1) + args.process_index)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        stop = self.listener.heard is not None
        if args.world_size > 1:  # a process alone waits for no device
            votes = torch.tensor(int(stop), device=args.device)
            dist.all_reduce(votes, dist.ReduceOp.MAX)
            stop = bool(votes)
        if stop and state.global_step < state.max_steps:
            self.stopped = self.listener.heard or "another rank"
            control.should_log = control.should_save = control.should_training_stop = True
