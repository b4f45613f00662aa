"""How far two weight matrices lie apart: pure functions of A and B, the same tensor in two models.

A matrix is [rows, columns] as it is stored, out x in for a linear layer. Angles are principal angles of subspaces, from
sines where small and cosines where large, as in scipy (Björck and Golub 1973, Knyazev and Argentati 2002).
"""

import numpy as np
import scipy.linalg


def mean_absolute_difference(a: np.ndarray, b: np.ndarray) -> float:
    """mean |A - B| over all entries, in the unit of the weights; any shape. The SnakModel paper's delta."""
    return float(np.mean(np.abs(a - b), dtype=np.float64))


def relative_frobenius_change(a: np.ndarray, b: np.ndarray) -> float:
    """||A - B||_F / ||A||_F, a ratio; any shape, A not zero. 1: as much change as there was to begin with."""
    return float(np.linalg.norm((a - b).astype(np.float64)) / np.linalg.norm(a.astype(np.float64)))


def subspace_angle(a_RC: np.ndarray, b_RC: np.ndarray) -> float:
    """Mean principal angle between the column spaces of A and B, in degrees. The SnakModel paper's SSA.

    Degenerate where rows <= columns: the columns fill the whole space, and the angle is zero whatever A and B are,
    up to rounding (scipy cuts off directions below max(rows, columns) * eps of the largest, in the arrays' precision).
    """
    return float(np.degrees(np.mean(scipy.linalg.subspace_angles(a_RC, b_RC))))


def left_singular_angle(a_RC: np.ndarray, b_RC: np.ndarray, k: int) -> float:
    """Mean principal angle between the spans of the top-k left singular vectors, in degrees: of what a layer writes.

    Well-posed for any shape while k < rows and the k-th singular value is above the next: the nearer these two, the
    less the span is determined (Wedin 1972, BIT 12).
    """
    return subspace_angle(left_singular_vectors(a_RC, k), left_singular_vectors(b_RC, k))


def left_singular_vectors(a_RC: np.ndarray, k: int) -> np.ndarray:
    """Orthonormal basis [rows, k], float64, of the span of the top-k left singular vectors; k <= rows and columns.

    From the smaller Gram matrix, AA' or A'A: many times cheaper than a decomposition of A. Squaring halves the digits
    of the small singular values, which are not asked for.
    """
    a_RC = a_RC.astype(np.float64)
    rows, columns = a_RC.shape
    if rows <= columns:
        return scipy.linalg.eigh(a_RC @ a_RC.T, subset_by_index=[rows - k, rows - 1])[1]
    right_CK = scipy.linalg.eigh(a_RC.T @ a_RC, subset_by_index=[columns - k, columns - 1])[1]
    return np.linalg.qr(a_RC @ right_CK)[0]
