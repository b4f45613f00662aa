"""Signals that ask a training to save and stop: Slurm's warning, a scheduler's SIGTERM, a user's Ctrl-C."""

import signal
from types import FrameType
from typing import Any

STOPPED = 75  # exit status after a signal: saved, to be started again (sysexits' "temporary failure")
ASKING = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT


class Listener:
    """Remembers the signal that this process got."""

    def __init__(self) -> None:
        self.heard: str | None = None

    def listen(self) -> dict[int, Any]:
        """Handles the signals from now on; returns who did before."""
        return {number: signal.signal(number, self.note) for number in ASKING}

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Remembers a signal; the second one ends the process at once."""
        self.heard = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)
