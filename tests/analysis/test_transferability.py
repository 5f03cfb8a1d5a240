"""Transferability scores against computations that share no code with them."""

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.neighbors import KNeighborsClassifier

from course_lib.analysis import transferability as score
from course_lib.errors import CourseError


def example(n=60, d=8, classes=3, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = rng.normal(size=(classes, d)) * spread
    return centres[y] + rng.normal(size=(n, d)), y


@pytest.mark.slow
@pytest.mark.parametrize("n, d", [(60, 8), (20, 40)])
def test_logme_is_the_largest_evidence(n, d):
    """The marginal likelihood N(0, Z Z'/alpha + I/beta), maximised by scipy."""
    Z, y = example(n, d)
    expected = []
    for c in np.unique(y):
        target = (y == c).astype(float)

        def negative(logs, target=target):
            alpha, beta = np.exp(logs)
            covariance = Z @ Z.T / alpha + np.eye(n) / beta
            return -stats.multivariate_normal(np.zeros(n), covariance).logpdf(target)

        exact = dict(xatol=1e-9, fatol=1e-12, maxiter=5000, maxfev=5000)
        best = min(
            optimize.minimize(negative, start, method="Nelder-Mead", options=exact).fun
            for start in ([0.0, 0.0], [3.0, 2.0])
        )
        expected.append(-best / n)
    assert score.logme(Z, y) == pytest.approx(np.mean(expected), abs=1e-6)


def test_h_score_is_the_trace_and_bounded():
    Z, y = example()
    means = np.stack([Z[y == y_i].mean(0) for y_i in y])
    cov = np.cov(Z, rowvar=False, bias=True)
    between = np.cov(means, rowvar=False, bias=True)
    assert score.h_score(Z, y) == pytest.approx(np.trace(np.linalg.solve(cov, between)))
    assert 0 <= score.h_score(Z, y) <= 2
    A = np.random.default_rng(1).normal(size=(8, 8))
    assert score.h_score(Z @ A, y) == pytest.approx(score.h_score(Z, y))


def test_h_score_ties_sources_that_explain_everything():
    """With more features than samples nothing is left to order them, not rounding."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 4
    scales = 10.0 ** rng.uniform(-4, 0, size=(20, 80))
    scored = {score.h_score(rng.normal(size=(60, 80)) * scale, y) for scale in scales}
    assert scored == {3.0}


def test_leep_by_hand():
    P = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    y = np.array([0, 0, 1, 1])
    total = 0.0
    for i in range(4):
        likelihood = 0.0
        for s in range(2):
            joint = sum(P[j, s] for j in range(4) if y[j] == y[i])
            likelihood += joint / P[:, s].sum() * P[i, s]
        total += np.log(likelihood)
    assert score.leep(P, y) == pytest.approx(total / 4)
    perfect = np.eye(2)[y]
    assert score.leep(perfect, y) == pytest.approx(0.0)


def test_knn_agrees_with_scikit_learn():
    Z, y = example(spread=0.7)
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    right = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        model = KNeighborsClassifier(1).fit(unit[rest], y[rest])
        right.append(model.predict(unit[i : i + 1])[0] == y[i])
    assert score.knn_accuracy(Z, y, k=1) == pytest.approx(np.mean(right))


def test_better_separated_classes_score_higher():
    for name in ("logme", "h_score", "knn_accuracy"):
        one = getattr(score, name)
        values = [one(*example(n=120, spread=s)) for s in (0.1, 0.8, 3.0)]
        assert values == sorted(values) and values[0] < values[2], name


def test_bad_input_is_named():
    Z, y = example()
    with pytest.raises(CourseError, match="logme"):
        score.logme(Z, y[:-1])
    with pytest.raises(CourseError, match="NaN"):
        score.h_score(np.where(Z > 1, np.nan, Z), y)
    with pytest.raises(CourseError, match="probabilities"):
        score.leep(Z, y)
    with pytest.raises(CourseError, match="k="):
        score.knn_accuracy(Z, y, k=60)
