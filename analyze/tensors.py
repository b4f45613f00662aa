"""What weights.py and embeddings.py share: the steps still to compare, and two models read tensor by tensor."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from snakmodel.config import BadInput, Command
from snakmodel.paths import step_name, step_of
from snakmodel.records import Work, begin, missing, read_json, shaping, write_json
from snakmodel.series import Checkpoint, check_weights, choose, read_series


@dataclass(frozen=True)
class Comparison:
    """A step of a series that is still to be compared with the series' first step, its base."""

    series: str
    base: Checkpoint
    checkpoint: Checkpoint
    work: Work

    @property
    def label(self) -> str:
        return f"{self.series} {step_name(self.checkpoint.step)}"

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows.json, each row saying what was compared, then run.json."""
        compared = {"series": self.series, "step": self.checkpoint.step, "against": self.base.step}
        write_json(self.work.folder / "rows.json", {"rows": [{**compared, **row} for row in rows]})
        self.work.finish(rows=len(rows))


def unfinished_steps(command: Command[Any], names: list[str], steps: str) -> Iterator[Comparison]:
    """Opens, one after the other, the step folders of these series that are not finished.

    Models are checked before their folder is opened: a step that was refused leaves nothing behind.
    """
    where = f"{command.config}: {command.section}"
    for name in names:
        checkpoints = read_series(command.run.series(name))
        base = checkpoints[0]
        chosen = [c for c in choose(checkpoints, steps, f"{where}.steps") if c is not base]
        if not chosen:
            print(f"{name}: nothing to compare: no step asked for after step {base.step}", flush=True)
            continue
        base_tensors = list_tensors(local_folder(base, where))
        for checkpoint in chosen:
            check_same(base_tensors, list_tensors(local_folder(checkpoint, where)), base, checkpoint)
            folder = command.run.folder(command.section) / name / step_name(checkpoint.step)
            work = begin(command, folder, {"base": base.source, "model": checkpoint.source})
            if work is not None:
                yield Comparison(name, base, checkpoint, work)


def combine(command: Command[Any]) -> None:
    """Writes the rows of all finished steps to one file beside the section's folder: analysis/weights.json, say."""
    folder = command.run.folder(command.section)
    rows = []
    finished = [record.parent for record in folder.glob("*/step-*/run.json")]
    for step_folder in sorted(finished, key=lambda f: (f.parent.name, step_of(f.name) or 0)):
        if read_json(step_folder / "run.json")["settings"] != shaping(command.settings):
            print(f"{step_folder}: left out of {folder}.json: made with other settings; run it again", flush=True)
            continue
        rows.extend(read_json(step_folder / "rows.json")["rows"])
    write_json(folder.with_suffix(".json"), {"rows": rows})


def local_folder(checkpoint: Checkpoint, where: str) -> Path:
    """A checkpoint's folder, its weights files whole."""
    if not checkpoint.is_local:
        raise BadInput(
            f"{where}: step {checkpoint.step} is {checkpoint.location!r}, which is not a folder here; "
            "a model on the Hub must be downloaded first"
        )
    folder = Path(checkpoint.location)
    check_weights(folder)
    return folder


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies, and its shape."""

    file: Path
    shape: tuple[int, ...]


def list_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The parameters of a model folder, one file or several with an index, by name. Reads headers only."""
    index = folder / "model.safetensors.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    tensors = {}
    for path in (folder / name for name in names):
        if not path.is_file():
            raise BadInput(missing(path))
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                if not name.endswith("rotary_emb.inv_freq"):  # constants that older Llama exports stored as weights
                    tensors[name] = StoredTensor(path, tuple(file.get_slice(name).get_shape()))
    return tensors


def check_same(
    base: dict[str, StoredTensor], model: dict[str, StoredTensor], base_at: Checkpoint, model_at: Checkpoint
) -> None:
    """Refuses two models whose tensors differ in name or shape, naming them."""
    differences = [f"{name} is only in the first" for name in base if name not in model]
    differences += [f"{name} is only in the second" for name in model if name not in base]
    for name in base.keys() & model.keys():
        if base[name].shape != model[name].shape:
            first, second = (" x ".join(map(str, t[name].shape)) for t in (base, model))
            differences.append(f"{name} is {first} in the first, {second} in the second")
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise BadInput(
            f"{base_at.location} and {model_at.location} cannot be compared: "
            f"{'; '.join(sorted(differences)[:3])}{more}; a series holds steps of one architecture"
        )


def read_tensor(tensors: dict[str, StoredTensor], name: str) -> np.ndarray:
    """One tensor in float32."""
    # through torch, since numpy has no bfloat16
    with safe_open(tensors[name].file, framework="pt") as file:
        values = file.get_tensor(name).float().numpy()
    if not np.isfinite(values).all():
        raise BadInput(f"{tensors[name].file}: {name} holds NaN or infinity; training diverged before this step")
    return values


def parse_name(name: str) -> tuple[int | None, str]:
    """Layer and type of a tensor: "model.layers.3.self_attn.q_proj.weight" -> (3, "q_proj"); biases keep ".bias"."""
    match = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    parts = name.removesuffix(".weight").split(".")
    kind = ".".join(parts[-2:]) if parts[-1] == "bias" else parts[-1]
    return int(match.group(1)) if match else None, kind
