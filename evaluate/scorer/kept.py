"""The records that the scorers have kept: which are finished, and of the models as they are now."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from snakmodel.config import BadInput
from snakmodel.paths import BASELINES, HUB, Run, step_name, step_of
from snakmodel.records import identity, is_current, is_shown, read_json, remove_folder, write_beside
from snakmodel.series import Checkpoint, read_series

DROPPED = "of a step that its series has no more"  # why finished records do not count
CHANGED = "of a model that has changed since; score it again"


class Kept(NamedTuple):
    """A finished record."""

    folder: Path
    place: Path  # the folder of its model
    dataset: str  # its folder beneath that: tiny-reading, val/tiny-reading, scandeval-test/dansk
    record: dict[str, Any]  # run.json

    @property
    def data(self) -> str:
        """What its data set was, as an input; nothing of held-out text."""
        name = f"testsets.{Path(self.dataset).name}"
        return str(self.record["inputs"].get(name, {"path": ""})["path"])


def read_kept(run: Run, section: str) -> list[Kept]:
    """The finished records of a scorer of the models as they are now."""
    kept: list[Kept] = []
    known: dict[str, dict[str, str | None]] = {}
    for folder in folders(run, section, "run.json"):
        series, model, dataset = parts_of(folder, run)
        if (record := read_record(folder)) and still_counts(folder, record, run, known):
            kept.append(Kept(folder, run.folder(section) / series / model, dataset, record))
    return kept


def read_record(folder: Path) -> dict[str, Any] | None:
    """A finished record; None where it is not there, as when another process has just removed it."""
    try:
        return dict(read_json(folder / "run.json"))
    except BadInput:
        if (folder / "run.json").is_file():
            raise
        return None


def folders(run: Run, section: str, name: str) -> list[Path]:
    """The folders of data sets' records that hold a file of this name; not those on their way to be removed."""
    walked = os.walk(run.folder(section))  # unlike rglob, it does not mind what is removed meanwhile
    seen = sorted(path for place, _, files in walked if name in files and is_shown(path := Path(place), run.root))
    for path in seen:
        if not parts_of(path, run)[2]:
            raise BadInput(f"{path} is of an earlier version, which had one record for all data sets; remove it")
    return seen


def find_records(run: Run) -> tuple[list[Path], dict[Path, str]]:
    """The folders of finished records of the models as they are now; of the others, why they do not count."""
    current: list[Path] = []
    stale: dict[Path, str] = {}
    for section in ("builtin", "scandeval"):
        known: dict[str, dict[str, str | None]] = {}
        for folder in folders(run, section, "started.json"):
            if (record := read_record(folder)) is None:
                stale[folder] = "not finished"
            elif still_counts(folder, record, run, known):
                current.append(folder)
            else:
                series, model, _ = parts_of(folder, run)
                dropped = series in known and model not in known[series]
                stale[folder] = DROPPED if dropped else CHANGED
    return current, stale


def still_counts(folder: Path, record: dict[str, Any], run: Run, known: dict[str, dict[str, str | None]]) -> bool:
    """Whether a finished record is of the model that its series has at this step now.

    A model that is gone, or lies on another machine, has not changed: 14 GB are deleted once they are scored.
    known: series -> step's folder name -> what is there now; filled as series are met.
    """
    scored = record["inputs"]["model"]
    series, model, _ = parts_of(folder, run)
    if series == BASELINES:
        return is_gone(Path(scored["path"])) or identity(scored["path"]) == scored["hash"]
    if series.startswith(HUB):
        return True  # a commit, which does not change
    if not (run.series(series) / "series.json").is_file():
        return True
    if series not in known:
        checkpoints = read_series(run.series(series), whole=False)
        known[series] = {step_name(each.step): None if each.fault else identity(each.source) for each in checkpoints}
    return model in known[series] and known[series][model] in (None, scored["hash"])


def is_gone(model: Path) -> bool:
    """Whether a folder holds no model any more: no settings, or no weights."""
    return not (model / "config.json").is_file() or not any(model.glob("*.safetensors"))


def is_scored(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether finished records are of this model as it is now; of one that cannot be had, as it was.

    A step lies under its number. A baseline's name may be another model's by now, which its record tells.
    """
    if not (folder / "run.json").is_file():
        return False
    if checkpoint.fault is None:
        return is_current(folder, {"model": checkpoint.source})
    if "step" in checkpoint.row:
        return True
    before = os.path.normpath(read_json(folder / "run.json")["inputs"]["model"]["path"])
    now = os.path.normpath(checkpoint.location)
    return before == now or before.startswith((f"{now}=", f"{now}/"))  # with its commit; a run's last step


def throw_away(locks: Iterable[AbstractContextManager[object]], folders: Iterable[Path]) -> None:
    """Removes the records that --overwrite makes again, all or, where another process holds a lock, none.

    From then on, the command goes on without --overwrite.
    """
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        for folder in folders:
            remove_folder(folder)


def parts_of(folder: Path, run: Run) -> tuple[str, str, str]:
    """Series, the step's folder name, and data set of a folder beneath records/SCORER; or "baselines", name and set."""
    parts = folder.relative_to(run.folder("builtin").parent).parts[1:]
    steps = [number for number, part in enumerate(parts) if step_of(part) is not None]
    if parts[0] != BASELINES and not steps:
        raise BadInput(f"{folder} is no folder of a step's records, nor of a baseline's; remove it")
    place = 1 if parts[0] == BASELINES else steps[0]
    return "/".join(parts[:place]), parts[place], "/".join(parts[place + 1 :])


def write_items(path: Path, items: list[dict[str, Any]]) -> None:
    """One item a row: what was answered, what is right, its score from 0 to 1, and a choice's margin in nats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("dataset", "item", "prediction", "answer")]
    schema = pa.schema([*texts, ("score", pa.float64()), ("margin", pa.float64())])
    with write_beside(path) as temporary:
        pq.write_table(pa.Table.from_pylist(items, schema=schema), temporary)


def read_scores(path: Path) -> dict[str, float]:
    """Item -> its score, 0 to 1."""
    import pyarrow as pa  # late: a finished stage says so at once
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=["item", "score"]).to_pylist()
    except (OSError, pa.ArrowException) as fault:
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        cure = f"remove {path.parent}, and evaluate/builtin.py makes it again"
        raise BadInput(f"{path}: cannot be read ({reason}); {cure}") from None
    return {row["item"]: row["score"] for row in rows}
