"""Remove exact duplicates, then near-duplicates; of each group the first document stays.

python pretrain/corpus/deduplicate.py --config configs/tiny.yaml

First by the order of the sources' names, then by the order within a source. Texts are read twice and never held:
memory is about 600 bytes a document.
"""

import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.corpus.minhash import MULTIPLIERS, find_pairs, hash_shingles, sign
from pretrain.corpus.sieve import Judged, sift
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import COLUMNS, document_files, read_documents
from snakmodel.records import begin


@dataclass
class Settings:
    permutations: int = knob(64, "numbers in a MinHash signature", low=1, high=len(MULTIPLIERS))
    # 8 x 8 finds .92 of pairs at Jaccard .85; the original's tool chose 4 x 15, which finds .31 of them
    bands: int = knob(8, "parts of a signature, one of which must agree", low=1)
    rows: int = knob(8, "numbers in a band", low=1)
    threshold: float = knob(0.85, "least estimated Jaccard similarity of near-duplicates", above=0, high=1)
    ngram: int = knob(5, "words in a shingle; shorter documents are compared exactly only", low=1)


def main() -> None:
    command = read_command(Settings, "deduplicate", __doc__)
    settings, run = command.settings, command.run
    if (needed := settings.bands * settings.rows) > settings.permutations:
        raise BadInput(f"deduplicate: bands x rows need {needed} permutations, got {settings.permutations}")
    folder, corpus = run.folder("deduplicate"), run.folder("filter_language")
    work = begin(command, folder, {"in_language": corpus})
    if work is None:
        return
    files = document_files(corpus)
    duplicates = find_duplicates(files, settings)
    measures = {field.name: field.type for field in list(pq.read_schema(files[0]))[len(COLUMNS) :]}
    remarks = {"duplicate_of": pa.string()}
    counts = {path.stem: sift(folder / path.name, judge(path, duplicates), measures, remarks) for path in files}
    work.finish(counts=counts)


def find_duplicates(files: list[Path], settings: Settings) -> dict[str, tuple[str, str]]:
    """Ids of the duplicates, each with the reason to drop it and the id of the document that stays."""
    from scipy.sparse import coo_array, csgraph  # late: a finished stage says so at once

    count = sum(pq.read_metadata(path).num_rows for path in files)
    signatures_NP = np.zeros((count, settings.permutations), dtype=np.uint32)
    ids: list[str] = []
    exact: list[int] = []  # of each document the position, through all files, of the first with the same text
    signed: list[int] = []  # positions of the documents that have a signature, in the order of signatures_NP
    first_with: dict[bytes, int] = {}
    for position, document in enumerate(d for path in files for d in read_documents(path, ["id", "text"])):
        # blind to Unicode's two spellings of a letter, and to how much space divides words
        text = " ".join(unicodedata.normalize("NFC", document["text"]).split())
        ids.append(document["id"])
        exact.append(first_with.setdefault(blake2b(text.encode(), digest_size=16).digest(), position))
        if exact[-1] == position and len(shingles := hash_shingles(text, settings.ngram)):
            signatures_NP[len(signed)] = sign(shingles, settings.permutations)
            signed.append(position)
    pairs = find_pairs(signatures_NP[: len(signed)], settings.bands, settings.rows, settings.threshold)
    links = coo_array((np.ones(len(pairs)), np.array(signed, dtype=np.int64)[pairs].T), shape=(count, count))
    _, clusters = csgraph.connected_components(links, directed=False)
    _, firsts = np.unique(clusters, return_index=True)
    near = firsts[clusters]  # of each document the position of its cluster's first
    duplicates = {}
    for position, first in enumerate(exact):
        if near[first] != position:  # the first with the same text may itself be a near-duplicate
            duplicates[ids[position]] = ("near duplicate" if first == position else "exact duplicate", ids[near[first]])
    return duplicates


def judge(path: Path, duplicates: dict[str, tuple[str, str]]) -> Judged:
    """The documents of one file, each with the reason to drop it or None; `duplicate_of` names the one that stays."""
    for document in read_documents(path):
        reason, stays = duplicates.get(document["id"], (None, None))
        yield {**document, "duplicate_of": stays}, reason


if __name__ == "__main__":
    run_script(main)
