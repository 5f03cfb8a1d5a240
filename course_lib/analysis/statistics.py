"""Statistics: spread over seeds, intervals of shares and of differences, gains judged.

A result without its spread is an anecdote.  Each interval says what it counts as drawn
at random: seeds and training sets (:func:`mean_and_interval`,
:func:`paired_difference`), test examples (:func:`wilson_interval`,
:func:`paired_accuracies`), or both (:func:`crossed_interval`,
:func:`resampled_interval`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from course_lib.errors import CourseError

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
MATTERS = 0.02  # the smallest gain that would change a decision, as a share

# -- over seeds -------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean with its confidence interval; prints as "0.912 ± 0.013"."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half_width:.3f}"


def t_half_width(error: float, degrees: float, confidence: float = 0.95) -> float:
    """Half the width of Student's t-interval of a mean with this standard error.

    scipy's own intervals (t.interval, ttest_1samp) give NaN or warn where all values
    are equal, as when every seed is right on every test example; this one gives 0.
    """
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, degrees) * error)


def mean_and_interval(values, confidence: float = 0.95) -> Interval:
    """Mean of one value a seed, with Student's t-interval (95 % by default).

    The interval says where the mean over all seeds probably lies, assuming that seeds
    scatter about normally.  Raises CourseError with fewer than two finite values.
    Student 1908.
    """
    from scipy.stats import sem

    values = np.asarray(values, dtype=np.float64).ravel()
    if len(values) < 2 or not np.isfinite(values).all():
        raise CourseError(
            f"mean_and_interval: {values.tolist()} has no spread. Expected two or more "
            "finite numbers, one for each seed."
        )
    mean = values.mean()
    half = t_half_width(sem(values), len(values) - 1, confidence)
    return Interval(float(mean), float(mean - half), float(mean + half), len(values))


def paired_difference(a, b, confidence: float = 0.95) -> Interval:
    """Interval of mean(a - b) where entry i of both used the same seed and data.

    Pairing removes what the two share, so that a small difference can be seen.  For two
    rows of right and wrong answers see :func:`paired_accuracies`.
    Raises CourseError on unequal lengths.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise CourseError(
            f"paired_difference: shapes {a.shape} and {b.shape}. Expected one value a "
            "seed on both sides, in the same order of seeds."
        )
    return mean_and_interval(a - b, confidence)


# -- over test examples -----------------------------------------------------------


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, right of n: of one accuracy, over the test examples.

    Never outside 0..1, and no point at 0 or n right.  Wilson 1927.
    """
    from scipy.stats import binomtest

    if not 0 <= right <= n or n < 1:
        raise CourseError(
            f"wilson_interval: {right} of {n}. Expected 0 <= right <= n and n >= 1."
        )
    found = binomtest(int(right), int(n)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def paired_accuracies(ours, theirs) -> dict:
    """Interval of the difference of two accuracies on the same n test examples.

    ours, theirs (n,): was each answer right?  95 %, from the examples on which exactly
    one of the two is right, with half an example added to each cell, so that it never
    shrinks to a point.  Returns {mean, low, high, ours_only, theirs_only}.  It counts
    the draw of the test examples alone; :func:`paired_difference` counts seeds and
    training sets alone, and :func:`crossed_interval` counts both.  Raises CourseError
    on unequal lengths.  Agresti & Min 2005.
    """
    ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise CourseError(
            f"paired_accuracies: shapes {ours.shape} and {theirs.shape}. Expected two "
            "rows of right and wrong of the same examples."
        )
    n = len(ours) + 2
    b, c = (ours & ~theirs).sum() + 0.5, (theirs & ~ours).sum() + 0.5
    centre = (b - c) / n
    half = Z95 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    return {
        "mean": float(ours.mean() - theirs.mean()),
        "low": float(max(-1, centre - half)),
        "high": float(min(1, centre + half)),
        "ours_only": int(b),
        "theirs_only": int(c),
    }


# -- over both: the interval of a gain, and what it allows to be said -----------------


def crossed_interval(differences, classes=None, confidence: float = 0.95) -> dict:
    """Interval of the mean of D (R, n): R repeats, all tested on the same n pictures.

    D[r, i] is how much righter one side was than the other on picture i in repeat r:
    1, 0 or -1.  The mean varies because other draws and seeds, and because other test
    pictures, would have given another one: two crossed random effects.  Its variance is
    MS_repeats / (nR) + MS_pictures / (nR) - MS_interaction / (nR), at least the larger
    of the first two, and Student's t has the degrees of freedom of Hillis 2007.
    ``classes`` (n,): the mean over classes of the means within, pictures being drawn
    within their class.  One discordant pair of pictures is added (Agresti & Min 2005):
    no difference seen on 50 pictures is no proof of none.  Returns {mean, low, high,
    half_width, repeats, pictures, repeat_variance, picture_variance, degrees}.
    Raises CourseError on fewer than two repeats or two pictures a class.
    Gallas 2006.
    """
    D = np.asarray(differences, dtype=np.float64)
    if D.ndim != 2 or len(D) < 2:
        raise CourseError(
            f"crossed_interval: differences of shape {D.shape}.\nExpected: (R, n), two "
            "repeats or more on the same n pictures."
        )
    R, n = D.shape
    classes = np.zeros(n, int) if classes is None else np.asarray(classes)
    parts = [D[:, classes == c] for c in np.unique(classes)]
    if min(part.shape[1] for part in parts) < 2:
        raise CourseError("crossed_interval: expected two pictures of each class.")
    share = 1 / len(parts)
    by_repeat = share * sum(part.mean(axis=1) for part in parts)  # (R,)
    repeat = by_repeat.var(ddof=1) / R
    picture = interaction = 0.0
    for part in parts:
        m, of_picture = part.shape[1], part.mean(axis=0)
        picture += share**2 * of_picture.var(ddof=1) / m
        rest = part - of_picture - part.mean(axis=1, keepdims=True) + part.mean()
        interaction += share**2 * (rest**2).sum() / ((R - 1) * (m - 1) * R * m)
    size = 1 / (share**2 * sum(1 / part.shape[1] for part in parts))
    picture += 1 / (size + 2) ** 2
    variance = max(repeat + picture - interaction, repeat, picture)
    degrees = n - 1.0
    if repeat > 0:
        degrees = min(degrees, (R - 1) * (variance / repeat) ** 2)
    about = dict(repeats=R, pictures=n, repeat_variance=repeat * R)
    about |= dict(picture_variance=max(picture - interaction, picture / 2) * n)
    return _about(by_repeat.mean(), variance, degrees, confidence) | about


def resampled_interval(
    gains, n_train: int, n_test: int, pictures: int, confidence: float = 0.95
) -> dict:
    """Interval of the mean gain (R,) over repeats that each had a test part of its own.

    The parts overlap, so that the repeats are no independent draws.  The variance is
    s^2 (1 / R + n_test / n_train) with R - 1 degrees of freedom (Nadeau & Bengio
    2003), and the same discordant pair as in :func:`crossed_interval`; ``pictures``
    counts the different ones tested on.
    """
    gains = np.asarray(gains, dtype=np.float64)
    if gains.ndim != 1 or len(gains) < 2:
        raise CourseError(
            f"resampled_interval: gains of shape {gains.shape}.\nExpected: (R,), one "
            "for each of two repeats or more."
        )
    R, spread = len(gains), gains.var(ddof=1)
    variance = spread * (1 / R + n_test / n_train) + 1 / (pictures + 2) ** 2
    about = dict(repeats=R, pictures=pictures, repeat_variance=spread)
    about |= dict(picture_variance=spread * n_test / n_train * pictures)
    return _about(gains.mean(), variance, R - 1, confidence) | about


def _about(mean, variance, degrees, confidence) -> dict:
    half = t_half_width(np.sqrt(variance), degrees, confidence)
    found = dict(mean=mean, low=mean - half, high=mean + half, half_width=half)
    found |= dict(degrees=degrees)
    return {key: float(value) for key, value in found.items()}


def judge(interval: Mapping, matters: float = MATTERS) -> tuple[str, int]:
    """(kind, code) of a gain: what its interval allows to be said.

    matters: the smallest gain that would change a decision.  "no difference", 0: the
    whole interval lies within +- matters, so that whatever the gain is, it is too small
    (a test of equivalence, Schuirmann 1987).  Else "helps", +1: the interval is above
    0.  "hurts", -1: below.  "no evidence", 0: all else.
    """
    low, high = interval["low"], interval["high"]
    if -matters < low and high < matters:
        return "no difference", 0
    if low > 0:
        return "helps", 1
    if high < 0:
        return "hurts", -1
    return "no evidence", 0


def size_needed(interval: Mapping, matters: float = MATTERS) -> dict:
    """{repeats, pictures} at which a gain of this size could be judged.

    About: twice the standard error is to be the way from this gain to 0, or to
    ``matters`` where that is the longer one.
    """
    gain = abs(interval["mean"])
    target = (max(gain, matters - gain) / 2) ** 2  # wanted variance
    picture = interval["picture_variance"] / interval["pictures"]
    pictures = interval["pictures"]
    if picture > target / 2:
        pictures = int(np.ceil(interval["picture_variance"] / (target / 2)))
        picture = target / 2
    repeats = int(np.ceil(interval["repeat_variance"] / (target - picture)))
    enough = repeats <= interval["repeats"] and pictures <= interval["pictures"]
    if enough and judge(interval, matters)[0] == "no evidence":  # by a hair
        repeats = interval["repeats"] + 1
    return {"repeats": max(repeats, interval["repeats"]), "pictures": pictures}


# -- tests ------------------------------------------------------------------------


def permutation_p(values) -> float:
    """p value of a permutation test: the share as large as the first, the observed."""
    return float((values >= values[0] - 1e-9 * max(abs(values[0]), 1e-3)).mean())


def holm(p_values: dict[str, float], alpha: float) -> set[str]:
    """Names of the hypotheses rejected, any error at most with probability alpha.

    p_values: {name: p}.  Holm 1979.
    """
    rejected: set[str] = set()
    for name in sorted(p_values, key=p_values.get):
        if p_values[name] > alpha / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected


# -- curves -----------------------------------------------------------------------


def labels_needed(labels, accuracies, target: float) -> float:
    """Labels at which a curve first reaches ``target``, linear in log(labels).

    labels (n,) increasing, accuracies (n,).  NaN when the curve never gets there; the
    first label count when it starts above.  The ratio of two such numbers is the data
    efficiency of transfer.
    """
    labels = np.asarray(labels, dtype=np.float64)
    accuracies = np.asarray(accuracies, dtype=np.float64)
    if labels.shape != accuracies.shape or (np.diff(labels) <= 0).any():
        raise CourseError(
            f"labels_needed: labels {labels.tolist()} and {len(accuracies)} accuracies."
            " Expected increasing label counts and one accuracy for each."
        )
    reached = np.flatnonzero(accuracies >= target)
    if not len(reached):
        return float("nan")
    i = reached[0]
    if i == 0:
        return float(labels[0])
    below, above = accuracies[i - 1], accuracies[i]
    share = (target - below) / (above - below)
    return float(np.exp(np.interp(share, [0, 1], np.log(labels[i - 1 : i + 1]))))
