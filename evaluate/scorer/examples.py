"""Items of evaluation sets: those in ScandEval's format, and multiple choice with options of its own.

ScandEval's columns, by task; where a set's description names other columns as text and answer, these are read:

    acceptability, sentiment     text, label (correct, incorrect; positive, neutral, negative)
    knowledge, common-sense      text, whose last lines are the options ("a. ..."), label (a letter)
    entities                     tokens, labels (B-PER, I-PER, O, ...)
    reading                      context, question, answers ({"text": [...], ...})
    summary, translation, instruction    text, target_text

A local set is a folder with one file a split, train.jsonl and test.parquet, say. A set whose description names a column
of options (snakmodel/multiple_choice.py) is asked as it stands, without examples.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from scorer.entities import read_tags, to_answer
from snakmodel.config import BadInput, knob, load_yaml, to_dataclass
from snakmodel.multiple_choice import read_items
from snakmodel.settings import nearest
from snakmodel.tables import FORMATS, column, no_rows, read_rows
from snakmodel.testsets import Task, TestSet

COMPARED = ("summary", "translation", "instruction")  # tasks whose answers are compared with a text
WRITTEN = ("entities", "reading", *COMPARED)  # tasks whose answers a model writes itself
LETTERS = ("knowledge", "common-sense")
SHOTS: dict[Task, int] = {"acceptability": 12, "sentiment": 12, "entities": 8, "reading": 4, "summary": 1}
ANSWER_TOKENS: dict[Task, int] = {"entities": 128, "reading": 32, "summary": 256, "translation": 256}  # ScandEval's
VERDICTS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "-1": False, "-1.0": False, "false": False}
UNJUDGED = ("none", "nan", "")
OPTION = re.compile(r"^\s*([a-z])[.)] ", flags=re.MULTILINE)


class Example(NamedTuple):
    """One item, or one of the examples in a prompt."""

    id: str
    slots: dict[str, str]  # what a wording takes: text and, of reading, question
    answer: str  # as a prompt says it
    options: list[str]  # as a prompt says them; none where the answer is written
    gold: Any  # the place of the right option; tokens and tags; else the texts that count as right
    verdicts: tuple[tuple[str, bool], ...] = ()  # of people: whose answer they were shown, and whether they accepted it


@dataclass
class Wording:
    """How a task is put in a language; see prompts.yaml."""

    prefix: str = knob(help="before all examples")
    shot: str = knob(help="an example; the question is one without its label")
    instruction: str = knob(help="what a tuned model is told")
    labels: dict[str, str] = knob({}, "the data's label -> its word")


def find_wording(name: str, testset: TestSet) -> Wording | None:
    """How a set's items are put; None where they stand by themselves."""
    if testset.options is not None:
        return None
    path = Path(__file__).with_name("prompts.yaml")
    wordings = read_wordings(path)
    if testset.judged and testset.task not in COMPARED:
        raise BadInput(f"test set {name}: judged is for tasks {', '.join(COMPARED)}, not {testset.task}")
    for model, columns in testset.judged.items():
        if len(columns) != 2:
            raise BadInput(f"test set {name}: judged.{model} should be [ANSWER, VERDICT], two columns, got {columns}")
    key = testset.prompt or ("choice" if testset.task in LETTERS else str(testset.task))
    if key not in wordings:
        raise BadInput(f"test set {name}: prompts.yaml has no wording {key!r}; {nearest(key, tuple(wordings))}")
    if testset.language not in wordings[key]:
        have = ", ".join(wordings[key])
        raise BadInput(f"test set {name}: prompts.yaml has no {key} in {testset.language!r}, only in {have}; add it")
    return to_dataclass(wordings[key][testset.language], Wording, [str(path), key, testset.language], {})


@cache
def read_wordings(path: Path) -> dict[str, Any]:
    """prompts.yaml, which takes a while to read."""
    return load_yaml(path)


def read_examples(name: str, testset: TestSet, wording: Wording | None, split: str) -> list[Example]:
    """The items of a split, in order. A bad row is one line with its number."""
    if wording is None:
        items = read_items(replace(testset, split=split))
        asked = [Example(item["id"], {"text": item["prompt"]}, "", item["options"], item["answer"]) for item in items]
        return differing(asked, name, split)
    examples = []
    for number, row in split_rows(name, testset, split):
        label = f"test set {name} ({split}), row {number}"
        id = str(column(row, testset.id, label)) if testset.id else str(number)
        examples.append(READERS[testset.task or ""](id, row, testset, wording, label))
    if not examples:
        raise no_rows(f"test set {name}", testset.path, split)
    return differing(examples, name, split)


def differing(examples: list[Example], name: str, split: str) -> list[Example]:
    """The examples, if each has an id of its own: by it items are compared, and found in the corpus."""
    if twice := [id for id, count in Counter(example.id for example in examples).items() if count > 1]:
        raise BadInput(f"test set {name} ({split}): id {twice[0]!r} stands twice; name a column of ids that differ")
    return examples


def split_files(testset: TestSet, split: str) -> list[Path]:
    """The files that hold a split of a local set, one or its numbered parts; none where it is on the Hub, or a file."""
    folder = Path(testset.path)
    if not folder.is_dir():
        return []
    part = re.compile(rf"{split}(idation)?(-\d+-of-\d+)?({'|'.join(map(re.escape, FORMATS))})")
    files = sorted(path for path in folder.iterdir() if part.fullmatch(path.name))
    if not files:
        has = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise BadInput(f"{folder} has no file of the split {split!r} such as {split}.jsonl, only {has}")
    if len(files) > 1 and any("-of-" not in path.name for path in files):
        raise BadInput(f"{folder} has the split {split!r} more than once: {', '.join(path.name for path in files)}")
    return files


def split_rows(name: str, testset: TestSet, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of one split of a set, each with its number as analyze/leakage.py counts them."""
    label, files = f"test set {name} ({split})", split_files(testset, split)
    paths = [str(path) for path in files] or [testset.path]
    rows = (row for path in paths for row in read_rows(path, testset.configuration, split, testset.revision, label))
    for number, row in enumerate(rows):
        if files or (row.get("split") or split) == split:
            yield number, row


def text_of(row: dict[str, Any], name: str, label: str) -> str:
    """A column that should be text, and not empty."""
    value = column(row, name, label)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{label}: {name} should be text, got {value!r}")
    return value.strip()


def join(row: dict[str, Any], testset: TestSet, label: str) -> str:
    """The columns of an item's text together, those that are empty left out; the first may not be."""
    first, *others = testset.text or ["text"]
    parts = [text_of(row, first, label), *(str(column(row, name, label) or "").strip() for name in others)]
    return " ".join(part for part in parts if part)


def one_line(text: str) -> str:
    """A text without line breaks, which part the examples of a prompt."""
    return re.sub(r"\s*\n\s*", " ", text)


def data_of(row: dict[str, Any], name: str, label: str) -> Any:
    """A column that should be more than text; CSV has it as JSON."""
    value = column(row, name, label)
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise BadInput(
                f"{label}: {name} is text that is not JSON, {value[:40]!r}; take Parquet or JSON lines"
            ) from None
    return value


def read_label(id: str, row: dict[str, Any], testset: TestSet, wording: Wording, label: str) -> Example:
    """An item of acceptability or sentiment."""
    text, given = join(row, testset, label), str(column(row, testset.answer or "label", label)).lower()
    if given not in wording.labels:
        raise BadInput(f"{label}: label {given!r} is none of {', '.join(wording.labels)}")
    place = list(wording.labels).index(given)
    words = list(wording.labels.values())
    return Example(id, {"text": re.sub(r"\n+", "\n", text)}, words[place], words, place)


def read_letter(id: str, row: dict[str, Any], testset: TestSet, wording: Wording, label: str) -> Example:
    """An item of knowledge or common sense, whose text holds its options."""
    text, given = join(row, testset, label), str(column(row, testset.answer or "label", label)).lower()
    letters = OPTION.findall(text)
    if given not in letters or len(set(letters)) != len(letters) or len(letters) < 2:
        found = ", ".join(letters) or "none"
        raise BadInput(f"{label}: label {given!r} should be one of the letters that its text offers ({found})")
    return Example(id, {"text": re.sub(r"\n+", "\n", text)}, given, letters, letters.index(given))


def read_entities(id: str, row: dict[str, Any], testset: TestSet, wording: Wording, label: str) -> Example:
    """A sentence as tokens, each with its tag."""
    tokens, tags = list(data_of(row, "tokens", label)), list(data_of(row, testset.answer or "labels", label))
    if not tokens or len(tokens) != len(tags) or not all(isinstance(part, str) for part in [*tokens, *tags]):
        raise BadInput(f"{label}: {len(tokens)} tokens and {len(tags)} labels; give each token its tag, as text")
    tags = read_tags(tags, label)
    gold = {"tokens": tokens, "tags": tags}
    return Example(id, {"text": one_line(" ".join(tokens))}, to_answer(tokens, tags, wording.labels), [], gold)


def read_question(id: str, row: dict[str, Any], testset: TestSet, wording: Wording, label: str) -> Example:
    """A question about a text, with all answers that count as right."""
    answers = data_of(row, testset.answer or "answers", label)
    texts = answers.get("text") if isinstance(answers, dict) else answers
    texts = [text for text in texts if isinstance(text, str) and text.strip()] if isinstance(texts, list) else []
    if not texts:
        raise BadInput(f"{label}: answers should hold a text, got {answers!r}")
    slots = {"text": one_line(text_of(row, "context", label)), "question": one_line(text_of(row, "question", label))}
    return Example(id, slots, texts[0], [], texts)


def read_target(id: str, row: dict[str, Any], testset: TestSet, wording: Wording, label: str) -> Example:
    """A text, and what is to be made of it: what the row says, or the answers that people have accepted."""
    slots = {"text": one_line(join(row, testset, label))}
    if not testset.judged:
        target = one_line(text_of(row, testset.answer or "target_text", label))
        return Example(id, slots, target, [], [target])
    verdicts, accepted = [], []
    for model, (answer, verdict) in testset.judged.items():
        said = str(column(row, verdict, label)).strip().lower()
        if said in UNJUDGED:
            continue
        if said not in VERDICTS:
            raise BadInput(f"{label}: {verdict} should be 1 or true, or -1, 0 or false, got {row[verdict]!r}")
        verdicts.append((model, VERDICTS[said]))
        accepted += [one_line(text_of(row, answer, label))] if VERDICTS[said] else []
    return Example(id, slots, accepted[0] if accepted else "", [], accepted, tuple(verdicts))


READERS = {
    **{"acceptability": read_label, "sentiment": read_label, "knowledge": read_letter, "common-sense": read_letter},
    **{"entities": read_entities, "reading": read_question},
    **{"summary": read_target, "translation": read_target, "instruction": read_target},
}
