"""Multiple-choice task files: one JSON object a line, with `id`, `prompt`, `options`, `answer` and `split`.

    {"id": "sentiment-0001", "prompt": "...", "options": [" positiv", " negativ"], "answer": 0, "split": "test"}

`answer` is the index of the right option. An option carries the space that parts it from its prompt.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakmodel.config import BadInput
from snakmodel.records import missing

# name in a recipe -> ScandEval's name of the task, and the metric that stands for it
TASKS = {
    "acceptability": ("linguistic-acceptability", "accuracy"),
    "sentiment": ("sentiment-classification", "macro_f1"),
    "knowledge": ("knowledge", "accuracy"),
}


@dataclass(frozen=True)
class Item:
    """One question."""

    id: str
    prompt: str
    options: list[str]
    answer: int  # index of the right option


def read_items(path: Path) -> list[Item]:
    """The test items of a task file, in order; other splits are left alone. A bad row is one line with its number."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise BadInput(missing(path)) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error})") from None
    items: dict[str, Item] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}, line {number}: not JSON ({error})") from None
        if fault := fault_of(row):
            raise BadInput(f"{path}, line {number}: {fault}")
        if row["id"] in items:
            raise BadInput(f"{path}, line {number}: a second {row['id']!r}; ids must differ")
        if row["split"] == "test":
            items[row["id"]] = Item(row["id"], row["prompt"], row["options"], row["answer"])
    if not items:
        raise BadInput(f'{path}: no rows with "split": "test"')
    return list(items.values())


def fault_of(row: Any) -> str | None:
    """What is wrong with a row, or None."""
    if not isinstance(row, dict):
        return f"should be an object, got {type(row).__name__}"
    if absent := [key for key in ("id", "prompt", "options", "answer", "split") if key not in row]:
        return f"no {', '.join(absent)}"
    if not isinstance(row["id"], str) or not isinstance(row["prompt"], str):
        return f"id and prompt should be text, got {row['id']!r} and {row['prompt']!r}"
    options, answer = row["options"], row["answer"]
    if not isinstance(options, list) or not all(isinstance(option, str) and option for option in options):
        return f"options should be a list of texts that are not empty, got {options!r}"
    if len(options) < 2 or len(set(options)) < len(options):
        return f"options should be two or more and differ, got {options!r}"
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(options):
        return f"answer should be an index of the {len(options)} options (from 0), got {answer!r}"
    return None


def predictions(log_likelihoods: list[list[float]]) -> list[int]:
    """The index of the likeliest option of each item; of equals, the first."""
    return [row.index(max(row)) for row in log_likelihoods]


def option_labels(items: list[Item]) -> list[np.ndarray]:
    """The class of each option of each item, for metrics that compare classes.

    Where all items have the same options (positive, negative), an option's class is its text, wherever it stands in
    its item. Otherwise the options have nothing in common but their place, and the place is the class.
    """
    texts = sorted(items[0].options)
    if any(sorted(item.options) != texts for item in items):
        return [np.arange(len(item.options)) for item in items]
    return [np.array([texts.index(option) for option in item.options]) for item in items]
