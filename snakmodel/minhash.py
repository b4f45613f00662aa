"""MinHash: near-duplicates by comparing short signatures instead of texts.

Broder (1997), On the resemblance and containment of documents; banding as in Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, chapter 3. Shapes: N documents, P permutations, S shingles (runs of words) of all documents; words as
in snakmodel/ngrams.py. Sums and products wrap at 2^64.
"""

import numpy as np
from numpy.typing import NDArray

from snakmodel.ngrams import MULTIPLIER, hash_runs, hash_words, mix

# of the permutations: odd, and 64 bits wide, as narrower ones would not wrap and all would keep the order
MULTIPLIERS = np.random.default_rng(42).integers(0, 1 << 64, size=1_024, dtype=np.uint64) | np.uint64(1)
MOST_FIRSTS = 256  # documents of a group that others are compared with


def hash_shingles(texts: list[str], ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes [S] of all runs of `ngram` words of each text, one text after the other, and how many each has [N]."""
    return hash_runs(*hash_words(texts), ngram)


def sign(texts: list[str], ngram: int, permutations: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Signatures [N, P], and whether each text has one [N]: it needs `ngram` words.

    Under each permutation a text's smallest shingle, by the upper half of the product.
    """
    shingles_S, counts_N = hash_shingles(texts, ngram)
    signed_N = counts_N > 0
    signatures_NP = np.zeros((len(texts), permutations), dtype=np.uint32)
    if signed_N.any():
        counts = counts_N[signed_N]
        begins = np.cumsum(counts) - counts
        for permutation in range(permutations):
            smallest = np.minimum.reduceat(shingles_S * MULTIPLIERS[permutation], begins)
            signatures_NP[signed_N, permutation] = smallest >> np.uint64(32)
    return signatures_NP, signed_N


def band_keys(signatures_NP: NDArray[np.uint32], band: int, rows: int) -> NDArray[np.uint64]:
    """Keys [N]: equal where two signatures agree in all rows of a band."""
    keys_N = np.zeros(len(signatures_NP), dtype=np.uint64)
    for row in range(band * rows, (band + 1) * rows):
        keys_N = mix(keys_N * MULTIPLIER + signatures_NP[:, row])
    return keys_N


def link_alike(
    keys_N: NDArray[np.uint64], positions_N: NDArray[np.int64], values_NV: NDArray[np.uint32], threshold: float
) -> NDArray[np.int64]:
    """Pairs [pairs, 2] of documents, by position, that share a key and `threshold` of their values, first < second.

    Of signatures, the share of equal values estimates the Jaccard similarity J of the shingles, with a standard
    deviation of sqrt(J (1 - J) / P). Within a key's group every document is compared with the group's first one, those
    unlike it with the first of them, and so on, up to MOST_FIRSTS times: a template with many fillings makes a large
    group of documents that are unlike each other.
    """
    order = np.lexsort((positions_N, keys_N))
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for _ in range(MOST_FIRSTS):
        if not len(order):
            break
        keys = keys_N[order]
        begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        firsts = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
        others = order != firsts
        firsts, order = firsts[others], order[others]
        alike = np.zeros(len(order), dtype=bool)
        for start in range(0, len(order), 100_000):  # as many rows at a time as stay small
            some = slice(start, start + 100_000)
            alike[some] = (values_NV[firsts[some]] == values_NV[order[some]]).mean(axis=1) >= threshold
        pairs.append(positions_N[np.stack([firsts[alike], order[alike]], axis=1)])
        order = order[~alike]
    return np.concatenate(pairs)
