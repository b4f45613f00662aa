"""Spread the tasks of a corpus step over processes of this machine, or over a Slurm cluster by datatrove's executor.

A task is a number; what it does must not depend on which process runs it, nor when, and its last act is to write a
file that says that it is done. Tasks that were done before an interruption are passed over.

Here the processes are the standard library's: with datatrove's local executor a killed worker (out of memory) left the
others waiting for ever, and workers outlived a killed main process.
"""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

from snakmodel.config import BadInput, knob
from snakmodel.records import write_text
from snakmodel.settings import how_many_workers


class RefusedInput(BadInput):
    """What some tasks refused, while the others are done."""


@dataclass(kw_only=True)
class Workers:
    """Settings that every step of the corpus has; none of them changes a byte of the result."""

    workers: int = knob(0, "processes at a time; 0: one a core (Slurm: no limit)", low=0, execution=True)
    executor: Literal["local", "slurm"] = knob("local", "where the tasks run", execution=True)
    slurm_partition: str = knob("", "partition to submit to", execution=True)
    slurm_hours: int = knob(24, "time limit of a task", low=1, execution=True)
    slurm_memory_gib: int = knob(8, "memory of a task", low=1, execution=True)
    slurm_tasks_per_job: int = knob(1, "tasks that a job of the array does one after the other", low=1, execution=True)

    def __post_init__(self) -> None:
        if self.executor == "slurm" and not self.slurm_partition:
            raise BadInput("executor slurm needs slurm_partition; `sinfo` lists them")
        if self.executor == "slurm" and shutil.which("sbatch") is None:
            raise BadInput("executor slurm needs sbatch, which is not on this machine's path; use executor=local")


def run_tasks(task: Callable[[int], None], todo: list[int], folder: Path, s: Workers, name: str) -> None:
    """Runs `task(number)` for every number of `todo`, in any order; returns when all are done.

    task: a function of an importable module, or a `partial` of one: other processes import it by its name.
    folder: of the step; what a task refused and Slurm's log files go to folder/tasks/NAME, afresh with each call.
    Input that one task refuses (BadInput) stops none of the others; RefusedInput says so when they are through.
    """
    workers = min(how_many_workers(s.workers), len(todo))
    logs = folder / "tasks" / name
    shutil.rmtree(logs, ignore_errors=True)  # our own files say what is done
    step = partial(run_one, task, todo, logs)
    if s.executor == "slurm" and todo:
        submit(step, len(todo), logs, s)
    elif workers < 2:
        for rank in range(len(todo)):
            step(None, rank, len(todo))
    else:
        spread(step, len(todo), workers)
    if refused := sorted((logs / "refused").glob("*.txt")):
        raise RefusedInput("; ".join(dict.fromkeys(path.read_text(encoding="utf-8") for path in refused)))


def spread(step: Callable[[Any, int, int], None], tasks: int, workers: int) -> None:
    """Calls `step(None, rank, tasks)` for every rank below `tasks` in processes of this machine."""
    with ProcessPoolExecutor(workers, get_context("forkserver"), initializer=follow_parent) as pool:
        futures = [pool.submit(step, None, rank, tasks) for rank in range(tasks)]
        try:
            for future in as_completed(futures):
                future.result()
        except BrokenProcessPool:
            raise BadInput(
                "a worker was killed, perhaps for want of memory: try fewer workers; the same command continues"
            ) from None
        except BaseException:  # Ctrl-C, say: what they are at will be done again
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise


def follow_parent() -> None:
    """What a worker does first: leaves Ctrl-C to its parent, and sees to it that it does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def submit(step: Callable[[Any, int, int], None], tasks: int, logs: Path, s: Workers) -> None:
    """Calls `step` for every rank below `tasks` in jobs of a Slurm array; returns when they have ended."""
    from datatrove.executor import SlurmPipelineExecutor  # late: half a second
    from loguru import logger

    logger.disable("datatrove")  # the steps print what is worth knowing
    executor = SlurmPipelineExecutor(
        [step],
        tasks,
        time=f"{s.slurm_hours}:00:00",
        partition=s.slurm_partition,
        mem_per_cpu_gb=s.slurm_memory_gib,
        workers=s.workers or -1,
        tasks_per_job=s.slurm_tasks_per_job,
        job_name=f"{logs.parents[1].name}-{logs.name}",
        logging_dir=str(logs.resolve()),
        sbatch_args={"wait": "", "chdir": str(Path.cwd())},  # sbatch returns when the tasks have ended
        qos="",
    )
    with suppress(subprocess.CalledProcessError):  # sbatch --wait ends as the worst of its tasks; completions say which
        executor.run()
    finished = {path.name for path in (logs / "completions").glob("*")}
    if failed := [rank for rank in range(tasks) if f"{rank:05d}" not in finished]:
        first = logs / f"logs/task_{failed[0]:05d}.log"
        raise BadInput(f"{len(failed)} of {tasks} tasks failed, see {first}; the same command runs them again")


def run_one(task: Callable[[int], None], todo: list[int], logs: Path, data: Any, rank: int, tasks: int) -> None:
    """One task, in the shape in which datatrove calls a step: with the data of a step before, and a rank of so many."""
    try:
        task(todo[rank])
    except BadInput as error:
        write_text(logs / f"refused/{rank:05d}.txt", str(error))
