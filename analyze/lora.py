"""How far a LoRA adapter moves a matrix, straight from its factors: nothing is merged, and nothing rounded.

An update is up [R, K] @ down [K, C], K its rank (Hu et al. 2021, arXiv 2106.09685). Norms and angles come from small
triangular factors: with up = Q X and down' = P Y, the update's singular values are those of X Y' [K, K].
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.linalg import qr, svdvals

from analyze.distances import BLOCK, Tensor, effective_rank, principal_angles
from snakmodel.adapters import adapted_weights, read_factors


@dataclass(frozen=True)
class Update:
    """The change of a matrix, as a product."""

    up_RK: Tensor
    down_KC: Tensor

    def singular_values(self) -> Tensor:
        """All that can be other than zero, descending: [K], or as many as the matrix has."""
        left, right = (qr(factor.double(), mode="r").R for factor in (self.up_RK, self.down_KC.T))
        return svdvals(left @ right.T)


def inner(one: Update, other: Update) -> float:
    """<U, V>, the sum of the products of their entries."""
    products = (one.up_RK.double().T @ other.up_RK.double()) * (one.down_KC.double() @ other.down_KC.double().T)
    return float(products.sum())


def difference(one: Update, other: Update) -> Update:
    """other - one, as an update of both ranks together."""
    return Update(torch.cat([other.up_RK, -one.up_RK], dim=1), torch.cat([other.down_KC, one.down_KC]))


def measure_size(update: Update) -> dict[str, float]:
    """frobenius, spectral_norm, stable_rank and effective_rank of an update; of zeros, the norms alone."""
    singular = update.singular_values()
    sizes = {"frobenius": float(singular.norm()), "spectral_norm": float(singular[0])}
    if sizes["spectral_norm"] > 0:
        sizes["stable_rank"] = (sizes["frobenius"] / sizes["spectral_norm"]) ** 2
        sizes["effective_rank"] = effective_rank(singular.square())
    return sizes


def measure_update(base_RC: Tensor, update: Update) -> dict[str, float]:
    """An update beside the matrix W that it changes: its size, delta, and W against W + update."""
    rows = max(BLOCK // base_RC.shape[1], 1)
    absolute = squares = product = 0.0
    for base, up in zip(base_RC.split(rows), update.up_RK.double().split(rows), strict=True):
        change = up @ update.down_KC.double()
        absolute += float(change.abs().sum())
        squares += float(base.double().square().sum())
        product += float((base.double() * change).sum())
    values = {"delta": absolute / base_RC.numel(), **measure_size(update)}
    if squares > 0:
        values["relative_frobenius"] = values["frobenius"] / math.sqrt(squares)
        after = squares + 2 * product + values["frobenius"] ** 2  # of ||W + update||
        values["cosine"] = (squares + product) / math.sqrt(squares * after)
    return values


def compare_updates(one: Update, other: Update) -> dict[str, float]:
    """Two updates of the same matrix, U and V: the size of V - U, its ratio to U, their cosine, their spans' angles."""
    values = measure_size(difference(one, other))
    before, after = (float(update.singular_values().norm()) for update in (one, other))
    if before > 0:
        values["relative_frobenius"] = values["frobenius"] / before
    if before > 0 and after > 0:
        values["cosine"] = inner(one, other) / before / after
        if values["spectral_norm"] > 0:
            values["singular_gap"] = float(one.singular_values()[-1]) / values["spectral_norm"]
        values["left_singular_angle"] = mean_angle(one.up_RK, other.up_RK)
        values["right_singular_angle"] = mean_angle(one.down_KC.T, other.down_KC.T)
    return values


def mean_angle(a_NK: Tensor, b_NL: Tensor) -> float:
    """Mean principal angle of the columns' spans, in degrees."""
    angles = principal_angles(qr(a_NK.double()).Q, qr(b_NL.double()).Q)
    return math.degrees(float(angles.mean()))


@dataclass(frozen=True)
class Adapter:
    """The updates of an adapter's folder, each read when it is asked for."""

    name: str
    shapes: dict[str, tuple[int, int]]  # of the matrices that it changes
    is_part = True  # of a model

    def read(self, weight: str) -> Update:
        return Update(*read_factors(Path(self.name), weight))


def open_adapter(location: str) -> Adapter | None:
    """None: it is no adapter's folder."""
    folder = Path(location)
    return Adapter(location, adapted_weights(folder)) if (folder / "adapter_config.json").is_file() else None
