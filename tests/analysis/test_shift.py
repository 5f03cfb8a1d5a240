"""Domain shift: closed forms, planted shifts, and tests that keep their level."""

import itertools
import json
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from course_lib.analysis import calibration, distances, shift, statistics, subgroups
from course_lib.errors import CourseError

ALPHA = 0.05


def two_samples(n, m, features, seed, by=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, features)), rng.normal(size=(m, features)) * spread
    Y[:, 0] += by
    return X, Y


def keeps_its_level(p_values, alpha=ALPHA):
    """Rejections are no more than a valid test would have in 999 of 1,000 runs."""
    most = stats.binom.ppf(0.999, len(p_values), alpha)
    return (np.asarray(p_values) <= alpha).sum() <= most


# -- maximum mean discrepancy -----------------------------------------------------


def test_mmd_by_three_loops():
    X, Y = two_samples(7, 5, 3, seed=0, by=1.0)
    pooled = [*X, *Y]
    pairs = itertools.combinations(pooled, 2)
    bandwidth = np.median([np.linalg.norm(a - b) for a, b in pairs])

    def k(a, b):
        return np.exp(-np.sum((a - b) ** 2) / (2 * bandwidth**2))

    within_X = np.mean([k(a, b) for a, b in itertools.permutations(X, 2)])
    within_Y = np.mean([k(a, b) for a, b in itertools.permutations(Y, 2)])
    between = np.mean([k(a, b) for a in X for b in Y])
    expected = within_X + within_Y - 2 * between
    assert distances.mmd(X, Y) == pytest.approx(expected, abs=1e-12)
    assert distances.mmd(X, Y, bandwidth) == pytest.approx(expected, abs=1e-12)
    assert distances.mmd(Y, X) == pytest.approx(expected, abs=1e-12)
    far = distances.mmd(X + 1e6, Y + 1e6)  # nothing is lost far from the origin
    assert far == pytest.approx(expected, abs=1e-6)


def test_mmd_is_unbiased_between_gaussians():
    d, width, by = 3, 1.5, 0.8
    inside = (width**2 / (width**2 + 2)) ** (d / 2)
    expected = 2 * inside * (1 - np.exp(-(by**2) / (2 * (width**2 + 2))))
    for shift_by, closed in ((0.0, 0.0), (by, expected)):
        values = [
            distances.mmd(*two_samples(20, 30, d, seed, shift_by), width)
            for seed in range(400)
        ]
        error = np.std(values) / np.sqrt(len(values))
        assert np.mean(values) == pytest.approx(closed, abs=4 * error)


def test_mmd_is_tested_against_divisions_of_the_pooled_rows():
    X, Y = two_samples(8, 12, 3, 0, 2.0)
    found, p = distances.mmd_test(X, Y, permutations=99)
    assert found == pytest.approx(distances.mmd(X, Y), abs=1e-12)
    assert p == 0.01
    Z, rng = np.concatenate([X, Y]), np.random.default_rng(0)
    marks = rng.permuted(np.tile(np.repeat([1.0, 0.0], [8, 12]), (3, 1)), axis=1) == 1
    by_hand = [distances.mmd(Z[m], Z[~m]) for m in marks]  # the same pooled width
    assert distances.mmd_test(X, Y, permutations=3)[1] == np.mean(
        [True, *(np.array(by_hand) >= found)]
    )
    p_values = [distances.mmd_test(*two_samples(15, 15, 3, s))[1] for s in range(60)]
    assert keeps_its_level(p_values)


def test_mmd_of_rows_that_are_alike():
    X = np.ones((4, 2))
    assert distances.mmd(X, X) == 0
    Y = np.concatenate([np.ones((9, 2)), np.zeros((1, 2))])  # the median distance is 0
    assert np.isfinite(distances.mmd(X, Y))


# -- level and power of the two-sample tests --------------------------------------


def p_classifier(X, Y, seed):
    return distances.classifier_test(X, Y, seed=seed, permutations=99)[1]


@pytest.mark.parametrize("test", [p_classifier])
@pytest.mark.parametrize("n, m, features", [(20, 35, 3), (15, 15, 40)])
def test_level_on_equal_domains(test, n, m, features):
    p_values = [test(*two_samples(n, m, features, s), s) for s in range(200)]
    assert keeps_its_level(p_values)
    assert np.mean(np.array(p_values) <= 0.5) > 0.3  # nor is it asleep


@pytest.mark.parametrize("test", [p_classifier])
@pytest.mark.parametrize("by, spread", [(1.0, 1.0), (0.0, 1.8)])
def test_power_on_another_mean_or_spread(test, by, spread):
    found = [test(*two_samples(60, 90, 4, s, by, spread), s) <= 0.01 for s in range(20)]
    assert sum(found) >= 18


def slow_discriminant(X, Y, folds, fold_of):
    """Nearest class mean after sklearn's Ledoit-Wolf whitening, fold by fold."""
    Z = np.concatenate([X, Y])
    Z = (Z - Z.mean(0)) / Z.std(0)
    squares = np.clip(Z, -3, 3) ** 2
    Z = np.concatenate([Z, (squares - squares.mean(0)) / squares.std(0)], axis=1)
    precision = np.linalg.inv(LedoitWolf().fit(Z).covariance_)
    in_X = np.arange(len(Z)) < len(X)
    right = np.zeros(len(Z), dtype=bool)
    for fold in range(folds):
        train = fold_of != fold
        means = [Z[train & in_X].mean(0), Z[train & ~in_X].mean(0)]
        for i in np.flatnonzero(~train):
            distance = [(Z[i] - mean) @ precision @ (Z[i] - mean) for mean in means]
            right[i] = (distance[0] < distance[1]) == in_X[i]
    return (right[in_X].mean() + right[~in_X].mean()) / 2


@pytest.mark.parametrize("n, m, features", [(40, 70, 3), (20, 25, 30)])
def test_classifier_accuracy_step_by_step(n, m, features):
    X, Y = two_samples(n, m, features, seed=4, by=0.8)
    rng = np.random.default_rng(7)  # as classifier_test assigns the folds
    fold_of = np.concatenate([rng.permutation(np.arange(k) % 5) for k in (n, m)])
    expected = slow_discriminant(X, Y, 5, fold_of)
    accuracy, _ = distances.classifier_test(X, Y, seed=7, permutations=9)
    assert accuracy == pytest.approx(expected, abs=1e-12)


def test_classifier_accuracy_is_that_of_the_gaussians():
    X, Y = two_samples(3000, 1000, 2, seed=0, by=1.5)
    accuracy, p = distances.classifier_test(X, Y, permutations=99)
    assert accuracy == pytest.approx(stats.norm.cdf(0.75), abs=0.03)
    assert p == 0.01
    X = np.ones((10, 3))
    assert distances.classifier_test(X, X) == (0.5, 1.0)


def test_proxy_a_distance():
    for by in (0.0, 1.0, 2.0):
        X, Y = two_samples(1500, 500, 2, seed=1, by=by)
        expected = 2 * (1 - 2 * stats.norm.cdf(-by / 2))
        assert distances.proxy_a_distance(X, Y) == pytest.approx(expected, abs=0.12)
    X, Y = two_samples(30, 30, 2, seed=1, by=20)
    assert distances.proxy_a_distance(X, Y) == 2
    assert distances.proxy_a_distance(*two_samples(20, 20, 50, seed=2)) >= 0


def test_global_random_state_is_left_alone():
    X, Y = two_samples(20, 20, 2, seed=0)
    before = np.random.get_state()[1].copy()
    first = distances.classifier_test(X, Y)
    assert (np.random.get_state()[1] == before).all()
    assert first == distances.classifier_test(X, Y)


# -- Frechet distance -------------------------------------------------------------


def with_moments(n, mean, covariance, seed):
    """Rows whose sample mean and covariance are exactly these."""
    Z = np.random.default_rng(seed).normal(size=(n, len(mean)))
    Z = Z - Z.mean(axis=0)
    Z = Z @ np.linalg.inv(np.linalg.cholesky(np.cov(Z, rowvar=False))).T
    return Z @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_commuting_covariances():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    a, b = rng.uniform(0.2, 4, 5), rng.uniform(0.2, 4, 5)
    means = rng.normal(size=(2, 5))
    X = with_moments(40, means[0], Q @ np.diag(a) @ Q.T, 1)
    Y = with_moments(30, means[1], Q @ np.diag(b) @ Q.T, 2)
    expected = ((means[0] - means[1]) ** 2).sum() + ((a**0.5 - b**0.5) ** 2).sum()
    assert distances.frechet_distance(X, Y) == pytest.approx(expected)
    assert distances.frechet_distance(Y, X) == pytest.approx(expected)


@pytest.mark.parametrize("n, m", [(12, 9), (60, 80)])
def test_frechet_by_matrix_roots(n, m):
    X, Y = two_samples(n, m, 30, seed=5, by=2.0, spread=1.5)
    A, B = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    values, vectors = np.linalg.eigh(A)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ B @ root).clip(0)).sum()
    means = ((X.mean(0) - Y.mean(0)) ** 2).sum()
    expected = means + np.trace(A) + np.trace(B) - 2 * shared
    assert distances.frechet_distance(X, Y) == pytest.approx(expected, rel=1e-5)
    assert distances.frechet_distance(Y, X) == pytest.approx(
        distances.frechet_distance(X, Y)
    )
    assert distances.frechet_distance(X, X) == pytest.approx(0, abs=1e-9)
    assert distances.frechet_distance(X, X + 3) == pytest.approx(30 * 9)


# -- label shift ------------------------------------------------------------------


def repeated(table):
    """Labels and predictions whose confusion counts [predicted, label] are these."""
    predictions, labels = np.indices(np.shape(table))
    times = np.ravel(table)
    return labels.ravel().repeat(times), predictions.ravel().repeat(times)


CONFUSION = np.array([[80, 5, 10], [15, 40, 0], [5, 5, 90]])  # of 100, 50, 100


def test_label_shift_is_recovered_exactly():
    labels, predictions = repeated(CONFUSION)
    wanted = np.array([0.2, 0.5, 0.3])
    counts = CONFUSION / CONFUSION.sum(axis=0) @ wanted * 1000
    assert np.allclose(counts, counts.round())
    target = np.arange(3).repeat(counts.round().astype(int))
    found = shift.estimate_label_shift(predictions, labels, target, 3)
    assert found == pytest.approx(wanted, abs=1e-4)


def test_label_shift_outside_the_simplex_is_least_squares():
    labels, predictions = repeated(CONFUSION)
    target = np.arange(3).repeat([96, 1, 3])
    A, q = CONFUSION / CONFUSION.sum(axis=0), np.array([0.96, 0.01, 0.03])
    best = optimize.minimize(
        lambda p: ((A @ p - q) ** 2).sum(),
        np.ones(3) / 3,
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14},
    )
    found = shift.estimate_label_shift(predictions, labels, target, 3)
    assert found == pytest.approx(best.x, abs=1e-4)
    assert found.sum() == pytest.approx(1) and found.min() == 0


def test_what_predictions_leave_open_stays_as_in_the_source():
    labels = np.array([0] * 10 + [1] * 30 + [2] * 40)
    predictions = np.where(labels == 2, 2, 0)  # 0 and 1 are never told apart
    found = shift.estimate_label_shift(predictions, labels, [0, 0, 0, 2], 4)
    assert found == pytest.approx([0.1875, 0.5625, 0.25, 0], abs=1e-4)


def test_predicted_counts_against_scipy():
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 4, 200), rng.integers(0, 3, 150)
    table = [np.bincount(one, minlength=4) for one in (source, target)]
    expected = stats.chi2_contingency(table).pvalue
    found = shift.counts_test(source, target, 0)[1]
    assert found == pytest.approx(expected) and found < 1e-6
    assert shift.counts_test(source, source, 0)[1] == pytest.approx(1)
    small = stats.chi2_contingency([[9, 1], [1, 3]], correction=False).statistic
    few = shift.counts_test(np.repeat([0, 1], [9, 1]), np.repeat([0, 1], [1, 3]), 0)
    assert few[0] == pytest.approx(small)
    exact = stats.fisher_exact([[9, 1], [1, 3]]).pvalue  # here the same ordering
    assert few[1] == pytest.approx(exact, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("n, m", [(12, 8), (200, 60)])
def test_predicted_counts_keep_their_level(n, m):
    p = [0.5, 0.3, 0.15, 0.05]
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        source, target = rng.choice(4, n, p=p), rng.choice(4, m, p=p)
        p_values.append(shift.counts_test(source, target, seed)[1])
    assert keeps_its_level(p_values)


def test_resample_to():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    chosen = shift.resample_to(labels, [0.25, 0.5, 0.25], 40, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 20, 10]
    assert len(np.unique(chosen)) == 40  # nothing twice while there is enough
    assert (chosen == shift.resample_to(labels, [0.25, 0.5, 0.25], 40, seed=1)).all()
    assert (chosen != shift.resample_to(labels, [0.25, 0.5, 0.25], 40, seed=2)).any()
    many = shift.resample_to(labels, [0, 0, 1], 50)
    assert set(np.bincount(many)[80:].tolist()) == {2, 3}
    thirds = shift.resample_to(labels, np.ones(3) / 3, 50)
    assert sorted(np.bincount(labels[thirds])) == [16, 17, 17]
    size = shift.largest_resample(labels, np.array([0.1, 0.1, 0.8]))
    assert size == 25
    with pytest.raises(CourseError, match="class 3"):
        shift.resample_to(labels, [0.5, 0, 0, 0.5], 10)
    for bad in ([0.5, 0.6], [1.5, -0.5], [np.nan, 1], 1.0):
        with pytest.raises(CourseError, match="summing to 1"):
            shift.resample_to(labels, bad, 10)


# -- concept shift ----------------------------------------------------------------


def test_one_class_is_fishers_exact_test():
    labels, predictions = np.zeros(30, int), np.repeat([0, 1], [25, 5])
    checked, said = np.zeros(12, int), np.repeat([0, 1], [6, 6])
    expected = stats.fisher_exact([[6, 6], [5, 25]], alternative="greater").pvalue
    found = shift.concept_shift_test(labels, predictions, checked, said)
    assert found == pytest.approx(expected)


def test_classes_are_strata():
    """Against 20,000 permutations of the domains within each class."""
    labels, predictions = repeated([[30, 6, 2], [4, 12, 1], [1, 2, 9]])
    checked, said = repeated([[5, 3, 0], [1, 8, 1], [1, 0, 2]])
    domain = np.repeat([0, 1], [len(labels), len(checked)])
    label = np.concatenate([labels, checked])
    wrong = np.concatenate([predictions, said]) != label
    observed, rng, errors = (said != checked).sum(), np.random.default_rng(0), 0
    for c in range(3):
        rows = np.tile(domain[label == c], (20_000, 1))
        errors = errors + (rng.permuted(rows, axis=1) * wrong[label == c]).sum(axis=1)
    found = shift.concept_shift_test(labels, predictions, checked, said)
    assert found == pytest.approx((errors >= observed).mean(), abs=0.015)


def test_other_proportions_are_no_concept_shift():
    """Class 1 is hard and the target is full of it; the error soars all the same."""
    error, p_values, raw = np.array([0.02, 0.4]), [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels, checked = rng.choice(2, 150, p=[0.8, 0.2]), np.ones(40, int)
        said = np.where(rng.random(150) < error[labels], 1 - labels, labels)
        checked_said = np.where(rng.random(40) < error[checked], 0, 1)
        p_values.append(shift.concept_shift_test(labels, said, checked, checked_said))
        raw.append((checked_said != checked).mean() - (said != labels).mean())
    assert keeps_its_level(p_values)
    assert np.mean(raw) > 0.25


# -- telling them apart -----------------------------------------------------------

EVEN, UNEVEN = np.full(4, 0.25), np.array([0.55, 0.05, 0.3, 0.1])


@cache
def world(kind, seed, n=300, checked=80, features=8, weak=False):
    """Source, target, checked, of four Gaussian classes and a logistic regression.

    weak: the predictor sees two of the features only.
    """
    rng = np.random.default_rng((seed, features))
    means = rng.normal(size=(4, features)) * 1.2
    seen = slice(0, 2 if weak else features)

    def draw(size, proportions):
        y = rng.choice(4, size, p=proportions)
        return means[y] + rng.normal(size=(size, features)) * (
            0.8 + 0.2 * y[:, None]
        ), y

    X, y = draw(400, EVEN)
    model = LogisticRegression(max_iter=1000).fit(X[:, seen], y)
    X, y = draw(n, EVEN)
    Y, z = draw(n + checked, UNEVEN if "label" in kind else EVEN)
    if "covariate" in kind:  # another offset and gain for each feature
        Y = Y * rng.uniform(0.7, 1.3, features) + rng.normal(size=features) * 0.5
    if "concept" in kind:  # half of class 0 is now filed as 1, half of class 2 as 3
        z = z + ((z % 2 == 0) & (Y[:, 0] > means[z, 0]))
    says, said = model.predict(X[:, seen]), model.predict(Y[:, seen])
    return (X, y, says), (Y[:n], said[:n]), (z[n:], said[n:])


PLANTED = {
    "none": (),
    "covariate": ("covariate shift",),
    "label": ("label shift",),
    "concept": ("concept shift",),
    "label and concept": ("label shift", "concept shift"),
    "covariate and label": ("covariate shift", "label shift"),
}


@pytest.mark.parametrize("features", [8, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", PLANTED)
def test_planted_shifts_are_told_apart(kind, features):
    found = Counter()
    for seed in range(20):
        report = shift.examine(*world(kind, seed, features=features), seed=seed)
        found[report.kinds] += 1
    assert found[PLANTED[kind]] >= 18, found
    if kind == "none":
        assert sum(found.values()) - found[()] <= 1, found
    if "concept" not in kind:
        assert not any("concept shift" in kinds for kinds in found), found


def test_without_labels_concept_shift_is_not_seen():
    for seed in range(5):
        source, target, _ = world("concept", seed)
        report = shift.examine(source, target, seed=seed)
        assert "concept shift" not in report.kinds
        assert "cannot be seen without target labels" in str(report)
        source, target, _ = world("covariate and label", seed)
        assert shift.examine(source, target).kinds == ("covariate shift",)


@pytest.mark.slow
def test_level_of_the_whole_examination():
    """No shift: whatever is reported, it is reported with probability alpha at most."""
    false = []
    for seed in range(60):
        case = world("none", 100 + seed, n=60, checked=30)
        false.append(bool(shift.examine(*case, alpha=ALPHA, seed=seed).kinds))
    assert sum(false) <= stats.binom.ppf(0.999, 60, ALPHA)


@pytest.mark.slow
def test_level_of_the_fit_with_a_weak_predictor():
    """The proportions are then estimated badly, and plain resampling goes wrong."""
    p_values, plain = [], []
    for seed in range(60):
        (X, y, says), (Y, said), _ = world("label", 200 + seed, weak=True)
        p = shift.estimate_label_shift(says, y, said, 4)
        fit = shift.label_shift_fit((X, y, says), (Y, said), p, seed, 99)
        p_values.append(fit[1])
        chosen = shift.resample_to(y, p, shift.largest_resample(y, p), seed)
        again = distances.classifier_test(X[chosen], Y, seed=seed, permutations=99)
        plain.append(again[1])
    assert keeps_its_level(p_values)
    assert np.mean(np.array(plain) <= ALPHA) > np.mean(np.array(p_values) <= ALPHA)


def test_errors_under_covariate_shift_prove_no_concept_shift():
    source, target, checked = world("covariate", 0)
    labels = (checked[0] + 1) % 4  # everything is wrong
    report = shift.examine(source, target, (labels, checked[1]))
    assert "covariate shift" in report.kinds and "concept shift" not in report.kinds
    row = report.evidence[-1]
    assert row.test == "checked errors" and row.p_value < 1e-6
    assert "not separable from covariate shift" in row.sentence
    assert row.statistic == (labels != checked[1]).mean()


def test_too_few_source_examples_to_compare():
    X, Y = two_samples(40, 60, 3, seed=0)
    y = np.repeat([0, 1], [36, 4])
    report = shift.examine((X, y, y), (Y, np.ones(60, int)))
    assert report.kinds == ("unclear shift",)
    assert report.proportions == pytest.approx((0, 1), abs=1e-4)
    row = report.evidence[2]
    assert np.isnan(row.p_value) and "Too few" in row.sentence
    assert report.to_dict()["evidence"][2]["p_value"] is None


def test_a_constant_predictor_is_survived():
    X, Y = two_samples(40, 40, 3, seed=0)
    y, same = np.arange(40) % 2, np.zeros(40, int)
    assert shift.examine((X, y, same), (Y, same)).kinds == ()
    assert shift.examine((X, same, same), (Y, same)).kinds == ()


def test_report():
    source, target, checked = world("label", 1)
    report = shift.examine(source, target, checked, seed=3)
    text = str(report)
    assert text.startswith("Label shift, at the level 0.01.\n")
    assert "nothing is left that other proportions would not explain" in text
    assert "nan" not in text and "no proof" not in text
    data = report.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [row["test"] for row in data["evidence"]] == [
        "inputs",
        "predicted classes",
        "label shift fit",
        "checked classes",
        "checked errors",
    ]
    assert report.proportions == pytest.approx(UNEVEN, abs=0.08)
    assert report.source_proportions == pytest.approx(EVEN, abs=0.08)
    assert report.sizes == (300, 300, 80)
    assert report == shift.examine(source, target, checked, seed=3)
    none = str(shift.examine(*world("none", 0)))
    assert none.startswith("No shift seen") and "no proof" in none


def test_holm():
    found = statistics.holm({"a": 0.03, "b": 0.012, "c": 0.6, "d": 0.01}, 0.05)
    assert found == {"b", "d"}  # 0.01 <= .05/4, 0.012 <= .05/3, 0.03 > .05/2
    assert statistics.holm({"a": 0.02, "b": 0.04}, 0.05) == {"a", "b"}
    assert statistics.holm({"a": 0.03, "b": 0.04}, 0.05) == set()


@pytest.mark.slow
def test_a_thousand_examples_of_256_features_take_seconds():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 1000, 256))
    y, z = rng.integers(0, 5, (2, 1000))
    start = time.process_time()
    shift.examine((X, y, y), (Y, z), (z[:50], z[:50]))
    middle = time.process_time()
    assert middle - start < 5


# -- subgroups and calibration ----------------------------------------------------


def test_subgroups_have_wilson_intervals():
    labels = np.zeros(100, int)
    predictions = np.zeros(100, int)
    predictions[:12] = 1
    groups = ["a"] * 40 + ["b"] * 59 + [("c", 1)]
    table = subgroups.subgroup_table(labels, predictions, groups)
    assert [row["group"] for row in table] == ["a", "b", ("c", 1)]
    assert [row["n"] for row in table] == [40, 59, 1]
    for row in table:
        right = round(row["accuracy"] * row["n"])
        interval = stats.binomtest(right, row["n"]).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert table[0]["accuracy"] == 0.7


def test_each_column_is_audited_by_itself():
    labels, predictions = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1])
    columns = {
        "tool": np.array(["A", "B", "A", "B"]),
        "lot": np.array([1.0, 1.0, 1.0, np.nan]),
    }
    table = subgroups.subgroup_table(labels, predictions, columns)
    found = [(row["column"], row["group"], row["n"]) for row in table]
    expected = [("tool", "A", 2), ("tool", "B", 2), ("lot", 1.0, 3)]
    assert found == [*expected, ("lot", "missing", 1)]
    json.dumps(table)


def test_calibration_by_hand():
    P = np.array([[0.95, 0.05], [0.9, 0.1], [0.3, 0.7], [0.65, 0.35], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 0, 1])
    rows = calibration.reliability(P, labels, bins=5)
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [
        (0.4, 0.6, 1),
        (0.6, 0.8, 2),
        (0.8, 1.0, 2),
    ]
    assert [row["accuracy"] for row in rows] == [0, 1, 0.5]
    assert [row["confidence"] for row in rows] == pytest.approx([0.5, 0.675, 0.925])
    expected = (0.5 * 1 + 0.325 * 2 + 0.425 * 2) / 5
    found = calibration.expected_calibration_error(P, labels, bins=5)
    assert found == pytest.approx(expected)
    edge = calibration.reliability([[0.6, 0.4]], [0], bins=5)
    assert edge[0]["high"] == 0.6  # a bin holds its upper end


def test_calibrated_probabilities_have_little_error():
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(4), 20_000)
    labels = (rng.random((20_000, 1)) > P.cumsum(axis=1)).sum(axis=1)
    assert calibration.expected_calibration_error(P, labels) < 0.015
    sharp = P**3 / (P**3).sum(axis=1, keepdims=True)
    assert calibration.expected_calibration_error(sharp, labels) > 0.15


# -- bad input --------------------------------------------------------------------

GOOD = np.random.default_rng(0).normal(size=(8, 3))
NAMES = ["mmd", "mmd_test", "proxy_a_distance", "classifier_test", "frechet_distance"]


@pytest.mark.parametrize("name", NAMES)
def test_bad_features_are_named(name):
    measure = getattr(distances, name)
    hole = GOOD.copy()
    hole[2, 1] = np.nan
    for bad, says in (
        (hole, "NaN"),
        (GOOD[:0], "shape"),
        (GOOD[:, 0], "shape"),
        (GOOD[:1], "shape"),
        (GOOD[:, :0], "shape"),
        (GOOD[:, :2], "2 features"),
    ):
        with pytest.raises(CourseError, match=f"{name}(.|\n)*{says}"):
            measure(bad, GOOD)
        with pytest.raises(CourseError, match=name):
            measure(GOOD, bad)
    assert np.isfinite(measure(GOOD[:, :1], GOOD[:, 1:2])).all()  # one feature is fine


def test_bad_settings_are_named():
    with pytest.raises(CourseError, match="bandwidth"):
        distances.mmd(GOOD, GOOD, bandwidth=0)
    with pytest.raises(CourseError, match="folds"):
        distances.classifier_test(GOOD, GOOD, folds=1)
    with pytest.raises(CourseError, match="N >= 9"):
        distances.proxy_a_distance(GOOD, GOOD, folds=9)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [[0], [1]], [-1, 0], [0, 5]])
def test_bad_labels_are_named(bad):
    with pytest.raises(CourseError, match="whole numbers"):
        shift.estimate_label_shift([0, 1], [0, 1], bad, 3)


def test_bad_examinations_are_named():
    y = np.arange(8) % 2
    source, target = (GOOD, y, y), (GOOD, y)
    for arguments, says in (
        (((GOOD, y), target), "source is not a tuple of 3"),
        ((source, GOOD), "target is not a tuple of 2"),
        ((source, target, (y,)), "checked is not a tuple of 2"),
        (((GOOD, y[:5], y), target), "5 labels, 8 predictions"),
        ((source, (GOOD, y[:5])), "8 features, 5 predictions"),
        ((source, (GOOD[:, :2], y)), "3 features on one side"),
        ((source, (GOOD[:4], y[:4])), "N >= 5"),
        ((source, (GOOD * np.nan, y)), "NaN"),
        ((source, target, ([2], [1])), "class 2"),
        ((source, target, ([], [])), "checked"),
    ):
        with pytest.raises(CourseError, match=says):
            shift.examine(*arguments)
    with pytest.raises(CourseError, match="alpha"):
        shift.examine(source, target, alpha=1.0)
    with pytest.raises(CourseError, match="class 7"):
        shift.concept_shift_test(y, y, [7], [1])


def test_bad_tables_are_named():
    with pytest.raises(CourseError, match="2 labels, 1 groups"):
        subgroups.subgroup_table([0, 1], [0, 1], ["a"])
    with pytest.raises(CourseError, match="probabilities"):
        calibration.reliability([[0.5, 0.6]], [0])
    with pytest.raises(CourseError, match="NaN"):
        calibration.expected_calibration_error([[np.nan, 0.6]], [0])
    with pytest.raises(CourseError, match="whole numbers"):
        calibration.expected_calibration_error([[0.4, 0.6]], [2])
    with pytest.raises(CourseError, match="bins"):
        calibration.reliability([[0.4, 0.6]], [0], bins=0)
