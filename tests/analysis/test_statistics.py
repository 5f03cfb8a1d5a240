"""Intervals and tests against values worked out by hand, and by how often they hold."""

import numpy as np
import pytest
from scipy import stats

from course_lib.analysis import statistics
from course_lib.errors import CourseError


def test_interval_of_known_values():
    # Student's t for 4 degrees of freedom at 97.5 % is 2.776445.
    got = statistics.mean_and_interval([1, 2, 3, 4, 5])
    assert got.mean == 3 and got.n == 5
    assert got.half_width == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)
    assert str(statistics.mean_and_interval([0.9, 0.9])) == "0.900 ± 0.000"
    with pytest.raises(CourseError, match="spread"):
        statistics.mean_and_interval([1.0])


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [
        (i := statistics.mean_and_interval(rng.normal(0, 1, 4))).low <= 0 <= i.high
        for _ in range(1000)
    ]
    assert 0.93 < np.mean(inside) < 0.97


def test_pairing_removes_what_both_share():
    shared = np.array([0.0, 5.0, 10.0, 15.0])
    got = statistics.paired_difference(shared + [1.1, 0.9, 1.0, 1.0], shared)
    assert got.low > 0.8 and got.mean == pytest.approx(1.0)
    with pytest.raises(CourseError, match="seed"):
        statistics.paired_difference([1, 2], [1, 2, 3])


def test_the_interval_of_paired_accuracies_covers_what_it_says():
    rng = np.random.default_rng(0)
    n, truth, covered = 60, 0.10, 0
    for _ in range(1000):
        kind = rng.choice(4, n, p=[0.6, 0.2, 0.1, 0.1])  # both, ours, theirs, none
        found = statistics.paired_accuracies(
            (kind == 0) | (kind == 1), (kind == 0) | (kind == 2)
        )
        covered += found["low"] <= truth <= found["high"]
    assert 0.93 <= covered / 1000 <= 0.985


def test_equal_answers_give_no_difference_and_still_an_interval():
    right = np.arange(40) % 2 == 0
    found = statistics.paired_accuracies(right, right)
    assert found["mean"] == 0 and found["low"] < 0 < found["high"]
    assert found["ours_only"] == found["theirs_only"] == 0
    with pytest.raises(CourseError, match="paired_accuracies"):
        statistics.paired_accuracies(right, right[:3])


def test_the_interval_of_a_share_needs_a_share():
    assert statistics.wilson_interval(270, 270)[1] == 1.0
    for right, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(CourseError, match="wilson_interval"):
            statistics.wilson_interval(right, n)


def test_labels_needed_interpolates_in_the_logarithm():
    labels, curve = [10, 100, 1000], [0.5, 0.7, 0.9]
    assert statistics.labels_needed(labels, curve, 0.8) == pytest.approx(10**2.5)
    assert statistics.labels_needed(labels, curve, 0.7) == pytest.approx(100)
    assert statistics.labels_needed(labels, curve, 0.4) == 10
    assert np.isnan(statistics.labels_needed(labels, curve, 0.95))
    with pytest.raises(CourseError, match="increasing"):
        statistics.labels_needed([10, 5], [0.1, 0.2], 0.15)


# -- intervals of a gain -----------------------------------------------------------


def mean_squares(D):
    """The two-way table without replication, by sums of squares."""
    R, n = D.shape
    grand, rows, columns = D.mean(), D.mean(axis=1), D.mean(axis=0)
    of_rows = n * ((rows - grand) ** 2).sum() / (R - 1)
    of_columns = R * ((columns - grand) ** 2).sum() / (n - 1)
    whole = ((D - grand) ** 2).sum()
    rest = whole - (R - 1) * of_rows - (n - 1) * of_columns
    return of_rows, of_columns, rest / ((R - 1) * (n - 1))


def planted(rng, R=4, n=200, gain=0.05, repeats=0.02, pictures=0.25, noise=0.3):
    return (
        gain
        + rng.normal(0, repeats, (R, 1))
        + rng.normal(0, pictures, n)
        + rng.normal(0, noise, (R, n))
    )


def test_the_interval_is_that_of_two_crossed_random_effects():
    D = planted(np.random.default_rng(0), repeats=0.1)
    R, n = D.shape
    of_repeats, of_pictures, rest = mean_squares(D)
    variance = (of_repeats + of_pictures - rest) / (n * R) + 1 / (n + 2) ** 2
    degrees = (R - 1) * (variance / (of_repeats / (n * R))) ** 2
    half = stats.t.ppf(0.975, min(degrees, n - 1)) * variance**0.5
    interval = statistics.crossed_interval(D)
    assert interval["mean"] == pytest.approx(D.mean())
    assert interval["half_width"] == pytest.approx(half)
    assert interval["high"] - interval["low"] == pytest.approx(2 * half)


def test_with_one_source_of_chance_it_is_the_t_interval_of_that_one():
    rng = np.random.default_rng(1)
    by_repeat = rng.normal(0.1, 0.05, 5)
    interval = statistics.crossed_interval(
        np.repeat(by_repeat[:, None], 10_000, axis=1)
    )
    half = stats.t.ppf(0.975, 4) * stats.sem(by_repeat)
    assert interval["half_width"] == pytest.approx(half, rel=0.01)
    by_picture = rng.normal(0.1, 0.4, 500)
    interval = statistics.crossed_interval(np.repeat(by_picture[None], 3, axis=0))
    half = stats.t.ppf(0.975, 499) * stats.sem(by_picture)
    assert interval["half_width"] == pytest.approx(half, rel=0.02)


def test_classes_weigh_the_same_whatever_their_size():
    rng = np.random.default_rng(2)
    classes = np.repeat([0, 1], [20, 300])
    d = rng.normal(0, 0.3, 320) + 0.2 * (classes == 0)
    interval = statistics.crossed_interval(np.stack([d, d, d]), classes)
    parts = [d[classes == c] for c in (0, 1)]
    assert interval["mean"] == pytest.approx(np.mean([p.mean() for p in parts]))
    variance = sum(p.var(ddof=1) / len(p) for p in parts) / 4
    size = 4 / (1 / 20 + 1 / 300)
    variance += 1 / (size + 2) ** 2
    half = stats.t.ppf(0.975, 319) * variance**0.5
    assert interval["half_width"] == pytest.approx(half)


@pytest.mark.parametrize("repeats, pictures", [(0.0, 0.3), (0.05, 0.0), (0.03, 0.3)])
def test_the_interval_covers_the_truth_in_95_of_100_cases(repeats, pictures):
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        D = planted(rng, gain=0.05, repeats=repeats, pictures=pictures)
        interval = statistics.crossed_interval(D)
        covered += interval["low"] <= 0.05 <= interval["high"]
    assert covered >= 368  # 95 % of 400, less three standard deviations


def test_no_difference_seen_is_no_proof_of_none():
    few = statistics.crossed_interval(np.zeros((3, 30)))
    many = statistics.crossed_interval(np.zeros((3, 2000)))
    assert few["half_width"] > 0.05 and statistics.judge(few) == ("no evidence", 0)
    assert statistics.judge(many) == ("no difference", 0)


def test_repeats_that_share_pictures_get_a_wider_interval():
    values = np.array([0.02, 0.08, 0.05])
    interval = statistics.resampled_interval(
        values, n_train=40, n_test=20, pictures=100
    )
    variance = values.var(ddof=1) * (1 / 3 + 20 / 40) + 1 / 102**2
    half = stats.t.ppf(0.975, 2) * variance**0.5
    assert interval["half_width"] == pytest.approx(half)
    assert half > stats.t.ppf(0.975, 2) * stats.sem(values)


@pytest.mark.parametrize(
    "mean, half, kind, code",
    [
        (0.061, 0.012, "helps", 1),
        (-0.05, 0.02, "hurts", -1),
        (0.001, 0.018, "no difference", 0),
        (0.005, 0.019, "no evidence", 0),  # it may be 2.4 points
        (0.03, 0.05, "no evidence", 0),
        (0.012, 0.003, "no difference", 0),  # sure, and too little to matter
        (-0.022, 0.012, "hurts", -1),
        (-0.01, 0.03, "no evidence", 0),
    ],
)
def test_what_an_interval_allows_to_be_said(mean, half, kind, code):
    interval = dict(mean=mean, half_width=half, low=mean - half, high=mean + half)
    assert statistics.judge(interval) == (kind, code)


def test_more_is_needed_where_nothing_could_be_said():
    open_ = dict(mean=-0.017, low=-0.036, high=0.002, half_width=0.019)
    open_ |= dict(repeats=7, pictures=1000, repeat_variance=2e-4, picture_variance=0.06)
    more = statistics.size_needed(open_)
    assert statistics.judge(open_) == ("no evidence", 0)
    assert more["repeats"] > 7 or more["pictures"] > 1000


def test_what_matters_is_the_asker_s_to_say():
    small = dict(mean=-0.022, low=-0.034, high=-0.01, half_width=0.012)
    assert statistics.judge(small, matters=0.03) == ("hurts", -1)
    assert statistics.judge(small, matters=0.05) == ("no difference", 0)
    assert statistics.judge(dict(small, low=-0.06), matters=0.05) == ("hurts", -1)


def test_as_much_as_is_said_to_be_needed_decides():
    rng = np.random.default_rng(4)
    options = dict(gain=0.06, repeats=0.05, pictures=0.5)
    decided = 0
    for _ in range(20):
        interval = statistics.crossed_interval(planted(rng, 3, 80, **options))
        truth = dict(interval, mean=0.06)
        truth |= dict(repeat_variance=0.05**2, picture_variance=0.5**2)
        more = statistics.size_needed(truth)
        assert more["repeats"] >= 3 and more["pictures"] > 80
        D = planted(rng, more["repeats"], more["pictures"], noise=0.0, **options)
        decided += statistics.judge(statistics.crossed_interval(D))[1]
    assert decided >= 8  # half of them lie above, as twice the error is the gain


@pytest.mark.parametrize(
    "call",
    [
        lambda: statistics.crossed_interval(np.zeros((1, 30))),
        lambda: statistics.crossed_interval(np.zeros(30)),
        lambda: statistics.crossed_interval(np.zeros((3, 4)), [0, 1, 1, 1]),
        lambda: statistics.resampled_interval([0.1], 10, 5, 5),
    ],
)
def test_too_few_repeats_or_pictures_have_no_interval(call):
    with pytest.raises(CourseError, match="xpected"):
        call()
