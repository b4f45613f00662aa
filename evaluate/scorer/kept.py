"""The records that the scorers have kept: which are finished, and of the models as they are now."""

from pathlib import Path
from typing import Any

from snakmodel.paths import BASELINES, HUB, Run, step_name, step_of
from snakmodel.records import identity, read_json, write_beside
from snakmodel.series import read_series


def find_records(run: Run) -> tuple[list[Path], list[Path]]:
    """The folders of finished records of the models as they are now; those that are not, or not finished."""
    current: list[Path] = []
    stale: list[Path] = []
    for section in ("builtin", "scandeval"):
        known: dict[str, dict[str, str]] = {}
        for folder in sorted(path.parent for path in run.folder(section).rglob("started.json")):
            if any(part.startswith(".") for part in folder.relative_to(run.root).parts):
                continue  # on its way to be removed
            (current if is_current(folder, run, known) else stale).append(folder)
    return current, stale


def is_current(folder: Path, run: Run, known: dict[str, dict[str, str]]) -> bool:
    """Whether records are finished, and of the model that its series has at this step now.

    known: series -> step's folder name -> what is there now; filled as series are met.
    """
    if not (folder / "run.json").is_file():
        return False
    scored = read_json(folder / "run.json")["inputs"]["model"]
    series, model = model_of(folder, run)
    if series == BASELINES:
        # one that is gone, or lies on another machine, has not changed
        return not Path(scored["path"]).exists() or identity(scored["path"]) == scored["hash"]
    if series.startswith(HUB):
        return True  # a commit, which does not change
    if series not in known:
        there = (run.series(series) / "series.json").is_file()
        checkpoints = read_series(run.series(series)) if there else []
        known[series] = {step_name(checkpoint.step): identity(checkpoint.source) for checkpoint in checkpoints}
    return known[series].get(model) == scored["hash"]


def model_of(folder: Path, run: Run) -> tuple[str, str]:
    """The series and the step's folder name, or "baselines" and a name, of a folder beneath records/SCORER."""
    parts = folder.relative_to(run.folder("builtin").parent).parts[1:]
    if parts[0] == BASELINES:
        return BASELINES, parts[1]
    place = next(number for number, part in enumerate(parts) if step_of(part) is not None)
    return "/".join(parts[:place]), parts[place]


def write_items(path: Path, items: list[dict[str, Any]]) -> None:
    """One item a row: what was answered, what is right, its score from 0 to 1, and a choice's margin in nats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("dataset", "item", "prediction", "answer")]
    schema = pa.schema([*texts, ("score", pa.float64()), ("margin", pa.float64())])
    with write_beside(path) as temporary:
        pq.write_table(pa.Table.from_pylist(items, schema=schema), temporary)
