"""Measure how far every weight of every step has moved from the series' first step.

python analyze/weights.py --config configs/tiny.yaml
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from analyze.tensors import combine, list_tensors, parse_name, read_tensor, unfinished_steps
from snakmodel.config import knob, read_command, run_script
from snakmodel.paths import PRETRAINED

MOVERS = 3  # tensors named in a step's line


@dataclass
class Settings:
    series: list[str] = knob([PRETRAINED], "series to measure: pretrained, or tuned variants", execution=True)
    steps: str = knob("all", "steps to measure: all, first, last, 500,1000 or 500:12500:500", execution=True)
    k: int = knob(8, "singular vectors whose span is compared, the k largest; smaller matrices: all", low=1)


def compare(base: Path, model: Path, k: int, label: str) -> Iterator[dict[str, Any]]:
    """The rows of two model folders: one a tensor and measure. Holds two tensors at a time, never two models."""
    base_tensors, tensors = list_tensors(base), list_tensors(model)
    for name in tqdm(sorted(tensors), desc=label, unit="tensor", leave=False, disable=None):
        layer, kind = parse_name(name)
        for row in measure(read_tensor(base_tensors, name), read_tensor(tensors, name), k):
            yield {"tensor": name, "layer": layer, "type": kind, **row}


def measure(base: np.ndarray, changed: np.ndarray, k: int) -> Iterator[dict[str, Any]]:
    """Every measure that is defined for a tensor of this shape; `degenerate` ones are zero by construction."""
    # scipy is slow to import, and a finished stage need not wait for it
    from analyze import distances

    def row(name: str, unit: str, value: float, degenerate: bool = False) -> dict[str, Any]:
        return {"measure": name, "unit": unit, "value": value, "degenerate": degenerate}

    yield row("delta", "weight", distances.mean_absolute_difference(base, changed))
    if not (base.any() and changed.any()):
        return  # zeros have neither a norm to compare with nor a direction
    yield row("relative_frobenius", "ratio", distances.relative_frobenius_change(base, changed))
    if base.ndim != 2:
        return
    rows, columns = base.shape
    k = min(k, rows, columns)
    left, right = distances.singular_subspace_angles(base, changed, k)
    angle = distances.subspace_angle(base, changed)
    yield row("cosine", "ratio", distances.cosine(base, changed))
    yield row("subspace_angle", "degrees", angle, distances.is_degenerate((rows, columns)))
    yield row("left_singular_angle", "degrees", left, distances.is_degenerate((rows, k)))
    yield row("right_singular_angle", "degrees", right, distances.is_degenerate((columns, k)))


def movers(rows: list[dict[str, Any]]) -> str:
    """The tensors that changed most for their size: "layers.0.q_proj 12.3%, ..."."""
    changes = sorted(
        (r for r in rows if r["measure"] == "relative_frobenius" and r["value"] > 0), key=lambda r: -r["value"]
    )
    moved = [f"{r['tensor'].removeprefix('model.').removesuffix('.weight')} {r['value']:.2%}" for r in changes[:MOVERS]]
    return ", ".join(moved) or "nothing"


def main() -> None:
    command = read_command(Settings, "weights", __doc__)
    settings = command.settings
    for step in unfinished_steps(command, settings.series, settings.steps):
        rows = list(compare(Path(step.base.location), Path(step.checkpoint.location), settings.k, step.label))
        step.finish(rows)
        print(f"{step.label}: against step {step.base.step}, changed most: {movers(rows)}", flush=True)
    if not command.check:
        combine(command)


if __name__ == "__main__":
    run_script(main)
