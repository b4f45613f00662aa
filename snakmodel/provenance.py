"""What every record says of the code that made it, its commit and packages; and how weights without one are known."""

import hashlib
import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

PACKAGES = ("torch", "transformers", "datasets", "peft", "trl", "accelerate", "sentencepiece", "numpy")


@cache
def commit() -> str:
    """The repository's commit, with "+changes" where the tree differs; "unknown" outside git."""
    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if dirty else "")


def versions() -> dict[str, str]:
    """Versions of Python and of those packages that shape results which are installed: figures need but a few."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def sampled_hash(path: Path, samples: int = 256, length: int = 1024) -> str:
    """SHA-256 of a file's size and of pieces that lie evenly over it: what has been trained differs in all of them."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(samples):
            file.seek(max(0, size - length) * number // (samples - 1))
            found.update(file.read(length))
    return found.hexdigest()
