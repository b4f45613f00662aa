"""MinHash for near-duplicates: signatures that agree in as many places as two documents' shingles overlap.

Broder (1997), On the resemblance and containment of documents; banding as in Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3. Shapes: N documents, P permutations, S shingles of a document.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SEED = 42  # as in the original's call of text-dedup
SHINGLES_AT_A_TIME = 1_024  # times P products of 8 bytes: stays within the processor's cache
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio

Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]
Positions = NDArray[np.int64]


@lru_cache(maxsize=1 << 18)
def hash_word(word: str) -> int:
    """64 bits of a word."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def hash_shingles(text: str, ngram: int) -> Hashes:
    """Hashes [S] of all runs of `ngram` words, lower-cased, cut at all but letters, digits and _; S may be 0."""
    words = np.array([hash_word(word) for word in re.split(r"\W+", text.lower()) if word], dtype=np.uint64)
    count = max(len(words) - ngram + 1, 0)
    shingles = np.zeros(count, dtype=np.uint64)
    for offset in range(ngram):
        shingles = shingles * MULTIPLIER + words[offset : offset + count]  # wraps at 2^64, as all hashes here
    return mix(shingles)


def mix(hashes: Hashes) -> Hashes:
    """Spreads every bit over all others (the finaliser of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def draw_permutations(permutations: int) -> Hashes:
    """Odd 64-bit multipliers [P]. Narrower ones would not wrap, and every "permutation" would keep the order."""
    draws = np.random.default_rng(SEED).integers(0, 1 << 64, size=permutations, dtype=np.uint64)
    return draws | np.uint64(1)


def sign(shingles: Hashes, multipliers: Hashes) -> Signatures:
    """Signature [P] of a document: under each permutation its smallest shingle, by the upper half of the product."""
    signature = np.full(len(multipliers), np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(shingles), SHINGLES_AT_A_TIME):
        products_SP = shingles[start : start + SHINGLES_AT_A_TIME, None] * multipliers
        np.minimum(signature, (products_SP.min(axis=0) >> np.uint64(32)).astype(np.uint32), out=signature)
    return signature


def estimate_jaccard(signatures: Signatures, signature: Signatures) -> NDArray[np.float64]:
    """Estimated Jaccard similarity [N] of documents' shingles to one document's; its sd is sqrt(J (1 - J) / P)."""
    return (signatures == signature).mean(axis=-1)


def groups_of_equal(keys: Hashes) -> Iterator[Positions]:
    """Positions with the same key, rising, wherever there are two or more."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[order][1:] != keys[order][:-1]]))
    ends = np.append(starts[1:], len(keys))
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            yield order[start:end]


def find_pairs(signatures: Signatures, bands: int, rows: int, threshold: float) -> Positions:
    """Pairs [pairs, 2] of near-duplicates, first < second.

    Candidates agree in all rows of a band; a pair counts when its whole signatures agree to the threshold. Within a
    band's group every document is compared with the group's first one, those unlike it with the first of them, ...
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for band in range(bands if len(signatures) else 0):
        keys = np.zeros(len(signatures), dtype=np.uint64)
        for row in range(band * rows, (band + 1) * rows):
            keys = mix(keys * MULTIPLIER + signatures[:, row])
        for group in groups_of_equal(keys):
            while len(group) > 1:
                first, rest = group[0], group[1:]
                similar = estimate_jaccard(signatures[rest], signatures[first]) >= threshold
                pairs.append(np.stack([np.full(similar.sum(), first), rest[similar]], axis=1))
                group = rest[~similar]
    return np.concatenate(pairs)


def first_of_cluster(count: int, pairs: Positions) -> Positions:
    """For each of `count` documents the first one that it is linked to by pairs, directly or through others."""
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, firsts = np.unique(labels, return_index=True)
    return firsts[labels]
