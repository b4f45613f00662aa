"""Score chosen steps of any series, and models beside them, with ScandEval or EuroEval in an environment of its own.

make scandeval        # or: make euroeval; once
python evaluate/scandeval_all.py --config configs/snakmodel-7b.yaml [scandeval.split=val]
sbatch --array=1-8 --gpus=1 --wrap "python evaluate/scandeval_all.py --config configs/snakmodel-7b.yaml"

A process a model, with all data sets that are missing, one a GPU; a data set's record is kept as soon as it is there,
so that after an interruption the same command goes on with what is missing. A record is believed, never an exit status.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scorer.asked import refuse_mixtures
from scorer.kept import Kept, is_scored, read_kept, throw_away
from scorer.program import Program, find_program, held
from scorer.scoring import Job, run_all
from scorer.working_folder import data_identity, note_fault

from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import BASELINES, PRETRAINED, step_name
from snakmodel.record_places import DANISH
from snakmodel.records import read_json, shape_of
from snakmodel.series import choose, find_baselines, read_series
from snakmodel.settings import array_part, share
from snakmodel.signals import STOPPED

# what this script says itself; `options` are other words
OWN_OPTIONS = ["--model", "-m", "--dataset", "--language", "-l", "--num-iterations", "--few-shot", "--zero-shot"]
OWN_OPTIONS += ["--only-validation-split", "--evaluate-val-split", "--evaluate-test-split"]


@dataclass
class Settings:
    command: str = knob(
        ".venv-scandeval/bin/scandeval", "the program scandeval or euroeval, in its own environment", execution=True
    )
    # which folders are made, not what is in one: more of them never invalidate those that are there
    series: list[str] = knob([PRETRAINED], "series to score", execution=True)
    steps: str = knob("all", "steps to score: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    baselines: dict[str, str] = knob({}, "name -> model folder, run or Hub id (ORG/NAME@REVISION)", execution=True)
    datasets: dict[str, list[str]] = knob(
        {"da": DANISH}, "language (da, nb, nn, sv, fo, is, de, en) -> the program's names of data sets", execution=True
    )
    split: Literal["test", "val"] = knob("test", "test, or validation")
    few_shot: bool = knob(True, "false: without examples")
    iterations: int = knob(10, "resamples of a data set (the program's own number)", low=1)
    options: list[str] = knob([], "further words of its command line")
    data: str | None = knob(None, "folder of data sets by their Hub ids, read instead of the Hub's: FOLDER/ORG/NAME")
    offline: bool = knob(False, "ask the Hub for nothing; metrics are then this project's modules", execution=True)
    # how
    processes: int = knob(0, "models scored at a time; 0: one a GPU; without GPUs, one", low=0, execution=True)
    part: str = knob("", "the share that this process scores, as 2/4; else that of a Slurm array's job", execution=True)
    silence: float = knob(120, "minutes without output after which a process is ended", above=0, execution=True)


def main() -> None:
    command = read_command(Settings, "scandeval", __doc__)
    s, where = command.settings, f"{command.config}: scandeval"
    data: dict[str, str | Path] = {} if s.data is None else {"data": data_identity(Path(s.data))}
    chosen = find_jobs(command, where, data)
    jobs = share(chosen, s.part or array_part(), where)
    if command.overwrite and not command.check:
        for job in jobs:  # what cannot be had keeps its scores
            note_fault(job.checkpoint)
    replaced = [job.place.parent for job in chosen if command.overwrite and job.checkpoint.fault is None]  # any share's
    kept = [each for each in read_kept(command.run, "scandeval") if each.place not in replaced]
    shapes = {f"{kind_of(s)}/{name}": shape_of(s, data) for names in s.datasets.values() for name in names}
    refuse_mixtures(kept, shapes)
    for job in jobs:
        look(job, command.overwrite)
        if not job.todo:
            print(f"scandeval {job.label}: done ({job.place})", flush=True)
    todo, program = [job for job in jobs if job.todo], None
    if todo:
        program = find_program(s.command, f"{where}.command")
        check_versions([each for each in kept if each.dataset in shapes], program)
    if command.check:
        for job in todo:
            told = job.checkpoint.fault or f"ready ({job.place})"
            print(f"scandeval {job.label}: {told}", file=sys.stderr if job.checkpoint.fault else sys.stdout)
        if program is not None:
            print(f"scandeval: {program.name} {program.version}")
        if any(job.checkpoint.fault for job in todo):
            sys.exit(1)
    if program is None or command.check:
        return
    if command.overwrite:
        had = [job for job in todo if job.checkpoint.fault is None]
        throw_away((held(job.place) for job in had), [job.place / name for job in had for name in job.datasets])
    failures, stopped = run_all(jobs, todo, program, replace(command, overwrite=False))
    for failure in failures:
        print(f"\nfailed: {failure.job.label}, {', '.join(failure.datasets)}: {failure.reason}", file=sys.stderr)
        print("".join(f"  | {line}\n" for line in failure.told.splitlines()), end="", file=sys.stderr)
    if stopped:
        print(f"stopped by {stopped}; the same command goes on with what is missing", file=sys.stderr)
        sys.exit(STOPPED)
    if failures:
        count = sum(len(failure.datasets) for failure in failures)
        print(f"error: {count} scores could not be made; the same command tries what is missing", file=sys.stderr)
        sys.exit(1)


def kind_of(s: Settings) -> str:
    """What records have in common that may share a curve, as a folder's name: scandeval-test, euroeval-val-zero-shot"""
    if own := [word for word in s.options if word.partition("=")[0] in OWN_OPTIONS]:
        raise BadInput(f"scandeval.options: {own[0]} is set by datasets, split, few_shot or iterations; leave it out")
    return f"{Path(s.command).name}-{s.split}{'' if s.few_shot else '-zero-shot'}"


def find_jobs(command: Command[Settings], where: str, data: dict[str, str | Path]) -> list[Job]:
    """What is to be scored: the chosen steps of each series, then the baselines."""
    s, run, kind = command.settings, command.run, kind_of(command.settings)
    names = [name for names in s.datasets.values() for name in names]
    if not names or len(set(names)) < len(names):
        raise BadInput(f"{where}.datasets should name data sets, each once, got {', '.join(names) or 'none'}")
    jobs = []
    for series in s.series:
        there = read_series(run.series(series), whole=False)  # what has been scored may be deleted
        for checkpoint in choose(there, s.steps, f"{where}.steps of {series}"):
            place = run.folder("scandeval") / series / step_name(checkpoint.step) / kind
            jobs.append(Job(series, None, checkpoint, place, {"model": checkpoint.source} | data, names))
    for name, model in find_baselines(s.baselines, command).items():
        place = run.folder("scandeval") / BASELINES / name / kind
        jobs.append(Job(BASELINES, name, model, place, {"model": model.source} | data, names))
    return jobs


def check_versions(kept: list[Kept], program: Program) -> None:
    """Refuses to go on with another version than the one that has scored before: together they are no curve."""
    for each in kept:
        before = each.record["scorer_version"]
        if before != program.version:
            cure = f"install the former, remove {each.place}, or score all models again with --overwrite"
            raise BadInput(f"{each.folder} was scored by {program.name} {before}, now {program.version}: {cure}")


def look(job: Job, overwrite: bool) -> None:
    """Refuses what was scored as another baseline, tells what is scored again, and notes what to do."""
    model = str(job.inputs["model"])
    for dataset in job.datasets:
        folder = job.place / dataset
        scored = is_scored(folder, job.checkpoint)
        if (folder / "run.json").is_file() and not scored and not overwrite:
            before = read_json(folder / "run.json")["inputs"]["model"]["path"]
            if job.name and before != model:
                cure = "call it otherwise, add --overwrite, or change run_dir"
                raise BadInput(f"{folder} holds scores of {before}, but baseline {job.name} is {model}; {cure}")
            print(f"scandeval {job.label} {dataset}: the checkpoint has changed, so it is scored again", flush=True)
        if overwrite or not scored:
            job.todo.append(dataset)


if __name__ == "__main__":
    run_script(main)
