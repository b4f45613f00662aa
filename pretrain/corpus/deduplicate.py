"""Remove exact duplicates, then near-duplicates; of each group the first document stays.

python pretrain/corpus/deduplicate.py --config configs/tiny.yaml

First by the order of the sources' names, then by the order within a source. Texts are read twice and never held:
memory is about 500 bytes a document.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakmodel.config import read_command, run_script
from snakmodel.records import begin
from snakmodel.settings import BadInput, knob

if TYPE_CHECKING:
    from pretrain.corpus.minhash import Positions


@dataclass
class Settings:
    permutations: int = knob(64, "numbers in a MinHash signature", low=1)
    # 8 x 8 finds .92 of pairs at Jaccard .85; the original's tool chose 4 x 15, which finds .31 of them
    bands: int = knob(8, "parts of a signature, one of which must agree", low=1)
    rows: int = knob(8, "numbers in a band", low=1)
    threshold: float = knob(0.85, "least estimated Jaccard similarity of near-duplicates", above=0, high=1)
    ngram: int = knob(5, "words in a shingle; shorter documents are compared exactly only", low=1)


def main() -> None:
    command = read_command(Settings, "deduplicate", __doc__)
    settings, run = command.settings, command.run
    if settings.bands * settings.rows > settings.permutations:
        raise BadInput(
            f"deduplicate: {settings.bands} bands of {settings.rows} rows need {settings.bands * settings.rows} "
            f"permutations, got {settings.permutations}"
        )
    folder = run.folder("deduplicate")
    work = begin(command, folder, {"in_language": run.folder("filter_language")})
    if work is None:
        return
    import pyarrow as pa  # late: a finished stage says so without Arrow
    import pyarrow.parquet as pq

    from pretrain.corpus.sieve import check_some_left, sift
    from snakmodel.documents import document_files

    files = document_files(run.folder("filter_language"))
    exact, near = find_duplicates(files, settings)
    ids = pa.concat_tables([pq.read_table(path, columns=["id"]) for path in files])["id"]
    counts, position = {}, 0
    for path in files:
        judged = judge_documents(path, position, exact, near, ids)
        schema = pq.read_schema(path)
        measures = {name: schema.field(name).type for name in schema.names if name not in ("text", "source", "id")}
        counts[path.stem] = sift(folder, path.stem, judged, measures, {"duplicate_of": pa.string()})
        position += pq.read_metadata(path).num_rows
    check_some_left(folder, counts)
    work.finish(counts=counts)


def find_duplicates(files: list[Path], settings: Settings) -> tuple["Positions", "Positions"]:
    """For each document the position of the first with the same text, and of the first of its near-duplicates.

    Both are the document's own position where it has no earlier one. Positions count through all files.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from pretrain.corpus.minhash import draw_permutations, find_pairs, first_of_cluster, hash_shingles, sign
    from snakmodel.documents import read_documents

    count = sum(pq.read_metadata(path).num_rows for path in files)
    exact = np.arange(count)
    signatures_NP = np.zeros((count, settings.permutations), dtype=np.uint32)
    signed: list[int] = []  # positions of the documents that have a signature, in the order of signatures_NP
    multipliers = draw_permutations(settings.permutations)
    first_with: dict[bytes, int] = {}
    texts = (document["text"] for path in files for document in read_documents(path, columns=["text"]))
    for position, text in enumerate(texts):
        exact[position] = first_with.setdefault(digest(text), position)
        if exact[position] == position and len(shingles := hash_shingles(text, settings.ngram)):
            signatures_NP[len(signed)] = sign(shingles, multipliers)
            signed.append(position)
    pairs = find_pairs(signatures_NP[: len(signed)], settings.bands, settings.rows, settings.threshold)
    near = first_of_cluster(count, np.array(signed, dtype=np.int64)[pairs])
    return exact, near


def digest(text: str) -> bytes:
    """128 bits of a text, blind to Unicode's two spellings of a letter and to how much space divides words."""
    return blake2b(" ".join(unicodedata.normalize("NFC", text).split()).encode(), digest_size=16).digest()


def judge_documents(
    path: Path, position: int, exact: "Positions", near: "Positions", ids: Any
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The documents of one file, the first of which is at `position`; `duplicate_of` names the one that stays."""
    from snakmodel.documents import read_documents

    for here, document in enumerate(read_documents(path), start=position):
        stays = int(near[exact[here]])  # an exact duplicate's first may itself be a near-duplicate
        if stays == here:
            yield document, None
        else:
            reason = "exact duplicate" if exact[here] != here else "near duplicate"
            yield {**document, "duplicate_of": ids[stays].as_py()}, reason


if __name__ == "__main__":
    run_script(main)
