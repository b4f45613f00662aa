"""Distances between matrices, against scipy and planted changes: pytest tests/test_distances.py"""

import numpy as np
import pytest
import scipy.linalg
import torch

from analyze import distances, lora
from analyze.distances import EPS, SMALL, Matrix
from analyze.lora import Update
from analyze.measures import MEASURES, compare
from snakmodel.config import BadInput

SHAPES = [(60, 20), (40, 40), (20, 60)]
LARGE = [(400, 300), (300, 300), (300, 400)]  # told by Cholesky and Lanczos rather than by a decomposition
ALL = ["change", "norm", "subspace_angle", "singular_angles", "energy_angles", "effective_rank"]


def noise(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def rows_of(a, b, k=4, energy=0.5):
    """Measure -> its row, of two float32 matrices."""
    pair = (Matrix(torch.as_tensor(x).float()) for x in (a, b))
    return {row["measure"]: row for row in compare(*pair, ALL, k, energy)}


def subspace_angle(a, b):
    """The angle, and both numerical ranks."""
    first, second = (Matrix(torch.as_tensor(x).float()) for x in (a, b))
    angle = distances.subspace_angle(first, second, Matrix(second.values_RC - first.values_RC))
    return angle, (first.rank, second.rank)


def scipys(a, b):
    """scipy's angle and ranks in float32; the angle computed in float64 from there on, as float32 rounds it."""
    cutoff = EPS * max(a.shape)
    bases = [scipy.linalg.orth(np.float64(np.float32(x)), rcond=cutoff) for x in (a, b)]
    in_float32 = tuple(scipy.linalg.orth(np.float32(x)).shape[1] for x in (a, b))
    return np.degrees(np.mean(scipy.linalg.subspace_angles(*bases))), in_float32


def turned(rows, columns, degrees):
    """Orthonormal [rows, columns] before and after every column has turned by this angle out of their span."""
    q = np.linalg.qr(noise(0, rows, 2 * columns))[0]
    angle = np.radians(degrees)
    return q[:, :columns], np.cos(angle) * q[:, :columns] + np.sin(angle) * q[:, columns:]


@pytest.mark.parametrize("degrees", [1e-3, 6.15, 60, 89])
def test_a_planted_rotation_is_found_whatever_the_scale_order_and_mixing_of_columns(degrees):
    before, after = turned(60, 20, degrees)
    for same in (after, -3 * after[:, ::-1], after @ noise(1, 20, 20)):
        first, second = (Matrix(torch.from_numpy(np.ascontiguousarray(x))) for x in (before, same))
        change = Matrix(second.values_RC - first.values_RC)
        assert distances.subspace_angle(first, second, change) == pytest.approx(degrees, abs=1e-4)


def full(shape):
    return noise(2, *shape), noise(2, *shape) + 0.05 * noise(3, *shape)


def dead_rows(shape):
    a, b = full(shape)
    a[3:6], b[5:9] = 0, 0
    return a, b


def equal_columns(shape):
    a, b = full(shape)
    a[:, 3], a[:, 8] = a[:, 4], 0
    b[:, 1] = 2 * b[:, 2]
    return a, b


def of_low_rank(shape):
    rank = min(shape) // 2
    left, right = noise(4, shape[0], rank), noise(5, rank, shape[1])
    return left @ right, (left + 0.1 * noise(6, shape[0], rank)) @ right


def of_smooth_spectra(shape):
    """As those of trained matrices: singular values fall across the threshold, none within 3 % of it."""
    size = min(shape)
    values, threshold = np.logspace(0, -6, size), max(shape) * EPS
    values[np.abs(values / threshold - 1) < 0.03] *= 0.9
    left, right = (np.linalg.qr(noise(seed, side, size))[0] for seed, side in enumerate(shape))
    turned_left = np.linalg.qr(left + 0.01 * noise(2, shape[0], size))[0]
    return left * values @ right.T, turned_left * values @ right.T


def of_rank_three(shape):
    left, right = noise(4, shape[0], 3), noise(5, 3, shape[1])
    return left @ right, (left + 0.1 * noise(6, shape[0], 3)) @ right


def of_lower_rank_than_before(shape):
    a, b = full(shape)
    return a, of_low_rank(shape)[1]


@pytest.mark.parametrize("shape", SHAPES + LARGE)
@pytest.mark.parametrize(
    "make", [full, dead_rows, equal_columns, of_low_rank, of_lower_rank_than_before, of_smooth_spectra]
)
def test_the_papers_angle_is_scipys_for_every_shape_and_rank(shape, make):
    a, b = make(shape)
    angle, ranks = subspace_angle(a, b)
    expected, scipys_ranks = scipys(a, b)
    assert ranks == scipys_ranks
    assert angle == pytest.approx(expected, rel=1e-6, abs=1e-9)
    in_float32 = np.degrees(np.mean(scipy.linalg.subspace_angles(np.float32(a), np.float32(b))))
    assert angle == pytest.approx(in_float32, abs=1e-4 if make is full else 2.5e-3)  # float32's own rounding
    if make is full and shape[0] > 2 * shape[1]:
        assert angle == pytest.approx(in_float32, rel=1e-5)
    if make is full and shape[0] <= shape[1]:
        assert angle < 1e-3 and in_float32 < 1e-3


@pytest.mark.parametrize("smallest", [0.99, 1.01])
@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_a_singular_value_one_percent_beside_the_threshold_is_on_its_right_side(shape, smallest):
    left, right = (np.linalg.qr(noise(seed, side, min(shape)))[0] for seed, side in enumerate(shape))
    values = np.linspace(1, 0.1, min(shape))
    values[-1] = smallest * max(shape) * EPS
    matrix = Matrix(torch.from_numpy(left * values @ right.T))
    assert matrix.rank == min(shape) - (smallest < 1)
    assert (min(shape) > SMALL) == (shape in LARGE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [1e-3, 5, 70])
def test_turned_singular_vectors_are_found_and_those_of_the_other_side_left_alone(shape, degrees):
    right = turned(shape[1], 4, 0)[0]
    far_below = 1e-9 * noise(3, *shape)  # full rank
    a, b = (left @ np.diag([9, 7, 5, 3]) @ right.T + far_below for left in turned(shape[0], 4, degrees))
    for scale, side, (one, other) in ((-3, "left", (a, b)), (2, "right", (a.T.copy(), b.T.copy()))):
        first, second = Matrix(torch.from_numpy(one)), Matrix(torch.from_numpy(scale * other))
        opposite = "right" if side == "left" else "left"
        assert distances.singular_angle(first, second, 4, side) == pytest.approx(degrees, abs=1e-4)
        assert distances.singular_angle(first, second, 4, opposite) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("make", [full, dead_rows, of_low_rank, of_rank_three])
def test_a_few_singular_vectors_of_a_large_matrix_are_those_of_its_decomposition(shape, make):
    matrices = [Matrix(torch.from_numpy(x)) for x in make(shape)]
    decomposed = [np.linalg.svd(matrix.values_RC.numpy()) for matrix in matrices]
    k = 3 if make is of_rank_three else 8
    for matrix, (_, values, _) in zip(matrices, decomposed, strict=True):
        assert matrix.top(9)[0].numpy() == pytest.approx(values[: 9 if k == 8 else 3])
    for side, index in (("left", 0), ("right", 2)):
        spans = [np.linalg.qr(parts[index] if side == "left" else parts[index].T)[0][:, :k] for parts in decomposed]
        angle = np.degrees(np.mean(scipy.linalg.subspace_angles(*spans)))
        assert distances.singular_angle(*matrices, k, side) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("shape", LARGE)
def test_a_measure_is_the_same_alone_and_beside_others(shape):
    a, b = (torch.from_numpy(x) for x in full(shape))
    alone = [row for group in ALL for row in compare(Matrix(a), Matrix(b), [group], 4, 0.01)]
    together = list(compare(Matrix(a), Matrix(b), ALL, 4, 0.01))
    assert sorted(alone, key=str) == sorted(together, key=str)
    assert {row["measure"] for row in together} == set(MEASURES)


def test_angles_do_not_depend_on_sign_scale_and_order_of_what_a_layer_does_not_see():
    a, b = full((40, 40))
    rows, columns = np.random.default_rng(7).permutation(40), np.random.default_rng(8).permutation(40)
    plain = rows_of(a, b)
    for same in ((-a, -2 * b), (a[rows], b[rows]), (a[:, columns], b[:, columns]), (a * 3, b)):
        other = rows_of(*same)
        for name in ("left_singular_angle", "right_singular_angle", "left_energy_angle", "right_energy_angle"):
            assert other[name]["value"] == pytest.approx(plain[name]["value"], abs=1e-3) and plain[name]["value"] > 0.5


def test_an_angle_is_undetermined_where_the_gap_behind_its_span_is_smaller_than_the_change():
    left, right = (np.linalg.qr(noise(0, side, 20))[0] for side in (60, 30))
    values = np.r_[9.0, 8, 7, 6, np.full(16, 4.0)]
    a, change = left * values @ right.T, noise(3, 60, 30)
    change /= np.linalg.norm(change, 2)
    small, large = rows_of(a, a + 0.5 * change), rows_of(a, a + 4 * change)
    assert small["singular_gap"]["value"] == pytest.approx(4, rel=1e-5) and small["singular_gap"]["k"] == 4
    assert large["singular_gap"]["value"] == pytest.approx(0.5, rel=1e-5)
    angles = ["left_singular_angle", "right_singular_angle"]
    assert not any(small[name]["undetermined"] for name in angles) and all(
        large[name]["undetermined"] for name in angles
    )
    assert small["left_singular_angle"]["value"] < np.degrees(np.arcsin(1 / 3))  # Wedin's bound


def test_the_top_of_an_orthogonal_matrix_is_undetermined_however_little_it_changes():
    a = np.linalg.qr(noise(0, 40, 40))[0]
    rows = rows_of(a, a + 1e-4 * noise(1, 40, 40))
    assert rows["left_singular_angle"]["value"] > 45 and rows["singular_gap"]["value"] < 1e-2
    marked = {name for name, row in rows.items() if row["undetermined"]}
    assert marked == {"left_singular_angle", "right_singular_angle", "left_energy_angle", "right_energy_angle"}
    same = rows_of(a, a)
    assert not any(row["undetermined"] for row in same.values()) and "singular_gap" not in same


def test_degenerate_angles_are_flagged_and_no_others():
    for shape in SHAPES:
        rows = rows_of(*full(shape), k=20)
        flagged = {name for name, row in rows.items() if row["degenerate"]}
        expected = {"subspace_angle"} if shape[0] <= shape[1] else {"right_singular_angle"}
        expected |= {"left_singular_angle"} if shape[0] == 20 else set()
        assert flagged == expected


def test_sizes_ranks_and_shares_of_a_planted_change_are_exact():
    u, v = np.linalg.qr(noise(0, 60, 3))[0], np.linalg.qr(noise(1, 20, 3))[0]
    a = torch.from_numpy(noise(2, 60, 20))
    b = a + torch.from_numpy(u * [4, 4, 2] @ v.T)
    rows = {row["measure"]: row["value"] for row in compare(Matrix(a), Matrix(b), ALL, 4, 0.5)}
    assert rows["frobenius"] == pytest.approx(6) and rows["relative_frobenius"] == pytest.approx(6 / a.norm().item())
    assert rows["spectral_norm"] == pytest.approx(4, rel=1e-6) and rows["stable_rank"] == pytest.approx(9 / 4)
    assert rows["effective_rank"] == pytest.approx(np.exp(0.8 * np.log(2.5) + 0.2 * np.log(5)), rel=1e-5)
    assert rows["delta"] == pytest.approx((b - a).abs().mean().item())
    assert rows["cosine"] == pytest.approx(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item())


def test_the_spectral_norm_of_a_large_change_is_found_without_decomposing_it():
    change = torch.from_numpy(noise(0, 500, 400)).float()
    assert distances.spectral_norm(change) == pytest.approx(
        torch.linalg.matrix_norm(change.double(), 2).item(), rel=1e-6
    )


def test_unchanged_weights_are_counted_against_the_base_as_cast_to_the_series_type():
    base = torch.tensor([1.0, 1 + 2**-10, 2.0, 3.0], dtype=torch.float16)  # the second is none of bfloat16's numbers
    step = torch.tensor([1.0, 1.0, 2.0, 3.5], dtype=torch.bfloat16)
    found = distances.measure_change(base, step)
    assert found["unchanged"] == 3 / 4 and found["cast_unchanged"] == 3 / 4
    assert found["cast_delta"] == 2**-10 / 4 and found["delta"] == (2**-10 + 0.5) / 4


def test_an_unchanged_matrix_has_not_turned_and_a_zero_one_has_no_direction():
    a = full((60, 20))[0]
    rows = rows_of(a, a)
    assert all(row["value"] == 0 for name, row in rows.items() if row["unit"] == "degrees" or name == "spectral_norm")
    assert rows["unchanged"]["value"] == 1 and "stable_rank" not in rows and "subspace_angle" in rows
    rows = rows_of(np.zeros((60, 20)), a)
    assert rows.keys() == {"delta", "frobenius", "unchanged", "cast_delta", "cast_unchanged"}


def test_values_that_are_not_finite_are_refused():
    a, b = full((60, 20))
    b[3, 4] = np.nan
    with pytest.raises(BadInput, match="values that are NaN or infinite: run analyze/audit.py"):
        rows_of(a, b)


def test_an_update_is_measured_from_its_factors_as_from_the_matrix_that_it_makes():
    base = torch.from_numpy(noise(0, 60, 40))
    update = Update(*(torch.from_numpy(0.1 * noise(1, *shape)) for shape in ((60, 3), (3, 40))))
    product = update.up_RK @ update.down_KC
    found = {row["measure"]: row["value"] for row in compare(Matrix(base), update, ALL, 4, 0.5)}
    whole = {row["measure"]: row["value"] for row in compare(Matrix(base), Matrix(base + product), ALL, 4, 0.5)}
    whole["effective_rank"] = distances.effective_rank(torch.linalg.svdvals(product).square())  # exact
    assert len(found) == 7 and found == pytest.approx({name: whole[name] for name in found}, rel=1e-5)


def test_two_updates_are_compared_by_their_factors():
    one, other = (Update(*(torch.from_numpy(noise(seed, *shape)) for shape in ((60, 3), (3, 40)))) for seed in (1, 2))
    products = [update.up_RK @ update.down_KC for update in (one, other)]
    found = {row["measure"]: row for row in compare(one, other, ALL, 4, 0.5)}
    change = products[1] - products[0]
    assert found["frobenius"]["value"] == pytest.approx(change.norm().item())
    assert found["spectral_norm"]["value"] == pytest.approx(torch.linalg.matrix_norm(change, 2).item())
    assert found["cosine"]["value"] == pytest.approx(lora.inner(one, other) / products[0].norm() / products[1].norm())
    assert lora.inner(one, other) == pytest.approx((products[0] * products[1]).sum().item())
    angle = np.degrees(np.mean(scipy.linalg.subspace_angles(*(product.numpy() for product in products))))
    assert found["left_singular_angle"]["value"] == pytest.approx(angle) and found["left_singular_angle"]["k"] == 3
