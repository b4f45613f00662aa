"""What every step of the corpus does with a source: keep or drop each document, keep the rejects, count both.

FOLDER/SOURCE.parquet, FOLDER/rejects/SOURCE.parquet (with a `reason`), and last FOLDER/counts/SOURCE.json, which says
that the source is finished: an interrupted step continues with the next source.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, write_json
from snakmodel.settings import BadInput

Document = dict[str, Any]
PROGRESS_EVERY = 1_000_000  # documents


def sift(
    folder: Path,
    source: str,
    judged: Iterable[tuple[Document, str | None]],
    measures: dict[str, pa.DataType] | None = None,
    remarks: dict[str, pa.DataType] | None = None,
) -> dict[str, Any]:
    """Writes one source's documents, each with the reason to drop it or None, and returns their counts.

    measures: columns that every document has gained; remarks: columns of the rejects only; name -> Arrow type.
    """
    record = folder / "counts" / f"{source}.json"
    if not record.is_file():
        seen = words = size = 0
        dropped = Counter[str]()
        rejects_columns = {"reason": pa.string(), **(measures or {}), **(remarks or {})}
        with (
            DocumentWriter(folder / f"{source}.parquet", measures) as kept,
            DocumentWriter(folder / "rejects" / f"{source}.parquet", rejects_columns) as rejected,
        ):
            for seen, (document, reason) in enumerate(judged, start=1):
                if reason is None:
                    kept.write(document)
                    words += len(document["text"].split())
                    size += len(document["text"].encode())
                else:
                    rejected.write({**document, "reason": reason})
                    dropped[reason] += 1
                if seen % PROGRESS_EVERY == 0:
                    print(f"{source}: {seen:,} documents so far", flush=True)
        write_json(record, {"seen": seen, "kept": kept.count, "dropped": dropped, "words": words, "bytes": size})
    counts = read_json(record)
    print(f"{source}: {describe(counts)}", flush=True)
    return counts


def describe(counts: dict[str, Any]) -> str:
    """ "kept 2,941 of 3,000 (98.0%); 40 redirect, 19 empty"."""
    seen, kept = counts["seen"], counts["kept"]
    reasons = sorted(counts["dropped"].items(), key=lambda item: (-item[1], item[0]))
    dropped = ", ".join(f"{number:,} {reason}" for reason, number in reasons)
    return f"kept {kept:,} of {seen:,} ({kept / max(seen, 1):.1%})" + (f"; {dropped}" if dropped else "")


def check_some_left(folder: Path, counts: dict[str, dict[str, Any]]) -> None:
    """Refuses a step that leaves no document at all."""
    if not any(source["kept"] for source in counts.values()):
        reasons = "; ".join(f"{source}: {describe(count)}" for source, count in counts.items())
        raise BadInput(f"{folder}: no document is left ({reasons}); {folder}/rejects holds them with their reasons")
