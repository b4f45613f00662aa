"""SnakModel's own measure of leakage: for each evaluation set the first words of some random sentences.

Its scripts shuffle 200 rows with a seed, take one sentence of each, strip the marks, keep the first 8 words where there
are 6 or more, and count the n-grams in the corpus. Which rows a seed draws differs from theirs.
"""

import random
import re
from typing import NamedTuple

from snakmodel.ngrams import WORD

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
LONGEST, SHORTEST = 8, 6  # words, as in SnakModel's scripts


class Sampled(NamedTuple):
    """One n-gram of a sample."""

    seed: int
    testset: str
    item: str
    text: str  # from the first letter of its first word to the last of its last


def sample_ngrams(items: list[dict[str, str]], seeds: list[int], rows: int) -> list[Sampled]:
    """For each seed and set the first words of a random sentence of at most `rows` random items."""
    by_set: dict[str, list[dict[str, str]]] = {}
    for item in items:
        by_set.setdefault(item["source"], []).append(item)
    sampled = []
    for seed in seeds:
        for name, mine in by_set.items():
            rng = random.Random(f"{seed} {name}")  # a set's sample does not hang on the other sets
            for item in rng.sample(mine, min(rows, len(mine))):
                sentences = [text for text in SENTENCE_END.split(item["text"]) if WORD.search(text)]
                text = first_words(rng.choice(sentences)) if sentences else None
                if text is not None:
                    sampled.append(Sampled(seed, name, item["id"], text))
    return sampled


def first_words(sentence: str) -> str | None:
    """The first LONGEST words as they are written; None of a sentence of fewer than SHORTEST."""
    words = list(WORD.finditer(sentence))[:LONGEST]
    return sentence[words[0].start() : words[-1].end()] if len(words) >= SHORTEST else None
