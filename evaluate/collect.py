"""Gather the records of all scored models into one tidy table, `scores.json` and `scores.csv`, and a leaderboard.

python evaluate/collect.py --config configs/tiny.yaml

A row a model, data set and metric: the built-in scorer's, ScandEval's, EuroEval's, and results files made elsewhere
(collect.also). Cheap and derived: where something has been added or scored anew since, it starts afresh by itself.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorer.kept import find_records, parts_of
from scorer.leaderboard import Published, make_tables, read_published
from scorer.scandeval_records import is_score, read_records

from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.intervals import wilson
from snakmodel.paths import BASELINES, PRETRAINED, Run
from snakmodel.records import begin, missing, write_json, write_text
from snakmodel.settings import nearest

Row = dict[str, Any]
STEP = re.compile(r"(?:step|checkpoint)[-_]?(\d+)/?$")  # of a model's name: out/checkpoint_500, ORG/NAME@step-00500
SAME = ("series", "step", "name", "dataset", "metric", "scorer", "scorer_version", "split", "few_shot")
COPIED = ("series", "step", "tokens", "name", "model", "dataset", "task", "scorer", "scorer_version", "split")


@dataclass
class Settings:
    also: dict[str, str] = knob({}, "name of a series -> results file of ScandEval or EuroEval that was made elsewhere")
    primary: dict[str, str] = knob({}, "task -> the metric that stands for it, rather than the paper's")
    all_steps: bool = knob(False, "every step in the leaderboard, not only the first and last of a series")
    published: str = knob("plot/published/scandeval.json", "the paper's table, where this file is there")
    without: list[str] = knob([], "data sets that stay out of table, leaderboard and figures: trials")
    models: dict[str, str] = knob({}, "row of the paper's table -> SERIES@STEP of this run, or a baseline's name")


def main() -> None:
    command = read_command(Settings, "collect", __doc__)
    s, run, folder = command.settings, command.run, command.run.folder("collect")
    current, stale = find_records(run)
    inputs: dict[str, str | Path] = {label(path, run): path for path in current}
    own = {BASELINES, PRETRAINED, *(parts_of(folder, run)[0] for folder in [*current, *stale])}
    for name, file in s.also.items():
        if not Path(file).is_file():
            raise BadInput(f"{command.config}: collect.also.{name}: {file} is no file, or not there")
        if name in own:
            raise BadInput(
                f"{command.config}: collect.also.{name}: this run's own scores are of that name; take another"
            )
        inputs[f"also {name}"] = Path(file)
    if not inputs:
        raise BadInput(missing(run.folder("builtin") / "*/run.json"))
    if Path(s.published).is_file():
        inputs["published"] = Path(s.published)
    published = read_published(Path(s.published)) if "published" in inputs else Published({}, {})
    for name in s.models if published.rows else ():
        if name not in published.rows:
            raise BadInput(f"collect.models: {s.published} has no row {name!r}; {nearest(name, tuple(published.rows))}")
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    faults: list[str] = []
    records = [record for path in current for record in read_own(path / "records.jsonl", faults)]
    for name, file in s.also.items():
        found, wrong = read_records(Path(file))
        if not found:
            raise BadInput(
                f"{command.config}: collect.also.{name}: {file} holds no record ({wrong[0] if wrong else 0})"
            )
        records += [as_series(record, name) for record in found]
        faults += wrong
    there = {record["dataset"] for record in records}
    records = [record for record in records if record["dataset"] not in s.without]
    rows, again = without_repeats(row for record in records for row in score_rows(record, s.primary, faults))
    rows = sorted(rows, key=place_of)
    for name in set(s.without) - there:
        faults.append(f"collect.without: no record is of the data set {name!r}")
    for task in s.primary.keys() - {record["task"] for record in records}:
        faults.append(f"collect.primary: no record is of the task {task!r}")
    judged = judged_rows(records)
    write_json(folder / "scores.json", {"rows": rows} | ({"judged": judged} if judged else {}))
    write_text(folder / "scores.csv", to_csv(rows))
    for kind, text in make_tables(rows, judged, published, s.models, s.all_steps).items():
        write_text(folder / f"leaderboard.{kind}", text)
    steps = {(row["series"], row["step"]) for row in rows if row["step"] is not None}
    others = {(row["series"], row["name"]) for row in rows if row["step"] is None}
    counts = {"steps": len(steps), "other models": len(others), "rows": len(rows), "unfinished": len(stale)}
    work.finish(counts=counts | {"repeated": again, "faults": len(faults)}, faults=faults)
    beside = f" and {len(others):,} other models" if others else ""
    print(f"{folder / 'scores.json'}: {len(rows):,} scores of {len(steps):,} steps{beside}")
    for path, reason in stale.items():
        print(f"left out, {reason}: {path}")
    if again:
        print(f"{again} scores were there twice; of each, the last counts")
    for fault in faults:
        print(f"left out: {fault}")


def label(folder: Path, run: Run) -> str:
    """A folder of records as the name of an input."""
    return folder.relative_to(run.folder("builtin").parent).as_posix()


def read_own(path: Path, faults: list[str]) -> Iterator[dict[str, Any]]:
    """The records of this project's own scripts; a line that is none is told."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError:
            faults.append(f"{path}, line {number}: cut off, or not JSON")


def as_series(record: dict[str, Any], series: str) -> dict[str, Any]:
    """A record made elsewhere, as one of a series: its step is what its model's name ends in, if that is one."""
    step = STEP.search(record["model"])
    facts = {"step": int(step[1]), "name": None} if step else {"step": None, "name": record["model"]}
    return record | facts | {"series": series, "tokens": None}


def score_rows(record: dict[str, Any], primary: dict[str, str], faults: list[str]) -> Iterator[Row]:
    """One row for each metric of a record; low and high are the ends of its 95 % interval, or the score where it has
    none."""
    where = f"{record['series']} {record.get('name') or record['step']} {record['dataset']}"
    total = {key: value for key, value in record["results"]["total"].items() if is_score(key)}
    wanted = primary.get(record["task"])
    if wanted is not None and f"test_{wanted}" not in total:
        faults.append(f"{where}: has no {wanted}, which collect.primary names for {record['task']}")
    stands = wanted or record["metric"]
    for key, value in total.items():
        if value is None:
            faults.append(f"{where}: {key.removeprefix('test_')} is not a number")
            continue
        low, high = record["interval"].get(key) or (None, None)  # one resample leaves none
        is_primary = key == f"test_{stands}" and not record.get("human")  # likeness to some answers is no score
        yield {
            **{name: record.get(name) for name in COPIED},
            "language": record["dataset_languages"][0],
            "metric": key.removeprefix("test_"),
            "value": value,
            "low": low,
            "high": high,
            "plain": record.get("plain", {}).get(key),
            "chance": record["chance"] if key == f"test_{record['metric']}" else None,
            "primary": is_primary,
            "few_shot": record.get("few_shot"),
            "items": record.get("items"),
            "failed": record.get("failed"),
        }


def judged_rows(records: list[dict[str, Any]]) -> list[Row]:
    """What people have accepted of the answers that data sets hold; the same whatever model was scored with them."""
    counts = {
        (record["dataset"], model): count for record in records for model, count in record.get("human", {}).items()
    }
    rows = []
    for (dataset, model), count in sorted(counts.items()):
        if not count["rated"]:
            continue
        low, high = wilson(count["accepted"], count["rated"])
        share = {"value": 100 * count["accepted"] / count["rated"], "low": 100 * low, "high": 100 * high}
        rows.append({"dataset": dataset, "model": model, **count, **share})
    return rows


def without_repeats(rows: Iterator[Row]) -> tuple[list[Row], int]:
    """The rows, of equal ones the last, and how many were dropped so."""
    kept: dict[tuple[Any, ...], Row] = {}
    count = 0
    for row in rows:
        kept[tuple(row[name] for name in SAME)] = row
        count += 1
    return list(kept.values()), count - len(kept)


def place_of(row: Row) -> tuple[Any, ...]:
    """Where a row stands: the pre-trained series first, the baselines last, steps in order."""
    step = (row["step"] is None, row["step"] or 0, row["name"] or "")
    how = (row["scorer"], row["scorer_version"] or "", row["split"] or "", str(row["few_shot"]))
    first = (row["series"] == BASELINES, row["series"] != PRETRAINED, row["series"])
    return (*first, *step, *how)


def to_csv(rows: list[Row]) -> str:
    """The rows as CSV; what is not known is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


if __name__ == "__main__":
    run_script(main)
