"""Text documents as Parquet: files of a source's parts, columns `text`, `source`, `id` and whatever a stage measured.

Rejected documents lie in `rejects/` beside the kept ones, with a `reason` column.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from snakmodel.config import BadInput
from snakmodel.paths import maker_of
from snakmodel.records import missing, temporary_path

T = TypeVar("T")

ROWS_PER_GROUP = 10_000  # documents held in memory at a time, or fewer where they are long:
CHARACTERS_PER_GROUP = 50_000_000
COLUMNS = [("text", pa.string()), ("source", pa.string()), ("id", pa.string())]


class DocumentWriter:
    """Writes documents to one Parquet file, beside first, renamed when the `with` block ends well.

    extra: columns beyond text, source and id, as name -> Arrow type.
    """

    def __init__(self, path: Path, extra: dict[str, pa.DataType] | None = None) -> None:
        self.path = path
        self.temporary = temporary_path(path)
        self.schema = pa.schema([*COLUMNS, *(extra or {}).items()])
        self.rows: list[dict[str, Any]] = []
        self.count = 0
        self.characters = 0  # in self.rows

    def __enter__(self) -> "DocumentWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = pq.ParquetWriter(self.temporary, self.schema, compression="zstd")
        return self

    def write(self, document: dict[str, Any]) -> None:
        self.rows.append(document)
        self.count += 1
        self.characters += len(document["text"])
        if len(self.rows) >= ROWS_PER_GROUP or self.characters >= CHARACTERS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
            self.rows, self.characters = [], 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.writer.close()
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def batches(
    documents: Iterable[dict[str, Any]], most: int = ROWS_PER_GROUP, characters: int = 2_000_000
) -> Iterator[list[dict[str, Any]]]:
    """Documents in lists of at most so many, and of so many characters of text, or of one document that is longer."""
    batch: list[dict[str, Any]] = []
    size = 0
    for document in documents:
        if batch and (len(batch) >= most or size + len(document["text"]) > characters):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document["text"])
    if batch:
        yield batch


def text_fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, not on what else is in the corpus."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64


def document_files(folder: Path) -> list[Path]:
    """The Parquet files of a corpus folder, in order of their names (rejects not among them)."""
    files = sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))
    if not files:
        raise BadInput(missing(folder / "*.parquet"))
    return files


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file; one that is missing or not whole, also where that shows while it is read, is one line."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise BadInput(missing(path)) from None
    except (pa.ArrowException, OSError) as error:
        stage = maker_of(path.parent)
        cure = f"delete it and run {stage} again" if stage else "give whole Parquet files here"
        raise BadInput(f"{path}: not a whole Parquet file ({error}); {cure}") from None


def read_documents(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Streams the documents of one Parquet file as dicts."""
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):  # one by one: a batch would reach over several
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, row_groups=[group], columns=columns):
                yield from batch.to_pylist()


def count_documents(path: Path) -> int:
    """How many documents a Parquet file has, by its footer."""
    with open_parquet(path) as file:
        return file.metadata.num_rows


def sample_texts(path: Path, limit: int) -> list[str]:
    """At most `limit` texts, evenly spaced over the file, so that each of its sources keeps its share."""
    texts = [document["text"] for document in read_documents(path, ["text"])]
    if not any(texts):
        raise BadInput(f"{path}: no text in it; held-out text cannot be empty")
    return evenly(texts, limit)


def evenly(values: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of the values, evenly spaced, in their order."""
    picked = min(limit, len(values))
    return [values[index * len(values) // picked] for index in range(picked)]
