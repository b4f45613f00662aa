"""The processes of a training run: how they meet, how a signal stops them all, and how a hung one is noticed."""

import atexit
import ctypes
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from snakmodel.signals import Listener

HUNG = 70  # exit status of a job that hangs, or has lost a process
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # what mallopt sets, by malloc.h


class Ranks:
    """The process group. Started by plain python it is a group of one; else RANK, WORLD_SIZE, LOCAL_RANK,
    MASTER_ADDR and MASTER_PORT say where to meet, as torchrun and runs/pretrain.sh set them."""

    def __init__(self, hang_minutes: float) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        else:
            keep_freed_memory()
        # a group of one needs no address
        store = dist.HashStore() if self.count == 1 else next(dist.rendezvous("env://", self.rank, self.count))[0]
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
            store=dist.PrefixStore("training", store),
            rank=self.rank,
            world_size=self.count,
            timeout=timedelta(minutes=2 * hang_minutes + 1),  # after the first step, the watchdog speaks first
        )
        assert (dist.get_rank(), dist.get_world_size()) == (self.rank, self.count)
        self.listener = Listener()
        self.listener.listen()
        self.watchdog = Watchdog(dist.PrefixStore("beats", store), self.rank, self.count, 60 * hang_minutes)

    def any(self, value: bool) -> bool:
        """Whether it is true on any rank. Every rank must ask. It is the host that asks: no device is waited for."""
        if self.count == 1:
            return value
        votes = torch.tensor(int(value))
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes)

    def share(self, value: Any) -> Any:
        """The first rank's value, for all."""
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def say(self, text: str) -> None:
        """Prints on the first rank."""
        if self.rank == 0:
            print(text, flush=True)


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next tensor.

    Memory that goes back to the kernel comes again page by page: that took 2 to 8 % of a CPU's step.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # macOS has another allocator
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def one_line_for_a_lost_peer() -> Iterator[None]:
    """Ends the process with one line where torch says that another one is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not any(word in str(error) for word in ("gloo", "NCCL", "Connection closed", "Connection reset", "store")):
            raise
        rank = os.environ.get("RANK", "0")
        print(f"error: rank {rank} has lost another one ({reason[:200]}); the same command resumes", file=sys.stderr)
        os._exit(HUNG)  # no clean end: other threads wait for the lost one too


class Watchdog:
    """Ends the process with a message when no step has finished for too long: a peer is dead or stuck."""

    def __init__(self, store: Any, rank: int, count: int, seconds: float) -> None:
        self.store, self.rank, self.count, self.seconds = store, rank, count, seconds
        self.step, self.clock = 0, math.inf  # until the first step, which may take long, the group's own timeout counts
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Ends the watch; a thread that Python stops within torch's store would end the process with SIGABRT."""
        self.over.set()
        self.thread.join(timeout=10)

    def beat(self, step: int | None = None) -> None:
        """Says that this rank has come to the end of `step`, or is at work on something that takes long."""
        self.step, self.clock = self.step if step is None else step, time.monotonic()

    def watch(self) -> None:
        """Publishes this rank's step and looks at the clock, until the process ends."""
        while not self.over.wait(min(5.0, self.seconds / 4)):
            if time.monotonic() - self.clock > self.seconds:
                self.end()
            with suppress(Exception):  # the first rank, which keeps the store, may be gone; the clock tells
                self.store.set(str(self.rank), str(self.step))

    def end(self) -> None:
        """Ends the process, with what is known."""
        known: list[str] = []
        asking = threading.Thread(target=lambda: known.append(self.accuse()), daemon=True)
        asking.start()
        asking.join(10)  # the store may hang too
        print(
            f"error: rank {self.rank}: no step has finished for {self.seconds / 60:g} minutes (hang_minutes), "
            f"after step {self.step}{'; '.join(['', *known])}; the same command resumes from the newest checkpoint",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(HUNG)

    def accuse(self) -> str:
        """Which ranks have come least far, as far as is known."""
        try:
            known = [rank for rank in range(self.count) if self.store.check([str(rank)])]
            steps = {rank: int(self.store.get(str(rank))) for rank in known}
        except Exception:
            return "rank 0 cannot be reached"
        behind = [str(rank) for rank in range(self.count) if steps.get(rank, -1) < max(steps.values(), default=0)]
        return f"behind the others: rank {', '.join(behind)}" if behind else "no rank is behind the others"
