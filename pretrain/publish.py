"""Push a series to the Hub: one repository, one revision a step (step-00500), and its last step as `main`.

python pretrain/publish.py --config configs/snakmodel-7b.yaml                # says what would be pushed where
HF_TOKEN=... python pretrain/publish.py --config configs/snakmodel-7b.yaml dry_run=false

What is there already is not sent again: after an interruption, or with more steps, the same command goes on.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import HUB, PRETRAINED, step_name
from snakmodel.records import read_json, write_json
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
        files = files_of(checkpoint)
        size = sum(path.stat().st_size for path in files.values())
        total += size
        print(f"{step_name(checkpoint.step)}: {len(files)} files, {size:,} bytes -> {revision_of(s, checkpoint)}")
    print(f"{total:,} bytes, and the last step again as {s.repository}@main", flush=True)
    if s.dry_run or command.check:
        print("nothing was sent; dry_run=false sends what is not there yet")
        return
    publish(chosen, own, read_json(folder / "series.json"), s)


def files_of(checkpoint: Checkpoint) -> dict[str, Path]:
    """What is pushed of a step: what its manifest names, and the manifest; of a step without, all its files."""
    folder = Path(checkpoint.location)
    named = read_json(folder / "run.json").get("files") or [path.name for path in folder.iterdir() if path.is_file()]
    for name, told in named.items() if isinstance(named, dict) else ():
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found != told["bytes"]:
            raise BadInput(
                f"{folder / name} has {found:,} bytes, its manifest says {told['bytes']:,}; "
                f"delete {folder}, and its stage makes it again"
            )
    return {name: folder / name for name in sorted({*named, "run.json"} - {"started.json"})}


def revision_of(s: Settings, checkpoint: Checkpoint) -> str:
    """Where a step goes."""
    return f"{s.repository}@{step_name(checkpoint.step)}"


def publish(chosen: list[Checkpoint], own: dict[int, Checkpoint], series: dict[str, Any], s: Settings) -> None:
    """Pushes every chosen step to its revision, then the last step that is there, with series.json, to main."""
    from snakmodel.hub import one_line, open_repository, push, read_published  # late: a dry run needs no network

    api = open_repository(s.repository, s.private)
    with one_line(s.repository):
        rows = {row["step"]: row for row in read_published(s.repository)}
    for checkpoint in chosen:
        if checkpoint.step in own:
            revision = revision_of(s, checkpoint)
            sent = push(api, s.repository, step_name(checkpoint.step), files_of(checkpoint), hashes_of(checkpoint))
            print(f"{revision}: {f'{sent:,} bytes sent' if sent else 'is there'}", flush=True)
            rows[checkpoint.step] = checkpoint.row | {"path": revision}
        elif not checkpoint.is_local:  # a parent on the Hub can be referred to from there, too
            rows[checkpoint.step] = checkpoint.row
    last = own[max(step for step in rows if step in own)]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "series.json"
        write_json(told, {**series, "steps": [rows[step] for step in sorted(rows)]})
        files = files_of(last) | {"series.json": told}
        sent = push(api, s.repository, "main", files, hashes_of(last))
    print(f"{s.repository}@main: step {last.step}, {f'{sent:,} bytes sent' if sent else 'is there'}", flush=True)


def hashes_of(checkpoint: Checkpoint) -> dict[str, str]:
    """SHA-256 of a step's files, as its manifest has them."""
    files = read_json(Path(checkpoint.location) / "run.json").get("files", {})
    return {name: what["sha256"] for name, what in files.items()}


if __name__ == "__main__":
    run_script(main)
