"""Domain shift: in what do two domains differ?

:func:`examine` tells three shifts apart, as far as they can be: covariate shift (the
inputs change), label shift (only the class proportions change) and concept shift (the
same inputs get other labels).  How far apart the inputs are: :mod:`distances`; who
bears the errors: :mod:`subgroups` and :mod:`calibration`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from course_lib.analysis import arguments
from course_lib.analysis.distances import (
    classifier_test,
    discriminant_test,
    standardised,
    with_squares,
)
from course_lib.analysis.statistics import holm, permutation_p
from course_lib.errors import CourseError

TIE_BREAK = 1e-6  # what the predictions leave open stays as in the source
SIMPLEX_WEIGHT = 1e4  # of the row that says: proportions sum to 1

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
    Lipton, Wang & Smola 2018.
    """
    from scipy.optimize import nnls

    who = "estimate_label_shift"
    arguments.whole_number(num_classes, 2, np.inf, "num_classes", who)
    labels, predictions = arguments.labelled(
        source_labels, source_predictions, who, num_classes
    )
    target = arguments.classes(target_predictions, who, num_classes)
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


def counts_test(source, target, seed: int) -> tuple[float, float]:
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
    return observed, permutation_p(np.append(observed, statistic(drawn)))


def resample_to(labels, proportions, n: int, seed: int = 0) -> np.ndarray:
    """Indices (n,) of examples whose classes have the given proportions.

    labels (N,), proportions (K,) that sum to 1.  Counts are rounded by largest
    remainder.  Without replacement while a class has enough examples; a class that
    has not is taken whole as often as needed, and the rest of it drawn.  Raises
    CourseError when a class is wanted that has no example.
    """
    labels = arguments.classes(labels, "resample_to")
    proportions = np.asarray(proportions, dtype=np.float64)
    bad = proportions.ndim != 1 or not np.isfinite(proportions).all()
    if bad or (proportions < 0).any() or abs(proportions.sum() - 1) > 1e-6:
        raise CourseError(
            f"resample_to: proportions {proportions.tolist()}.\nExpected: a share >= 0 "
            "for each class, summing to 1."
        )
    arguments.whole_number(n, 1, np.inf, "n", "resample_to")
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


def largest_resample(labels, proportions) -> int:
    """The most examples that have these proportions without repeating one."""
    available = np.bincount(labels, minlength=len(proportions))
    wanted = proportions > 0
    n = int(min((available[wanted] / proportions[wanted]).min(), len(labels)))
    while n and (_rounded(proportions, n) > available).any():
        n -= 1
    return n


def label_shift_fit(source, target, proportions, seed: int, permutations: int):
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
    n = largest_resample(labels, proportions)
    if n < 20:
        return float("nan"), float("nan")
    says = np.eye(len(proportions))[np.concatenate([predictions, target_predictions])]
    Z = np.concatenate([with_squares(np.concatenate([X, Y])), standardised(says)], 1)
    Z_source, Z_target = Z[: len(X)], Z[len(X) :]
    means = np.stack([Z_source[labels == c].mean(axis=0) for c in np.unique(labels)])
    _, size, directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    directions = directions[size > 1e-8 * max(size[0], 1e-300)]  # (r, d), r < K
    chosen = resample_to(labels, proportions, n, seed)
    Z = np.concatenate([Z_source[chosen], Z_target])
    Z = Z - Z @ directions.T @ directions
    return discriminant_test(Z, n, 5, seed, permutations)


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
    Mantel & Haenszel 1959.
    """
    from scipy.stats import hypergeom

    who = "concept_shift_test"
    labels, predictions = arguments.labelled(source_labels, source_predictions, who)
    checked, checked_predictions = arguments.labelled(
        target_labels, target_predictions, who
    )
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

        def plain(value):
            if isinstance(value, str):
                return value
            return float(value) if np.isfinite(value) else None

        found = {k: list(v) if k != "alpha" else v for k, v in vars(self).items()}
        rows = [one._asdict() for one in self.evidence]
        found["evidence"] = [{k: plain(v) for k, v in row.items()} for row in rows]
        return found


def examine(
    source, target, checked=None, *, alpha: float = 0.01, seed: int = 0
) -> ShiftReport:
    """Which shift is there between a source and a target?  Told apart by tests.

    source: (features (N, F), labels (N,), predictions (N,)) of *held-out* source
    examples; target: (features (M, F), predictions (M,)), no labels; checked:
    (labels, predictions) of a few target examples drawn at random and labelled.

    inputs            classifier_test on the features
    predicted classes counts_test
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
    Lipton et al. 2018; Rabanser et al. 2019.
    """
    source, target, checked = _examined(source, target, checked)
    if not 0 < alpha < 1:
        raise CourseError(f"examine: alpha={alpha!r}.\nExpected: between 0 and 1.")
    proportions, results = _tests(source, target, checked, alpha, seed)
    p_values = {name: p for name, (_, p) in results.items() if np.isfinite(p)}
    rejected = holm(p_values, alpha)
    kinds = _kinds(rejected, fitted="label shift fit" in p_values)
    X, labels, predictions = source
    expected = None
    if checked is not None:
        # the source's error, reweighted to the classes of the checked examples
        wrong = predictions != labels
        expected = float(np.mean([wrong[labels == c].mean() for c in checked[0]]))
    sentences = _sentences(results, rejected, kinds, expected)
    own = np.bincount(labels, minlength=len(proportions)) / len(labels)
    return ShiftReport(
        kinds=kinds,
        evidence=tuple(
            Evidence(name, float(statistic), float(p), sentences[name])
            for name, (statistic, p) in results.items()
        ),
        proportions=tuple(proportions.tolist()),
        source_proportions=tuple(own.tolist()),
        alpha=float(alpha),
        sizes=(len(X), len(target[0]), 0 if checked is None else len(checked[0])),
    )


def _tests(source, target, checked, alpha: float, seed: int):
    """(estimated proportions (K,), {test: (statistic, p value)}) of :func:`examine`."""
    X, labels, predictions = source
    seen = [labels, predictions, target[1], *(checked or ())]
    num_classes = max(2, 1 + max(int(one.max()) for one in seen))
    # so many that p can fall to alpha / 10, below Holm's least level of alpha / 5
    permutations = max(999, int(np.ceil(10 / alpha)) - 1)
    proportions = estimate_label_shift(predictions, labels, target[1], num_classes)
    results = {
        "inputs": classifier_test(X, target[0], 5, seed, permutations),
        "predicted classes": counts_test(predictions, target[1], seed),
        "label shift fit": label_shift_fit(
            source, target, proportions, seed, permutations
        ),
    }
    if checked is not None:
        results["checked classes"] = counts_test(labels, checked[0], seed)
        results["checked errors"] = (
            float((checked[0] != checked[1]).mean()),
            concept_shift_test(labels, predictions, *checked),
        )
    return proportions, results


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
    X, Y = arguments.pair(source[0], target[0], "examine", 5)
    labels, predictions = arguments.labelled(source[1], source[2], "examine: source")
    arguments.same_length("examine: source", features=X, labels=labels)
    target_predictions = arguments.classes(target[1], "examine: target")
    arguments.same_length("examine: target", features=Y, predictions=target_predictions)
    if checked is not None:
        checked = arguments.labelled(*checked, "examine: checked")
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
