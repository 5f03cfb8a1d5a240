"""How alike are two representations?  Centred kernel alignment."""

import numpy as np

from course_lib.errors import CourseError


def linear_cka(X: np.ndarray, Y: np.ndarray) -> float:
    """Linear centred kernel alignment of X (N, p) and Y (N, q), from 0 to 1.

    Row i of both belongs to the same input.  For centred columns
    ``||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F)``: unchanged when either side is rotated or
    scaled as a whole, but not under arbitrary linear maps.  With p of the order of N
    or above, even unrelated features score well above 0: compare with a shuffled
    baseline.  Raises CourseError on different N or constant features.
    Kornblith et al. 2019.
    """
    X, Y = (np.asarray(M, dtype=np.float64) for M in (X, Y))
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or len(X) < 2:
        raise CourseError(
            f"linear_cka: shapes {X.shape} and {Y.shape}. Expected (N, p) and (N, q) "
            "with the same N >= 2: one row for each input. Pool maps over space first "
            "(features.extract does)."
        )
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    if len(X) < max(X.shape[1], Y.shape[1]):  # Gram form: the same number, N x N
        K, L = X @ X.T, Y @ Y.T
        between, within = (K * L).sum(), np.linalg.norm(K) * np.linalg.norm(L)
    else:
        between = (np.linalg.norm(Y.T @ X)) ** 2
        within = np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y)
    if not within > 0:
        raise CourseError(
            "linear_cka: one side is constant (or not finite) over all inputs, so "
            "there is nothing to compare. Check for a dead layer."
        )
    return float(between / within)
