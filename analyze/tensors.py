"""The tensors of a step, wherever it lies: in a folder, in the Hub's cache, or on the Hub, read by range requests."""

import hashlib
import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from snakmodel.config import BadInput
from snakmodel.fingerprints import SIZES, parse_header, read_header
from snakmodel.series import Checkpoint, check_weights, split_revision

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' name -> torch's
DTYPES |= {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
CONSTANTS = "rotary_emb.inv_freq"  # of the rotary embedding, which older Llama exports stored, too


@dataclass(frozen=True)
class Files:
    """The files of a step: here, or on the Hub."""

    sizes: dict[str, int]
    open: Callable[[str], AbstractContextManager[BinaryIO]]
    stated: dict[str, str]  # SHA-256, as the Hub knows large files
    state: str  # changes when they do


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies."""

    file: str
    start: int  # byte in the file
    dtype: str  # torch's name
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model whose tensors are read when they are asked for."""

    name: str
    files: Files
    tensors: dict[str, Stored]
    is_part = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by name."""
        return {name: stored.shape for name, stored in self.tensors.items()}

    def read(self, name: str) -> Any:
        """A tensor in the type that it is stored in; only its own bytes are read, into memory of their own."""
        import torch  # late: a finished stage says so at once

        stored = self.tensors[name]
        dtype = getattr(torch, stored.dtype)
        data = bytearray(math.prod(stored.shape) * dtype.itemsize)
        with self.files.open(stored.file) as file:
            file.seek(stored.start)
            if file.readinto(data) < len(data):  # type: ignore[attr-defined]
                raise BadInput(f"{self.name}: {stored.file} ends in the middle of {name}")
        return torch.frombuffer(data, dtype=dtype).reshape(stored.shape)


def open_model(checkpoint: Checkpoint) -> Model:
    """The parameters of a step, of which only headers are read yet; a copy in the Hub's cache is as good as the Hub."""
    is_published = "commit" in checkpoint.row  # the cache might hold an older commit of its revision
    files, tensors = files_of(checkpoint, is_published) or hub_files(checkpoint), {}
    names = [name for name in files.sizes if name.startswith("model") and name.endswith(".safetensors")]
    if not names:
        raise BadInput(f"{checkpoint.location} has no model.safetensors")
    for file_name in names:
        with files.open(file_name) as file:
            try:
                header = read_header(file, files.sizes[file_name])
                rows = parse_header(header[8:], files.sizes[file_name])
            except BadInput as error:
                raise BadInput(f"{checkpoint.location}: {file_name} {error}") from None
        for name, what in rows:
            start = len(header) + what["end"] - SIZES[what["dtype"]] * math.prod(what["shape"])
            if what["dtype"] in DTYPES and not name.endswith(CONSTANTS):  # integers are no weights
                tensors[name] = Stored(file_name, start, DTYPES[what["dtype"]], tuple(what["shape"]))
    return Model(checkpoint.location, files, tensors)


def describe(name: str) -> dict[str, Any]:
    """Layer and type of a tensor: of "model.layers.3.self_attn.q_proj.weight" 3 and "q_proj"; a bias is a "bias"."""
    layer = re.search(r"\blayers\.(\d+)\.", name)
    kind = name.removesuffix(".weight").split(".")[-1]
    return {"tensor": name, "layer": int(layer[1]) if layer else None, "type": kind}


def files_of(checkpoint: Checkpoint, own: bool) -> Files | None:
    """The files of a step: here, or on the Hub. Of a parent on the Hub only what its cache has; None: nothing."""
    if checkpoint.is_local or checkpoint.row.get("path", "").startswith("."):
        return local_files(Path(checkpoint.location))
    if own:
        return hub_files(checkpoint)
    try:
        return local_files(local_folder(checkpoint))
    except BadInput:
        return None


def local_files(folder: Path) -> Files:
    """The files of a folder; none where it is gone."""
    paths = {path.name: path for path in sorted(folder.glob("*")) if path.is_file()}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    times = {name: path.stat().st_mtime_ns for name, path in paths.items()}
    state = hashlib.sha256(repr([sizes, times]).encode()).hexdigest()
    return Files(sizes, lambda name: paths[name].open("rb"), {}, state)


def hub_files(checkpoint: Checkpoint) -> Files:
    """The files of a revision on the Hub."""
    from snakmodel.hub import HfFileSystem, list_files, open_file  # late: most series are here

    repository, revision = split_revision(checkpoint.location)
    revision = checkpoint.row.get("commit") or revision or "main"
    listed, hub, pinned = list_files(repository, revision), HfFileSystem(), f"{repository}@{revision}"
    return Files(
        {name: size for name, (size, _) in listed.items()},
        lambda name: open_file(hub, pinned, name),
        {name: sha256 for name, (_, sha256) in listed.items() if sha256},
        pinned,
    )


def local_folder(checkpoint: Checkpoint) -> Path:
    """A checkpoint's folder, its weights files whole; of a model on the Hub, its copy in the Hub's cache."""
    folder = Path(checkpoint.location)
    if not checkpoint.is_local:
        from huggingface_hub import snapshot_download  # late: a finished stage says so at once

        try:
            # only what pretrain/prefetch.py fetches: the cache knows which of a repository's files are missing
            name, revision = split_revision(checkpoint.location)
            folder = Path(
                snapshot_download(
                    name,
                    revision=revision,
                    local_files_only=True,
                    allow_patterns="*.safetensors",
                    ignore_patterns="*/*",
                )
            )
        except (OSError, ValueError):
            command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
            raise BadInput(f"{folder} is no folder and not in the Hub's cache; {command}") from None
    check_weights(folder)
    return folder
