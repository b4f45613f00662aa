"""What every step of the corpus does with its sources: keep or drop each document, keep the rejects, count both.

FOLDER/SOURCE.parquet, FOLDER/rejects/SOURCE.parquet (with a `reason`), and last FOLDER/counts/SOURCE.json, which says
that the source is finished: an interrupted step continues with the next source.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, write_json

Judged = Iterator[tuple[dict[str, Any], str | None]]  # documents, each with the reason to drop it or None
Columns = dict[str, pa.DataType]


def sift(path: Path, judged: Judged, measures: Columns, remarks: Columns) -> dict[str, Any]:
    """Writes one source's documents to `path` and the rejects beside it; prints and returns their counts.

    measures: columns that all documents have gained; remarks: columns of the rejects only.
    """
    record = path.parent / "counts" / f"{path.stem}.json"
    if not record.is_file():
        words = size = 0
        dropped = Counter[str]()
        rejects = DocumentWriter(path.parent / "rejects" / path.name, {"reason": pa.string(), **measures, **remarks})
        with DocumentWriter(path, measures) as kept, rejects:
            for document, reason in judged:
                if reason is None:
                    kept.write(document)
                    words += len(document["text"].split())
                    size += len(document["text"].encode())
                else:
                    rejects.write({**document, "reason": reason})
                    dropped[reason] += 1
        seen = kept.count + rejects.count
        write_json(record, {"seen": seen, "kept": kept.count, "dropped": dropped, "words": words, "bytes": size})
    counts = read_json(record)
    reasons = "".join(f"; {number:,} {reason}" for reason, number in Counter(counts["dropped"]).most_common())
    share = counts["kept"] / max(counts["seen"], 1)
    print(f"{path.stem}: kept {counts['kept']:,} of {counts['seen']:,} ({share:.1%}){reasons}", flush=True)
    return counts
