"""All measures of a pair of tensors as rows: which of them a pair has, their units, where they are degenerate."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.linalg import eigvalsh

from analyze import distances
from analyze.distances import Matrix, Tensor
from analyze.lora import Update, compare_updates, measure_update
from snakmodel.config import BadInput

Row = dict[str, Any]
Side = Literal["left", "right"]
UNITS = {
    "delta": "weight",
    "frobenius": "weight",
    "relative_frobenius": "ratio",
    "cosine": "cosine",
    "unchanged": "share",
    "cast_delta": "weight",
    "cast_unchanged": "share",
    "spectral_norm": "weight",
    "stable_rank": "rank",
    "effective_rank": "rank",
    "subspace_angle": "degrees",
    "left_singular_angle": "degrees",
    "right_singular_angle": "degrees",
    "left_energy_angle": "degrees",
    "right_energy_angle": "degrees",
}


def compare(before: Any, after: Any, wanted: list[Any], k: int, energy: float) -> Iterator[Row]:
    """The rows of a pair: two tensors, a tensor and its update, or two updates (of these, all that factors tell).

    wanted: groups of measures; k, energy: how many singular vectors. Raises BadInput where a value is not finite.
    """
    if isinstance(before, Update):
        rank, sides = before.down_KC.shape[0], {"left": len(before.up_RK), "right": before.down_KC.shape[1]}
        for name, value in compare_updates(before, after).items():
            if name.endswith("_angle"):
                yield row(name, value, sides[name.partition("_")[0]] <= rank, rank)
            else:
                yield row(name, value)
    elif isinstance(after, Update):
        values = measure_update(before.values_RC, after)
        check_finite(values)
        yield from (row(name, value) for name, value in values.items())
    else:
        yield from compare_tensors(before, after, wanted, k, energy)


def compare_tensors(
    before: Tensor | Matrix, after: Tensor | Matrix, wanted: list[Any], k: int, energy: float
) -> Iterator[Row]:
    """Of all tensors their change; of matrices that are not zero, what wants directions."""
    a, b = (tensor.values_RC if isinstance(tensor, Matrix) else tensor for tensor in (before, after))
    sizes = distances.measure_change(a, b)
    check_finite(sizes)
    if "change" in wanted:
        yield from (row(name, value) for name, value in sizes.items())
    if isinstance(before, Matrix) and isinstance(after, Matrix) and "cosine" in sizes:
        change = Matrix(b.to(torch.float32, copy=True).sub_(a.float()))  # in place: of a vocabulary it is large
        moved = sizes["frobenius"] > 0
        if "norm" in wanted:
            norm = distances.spectral_norm(change.values_RC) if moved else 0.0
            yield row("spectral_norm", norm)
            if moved:
                yield row("stable_rank", (sizes["frobenius"] / norm) ** 2)
        if "effective_rank" in wanted and moved:
            yield row("effective_rank", distances.effective_rank(eigvalsh(change.gram_NN)))
        if "subspace_angle" in wanted:
            angle = distances.subspace_angle(before, after, change) if moved else 0.0
            yield row("subspace_angle", angle, before.rows <= before.columns)
        if "singular_angles" in wanted:
            yield from singular_angles(before, after, moved, k, energy)


def singular_angles(before: Matrix, after: Matrix, moved: bool, k: int, energy: float) -> Iterator[Row]:
    """The angles of what is written and read most, by number and by share of the energy."""
    sides: dict[Side, int] = {"left": before.rows, "right": before.columns}
    for kind, count in (("singular", k), ("energy", before.energy_rank(energy))):
        count = min(count, before.rank, after.rank)
        for side, size in sides.items():
            angle = distances.singular_angle(before, after, count, side) if moved else 0.0
            yield row(f"{side}_{kind}_angle", angle, size <= count, count)


def row(measure: str, value: float, degenerate: bool = False, k: int | None = None) -> Row:
    """degenerate: zero by construction, whatever the matrices; k: dimensions of the spans compared."""
    return {"measure": measure, "k": k, "unit": UNITS[measure], "value": value, "degenerate": degenerate}


def check_finite(values: dict[str, float]) -> None:
    """Refuses tensors whose norms are not numbers."""
    if not all(map(math.isfinite, values.values())):
        raise BadInput("values that are NaN or infinite: run analyze/audit.py")
