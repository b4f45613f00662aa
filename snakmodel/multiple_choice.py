"""Multiple-choice test sets (snakmodel/testsets.py) from local files: one JSON object a line, such as

    {"id": "sentiment-0001", "prompt": "...", "options": [" positiv", " negativ"], "answer": 0, "split": "test"}

where the set says text: [prompt], options: options, answer: answer. The answer is the index of the right option. An
option carries the space that parts it from its prompt.
"""

import json
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput
from snakmodel.records import missing
from snakmodel.tables import no_rows
from snakmodel.testsets import TestSet


def read_items(testset: TestSet) -> list[dict[str, Any]]:
    """Id, prompt, options and answer of the rows of the set's split, in order. A bad row is one line with its number.

    An option's place is its class: where all rows have the same options (positive, negative), they are put in
    alphabetical order; options that differ have nothing in common but their place, and stay.
    """
    path = Path(testset.path)
    if path.is_dir():
        raise BadInput(f"{path} is a folder; a set with options is one file of JSON lines, which may say `split`")
    if not path.is_file():
        raise BadInput(f"{missing(path)}; the built-in scorer reads local files")
    if testset.options is None or testset.answer is None:
        raise BadInput(f"{path}: the built-in scorer needs options and answer; the test set names no such columns")
    items: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:  # not JSON, or not UTF-8
            raise BadInput(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict) or not all(isinstance(row.get(column), str) for column in testset.text):
            raise BadInput(f"{path}, line {number}: should hold {', '.join(testset.text)}, got {str(row)[:60]}")
        item = {"options": row.get(testset.options), "answer": row.get(testset.answer)}
        if fault := fault_of(**item):
            raise BadInput(f"{path}, line {number}: {fault}")
        if row.get("split", testset.split) == testset.split:
            id = str(number - 1 if testset.id is None else row.get(testset.id))
            items.append({"id": id, "prompt": " ".join(row[column] for column in testset.text), **item})
    if not items:
        raise no_rows("test set", path, testset.split)
    options = sorted(items[0]["options"])
    if any(sorted(item["options"]) != options for item in items):
        return items
    return [item | {"options": options, "answer": options.index(item["options"][item["answer"]])} for item in items]


def fault_of(options: Any, answer: Any) -> str | None:
    """What is wrong with a row's options or its answer, or None."""
    texts = {text for text in options if isinstance(text, str) and text.strip()} if isinstance(options, list) else ()
    if not isinstance(options, list) or not 2 <= len(texts) == len(options):
        return f"options should be two or more different texts, none of them empty, got {options!r}"
    if type(answer) is not int or answer not in range(len(options)):  # isinstance would take true for 1
        return f"answer should be an index of the {len(options)} options (from 0), got {answer!r}"
    return None
