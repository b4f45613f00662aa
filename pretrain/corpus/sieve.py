"""What every step of the corpus does with its documents: keep or drop each one, keep the rejects, count both.

A source's documents lie in parts, SOURCE-00000.parquet, SOURCE-00001.parquet, ... (of several raw files:
SOURCE.000000-00000.parquet, ...), which every step reads and writes one by one: FOLDER/PART.parquet,
FOLDER/rejects/PART.parquet (with a `reason`), and last FOLDER/counts/PART.json, which says that the part is finished:
an interrupted step continues with the parts that are not.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snakmodel.config import BadInput
from snakmodel.documents import COLUMNS, DocumentWriter
from snakmodel.paths import STAGES, Run
from snakmodel.records import read_json, write_json
from snakmodel.settings import nearest

Judged = Iterable[tuple[dict[str, Any], str | None]]  # documents, each with the reason to drop it or None
Columns = dict[str, pa.DataType]
DIGIT = "[0-9]"


def sift(path: Path, judged: Judged, measures: Columns, remarks: Columns) -> None:
    """Writes the documents of a part to `path`, the rejects and the counts beside it.

    measures: columns that all documents have gained; remarks: columns of the rejects only.
    """
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
    counts = {"seen": seen, "kept": kept.count, "dropped": dropped, "words": words, "bytes": size}
    write_json(counts_path(path), counts)


def measures_of(path: Path) -> Columns:
    """The columns of a part that the steps before have added."""
    return {field.name: field.type for field in list(pq.read_schema(path))[len(COLUMNS) :]}


def folder_before(run: Run, section: str, reads: str) -> Path:
    """The folder of the corpus step that a later one reads."""
    steps = [stage.section for stage in STAGES if stage.folder.startswith("corpus/")]
    earlier = tuple(steps[: steps.index(section)])
    if reads not in earlier:
        raise BadInput(f"{section}.reads: {reads!r} is no step of the corpus before it; {nearest(reads, earlier)}")
    return run.folder(reads)


def counts_path(path: Path) -> Path:
    """Where the counts of a part are, once it is finished."""
    return path.parent / "counts" / f"{path.stem}.json"


def is_finished(path: Path) -> bool:
    """Whether a part and its counts are there."""
    return counts_path(path).is_file() and path.is_file()


def unfinished(paths: list[Path]) -> list[int]:
    """The positions of the parts that are not finished."""
    return [number for number, path in enumerate(paths) if not is_finished(path)]


def tally(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Sums the counts of finished parts by source; prints and returns them."""
    totals: dict[str, dict[str, Any]] = {}
    for path in paths:
        nothing = {"seen": 0, "kept": 0, "dropped": Counter[str](), "words": 0, "bytes": 0}
        total = totals.setdefault(source_of(path), nothing)
        counts = read_json(counts_path(path))
        total["dropped"].update(counts.pop("dropped"))
        for key, number in counts.items():
            total[key] += number
    for source, total in totals.items():
        reasons = "".join(f"; {number:,} {why}" for why, number in total["dropped"].most_common())
        share = total["kept"] / max(total["seen"], 1)
        print(f"{source}: kept {total['kept']:,} of {total['seen']:,} ({share:.1%}){reasons}", flush=True)
    return totals


def stems_of(source: str, files: int) -> list[str]:
    """How the parts and ids of each raw file of a source begin: reddit, or of several hplt.000000, hplt.000001, ..."""
    return [source] if files == 1 else [f"{source}.{number:06d}" for number in range(files)]


def part_name(stem: str, number: int) -> str:
    """The file name of a part."""
    return f"{stem}-{number:05d}.parquet"


def part_pattern(stem: str) -> str:
    """What matches the parts that begin so, and no others, here and on the Hub."""
    return f"{stem}-{5 * DIGIT}.parquet"


def source_patterns(source: str) -> list[str]:
    """What matches the parts of a source, whether it was read from one raw file or several, and no others."""
    return [part_pattern(source), part_pattern(f"{source}.{6 * DIGIT}")]


def source_of(path: Path) -> str:
    """The source of a part: .../reddit-00003.parquet -> "reddit", .../hplt.000012-00003.parquet -> "hplt"."""
    return re.sub(r"(\.\d{6})?-\d{5}$", "", path.stem)
