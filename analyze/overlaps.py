"""What items of evaluation sets and documents have in common, from the runs of words that were found in both.

Shapes: H hits (a run in a document), E entries (a run of an item), R different runs, P pairs of a document and an item
that share a run, sorted by document, then by item.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snakmodel.phrases import Hits, Numbers, Phrases


class Pairs(NamedTuple):
    """A document and an item that share runs."""

    documents: Numbers  # [P]
    items: Numbers  # [P]
    shares: NDArray[np.float64]  # [P] of the item's words that lie in shared runs
    longest: Numbers  # [P] words of the longest stretch that both have, word for word
    words: Numbers  # [P] of that stretch's first word within the document


def pair_up(phrases: Phrases, hits: Hits, exact: bool) -> Pairs:
    """The documents and items that share runs. exact: only runs that are spelt alike, white space aside."""
    counts_H = phrases.first_R[hits.runs + 1] - phrases.first_R[hits.runs]
    rows = np.repeat(np.arange(len(counts_H)), counts_H)
    entries = (
        phrases.first_R[hits.runs[rows]] + np.arange(len(rows)) - np.repeat(np.cumsum(counts_H) - counts_H, counts_H)
    )
    if exact:
        alike = hits.spellings[rows] == phrases.spellings_E[entries]
        rows, entries = rows[alike], entries[alike]
    documents, words = hits.texts[rows], hits.words[rows]
    items, places = phrases.items_E[entries], phrases.places_E[entries]
    if not len(documents):
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, np.zeros(0), nothing, nothing)
    longest, first_words = stretches(phrases, documents, items, places, words)
    cells = np.unique(np.stack([documents, items, places], axis=1), axis=0)
    documents, items, places = cells.T
    starts = np.flatnonzero(changes(documents, items))
    lengths = phrases.lengths_I[items[starts]]
    # a run covers its words up to where the next shared run begins; the last one all of them
    covered = np.minimum(np.diff(places, append=0), phrases.lengths_I[items])
    covered[np.append(starts[1:], len(places)) - 1] = lengths
    shares = np.add.reduceat(covered, starts) / phrases.words_I[items[starts]]
    return Pairs(documents[starts], items[starts], shares, longest, first_words)


def stretches(
    phrases: Phrases, documents: Numbers, items: Numbers, places: Numbers, words: Numbers
) -> tuple[Numbers, Numbers]:
    """Of each pair the words of the longest stretch that both have, and its first word in the document.

    Runs that follow each other in the item and in the document alike make one stretch.
    """
    order = np.lexsort((places, words - places, items, documents))
    documents, items, places, words = (array[order] for array in (documents, items, places, words))
    follows = ~changes(documents, items, words - places) & (np.diff(places, prepend=-2) == 1)
    begins = np.flatnonzero(~follows)
    lengths = np.diff(begins, append=len(follows)) - 1 + phrases.lengths_I[items[begins]]
    documents, items, words = documents[begins], items[begins], words[begins]
    order = np.lexsort((words, -lengths, items, documents))
    firsts = order[np.flatnonzero(changes(documents[order], items[order]))]
    return lengths[firsts], words[firsts]


def changes(*keys: Numbers) -> NDArray[np.bool_]:
    """Where a row differs from the one before it in some of the keys, none of which is negative throughout."""
    changed = np.zeros(len(keys[0]), dtype=np.bool_)
    changed[:1] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    return changed
