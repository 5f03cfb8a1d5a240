"""Domain shift, measured: how far apart are two domains, and in what do they differ?

Distances and two-sample tests take features X (N, F) of one domain and Y (M, F) of the
other, rows independent.  :func:`examine` puts the tests together and tells three shifts
apart, as far as they can be: covariate shift (the inputs change), label shift (only the
class proportions change) and concept shift (the same inputs get other labels).  Below
them, who bears the errors: subgroups and calibration.  Lesson 11, and the diagnosis of
lesson 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from course_lib.analysis import measure
from course_lib.errors import CourseError

__all__ = [
    "Evidence",
    "ShiftReport",
    "classifier_test",
    "concept_shift_test",
    "estimate_label_shift",
    "examine",
    "expected_calibration_error",
    "frechet_distance",
    "label_shift_test",
    "mmd",
    "mmd_test",
    "proxy_a_distance",
    "reliability",
    "resample_to",
    "subgroup_table",
    "worst_gap",
]

LEAST_SHRINKAGE = 1e-4  # keeps the covariance invertible
TIE_BREAK = 1e-6  # what the predictions leave open stays as in the source
SIMPLEX_WEIGHT = 1e4  # of the row that says: proportions sum to 1


# -- checks -----------------------------------------------------------------------


def _features(X, who: str, least: int = 2) -> np.ndarray:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or len(X) < least or not X.shape[1]:
        raise CourseError(
            f"{who}: features of shape {X.shape}.\nExpected: (N, F), a row for each "
            f"example, N >= {least}.\nDo: pool maps over space (features.extract does)."
        )
    if not np.isfinite(X).all():
        raise CourseError(
            f"{who}: the features hold NaN or infinite numbers.\nExpected: finite "
            "numbers.\nDo: look for the example or the layer that they come from."
        )
    return X


def _pair(X, Y, who: str, least: int = 2):
    X, Y = _features(X, who, least), _features(Y, who, least)
    if X.shape[1] != Y.shape[1]:
        raise CourseError(
            f"{who}: {X.shape[1]} features on one side and {Y.shape[1]} on the other.\n"
            "Expected: the same number.\nDo: take both from the same layer."
        )
    return X, Y


def _classes(labels, who: str, num_classes: int | None = None) -> np.ndarray:
    labels = np.asarray(labels)
    whole = labels.ndim == 1 and len(labels) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() >= (num_classes or np.inf):
        upper = "" if num_classes is None else f" below {num_classes}"
        raise CourseError(
            f"{who}: labels of shape {labels.shape}, {labels.dtype}.\nExpected: one or "
            f"more whole numbers >= 0{upper}, a class for each example.\nDo: "
            "scores.argmax(axis=1), if these are scores."
        )
    return labels.astype(np.int64)


def _labelled(labels, predictions, who: str, num_classes: int | None = None):
    labels = _classes(labels, who, num_classes)
    predictions = _classes(predictions, who, num_classes)
    _same_length(who, labels=labels, predictions=predictions)
    return labels, predictions


def _same_length(who: str, **columns) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise CourseError(f"{who}: {lengths}.\nExpected: one of each an example.")


def _whole_number(value, low: int, high: float, name: str, who: str) -> None:
    if not isinstance(value, (int, np.integer)) or not low <= value <= high:
        upper = "or more" if high == np.inf else f"to {high}"
        raise CourseError(f"{who}: {name}={value!r}.\nExpected: {low} {upper}.")


# -- maximum mean discrepancy -----------------------------------------------------


def _gaussian_kernel(X, Y, bandwidth) -> np.ndarray:
    """exp(-d^2 / (2 bandwidth^2)) of the pooled sample, zeros on the diagonal."""
    Z = np.concatenate([X, Y])
    Z = Z - Z.mean(axis=0)
    norms = (Z**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * Z @ Z.T, 0)  # (n, n)
    if bandwidth is None:
        distances = np.sqrt(squared[np.triu_indices(len(Z), 1)])
        bandwidth = np.median(distances)
        if not bandwidth > 0:  # most rows are alike
            bandwidth = distances.mean() or 1.0
    elif not 0 < bandwidth < np.inf:
        raise CourseError(f"mmd: bandwidth={bandwidth!r}.\nExpected: a length > 0.")
    kernel = np.exp(squared / (-2 * bandwidth**2))
    np.fill_diagonal(kernel, 0)
    return kernel


def _mmd_of(kernel, in_X) -> np.ndarray:
    """Unbiased MMD^2 for each column of the indicator in_X (n, P) of the first side."""
    n = in_X.sum(axis=0)
    m = len(in_X) - n
    mixed = kernel @ in_X  # (n, P)
    within_X = (in_X * mixed).sum(axis=0)
    between = mixed.sum(axis=0) - within_X
    within_Y = kernel.sum() - within_X - 2 * between
    return within_X / (n * (n - 1)) + within_Y / (m * (m - 1)) - 2 * between / (n * m)


def mmd(X, Y, bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased.

    X (N, F), Y (M, F).  Mean similarity within X, plus within Y, minus twice between
    them; pairs of a row with itself are left out, so that equal domains give 0 on
    average, and a little below 0 half of the time.  bandwidth: of the kernel, a
    distance; the median distance of the pooled sample by default.  Needs memory for
    (N + M)^2 numbers.  Raises CourseError on bad features.
    Gretton et al. 2012; lesson 11.
    """
    X, Y = _pair(X, Y, "mmd")
    in_X = np.repeat([1.0, 0.0], [len(X), len(Y)])[:, None]
    return float(_mmd_of(_gaussian_kernel(X, Y, bandwidth), in_X)[0])


def mmd_test(
    X, Y, permutations: int = 200, seed: int = 0, bandwidth: float | None = None
) -> tuple[float, float]:
    """(MMD^2, p value) of "X and Y come from one distribution", by permutation.

    The share of random splits of the pooled rows whose MMD is as large, the split
    that was observed included: an exact test, whose p value is at least
    1 / (permutations + 1).  The kernel is computed once.  Rows must be independent:
    several crops of one picture are not.  Gretton et al. 2012; lesson 11.
    """
    X, Y = _pair(X, Y, "mmd_test")
    _whole_number(permutations, 1, np.inf, "permutations", "mmd_test")
    in_X = np.repeat([1.0, 0.0], [len(X), len(Y)])
    rng = np.random.default_rng(seed)
    splits = rng.permuted(np.tile(in_X, (permutations, 1)), axis=1)
    columns = np.concatenate([in_X[None], splits]).T  # (N + M, 1 + permutations)
    values = _mmd_of(_gaussian_kernel(X, Y, bandwidth), columns)
    return float(values[0]), _permutation_p(values)


def _permutation_p(values) -> float:
    """Share of values that are as large as the first, which was observed."""
    return float((values >= values[0] - 1e-9 * max(abs(values[0]), 1e-3)).mean())


# -- can a classifier tell the domains apart? -------------------------------------


def proxy_a_distance(X, Y, folds: int = 5, seed: int = 0) -> float:
    """2 (1 - 2 error) of a classifier that tells the domains apart: 0 alike, 2 apart.

    X (N, F), Y (M, F).  The error is the balanced one (the mean of the two domains'
    own error rates, so that N and M may differ), by cross-validation, of a logistic
    regression on standardised features with inverse penalty C = 1 / F; clipped to
    0..2.  Linear: a difference that leaves the means alone is not seen.  Raises
    CourseError on bad features or fewer than ``folds`` rows.
    Ben-David et al. 2007; lesson 11.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _whole_number(folds, 2, np.inf, "folds", "proxy_a_distance")
    X, Y = _pair(X, Y, "proxy_a_distance", folds)
    Z, domain = np.concatenate([X, Y]), np.repeat([0, 1], [len(X), len(Y)])
    wrong = np.zeros(len(Z), dtype=bool)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(Z, domain)
    for train, held_out in splits:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=1 / Z.shape[1], class_weight="balanced", max_iter=1000
            ),
        ).fit(Z[train], domain[train])
        wrong[held_out] = model.predict(Z[held_out]) != domain[held_out]
    error = (wrong[domain == 0].mean() + wrong[domain == 1].mean()) / 2
    return float(np.clip(2 * (1 - 2 * error), 0, 2))


def classifier_test(
    X, Y, folds: int = 5, seed: int = 0, permutations: int = 999
) -> tuple[float, float]:
    """(accuracy, p value) of "X and Y come from one distribution", by a classifier.

    X (N, F), Y (M, F), N and M as they come.  The classifier is a Fisher discriminant
    (nearest mean after whitening) on the standardised features and their squares, so
    that it sees a change of mean or of spread.  The accuracy is balanced and
    cross-validated: 0.5 is chance.  Right answers of cross-validation are not
    independent, since the training parts overlap, so no binomial p value would hold;
    instead the domains are permuted within each fold and the whole cross-validation
    is repeated.  That is exact, and cheap because one whitening, which ignores the
    domains, serves all permutations.  Raises CourseError on bad features or fewer
    than ``folds`` rows.  Lopez-Paz & Oquab 2017; lesson 11.
    """
    _whole_number(folds, 2, np.inf, "folds", "classifier_test")
    _whole_number(permutations, 1, np.inf, "permutations", "classifier_test")
    X, Y = _pair(X, Y, "classifier_test", folds)
    Z = _with_squares(np.concatenate([X, Y]))
    return _discriminant_test(Z, len(X), folds, seed, permutations)


def _standardised(Z) -> np.ndarray:
    """Columns of mean 0 and deviation 1; constant columns become 0."""
    scale = np.abs(Z).max(axis=0)
    Z = Z - Z.mean(axis=0)
    deviation = Z.std(axis=0)
    return np.where(deviation > 1e-12 * scale, Z / np.maximum(deviation, 1e-300), 0.0)


def _with_squares(Z) -> np.ndarray:
    """Standardised features and their standardised squares, (n, 2F)."""
    Z = _standardised(Z)
    return np.concatenate([Z, _standardised(np.clip(Z, -3, 3) ** 2)], axis=1)


def _whitened(Z) -> np.ndarray:
    """Z (n, d) times the inverse root of its covariance, shrunk as Ledoit & Wolf do."""
    from scipy.linalg import solve_triangular

    Z = Z - Z.mean(axis=0)
    n, d = Z.shape
    covariance = Z.T @ Z / n
    mean = np.trace(covariance) / d
    if not mean > 0:
        return Z
    target = mean * np.eye(d)
    noise = (((Z**2).sum(axis=1) ** 2).mean() - (covariance**2).sum()) / n
    spread = ((covariance - target) ** 2).sum()
    share = min(noise / spread, 1.0) if spread > 0 else 1.0
    share = max(share, LEAST_SHRINKAGE)
    factor = np.linalg.cholesky((1 - share) * covariance + share * target)
    return solve_triangular(factor, Z.T, lower=True).T


def _discriminant_test(Z, n: int, folds: int, seed: int, permutations: int):
    """Accuracy and p value of the discriminant on Z (N + M, d), X's n rows first."""
    Z, m = _whitened(Z), len(Z) - n
    rng = np.random.default_rng(seed)
    fold_of = [rng.permutation(np.arange(size) % folds) for size in (n, m)]
    fold_of = np.concatenate(fold_of)
    in_X = np.repeat([1.0, 0.0], [n, m])
    parts = []
    for fold in range(folds):
        rows = np.flatnonzero(fold_of == fold)
        splits = rng.permuted(np.tile(in_X[rows], (permutations, 1)), axis=1)
        splits = np.concatenate([in_X[None, rows], splits]).T  # (rows, 1 + P)
        parts.append((Z[rows], splits, Z[rows].T @ splits))
    sum_X = sum(part[2] for part in parts)  # (d, 1 + P)
    sum_Z = Z.sum(axis=0)[:, None]
    right_X = right_Y = 0
    for held_out, splits, own_X in parts:
        own_Z = held_out.sum(axis=0)[:, None]
        n_own = splits[:, 0].sum()
        m_own = len(splits) - n_own
        mean_X = (sum_X - own_X) / (n - n_own)
        mean_Y = (sum_Z - sum_X - own_Z + own_X) / (m - m_own)
        middle = ((mean_X**2).sum(axis=0) - (mean_Y**2).sum(axis=0)) / 2
        says_X = held_out @ (mean_X - mean_Y) > middle
        right_X = right_X + (says_X * splits).sum(axis=0)
        right_Y = right_Y + (~says_X * (1 - splits)).sum(axis=0)
    accuracy = (right_X / n + right_Y / m) / 2
    return float(accuracy[0]), _permutation_p(accuracy)


# -- Frechet distance -------------------------------------------------------------


def frechet_distance(X, Y) -> float:
    """Squared Frechet distance between Gaussians fitted to X (N, F) and Y (M, F).

    ``||m_X - m_Y||^2 + trace(C_X + C_Y - 2 (C_X C_Y)^(1/2))``.  The last trace is the
    sum of the singular values of A B', where A and B are the centred rows over
    sqrt(N - 1) and sqrt(M - 1); no matrix root is taken, so that nothing has to be
    shrunk or clipped when N < F.  Like every plug-in estimate it is too large for
    small N: compare only at equal N, with two halves of one domain as the floor.
    Raises CourseError on bad features.
    Dowson & Landau 1982; Heusel et al. 2017; lesson 11.
    """
    X, Y = _pair(X, Y, "frechet_distance")
    A, B = ((Z - Z.mean(axis=0)) / np.sqrt(len(Z) - 1) for Z in (X, Y))
    means = ((X.mean(axis=0) - Y.mean(axis=0)) ** 2).sum()
    R_A, R_B = (np.linalg.qr(Z, mode="r") for Z in (A, B))  # same A'A, at most F rows
    shared = np.linalg.svd(R_A @ R_B.T, compute_uv=False).sum()
    return float(max(means + (A**2).sum() + (B**2).sum() - 2 * shared, 0.0))


# -- label shift ------------------------------------------------------------------


def estimate_label_shift(
    source_predictions, source_labels, target_predictions, num_classes: int
) -> np.ndarray:
    """Class proportions (K,) of the target from the classes predicted there.

    Source labels and predictions must be held out, or the confusions are too few.  If
    only the proportions changed, then A p = q: column j of A holds the shares of
    predictions in source class j, q those on the target.  p is the least-squares
    solution on the simplex.  Predictions that cannot tell two classes apart leave
    their ratio open; it stays as in the source.  A class without source examples gets
    0.  Wrong, without a warning, when the inputs of a class changed.  Raises
    CourseError on labels that are not 0 to K - 1.
    Lipton, Wang & Smola 2018; lesson 11.
    """
    from scipy.optimize import nnls

    who = "estimate_label_shift"
    _whole_number(num_classes, 2, np.inf, "num_classes", who)
    labels, predictions = _labelled(source_labels, source_predictions, who, num_classes)
    target = _classes(target_predictions, who, num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    known = np.flatnonzero(counts)
    confusion = np.zeros((num_classes, num_classes))
    np.add.at(confusion, (predictions, labels), 1)
    A = confusion[:, known] / counts[known]  # (K, known), columns sum to 1
    q = np.bincount(target, minlength=num_classes) / len(target)
    own = counts[known] / len(labels)  # of the source
    weak = np.sqrt(TIE_BREAK / own)  # on (p - own)^2 / own: keeps ratios
    sums_to_1 = np.full((1, len(known)), SIMPLEX_WEIGHT)
    system = np.vstack([A, np.diag(weak), sums_to_1])
    wanted = np.concatenate([q, weak * own, [SIMPLEX_WEIGHT]])
    proportions = np.zeros(num_classes)
    proportions[known] = nnls(system, wanted)[0]
    return proportions / proportions.sum()


def label_shift_test(
    source_predictions, target_predictions, num_classes: int, seed: int = 0
) -> float:
    """p value of "classes are predicted as often on the target as on the source".

    Chi-square on the table of two rows and K columns; if it expects fewer than 5 in a
    cell, 9,999 random tables of the same margins instead, which is exact.  Source
    predictions must be held out.  A small p value does not show label shift yet:
    changed inputs move the predictions as well.  Raises CourseError on labels that
    are not 0 to K - 1.  Rabanser et al. 2019; lesson 11.
    """
    _whole_number(num_classes, 2, np.inf, "num_classes", "label_shift_test")
    source = _classes(source_predictions, "label_shift_test", num_classes)
    target = _classes(target_predictions, "label_shift_test", num_classes)
    return _counts_test(source, target, seed)[1]


def _counts_test(source, target, seed: int) -> tuple[float, float]:
    """Chi-square statistic and p value: are classes as frequent on both sides?"""
    from scipy.stats import chi2

    size = 1 + max(source.max(), target.max())
    table = np.stack([np.bincount(one, minlength=size) for one in (source, target)])
    pooled = table.sum(axis=0)
    table, pooled = table[:, pooled > 0], pooled[pooled > 0]
    if len(pooled) == 1:
        return 0.0, 1.0
    n, m = len(source), len(target)
    expected = pooled * m / (n + m)

    def statistic(in_target):
        # the two rows' terms of a column together
        return ((in_target - expected) ** 2 / expected).sum(axis=-1) * (n + m) / n

    observed = float(statistic(table[1]))
    if min(expected.min(), (pooled - expected).min()) >= 5:
        return observed, float(chi2.sf(observed, len(pooled) - 1))
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(pooled, m, size=9999, method="marginals")
    return observed, _permutation_p(np.append(observed, statistic(drawn)))


def resample_to(labels, proportions, n: int, seed: int = 0) -> np.ndarray:
    """Indices (n,) of examples whose classes have the given proportions.

    labels (N,), proportions (K,) that sum to 1.  Counts are rounded by largest
    remainder.  Without replacement while a class has enough examples; a class that
    has not is taken whole as often as needed, and the rest of it drawn.  Raises
    CourseError when a class is wanted that has no example.  Lesson 11.
    """
    labels = _classes(labels, "resample_to")
    proportions = np.asarray(proportions, dtype=np.float64)
    bad = proportions.ndim != 1 or not np.isfinite(proportions).all()
    if bad or (proportions < 0).any() or abs(proportions.sum() - 1) > 1e-6:
        raise CourseError(
            f"resample_to: proportions {proportions.tolist()}.\nExpected: a share >= 0 "
            "for each class, summing to 1."
        )
    _whole_number(n, 1, np.inf, "n", "resample_to")
    rng = np.random.default_rng(seed)
    chosen = []
    for c, count in enumerate(_rounded(proportions, n)):
        rows = np.flatnonzero(labels == c)
        if count and not len(rows):
            raise CourseError(
                f"resample_to: class {c} has no example, but {count} of {n} are "
                "wanted.\nExpected: examples of every class whose share is above 0."
            )
        if count:
            whole, rest = divmod(count, len(rows))
            chosen += [np.tile(rows, whole), rng.permutation(rows)[:rest]]
    return rng.permutation(np.concatenate(chosen))


def _rounded(proportions, n: int) -> list[int]:
    """Whole numbers that sum to n, in the given proportions by largest remainder."""
    exact = proportions / proportions.sum() * n
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: n - counts.sum()]] += 1
    return counts.tolist()


def _largest_resample(labels, proportions) -> int:
    """The most examples that have these proportions without repeating one."""
    available = np.bincount(labels, minlength=len(proportions))
    wanted = proportions > 0
    n = int(min((available[wanted] / proportions[wanted]).min(), len(labels)))
    while n and (_rounded(proportions, n) > available).any():
        n -= 1
    return n


def _label_shift_fit(source, target, proportions, num_classes, seed, permutations):
    """(accuracy, p value) of "other class proportions explain the whole difference".

    The source is resampled to the estimated proportions and the classifier test
    repeated on features, their squares and the predicted class.  An error in the
    proportions moves the mean of these only along the differences between class
    means, so those directions are projected out first: what is left does not depend
    on the estimate, though it was made from the same target examples.  (nan, nan) when
    fewer than 20 source examples have these proportions.
    """
    X, labels, predictions = source
    Y, target_predictions = target
    n = _largest_resample(labels, proportions)
    if n < 20:
        return float("nan"), float("nan")
    says = np.eye(num_classes)[np.concatenate([predictions, target_predictions])]
    Z = np.concatenate([_with_squares(np.concatenate([X, Y])), _standardised(says)], 1)
    Z_source, Z_target = Z[: len(X)], Z[len(X) :]
    means = np.stack([Z_source[labels == c].mean(axis=0) for c in np.unique(labels)])
    _, size, directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    directions = directions[size > 1e-8 * max(size[0], 1e-300)]  # (r, d), r < K
    chosen = resample_to(labels, proportions, n, seed)
    Z = np.concatenate([Z_source[chosen], Z_target])
    Z = Z - Z @ directions.T @ directions
    return _discriminant_test(Z, n, 5, seed, permutations)


# -- concept shift ----------------------------------------------------------------


def concept_shift_test(
    source_labels, source_predictions, target_labels, target_predictions
) -> float:
    """p value of "within each class, no more errors on the target than on the source".

    The exact stratified test of Mantel and Haenszel, one-sided: given the errors of
    both domains together, those that fall on the target's examples of a class are
    hypergeometric, and their sum over classes is compared with the one observed.
    Comparing within classes reweights the source's error to the class proportions of
    the labelled target examples; unlike a binomial test against that error, it allows
    for the error's own uncertainty.  Needs labelled target examples, which no test on
    inputs can replace.  Raises CourseError for a class that the source has not.
    Mantel & Haenszel 1959; lesson 11.
    """
    from scipy.stats import hypergeom

    who = "concept_shift_test"
    labels, predictions = _labelled(source_labels, source_predictions, who)
    checked, checked_predictions = _labelled(target_labels, target_predictions, who)
    _known(checked, labels, who)
    wrong, checked_wrong = predictions != labels, checked_predictions != checked
    chances = np.ones(1)  # of 0, 1, ... errors on the target
    for c in np.unique(checked):
        n, m = (labels == c).sum(), (checked == c).sum()
        errors = wrong[labels == c].sum() + checked_wrong[checked == c].sum()
        own = hypergeom.pmf(np.arange(m + 1), n + m, errors, m)
        chances = np.convolve(chances, own)
    return float(min(chances[checked_wrong.sum() :].sum(), 1.0))


def _known(checked, labels, who: str) -> None:
    unknown = np.setdiff1d(checked, labels)
    if len(unknown):
        raise CourseError(
            f"{who}: class {unknown[0]} is among the target labels, but not among the "
            "source labels.\nExpected: the classes of the source.\nDo: hold out some "
            "source examples of every class; a class new to the source needs training."
        )


def _expected_error(labels, predictions, checked) -> float:
    """Source error, reweighted to the class proportions of ``checked``."""
    wrong = predictions != labels
    return float(np.mean([wrong[labels == c].mean() for c in checked]))


# -- telling them apart -----------------------------------------------------------


class Evidence(NamedTuple):
    """One test: its name, the statistic, the p value, and what it says."""

    test: str
    statistic: float
    p_value: float
    sentence: str


@dataclass(frozen=True)
class ShiftReport:
    """What :func:`examine` saw; prints as a few sentences.

    kinds: of "covariate shift", "label shift", "concept shift", "unclear shift";
    empty when no shift was seen.  evidence: one row a test.  proportions: of the
    classes on the target, estimated under label shift; source_proportions: those of
    the source labels.  sizes: examples of source, target, checked.
    """

    kinds: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    proportions: tuple[float, ...]
    source_proportions: tuple[float, ...]
    alpha: float
    sizes: tuple[int, int, int]

    def __str__(self) -> str:
        found = " and ".join(self.kinds) or "no shift seen"
        lines = [f"{found[0].upper()}{found[1:]}, at the level {self.alpha:g}."]
        lines += [
            f"- {one.sentence}"
            + (f" (p = {one.p_value:.2g})" if np.isfinite(one.p_value) else "")
            for one in self.evidence
        ]
        if not self.kinds:
            source, target, _ = self.sizes
            lines.append(
                f"- None seen among {source} source and {target} target examples is no "
                "proof that there is none."
            )
        if not self.sizes[2]:
            lines.append("- Concept shift cannot be seen without target labels.")
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """Plain data for JSON; a test that could not be run has None for numbers."""

        def plain(number):
            return float(number) if np.isfinite(number) else None

        return {
            "kinds": list(self.kinds),
            "evidence": [
                {
                    "test": one.test,
                    "statistic": plain(one.statistic),
                    "p_value": plain(one.p_value),
                    "sentence": one.sentence,
                }
                for one in self.evidence
            ],
            "proportions": list(self.proportions),
            "source_proportions": list(self.source_proportions),
            "alpha": self.alpha,
            "sizes": list(self.sizes),
        }


def _holm(p_values: dict[str, float], alpha: float) -> set[str]:
    """Names of the hypotheses rejected, all errors together at most alpha (Holm)."""
    rejected: set[str] = set()
    for name in sorted(p_values, key=p_values.get):
        if p_values[name] > alpha / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected


def examine(
    source, target, checked=None, *, alpha: float = 0.01, seed: int = 0
) -> ShiftReport:
    """Which shift is there between a source and a target?  Told apart by tests.

    source: (features (N, F), labels (N,), predictions (N,)) of *held-out* source
    examples; target: (features (M, F), predictions (M,)), no labels; checked:
    (labels, predictions) of a few target examples drawn at random and labelled.

    inputs            classifier_test on the features
    predicted classes label_shift_test
    label shift fit   the inputs again, the source resampled to the class proportions
                      that estimate_label_shift gives
    checked classes   are the labels of ``checked`` as frequent as in the source?
    checked errors    concept_shift_test

    The fit is rejected: covariate shift.  It is not, and the predicted classes differ:
    label shift.  It is not, and only the inputs differ: unclear shift.  Beside
    covariate shift the predicted classes show nothing about proportions, because
    changed inputs move them too: label shift is then added only if the checked classes
    differ.  More errors within the classes are concept shift where no covariate or
    unclear shift was seen; elsewhere they are expected anyway, and the evidence says
    so.

    All p values stand in one family (Holm 1979): where nothing shifted, any shift is
    reported with probability alpha at most (the fit's p value holds for many examples,
    the others for any number).  Assumed: rows are independent, and one predictor made
    all predictions.  Label shift means that other proportions suffice
    to explain what was seen, and "no shift" that none was seen; with few examples
    both come easily.  Raises CourseError on shapes and labels that do not fit, or
    fewer than 5 examples a side.
    Lipton et al. 2018; Rabanser et al. 2019; lesson 11.
    """
    source, target, checked = _examined(source, target, checked)
    X, labels, predictions = source
    if not 0 < alpha < 1:
        raise CourseError(f"examine: alpha={alpha!r}.\nExpected: between 0 and 1.")
    seen = [labels, predictions, target[1], *(checked or ())]
    num_classes = max(2, 1 + max(int(one.max()) for one in seen))
    permutations = max(999, int(np.ceil(10 / alpha)) - 1)
    proportions = estimate_label_shift(predictions, labels, target[1], num_classes)
    results = {
        "inputs": classifier_test(X, target[0], 5, seed, permutations),
        "predicted classes": _counts_test(predictions, target[1], seed),
        "label shift fit": _label_shift_fit(
            source, target, proportions, num_classes, seed, permutations
        ),
    }
    expected = None
    if checked is not None:
        expected = _expected_error(labels, predictions, checked[0])
        results["checked classes"] = _counts_test(labels, checked[0], seed)
        results["checked errors"] = (
            float((checked[0] != checked[1]).mean()),
            concept_shift_test(labels, predictions, *checked),
        )
    p_values = {name: p for name, (_, p) in results.items() if np.isfinite(p)}
    rejected = _holm(p_values, alpha)
    kinds = _kinds(rejected, fitted="label shift fit" in p_values)
    sentences = _sentences(results, rejected, kinds, expected)
    return ShiftReport(
        kinds=kinds,
        evidence=tuple(
            Evidence(name, float(statistic), float(p), sentences[name])
            for name, (statistic, p) in results.items()
        ),
        proportions=tuple(proportions.tolist()),
        source_proportions=tuple(
            (np.bincount(labels, minlength=num_classes) / len(labels)).tolist()
        ),
        alpha=float(alpha),
        sizes=(len(X), len(target[0]), 0 if checked is None else len(checked[0])),
    )


def _examined(source, target, checked):
    """The three inputs of examine, checked and as arrays."""
    parts = {"source": (source, 3), "target": (target, 2)}
    if checked is not None:
        parts["checked"] = (checked, 2)
    for name, (part, size) in parts.items():
        if not isinstance(part, (tuple, list)) or len(part) != size:
            raise CourseError(
                f"examine: {name} is not a tuple of {size}.\nExpected: source = "
                "(features, labels, predictions), target = (features, predictions), "
                "checked = (labels, predictions) or None."
            )
    X, Y = _pair(source[0], target[0], "examine", 5)
    labels, predictions = _labelled(source[1], source[2], "examine: source")
    _same_length("examine: source", features=X, labels=labels)
    target_predictions = _classes(target[1], "examine: target")
    _same_length("examine: target", features=Y, predictions=target_predictions)
    if checked is not None:
        checked = _labelled(*checked, "examine: checked")
        _known(checked[0], labels, "examine: checked")
    return (X, labels, predictions), (Y, target_predictions), checked


def _kinds(rejected: set[str], fitted: bool) -> tuple[str, ...]:
    kinds = []
    if "label shift fit" in rejected:
        kinds.append("covariate shift")
        if "checked classes" in rejected:
            kinds.append("label shift")
    elif fitted and "predicted classes" in rejected:
        kinds.append("label shift")
    elif rejected & {"inputs", "predicted classes"}:
        kinds.append("unclear shift")
    if "checked errors" in rejected and set(kinds) <= {"label shift"}:
        kinds.append("concept shift")
    return tuple(kinds)


def _sentences(results, rejected, kinds, expected) -> dict[str, str]:
    differ = {
        name: "differ" if name in rejected else "are not seen to differ"
        for name in results
    }
    inputs, fit = results["inputs"][0], results["label shift fit"][0]
    if np.isnan(fit):
        fit_says = "Too few source examples have the estimated proportions to compare."
    else:
        fit_says = (
            f"With the source resampled to the estimated class proportions, {fit:.0%}: "
        )
        if "label shift fit" in rejected:
            fit_says += "other proportions do not explain the difference."
        else:
            fit_says += "nothing is left that other proportions would not explain."
    sentences = {
        "inputs": f"A classifier tells the domains apart in {inputs:.0%} (chance: 50%):"
        f" the inputs {differ['inputs']}.",
        "predicted classes": "The shares of the predicted classes "
        f"{differ['predicted classes']}.",
        "label shift fit": fit_says,
    }
    if expected is None:
        return sentences
    if "checked errors" not in rejected:
        errors_say = "chance allows as many at this level."
    elif "concept shift" in kinds:
        errors_say = "the same inputs seem to have other labels."
    else:
        errors_say = "concept shift is not separable from covariate shift by this test."
    sentences["checked classes"] = (
        f"The classes of the checked target examples {differ['checked classes']} in "
        "proportion from the source's."
    )
    sentences["checked errors"] = (
        f"Wrong on {results['checked errors'][0]:.0%} of them, where the source's "
        f"errors at the same classes give {expected:.0%}: {errors_say}"
    )
    return sentences


# -- subgroups --------------------------------------------------------------------


def subgroup_table(labels, predictions, groups) -> list[dict]:
    """Accuracy of each subgroup with its 95 % Wilson interval, the worst first.

    labels, predictions (N,); groups: N hashable values, or a dict of such columns,
    each of which is then audited by itself, in its order.  Rows: {group, n, accuracy,
    low, high}, and first of all {column} for a dict.  A NaN is the group "missing".
    Raises CourseError on unequal lengths.  Wilson 1927; lesson 11.
    """
    labels, predictions = _labelled(labels, predictions, "subgroup_table")
    if isinstance(groups, Mapping):
        return [
            {"column": column, **row}
            for column, values in groups.items()
            for row in _subgroups(labels == predictions, values)
        ]
    return _subgroups(labels == predictions, groups)


def _subgroups(right, values) -> list[dict]:
    _same_length("subgroup_table", labels=right, groups=values)
    members: dict = {}
    for i, value in enumerate(values):
        value = value.item() if isinstance(value, np.generic) else value
        members.setdefault("missing" if value != value else value, []).append(i)
    rows = []
    for group, rows_of in members.items():
        n, k = len(rows_of), int(right[rows_of].sum())
        low, high = measure.wilson_interval(k, n)
        row = {"group": group, "n": n, "accuracy": k / n, "low": low, "high": high}
        rows.append(row)
    return sorted(rows, key=lambda row: row["accuracy"])


def worst_gap(table, smallest: int = 1) -> float:
    """Accuracy of the best subgroup minus that of the worst, the widest of any column.

    table: of :func:`subgroup_table`.  Groups of fewer than ``smallest`` examples are
    left out: small groups differ by chance alone.  Raises CourseError when none is
    left.  Lesson 11.
    """
    columns: dict = {}
    for row in table:
        if row["n"] >= smallest:
            columns.setdefault(row.get("column"), []).append(row["accuracy"])
    if not columns:
        raise CourseError(
            f"worst_gap: no group has {smallest} examples or more.\nExpected: rows of "
            "subgroup_table, one at least."
        )
    return max(max(column) - min(column) for column in columns.values())


# -- calibration ------------------------------------------------------------------


def reliability(probabilities, labels, bins: int = 15) -> list[dict]:
    """Rows of a reliability diagram: {low, high, n, confidence, accuracy}.

    probabilities (N, K), rows that sum to 1; labels (N,).  Predictions are sorted by
    confidence, the largest probability, into ``bins`` of equal width (low, high]; empty
    ones are left out.  confidence and accuracy are means in the bin.  Raises
    CourseError when rows are not probabilities.  Guo et al. 2017; lesson 12.
    """
    P = _features(probabilities, "reliability", 1)
    labels = _classes(labels, "reliability", P.shape[1])
    _same_length("reliability", probabilities=P, labels=labels)
    _whole_number(bins, 1, np.inf, "bins", "reliability")
    if (P < 0).any() or not np.allclose(P.sum(axis=1), 1, atol=1e-3):
        raise CourseError(
            "reliability: the rows are not probabilities.\nExpected: numbers >= 0 that "
            "sum to 1.\nDo: apply a softmax to the logits."
        )
    confidence, right = P.max(axis=1), P.argmax(axis=1) == labels
    place = np.ceil(confidence * bins - 1e-9).astype(int).clip(1, bins) - 1
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": int((place == b).sum()),
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
        }
        for b in np.unique(place).tolist()
    ]


def expected_calibration_error(probabilities, labels, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by n.

    0 is calibrated: of the predictions made with confidence 0.8, 80 % are right.
    Biased upwards when bins hold few examples.  probabilities (N, K), labels (N,).
    Raises CourseError as reliability does.  Guo et al. 2017; lesson 12.
    """
    rows = reliability(probabilities, labels, bins)
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows]
    return float(sum(gaps) / sum(row["n"] for row in rows))
