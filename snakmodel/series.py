"""The series of checkpoints: `series.json` beside the step folders, one row a step, each naming its parent.

    {"name": "tiny", "steps": [{"step": 0, "path": "../../tiny-base/models/step-00400", "tokens": 0, ...}, ...]}

A path is relative to the folder of series.json, or a Hub id, with its revision: ORG/NAME@step-00500. Step 0 of a
continued series refers to its parent's folder and is never copied. A branch says under `branch` where it left its run.

On the Hub a series is one repository with one revision a step; readers take it as "hub:ORG/NAME".
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from snakmodel.config import BadInput, Command
from snakmodel.paths import BASELINES, HUB, PRETRAINED, Run
from snakmodel.records import is_shown, missing, read_json, write_json
from snakmodel.settings import nearest


@dataclass(frozen=True)
class Checkpoint:
    """One step of a series, or one model by itself."""

    step: int
    location: str  # a folder, or a Hub id: ORG/NAME, or ORG/NAME@REVISION
    row: dict[str, Any]  # its row in series.json

    @property
    def is_local(self) -> bool:
        return Path(self.location).is_dir()

    @property
    def fault(self) -> str | None:
        """Why it cannot be loaded, if that is known: its folder is gone, or its commit could not be had."""
        return self.row.get("fault")

    @property
    def revision(self) -> str | None:
        """Of a model on the Hub; None: its main branch."""
        return split_revision(self.location)[1]

    @property
    def source(self) -> Path | str:
        """As an input of records.begin: the folder, or the Hub id with the commit that its revision is at."""
        if (Path(self.location) / "run.json").is_file():
            return Path(self.location)
        return f"{self.location}={self.row['commit']}" if "commit" in self.row else self.location

    @property
    def pinned(self) -> str:
        """Where to load it from: of what is on the Hub the commit itself, whatever its revision means by then.

        Raises BadInput where it cannot be loaded.
        """
        if self.fault is not None:
            raise BadInput(self.fault)
        return f"{split_revision(self.location)[0]}@{self.row['commit']}" if "commit" in self.row else self.location


def split_revision(location: str | Path) -> tuple[str, str | None]:
    """ "ORG/NAME@step-00500" -> ("ORG/NAME", "step-00500"); None where no revision is named, as of any folder."""
    name, at, revision = str(location).partition("@")
    return (name, revision) if at and not Path(location).exists() else (str(location), None)


def is_own(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether a step lies in its series (a folder, or "hub:ORG/NAME"), rather than being its parent's."""
    if str(folder).startswith(HUB):
        return HUB + split_revision(checkpoint.location)[0] == str(folder)
    return Path(checkpoint.location).parent == Path(os.path.normpath(folder))


def write_series(
    folder: Path, name: str, rows: list[dict[str, Any]], branch: dict[str, Any] | None = None, axis: str | None = None
) -> None:
    """Writes series.json; each row holds at least `step`, `location` and `parent`. Steps must be unique.

    branch: where the series left another one: its `run`, `step` and `tokens`.
    axis: what a step counts, where that is not steps of pre-training: "epochs" or "tuning steps".
    """
    steps = [row["step"] for row in rows]
    assert len(set(steps)) == len(steps), f"duplicate steps: {steps}"
    out = []
    for row in sorted(rows, key=lambda row: row["step"]):
        location = row["location"]
        path = os.path.join(".", os.path.relpath(location, folder)) if Path(location).is_dir() else location
        out.append({**{k: v for k, v in row.items() if k != "location"}, "path": path})
    head = {"name": name} | ({"branch": branch} if branch else {}) | ({"axis": axis} if axis else {})
    write_json(folder / "series.json", {**head, "steps": out})


def read_series(folder: Path, whole: bool = True) -> list[Checkpoint]:
    """The checkpoints of a series, by step. Steps that have gone missing are an error, unless it need not be `whole`:
    then the checkpoint says so.

    folder: where series.json lies, or "hub:ORG/NAME".
    """
    if str(folder).startswith(HUB):
        from snakmodel.hub import read_steps  # late: most series are here

        rows = read_steps(str(folder).removeprefix(HUB), whole)
        return [Checkpoint(row["step"], row["path"], row) for row in rows]
    others = [path.parent.name for path in sorted(folder.parent.glob("*/series.json"))]
    if folder.name not in others and others:
        raise BadInput(f"{missing(folder / 'series.json')}, or {nearest(folder.name, (PRETRAINED, *others))}")
    series = read_json(folder / "series.json")
    checkpoints = []
    for row in series["steps"]:
        local, marked_local = Path(os.path.normpath(folder / row["path"])), row["path"].startswith(".")
        if marked_local and (not local.is_dir() or not whole and not any(local.glob("*.json"))):
            row = row | {"fault": f"{folder}/series.json: step {row['step']} should be in {local}, which is not there"}
            if whole:
                raise BadInput(row["fault"])
        location = str(local) if marked_local or local.is_dir() else row["path"]
        checkpoints.append(Checkpoint(row["step"], location, row))
    return checkpoints


def choose(checkpoints: list[Checkpoint], steps: str, where: str) -> list[Checkpoint]:
    """The checkpoints that `steps` names: "all", "first", "last", "0,500,1000:12000:1000" (ends included)."""
    have = {c.step: c for c in checkpoints}
    if steps.strip() == "all":
        return checkpoints
    wanted: list[int] = []
    for part in (p.strip() for p in steps.split(",")):
        if part in ("first", "last"):
            wanted.append(checkpoints[0 if part == "first" else -1].step)
        elif match := re.fullmatch(r"(\d+):(\d+):([1-9]\d*)", part):
            start, stop, stride = map(int, match.groups())
            wanted.extend(range(start, stop + 1, stride))
        elif part.isdigit():
            wanted.append(int(part))
        else:
            raise BadInput(f"{where}: {part!r} is no step; give all, first, last, numbers or START:STOP:STRIDE")
    for step in wanted:
        if step not in have:
            raise BadInput(f"{where}: no checkpoint of step {step}; the series has {', '.join(map(str, have))}")
    return [have[step] for step in sorted(set(wanted))]


def resolve_model(location: str) -> str:
    """A run's folder as the location of its last export; a model's folder or a Hub id stays as it is."""
    folder = Path(location)
    if (folder / "config.json").is_file():
        check_weights(folder)
        return location
    if (folder / "models/series.json").is_file():
        last = read_series(folder / "models", whole=False)[-1]  # earlier steps may be deleted
        if last.fault is not None:
            raise BadInput(last.fault)
        if last.is_local:
            check_weights(Path(last.location))
        return last.location
    if (folder / "adapter_config.json").is_file():
        raise BadInput(f"{location} is an adapter, not a model: merge it into its base first (finetune/merge.py)")
    if folder.is_dir():
        raise BadInput(f"{location} holds no model (config.json) and no run (models/series.json)")
    if folder.is_absolute() or location.startswith(".") or (location.count("/") and Path(folder.parts[0]).is_dir()):
        raise BadInput(f"{location}: no such folder; give a model's folder, a run's, or a Hub id such as ORG/NAME")
    return location


def find_baselines(named: dict[str, str], command: Command[Any]) -> dict[str, Checkpoint]:
    """Models beside the series, by their names: folders, runs, or Hub ids, each pinned to a commit.

    A revision that has been resolved for a record, of whichever scorer, keeps its commit as long as there is a record,
    so that all scores of a name are of one model; without records it is what the Hub says now. Of a model that cannot
    be had the checkpoint says why: it does not stop the others.
    """
    where = f"{command.config}: {command.section}.baselines"
    found = {}
    for name, location in named.items():
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise BadInput(f"{where}: {name!r} should be a name of letters, digits, dots and dashes")
        if name == PRETRAINED:
            raise BadInput(f"{where}: {name!r} is the pre-trained series; call the baseline otherwise")
        row: dict[str, Any] = {"tokens": None}
        try:
            location = resolve_model(location)
            if not Path(location).is_dir():
                row["commit"] = recorded_commit(location, name, command.run) or commit_at(location)
        except BadInput as fault:
            row["fault"] = str(fault)
        found[name] = Checkpoint(0, location, row)
    return found


def commit_at(location: str) -> str:
    """The commit of a Hub id: its revision, if that is one, or what the Hub says."""
    revision = split_revision(location)[1] or ""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from snakmodel.hub import commit_of  # late: of folders nothing is asked

    return commit_of(location)


def recorded_commit(location: str, name: str, run: Run) -> str | None:
    """The commit that a Hub id was at when the first records of a baseline were begun."""
    records = run.folder("builtin").parent
    for path in sorted(records.glob(f"*/{BASELINES}/{name}/**/started.json")):
        if not is_shown(path, records):
            continue
        model, _, commit = str(read_json(path)["inputs"]["model"]["path"]).partition("=")
        if model == location and commit:
            return commit
    return None


def parse_branch(text: str) -> tuple[Path, int]:
    """ "out/tiny@160" -> the run's folder and the step that a branch continues."""
    run, at, step = text.rpartition("@")
    if not run or not step.isdecimal():
        raise BadInput(f"{text!r} is not RUN@STEP; give a run's folder and a step of its series, such as out/tiny@160")
    return Path(run), int(step)


def resolve_branch(text: str) -> str:
    """The location of the exported step that RUN@STEP names."""
    run, step = parse_branch(text)
    if not run.is_dir():
        raise BadInput(f"{text}: there is no run in {run}")
    return resolve_model(choose(read_series(run / "models"), str(step), text)[0].location)


def check_weights(folder: Path) -> None:
    """Refuses a model folder whose safetensors files are missing or cut short, without reading the weights."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadInput(missing(folder / "model.safetensors"))
    for path in files:
        try:
            safe_open(path, framework="np")  # compares the file's size with its header's
        except SafetensorError as error:
            raise BadInput(f"{path}: truncated ({error}); delete {folder} and run its stage again") from None
