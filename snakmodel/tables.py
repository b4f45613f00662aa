"""Rows of a local file or folder, or of a data set on the Hub, streamed: JSON row by row, all else by `datasets`."""

import bz2
import gzip
import hashlib
import json
import lzma
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
from snakmodel.settings import nearest

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
FIRST = 1_000  # rows whose columns all rows are taken to have


def as_input(path: str, configuration: str | None, split: str, revision: str | None, label: str) -> str | Path:
    """The rows as an input of records.begin; raises BadInput where a path that looks local is not there.

    A file is known by its bytes, and so is a folder; a set on the Hub by its id and pinned revision.
    """
    local = Path(path)
    if local.is_dir():
        files = sorted(p for p in local.rglob("*") if p.is_file())
        content = " ".join(f"{p.relative_to(local)}:{file_hash(p)}" for p in files)
        return f"{path} {split} {hashlib.sha256(content.encode()).hexdigest()}"  # as a whole too long for a file's name
    check_there(path, label)
    return local if local.is_file() else f"{path}@{revision}/{configuration}/{split}"


def is_on_hub(path: str) -> bool:
    """Whether a path means the Hub: nothing lies there, and it looks like an id."""
    local = Path(path)
    looks_local = set(local.suffixes) & set(FORMATS) or path.startswith((".", "/")) or path.count("/") > 1
    in_folder = "/" in path and Path(local.parts[0]).is_dir()
    return not local.exists() and not looks_local and not in_folder


def check_there(path: str, label: str) -> None:
    """Refuses what looks like a path of this machine, and is not there."""
    if not Path(path).exists() and not is_on_hub(path):
        raise BadInput(f"{label}: {path}: no such file or folder; give one, or a Hub id such as ORG/NAME")


def no_rows(label: str, path: str | Path, split: str | None = None) -> BadInput:
    """What to raise where a table, or its split, is empty."""
    return BadInput(f"{label} ({path}) has no rows" + (f" in its split {split!r}" if split else ""))


def is_empty(path: Path) -> bool:
    """Whether a file holds no rows, which Parquet's and CSV's readers tell in words of their own."""
    import pyarrow as pa  # late: it takes a while
    import pyarrow.parquet as pq

    try:
        return path.stat().st_size == 0 or path.suffix == ".parquet" and pq.read_metadata(path).num_rows == 0
    except pa.ArrowInvalid:  # damaged, which is told elsewhere
        return False


def cached_copy(path: str, revision: str | None) -> Path:
    """The folder of the Hub's cache where pretrain/prefetch.py has put a set, named by its commit."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(path, repo_type="dataset", revision=revision, allow_patterns="README.md"))


def read_rows(path: str, configuration: str | None, split: str, revision: str | None, label: str) -> Iterator[Any]:
    """Every row as a dict, at least one. A file has no splits; of a folder, the files of one split are read."""
    local = Path(path)
    check_there(path, label)
    kind = next((FORMATS[suffix] for suffix in local.suffixes if suffix in FORMATS), "json")
    if local.is_file() and kind == "json" and local.suffix in (*OPENERS, *FORMATS):
        yield from read_json_rows(local, label)
        return
    from datasets import load_dataset  # late: a second
    from huggingface_hub import is_offline_mode
    from pandas.errors import EmptyDataError
    from pyarrow import ArrowInvalid

    if local.is_file() and is_empty(local):
        raise no_rows(label, path)
    found = False
    try:
        if is_offline_mode() and is_on_hub(path):
            path, revision = str(cached_copy(path, revision)), None
        if local.is_file():
            rows = load_dataset(kind, data_files=str(local), split="train", streaming=True)
        else:
            rows = load_dataset(path, configuration, split=split, revision=revision, streaming=True)
        for row in rows:
            found = True
            yield row
    except Exception as error:  # the library raises what its back-ends raise
        empty = [file for file in sorted(local.rglob("*")) if file.suffix in FORMATS and is_empty(file)]
        if empty and isinstance(error, ArrowInvalid | EmptyDataError):
            raise no_rows(label, empty[0]) from None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{label} ({path}) cannot be read: {reason}") from error
    if not found:
        raise no_rows(label, path, None if local.is_file() else split)


def read_json_rows(path: Path, label: str) -> Iterator[dict[str, Any]]:
    """The rows of JSON lines, or of one JSON list; each value as it is written, null where a row lacks a column."""
    rows = parse_json_rows(path, label)
    first = list(islice(rows, FIRST))
    if not first:
        raise no_rows(label, path)
    columns = dict.fromkeys(name for row in first for name in row)
    for row in chain(first, rows):
        yield columns | row


def parse_json_rows(path: Path, label: str) -> Iterator[dict[str, Any]]:
    """The rows as they stand there; a broken one is told by its line."""
    where = f"{label} ({path})"
    try:
        with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            if first.lstrip().startswith("["):
                lines: Any = ((number, row) for number, row in enumerate(json.load(file), start=1))
                unit = "row"
            else:
                lines, unit = ((number, line) for number, line in enumerate(file, start=1) if line.strip()), "line"
            for number, each in lines:
                try:
                    row = json.loads(each) if unit == "line" else each
                except json.JSONDecodeError as error:
                    raise BadInput(f"{where}, line {number}: not JSON ({error.msg}, column {error.colno})") from None
                if not isinstance(row, dict):
                    raise BadInput(f"{where}, {unit} {number}: should be an object of columns, got {str(row)[:40]!r}")
                yield row
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from None
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise BadInput(f"{where} cannot be read: {error}") from None


def resolve_revision(path: str, revision: str | None, label: str) -> str | None:
    """The commit that a set on the Hub is at now, unless one is pinned; None for what lies here."""
    check_there(path, label)
    if Path(path).exists() or revision is not None:
        return revision
    from huggingface_hub import HfApi, is_offline_mode

    try:
        return cached_copy(path, None).name if is_offline_mode() else HfApi().dataset_info(path).sha
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{label} ({path}): its revision cannot be resolved ({reason}); pin it, or read a copy"
        ) from error


def column(row: dict[str, Any], name: str, label: str) -> Any:
    """One column of a row; a missing one is the recipe's mistake."""
    if name not in row:
        raise BadInput(f"{label} has no column {name!r}; {nearest(name, tuple(row))}")
    return row[name]
