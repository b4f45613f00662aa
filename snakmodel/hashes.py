"""Hashes of files, and of folders of models that have no record of their own."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

SAMPLES, LENGTH = 256, 1024  # pieces of a file of weights, and bytes of each


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_hash(path: Path) -> str:
    """SHA-256 of a file's size and of pieces that lie evenly over it: what has been trained differs in all of them."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(max(0, size - LENGTH) * number // (SAMPLES - 1))
            found.update(file.read(LENGTH))
    return found.hexdigest()


def model_hash(folder: Path) -> str:
    """SHA-256 of all settings, vocabulary and template of a model's folder, and of samples of its weights."""
    kinds = {".safetensors": sampled_hash, **dict.fromkeys((".json", ".jinja", ".model", ".txt"), file_hash)}
    files = sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file())
    hashes = [(path.name, hash_once(path, kinds[path.suffix])) for path in files]
    return hashlib.sha256(repr(hashes).encode()).hexdigest()


def hash_once(path: Path, hash_of: Callable[[Path], str] = file_hash) -> str:
    """A file's hash, taken once while its size and time are the same: a script may ask for it once a checkpoint."""
    status = path.stat()
    return hash_as_of(hash_of, path.resolve(), status.st_size, status.st_mtime_ns)


@cache
def hash_as_of(hash_of: Callable[[Path], str], path: Path, size: int, mtime_ns: int) -> str:
    return hash_of(path)
