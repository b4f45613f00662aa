"""Conversations that repeat an earlier one, word for word or nearly.

Shapes: N rows of a file, M of them compared; B bands and P permutations of MinHash (snakmodel/minhash.py).
"""

import json
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from snakmodel.documents import batches, read_documents
from snakmodel.minhash import band_keys, link_alike, sign
from snakmodel.ngrams import words_of

NGRAM, PERMUTATIONS, BANDS, ROWS = 5, 96, 8, 8  # those of pretrain/corpus/deduplicate.py
DOCUMENTS_AT_A_TIME = 2_000

Rows = NDArray[np.int64]


def find_duplicates(path: Path, similarity: float | None) -> tuple[Rows, NDArray[np.bool_]]:
    """Of every row of a file an earlier one that it repeats, or itself [N], and whether it does so word for word [N].

    Word for word: case, spaces and punctuation may differ. similarity: the least estimated Jaccard similarity of the
    5-grams of nearly the same texts; None: they are not looked for. Rows with a `reason` are not compared.
    """
    count = pq.read_metadata(path).num_rows
    digests, compared = array("Q"), array("q")  # eight bytes each; a set of integers would take many times that
    for row, document in enumerate(read_documents(path, ["turns", "reason"])):
        if document["reason"] is None:
            digests.append(digest(document["turns"]))
            compared.append(row)
    rows_M = np.array(compared, dtype=np.int64)
    _, places, inverse_M = np.unique(np.array(digests, dtype=np.uint64), return_index=True, return_inverse=True)
    first_N = np.arange(count)
    first_N[rows_M] = rows_M[places[inverse_M]]
    exact_N = first_N != np.arange(count)
    if similarity is not None:
        compared_N = np.zeros(count, dtype=bool)
        compared_N[rows_M[places]] = True
        for pairs in find_near(path, compared_N, similarity):
            np.minimum.at(first_N, pairs[:, 1], pairs[:, 0])
        while not np.array_equal(earlier_N := first_N[first_N], first_N):
            first_N = earlier_N  # one that stays, not one that is a duplicate itself
    return first_N, exact_N


def digest(turns: str) -> int:
    """64 bits of what is said in a conversation, whatever its case, spaces and punctuation."""
    contents = [turn["content"] for turn in json.loads(turns)]
    said = "\n".join(" ".join(words_of(content) or content.split()) for content in contents)  # "?!" has no words
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "little")


def find_near(path: Path, compared_N: NDArray[np.bool_], similarity: float) -> Iterator[Rows]:
    """For every band of the signatures the pairs [pairs, 2] of rows that are nearly the same, first < second.

    Of a conversation, 384 bytes of signature lie on disk while they are compared, and 64 bytes of keys in memory.
    """
    most, end = int(compared_N.sum()), 0
    keys_BM, rows_M = np.empty((BANDS, most), dtype=np.uint64), np.empty(most, dtype=np.int64)
    numbered = ({**document, "row": row} for row, document in enumerate(read_documents(path, ["text"])))
    wanted = (document for document in numbered if compared_N[document["row"]])
    with TemporaryFile(dir=path.parent) as file:
        for batch in batches(wanted, DOCUMENTS_AT_A_TIME):
            signatures_NP, signed_N = sign([document["text"] for document in batch], NGRAM, PERMUTATIONS)
            signatures_NP = signatures_NP[signed_N]
            file.write(signatures_NP.tobytes())
            some = slice(end, end := end + len(signatures_NP))
            keys_BM[:, some] = [band_keys(signatures_NP, band, ROWS) for band in range(BANDS)]
            rows_M[some] = np.array([document["row"] for document in batch])[signed_N]
        if end:
            file.flush()
            signatures_MP = np.memmap(file, dtype=np.uint32, mode="r", shape=(end, PERMUTATIONS))
            for keys_M in keys_BM[:, :end]:
                yield link_alike(keys_M, rows_M[:end], signatures_MP, similarity)
