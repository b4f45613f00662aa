"""Rows of any preference set as pairs of answers to one question, by a map of the set's columns.

Either `prompt` is a question (a text, or a list of turns), and `chosen` and `rejected` are answers to it; or there is
no prompt, and these are two whole conversations, which differ in their last answer alone: lists of turns, or
transcripts as in hh-rlhf (finetune/conversations.py reads them).
"""

import json
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from jinja2 import TemplateError

from finetune.conversations import NotAConversation, check_turns, read_turns, text_of
from snakmodel.config import BadInput, knob
from snakmodel.documents import text_fraction
from snakmodel.prompts import IGNORED, NotLearnable, Turns, prompt_ids, training_ids
from snakmodel.tables import as_input, column, read_rows, resolve_revision

Pair = dict[str, np.ndarray]  # prompt_ids, chosen_ids, rejected_ids: what TRL calls them


@dataclass
class PreferenceSet:
    path: str = knob(help="JSONL or Parquet file, or Hub id")
    prompt: str | None = knob(None, "column of the question; null: chosen and rejected are whole conversations")
    chosen: str = knob("chosen", "column of the better answer")
    rejected: str = knob("rejected", "column of the worse one")
    system: str | None = knob(None, "column of the system text; empty: none")
    configuration: str | None = knob(None, "of a Hub set")
    split: str = knob("train", "of a Hub set")
    revision: str | None = knob(None, "of a Hub set: a pinned commit; null: the newest, which is recorded")
    limit: int | None = knob(None, "rows to read, the first ones; null: all", low=1)


@dataclass(frozen=True)
class Pairs:
    """What is learnt, what is held out, and what became of every set's rows."""

    train: list[Pair]
    held_out: list[Pair]
    counts: dict[str, dict[str, Any]]  # of each set: seen, kept, and dropped by reason
    rejects: list[dict[str, Any]]  # what was dropped: set, number of the row from 0, reason
    revisions: dict[str, str | None]


def label(name: str) -> str:
    """How messages call a set."""
    return f"preference set {name}"


def inputs_of(sets: dict[str, PreferenceSet]) -> dict[str, Any]:
    """The sets as inputs of records.begin."""
    return {
        f"sets.{name}": as_input(each.path, each.configuration, each.split, each.revision, label(name))
        for name, each in sets.items()
    }


def pair_of(row: dict[str, Any], columns: PreferenceSet, label: str) -> tuple[Turns, Turns]:
    """Two conversations that differ in their last answer, the better one first.

    Raises NotAConversation for a row that is none, and BadInput for a column that the set does not have.
    """
    before: Turns = []
    if columns.system is not None and (system := text_of(row, columns.system, label)):
        before = [{"role": "system", "content": system}]
    if columns.prompt is not None:
        before += said(column(row, columns.prompt, label), "user")
    chosen, rejected = (
        before + (read_turns(value) if columns.prompt is None else said(value, "assistant"))
        for value in (column(row, name, label) for name in (columns.chosen, columns.rejected))
    )
    check_turns(chosen)
    check_turns(rejected)
    if chosen[:-1] != rejected[:-1]:
        raise NotAConversation("chosen and rejected differ before their last answer")
    if chosen == rejected:
        raise NotAConversation("chosen and rejected are the same")
    return chosen, rejected


def said(value: Any, role: str) -> Turns:
    """A text as this role's turn; a list of turns as it is."""
    return read_turns(value) if isinstance(value, list) else [{"role": role, "content": str(value or "").strip()}]


def pair_ids(tokenizer: Any, chosen: Turns, rejected: Turns) -> Pair:
    """Tokens of the question, and of both answers with their end of text. Raises NotLearnable."""
    prompt = prompt_ids(tokenizer, chosen[:-1])
    pair = {"prompt_ids": np.array(prompt, dtype=np.int32)}
    for name, turns in (("chosen_ids", chosen), ("rejected_ids", rejected)):
        ids, labels = (np.array(each[len(prompt) :], dtype=np.int32) for each in training_ids(tokenizer, turns))
        pair[name] = ids[labels != IGNORED]
    return pair


def read_pairs(sets: dict[str, PreferenceSet], tokenizer: Any, sequence_length: int, validation_share: float) -> Pairs:
    """The pairs of all sets as tokens. Held out are questions by their hash, each with all its pairs."""
    found = Pairs([], [], {}, [], {name: resolve_revision(e.path, e.revision, label(name)) for name, e in sets.items()})
    for name, each in sets.items():
        seen, dropped = 0, Counter[str]()
        rows = read_rows(each.path, each.configuration, each.split, found.revisions[name], label(name))
        for row in islice(rows, each.limit):
            seen += 1
            try:
                chosen, rejected = pair_of(row, each, label(name))
                pair = pair_ids(tokenizer, chosen, rejected)
                if len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"])) > sequence_length:
                    raise NotLearnable("longer than sequence_length")
            except (NotAConversation, NotLearnable, TemplateError) as reason:
                dropped[str(reason)] += 1
                found.rejects.append({"set": name, "row": seen - 1, "reason": str(reason)})
                continue
            question = json.dumps(chosen[:-1], ensure_ascii=False)
            (found.held_out if text_fraction(question) < validation_share else found.train).append(pair)
        kept, why = seen - dropped.total(), "".join(f"; {n:,} {reason}" for reason, n in dropped.most_common())
        if not kept:
            raise BadInput(
                f"{label(name)} keeps none of its {seen:,} rows{why}: correct its columns or sequence_length"
            )
        found.counts[name] = {"seen": seen, "kept": kept, "dropped": dict(dropped)}
    if not found.train:
        raise BadInput(f"all {len(found.held_out):,} preference pairs are held out: lower validation_share")
    return found
