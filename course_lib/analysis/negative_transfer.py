"""Signs that a pretrained start does harm, read from histories and from errors.

Validation accuracy below random initialisation is seen by comparing; the other two are
here: training loss that falls while validation loss rises from the start, and confident
errors that follow the classes of the source.
"""

from collections.abc import Mapping

import numpy as np

LEAST_ERRORS = 10  # fewer are not tested


def falls_and_rises(history: Mapping | None) -> bool:
    """Does the training loss fall while validation loss rises from the start on?

    history: a training.History as a dict.  True when the training loss ends lower than
    it began, and validation loss was lowest at one of the first two evaluations and
    ends at least 5 % above.
    """
    if history is None or len(history["val_loss"]) < 4:
        return False
    train, val = history["train_loss"], history["val_loss"]
    lowest = int(np.argmin(val))
    return train[-1] < train[0] and lowest <= 1 and val[-1] > 1.05 * val[lowest]


def errors_follow_source(
    source_classes, labels, predictions, permutations: int = 999, seed: int = 0
) -> dict:
    """Do wrong answers go with what the source head sees, beyond the true class?

    source_classes, labels, predictions (N,) of wrong answers, one a picture.  The
    statistic is the mutual information of source class and wrong answer within each
    true class, in nats; for the null, source classes change places within the true
    class, which keeps what pictures of one class have in common.  Returns {pictures,
    information, expected: its mean under the null, p, cramers_v: of the whole table,
    Cramer 1946}; None for all but pictures when fewer than
    ``LEAST_ERRORS`` are given.
    """
    s, y, p = (np.asarray(column) for column in (source_classes, labels, predictions))
    names = ("information", "expected", "p", "cramers_v")
    if len(y) < LEAST_ERRORS:
        return {"pictures": len(y)} | dict.fromkeys(names)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(y == c) for c in np.unique(y)]
    tables = [_indicators(p[rows]) for rows in members]  # (rows, answers)
    sources = [_indicators(s[rows]) for rows in members]  # (rows, source classes)
    observed = sum(map(_information, sources, tables)) / len(y)
    null = np.zeros(permutations)
    for k in range(permutations):
        moved = [source[rng.permutation(len(source))] for source in sources]
        null[k] = sum(map(_information, moved, tables)) / len(y)
    as_large = (null >= observed - 1e-12).sum()
    values = (
        observed,
        null.mean(),
        (1 + as_large) / (1 + permutations),
        _cramers_v(_indicators(s).T @ _indicators(p)),
    )
    return {"pictures": len(y)} | dict(zip(names, map(float, values)))


def _indicators(values) -> np.ndarray:
    return (values[:, None] == np.unique(values)).astype(np.float64)


def _information(rows, columns) -> float:
    """n times the mutual information of two indicator matrices of n rows, in nats."""
    counts = rows.T @ columns
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / len(rows)
    seen = counts > 0
    return float((counts[seen] * np.log(counts[seen] / expected[seen])).sum())


def _cramers_v(counts) -> float:
    """0 for independent rows and columns of a table of counts, 1 for determined."""
    from scipy.stats.contingency import association

    if min(counts.shape) < 2:
        return 0.0
    return float(association(counts.astype(int), method="cramer"))
