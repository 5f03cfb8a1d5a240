"""How many dimensions features use, without a label: RankMe, and signs of collapse."""

import numpy as np

from course_lib.errors import CourseError


def rankme(Z, epsilon: float = 1e-7) -> float:
    """Effective rank of features Z (N, F): ``exp(-sum_k p_k log p_k)``.

    ``p_k = s_k / sum s + epsilon``, s the singular values of Z as it is, not centred.
    Between 1 and the smaller of N and F, so compare only where both are the same.
    Raises CourseError unless Z is a matrix of finite numbers, two rows or more.
    Garrido et al. 2023; Roy & Vetterli 2007.
    """
    s = np.linalg.svd(_checked(Z, "rankme"), compute_uv=False)
    p = s / max(s.sum(), 1e-300) + epsilon
    return float(np.exp(-(p * np.log(p)).sum()))


def spread(Z) -> float:
    """How different rows of Z (N, F) point: 1 when all ways, 0 when all the same way.

    The root of 1 minus the squared length of the mean of the rows, each made of
    length 1.  Raises CourseError as `rankme` does.
    """
    Z = _checked(Z, "spread")
    Z = Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-12)
    return float(np.sqrt(max(0.0, 1 - (Z.mean(axis=0) ** 2).sum())))


def _checked(Z, who: str) -> np.ndarray:
    Z = np.asarray(Z, dtype=np.float64)
    if Z.ndim != 2 or len(Z) < 2 or not np.isfinite(Z).all():
        raise CourseError(
            f"{who}: features of shape {Z.shape}.\nExpected: a matrix (N, F) of finite "
            "numbers, two rows or more.\nDo: make features with features.extract."
        )
    return Z
