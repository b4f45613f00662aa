"""Token shards in Megatron's format: NAME.bin (the tokens) and NAME.idx (where each document lies), plus NAME.json.

.idx, little-endian: b"MMIDIDX\\0\\0", u64 version 1, u8 type code, u64 sequences n, u64 documents+1,
i32 lengths [n], i64 byte offsets [n], i64 document bounds [documents+1]. Here a sequence is a document.
Format: Megatron-LM, megatron/core/datasets/indexed_dataset.py.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
from snakmodel.records import missing, read_json, temporary_path, write_beside, write_json

MAGIC = b"MMIDIDX\x00\x00"
TYPE_CODES: dict[np.dtype, int] = {np.dtype("int32"): 4, np.dtype("uint16"): 8}  # of Megatron's table; all we write
UINT16_VOCABULARY = 65_500  # Megatron's own limit for two-byte tokens


class ShardWriter:
    """Writes documents' tokens to NAME.bin, then NAME.idx, then NAME.json; a shard without its .json is unfinished."""

    def __init__(self, prefix: Path, vocabulary: int) -> None:
        self.prefix = prefix
        self.dtype = np.dtype("uint16" if vocabulary < UINT16_VOCABULARY else "int32")
        self.lengths = array("i")  # four bytes a document
        self.digest = hashlib.sha256()

    def __enter__(self) -> "ShardWriter":
        self.prefix.parent.mkdir(parents=True, exist_ok=True)
        self.prefix.with_suffix(".json").unlink(missing_ok=True)
        self.temporary = temporary_path(self.prefix.with_suffix(".bin"))
        self.file = self.temporary.open("wb")
        return self

    def write(self, tokens: list[int]) -> None:
        """Adds one document, which must not be empty."""
        self.write_all(np.asarray(tokens), [len(tokens)])

    def write_all(self, tokens: np.ndarray, lengths: list[int]) -> None:
        """Adds documents of these lengths, whose tokens follow each other."""
        data = tokens.astype(self.dtype).tobytes()
        self.file.write(data)
        self.digest.update(data)
        self.lengths.extend(lengths)

    def finish(self, **facts: Any) -> None:
        """Closes the shard; `facts` go to the side-car (tokenizer hash, policy, counts)."""
        self.file.close()
        self.temporary.replace(self.prefix.with_suffix(".bin"))
        lengths = np.frombuffer(self.lengths, dtype=np.int32) if self.lengths else np.zeros(0, np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)]) * self.dtype.itemsize
        with write_beside(self.prefix.with_suffix(".idx")) as temporary, temporary.open("wb") as file:
            file.write(MAGIC + struct.pack("<QBQQ", 1, TYPE_CODES[self.dtype], len(lengths), len(lengths) + 1))
            file.write(lengths.tobytes() + offsets.astype(np.int64)[: len(lengths)].tobytes())
            file.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())
        write_json(
            self.prefix.with_suffix(".json"),
            {
                "documents": len(lengths),
                "tokens": int(lengths.sum(dtype=np.int64)),
                "dtype": self.dtype.name,
                "sha256_bin": self.digest.hexdigest(),
                "sha256_idx": file_hash(self.prefix.with_suffix(".idx")),
                **facts,
            },
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.file.close()
        finally:
            self.temporary.unlink(missing_ok=True)


class ShardReader:
    """Reads a shard through a memory map. `verify` compares checksums (about a second a GB)."""

    def __init__(self, prefix: Path, verify: bool = False) -> None:
        self.prefix = prefix
        self.facts = read_json(prefix.with_suffix(".json"))
        self.lengths, self.offsets, self.dtype = read_index(prefix.with_suffix(".idx"))
        path = prefix.with_suffix(".bin")
        expected = int(self.lengths.sum(dtype=np.int64)) * self.dtype.itemsize
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise BadInput(f"{path}: corrupt shard: {found:,} bytes, its index says {expected:,}; {REMEDY}")
        if verify:
            for suffix in (".bin", ".idx"):
                if file_hash(prefix.with_suffix(suffix)) != self.facts[f"sha256_{suffix[1:]}"]:
                    raise BadInput(
                        f"{prefix.with_suffix(suffix)}: corrupt shard: checksum differs from its side-car's; {REMEDY}"
                    )
        self.tokens = np.memmap(path, dtype=self.dtype, mode="r") if expected else np.zeros(0, self.dtype)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, document: int) -> np.ndarray:
        start = int(self.offsets[document]) // self.dtype.itemsize
        return self.tokens[start : start + int(self.lengths[document])]


class TokenStream:
    """The shards of several sources as one row of windows of `length` tokens; no window reaches over two sources."""

    def __init__(self, shards: list[ShardReader], length: int) -> None:
        self.shards, self.length = shards, length
        self.ends = np.cumsum([max(0, (len(shard.tokens) - 1) // length) for shard in shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def cut(self, numbers: Iterable[int]) -> np.ndarray:
        """The windows of these numbers, each with the next token for every position: [windows, length + 1], int64."""
        windows = []
        for number in numbers:
            shard, start = self.find(number)
            windows.append(shard.tokens[start : start + self.length + 1])
        return np.stack(windows).astype(np.int64)

    def positions(self, number: int) -> np.ndarray:
        """Where each token of a window stands in its document, or in the window if that began before: [length]."""
        shard, start = self.find(number)
        ends = np.array([start, start + self.length]) * shard.dtype.itemsize
        inside = shard.offsets[slice(*np.searchsorted(shard.offsets, ends))] // shard.dtype.itemsize - start
        begins = np.zeros(self.length, np.int64)
        begins[inside] = inside
        return np.arange(self.length) - np.maximum.accumulate(begins)

    def find(self, number: int) -> tuple[ShardReader, int]:
        """The shard that a window lies in, and the place of its first token there."""
        source = int(np.searchsorted(self.ends, number, side="right"))
        return self.shards[source], (number - (int(self.ends[source - 1]) if source else 0)) * self.length


def open_shards(folder: Path, name: str, verify: bool = False) -> list[ShardReader]:
    """The shards of every source: FOLDER/SOURCE/NAME, in the order of the sources' names; empty ones left out."""
    prefixes = [path.with_suffix("") for path in sorted(folder.glob(f"*/{name}.json"))]
    if not prefixes:
        raise BadInput(missing(folder / f"*/{name}.json"))
    shards = [shard for shard in (ShardReader(prefix, verify) for prefix in prefixes) if len(shard)]
    if not shards:
        raise BadInput(f"{folder}: no source has any text for {name}; see make_shards.validation_share")
    return shards


REMEDY = "run pretrain/corpus/make_shards.py with --overwrite"


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """Lengths [documents], byte offsets [documents] and token type of an .idx file."""
    header = len(MAGIC) + struct.calcsize("<QBQQ")
    data = np.memmap(path, np.uint8, "r") if path.is_file() and path.stat().st_size >= header else np.zeros(0, np.uint8)
    if data[: len(MAGIC)].tobytes() != MAGIC:
        raise BadInput(f"{path}: corrupt shard: not a Megatron index; {REMEDY}")
    _, code, count, bounds = struct.unpack("<QBQQ", data[len(MAGIC) : header].tobytes())
    dtypes = {number: dtype for dtype, number in TYPE_CODES.items()}
    if code not in dtypes or len(data) != header + 12 * count + 8 * bounds:
        raise BadInput(f"{path}: corrupt shard: {len(data):,} bytes for {count:,} documents; {REMEDY}")
    lengths = np.frombuffer(data, np.int32, count, header)
    offsets = np.frombuffer(data, np.int64, count, header + 4 * count)
    return lengths, offsets, dtypes[code]
