"""Conformal prediction: sets of classes that hold the right one as often as promised.

A classifier is calibrated on held-out examples: its score of one is 1 - p(true class),
high where it is surprised.  A set holds each class whose score is at most the quantile
of these.  If calibration and test examples are drawn alike, the right class is in the
set with probability 1 - alpha at least, whatever the classifier (Vovk et al. 2005;
Angelopoulos & Bates 2023).  Nothing is promised elsewhere.
"""

import numpy as np

from course_lib.analysis import arguments
from course_lib.errors import CourseError


def scores(probabilities, labels) -> np.ndarray:
    """1 - p(true class) of each example: (N,) of probabilities (N, K), labels (N,)."""
    P = arguments.features(probabilities, "conformal.scores", 1)
    labels = arguments.classes(labels, "conformal.scores", P.shape[1])
    arguments.same_length("conformal.scores", probabilities=P, labels=labels)
    return 1 - P[np.arange(len(P)), labels]


def quantile(calibrated, alpha: float = 0.1) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores, or infinity beyond n.

    Raises CourseError unless alpha lies between 0 and 1 and there are scores.
    """
    s = _checked(calibrated, alpha)
    k = int(np.ceil((len(s) + 1) * (1 - alpha) - 1e-9))
    return float(np.sort(s)[k - 1]) if k <= len(s) else np.inf


def weighted_quantiles(calibrated, weights, own, alpha: float = 0.1) -> np.ndarray:
    """One quantile (M,) for each test example, under covariate shift.

    calibrated (n,): scores; weights (n,), own (M,): the density ratio target / source
    at calibration and test examples.  The score of calibration example i counts
    w_i / (sum of all w + own_j), and infinity the rest.  With equal weights these are
    :func:`quantile`.  Exact only with the true ratio.  Tibshirani et al. 2019.
    """
    s = _checked(calibrated, alpha)
    w, own = np.asarray(weights, float), np.asarray(own, float)
    if w.shape != s.shape or own.ndim != 1 or min(w.min(), own.min(initial=0)) < 0:
        raise CourseError(
            f"weighted_quantiles: {len(s)} scores, weights {w.shape}, own {own.shape}."
            "\nExpected: a weight >= 0 for each score, and for each test example."
        )
    order = np.argsort(s, kind="stable")
    reached = np.cumsum(w[order])  # (n,)
    wanted = (1 - alpha) * (w.sum() + own) * (1 - 1e-12)
    return np.append(s[order], np.inf)[np.searchsorted(reached, wanted)]


def prediction_sets(probabilities, quantiles) -> np.ndarray:
    """Which classes are in the set of each example: bool (N, K).

    quantiles: one number, or one for each example.
    """
    P = arguments.features(probabilities, "prediction_sets", 1)
    return 1 - P <= np.broadcast_to(quantiles, len(P))[:, None]


def _checked(calibrated, alpha) -> np.ndarray:
    s = np.asarray(calibrated, dtype=np.float64)
    if not 0 < alpha < 1 or s.ndim != 1 or not len(s) or not np.isfinite(s).all():
        raise CourseError(
            f"conformal: alpha={alpha!r}, scores of shape {s.shape}.\nExpected: alpha "
            "between 0 and 1, and the finite scores (n,) of held-out examples."
        )
    return s
