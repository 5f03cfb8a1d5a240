"""Conformal sets and the temperature, on planted probabilities."""

import numpy as np
import pytest

from course_lib.analysis import calibration, conformal
from course_lib.errors import CourseError


def planted(n, seed, classes=3):
    """Probabilities and labels that are drawn from them: calibrated by construction."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(classes), n)
    labels = (P.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    return P, labels


def test_the_quantile_is_the_one_of_the_definition():
    assert conformal.quantile(np.arange(1.0, 10), 0.1) == 9  # the 9th of 9
    assert conformal.quantile(np.arange(1.0, 20), 0.1) == 18  # ceil(20 * .9)
    assert conformal.quantile([0.5, 0.6], 0.1) == np.inf  # two promise nothing


def test_sets_cover_what_they_promise():
    hits = []
    for seed in range(200):
        (P, y), (Q, z) = planted(50, seed), planted(50, 1000 + seed)
        q = conformal.quantile(conformal.scores(P, y), 0.2)
        sets = conformal.prediction_sets(Q, q)
        hits.append(sets[np.arange(50), z].mean())
    assert 0.79 < np.mean(hits) < 0.84  # at least 0.8, at most 0.8 + 1 / 51


def test_equal_weights_give_the_plain_quantile():
    s = np.random.default_rng(0).random(37)
    for weight in (1.0, 0.3):
        own = conformal.weighted_quantiles(
            s, np.full(37, weight), np.full(4, weight), 0.1
        )
        assert np.allclose(own, conformal.quantile(s, 0.1))


def test_weights_restore_the_coverage_that_a_shift_takes():
    """Scores depend on x; the target has more of the x with high scores."""
    rng = np.random.default_rng(0)
    plain, weighted = [], []
    for _ in range(100):
        x = rng.random(200) < 0.2
        s = rng.random(200) + x
        there = rng.random(200) < 0.8
        t = rng.random(200) + there
        ratio = np.array([0.25, 4.0])
        own = conformal.weighted_quantiles(
            s, ratio[x.astype(int)], ratio[there.astype(int)], 0.1
        )
        weighted.append((t <= own).mean())
        plain.append((t <= conformal.quantile(s, 0.1)).mean())
    assert np.mean(plain) < 0.65 and 0.89 < np.mean(weighted) < 0.93


def test_wrong_input_is_refused():
    with pytest.raises(CourseError, match="alpha"):
        conformal.quantile([0.1], 1.0)
    with pytest.raises(CourseError, match="a weight >= 0"):
        conformal.weighted_quantiles([0.1, 0.2], [1.0], [1.0])


def test_the_temperature_undoes_overconfidence():
    P, y = planted(4000, 0)
    assert calibration.temperature(3 * np.log(P), y) == pytest.approx(3, abs=0.2)
    assert calibration.temperature(np.log(P), y) == pytest.approx(1, abs=0.07)
