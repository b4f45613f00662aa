"""Measure how far every weight of every step has moved from the series' first step.

python analyze/weights.py --config configs/tiny.yaml
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from analyze.tensors import Row, SeriesSettings, compare_steps, read_pairs
from snakmodel.config import knob, read_command, run_script


@dataclass
class Settings(SeriesSettings):
    k: int = knob(8, "singular vectors whose span is compared, the k largest; smaller matrices: all", low=1)


def compare(base: Path, model: Path, settings: Settings) -> list[Row]:
    """The rows of two model folders: one a tensor and measure."""
    rows = []
    for what, before, after in tqdm(read_pairs(base, model), unit=" tensors", leave=False, disable=None):
        for measure, unit, value, degenerate in measures(before, after, settings.k):
            rows.append({**what, "measure": measure, "unit": unit, "value": value, "degenerate": degenerate})
    return rows


def measures(before: np.ndarray, after: np.ndarray, k: int) -> Iterator[tuple[str, str, float, bool]]:
    """Name, unit and value of each measure that a tensor of this shape has, and whether it is zero by construction."""
    from analyze import distances  # late: scipy is slow to import, and a finished stage says so at once

    yield "delta", "weight", distances.mean_absolute_difference(before, after), False
    if not (before.any() and after.any()):
        return  # zeros have neither a norm to compare with nor a direction
    yield "relative_frobenius", "ratio", distances.relative_frobenius_change(before, after), False
    if before.ndim == 2:
        rows, columns = before.shape
        k = min(k, rows, columns)
        yield "subspace_angle", "degrees", distances.subspace_angle(before, after), rows <= columns
        yield "left_singular_angle", "degrees", distances.left_singular_angle(before, after, k), rows <= k


def main() -> None:
    compare_steps(read_command(Settings, "weights", __doc__), compare)


if __name__ == "__main__":
    run_script(main)
