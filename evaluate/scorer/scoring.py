"""Models scored side by side by a program: each in a process of its own, its records kept as soon as they are there.

One process scores all that a model lacks: loading it once costs least, and the program writes each record when it has
it. What is missing when the process has died is tried once more, each data set in a process of its own, since an error
in one can end them all (of ScandEval 13.3, any that it does not foresee).
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from scorer.live_table import FAILED, RUNNING, LiveTable
from scorer.program import SILENT, STOPPED, Program, command_line, environment, held, run_program, tail
from scorer.scandeval_records import Record, read_lines, read_records
from scorer.working_folder import MODEL, local_copy, make_working_folder
from snakmodel.config import BadInput, Command
from snakmodel.paths import step_name
from snakmodel.records import Work, begin, identity, is_current, read_jsonl, remove_folder, shaping, write_jsonl
from snakmodel.series import Checkpoint
from snakmodel.signals import Listener

MOST_FRUITLESS = 3  # processes without a record before a model is given up
TAIL = 12  # lines of the log that are shown of a failure
USAGE = 2  # the exit status of a command line that a program does not take


class Refusal(BadInput):
    """The program does not take its command line, which is that of every model."""


@dataclass
class Job:
    """A model to score."""

    series: str
    name: str | None  # of a baseline
    checkpoint: Checkpoint
    place: Path  # its folder, with one for each data set
    inputs: dict[str, str | Path]
    datasets: list[str]
    todo: list[str] = field(default_factory=list)  # of the data sets, those that are to be scored
    works: dict[str, Work] = field(default_factory=dict)  # of these, once the folder is ours
    model: Path = Path()  # where it lies here, and what it is: a folder or ORG/NAME@COMMIT; likewise
    known_as: str = ""

    @property
    def label(self) -> str:
        return f"{self.series} {self.name or step_name(self.checkpoint.step)}"

    @property
    def missing(self) -> list[str]:
        done = {name for name in self.works if (self.place / name / "run.json").is_file()}
        return [dataset for dataset in self.todo if dataset not in done]


@dataclass(frozen=True)
class Failure:
    """What could not be scored of a model, and why."""

    job: Job
    datasets: list[str]
    reason: str
    told: str = ""  # the end of the log


def run_all(
    jobs: list[Job], todo: list[Job], program: Program, command: Command[Any]
) -> tuple[list[Failure], str | None]:
    """Scores what is to be done: the failures, and the signal that has stopped it."""
    s = command.settings
    devices = gpus()
    processes = s.processes or len(devices) or 1
    slots: SimpleQueue[str | None] = SimpleQueue()
    for number in range(processes):
        slots.put(devices[number % len(devices)] if devices else None)
    table = LiveTable([job.label for job in jobs], list(dict.fromkeys(name for job in jobs for name in job.datasets)))
    for job in jobs:
        for dataset in job.datasets:
            if dataset not in job.todo:
                table.tell(job.label, dataset, brief(read_jsonl(job.place / dataset / "records.jsonl")[0]))
    listener, broken = Listener(), threading.Event()
    before = listener.listen()

    def asked_to_stop() -> bool:
        return listener.heard is not None or broken.is_set()

    def score_one(job: Job) -> list[Failure]:
        gpu = slots.get()
        try:
            return [] if asked_to_stop() else list(score(job, program, command, gpu, table, asked_to_stop))
        except BaseException:
            broken.set()  # a full disk, say: the others end, too
            raise
        finally:
            slots.put(gpu)

    with ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(score_one, job) for job in todo]
    for number, handler in before.items():
        signal.signal(number, handler)
    found = [failure for future in futures for failure in future.result()]
    table.close()
    return found, listener.heard


def score(
    job: Job,
    program: Program,
    command: Command[Any],
    gpu: str | None,
    table: LiveTable,
    asked_to_stop: Callable[[], bool],
) -> list[Failure]:
    """Scores what a model lacks."""
    try:
        with held(job.place) as lock:
            open_works(job, command)
            return score_held(job, program, command.settings, gpu, table, asked_to_stop, lock)
    except Refusal:
        raise
    except BadInput as fault:
        for dataset in job.missing:
            table.tell(job.label, dataset, "kept" if (job.place / dataset / "run.json").is_file() else FAILED)
        return [Failure(job, job.missing, str(fault))]


def open_works(job: Job, command: Command[Any]) -> None:
    """Begins what is to be scored of a model, whose folder is ours; scores of a checkpoint that has changed go.

    Nothing is touched before the model is here: raises BadInput where it cannot be had.
    """
    job.model, job.known_as = local_copy(job.checkpoint.pinned)
    for dataset in job.todo:
        folder = job.place / dataset
        if (folder / "run.json").is_file() and not is_current(folder, {"model": job.inputs["model"]}):
            remove_folder(folder)
        work = begin(command, folder, job.inputs, quiet=True)
        if work is not None:  # else another process has scored it meanwhile
            job.works[dataset] = work
    job.todo = list(job.works)


def score_held(
    job: Job, program: Program, s: Any, gpu: str | None, table: LiveTable, asked_to_stop: Callable[[], bool], lock: int
) -> list[Failure]:
    """The same, in a folder that no other process is at work in."""
    folder, log = job.place / f".work-{fingerprint(job, program, s)}", job.place / "log.txt"
    reasons: dict[str, str] = {}

    def look() -> bool:
        keep(job, folder / program.results, s, table)
        return asked_to_stop()

    look()  # what a killed run has left
    if unread := set_aside(job, folder / program.results, s):
        print(f"scandeval {job.label}: of a run that was killed{unread}", flush=True)
    for old in job.place.glob(".work-*"):
        shutil.rmtree(old)
    attempts, fruitless = [job.missing], 0
    while attempts and not asked_to_stop():
        wanted = [dataset for dataset in attempts.pop(0) if dataset in job.missing]
        if not wanted:
            continue
        for dataset in wanted:
            table.tell(job.label, dataset, RUNNING)
            job.works[dataset].clock = time.monotonic()
        make_working_folder(folder, job.model, None if s.data is None else Path(s.data), s.offline)
        languages = [name for name, sets in s.datasets.items() if set(sets) & set(wanted)]
        line = command_line(program, MODEL, wanted, languages, s.split, s.few_shot, s.iterations, s.options)
        status = run_program(line, folder, environment(program.path, gpu, s.offline), log, lock, 60 * s.silence, look)
        look()
        unread = set_aside(job, folder / program.results, s)
        if status == STOPPED:
            break
        left = [dataset for dataset in wanted if dataset in job.missing]
        if status == USAGE and left == wanted:
            for dataset in left:
                remove_folder(job.place / dataset)
            raise Refusal(f"{program.name} {program.version} refuses its command line: {tail(log, 1)[:300]} ({log})")
        reasons |= {dataset: why(status, s.silence) + unread for dataset in left}
        fruitless = fruitless + 1 if left == wanted else 0
        if len(wanted) > 1 and status != 0:
            attempts = [[dataset] for dataset in left]
        if fruitless == MOST_FRUITLESS:
            break
    shutil.rmtree(folder, ignore_errors=True)
    if asked_to_stop():
        return []
    for dataset in job.missing:  # perhaps the program knows no data set of that name
        remove_folder(job.place / dataset)
    for dataset in job.missing:
        table.tell(job.label, dataset, FAILED, f"scandeval {job.label} {dataset}: failed ({reasons[dataset]})")
    alike = {reason: [d for d in job.missing if reasons[d] == reason] for reason in reasons.values()}
    return [Failure(job, sets, f"{reason} ({log})", tail(log, TAIL)) for reason, sets in alike.items() if sets]


def keep(job: Job, results: Path, s: Any, table: LiveTable) -> None:
    """Keeps the records that a program has written by now; a line that is half-written is looked at again later."""
    if not results.is_file():
        return
    for record in read_records(results)[0]:
        dataset = record["dataset"]
        if dataset not in job.missing or otherwise(record, job, s):
            continue
        row = job.checkpoint.row
        facts = {"series": job.series, "step": None if job.name else job.checkpoint.step, "tokens": row.get("tokens")}
        facts |= {"name": job.name, "model": job.known_as}
        write_jsonl(job.place / dataset / "records.jsonl", [record | facts])
        how = {name: record[name] for name in ("scorer", "scorer_version", "split")}
        job.works[dataset].finish(**how, model=job.known_as, iterations=len(record["results"]["raw"]["test"]))
        for other in job.missing:
            job.works[other].clock = time.monotonic()  # they come one after the other
        done = sum((job.place / each / "run.json").is_file() for each in job.datasets)
        line = f"scandeval {job.label} {dataset}: {brief(record)} ({done} of {len(job.datasets)})"
        table.tell(job.label, dataset, brief(record), line)


def set_aside(job: Job, results: Path, s: Any) -> str:
    """Keeps the lines of an ended program's file that are not kept as records, and says why they are not: "; ..."."""
    lines = read_lines(results) if results.is_file() else ()
    unread = {}
    for line, found in lines:
        if reason := found if isinstance(found, str) else otherwise(found, job, s):
            unread[line] = reason
    if not unread:
        return ""
    aside = job.place / "unread.jsonl"
    with aside.open("ab") as file:
        file.writelines(line + b"\n" for line in unread)
    return f"; {len(unread)} lines of its results are in {aside}, the first one: {next(iter(unread.values()))}"


def otherwise(record: Record, job: Job, s: Any) -> str | None:
    """In what a record is not what was asked for, if it is not; what the program does not say is believed."""
    model = os.path.normpath(re.split("[@#]", record["model"])[0])  # newer versions may add a revision
    if model != os.path.normpath(MODEL):
        return f"is of the model {record['model']}"
    if record["dataset"] not in job.datasets:
        return f"is of {record['dataset']}, which was not asked for"
    for name, asked in {"few_shot": s.few_shot, "validation_split": s.split == "val"}.items():
        if record[name] not in (None, asked):
            return f"{name} is {record[name]}, asked for {asked}"
    return None


def brief(record: Record) -> str:
    """A record's score as a cell: "61.5", or "none" where it is not a number."""
    value = record["results"]["total"][f"test_{record['metric']}"]
    return "none" if value is None else f"{value:.1f}"


def why(status: int, silence: float) -> str:
    """What a process without a record has come to."""
    if status == SILENT:
        return f"said nothing for {silence:g} minutes, and was ended"
    if status < 0:
        return f"ended by signal {-status}"
    return f"no record, though its exit status is {status}"


def fingerprint(job: Job, program: Program, s: Any) -> str:
    """What a killed run's records must have been made with to be kept."""
    made_with = [shaping(s), {name: identity(path) for name, path in job.inputs.items()}, program.version]
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:12]


def gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except OSError:
        return []
    listed = re.findall(r"^GPU (\d+):", asked.stdout, flags=re.MULTILINE)  # slices of one are indented
    return listed if asked.returncode == 0 else []
