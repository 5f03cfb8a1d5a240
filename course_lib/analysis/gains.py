"""How sure is a gain?  Intervals of a difference between two ways to train, judged.

A gain is a mean over draws of training pictures and over test pictures, and both could
have been others.  An interval that counts only one of them is too narrow.  Lesson 12.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from course_lib.errors import CourseError

__all__ = ["crossed_interval", "judge", "needed", "resampled_interval"]

MATTERS = 0.02  # the smallest gain that would change a decision, as a share


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
    Gallas 2006; lesson 12.
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
    return _interval(by_repeat.mean(), variance, degrees, confidence) | about


def resampled_interval(
    gains, n_train: int, n_test: int, pictures: int, confidence: float = 0.95
) -> dict:
    """Interval of the mean gain (R,) over repeats that each had a test part of its own.

    The parts overlap, so that the repeats are no independent draws.  The variance is
    s^2 (1 / R + n_test / n_train) with R - 1 degrees of freedom (Nadeau & Bengio
    2003), and the same discordant pair as in :func:`crossed_interval`; ``pictures``
    counts the different ones tested on.  Lesson 12.
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
    return _interval(gains.mean(), variance, R - 1, confidence) | about


def _interval(mean, variance, degrees, confidence) -> dict:
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, degrees) * np.sqrt(variance))
    found = dict(mean=mean, low=mean - half, high=mean + half, half_width=half)
    return {key: float(value) for key, value in found.items()} | {
        "degrees": float(degrees)
    }


def judge(interval: Mapping, matters: float = MATTERS) -> tuple[str, int]:
    """(kind, code) of a gain: what its interval allows to be said.

    matters: the smallest gain that would change a decision.  "no difference", 0: the
    whole interval lies within +- matters, so that whatever the gain is, it is too small
    (a test of equivalence, Schuirmann 1987).  Else "helps", +1: the interval is above
    0.  "hurts", -1: below.  "no evidence", 0: all else.  Lesson 12.
    """
    low, high = interval["low"], interval["high"]
    if -matters < low and high < matters:
        return "no difference", 0
    if low > 0:
        return "helps", 1
    if high < 0:
        return "hurts", -1
    return "no evidence", 0


def needed(interval: Mapping, matters: float = MATTERS) -> dict:
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
