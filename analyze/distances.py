"""How far two weight matrices lie apart: pure functions of A and B, the same tensor in two models.

A matrix is [rows R, columns C] as it is stored, out x in for a linear layer; N is the smaller of R and C. All is
computed in float64 where the matrices are (CPU or GPU), mostly from Gram matrices [N, N], many times cheaper than a
decomposition of a matrix itself. They square singular values, so those below 1e-8 of the largest are lost; the
threshold of numerical rank in float32, max(R, C) * 2**-23 of the largest, lies above that.

Angles are principal angles of subspaces, in degrees, from their sines (Björck and Golub 1973, Knyazev and Argentati
2002, 2007).
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.linalg import cholesky, cholesky_ex, eigh, eigvalsh, matrix_norm, qr, solve_triangular

EPS = 2.0**-23  # of float32, in which the paper's run had its matrices
PIECE = 2**17  # values widened at a time where each is read once: they stay in the processor's cache
BLOCK = 2**22  # values widened at a time for products of matrices
PANELS = 8  # of a symmetric product, of which only the lower half is computed
SMALL = 256  # side of a matrix that is decomposed in no time
FEW = 64  # singular vectors of a larger one that are found without the others
ROUNDING = 1e-6  # relative, of products with a float32 matrix
TURNED = 1e-10  # residual of an eigenvector, relative to its eigenvalue

Tensor = torch.Tensor


def measure_change(a: Tensor, b: Tensor) -> dict[str, float]:
    """What one reading of two tensors of the same shape tells; each may be stored in a type of its own.

    delta: mean |B - A|, in the unit of the weights, the SnakModel paper's; frobenius: ||B - A||, the same unit;
    relative_frobenius: that over ||A||; cosine: <A, B> / (||A|| ||B||); unchanged: share of B's values that are A's as
    cast to B's type; cast_delta, cast_unchanged: delta and unchanged of that cast alone, against A. Zeros have neither
    a norm to compare with nor a direction: no relative_frobenius, no cosine.
    """
    total = torch.zeros(8, dtype=torch.float64)
    for first, second in zip(a.reshape(-1).split(PIECE), b.reshape(-1).split(PIECE), strict=True):
        x, y, cast = first.double(), second.double(), first.to(second.dtype).double()
        change, rounding = y - x, cast - x
        sums = [change.abs().sum(), change.dot(change), x.dot(x), y.dot(y), x.dot(y), rounding.abs().sum()]
        total += torch.stack([*sums, (y == cast).sum().double(), (x == cast).sum().double()]).cpu()
    absolute, squares, squares_a, squares_b, product, cast_absolute, same, cast_same = total.tolist()
    count = a.numel()
    values = {"delta": absolute / count, "frobenius": math.sqrt(squares)}
    if squares_a > 0:
        values["relative_frobenius"] = math.sqrt(squares / squares_a)
    if squares_a > 0 and squares_b > 0:
        values["cosine"] = product / math.sqrt(squares_a) / math.sqrt(squares_b)
    return values | {
        "unchanged": same / count,
        "cast_delta": cast_absolute / count,
        "cast_unchanged": cast_same / count,
    }


class Matrix:
    """A matrix, and what is computed of it once, however many others it is compared with."""

    def __init__(self, values_RC: Tensor) -> None:
        self.values_RC = values_RC
        self.rows, self.columns = values_RC.shape
        self.tops: dict[int, tuple[Tensor, Tensor]] = {}

    @cached_property
    def gram_NN(self) -> Tensor:
        """A A' of a matrix with no more rows than columns, else A'A."""
        return gram(self.values_RC)

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """Squares of the singular values, ascending [N], and their vectors [N, N]: left where rows <= columns."""
        return eigh(self.gram_NN)

    @cached_property
    def threshold(self) -> float:
        """Singular values whose square is not above it are zero to scipy.linalg.orth, had it the matrix in float32."""
        if len(self.gram_NN) <= SMALL:
            largest = float(self.eigen[0][-1])
        else:
            largest = largest_eigenvalue(lambda vector: self.gram_NN @ vector, self.gram_NN[0], tolerance=1e-9)
        return largest * (max(self.rows, self.columns) * EPS) ** 2

    @cached_property
    def has_full_rank(self) -> bool:
        """Whether no singular value is zero to orth: of a large matrix told by a Cholesky factorisation alone."""
        if len(self.gram_NN) <= SMALL:
            return bool(self.eigen[0][0] > self.threshold)
        shifted = self.gram_NN.clone()
        shifted.diagonal().sub_(self.threshold)
        return int(cholesky_ex(shifted).info) == 0

    @cached_property
    def rank(self) -> int:
        """As orth has it."""
        return len(self.gram_NN) if self.has_full_rank else int((self.eigen[0] > self.threshold).sum())

    @cached_property
    def missing_RP(self) -> Tensor:
        """Of a matrix with no more rows than columns: orthonormal basis of what its columns do not span."""
        squares_N, vectors_NN = self.eigen
        return vectors_NN[:, squares_N <= self.threshold]

    @cached_property
    def factor_NN(self) -> Tensor:
        """L of L L' = A'A, of a matrix with full rank."""
        return cholesky(self.gram_NN)

    @cached_property
    def basis_RK(self) -> Tensor:
        """Orthonormal basis of the columns' span; large, so made only where nothing else will do."""
        squares_N, vectors_NN = self.eigen
        kept = squares_N > self.threshold
        spanning_NK = vectors_NN[:, kept] / squares_N[kept].sqrt()
        return qr(widened_product(self.values_RC, spanning_NK)).Q

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The largest singular values, descending, and their vectors [N, K], left where rows <= columns.

        K is k, or as many as are not zero to orth. A few of a large matrix by Lanczos' method, many times cheaper.
        """
        if k not in self.tops:
            k_there, size = min(k, len(self.gram_NN)), len(self.gram_NN)
            if size <= SMALL or k_there > FEW:
                squares_K, vectors_NK = self.eigen[0][-k_there:].flip(0), self.eigen[1][:, -k_there:].flip(1)
            else:
                squares_K, vectors_NK = largest_eigenvectors(self.gram_NN, k_there)
            kept = squares_K > squares_K[0] * (max(self.rows, self.columns) * EPS) ** 2
            self.tops[k] = squares_K[kept].sqrt(), vectors_NK[:, kept]
        return self.tops[k]

    def singular_vectors(self, k: int, side: Literal["left", "right"]) -> Tensor:
        """Orthonormal basis of the span of the top-k left [R, k] or right [C, k] singular vectors; k <= rank."""
        top_NK = self.top(k + 1)[1][:, :k]  # one more tells the gap
        if (side == "left") == (self.rows <= self.columns):
            return top_NK
        values = self.values_RC if side == "left" else self.values_RC.T
        return qr(widened_product(values, top_NK)).Q

    def energy_rank(self, share: float) -> int:
        """The fewest singular values whose squares make up this share of the sum of all."""
        energy_N = self.eigen[0].flip(0).clamp(min=0).cumsum(0)
        return int((energy_N < share * energy_N[-1]).sum()) + 1


def gram(a_RC: Tensor) -> Tensor:
    """A A' [R, R] of a matrix with no more rows than columns, else A' A [C, C]: its lower half, mirrored."""
    rows, columns = a_RC.shape
    size = min(rows, columns)
    lower_NN = torch.zeros(size, size, dtype=torch.float64, device=a_RC.device)
    for block in a_RC.split(max(BLOCK // size, 1), dim=int(rows <= columns)):
        x_KN = block.double() if rows > columns else block.double().T
        for start in range(0, size, max(size // PANELS, 1)):
            panel = slice(start, start + max(size // PANELS, 1))
            lower_NN[start:, panel] += x_KN[:, start:].T @ x_KN[:, panel]
    return lower_NN.tril() + lower_NN.tril(-1).T


def multiply(a_RC: Tensor, b_RC: Tensor) -> Tensor:
    """A' B [C, C] of two tall matrices, widened a block at a time."""
    blocks = (matrix.split(max(BLOCK // a_RC.shape[1], 1)) for matrix in (a_RC, b_RC))
    product_CC = torch.zeros(a_RC.shape[1], b_RC.shape[1], dtype=torch.float64, device=a_RC.device)
    for x, y in zip(*blocks, strict=True):
        product_CC += x.double().T @ y.double()
    return product_CC


def widened_product(a_RC: Tensor, b_CK: Tensor) -> Tensor:
    """A B in float64, A widened a block at a time."""
    return torch.cat([block.double() @ b_CK for block in a_RC.split(max(BLOCK // a_RC.shape[1], 1))])


def subspace_angle(a: Matrix, b: Matrix, change: Matrix) -> float:
    """Mean principal angle between the column spaces of A and B = A + change, in degrees. The SnakModel paper's SSA.

    degrees(mean(scipy.linalg.subspace_angles(A, B))) of the matrices in float32: spans of the singular vectors that
    scipy.linalg.orth keeps. Degenerate where rows <= columns: the columns fill the whole space but for directions that
    orth cuts off, and the angle is zero whatever A and B are, up to these.
    """
    if a.rows <= a.columns:
        if a.has_full_rank or b.has_full_rank:
            return 0.0  # the one space holds the other
        # what two spaces leave out lies at the same angles as they do themselves, beside zeros
        angles = principal_angles(a.missing_RP, b.missing_RP)
        return math.degrees(float(angles.sum())) / min(a.rank, b.rank)
    cross_CC = multiply(a.values_RC, change.values_RC)
    b = Matrix(b.values_RC)  # a copy: no other measure may depend on whether this one was asked for
    b.gram_NN = a.gram_NN + cross_CC + cross_CC.T + change.gram_NN  # a third cheaper than from B itself
    if not (a.has_full_rank and b.has_full_rank):
        return math.degrees(float(principal_angles(a.basis_RK, b.basis_RK).mean()))
    # With P the projection on A's columns and T = L^-T of B, B T is orthonormal and (I - P) B T has the sines for
    # singular values. (I - P) B is (I - P) change, in which nothing cancels however small it is.
    along_CC = solve_triangular(a.factor_NN, cross_CC, upper=False)
    residual_CC = change.gram_NN - along_CC.T @ along_CC
    half_CC = solve_triangular(b.factor_NN, residual_CC, upper=False)
    squares = eigvalsh(solve_triangular(b.factor_NN, half_CC.T, upper=False))
    return math.degrees(float(to_angles(squares).mean()))


def singular_angle(a: Matrix, b: Matrix, k: int, side: Literal["left", "right"]) -> float:
    """Mean principal angle between the spans of the top-k left or right singular vectors, in degrees.

    Left: of what a layer writes; right: of what it reads. Well-posed for any shape while k is below its side and the
    change is small beside the gap behind the k-th singular value: see singular_gap.
    """
    angles = principal_angles(a.singular_vectors(k, side), b.singular_vectors(k, side))
    return math.degrees(float(angles.mean()))


def singular_gap(a: Matrix, k: int, norm: float) -> float:
    """(sigma_k - sigma_k+1) / ||B - A||_2, the gap behind A's k-th singular value beside the norm of a change.

    The sine of the largest angle between the top-k spans is at most 1 / (gap - 1) (Wedin 1972, BIT 12): where the gap
    is not above 1, nothing holds the span, and any change of this size may exchange it.
    """
    values_K = a.top(k + 1)[0]
    following = float(values_K[k]) if len(values_K) > k else 0.0
    return (float(values_K[k - 1]) - following) / norm


def principal_angles(p_NK: Tensor, q_NL: Tensor) -> Tensor:
    """The principal angles between the spans of two orthonormal bases, in radians: as many as the smaller has."""
    if p_NK.shape[1] < q_NL.shape[1]:
        p_NK, q_NL = q_NL, p_NK
    residual_NL = q_NL - p_NK @ (p_NK.T @ q_NL)
    return to_angles(eigvalsh(residual_NL.T @ residual_NL))


def to_angles(squared_sines: Tensor) -> Tensor:
    """Angles in radians."""
    return squared_sines.clamp(0, 1).sqrt().asin()


def spectral_norm(values_RC: Tensor) -> float:
    """The largest singular value, to 1e-6 of itself."""
    if min(values_RC.shape) <= SMALL:
        return float(matrix_norm(values_RC.double(), 2))
    values_RC = values_RC.float()

    def square(vector_C: Tensor) -> Tensor:
        return (values_RC.T @ (values_RC @ vector_C.float())).double()

    return math.sqrt(largest_eigenvalue(square, values_RC[0], ROUNDING))


def largest_eigenvalue(apply: Callable[[Tensor], Tensor], like_N: Tensor, tolerance: float) -> float:
    """Of a symmetric matrix, known by its products with vectors [N] on the device of `like`; by Lanczos' method."""

    operator, start = as_operator(apply, like_N)
    return float(eigsh(operator, k=1, v0=start, tol=tolerance, return_eigenvectors=False)[0])


def largest_eigenvectors(gram_NN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix, descending [k], and their vectors [N, k]; by Lanczos' method."""
    operator, start = as_operator(lambda vector: gram_NN @ vector, gram_NN[0])
    squares_K, vectors_NK = (np.flip(x, -1).copy() for x in eigsh(operator, k=k, v0=start, tol=TURNED))
    return torch.from_numpy(squares_K), torch.from_numpy(vectors_NK).to(gram_NN.device)


def as_operator(apply: Callable[[Tensor], Tensor], like_N: Tensor) -> tuple[LinearOperator, np.ndarray]:
    """Products with vectors, as ARPACK takes them, and where it starts: always there, and in no one's null space."""

    def product(vector_N: np.ndarray) -> np.ndarray:
        return apply(torch.from_numpy(vector_N.reshape(-1)).to(like_N.device)).cpu().numpy()

    size = len(like_N)
    start = np.random.default_rng(0).standard_normal(size)
    return LinearOperator((size, size), matvec=product, dtype=np.float64), start


def effective_rank(squares: Tensor) -> float:
    """exp of the entropy of the singular values, as shares of their sum (Roy and Vetterli 2007); from their squares.

    1 where all lie on one direction, their number where they are equal.
    """
    largest = squares.max()
    shares = squares.where(squares > len(squares) * torch.finfo(torch.float64).eps * largest, 0).sqrt()
    return float(torch.special.entr(shares / shares.sum()).sum().exp())
