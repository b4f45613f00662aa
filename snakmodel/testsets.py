"""Evaluation sets, and the search for their items in training data.

configs/testsets.yaml describes the sets; a recipe names those that it looks for, or describes its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from snakmodel.config import BadInput, knob, load_yaml, to_dataclass
from snakmodel.documents import batches
from snakmodel.ngrams import Index, find, words_of
from snakmodel.settings import nearest
from snakmodel.tables import as_input, column, no_rows, read_rows, resolve_revision

CHARACTERS_AT_A_TIME = 2_000_000  # of the texts that are searched together
Task = Literal[
    "acceptability",
    "sentiment",
    "entities",
    "reading",
    "summary",
    "knowledge",
    "common-sense",
    "translation",
    "instruction",
]


@dataclass
class TestSet:
    """Where an evaluation set lies, and what of its rows is text."""

    path: str = knob(help="local file or folder, or Hub id")
    text: list[str] = knob(help="columns joined by a space into an item's text; empty ones are left out")
    answer: str | None = knob(None, "column of the answer; with options: the place of the right one, from 0")
    options: str | None = knob(None, "column of the options; the right one ends the text")
    id: str | None = knob(None, "column of an item's id; null: the number of its row, from 0")
    until: str | None = knob(None, "the text ends before this: options behind a question stand in no corpus")
    remove: list[str] = knob([], "marks that the set's makers put into texts")
    folder: str | None = knob(None, "copy for machines without the Hub: read instead of path where it is there")
    configuration: str | None = knob(None, "of a Hub set")
    split: str = knob("test", "of a folder or a Hub set")
    revision: str | None = knob(None, "of a Hub set: a pinned commit; null: the newest, which is recorded")
    # what scoring needs; a search for items is the same whatever it is
    task: Task | None = knob(None, "what its items ask of a model, if they are to be scored", execution=True)
    language: str = knob("da", "of its items, and of what stands around them in a prompt", execution=True)
    prompt: str | None = knob(
        None, "name of its wording in evaluate/scorer/prompts.yaml; null: the task's", execution=True
    )
    judged: dict[str, list[str]] = knob(
        {},
        "model whose answers people have judged -> [column of its answer, column of the verdict: accepted or not]; "
        "what they accepted is what answers are compared with, in place of `answer`",
        execution=True,
    )
    shots: int | None = knob(None, "examples in a prompt; null: the task's in ScandEval", low=0, execution=True)
    answer_tokens: int | None = knob(
        None, "most tokens of a written answer; null: the task's in ScandEval", low=1, execution=True
    )


@dataclass(kw_only=True)
class Search:
    """Which items are looked for in training data, and how much of one must be there."""

    testsets: list[str] = knob(help="names of evaluation sets")
    own: dict[str, TestSet] = knob({}, "sets described in the recipe itself; they win over the catalogue's")
    # the entries that are used count as settings themselves, so the catalogue may change elsewhere
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> set", execution=True)
    # runs of 8 words, half of an item: those of Lambert et al. (2024), Tulu 3. GPT-3's 13 would miss most items of
    # up to 15 words once one word has changed: benchmarks/contamination.py
    ngram: int = knob(8, "words of a run that an item and a document share", low=2)
    min_words: int = knob(7, "of an item; shorter ones are not looked for, they occur by chance", low=1)
    min_share: float = knob(0.5, "least share of an item's words that lie in shared runs", above=0, high=1)


class Item(NamedTuple):
    """One item of an evaluation set."""

    id: str
    text: str
    answer: str


class Finding(NamedTuple):
    """An item that a text holds."""

    testset: str
    item: str
    overlap: float  # share of the item's words
    shared: str  # words of the first shared run


def find_testsets(search: Search, label: str) -> dict[str, TestSet]:
    """The sets that a search names, each with the copy that is there; raises BadInput where one is not known."""
    return {name: find_testset(name, search.own, search.catalogue, f"{label}.testsets") for name in search.testsets}


def find_testset(name: str, own: dict[str, TestSet], catalogue: str, where: str) -> TestSet:
    """The recipe's own set of this name, or else the catalogue's. `where` is the setting that names it."""
    testset = own.get(name)
    if testset is None:
        entries = load_yaml(Path(catalogue))
        if name not in entries:
            raise BadInput(f"{where}: no test set {name!r}; {nearest(name, (*own, *entries))}")
        testset = to_dataclass(entries[name], TestSet, [catalogue, name], {})
    if testset.folder is not None and Path(testset.folder).is_dir():
        testset = replace(testset, path=testset.folder)
    return testset


def testset_inputs(sets: dict[str, TestSet]) -> dict[str, str | Path]:
    """The sets as inputs of records.begin."""
    return {
        f"testsets.{name}": as_input(s.path, s.configuration, s.split, s.revision, f"test set {name}")
        for name, s in sets.items()
    }


def read_testset(name: str, testset: TestSet) -> Iterator[Item]:
    """Every item of a set. Of a local file, whose rows may say `split`, those of the set's split."""
    label = f"test set {name}"
    rows = read_rows(testset.path, testset.configuration, testset.split, testset.revision, label)
    is_file = Path(testset.path).is_file()
    for number, row in enumerate(rows):
        if is_file and (row.get("split") or testset.split) != testset.split:
            continue
        parts = [str(column(row, c, label) or "").strip() for c in testset.text]
        answer = column(row, testset.answer, label) if testset.answer else ""
        if testset.options:
            options = column(row, testset.options, label)
            if not str(answer).isdecimal() or int(answer) >= len(options):
                raise BadInput(f"{label}, row {number}: answer should be a place among {options!r}, got {answer!r}")
            answer = str(options[int(answer)]).strip()
            parts.append(answer)
        text = " ".join(part for part in parts if part)
        if testset.until is not None:
            text = text.partition(testset.until)[0]
        for mark in testset.remove:
            text = text.replace(mark, " ")
        yield Item(str(column(row, testset.id, label) if testset.id else number), text, answer_text(answer))


def answer_text(answer: Any) -> str:
    """An answer as text: of SQuAD's {"text": [...], ...} the first one; labels, one a word, are no text."""
    if isinstance(answer, dict):
        answer = answer.get("text", "")
        answer = answer[0] if isinstance(answer, list) and answer else answer
    return "" if answer is None or isinstance(answer, list) else str(answer)


def read_testsets(sets: dict[str, TestSet]) -> tuple[list[dict[str, str]], dict[str, str | None]]:
    """The items of all sets as rows of text, source (the set's name), id and answer, and each set's revision."""
    rows, revisions = [], {}
    for name, testset in sets.items():
        revisions[name] = resolve_revision(testset.path, testset.revision, f"test set {name}")
        items = list(read_testset(name, replace(testset, revision=revisions[name])))
        if not items:
            raise no_rows(f"test set {name}", testset.path, testset.split)
        if not any(item.text for item in items):
            raise BadInput(f"test set {name} ({testset.path}): no text in {', '.join(testset.text)} of any item")
        rows += [{"text": item.text, "source": name, "id": item.id, "answer": item.answer} for item in items]
    return rows, revisions


def find_items(
    texts: Iterable[Any], items: list[dict[str, str]], index: Index, min_share: float
) -> Iterator[tuple[Any, list[Finding]]]:
    """Each document with the items that its `text` holds, the most complete one first; many are searched at a time."""
    for documents in batches(texts, characters=CHARACTERS_AT_A_TIME):
        held: list[list[Finding]] = [[] for _ in documents]
        hits = (array.tolist() for array in find(index, [document["text"] for document in documents]))
        for number, row, share, place in zip(*hits, strict=True):
            if share >= min_share:
                item = items[row]
                shared = " ".join(words_of(item["text"])[place : place + index.ngram])
                held[number].append(Finding(item["source"], item["id"], round(share, 4), shared))
        for document, findings in zip(documents, held, strict=True):
            yield document, sorted(findings, key=lambda finding: -finding.overlap)


def summarise(
    items: list[dict[str, str]], index: Index, min_words: int, found: dict[tuple[str, str], int]
) -> dict[str, Any]:
    """Per set: its items, how many were looked for, were too short for that, were found, and which in how many texts.

    found: (set, item's id) -> texts that hold it.
    """
    sets: dict[str, Any] = {}
    for row, words in zip(items, index.words_I.tolist(), strict=True):
        counts = sets.setdefault(
            row["source"], {"items": 0, "searched": 0, "too short to search": 0, "found": 0, "texts_by_item": {}}
        )
        counts["items"] += 1
        counts["too short to search" if words < min_words else "searched"] += 1
        if (texts := found.get((row["source"], row["id"]), 0)) > 0:
            counts["found"] += 1
            counts["texts_by_item"][row["id"]] = texts
    return sets
