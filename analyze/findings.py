"""What was found of evaluation sets: searched row group by row group, joined file by file, gathered over all of them.

Shapes: N items of evaluation sets, R different runs of words of items and samples, E runs of items (entries).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyze.overlaps import Pairs, changes, pair_up
from snakmodel.ngrams import words_of
from snakmodel.phrases import Hashes, Hits, Numbers, Phrases, as_bytes, find_phrases

if TYPE_CHECKING:
    from analyze.leakage import Settings

LEAST_LETTERS = 4  # of an answer that is looked for: "a", "b" and "12" stand in every text


class Part(NamedTuple):
    """What was found in one row group, or in one file."""

    documents: int
    bytes: int  # of their texts
    hits: Hits  # of runs that are no boilerplate here
    runs: Numbers  # that were found, and
    run_documents: Numbers  # how many documents hold each
    spellings: Hashes  # of items' runs that were found as they are written, and
    spelling_documents: Numbers  # how many documents hold each
    answered: Numbers  # [answers, 2] document and item that share enough, and the item's answer stands by


@dataclass
class Found:
    """What was found of every item, run and sampled n-gram in the documents of one stage."""

    files: list[Path]
    documents: int
    bytes: int
    documents_R: Numbers  # that hold a run
    exact_E: Numbers  # documents that hold an entry as it is written
    share_N: NDArray[np.float64]  # of an item's words: the most that lie in runs which one document shares
    longest_N: Numbers  # words of the longest stretch that a document shares
    exact_share_N: NDArray[np.float64]  # the same of runs that are spelt alike
    exact_longest_N: Numbers
    documents_N: Numbers  # that hold at least min_share of the item
    answered_N: NDArray[np.bool_]  # such a document has the answer close by
    best_N: Numbers  # [N, 3] file, document and word of the longest stretch in the document that shares most; -1: none
    sources: Counter[str]  # of the documents that hold items


def search_group(path: Path, phrases: Phrases, answers: list[str], s: "Settings", group: int) -> Part:
    """Searches the documents of one row group."""
    with pq.ParquetFile(path) as file:
        texts = file.read_row_group(group, columns=["text"], use_threads=False)["text"].combine_chunks()
    hits = find_phrases(phrases, texts.fill_null(""))
    runs, run_documents = count_texts(hits.texts, hits.runs)
    places = np.searchsorted(phrases.spellings[:-1], hits.spellings)
    written = phrases.spellings[places] == hits.spellings
    spellings, spelling_documents = count_texts(hits.texts[written], hits.spellings[written])
    hits = select(hits, np.isin(hits.runs, runs[run_documents <= s.boilerplate]))
    pairs = pair_up(phrases, hits, exact=False)
    answered = list(find_answers(texts, pairs, phrases.items, answers, s)) if any(answers) else []
    bounds = as_bytes(texts)[1]
    return Part(
        len(texts), int(bounds[-1] - bounds[0]), hits, runs, run_documents, spellings, spelling_documents,
        np.array(answered, dtype=np.int64).reshape(-1, 2),
    )  # fmt: skip


def find_answers(
    texts: pa.Array, pairs: Pairs, items: list[str], answers: list[str], s: "Settings"
) -> Iterator[tuple[int, int]]:
    """The documents and items that share enough words for the item to be held, with the item's answer close by."""
    enough = (pairs.shares >= s.min_share) & (pairs.items < len(answers))
    columns = (pairs.documents, pairs.items, pairs.longest, pairs.words)
    for document, item, longest, word in zip(*(column[enough].tolist() for column in columns), strict=True):
        if is_answered(texts[document].as_py(), word, longest, items[item], answers[item], s.answer_within):
            yield document, item


def is_answered(text: str, word: int, length: int, item: str, answer: str, within: int) -> bool:
    """Whether the answer's words stand at most `within` words before or behind the stretch of `length` words at `word`.

    Or end it, where they end the item: the right option. A question's own words are no answer.
    """
    wanted = words_of(answer)
    if len("".join(wanted)) < LEAST_LETTERS:
        return False
    words = words_of(text)
    stretch = words[word : word + length]
    if stretch[-len(wanted) :] == wanted == words_of(item)[-len(wanted) :]:
        return True
    beside = [*words[max(0, word - within) : word], "|", *words[word + length : word + length + within]]
    return f" {' '.join(wanted)} " in f" {' '.join(beside)} "


def count_texts(texts: Numbers, keys: Any) -> tuple[Any, Numbers]:
    """The different keys, sorted, and in how many texts each is found."""
    order = np.lexsort((texts, keys))
    return np.unique(keys[order][changes(keys[order], texts[order])], return_counts=True)


def select(hits: Hits, wanted: NDArray[np.bool_]) -> Hits:
    return Hits(hits.texts[wanted], hits.runs[wanted], hits.words[wanted], hits.spellings[wanted])


def join(groups: Iterable[Part], phrases: Phrases, boilerplate: int) -> Part:
    """What was found in the row groups of a file, without the hits of runs that are boilerplate in it."""
    documents_R = np.zeros(len(phrases.lengths_R), dtype=np.int64)
    documents = size = 0
    spelt = Counter[int]()
    nothing = np.zeros(0, dtype=np.int64)
    hits = [Hits(nothing, nothing, nothing, np.zeros(0, dtype=np.uint64))]
    answered: list[Numbers] = [nothing.reshape(0, 2)]
    for group in groups:
        documents_R[group.runs] += group.run_documents
        spelt.update(dict(zip(group.spellings.tolist(), group.spelling_documents.tolist(), strict=True)))
        moved = group.hits._replace(texts=group.hits.texts + documents)
        hits.append(select(moved, documents_R[moved.runs] <= boilerplate))
        answered.append(group.answered + np.array([documents, 0]))
        documents, size = documents + group.documents, size + group.bytes
    together = Hits._make(np.concatenate(arrays) for arrays in zip(*hits, strict=True))
    runs = np.flatnonzero(documents_R)
    spellings = np.array(sorted(spelt), dtype=np.uint64)
    spelling_documents = np.array([spelt[spelling] for spelling in sorted(spelt)], dtype=np.int64)
    return Part(
        documents, size, select(together, documents_R[together.runs] <= boilerplate), runs, documents_R[runs],
        spellings, spelling_documents, np.concatenate(answered),
    )  # fmt: skip


def save(part: Part, file: IO[bytes]) -> None:
    """Writes a file's findings as .npz."""
    np.savez_compressed(
        file, **{**part._asdict(), "hits": np.stack(part.hits[:3]), "hit_spellings": part.hits.spellings}
    )


def load(path: Path) -> Part:
    """What `save` wrote."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    hits = Hits._make([*arrays.pop("hits"), arrays.pop("hit_spellings")])
    return Part(**{**arrays, "documents": int(arrays["documents"]), "bytes": int(arrays["bytes"]), "hits": hits})


def gather(
    phrases: Phrases, files: list[Path], parts: list[Path], items: int, min_share: float, boilerplate: int
) -> Found:
    """What was found in all files of a stage, boilerplate left out of everything but the documents that hold a run."""
    documents_R = np.zeros(len(phrases.lengths_R), dtype=np.int64)
    exact = np.zeros(len(phrases.spellings), dtype=np.int64)
    documents = size = 0
    for path in parts:
        part = load(path)
        documents_R[part.runs] += part.run_documents
        exact[np.searchsorted(phrases.spellings, part.spellings)] += part.spelling_documents
        documents, size = documents + part.documents, size + part.bytes
    found = Found(
        files=files,
        documents=documents,
        bytes=size,
        documents_R=documents_R,
        exact_E=exact[np.searchsorted(phrases.spellings, phrases.spellings_E)],
        share_N=np.zeros(items),
        longest_N=np.zeros(items, dtype=np.int64),
        exact_share_N=np.zeros(items),
        exact_longest_N=np.zeros(items, dtype=np.int64),
        documents_N=np.zeros(items, dtype=np.int64),
        answered_N=np.zeros(items, dtype=np.bool_),
        best_N=np.full((items, 3), -1),
        sources=Counter(),
    )
    for number, path in enumerate(parts):
        part = load(path)
        hits = select(part.hits, documents_R[part.hits.runs] <= boilerplate)
        add_pairs(found, phrases, hits, part.answered, number, min_share)
    return found


def add_pairs(found: Found, phrases: Phrases, hits: Hits, answered: Numbers, number: int, min_share: float) -> None:
    """Adds what the documents of one file and the items have in common."""
    items = len(found.share_N)
    written = pair_up(phrases, hits, exact=True)
    own = written.items < items  # the others are sampled n-grams
    np.maximum.at(found.exact_share_N, written.items[own], written.shares[own])
    np.maximum.at(found.exact_longest_N, written.items[own], written.longest[own])
    pairs = pair_up(phrases, hits, exact=False)
    own = pairs.items < items
    np.maximum.at(found.longest_N, pairs.items[own], pairs.longest[own])
    enough = own & (pairs.shares >= min_share)
    np.add.at(found.documents_N, pairs.items[enough], 1)
    near = {tuple(pair) for pair in answered.tolist()}
    for row in np.flatnonzero(enough).tolist():
        if (int(pairs.documents[row]), int(pairs.items[row])) in near:
            found.answered_N[pairs.items[row]] = True
    for row in np.flatnonzero(own).tolist():
        item = pairs.items[row]
        if pairs.shares[row] > found.share_N[item]:
            found.share_N[item] = pairs.shares[row]
            found.best_N[item] = number, pairs.documents[row], pairs.words[row]
    if enough.any():
        sources = pq.read_table(found.files[number], columns=["source"])["source"].take(
            np.unique(pairs.documents[enough])
        )
        found.sources.update(sources.to_pylist())
