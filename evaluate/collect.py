"""Gather the records of all scored steps into one table of scores.

python evaluate/collect.py --config configs/tiny.yaml

Writes `scores.json` and `scores.csv`, one row a step, data set and metric. Cheap and derived: where steps have been
added or scored anew since, it starts afresh by itself.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput, read_command, run_script
from snakmodel.paths import PRETRAINED
from snakmodel.records import begin, missing, read_jsonl, write_json, write_text


@dataclass
class Settings:
    """There is nothing to set."""


def main() -> None:
    command = read_command(Settings, "collect", __doc__)
    records = command.run.folder("builtin")
    finished, unfinished = step_folders(records)
    if not finished:
        raise BadInput(missing(records / "*" / "step-*" / "run.json"))
    folder = command.run.folder("collect")
    inputs: dict[str, str | Path] = {f"{step.parent.name}/{step.name}": step for step in finished}
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    rows = sorted(
        (row for step in finished for record in read_jsonl(step / "records.jsonl") for row in score_rows(record)),
        key=lambda row: (row["series"] != PRETRAINED, row["series"], row["step"]),
    )
    write_json(folder / "scores.json", {"rows": rows})
    write_text(folder / "scores.csv", to_csv(rows))
    work.finish(counts={"steps": len(finished), "unfinished": len(unfinished), "rows": len(rows)})
    print(to_table([row for row in rows if row["primary"]]))
    for step in unfinished:
        print(f"left out, not finished: {step} (run evaluate/builtin.py)")


def step_folders(records: Path) -> tuple[list[Path], list[Path]]:
    """The scored steps of all series: finished ones, and those that only began."""
    folders = sorted(records.glob("*/step-*"))
    finished = [folder for folder in folders if (folder / "run.json").is_file()]
    return finished, [folder for folder in folders if folder not in finished]


def score_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each metric of a record, the primary one first; low and high are the 95 % interval."""
    total = record["results"]["total"]
    metrics = sorted(record["interval"], key=lambda key: key != f"test_{record['metric']}")
    rows = []
    for key in metrics:
        primary = key == f"test_{record['metric']}"
        low, high = record["interval"][key]
        rows.append(
            {
                "series": record["series"],
                "step": record["step"],
                "tokens": record["tokens"],
                "dataset": record["dataset"],
                "task": record["task"],
                "language": record["dataset_languages"][0],
                "metric": key.removeprefix("test_"),
                "value": total[key],
                "low": low,
                "high": high,
                "chance": record["chance"] if primary else None,
                "primary": primary,
                "scorer": record["scorer"],
            }
        )
    return rows


def to_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV with a header; what is not known is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_table(rows: list[dict[str, Any]]) -> str:
    """Steps down, data sets across: value and 95 % interval of each one's primary metric; "-" where there is none."""
    heads = list(dict.fromkeys(f"{row['dataset']} {row['metric']}" for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        digits = 2 if row["metric"] == "bits_per_byte" else 1
        cell = f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
        lines.setdefault((row["series"], str(row["step"])), {})[f"{row['dataset']} {row['metric']}"] = cell
    table = [["series", "step", *heads]]
    table += [[*step, *(cells.get(head, "-") for head in heads)] for step, cells in lines.items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


if __name__ == "__main__":
    run_script(main)
