"""How far two weight matrices lie apart. Pure functions of arrays; README.md has the table with their limits.

A and B are always the same tensor in two models; a matrix is [rows, columns] as it is stored, out x in for a
linear layer. Angles are principal (canonical) angles between subspaces, found through sines where they are small and
through cosines where they are large (Björck and Golub 1973, "Numerical methods for computing angles between linear
subspaces", Mathematics of Computation 27; Knyazev and Argentati 2002), as scipy does.
"""

import numpy as np
import scipy.linalg


def mean_absolute_difference(a: np.ndarray, b: np.ndarray) -> float:
    """mean |A - B| over all entries, in the unit of the weights; any shape. The SnakModel paper's delta."""
    return float(np.mean(np.abs(a - b), dtype=np.float64))


def subspace_angle(a_RC: np.ndarray, b_RC: np.ndarray) -> float:
    """Mean principal angle between the column spaces of A and B, in degrees. The SnakModel paper's SSA.

    Exactly degrees(mean(scipy.linalg.subspace_angles(A, B))), in the precision of the arrays given: scipy cuts off
    directions below max(rows, columns) * eps of the largest, so in float32 (the paper's) an ill-conditioned square
    matrix counts as less than full rank and its angle is not quite zero. See `is_degenerate`.
    """
    return float(np.degrees(np.mean(scipy.linalg.subspace_angles(a_RC, b_RC))))


def is_degenerate(shape: tuple[int, int]) -> bool:
    """Whether `columns` independent vectors in a space of `rows` dimensions fill it, whatever they are.

    Then every angle between two such column spaces is zero by construction and says nothing about change.
    """
    rows, columns = shape
    return rows <= columns


def relative_frobenius_change(a: np.ndarray, b: np.ndarray) -> float:
    """||A - B||_F / ||A||_F, a ratio: 0 no change, 1 as much change as there was to begin with. Any shape; A not zero.

    Not symmetric: A is what B has grown from.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """<A, B> / (||A||_F ||B||_F), from -1 to 1: whether the weights, as one long vector, have turned. Neither zero."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def singular_subspace_angles(a_RC: np.ndarray, b_RC: np.ndarray, k: int) -> tuple[float, float]:
    """Mean principal angles between the spans of the top-k left and of the top-k right singular vectors, in degrees.

    Left vectors live in the `rows` dimensions (what a layer writes), right ones in the `columns` dimensions (what it
    reads). Well-posed for any shape while k is below that dimension and the k-th singular value is above the next:
    the nearer these two, the less the span is determined (Wedin 1972, BIT 12).
    """
    left_a_RK, right_a_CK = top_singular_vectors(a_RC, k)
    left_b_RK, right_b_CK = top_singular_vectors(b_RC, k)
    return subspace_angle(left_a_RK, left_b_RK), subspace_angle(right_a_CK, right_b_CK)


def top_singular_vectors(a_RC: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal bases, in float64, of the spans of the top-k left [rows, k] and right [columns, k] singular vectors.

    From the k largest eigenvectors of the smaller Gram matrix, A'A or AA': for a language model's matrices that is
    many times cheaper than a full decomposition. Squaring halves the digits of small singular values, and these are
    not asked for.
    """
    rows, columns = a_RC.shape
    assert 1 <= k <= min(rows, columns), f"k {k} of a matrix of {rows} x {columns}"
    if rows < columns:
        left_CK, right_RK = top_singular_vectors(a_RC.T, k)
        return right_RK, left_CK
    a_RC = a_RC.astype(np.float64)
    right_CK = scipy.linalg.eigh(a_RC.T @ a_RC, subset_by_index=[columns - k, columns - 1])[1]
    left_RK = np.linalg.svd(a_RC @ right_CK, full_matrices=False)[0]
    return left_RK, right_CK
