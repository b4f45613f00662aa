"""Gather the instruction sets of the recipe as conversations: those to train on, and those held out.

python finetune/instructions.py --config configs/tiny.yaml

train.parquet and validation.parquet: `turns` is the conversation as JSON, `text` all that is said in it. What is left
out lies in rejects/ with its reason. `contaminated.json` says which items of evaluation sets were found.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finetune.conversations import InstructionSet, NotAConversation, check_columns, conversation_of
from finetune.duplicates import find_duplicates
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.documents import DocumentWriter, read_documents, text_fraction
from snakmodel.languages import LanguageChoice, Tell, judge_language, language_inputs, load_backend
from snakmodel.ngrams import Index, build_index
from snakmodel.prompts import Turns
from snakmodel.records import begin, write_json
from snakmodel.tables import as_input, read_rows, resolve_revision
from snakmodel.testsets import Search, find_items, find_testsets, read_testsets, summarise, testset_inputs

IDENTITY = "identity"  # the source of the recipe's own pairs
ROWS_BETWEEN_LINES = 200_000  # of progress
TURNS = {"turns": pa.string()}
REMARKS = {"reason": pa.string(), "item": pa.string(), "overlap": pa.float64(), "shared": pa.string()}

Documents = Iterator[dict[str, Any]]
Counts = dict[str, dict[str, Any]]  # of each set: seen, kept, and dropped by reason


@dataclass
class Settings:
    sets: dict[str, InstructionSet] = knob(help="name -> where it lies and which columns it has")
    identity: list[list[str]] = knob([], "[question, answer] pairs by which the model learns who it is")
    identity_repeats: int = knob(1, "copies of each identity pair", low=1)
    min_characters: int = knob(1, "of every answer", low=1)
    max_characters: int | None = knob(None, "of every answer; null: no limit", low=1)
    max_turns: int | None = knob(None, "answers in a conversation; null: no limit", low=1)
    language: LanguageChoice | None = knob(None, "the language that a whole conversation is in; null: any")
    duplicates: Literal["drop", "near", "keep"] = knob(
        "drop", "of conversations that repeat an earlier one but for case, spaces and punctuation; near: or nearly do"
    )
    min_similarity: float = knob(
        0.85, "near: estimated Jaccard similarity of two conversations' 5-grams", above=0, high=1
    )
    decontaminate: Search | None = knob(None, "evaluation sets whose items must not be in conversations; null: none")
    validation_share: float = knob(
        0.0, "of each set's conversations, held out by the hash of their ids", low=0, high=0.5
    )


def main() -> None:
    command = read_command(Settings, "instructions", __doc__)
    check(command)
    s, folder = command.settings, command.run.folder("instructions")
    search = s.decontaminate or Search(testsets=[])
    testsets = find_testsets(search, "instructions.decontaminate")
    if s.decontaminate is not None:
        command = replace(command, settings=replace(s, decontaminate=replace(search, own=testsets)))
    inputs = testset_inputs(testsets)
    for name, each in s.sets.items():
        inputs[f"sets.{name}"] = as_input(each.path, each.configuration, each.split, each.revision, label(name))
    if s.language is not None:
        inputs |= language_inputs(s.language, "instructions.language")
    work = begin(command, folder, inputs)
    if work is None:
        return
    revisions = {name: resolve_revision(e.path, e.revision, label(name)) for name, e in s.sets.items()}
    items, testset_revisions = read_testsets(testsets)
    index = build_index([item["text"] for item in items], search.ngram, search.min_words)
    found = Counter[tuple[str, str]]()
    tell = None
    if (chosen := s.language) is not None:
        tell = load_backend(chosen.backend, chosen.languages, chosen.model)
    judged = folder / ".judged.parquet"
    counts: Counts = {}
    with DocumentWriter(judged, TURNS | REMARKS) as out:
        for name, each in s.sets.items():
            documents = read_set(name, replace(each, revision=revisions[name]), s, tell)
            if items:
                documents = search_items(documents, items, index, search.min_share, found)
            counts[name] = gather(name, documents, out)
    written = divide(judged, folder, counts, s)
    judged.unlink()
    write_json(folder / "contaminated.json", summarise(items, index, search.min_words, found))
    work.finish(counts=counts, written=written, revisions={"sets": revisions, "testsets": testset_revisions})


def label(name: str) -> str:
    """How messages call a set."""
    return f"instruction set {name}"


def check(command: Command[Settings]) -> None:
    """Refuses settings that contradict each other."""
    s, where = command.settings, f"{command.config}: instructions"
    for name, each in s.sets.items():
        check_columns(each, f"{where}.sets.{name}")
    if IDENTITY in s.sets:
        raise BadInput(f"{where}.sets: a set cannot be called {IDENTITY}, as the recipe's own pairs are; rename it")
    for number, pair in enumerate(s.identity):
        if len(pair) != 2 or not all(pair):
            raise BadInput(f"{where}.identity[{number}] should be [question, answer], got {pair!r}")
    if s.max_characters is not None and s.max_characters < s.min_characters:
        raise BadInput(f"{where}: max_characters {s.max_characters} is less than min_characters {s.min_characters}")
    if s.validation_share and s.duplicates == "keep":
        raise BadInput(
            f"{where}: validation_share {s.validation_share} with duplicates: keep would train on copies of what is "
            "held out; take duplicates: drop"
        )


def read_set(name: str, each: InstructionSet, s: Settings, tell: Tell | None) -> Documents:
    """Every row of a set as a document with the reason to drop it, or None; of one that is no conversation, the row."""
    rows = read_rows(each.path, each.configuration, each.split, each.revision, label(name))
    for number, row in enumerate(islice(rows, each.limit)):
        document: dict[str, Any] = {"source": name, "id": f"{name}:{number:08d}"}
        try:
            turns = conversation_of(row, each, label(name))
        except NotAConversation as fault:
            document |= {"text": json.dumps(row, ensure_ascii=False, default=str), "reason": str(fault)}
        else:
            document |= as_document(turns)
            document["reason"] = reason_to_drop(turns, document["text"], s, tell)
        yield document


def as_document(turns: Turns) -> dict[str, str]:
    """What is said in a conversation, and the conversation."""
    return {"text": "\n".join(turn["content"] for turn in turns), "turns": json.dumps(turns, ensure_ascii=False)}


def reason_to_drop(turns: Turns, text: str, s: Settings, tell: Tell | None) -> str | None:
    """Why a conversation is not wanted, by its lengths and its language; None where it is."""
    answers = [len(turn["content"]) for turn in turns if turn["role"] == "assistant"]
    if min(answers) < s.min_characters:
        return "an answer is too short"
    if s.max_characters is not None and max(answers) > s.max_characters:
        return "an answer is too long"
    if s.max_turns is not None and len(answers) > s.max_turns:
        return "too many turns"
    if s.language is not None and tell is not None:
        return judge_language(text, tell, s.language)[2]
    return None


def search_items(
    documents: Documents, items: list[dict[str, str]], index: Index, min_share: float, found: Counter[tuple[str, str]]
) -> Documents:
    """The documents, of which those that hold an item of an evaluation set now have that as their reason.

    Counts in `found` the texts that hold each item.
    """
    for document, findings in find_items(documents, items, index, min_share):
        if findings and document["reason"] is None:
            found.update((finding.testset, finding.item) for finding in findings)
            document |= {**findings[0]._asdict(), "reason": f"contaminated by {findings[0].testset}"}
        yield document


def gather(name: str, documents: Documents, out: DocumentWriter) -> dict[str, Any]:
    """Writes the documents of a set to `out`; their counts."""
    counts: dict[str, Any] = {"seen": 0, "kept": 0, "dropped": Counter[str]()}
    for document in documents:
        out.write(document)
        counts["seen"] += 1
        if document["reason"] is None:
            counts["kept"] += 1
        else:
            counts["dropped"][document["reason"]] += 1
        if counts["seen"] % ROWS_BETWEEN_LINES == 0:
            print(f"{name}: {counts['seen']:,} rows read", flush=True)
    print(f"{name}: all {counts['seen']:,} rows read", flush=True)
    refuse_empty(name, counts)
    return counts


def divide(judged: Path, folder: Path, counts: Counts, s: Settings) -> dict[str, int]:
    """Writes the training, the held-out and the rejected conversations, and the identity pairs; completes the counts.

    Returns how many there are to train on and held out, copies included.
    """
    ids = pq.read_table(judged, columns=["id"])["id"].combine_chunks()
    first_N, exact_N = np.arange(len(ids)), np.zeros(len(ids), dtype=bool)
    if s.duplicates != "keep":
        first_N, exact_N = find_duplicates(judged, s.min_similarity if s.duplicates == "near" else None)
    train, validation = (DocumentWriter(folder / f"{name}.parquet", TURNS) for name in ("train", "validation"))
    rejects = DocumentWriter(folder / "rejects/train.parquet", TURNS | REMARKS | {"duplicate_of": pa.string()})
    with train, validation, rejects:
        for row, document in enumerate(read_documents(judged)):
            name = document["source"]
            if first_N[row] != row:
                document["reason"] = "exact duplicate" if exact_N[row] else "near duplicate"
                document["duplicate_of"] = ids[int(first_N[row])].as_py()
                counts[name]["kept"] -= 1
                counts[name]["dropped"][document["reason"]] += 1
            if document["reason"] is not None:
                rejects.write(document)
            elif text_fraction(document["id"]) < s.validation_share:
                validation.write(document)
            else:
                write_copies(train, document, s.sets[name].repeats)
        for number, (asked, answer) in enumerate(s.identity):
            pair = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            document = {"source": IDENTITY, "id": f"{IDENTITY}:{number:08d}", **as_document(pair)}
            write_copies(train, document, s.identity_repeats)
        for name, each in counts.items():
            refuse_empty(name, each)
            print(f"{name}: kept {each['kept']:,} of {each['seen']:,}{listed(each['dropped'])}", flush=True)
    counts[IDENTITY] = {"seen": len(s.identity), "kept": len(s.identity), "dropped": {}}
    return {"train": train.count, "validation": validation.count}


def write_copies(out: DocumentWriter, document: dict[str, Any], copies: int) -> None:
    """Writes a document so many times; the ids of its copies end in #1, #2, ..."""
    out.write(document)
    for copy in range(1, copies):
        out.write({**document, "id": f"{document['id']}#{copy}"})


def refuse_empty(name: str, counts: dict[str, Any]) -> None:
    """A set of which nothing stays is a mistake: of the recipe's columns or filters, or the set is another's copy."""
    if not counts["kept"]:
        why = listed(counts["dropped"])
        raise BadInput(
            f"{label(name)} keeps none of its {counts['seen']:,} rows{why}: correct its columns or the filters"
        )


def listed(dropped: Counter[str]) -> str:
    """The reasons with their counts, the most frequent first."""
    return "".join(f"; {count:,} {reason}" for reason, count in dropped.most_common())


if __name__ == "__main__":
    run_script(main)
