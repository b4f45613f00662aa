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
MEASURES = {  # measure -> the group that it belongs to, and its unit
    "delta": ("change", "weight"),
    "frobenius": ("change", "weight"),
    "relative_frobenius": ("change", "ratio"),
    "cosine": ("change", "cosine"),
    "unchanged": ("change", "share"),
    "cast_delta": ("change", "weight"),
    "cast_unchanged": ("change", "share"),
    "spectral_norm": ("norm", "weight"),
    "stable_rank": ("norm", "rank"),
    "effective_rank": ("effective_rank", "rank"),
    "subspace_angle": ("subspace_angle", "degrees"),
    "left_singular_angle": ("singular_angles", "degrees"),
    "right_singular_angle": ("singular_angles", "degrees"),
    "singular_gap": ("singular_angles", "ratio"),
    "left_energy_angle": ("energy_angles", "degrees"),
    "right_energy_angle": ("energy_angles", "degrees"),
    "energy_gap": ("energy_angles", "ratio"),
}


def compare(before: Any, after: Any, wanted: list[Any], k: int, energy: float) -> Iterator[Row]:
    """The rows of a pair: two tensors, a tensor and its update, or two updates (of these, what factors tell).

    wanted: groups of measures, none of which depends on the others; k, energy: how many singular vectors. Raises
    BadInput where a value is not finite.
    """
    if isinstance(after, Update):
        rows = compare_factors(before, after) if isinstance(before, Update) else compare_with_update(before, after)
        yield from (row for row in rows if MEASURES[row["measure"]][0] in wanted)
    else:
        yield from compare_tensors(before, after, wanted, k, energy)


def compare_with_update(before: Matrix, update: Update) -> Iterator[Row]:
    """A matrix and what an adapter adds to it."""
    values = measure_update(before.values_RC, update)
    check_finite(values)
    yield from (row(name, value) for name, value in values.items())


def compare_factors(before: Update, after: Update) -> Iterator[Row]:
    """Two updates of the same matrix; the spans are those of their factors."""
    rank, sides = before.down_KC.shape[0], {"left": len(before.up_RK), "right": before.down_KC.shape[1]}
    values = compare_updates(before, after)
    for name, value in values.items():
        side = sides.get(name.partition("_")[0])
        if side is not None:
            yield row(name, value, side <= rank, rank, values.get("singular_gap"))
        else:
            yield row(name, value, k=rank if name == "singular_gap" else None)


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
        norm = 0.0
        if moved and {"norm", "singular_angles", "energy_angles"} & set(wanted):
            norm = distances.spectral_norm(change.values_RC)
        if "norm" in wanted:
            yield row("spectral_norm", norm)
            if moved:
                yield row("stable_rank", (sizes["frobenius"] / norm) ** 2)
        if "effective_rank" in wanted and moved:
            yield row("effective_rank", distances.effective_rank(eigvalsh(change.gram_NN)))
        if "subspace_angle" in wanted:
            angle = distances.subspace_angle(before, after, change) if moved else 0.0
            yield row("subspace_angle", angle, before.rows <= before.columns)
        if "singular_angles" in wanted:
            yield from span_angles(before, after, "singular", k, norm)
        if "energy_angles" in wanted:
            yield from span_angles(before, after, "energy", before.energy_rank(energy), norm)


def span_angles(before: Matrix, after: Matrix, kind: str, k: int, norm: float) -> Iterator[Row]:
    """The angles of what is written and read most, and the gap that holds these spans; norm: of the change."""
    count = min(k, len(before.top(k + 1)[0]), len(after.top(k + 1)[0]))
    gap = distances.singular_gap(before, count, norm) if norm > 0 else None
    sides: dict[Side, int] = {"left": before.rows, "right": before.columns}
    for side, size in sides.items():
        angle = distances.singular_angle(before, after, count, side) if norm > 0 else 0.0
        yield row(f"{side}_{kind}_angle", angle, size <= count, count, gap)
    if gap is not None:
        yield row(f"{kind}_gap", gap, k=count)


def row(measure: str, value: float, degenerate: bool = False, k: int | None = None, gap: float | None = None) -> Row:
    """degenerate: zero by construction, whatever the matrices; k: dimensions of the spans compared; gap: see below.

    An angle is undetermined where the change is as large as the gap between the singular values within the span and
    those without: then it may be anything.
    """
    undetermined = gap is not None and gap < 1 and not degenerate
    facts = {"measure": measure, "k": k, "unit": MEASURES[measure][1], "value": value}
    return {**facts, "degenerate": degenerate, "undetermined": undetermined}


def check_finite(values: dict[str, float]) -> None:
    """Refuses tensors whose norms are not numbers."""
    if not all(map(math.isfinite, values.values())):
        raise BadInput("values that are NaN or infinite: run analyze/audit.py")
