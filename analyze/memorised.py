"""What may show that a model has seen a text: pure measures of its words and of its tokens' probabilities."""

import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz.distance import LCSseq

from snakmodel.intervals import wilson

Row = dict[str, Any]
Items = list[tuple[str, str]]  # id, text
Interval = tuple[float, float, float]  # value, and both ends of its 95 % interval
SWAP_EVERY = 6  # words of a rule-made paraphrase in which two neighbours change places
RESAMPLES, SEED = 1_000, 4242


class Pair(NamedTuple):
    """The beginning of something that a model may know by heart, and how it goes on."""

    item: str  # id
    prompt: str
    reference: str


def second_halves(items: Items) -> list[Pair]:
    """Each item (id, text) cut in the middle of its words."""
    pairs = []
    for id, text in items:
        words = text.split()
        middle = len(words) // 2
        pairs.append(Pair(id, " ".join(words[:middle]), " ".join(words[middle:])))
    return [pair for pair in pairs if pair.prompt]


def next_sentences(items: Items) -> list[Pair]:
    """The first sentence of each item that has two, and the second."""
    # before a capital letter: "den 24. maj" is one sentence
    split = [(id, re.split(r"(?<=[.!?])\s+(?=\W*[A-ZÄÅÆÉÖØÜ])", text.strip())) for id, text in items]
    return [Pair(id, sentences[0], sentences[1]) for id, sentences in split if len(sentences) > 1]


def next_items(items: Items, fitting: Items) -> list[Pair]:
    """Each item on a line of its own, and the one that follows it in its set, where both are among the fitting."""
    usable = set(fitting)
    return [Pair(one[0], one[1] + "\n", after[1]) for one, after in pairwise(items) if {one, after} <= usable]


def longest_run(text: str, reference: str) -> int:
    """Words of the longest run that two texts share."""
    one, other = text.split(), reference.split()
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words; 0 where a text is empty."""
    one, other = text.split(), reference.split()
    common = LCSseq.similarity(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0


def min_k(log_probabilities: Sequence[float], share: float) -> float:
    """Mean log-probability of the least probable `share` of the tokens, at least one (Shi et al. 2024, min-k% prob)."""
    lowest = sorted(log_probabilities)[: math.ceil(share * len(log_probabilities))]
    return sum(lowest) / len(lowest)


def swap_words(text: str) -> str:
    """A text in which the third and fourth of every six words have changed places: a paraphrase made by rule."""
    words = text.split()
    for place in range(2, len(words) - 1, SWAP_EVERY):
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean, and its 95 % interval: the percentile bootstrap over items."""
    array = np.array(values, dtype=float)
    draws = np.random.default_rng(SEED).integers(len(array), size=(RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), [0.025, 0.975])
    return float(array.mean()), float(low), float(high)


def share_interval(hits: Sequence[bool]) -> Interval:
    """Share of hits, and its interval."""
    return sum(hits) / len(hits), *wilson(sum(hits), len(hits))


def auc_interval(scores: Sequence[float], controls: Sequence[float]) -> Interval:
    """Probability that an item's score is above a control's, ties counting half, and its bootstrapped 95 % interval."""
    one, other = np.array(scores), np.array(controls)
    above = np.sign(one[:, None] - other[None, :]) / 2 + 0.5
    generator = np.random.default_rng(SEED)
    values = [
        above[
            np.ix_(generator.integers(len(one), size=len(one)), generator.integers(len(other), size=len(other)))
        ].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(above.mean()), float(low), float(high)


def row_of(measure: str, unit: str, interval: Interval, items: int) -> Row:
    """A row of a measure."""
    value, low, high = interval
    return {"measure": measure, "unit": unit, "value": value, "low": low, "high": high, "items": items}


def judge(pair: Pair, other: Pair, said: str) -> Row:
    """What was said after a prompt, beside how it goes on, and beside how another item does: the control."""
    return {
        "item": pair.item,
        "prompt": pair.prompt,
        "reference": pair.reference,
        "said": said,
        "exact": said.split() == pair.reference.split(),
        "longest_run": longest_run(said, pair.reference),
        "longest_run_control": longest_run(said, other.reference),
        "rouge_l": rouge_l(said, pair.reference),
        "rouge_l_control": rouge_l(said, other.reference),
    }


def summarise_pairs(judged: list[Row]) -> list[Row]:
    """The rows of a probe that completes."""
    rows = [row_of("exact", "ratio", share_interval([row["exact"] for row in judged]), len(judged))]
    for measure, unit in (("longest_run", "words"), ("rouge_l", "ratio")):
        for name in (measure, f"{measure}_control"):
            rows.append(row_of(name, unit, mean_interval([row[name] for row in judged]), len(judged)))
    return rows


def summarise_membership(measured: list[Row]) -> list[Row]:
    """The rows of membership."""
    units = {"min_k": "nats per token", "bits_per_byte": "bits per byte", "against_paraphrase": "bits per byte"}
    return [
        row_of(name, unit, mean_interval([row[name] for row in measured]), len(measured))
        for name, unit in units.items()
    ]
