"""LoRA adapters as they are stored: their factors, and the model that they were tuned on.

W + s B A, with s = alpha / rank: Hu et al. 2021 (arXiv 2106.09685), section 4.1.
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from snakmodel.config import BadInput
from snakmodel.paths import PRETRAINED, Run, step_of
from snakmodel.records import identity, read_json
from snakmodel.series import Checkpoint, read_series

PREFIX, LORA_A, LORA_B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"  # of peft's names


def adapter_steps(variant: Path) -> list[Checkpoint]:
    """The adapters of a variant's folder, by step."""
    found = [path.parent for path in sorted(variant.glob("step-*/adapter_config.json"))]
    return [Checkpoint(step_of(path.name) or 0, str(path), {}) for path in found]


def adapted_weights(folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> shape [rows, columns] of each weight that an adapter changes."""
    is_transposed, shapes = read_json(folder / "adapter_config.json")["fan_in_fan_out"], {}
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        for key in (key for key in file.keys() if key.endswith(LORA_A)):
            ends = file.get_slice(key.replace(LORA_A, LORA_B)).get_shape()[0], file.get_slice(key).get_shape()[1]
            shapes[key.removeprefix(PREFIX).replace(LORA_A, ".weight")] = ends[::-1] if is_transposed else ends
    return shapes


def read_factors(folder: Path, weight: str) -> tuple[Any, Any]:
    """s B [rows, rank] and A [rank, columns] of a weight, float32, whose product is its change."""
    config, key = read_json(folder / "adapter_config.json"), PREFIX + weight.removesuffix(".weight")
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        b, a = file.get_tensor(key + LORA_B).float(), file.get_tensor(key + LORA_A).float()
    up, down = config["lora_alpha"] / config["r"] * b, a
    return (down.T, up.T) if config["fan_in_fan_out"] else (up, down)  # as GPT-2 stores its matrices


def find_base(tuned: Path, run: Run) -> str:
    """The model that an adapter was tuned on, by its own record: where it was, or (the run has moved) in the series."""
    told = read_json(tuned / "run.json")["inputs"]["model"]
    series = run.series(PRETRAINED)
    there = [str(c.source) for c in read_series(series, whole=False)] if (series / "series.json").is_file() else []
    for location in (told["path"], *there):
        if identity(location) == told["hash"]:
            return location if Path(location).is_dir() else location.partition("=")[0]  # of the Hub: without the commit
    raise BadInput(f"{tuned} was tuned on {told['path']}, which has changed since, or is not there; tune it again")
