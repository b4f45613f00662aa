"""Distances between matrices, against planted answers: pytest tests/test_distances.py"""

import numpy as np
import pytest
import scipy.linalg

from analyze import distances
from analyze.weights import measures

SHAPES = [(60, 20), (40, 40), (20, 60)]


def turned(rows, columns, degrees):
    """Orthonormal [rows, columns] before and after every column has turned by this angle out of their span."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((rows, 2 * columns)))[0]
    angle = np.radians(degrees)
    return q[:, :columns], np.cos(angle) * q[:, :columns] + np.sin(angle) * q[:, columns:]


@pytest.mark.parametrize("degrees", [1e-3, 6.15, 60, 89])
def test_a_planted_rotation_is_found_whatever_the_scale_order_and_mixing_of_columns(degrees):
    before, after = turned(60, 20, degrees)
    for same in (after, -3 * after[:, ::-1], after @ np.random.default_rng(1).standard_normal((20, 20))):
        assert distances.subspace_angle(before, same) == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subspace_angle_is_scipys_and_flagged_where_it_cannot_be_anything_but_zero(shape, dtype):
    a, b = np.random.default_rng(2).standard_normal((2, *shape)).astype(dtype)
    value, degenerate = next(row[2:] for row in measures(a, b, k=8) if row[0] == "subspace_angle")
    assert value == np.degrees(np.mean(scipy.linalg.subspace_angles(a, b)))
    assert degenerate == (shape != (60, 20)) == (value < 0.1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [1e-3, 5, 70])
def test_turned_left_singular_vectors_are_found_and_right_ones_left_alone(shape, degrees):
    right = turned(shape[1], 4, 0)[0]
    noise = 1e-9 * np.random.default_rng(3).standard_normal(shape)  # full rank, far below the top four
    a, b = (left @ np.diag([9, 7, 5, 3]) @ right.T + noise for left in turned(shape[0], 4, degrees))
    assert distances.left_singular_angle(a, -3 * b, 4) == pytest.approx(degrees, abs=1e-4)
    assert distances.left_singular_angle(a.T, b.T, 4) == pytest.approx(0, abs=1e-4)
