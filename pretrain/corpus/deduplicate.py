"""Remove exact duplicates and near-duplicates; of each group the first document stays.

python pretrain/corpus/deduplicate.py --config configs/tiny.yaml [--self-check]

First by the order of the sources' names, then by the order within a source. Staged on disk, so that memory does not
grow with the corpus, but for four bytes a document and some thirty a duplicate in the one process that joins clusters:
signatures of every part, links within every range of every band's keys, clusters of what is linked, then every part
without its duplicates. `clusters/PART.parquet` stays.
--self-check plants copies into a sample of the corpus, prints which share of them is found, and changes nothing.
"""

import shutil
import sys
import unicodedata
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pretrain.corpus.sieve import Judged, folder_before, measures_of, sift, tally, unfinished
from pretrain.corpus.workers import Workers, run_tasks
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import batches, document_files, read_documents
from snakmodel.minhash import MULTIPLIERS, band_keys, link_alike, sign
from snakmodel.records import begin, remove_folder, temporary_path, write_beside

EXACT, NEAR = "exact duplicate", "near duplicate"
DOCUMENTS_AT_A_TIME = 2_000  # their shingles stay within the processor's cache
BYTES_TO_SORT = 96  # of memory a document, when a range of keys is sorted


@dataclass(kw_only=True)
class Settings(Workers):
    reads: str = knob("decontaminate", "the step whose documents it reads")
    permutations: int = knob(96, "numbers in a MinHash signature", low=1, high=len(MULTIPLIERS))
    # 8 x 8 finds .92 of pairs at Jaccard .85; the original's tool chose 4 x 15, which finds .31 of them
    bands: int = knob(8, "parts of a signature, one of which must agree", low=1)
    rows: int = knob(8, "numbers in a band", low=1)
    threshold: float = knob(0.85, "least estimated Jaccard similarity of near-duplicates", above=0, high=1)
    ngram: int = knob(5, "words in a shingle; shorter documents are compared exactly only", low=1)
    memory_mib: int = knob(512, "about what a task that looks for links takes", low=16, execution=True)


def main() -> None:
    words = sys.argv[1:]
    command = read_command(Settings, "deduplicate", __doc__, [word for word in words if word != "--self-check"])
    settings, run = command.settings, command.run
    if (needed := settings.bands * settings.rows) > settings.permutations:
        raise BadInput(f"deduplicate: bands x rows need {needed} permutations, got {settings.permutations}")
    folder, corpus = run.folder("deduplicate"), folder_before(run, "deduplicate", settings.reads)
    if "--self-check" in words:
        from pretrain.corpus.recall import check_recall  # which imports from here

        check_recall(document_files(corpus), settings)
        return
    work = begin(command, folder, {"corpus": corpus})
    if work is None:
        return
    files = document_files(corpus)
    parts = [folder / path.name for path in files]
    find_duplicates(files, folder, settings)
    run_tasks(partial(sift_part, files, folder), unfinished(parts), folder, settings, "sift")
    for name in ("signatures", "links"):  # 500 bytes a document, of no more use
        remove_folder(folder / name)
    work.finish(counts=tally(parts))


def find_duplicates(files: list[Path], folder: Path, s: Settings) -> None:
    """Writes clusters/PART.parquet for every file: its duplicates, each with the reason and the document that stays."""
    if (folder / "clusters").is_dir():
        return
    todo = [number for number, path in enumerate(files) if not (folder / "signatures" / path.stem).is_dir()]
    run_tasks(partial(sign_part, s, files, folder), todo, folder, s, "sign")
    ends = np.cumsum([pq.read_metadata(path).num_rows for path in files])  # positions run through all files
    pieces = 1 + 2 * int(ends[-1]) * BYTES_TO_SORT // (s.memory_mib << 20)  # half for keys, half for what they lead to
    links = [folder / f"links/{pieces}/{number:06d}.npy" for number in range((s.bands + 1) * pieces)]
    todo = [number for number, path in enumerate(links) if not path.is_file()]
    run_tasks(partial(link_piece, s, files, folder, ends, links), todo, folder, s, "link")
    write_clusters(files, folder, ends, links[:pieces], links[pieces:])


def sign_part(s: Settings, files: list[Path], folder: Path, number: int) -> None:
    """Writes what documents of a part are compared by: texts.npy [N, 4] (digests) and signatures.npy [N, P], and the
    keys of exact equality and of the bands, sorted, with the rows that they belong to: text_keys.npy, text_rows.npy
    [1, N], band_keys.npy, band_rows.npy [B, M]. M: of equal texts only the first takes part in the bands.
    """
    count = pq.read_metadata(files[number]).num_rows
    digests_NV = np.zeros((count, 4), dtype=np.uint32)
    signatures_NP = np.zeros((count, s.permutations), dtype=np.uint32)
    signed_N = np.zeros(count, dtype=bool)
    start = 0
    for documents in batches(read_documents(files[number], ["text"]), DOCUMENTS_AT_A_TIME):
        # blind to Unicode's two spellings of a letter, and to how much space divides words
        texts = [" ".join(unicodedata.normalize("NFC", document["text"]).split()) for document in documents]
        some = slice(start, start := start + len(texts))
        digests = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
        digests_NV[some] = np.frombuffer(digests, dtype="<u4").reshape(-1, 4)
        signatures_NP[some], signed_N[some] = sign(texts, s.ngram, s.permutations)
    texts_N = digests_NV.view("<u8")[:, 0]
    rows_M = np.unique(texts_N, return_index=True)[1]
    rows_M = np.sort(rows_M[signed_N[rows_M]])
    bands = [band_keys(signatures_NP, band, s.rows)[rows_M] for band in range(s.bands)]
    part = folder / "signatures" / files[number].stem
    temporary = temporary_path(part)
    temporary.mkdir(parents=True)
    np.save(temporary / "texts.npy", digests_NV)
    np.save(temporary / "signatures.npy", signatures_NP)
    for name, keys, rows in (("text", [texts_N], np.arange(count)), ("band", bands, rows_M)):
        orders = [np.argsort(keys_N, kind="stable") for keys_N in keys]
        np.save(temporary / f"{name}_rows.npy", np.array([rows[order] for order in orders], dtype=np.uint32))
        np.save(temporary / f"{name}_keys.npy", np.array([k[o] for k, o in zip(keys, orders, strict=True)]))
    remove_folder(part)
    temporary.rename(part)


def link_piece(
    s: Settings, files: list[Path], folder: Path, ends: NDArray[np.int64], links: list[Path], number: int
) -> None:
    """Writes the pairs of positions that are alike, of one range of the keys of one band (band 0: of equal texts)."""
    pieces = len(links) // (s.bands + 1)
    band, piece = divmod(number, pieces)
    low, high = (bound * 2**64 // pieces for bound in (piece, piece + 1))
    keys_N, positions_N = read_keys(files, folder, ends, band, low, high)
    name, width, threshold = ("signatures", s.permutations, s.threshold) if band else ("texts", 4, 1.0)
    most = max(1, (s.memory_mib << 20) // (2 * 16 * width))  # rows of values, and three copies of them, at a time
    begins = np.flatnonzero(np.append(True, keys_N[1:] != keys_N[:-1]))
    pairs = [np.empty((0, 2), dtype=np.int64)]
    start = 0
    while start < len(keys_N):
        later = begins[begins > start + most]
        end = int(later[0]) if len(later) else len(keys_N)  # whole groups
        some = slice(start, end)
        values_NV = read_rows(files, folder, ends, positions_N[some], name)
        pairs.append(link_alike(keys_N[some], positions_N[some], values_NV, threshold))
        start = end
    with write_beside(links[number]) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(pairs))


def read_keys(
    files: list[Path], folder: Path, ends: NDArray[np.int64], band: int, low: int, high: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The keys of a band from `low` to below `high` that several documents have, rising, and the documents' positions,
    rising within a key.
    """
    name, place = ("band", band - 1) if band else ("text", 0)
    keys, positions = [], []
    for path, (start, _) in zip(files, spans(ends), strict=True):
        part = folder / "signatures" / path.stem
        keys_N = np.load(part / f"{name}_keys.npy", mmap_mode="r")[place]
        rows_N = np.load(part / f"{name}_rows.npy", mmap_mode="r")[place]
        first = np.searchsorted(keys_N, np.uint64(low))
        last = np.searchsorted(keys_N, np.uint64(high)) if high < 2**64 else len(keys_N)
        keys.append(np.array(keys_N[first:last]))
        positions.append(rows_N[first:last].astype(np.int64) + start)
    keys_N, positions_N = np.concatenate(keys), np.concatenate(positions)
    order = np.argsort(keys_N, kind="stable")  # the parts follow each other, so positions rise within a key
    keys_N, positions_N = keys_N[order], positions_N[order]
    shared_N = np.zeros(len(keys_N), dtype=bool)  # whose key another has, too
    shared_N[1:] = keys_N[1:] == keys_N[:-1]
    shared_N[:-1] |= shared_N[1:]
    return keys_N[shared_N], positions_N[shared_N]


def read_rows(
    files: list[Path], folder: Path, ends: NDArray[np.int64], positions_N: NDArray[np.int64], name: str
) -> NDArray[np.uint32]:
    """The rows at these positions of an array that is spread over the parts; one part at a time is in memory."""
    values: list[Any] = []
    places_N = np.searchsorted(ends, positions_N, side="right")
    order = np.argsort(places_N, kind="stable")
    for place in np.unique(places_N):
        part = np.load(folder / "signatures" / files[place].stem / f"{name}.npy", mmap_mode="r")
        mine = positions_N[order[places_N[order] == place]]
        values.append(part[mine - (ends[place] - len(part))])
    if not values:
        return np.zeros((0, 1), dtype=np.uint32)
    rows = np.concatenate(values)
    return rows[np.argsort(order, kind="stable")]


def write_clusters(
    files: list[Path], folder: Path, ends: NDArray[np.int64], equal: list[Path], alike: list[Path]
) -> None:
    """Joins what is linked, directly or by way of others, and writes the duplicates of every part."""
    heads = np.arange(ends[-1], dtype=np.uint32 if ends[-1] < 2**32 else np.uint64)  # of every document an earlier one
    copies = []  # their text stands earlier
    for path in equal:
        pairs = np.load(path)
        join(heads, pairs)
        copies.append(pairs[:, 1])
    for path in alike:
        join(heads, np.load(path))
    exact = np.sort(np.concatenate(copies))
    gone = [np.flatnonzero(heads[start:end] != np.arange(start, end)) + start for start, end in spans(ends)]
    stays = [head_of(heads, positions) for positions in gone]
    kept = np.unique(np.concatenate(stays))
    ids = read_ids(files, ends, kept)
    temporary = folder / "clusters.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for path, (start, end), positions, stay in zip(files, spans(ends), gone, stays, strict=True):
        reasons = np.where(np.isin(positions, within(exact, start, end)), EXACT, NEAR)
        columns = {"reason": pa.array(reasons, pa.string()), "duplicate_of": ids.take(np.searchsorted(kept, stay))}
        pq.write_table(pa.table({"row": positions - start, **columns}), temporary / path.name)
    temporary.rename(folder / "clusters")


def join(heads: NDArray[Any], pairs: NDArray[np.int64]) -> None:
    """Makes linked documents of one cluster, whose head is its first document (union-find, many links at a time)."""
    one, other = pairs.T
    while len(one):
        one, other = head_of(heads, one), head_of(heads, other)
        apart = one != other
        one, other = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        np.minimum.at(heads, other, one.astype(heads.dtype))  # a head of several links gets the first; the rest go on


def head_of(heads: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The head of each document's cluster; the ways to it are shortened."""
    found = heads[positions]
    while (further := heads[found]).tobytes() != found.tobytes():
        found = further
    heads[positions] = found
    return found.astype(np.int64)


def spans(ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The positions of each part: from, to."""
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def within(positions: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Of rising positions those from `start` to below `end`."""
    return positions[slice(*np.searchsorted(positions, [start, end]))]


def read_ids(files: list[Path], ends: NDArray[np.int64], positions: NDArray[np.int64]) -> pa.ChunkedArray:
    """The ids of the documents at these positions, which must rise."""
    ids = [pa.chunked_array([], pa.string())]
    for path, (start, end) in zip(files, spans(ends), strict=True):
        mine = within(positions, start, end)
        if len(mine):
            ids.append(pq.read_table(path, columns=["id"])["id"].take(mine - start))
    return pa.chunked_array([chunk for array in ids for chunk in array.chunks], pa.string())


def sift_part(files: list[Path], folder: Path, number: int) -> None:
    """Writes one part without its duplicates, which go to the rejects."""
    path = files[number]
    sift(folder / path.name, judge(path, folder), measures_of(path), {"duplicate_of": pa.string()})


def judge(path: Path, folder: Path) -> Judged:
    """The documents of one part, each with the reason to drop it or None; `duplicate_of` names the one that stays."""
    clusters = pq.read_table(folder / "clusters" / path.name).to_pydict()
    duplicates = dict(zip(clusters["row"], zip(clusters["reason"], clusters["duplicate_of"], strict=True), strict=True))
    for row, document in enumerate(read_documents(path)):
        reason, stays = duplicates.get(row, (None, None))
        yield {**document, "duplicate_of": stays}, reason


if __name__ == "__main__":
    from pretrain.corpus.deduplicate import main  # other processes import its functions by this name

    run_script(main)
