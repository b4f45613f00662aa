"""MinHash: near-duplicates by comparing short signatures instead of texts.

Broder (1997), On the resemblance and containment of documents; banding as in Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, chapter 3. Shapes: N documents, P permutations, S shingles (runs of words) of a document.
Sums and products wrap at 2^64.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# of the permutations: odd, and 64 bits wide, as narrower ones would not wrap and all would keep the order
MULTIPLIERS = np.random.default_rng(42).integers(0, 1 << 64, size=1_024, dtype=np.uint64) | np.uint64(1)
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of rolling hashes: odd, from the golden ratio
SHINGLES_AT_A_TIME = 1_024  # times P products of 8 bytes: stays within the processor's cache


@lru_cache(maxsize=1 << 18)
def hash_word(word: str) -> int:
    """64 bits of a word."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def mix(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spreads every bit over all others (the finaliser of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def hash_shingles(text: str, ngram: int) -> NDArray[np.uint64]:
    """Hashes [S] of all runs of `ngram` words, lower-cased, cut at all but letters, digits and _; S may be 0."""
    words = np.array([hash_word(word) for word in re.findall(r"\w+", text.lower())], dtype=np.uint64)
    count = max(len(words) - ngram + 1, 0)
    shingles = np.zeros(count, dtype=np.uint64)
    for offset in range(ngram):
        shingles = shingles * MULTIPLIER + words[offset : offset + count]
    return mix(shingles)


def sign(shingles: NDArray[np.uint64], permutations: int) -> NDArray[np.uint32]:
    """Signature [P] of a document: under each permutation its smallest shingle, by the upper half of the product."""
    smallest = np.full(permutations, np.iinfo(np.uint64).max)
    for start in range(0, len(shingles), SHINGLES_AT_A_TIME):
        products_SP = shingles[start : start + SHINGLES_AT_A_TIME, None] * MULTIPLIERS[:permutations]
        np.minimum(smallest, products_SP.min(axis=0), out=smallest)
    return (smallest >> np.uint64(32)).astype(np.uint32)


def find_pairs(signatures_NP: NDArray[np.uint32], bands: int, rows: int, threshold: float) -> NDArray[np.int64]:
    """Pairs [pairs, 2] of near-duplicates, first < second, by the Jaccard similarity J of their shingles.

    Candidates agree in all rows of a band; of them a pair counts when the share of the P places in which they agree,
    which estimates J with sd sqrt(J (1 - J) / P), reaches the threshold. Within a band's group every document is
    compared with the group's first one, those unlike it with the first of them, ...
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for band in range(bands):
        keys = np.zeros(len(signatures_NP), dtype=np.uint64)
        for row in range(band * rows, (band + 1) * rows):
            keys = mix(keys * MULTIPLIER + signatures_NP[:, row])
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        for start, end in pairwise(np.concatenate([[0], starts, [len(keys)]])):
            group = order[start:end]
            while len(group) > 1:
                first, rest = group[0], group[1:]
                similar = (signatures_NP[rest] == signatures_NP[first]).mean(axis=1) >= threshold
                pairs.append(np.stack([np.full(similar.sum(), first), rest[similar]], axis=1))
                group = rest[~similar]
    return np.concatenate(pairs)
