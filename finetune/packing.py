"""Which conversations share a row, and the order in which rows are learnt.

Shapes: R rows.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from finetune.examples import Examples
from snakmodel.prompts import IGNORED

Packing = Literal["isolated", "plain", "none"]
WINDOW = 1_024  # conversations that are fitted into rows together: more would fill them little better, and take longer


@dataclass(frozen=True)
class Stream:
    """All conversations in an order as one text, cut anew every `length` tokens: read as Examples are, piece by piece.

    The last piece may be shorter; what is cut counts as one conversation.
    """

    examples: Examples
    order: np.ndarray  # of the conversations
    ends: np.ndarray  # of each of them in the stream
    length: int

    def __len__(self) -> int:
        return -(-int(self.ends[-1]) // self.length)

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and labels of one piece, as Examples.get."""
        begin, end = number * self.length, min((number + 1) * self.length, int(self.ends[-1]))
        parts = []
        for place in range(*np.searchsorted(self.ends, [begin, end - 1], side="right") + [0, 1]):
            conversation = int(self.order[place])
            # how far the stream is ahead of where the conversation is stored
            shift = int(self.ends[place]) - int(self.examples.ends[conversation])
            start = int(self.ends[place - 1]) if place else 0
            parts.append((max(begin, start) - shift, min(end, int(self.ends[place])) - shift))
        return self.examples.join(parts)

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each piece, and those learnt."""
        each = [(len(labels), int((labels != IGNORED).sum())) for _, labels in map(self.get, range(len(self)))]
        sizes, learnt = np.array(each).T
        return sizes, learnt


def pack(examples: Examples, length: int, packing: Packing, seed: int) -> tuple[Examples | Stream, list[list[int]]]:
    """Rows of at most `length` tokens, each a list of the numbers of its conversations.

    isolated: as many whole conversations as fit. plain: all of them in a seeded order, cut anew every `length` tokens
    (the paper's way). none: one a row.
    """
    sizes = np.diff(examples.ends, prepend=0)
    if packing == "isolated":
        return examples, fit(sizes, length, seed)
    if packing == "none":
        return examples, [[number] for number in range(len(examples))]
    order = shuffled(len(examples), seed, 0)
    stream = Stream(examples, order, np.cumsum(sizes[order]), length)
    return stream, [[number] for number in range(len(stream))]


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
    number of optimiser steps: whatever the number of ranks, step k learns the same rows. A row without anything to
    learn (a piece of a stream that is all question) is left out: a step of such rows would have no loss.
    """

    def __init__(
        self, examples: Examples | Stream, rows: list[list[int]], global_batch: int, epochs: float, seed: int
    ) -> None:
        sizes, learnt = examples.counts()
        self.rows = [row for row in rows if learnt[row].any()]
        self.left_out = len(rows) - len(self.rows)
        self.examples, self.global_batch, self.seed = examples, global_batch, seed
        self.steps_per_epoch = -(-len(self.rows) // global_batch)
        self.steps = max(1, round(epochs * self.steps_per_epoch))
        self.tokens_R = np.array([int(sizes[row].sum()) for row in self.rows])
        self.learnt_R = np.array([int(learnt[row].sum()) for row in self.rows])

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
        each = sum(map(len, self.rows)) / len(self.rows)
        left_out = f", {self.left_out:,} without an answer left out" if self.left_out else ""
        return f"{len(self.rows):,} rows, {full:.1%} full, {each:.2f} examples a row{left_out}"
