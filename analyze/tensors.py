"""What weights.py and embeddings.py share: each step of a series against the first, tensor by tensor."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from snakmodel.config import BadInput, Command, knob
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, is_current, read_json, write_json
from snakmodel.series import Checkpoint, check_weights, choose, read_series, split_revision

Row = dict[str, Any]


@dataclass
class SeriesSettings:
    series: list[str] = knob([PRETRAINED], "series to measure: pretrained, or tuned variants", execution=True)
    steps: str = knob("all", "steps to measure: all, first, last, 500,1000 or 500:12500:500", execution=True)


def compare_steps(command: Command[Any], compare: Callable[[Path, Path, Any], list[Row]]) -> None:
    """Compares each step asked for with its series' first, a folder a step; all steps that are done make one file.

    `compare` makes the rows from the first step's folder, the step's folder and the settings.
    """
    section = command.run.folder(command.section)
    together: list[Row] = []
    for series in command.settings.series:
        base, *later = read_series(command.run.series(series))
        chosen = choose([base, *later], command.settings.steps, f"{command.config}: {command.section}.steps")
        if chosen == [base]:
            print(f"{series}: nothing to compare: no step asked for after step {base.step}", flush=True)
        for checkpoint in later:
            folder = section / series / step_name(checkpoint.step)
            inputs = {"base": base.source, "model": checkpoint.source}
            if checkpoint in chosen:
                folders = local_folder(base), local_folder(checkpoint)
                work = begin(command, folder, inputs)
                if work is not None:
                    compared = {"series": series, "step": checkpoint.step, "against": base.step}
                    rows = [compared | row for row in compare(*folders, command.settings)]
                    write_json(folder / "rows.json", {"rows": rows})
                    work.finish(rows=len(rows))
                    print(f"{series} {folder.name}: {len(rows)} rows against step {base.step}", flush=True)
            if is_current(folder, inputs):
                together += read_json(folder / "rows.json")["rows"]
    if not command.check:
        write_json(section.with_suffix(".json"), {"rows": together})


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


def read_pairs(base: Path, model: Path, *types: str) -> Iterator[tuple[Row, np.ndarray, np.ndarray]]:
    """Each tensor (of these types) of two models: what it is, and its values, float32; holds two at a time."""
    before, after = open_tensors(base), open_tensors(model)
    for name in sorted(before.keys() | after.keys()):
        first, second = (tensors[name].get_shape() if name in tensors else "missing" for tensors in (before, after))
        if first != second:
            raise BadInput(f"{base} and {model} differ: {name} is {first} in the first, {second} in the second")
        what = describe(name)
        if not types or what["type"] in types:
            yield what, before[name][:].float().numpy(), after[name][:].float().numpy()


def open_tensors(folder: Path) -> dict[str, Any]:
    """The parameters of a model folder, in one file or several, by name; values are read where one is indexed."""
    files = [safe_open(path, framework="pt") for path in sorted(folder.glob("model*.safetensors"))]
    # older Llama exports stored the constants of their rotary embedding, too
    return {n: file.get_slice(n) for file in files for n in file.keys() if not n.endswith("rotary_emb.inv_freq")}


def describe(name: str) -> Row:
    """Layer and type of a tensor: of "model.layers.3.self_attn.q_proj.weight" 3 and "q_proj"; a bias is a "bias"."""
    layer = re.search(r"\blayers\.(\d+)\.", name)
    kind = name.removesuffix(".weight").split(".")[-1]
    return {"tensor": name, "layer": int(layer[1]) if layer else None, "type": kind}
