"""Conversations as rows of tokens: what is learnt, what is dropped and why, which conversations share a row.

Shapes: N tokens of all conversations, R rows, B rows of a micro-batch, T tokens of the longest of them.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jinja2 import TemplateError

from snakmodel.prompts import IGNORED, NotLearnable, training_ids

Packing = Literal["isolated", "plain", "none"]
WINDOW = 1_024  # conversations that are fitted into rows together: more would fill them little better, and take longer


@dataclass(frozen=True)
class Examples:
    """Conversations as tokens, one after the other."""

    ids_N: np.ndarray
    labels_N: np.ndarray  # of what is learnt its id, else IGNORED
    ends: np.ndarray  # of each conversation, in N

    def __len__(self) -> int:
        return len(self.ends)

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and labels of one conversation. Nothing stands before its first token, which is never learnt."""
        begin, end = int(self.ends[number - 1]) if number else 0, int(self.ends[number])
        labels = self.labels_N[begin:end].copy()
        labels[0] = IGNORED
        return self.ids_N[begin:end], labels


def tokenise(
    documents: Iterable[dict[str, Any]], tokenizer: Any, loss_on: Literal["answer", "all"], longest: int | None
) -> tuple[Examples, dict[str, int]]:
    """The conversations in the documents' `turns`, and the counts of those dropped, by reason.

    longest: tokens of the longest conversation that is kept; None: all are.
    """
    ids, labels, ends = array("i"), array("i"), array("q")
    dropped = Counter[str]()
    for document in documents:
        try:
            whole, learnt = training_ids(tokenizer, json.loads(document["turns"]))
        except (NotLearnable, TemplateError) as reason:
            dropped[str(reason)] += 1
            continue
        if longest is not None and len(whole) > longest:
            dropped["longer than sequence_length"] += 1
            continue
        ids.extend(whole)
        labels.extend(learnt if loss_on == "answer" else whole)
        ends.append(len(ids))
    return Examples(*(np.array(each) for each in (ids, labels, ends))), dict(dropped)


def pack(examples: Examples, length: int, packing: Packing, seed: int) -> tuple[Examples, list[list[int]]]:
    """Rows of at most `length` tokens, each a list of the numbers of its conversations.

    isolated: as many whole conversations as fit. plain: all of them in a seeded order, cut anew every `length` tokens
    (the paper's way; what is cut counts as one conversation). none: one a row.
    """
    if packing == "plain":
        examples = cut(examples, length, seed)
    if packing == "isolated":
        return examples, fit(np.diff(examples.ends, prepend=0), length, seed)
    return examples, [[number] for number in range(len(examples))]


def cut(examples: Examples, length: int, seed: int) -> Examples:
    """The conversations in a seeded order as one stream, cut every `length` tokens; the last piece may be shorter."""
    starts = np.concatenate([[0], examples.ends[:-1]])
    order = shuffled(len(examples), seed, 0)
    stream = np.concatenate([np.arange(starts[number], examples.ends[number]) for number in order])
    ends = np.append(np.arange(length, len(stream), length), len(stream))
    return Examples(examples.ids_N[stream], examples.labels_N[stream], ends)


def fit(lengths: np.ndarray, length: int, seed: int) -> list[list[int]]:
    """First-fit-decreasing, in windows of a seeded order: each into the first row that has room (Johnson 1973)."""
    rows: list[list[int]] = []
    order = shuffled(len(lengths), seed, 0)
    for begin in range(0, len(order), WINDOW):
        window = order[begin : begin + WINDOW]
        room: list[int] = []  # of the rows that this window has begun
        first = len(rows)
        for number in window[np.argsort(-lengths[window], kind="stable")].tolist():
            size = int(lengths[number])
            place = next((place for place, free in enumerate(room) if free >= size), len(room))
            if place == len(room):
                room.append(length)
                rows.append([])
            room[place] -= size
            rows[first + place].append(number)
    return rows


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers below `count` in the order of an epoch: a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


class Rows:
    """All rows of a tuning in the order in which they are learnt; what a DataLoader reads one after the other.

    Every epoch has an order of its own, and ends in empty rows, of which nothing is learnt, so that it is a whole
    number of optimiser steps: whatever the number of ranks, step k learns the same rows.
    """

    def __init__(self, examples: Examples, rows: list[list[int]], global_batch: int, epochs: float, seed: int) -> None:
        self.examples, self.rows, self.global_batch, self.seed = examples, rows, global_batch, seed
        self.steps_per_epoch = -(-len(rows) // global_batch)
        self.steps = max(1, round(epochs * self.steps_per_epoch))
        learnt = [int((examples.get(number)[1] != IGNORED).sum()) for number in range(len(examples))]
        sizes = np.diff(examples.ends, prepend=0)
        self.tokens_R = np.array([sum(int(sizes[number]) for number in row) for row in rows])
        self.learnt_R = np.array([sum(learnt[number] for number in row) for row in rows])

    def __len__(self) -> int:
        return self.steps * self.global_batch

    def __getitem__(self, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The conversations of a row, as ids and labels."""
        epoch, place = divmod(index, self.steps_per_epoch * self.global_batch)
        if place >= len(self.rows):
            return []
        return self.row(int(shuffled(len(self.rows), self.seed, 1 + epoch)[place]))

    def row(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """A row by its number, whatever the order."""
        return [self.examples.get(conversation) for conversation in self.rows[number]]

    def counted(self, step: int) -> tuple[int, int]:
        """Tokens, and tokens learnt, of the first `step` optimiser steps."""
        epochs, more = divmod(step, self.steps_per_epoch)
        begun = shuffled(len(self.rows), self.seed, 1 + epochs)[: more * self.global_batch]
        tokens, learnt = (
            int(epochs * count_R.sum() + count_R[begun].sum()) for count_R in (self.tokens_R, self.learnt_R)
        )
        return tokens, learnt

    def describe(self, length: int) -> str:
        """Rows, how full they are, and how many conversations share one."""
        full = self.tokens_R.sum() / (len(self.rows) * length)
        return (
            f"{len(self.rows):,} rows, {full:.1%} full, {sum(map(len, self.rows)) / len(self.rows):.2f} examples a row"
        )


def collate(rows_B: list[list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, Any]:
    """A micro-batch: input_ids, labels and, where rows hold several conversations, position_ids; int64, [B, T].

    Positions begin anew with each conversation; by that transformers tells them apart, when there is no mask. What
    fills a row up stands after its conversations, which cannot see it, and has no labels.
    """
    import torch  # late: --check needs none

    length_T = max([sum(len(ids) for ids, _ in row) for row in rows_B] + [1])
    ids_BT = torch.zeros(len(rows_B), length_T, dtype=torch.long)
    labels_BT = torch.full_like(ids_BT, IGNORED)
    positions_BT = torch.arange(length_T).repeat(len(rows_B), 1)
    for number, row in enumerate(rows_B):
        begin = 0
        for ids, labels in row:
            end = begin + len(ids)
            ids_BT[number, begin:end] = torch.from_numpy(ids)
            labels_BT[number, begin:end] = torch.from_numpy(labels)
            positions_BT[number, begin:] = torch.arange(length_T - begin)
            begin = end
    batch = {"input_ids": ids_BT, "labels": labels_BT}
    return batch | ({"position_ids": positions_BT} if any(len(row) > 1 for row in rows_B) else {})


def spell_out(ids: np.ndarray, labels: np.ndarray, tokenizer: Any) -> str:
    """A conversation as text, with what is learnt between marks, so that a wrong mask is seen at once."""
    learnt = labels != IGNORED
    borders = [0, *(np.flatnonzero(np.diff(learnt)) + 1).tolist(), len(ids)]
    parts = []
    for begin, end in zip(borders, borders[1:], strict=False):
        text = tokenizer.decode(ids[begin:end])
        parts.append(f">>>{text}<<<" if learnt[begin] else text)
    return " ".join(parts)
