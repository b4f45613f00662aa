"""Write the replication sheet: every published number beside this run's, with its source.

python plot/replication.py --config configs/snakmodel-released.yaml

Filled from what the run has: scores.json, analysis/weights.parquet, the corpus ledger, the records of stages. Status:
"within" what the paper's tolerance and the interval of ours allow, "outside" of it, "not judged" where the paper's
value, its tolerance or our interval is not known, "not run".
Scores of the table are compared with ScandEval's on the test split alone: no other scorer measures the same.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from plot import style
from plot.paper import FILES, Cell, independent, read_paper
from plot.run_facts import find_inputs, read_facts
from plot.scores import is_number
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, model_name
from snakmodel.printed_tables import to_markdown
from snakmodel.records import begin, read_json, write_text

# how far the same arithmetic may stray from what was printed in full: of the angle what scipy does in float32
# (benchmarks/divergence.py parity), of the mean change a thousandth of the smallest
ROUNDING = {"subspace_angle": 0.002, "subspace_angle_sum": 0.014, "delta": 1e-6}
NUMBERS = ("paper", "ours", "our low", "our high", "difference", "tolerance")
COLUMNS = ("group", "quantity", "unit", *NUMBERS, "status", "known", "source", "note")
SHORT = ("quantity", "paper", "ours", "difference", "tolerance", "status", "known", "source")  # of the Markdown

SETTINGS = ["language filter, least probability", "near-duplicate threshold", "near-duplicate permutations"]
SETTINGS += ["pre-training steps", "global batch", "sequence length", "training tokens", "peak learning rate"]
STATUSES = ("within", "outside", "not judged", "not run")

Row = dict[str, Any]
Known = tuple[float, float | None, float | None]  # value, and the ends of its interval; None: of one resample
Ours = Known | None


@dataclass
class Settings:
    pretrained: str = knob(PRETRAINED, "series that stands for SnakModel base")
    tuned: str | None = knob(None, "series that stands for SnakModel instruct")
    models: dict[str, str] = knob({}, "row of the paper's table -> SERIES@STEP of this run, or a baseline's name")
    scorer: str = knob("scandeval", "scorer whose scores stand beside the paper's table")


def main() -> None:
    command = read_command(Settings, "replication", __doc__)
    s, run = command.settings, command.run
    paper = read_paper("scandeval")
    for row in s.models:
        if row not in (known := [*paper["rows"], *paper["further_rows"]]):
            raise BadInput(f"{command.config}: replication.models: {row!r} is no row of the table: {', '.join(known)}")
    inputs, folder = find_inputs(run), run.folder("replication")
    work = begin(command, folder, {**FILES, **inputs}, derived=True)
    if work is None:
        return
    rows = table_rows(s, read_scores(inputs), command.config)
    rows += divergence_rows(s, read_weights(inputs)) + fact_rows(read_facts(inputs))
    write_text(folder / "replication.csv", to_csv(rows))
    write_text(folder / "replication.md", to_page(rows))
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    work.finish(counts=counts)
    print(f"{folder / 'replication.md'}, .csv: {', '.join(f'{many} {what}' for what, many in counts.items())}")


def compare(group: str, quantity: str, unit: str, cell: Cell, source: str, ours: Ours, rounding: float = 0) -> Row:
    """One line of the sheet."""
    value, low, high = ours or (None, None, None)
    difference = None if value is None or cell["value"] is None else value - cell["value"]
    tolerance = max(cell["tolerance"], rounding) if cell["tolerance"] is not None else None
    status = "not run" if value is None else "not judged"
    if difference is not None and tolerance is not None and low is not None and high is not None:
        status = "outside" if abs(difference) > tolerance + (high - low) / 2 else "within"
    known = {"paper": cell["value"], "ours": value, "our low": low, "our high": high, "difference": difference}
    told = {"tolerance": tolerance, "status": status, "known": cell["kind"], "source": source}
    notes = [cell.get("note"), f"no tolerance: {cell['kind']}" if tolerance is None and is_told(cell) else None]
    note = "; ".join(each for each in notes if each)
    return {"group": group, "quantity": quantity, "unit": unit, **known, **told, "note": note}


def is_told(cell: Cell) -> bool:
    """Whether the paper has a value there, or at least a range."""
    return cell["value"] is not None or "low" in cell


def table_rows(s: Settings, scores: list[Row], config: Path) -> list[Row]:
    """The cells of Table 3, and those of further rows that are known."""
    paper = read_paper("scandeval")
    fitting = [row for row in scores if row.get("scorer") == s.scorer and row.get("split") == paper["split"]]
    fitting = [row for row in fitting if row.get("few_shot") in (None, paper["few_shot"])]
    if len(versions := {str(row.get("scorer_version")) for row in fitting}) > 1:
        raise BadInput(
            f"{config}: scores of {s.scorer} {' and '.join(sorted(versions))} are not compared in one sheet; "
            "keep the records of one version"
        )
    rows = []
    for cell in paper["cells"]:
        if cell["row"] in paper["further_rows"] and cell["value"] is None:
            continue
        mine = [row for row in fitting if is_model(row, s.models.get(cell["row"]))]
        tasks = [what for what in paper["columns"].values() if what["dataset"]]
        column = paper["columns"][cell["column"]]
        if column["dataset"]:
            ours = score_of(mine, column)
        else:
            each = [score_of(mine, what) for what in tasks]
            ours = mean_of([score for score in each if score]) if all(each) else None
        name = f"{cell['row']}: {cell['column']} ({style.METRICS.get(column['metric'], column['metric'])})"
        rows.append(compare("Table 3, test split", name, "0 to 100", cell, paper["sources"][cell["source"]], ours))
    return rows


def is_model(row: Row, name: str | None) -> bool:
    """Whether a score is of SERIES@STEP, or of the baseline of that name."""
    return name is not None and model_name(row) == name


def score_of(rows: list[Row], column: dict[str, str]) -> Ours:
    """The score of a column's data set and metric."""
    for row in rows:
        if (row["dataset"], row["metric"]) == (column["dataset"], column["metric"]) and row["value"] is not None:
            return row["value"], row["low"], row["high"]
    return None


def mean_of(scores: list[Known]) -> Known:
    """The mean of values, with the interval of a mean of independent errors; without, where one of them has none."""
    value = fmean(value for value, _, _ in scores)
    halves = [(high - low) / 2 for _, low, high in scores if low is not None and high is not None]
    if len(halves) < len(scores):
        return value, None, None
    half = independent(halves)
    return value, value - half, value + half


def divergence_rows(s: Settings, weights: list[Row]) -> list[Row]:
    """Changes and angles by type, by layer and by step, of the paper's three comparisons."""
    paper = read_paper("divergence")
    pairs = {"llama2-base": (s.pretrained, "base"), "base-instruct": (s.tuned, s.pretrained)}
    pairs["llama2-instruct"] = (s.tuned, f"{s.pretrained}:first")
    measured = style.group([row | {"key": (row["series"], row["against"], row["step"])} for row in weights], "key")
    rows = []
    for cell in paper["cells"]:
        measure = cell["measure"].removesuffix("_sum")
        mine = [
            row for row in measured.get((*pairs[cell["comparison"]], cell["step"]), []) if row["measure"] == measure
        ]
        found = [row["value"] for row in mine if belongs(row, cell) and is_number(row)]
        combine: Callable[[list[float]], float] = sum if cell["measure"].endswith("_sum") else fmean
        value = combine(found) if found else None
        name = f"{paper['comparisons'][cell['comparison']]}, step {cell['step']:,}: {cell['name']}"
        unit = "weight" if measure == "delta" else "degrees"
        if cell["name"] in paper["degenerate"] and measure != "delta":
            cell = {**cell, "note": f"degenerate; {cell.get('note', '')}".removesuffix("; ")}
        if "low" in cell:
            cell = {**cell, "note": f"between {cell['low']} and {cell['high']}"}
        group = f"{cell['measure'].replace('_', ' ')} by {cell['by']}"
        ours = None if value is None else (value, value, value)
        source = paper["sources"][cell["source"]]
        rows.append(compare(group, name, unit, cell, source, ours, ROUNDING[cell["measure"]]))
    return rows


def belongs(row: Row, cell: Cell) -> bool:
    """Whether a tensor is of a cell's type (also: at its step), or of its layer."""
    if cell["by"] == "layer" and cell["name"].startswith("layer_"):
        return bool(row["layer"] == int(cell["name"].removeprefix("layer_")))
    return bool(row["type"] == cell["name"])


def fact_rows(facts: dict[str, float]) -> list[Row]:
    """Corpus, training and cost."""
    paper = read_paper("corpus")
    rows = []
    for cell in paper["cells"]:
        value = facts.get(cell["quantity"])
        ours = None if value is None else (value, value, value)
        source = paper["sources"][cell["source"]]
        row = compare("Corpus, training, cost", cell["quantity"], cell["unit"], cell, source, ours)
        if cell["quantity"] in SETTINGS and ours is not None:  # to agree in what was copied is no replication
            row |= {"status": "not judged", "note": "a setting, taken over from the paper"}
        rows.append(row)
    return rows


def read_scores(inputs: style.Inputs) -> list[Row]:
    """The rows of scores.json; none where nothing was scored."""
    return read_json(inputs["scores"] / "scores.json")["rows"] if "scores" in inputs else []


def read_weights(inputs: style.Inputs) -> list[Row]:
    """The rows of analysis/weights.parquet that the paper has, too."""
    if "weights" not in inputs:
        return []
    import pyarrow.parquet as pq

    table = pq.read_table(inputs["weights"], filters=[("measure", "in", ["delta", "subspace_angle"])])
    rows: list[Row] = table.to_pylist()
    return rows


def to_csv(rows: list[Row]) -> str:
    """The sheet with all its columns; empty: not known, or not run."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def to_page(rows: list[Row]) -> str:
    """The sheet as Markdown: a table a group, sources numbered below."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    parts = ["# Replication sheet\n\n" + " ".join((__doc__ or "").split("\n\n")[-1].split()) + "\n"]
    for group, mine in style.group(rows, "group").items():
        lines = [[told(row, column, sources) for column in SHORT] for row in mine]
        parts.append(f"\n## {group[0].upper()}{group[1:]}\n\n{to_markdown(list(SHORT), lines)}")
    parts.append("\n## Sources\n\n" + "".join(f"{place}. {text}\n" for place, text in enumerate(sources, start=1)))
    return "".join(parts)


def told(row: Row, column: str, sources: list[str]) -> str:
    """A cell of the Markdown."""
    value = row[column]
    if column == "source":
        return str(sources.index(value) + 1)
    if column == "quantity":
        return f"{value} [{row['unit']}]" + (f" ({row['note']})" if row["note"] else "")
    if column == "paper" and value is None:
        return "not known"
    if column == "tolerance" and value is None and row["paper"] is not None:
        return "not told"
    if value is None:
        return "–"
    return value if isinstance(value, str) else in_full(value)


def in_full(value: float) -> str:
    """ "8,928", "33.43", "0.00104"."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"


if __name__ == "__main__":
    run_script(main)
