"""What every step of a tuning needs beside it: its own randomness, and an ear for signals."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback


class EachStep(TrainerCallback):
    """Seeds a step by its number, so that it repeats on resuming; saves and ends the training where a signal asks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.signal: str | None = None  # that this rank has got
        self.stopped: str | None = None  # why all ranks have ended the training before its last step

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Listens while a training runs: to Slurm's warning, to a user's Ctrl-C."""
        numbers = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
        before = {number: signal.signal(number, self.note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Remembers a signal; the second one ends the process at once."""
        self.signal = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        torch.manual_seed(self.seed + 1_000_003 * (state.global_step + 1) + args.process_index)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        stop = torch.tensor(int(self.signal is not None), device=args.device)
        if args.world_size > 1:
            dist.all_reduce(stop, dist.ReduceOp.MAX)
        if stop and state.global_step < state.max_steps:
            self.stopped = self.signal or "another rank"
            control.should_log = control.should_save = control.should_training_stop = True
