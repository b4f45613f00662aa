"""Hashes of a safetensors file and of every tensor in it, read once, piece by piece, here or by range requests.

The format (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, the header, which is JSON, and
the tensors' bytes without gaps. Hashes are SHA-256 of a tensor's bytes as they are stored.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from snakmodel.hashes import file_hash
from snakmodel.settings import BadInput

PIECE = 2**26  # bytes read at a time: a multiple of every type's size
MOST_HEADER = 10**8  # bytes; what safetensors itself takes
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2}
SIZES |= {"U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
# of a number that is not finite, all bits of the exponent are set (of F8_E4M3, which has no infinity, all but the sign)
EXPONENTS = {"F64": 0x7FF << 52, "F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80, "F8_E5M2": 0x7C, "F8_E4M3": 0x7F}


@dataclass(frozen=True)
class Contents:
    """What a safetensors file holds."""

    sha256: str | None  # of the file; None: not all of it was read
    tensors: dict[str, dict[str, Any]]  # name -> sha256, dtype, shape, not_finite


def scan(file: BinaryIO, size: int, limit: int | None = None) -> Contents:
    """Hashes a safetensors file of `size` bytes and its tensors, and counts the values that are NaN or infinite.

    limit: read only so many bytes of each tensor, whose hash is then that of its beginning. Raises BadInput where the
    header and the bytes do not agree.
    """
    whole, tensors, start = hashlib.sha256(), {}, 0
    header = read_header(file, size)
    whole.update(header)
    for name, what in parse_header(header[8:], size):
        digest, not_finite = hashlib.sha256(), 0
        length = what["end"] - start
        wanted = length if limit is None else min(length, limit // 8 * 8)
        file.seek(len(header) + start)
        for offset in range(0, wanted, PIECE):
            piece = file.read(min(PIECE, wanted - offset))
            if len(piece) < min(PIECE, wanted - offset):
                raise BadInput(f"ends in the middle of {name}")
            digest.update(piece)
            whole.update(piece)
            not_finite += count_not_finite(piece, what["dtype"])
        row = {"sha256": digest.hexdigest(), "dtype": what["dtype"], "shape": what["shape"]}
        tensors[name] = row | {"not_finite": not_finite}
        start = what["end"]
    return Contents(whole.hexdigest() if limit is None else None, tensors)


def read_header(file: BinaryIO, size: int) -> bytes:
    """The header with its eight bytes of length."""
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else MOST_HEADER + 1
    if length > min(MOST_HEADER, size - 8):
        raise BadInput(f"is no safetensors file, or cut off ({size:,} bytes)")
    return first + file.read(length)


def parse_header(text: bytes, size: int) -> list[tuple[str, dict[str, Any]]]:
    """Name, dtype, shape and end of each tensor in the order of its bytes, which fill the file."""
    try:
        header = {name: what for name, what in json.loads(text).items() if name != "__metadata__"}
        rows = [
            (name, {"dtype": what["dtype"], "shape": what["shape"], "end": what["data_offsets"][1]})
            for name, what in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        ]
        start = 0
        for name, what in rows:
            if what["end"] - start != SIZES[what["dtype"]] * math.prod(what["shape"]):
                raise BadInput(f"has a header whose {name} does not fit its shape and type")
            start = what["end"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise (
            error if isinstance(error, BadInput) else BadInput(f"has a header that cannot be read ({error})")
        ) from None
    if size != 8 + len(text) + start:
        raise BadInput(f"should have {8 + len(text) + start:,} bytes by its header, has {size:,}")
    return rows


def count_not_finite(piece: bytes, dtype: str) -> int:
    """How many values of these bytes are NaN or infinite; integers never are."""
    if dtype not in EXPONENTS:
        return 0
    bits = np.frombuffer(piece, f"<u{SIZES[dtype]}")
    mask = bits.dtype.type(EXPONENTS[dtype])
    return int(np.count_nonzero((bits & mask) == mask))


def hash_folder(folder: Path) -> dict[str, Any]:
    """For a model folder's record: hashes of every file and every tensor, and `weights`, one of all tensors."""
    files, tensors = {}, {}
    for path in sorted(path for path in folder.iterdir() if path.name not in ("started.json", "run.json")):
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                contents = scan(file, path.stat().st_size)
            tensors.update(contents.tensors)
            sha256 = contents.sha256
        else:
            sha256 = file_hash(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256}
    told = {name: {key: what[key] for key in ("sha256", "dtype", "shape")} for name, what in tensors.items()}
    return {"weights": weights_hash(tensors), "files": files, "tensors": told}


def weights_hash(tensors: dict[str, dict[str, Any]]) -> str:
    """One hash of all tensors' names, types, shapes and hashes, however they are divided into files."""
    rows = [[name, what["dtype"], what["shape"], what["sha256"]] for name, what in sorted(tensors.items())]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
