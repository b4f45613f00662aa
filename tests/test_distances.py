"""Distances between matrices, against planted answers.

python -m pytest tests/test_distances.py
"""

import numpy as np
import pytest
import scipy.linalg

from analyze.distances import (
    cosine,
    is_degenerate,
    mean_absolute_difference,
    relative_frobenius_change,
    singular_subspace_angles,
    subspace_angle,
)

SHAPES = {"tall": (60, 20), "square": (40, 40), "wide": (20, 60)}


def orthonormal(rows, columns, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def turned(degrees, seed=0):
    """Orthonormal [60, 20] before and after every column has turned by this angle out of the old span."""
    q = orthonormal(60, 40, seed)
    angle = np.radians(degrees)
    return q[:, :20], np.cos(angle) * q[:, :20] + np.sin(angle) * q[:, 20:]


@pytest.mark.parametrize("degrees", [1e-3, 0.1, 6.15, 30, 60, 89])
def test_planted_rotation_is_returned(degrees):
    assert subspace_angle(*turned(degrees)) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subspace_angle_is_exactly_scipys(shape, dtype):
    a, b = np.random.default_rng(1).standard_normal((2, *shape)).astype(dtype)
    assert subspace_angle(a, b) == float(np.degrees(np.mean(scipy.linalg.subspace_angles(a, b))))


def test_subspace_angle_ignores_sign_scale_order_and_mixing_of_columns():
    before, after = turned(20)
    rng = np.random.default_rng(2)
    changed = after[:, rng.permutation(20)] * rng.choice([-3.0, 0.5, 7.0], 20)
    assert subspace_angle(before, changed) == pytest.approx(20, abs=1e-6)
    assert subspace_angle(before, after @ rng.standard_normal((20, 20))) == pytest.approx(20, abs=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_degenerate_shapes_are_flagged_and_their_angle_is_nothing(name):
    a, b = np.random.default_rng(3).standard_normal((2, *SHAPES[name]))
    assert is_degenerate(SHAPES[name]) == (name != "tall")
    assert (subspace_angle(a, b) < 1e-3) == is_degenerate(SHAPES[name])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("degrees", [1e-3, 5, 70])
def test_turned_singular_vectors_are_found_on_the_side_where_they_turned(shape, degrees):
    rows, columns = shape
    left, right = orthonormal(rows, 8, 4), orthonormal(columns, 4, 5)
    values = np.diag([9.0, 7.0, 5.0, 3.0])
    angle = np.radians(degrees)
    turned_left = np.cos(angle) * left[:, :4] + np.sin(angle) * left[:, 4:]
    noise = 1e-9 * np.random.default_rng(6).standard_normal((2, rows, columns))  # full rank, far below the top four
    a, b = left[:, :4] @ values @ right.T + noise[0], turned_left @ values @ right.T + noise[1]
    assert singular_subspace_angles(a, b, 4) == pytest.approx((degrees, 0), abs=1e-4)
    assert singular_subspace_angles(a.T, b.T, 4) == pytest.approx((0, degrees), abs=1e-4)
    assert singular_subspace_angles(a, -3 * b, 4) == pytest.approx((degrees, 0), abs=1e-4)


def test_differences_and_cosine_of_known_matrices():
    a = np.array([[3.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    b = np.array([[3.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    assert mean_absolute_difference(a, b) == 0.75
    assert relative_frobenius_change(a, b) == pytest.approx(np.sqrt(5) / 5)
    assert cosine(a, b) == pytest.approx(17 / (5 * np.sqrt(14)))
    assert cosine(a, -2 * a) == pytest.approx(-1)
    assert relative_frobenius_change(a, 2 * a) == 1.0
