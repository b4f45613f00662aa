"""Find which of very many runs of words stand in texts, in one pass over their UTF-8 bytes.

A word is a run of letters, digits and _, whatever its case, as in snakmodel/ngrams.py; texts count as NFC. An item's
runs are those of so many words, or the one run that is all of a shorter item. Every run that is found has been
compared with the text letter by letter: the hashes only say where to look. Its spelling, from its first letter to
its last with white space collapsed, is kept as 64 bits, so that what is found as it is written can be told.

Shapes: H hits, I items, E runs of items (entries), R different ones among these, L their lengths.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snakmodel.ngrams import words_of
from snakmodel.phrase_loops import MULTIPLIER, ONE, SIX, SIX_BITS, letters, list_runs, same_runs, scan

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

RUNS_A_MARK = 8  # 5 % of what is not there passes; with fewer the marks of a million runs leave the cache


class Hits(NamedTuple):
    """Where runs stand in texts, sorted by text and word."""

    texts: Numbers  # [H]
    runs: Numbers  # [H]
    words: Numbers  # [H] of the run's first word within its text
    spellings: Hashes  # [H]


@dataclass(frozen=True)
class Phrases:
    """The runs of items, ready to be searched for. Entries are sorted by run."""

    items: list[str]  # as NFC
    words_I: Numbers  # of each item
    lengths_I: Numbers  # words of its runs
    items_E: Numbers
    places_E: Numbers  # of the run's first word within its item
    spellings_E: Hashes
    first_R: Numbers  # entry; those of run r are first_R[r] to first_R[r + 1], which is [R + 1]
    lengths_R: Numbers  # words
    lengths_L: Numbers
    powers_L: Hashes  # of MULTIPLIER, to these lengths
    text: Bytes  # of all items
    begins_R: Hashes  # where the run stands in it
    hashes_R: Hashes  # sorted, and two behind them that are no run's
    marks: Hashes  # a Bloom filter: of the word that its first bits name, each hash has set two bits
    marks_shift: np.uint64
    directory: NDArray[np.int32]  # of the runs, by the first bits of their hashes
    directory_shift: np.uint64
    spellings: Hashes  # the different ones, sorted


def prepare(items: list[str], lengths: list[int]) -> Phrases:
    """The runs of these items, each item's of so many words at most; an item without words has none."""
    items = [unicodedata.normalize("NFC", item) for item in items]
    text, bounds_I = as_bytes(pa.array([item + "\n" for item in items], pa.large_string()))
    words_I, rows_E, hashes_E, spellings_E = list_runs(text, bounds_I, np.array(lengths, dtype=np.int64), letters())
    kinds_E = tell_apart(items, text, rows_E, hashes_E)
    order = np.lexsort((rows_E[:, 1], rows_E[:, 0], kinds_E, hashes_E))
    (items_E, places_E, lengths_E, begins_E), spellings_E = rows_E[order].T, spellings_E[order]
    hashes_E, kinds_E, begins_E = hashes_E[order], kinds_E[order], begins_E.astype(np.uint64)
    is_first_E = (hashes_E != np.roll(hashes_E, 1)) | (kinds_E != np.roll(kinds_E, 1))
    is_first_E[:1] = True
    first_R = np.append(np.flatnonzero(is_first_E), len(order))
    hashes_R, begins_R, lengths_R = (each_E[is_first_E] for each_E in (hashes_E, begins_E, lengths_E))
    width = max(6, int(len(hashes_R)).bit_length())
    shift = 64 - width + RUNS_A_MARK.bit_length() - 1
    marks = np.zeros(1 << (64 - shift), dtype=np.uint64)
    for bits_R in (hashes_R & SIX_BITS, hashes_R >> SIX & SIX_BITS):  # two bits for each run
        np.bitwise_or.at(marks, hashes_R >> np.uint64(shift), ONE << bits_R)
    slots = np.arange(1 << width, dtype=np.uint64) << np.uint64(64 - width)
    lengths_L = np.unique(lengths_R)
    powers_L = np.array([pow(int(MULTIPLIER), length, 1 << 64) for length in lengths_L.tolist()], dtype=np.uint64)
    directory = np.append(np.searchsorted(hashes_R, slots), len(hashes_R)).astype(np.int32)
    return Phrases(
        items=items,
        words_I=words_I,
        lengths_I=np.minimum(words_I, lengths),
        items_E=items_E,
        places_E=places_E,
        spellings_E=spellings_E,
        first_R=first_R,
        lengths_R=lengths_R,
        lengths_L=lengths_L,
        powers_L=powers_L,
        text=text,
        begins_R=begins_R,
        hashes_R=np.append(hashes_R, np.zeros(2, dtype=np.uint64)),
        marks=marks,
        marks_shift=np.uint64(shift),
        directory=directory,
        directory_shift=np.uint64(64 - width),
        spellings=np.unique(spellings_E),
    )


def tell_apart(items: list[str], text: Bytes, rows_E: Numbers, hashes_E: Hashes) -> Numbers:
    """0 for every entry; but where runs of other words have the same hash, a number for each of them."""
    begins_E, words_E = rows_E[:, 3].astype(np.uint64), rows_E[:, 2]
    _, first_H, hash_E = np.unique(hashes_E, return_index=True, return_inverse=True)
    others_E = first_H[hash_E]
    same_E = same_runs(text, begins_E, begins_E[others_E], words_E, words_E[others_E], letters())
    kinds_E = np.zeros(len(hashes_E), dtype=np.int64)
    for value in np.unique(hashes_E[~same_E]).tolist():
        known: dict[tuple[str, ...], int] = {}
        for entry in np.flatnonzero(hashes_E == np.uint64(value)).tolist():
            item, place, length, _ = rows_E[entry].tolist()
            words = tuple(words_of(items[item])[place : place + length])
            kinds_E[entry] = known.setdefault(words, len(known))
    return kinds_E


def find_phrases(phrases: Phrases, texts: pa.Array) -> Hits:
    """Every run of the items in every text; `texts` is Arrow's strings, as Parquet holds them."""
    hits, spellings, composing_D = search(phrases, texts)
    if len(numbers := np.flatnonzero(composing_D)):
        composed = [unicodedata.normalize("NFC", texts[number].as_py()) for number in numbers.tolist()]
        again, spelt, _ = search(phrases, pa.array(composed, pa.string()))
        again[:, 0] = numbers[again[:, 0]]
        others = ~composing_D[hits[:, 0]]
        hits, spellings = np.concatenate((hits[others], again)), np.concatenate((spellings[others], spelt))
    order = np.lexsort((hits[:, 1], hits[:, 2], hits[:, 0]))
    return Hits(hits[order, 0], hits[order, 1], hits[order, 2], spellings[order])


def search(phrases: Phrases, texts: pa.Array) -> Any:
    """`scan` of these texts as they are."""
    if not len(texts) or not len(phrases.lengths_L):
        return np.empty((0, 3), np.int64), np.empty(0, np.uint64), np.zeros(len(texts), np.bool_)
    text, bounds_D = as_bytes(texts)
    p = phrases
    filters = p.lengths_L, p.powers_L, p.marks, p.marks_shift
    runs = p.directory, p.directory_shift, p.hashes_R, p.lengths_R, p.begins_R, p.text
    return scan(text, bounds_D, letters(), *filters, *runs)


def as_bytes(texts: pa.Array) -> tuple[Bytes, Hashes]:
    """The UTF-8 bytes of Arrow's strings, without copying them, and where each text begins and the last one ends."""
    _, bounds, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds_D = np.frombuffer(bounds, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.uint64)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(1, np.uint8), bounds_D
