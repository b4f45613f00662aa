"""The published numbers, `plot/published/*.json`: each with its source, how it is known, and how exactly.

A file has `cells`, a number a line: what it is of (row and column, say), `value` (null: not known), `kind` (printed;
digitised: measured in a figure's pixels; second hand: as others quote it; derived; unknown), `source` (a key of
`sources`), and `tolerance`, how far the true value may lie from the number as given (null: not known).
"""

from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from snakmodel.records import read_json

FOLDER = Path(__file__).with_name("published")
FILES = {name: FOLDER / f"{name}.json" for name in ("scandeval", "munin", "divergence", "corpus")}

Cell = dict[str, Any]


def read_paper(name: str) -> dict[str, Any]:
    """One of the files."""
    paper: dict[str, Any] = read_json(FILES[name])
    return paper


def choose(paper: dict[str, Any], **facts: Any) -> list[Cell]:
    """The cells that are of these facts, in display order: choose(paper, by="type", measure="delta")."""
    return [cell for cell in paper["cells"] if all(cell.get(key) == value for key, value in facts.items())]


def overall(languages: list[Cell]) -> tuple[float, float, float]:
    """Mean of the scores, mean of their half-widths (as Munin's post has it), and the half-width of the mean where
    the errors are independent: sqrt(sum of squares) / number.
    """
    halves = [cell["half_width"] for cell in languages]
    return fmean(cell["value"] for cell in languages), fmean(halves), independent(halves)


def independent(halves: list[float]) -> float:
    """The half-width of the interval of a mean whose parts have these, and independent errors."""
    return sqrt(sum(half**2 for half in halves)) / len(halves)
