"""A linear probe: how much of a task is linearly readable from frozen features.

Fitted on the features of one layer, or, stage by stage, on what :func:`pooled` gives.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from course_lib.errors import CourseError
from course_lib.models import features

CS = tuple(10.0**k for k in range(-4, 2))
FOLDS = 3
MAX_ITER = 2000  # of the solver; 500 for a fit that only chooses C


@dataclass(frozen=True)
class Probe:
    """What a linear probe reached on the test features, and the C that was chosen."""

    accuracy: float
    balanced_accuracy: float
    C: float
    predictions: np.ndarray  # (N,) labels
    probabilities: np.ndarray  # (N, classes), columns in sorted label order
    converged: bool


def linear_probe(
    train_X,
    train_y,
    test_X,
    test_y,
    *,
    C: float | Sequence[float] = CS,
    val: tuple | None = None,
    seed: int = 0,
) -> Probe:
    """Logistic regression on standardised features (N, F); accuracy on the test set.

    C: the inverse penalty, or several, of which one is chosen by accuracy on
    ``val=(X, y)``, or else by three-fold cross-validation inside the training set;
    never on the test set.  Among equals the stronger penalty wins.
    Deterministic.  Raises CourseError on unequal lengths, non-finite features or a
    single class.  Alain & Bengio 2017.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    train_X, train_y = _checked("train", train_X, train_y)
    test_X, test_y = _checked("test", test_X, test_y, width=train_X.shape[1])
    if len(np.unique(train_y)) < 2:
        raise CourseError(
            "linear_probe: the training labels hold one class only, expected two or "
            "more. Take a stratified sample."
        )
    scaler = StandardScaler().fit(train_X)
    Z, test_Z = scaler.transform(train_X), scaler.transform(test_X)
    Cs, fitted = np.ravel(C).tolist(), {}
    if np.ndim(C) and val is not None:
        val_X, val_y = _checked("val", *val, width=train_X.shape[1])
        val_Z = scaler.transform(val_X)
        fitted = {c: _fitted(Z, train_y, c) for c in Cs}
        C = _best(Cs, lambda c: _accuracy(fitted[c], val_Z, val_y))
    elif np.ndim(C):
        C = _best(Cs, lambda c: _cross_validated(train_X, train_y, c, seed))
    model = fitted[C] if C in fitted else _fitted(Z, train_y, C)
    predictions = model.predict(test_Z)
    return Probe(
        accuracy=float((predictions == test_y).mean()),
        balanced_accuracy=float(balanced_accuracy_score(test_y, predictions)),
        C=float(C),
        predictions=predictions,
        probabilities=model.predict_proba(test_Z),
        converged=bool(model.n_iter_.max() < MAX_ITER),
    )


def _checked(which, X, y, width=None):
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if X.ndim != 2 or y.shape != (len(X),) or not len(X):
        raise CourseError(
            f"linear_probe: {which} features {X.shape} and labels {y.shape}. Expected "
            "(N, F) and (N,) with N >= 1. features.extract makes such features."
        )
    if width is not None and X.shape[1] != width:
        raise CourseError(
            f"linear_probe: {which} features have {X.shape[1]} columns, the training "
            f"features {width}. Extract both from the same layer."
        )
    if not np.isfinite(X).all():
        raise CourseError(
            f"linear_probe: {which} features hold NaN or infinite values. Check the "
            "preprocessing and the weights."
        )
    return X, y


def _fitted(Z, y, C, max_iter: int = MAX_ITER):
    """Logistic regression on standardised features.

    On one thread: matrices of this size are too small to be shared, and threads that
    wait for each other made it three times slower.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        # reported as Probe.converged instead
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression = LogisticRegression(C=C, max_iter=max_iter, solver="lbfgs")
        return regression.fit(Z, y)


def _accuracy(model, X, y) -> float:
    return float((model.predict(X) == y).mean())


def _best(Cs, score) -> float:
    return max(sorted(Cs), key=score)  # the first of equals: the strongest penalty


def _cross_validated(X, y, C, seed) -> float:
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    smallest = np.unique(y, return_counts=True)[1].min()
    if smallest < 2:
        raise CourseError(
            "linear_probe: a class has a single training example, so C cannot be "
            "cross-validated. Give C=..., or val=(X, y), or two examples a class."
        )
    splits = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    scores = []
    for fit, held_out in splits.split(X, y):
        scaler = StandardScaler().fit(X[fit])
        model = _fitted(scaler.transform(X[fit]), y[fit], C, 500)
        scores.append(_accuracy(model, scaler.transform(X[held_out]), y[held_out]))
    return float(np.mean(scores))


def pooled(backbone, images: np.ndarray, batch_size: int = 200) -> tuple[dict, dict]:
    """Mean and maximum over positions of every stage, in one pass over the images.

    images: uint8 (N, H, W, 3).  Returns two dicts {stage: tensor (N, C)}.  Raises
    CourseError for stages without maps.
    """
    stages = list(backbone.stages)
    mean, peak = {s: [] for s in stages}, {s: [] for s in stages}
    for start in range(0, len(images), batch_size):
        x = backbone.preprocess(images[start : start + batch_size])
        for stage, maps in features.activations(backbone, x, stages).items():
            if maps.ndim != 4:
                raise CourseError(
                    f"pooled: {stage} gives shape {tuple(maps.shape)}, expected maps "
                    "(N, C, h, w). Choose a convolutional network."
                )
            mean[stage].append(maps.mean((2, 3)).cpu())
            peak[stage].append(maps.amax((2, 3)).cpu())
    return tuple({s: torch.cat(parts) for s, parts in d.items()} for d in (mean, peak))
