"""Push a series to the Hub: one repository, one revision a step (step-00500), and its last step as `main`.

python pretrain/publish.py --config configs/snakmodel-7b.yaml                # says what would be pushed where
HF_TOKEN=... python pretrain/publish.py --config configs/snakmodel-7b.yaml dry_run=false

A step's quantised forms and its card (finetune/release.py, finetune/card.py) go with it, where there are any.
What is there already is not sent again: after an interruption, or with more steps, the same command goes on.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import HUB, PRETRAINED, Run, stage_of, step_name
from snakmodel.records import is_current, read_json, write_json
from snakmodel.series import Checkpoint, choose, is_own, read_series


@dataclass
class Settings:
    repository: str = knob(help="ORG/NAME on the Hub; made unless it is there")
    series: str = knob(PRETRAINED, "pretrained, or a tuned variant", execution=True)
    steps: str = knob("all", "steps to push: all, first, last, 500,1000 or 500:12500:500", execution=True)
    private: bool = knob(True, "of a repository that is made", execution=True)
    dry_run: bool = knob(True, "say what would be pushed, and send nothing", execution=True)


def main() -> None:
    command = read_command(Settings, "publish", __doc__)
    s, run = command.settings, command.run
    if s.repository.count("/") != 1 or s.series.startswith(HUB):
        raise BadInput(
            f"{command.config}: publish sends a series of this run to ORG/NAME, not {s.series} to {s.repository}"
        )
    folder = run.series(s.series)
    series = read_series(folder)
    own = {checkpoint.step: checkpoint for checkpoint in series if is_own(checkpoint, folder)}
    chosen = choose(series, s.steps, f"{command.config}: publish.steps")
    if not any(checkpoint.step in own for checkpoint in chosen):
        raise BadInput(f"{command.config}: publish.steps {s.steps} names no step that {folder} itself holds")
    total = 0
    for checkpoint in chosen:
        if checkpoint.step not in own:
            print(f"step {checkpoint.step} is {checkpoint.location}: referred to, not pushed")
            continue
        files = files_of(checkpoint, run, s)
        size = sum(path.stat().st_size for path in files.values())
        total += size
        print(f"{step_name(checkpoint.step)}: {len(files)} files, {size:,} bytes -> {revision_of(s, checkpoint)}")
    print(f"{total:,} bytes, and the last step again as {s.repository}@main", flush=True)
    if s.dry_run or command.check:
        print("nothing was sent; dry_run=false sends what is not there yet")
        return
    publish(chosen, own, run, s)


def files_of(checkpoint: Checkpoint, run: Run, s: Settings) -> dict[str, Path]:
    """What is pushed of a step: what its manifest names, and the manifest; of a step without, all its files.

    With its quantised forms and its card, as far as there are any, whose records are not pushed.
    """
    folder = Path(checkpoint.location)
    named = read_json(folder / "run.json").get("files") or [path.name for path in folder.iterdir() if path.is_file()]
    files = {name: folder / name for name in sorted({*named, "run.json"} - {"started.json"})}
    for part in (folder, *released(checkpoint, run, s)):
        manifest = read_json(part / "run.json").get("files", {})
        for name, told in manifest.items():
            found = (part / name).stat().st_size if (part / name).is_file() else 0
            if found != told["bytes"]:
                raise BadInput(
                    f"{part / name} has {found:,} bytes, its manifest says {told['bytes']:,}; "
                    f"delete {part}, and its stage makes it again"
                )
        files |= {name: part / name for name in manifest}
    return files


def released(checkpoint: Checkpoint, run: Run, s: Settings) -> list[Path]:
    """The folders of a step's quantised forms and of its card, where they are there; refuses those of another model."""
    folders = []
    for section in ("release", "card"):
        folder = run.folder(section) / s.series / step_name(checkpoint.step)
        if not (folder / "run.json").is_file():
            continue
        if not is_current(folder, {"model": checkpoint.source}):
            raise BadInput(
                f"{folder} was made of a model that is no longer step {checkpoint.step} of the series; "
                f"run {stage_of(section).script} with --overwrite"
            )
        told = read_json(folder / "run.json")
        if section == "card" and (written_for := told["settings"]["repository"]) != s.repository:
            raise BadInput(
                f"{folder} tells users to load {written_for or 'a folder of this machine'}, not {s.repository}; "
                f"run finetune/card.py with series={s.series} repository={s.repository}"
            )
        folders.append(folder)
    return folders


def revision_of(s: Settings, checkpoint: Checkpoint) -> str:
    """Where a step goes."""
    return f"{s.repository}@{step_name(checkpoint.step)}"


def publish(chosen: list[Checkpoint], own: dict[int, Checkpoint], run: Run, s: Settings) -> None:
    """Pushes every chosen step to its revision, then the last step that is there, with series.json, to main."""
    from snakmodel.hub import one_line, open_repository, push, read_published  # late: a dry run needs no network

    api = open_repository(s.repository, s.private)
    series = read_json(run.series(s.series) / "series.json")
    with one_line(s.repository):
        name, there = read_published(s.repository)
    if name not in (None, series["name"]):
        raise BadInput(
            f"{s.repository} holds the series {name!r}, and this is {series['name']!r}, whose steps would take "
            "their place; give repository=ORG/ANOTHER"
        )
    rows = {row["step"]: row for row in there}
    for checkpoint in chosen:
        if checkpoint.step in own:
            revision = revision_of(s, checkpoint)
            files, hashes = files_of(checkpoint, run, s), hashes_of(checkpoint, run, s)
            sent = push(api, s.repository, step_name(checkpoint.step), files, hashes)
            print(f"{revision}: {f'{sent:,} bytes sent' if sent else 'is there'}", flush=True)
            rows[checkpoint.step] = checkpoint.row | {"path": revision, "parent": parent_of(checkpoint, own, s)}
        elif not checkpoint.is_local:  # a parent on the Hub can be referred to from there, too
            rows[checkpoint.step] = checkpoint.row
    last = own[max(step for step in rows if step in own)]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "series.json"
        write_json(told, {**series, "steps": [rows[step] for step in sorted(rows)]})
        files = files_of(last, run, s) | {"series.json": told}
        sent = push(api, s.repository, "main", files, hashes_of(last, run, s))
    print(f"{s.repository}@main: step {last.step}, {f'{sent:,} bytes sent' if sent else 'is there'}", flush=True)


def parent_of(checkpoint: Checkpoint, own: dict[int, Checkpoint], s: Settings) -> str | None:
    """What a step continues, as the Hub knows it; None: it lies on this machine alone."""
    parent = checkpoint.row.get("parent")
    if parent is None or not Path(parent).is_dir():
        return parent
    here = {Path(other.location).resolve(): other for other in own.values()}
    other = here.get(Path(parent).resolve())
    return None if other is None else revision_of(s, other)


def hashes_of(checkpoint: Checkpoint, run: Run, s: Settings) -> dict[str, str]:
    """SHA-256 of a step's files, as their manifests have them."""
    folders = (Path(checkpoint.location), *released(checkpoint, run, s))
    manifests = [read_json(folder / "run.json").get("files", {}) for folder in folders]
    return {name: what["sha256"] for files in manifests for name, what in files.items()}


if __name__ == "__main__":
    run_script(main)
