"""Models by data sets as a leaderboard: one table for each scorer, version, split, prompting and language, and of
several languages one of their averages.

In a cell the score, half of its 95 % interval, and its rank in the column. The average is over the columns, of models
that have them all; half of its interval takes the errors of data sets for independent: sqrt(sum of squares) / n.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput
from snakmodel.intervals import INTERVALS
from snakmodel.paths import model_name
from snakmodel.printed_tables import to_html, to_latex, to_markdown
from snakmodel.record_places import DANISH
from snakmodel.records import read_json

Row = dict[str, Any]
NONE = "–"
STYLE = "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2.5em}"
STYLE += "caption{text-align:left;padding:.5em 0}th,td{padding:.25em .8em;border-bottom:1px solid #ccc}"
JUDGED = "Answers that people have judged"
JUDGED_NOTE = "Of the models that the data set's makers showed them. No score of a model here is derived from these."
LEAST = ("bits_per_byte",)  # metrics of held-out text, which are no scores


@dataclass(frozen=True)
class Published:
    """A paper's table."""

    columns: dict[tuple[str, str], str]  # data set and metric -> its column
    rows: dict[str, dict[str, float]]  # model -> column -> score


@dataclass(frozen=True)
class Score:
    """A cell."""

    value: float
    half: float | None  # of the interval; None: there is none


Board = dict[str, dict[Any, Score]]  # model -> column -> score


def read_published(path: Path) -> Published:
    """The paper's table on the test split, from a file of published numbers: columns, and a value a cell."""
    table = read_json(path)
    try:
        named = {(what["dataset"], what["metric"]): column for column, what in table["columns"].items()}
        rows: dict[str, dict[str, float]] = {}
        for cell in table["cells"]:
            if cell["value"] is not None:
                rows.setdefault(cell["row"], {})[cell["column"]] = float(cell["value"])
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise BadInput(f"{path} is no file of published numbers ({type(fault).__name__}: {fault})") from None
    return Published(named, rows)


def make_tables(
    rows: list[Row], judged: list[Row], published: Published, models: dict[str, str], all_steps: bool
) -> dict[str, str]:
    """The leaderboards as Markdown, LaTeX and HTML, by the ends of their files' names.

    judged: a row a data set and model whose answers people have judged (collect.judged_rows).
    """
    shown = [row for row in rows if row["primary"] and row["metric"] not in LEAST]
    texts: dict[str, list[str]] = {"md": [], "tex": [], "html": []}
    for kind, mine in groupby(sorted(shown, key=kind_of), kind_of):
        scorer, version, split, prompted = kind
        paper = (
            published if scorer == "scandeval" and split == "test" and prompted != "zero-shot" else Published({}, {})
        )
        title = f"{scorer} {version}".strip() + f", {split} split, {prompted}"
        note = f"Score (the mean of its resamples) ± half of the 95 % interval {INTERVALS[scorer == 'builtin']} (rank)."
        averages: dict[str, dict[str, Score]] = {}  # model -> language -> score
        tables = []
        for language, group in groupby(sorted(mine, key=language_of), language_of):
            columns, scores = read_board(list(group), all_steps)
            tables.append((f"{title}, language {language}", *make_table(columns, scores, paper, models)))
            for model, score in averages_of(columns, scores).items():
                averages.setdefault(model, {})[language] = score
        if len(tables) > 1:  # as the averages of languages are those of data sets
            languages = {
                language: language for language in dict.fromkeys(name for m in averages.values() for name in m)
            }
            tables.append((f"{title}, averages of languages", *make_table(languages, averages, Published({}, {}), {})))
        for name, head, lines in tables:
            texts["md"].append(f"## {name}\n\n{note}\n\n{to_markdown(head, lines)}")
            texts["tex"].append(f"% {name}. {note}\n{to_latex(head, lines)}")
            texts["html"].append(to_html(head, lines, name, note))
    if judged:
        head = ["model", "data set", "accepted", "of", "share (%)", "95 % interval (Wilson)"]
        lines = [
            [row["model"], row["dataset"], f"{row['accepted']:,}", f"{row['rated']:,}", *share_of(row)]
            for row in judged
        ]
        texts["md"].append(f"## {JUDGED}\n\n{JUDGED_NOTE}\n\n{to_markdown(head, lines, names=2)}")
        texts["tex"].append(f"% {JUDGED}. {JUDGED_NOTE}\n{to_latex(head, lines)}")
        texts["html"].append(to_html(head, lines, JUDGED, JUDGED_NOTE))
    page = '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Leaderboard</title>\n'
    page += f"<style>{STYLE}</style>\n"
    return {
        "md": "\n".join(["# Leaderboard\n", *texts["md"]]),
        "tex": "\n".join(texts["tex"]),
        "html": page + "\n".join(texts["html"]) + "</html>\n",
    }


def share_of(row: Row) -> list[str]:
    """The share of accepted answers and its interval, in %."""
    return [f"{row['value']:.1f}", f"{row['low']:.1f} to {row['high']:.1f}"]


def kind_of(row: Row) -> tuple[str, str, str, str]:
    """What must be the same for scores to stand in one table."""
    prompted = {True: "few-shot", False: "zero-shot", None: "prompting not told"}[row["few_shot"]]
    return row["scorer"], row["scorer_version"] or "", row["split"] or "test", prompted


def language_of(row: Row) -> str:
    return str(row["language"])


def read_board(rows: list[Row], all_steps: bool) -> tuple[dict[Any, str], Board]:
    """The columns, data set and metric, with their headings, and the scores of each model."""
    found = {(row["dataset"], row["metric"]) for row in rows}
    columns = sorted(found, key=lambda column: (column[0] not in DANISH, *order(column[0]), column))
    scores: Board = {}
    for row in rows if all_steps else ends_of_series(rows):
        half = None if row["low"] is None else (row["high"] - row["low"]) / 2
        scores.setdefault(model_name(row), {})[row["dataset"], row["metric"]] = Score(row["value"], half)
    return {(dataset, metric): f"{dataset} ({metric})" for dataset, metric in columns}, scores


def averages_of(columns: dict[Any, str], scores: Board) -> dict[str, Score]:
    """The averages of the models that have every column."""
    return {model: average(list(cells.values())) for model, cells in scores.items() if len(cells) == len(columns)}


def make_table(
    columns: dict[Any, str], scores: Board, published: Published, models: dict[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Head and lines of one leaderboard: our models by their averages, each with the paper's numbers beneath."""
    averages = averages_of(columns, scores)
    ranks = {column: rank({m: cells[column] for m, cells in scores.items() if column in cells}) for column in columns}
    ranked = rank(averages)
    lines, drawn = [], set()
    for model, cells in sorted(scores.items(), key=lambda item: (ranked.get(item[0], math.inf), item[0])):
        line = [in_cell(cells.get(column), ranks[column].get(model)) for column in columns]
        lines.append([model, *line, in_cell(averages.get(model), ranked.get(model))])
        for name in [name for name in published.rows if models.get(name) == model]:
            drawn.add(name)
            lines.append(paper_line(name, published, list(columns)))
    others = [paper_line(name, published, list(columns)) for name in published.rows if name not in drawn]
    lines += [line for line in others if set(line[1:]) != {NONE}]  # of sets that the paper has not
    return ["model", *columns.values(), "average"], lines


def order(dataset: str) -> tuple[int, str]:
    """Where a data set's column stands."""
    return (DANISH.index(dataset) if dataset in DANISH else 0), dataset


def ends_of_series(rows: list[Row]) -> list[Row]:
    """The rows of the first and the last step of each series, and of all that is no step."""
    steps: dict[str, list[int]] = {}
    for row in rows:
        if row["step"] is not None:
            steps.setdefault(row["series"], []).append(row["step"])
    return [r for r in rows if r["step"] is None or r["step"] in (min(steps[r["series"]]), max(steps[r["series"]]))]


def average(cells: list[Score]) -> Score:
    """The mean of scores, their errors taken for independent; one without an interval leaves none."""
    halves = [cell.half for cell in cells if cell.half is not None]
    half = math.sqrt(sum(half**2 for half in halves)) / len(cells) if len(halves) == len(cells) else None
    return Score(sum(cell.value for cell in cells) / len(cells), half)


def rank(cells: dict[str, Score]) -> dict[str, int]:
    """1 for the largest score; equal scores share a rank."""
    return {model: 1 + sum(other.value > cell.value for other in cells.values()) for model, cell in cells.items()}


def in_cell(score: Score | None, place: int | None) -> str:
    """ "66.70 ± 1.20 (1)"."""
    if score is None:
        return NONE
    return f"{score.value:.2f}{'' if score.half is None else f' ± {score.half:.2f}'} ({place})"


def paper_line(name: str, published: Published, columns: list[tuple[str, str]]) -> list[str]:
    """The paper's numbers of a model, by the same metric; its average as printed, where ours is of the same columns."""
    cells = published.rows[name]
    found = [cells.get(published.columns.get(column, "")) for column in columns]
    alike = {column for column in published.columns if column[0] is not None} == set(columns)
    shown = [*found, cells.get("AVG") if alike else None]
    return [f"paper: {name}", *(NONE if cell is None else f"{cell:.2f}" for cell in shown)]
