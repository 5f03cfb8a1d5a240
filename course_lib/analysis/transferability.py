"""Transferability scores: which source suits a target, before any fine-tuning?

Each score takes features Z (N, D) of the labelled target pictures, or the source
head's probabilities, and gives one number; larger promises better transfer.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from course_lib.errors import CourseError


def _checked(Z, y, who: str):
    Z, y = np.asarray(Z, dtype=np.float64), np.asarray(y)
    if Z.ndim != 2 or len(Z) != len(y) or len(np.unique(y)) < 2:
        raise CourseError(
            f"{who}: features of shape {Z.shape} with {len(y)} labels of "
            f"{len(np.unique(y))} classes. Expected (N, D), N labels, two classes or "
            "more."
        )
    if not np.isfinite(Z).all():
        raise CourseError(f"{who}: the features hold NaN or infinite numbers.")
    return Z, y


def logme(Z, y) -> float:
    """Log maximum evidence a sample, mean over one-against-rest targets, in nats.

    Bayesian linear regression of each class indicator on the features: weights of
    precision alpha, noise of precision beta, both set where the evidence (Bishop 2006,
    equation 3.86) is largest.  The paper iterates MacKay's fixed point; here beta is
    eliminated and the ratio alpha / beta searched, which also holds for N < D.
    Z (N, D), y (N,).  Raises CourseError on bad shapes.  You et al. 2021.
    """
    Z, y = _checked(Z, y, "logme")
    U, s, _ = np.linalg.svd(Z, full_matrices=False)
    keep = s > s[0] * 1e-10
    U, sigma = U[:, keep], s[keep] ** 2
    evidence = []
    for c in np.unique(y):
        target = (y == c).astype(np.float64)
        projected = (U.T @ target) ** 2  # (k,), the target's part in each direction
        outside = max(target @ target - projected.sum(), 0.0)
        evidence.append(_largest_evidence(sigma, projected, outside, len(y)))
    return float(np.mean(evidence) / len(y))


def _largest_evidence(sigma, projected, outside, n) -> float:
    """Maximum over log(alpha / beta) of the log evidence, beta being at its best."""

    def negative(log_ratio):
        t = np.exp(log_ratio)
        misfit = t * (projected / (sigma + t)).sum() + outside  # r2 + t m2
        beta = n / max(misfit, 1e-300)
        shrink = np.log(t / (sigma + t)).sum()
        return -0.5 * (n * np.log(beta / (2 * np.pi)) - n + shrink)

    grid = np.log(sigma.max()) + np.linspace(-25, 25, 101)
    best = grid[int(np.argmin([negative(g) for g in grid]))]
    found = minimize_scalar(negative, bounds=(best - 0.5, best + 0.5), method="bounded")
    return -float(found.fun)


def h_score(Z, y) -> float:
    """trace(cov(Z)^+ cov(E[Z | y])): the variance that the classes explain.

    Between 0 and min(D, classes - 1); the pseudo-inverse drops directions of no
    variance.  With N close to D it is biased upwards: where D > N - 2 every source has
    the upper bound.  To nine decimals, so that such sources tie instead of being
    ordered by rounding.  Z (N, D), y (N,).  Bao et al. 2019.
    """
    Z, y = _checked(Z, y, "h_score")
    # With Z = U S V' centred and P the projection on class means, cov(Z)^+ cov(P Z)
    # has the trace of U U' P: no inverse, no condition number squared.
    U, s, _ = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
    U = U[:, s > s[0] * 1e-5]  # (N, rank)
    explained = [
        (U[y == c].sum(axis=0) ** 2).sum() / (y == c).sum() for c in np.unique(y)
    ]
    return round(float(np.sum(explained)), 9)


def leep(probabilities, y) -> float:
    """Mean log-likelihood of the labels, through the source head's own classes.

    probabilities (N, S) of the source classes on target pictures, rows that sum to 1;
    y (N,).  The empirical P(y | s) turns them into a prediction of y; at most 0.
    Raises CourseError when rows are not probabilities.  Nguyen et al. 2020.
    """
    P, y = _checked(probabilities, y, "leep")
    if (P < 0).any() or not np.allclose(P.sum(axis=1), 1, atol=1e-3):
        raise CourseError(
            "leep: the rows are not probabilities. Expected numbers >= 0 that sum to 1."
            "\nDo: apply a softmax to the source head's logits."
        )
    classes = np.unique(y)
    joint = np.stack([P[y == c].sum(axis=0) for c in classes]) / len(y)  # (C, S)
    conditional = joint / np.maximum(joint.sum(axis=0), 1e-300)  # P(y | s)
    own = conditional[np.searchsorted(classes, y)]  # (N, S)
    return float(np.log(np.maximum((own * P).sum(axis=1), 1e-300)).mean())


def knn_accuracy(Z, y, k: int = 5) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine.

    Ties go to the class of the nearer neighbours.  Z (N, D), y (N,), N > k.
    """
    Z, y = _checked(Z, y, "knn_accuracy")
    if not 1 <= k < len(y):
        raise CourseError(f"knn_accuracy: k={k}, expected 1 to {len(y) - 1}.")
    Z = Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-12)
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = np.argsort(-similar, axis=1, kind="stable")[:, :k]  # (N, k)
    classes = np.unique(y)
    weight = 1 - 1e-6 * np.arange(k)  # the nearer breaks a tie
    votes = np.stack([((y[near] == c) * weight).sum(axis=1) for c in classes], axis=1)
    return float((classes[votes.argmax(axis=1)] == y).mean())
