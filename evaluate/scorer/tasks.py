"""Multiple-choice task files: one JSON object a line.

    {"id": "sentiment-0001", "prompt": "...", "options": [" positiv", " negativ"], "answer": 0, "split": "test"}

`answer` is the index of the right option. An option carries the space that parts it from its prompt.
"""

import json
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput
from snakmodel.records import missing


def read_items(path: Path) -> list[dict[str, Any]]:
    """The rows of a task file whose split is "test", in order. A bad row is one line with its number.

    An option's place is its class: where all rows have the same options (positive, negative), they are put in
    alphabetical order; options that differ have nothing in common but their place, and stay.
    """
    if not path.is_file():
        raise BadInput(missing(path))
    items = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:  # not JSON, or not UTF-8
            raise BadInput(f"{path}, line {number}: not JSON ({error})") from None
        if fault := fault_of(row):
            raise BadInput(f"{path}, line {number}: {fault}")
        if row.get("split") == "test":
            items.append(row)
    if not items:
        raise BadInput(f'{path}: no rows with "split": "test"')
    options = sorted(items[0]["options"])
    if any(sorted(item["options"]) != options for item in items):
        return items
    return [item | {"options": options, "answer": options.index(item["options"][item["answer"]])} for item in items]


def fault_of(row: Any) -> str | None:
    """What is wrong with a row, or None."""
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        return f"should be an object with a prompt, options, answer and split, got {str(row)[:60]}"
    options, answer = row.get("options"), row.get("answer")
    texts = {text for text in options if isinstance(text, str) and text.strip()} if isinstance(options, list) else ()
    if not isinstance(options, list) or not 2 <= len(texts) == len(options):
        return f"options should be two or more different texts, none of them empty, got {options!r}"
    if type(answer) is not int or answer not in range(len(options)):  # isinstance would take true for 1
        return f"answer should be an index of the {len(options)} options (from 0), got {answer!r}"
    return None
