"""Hashes of files, and of folders of models that have no record of their own."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

SAMPLES, LENGTH = 256, 1024  # pieces of a file of weights, and bytes of each
# of a model's folder, beside its weights, what shapes its answers
SHAPING = [
    *("config.json", "generation_config.json", "*.safetensors.index.json", "chat_template*"),
    *("tokenizer*", "vocab*", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json"),
]


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
    """SHA-256 of the settings, vocabulary and template in a model's folder, and of samples of its weights."""
    files = {path for pattern in SHAPING for path in folder.glob(pattern) if path.is_file()}
    hashes = {path.name: hash_once(path) for path in files}
    hashes |= {path.name: hash_once(path, sampled_hash) for path in folder.glob("*.safetensors")}
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()


def hash_once(path: Path, hash_of: Callable[[Path], str] = file_hash) -> str:
    """A file's hash, taken once while its size and time are the same: a script may ask for it once a checkpoint."""
    status = path.stat()
    return hash_as_of(hash_of, path.resolve(), status.st_size, status.st_mtime_ns)


@cache
def hash_as_of(hash_of: Callable[[Path], str], path: Path, size: int, mtime_ns: int) -> str:
    return hash_of(path)
