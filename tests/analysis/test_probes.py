"""The linear probe: right answers, C chosen without the test set, clear refusals."""

import numpy as np
import pytest
import tiny

from course_lib.analysis.probes import CS, linear_probe, pooled
from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.models.backbone import vision


@pytest.fixture(scope="module")
def noisy():
    """Two informative columns among 60: a strong penalty is needed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(460, 60))
    y = (X[:, 0] + X[:, 1] + rng.normal(0, 0.5, 460) > 0).astype(int)
    return X[:60], y[:60], X[60:], y[60:]


def test_separable_classes_are_separated():
    probe = linear_probe(*tiny.blobs(60, seed=0), *tiny.blobs(90, seed=1))
    assert probe.accuracy == 1.0 == probe.balanced_accuracy
    assert probe.probabilities.shape == (90, 3) and probe.converged


def test_same_input_same_answer(noisy):
    first, second = linear_probe(*noisy), linear_probe(*noisy)
    assert first.C == second.C
    assert np.array_equal(first.probabilities, second.probabilities)


def scores_by_C(score):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def model(C):
        return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))

    return {C: score(model(C)) for C in CS}


def test_C_is_the_strongest_penalty_among_the_best_on_validation(noisy):
    train_X, train_y, X, y = noisy
    scores = scores_by_C(lambda m: m.fit(train_X, train_y).score(X[:200], y[:200]))
    best = min(C for C in CS if scores[C] == max(scores.values()))
    probe = linear_probe(
        train_X, train_y, X[200:], y[200:], val=(X[:200], y[:200]), C=CS[::-1]
    )
    assert probe.C == best and len(set(scores.values())) > 1


def test_C_by_cross_validation_equals_scikit_learns(noisy):
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    X, y = noisy[:2]
    scores = scores_by_C(lambda m: cross_val_score(m, X, y, cv=folds).mean())
    best = min(C for C in CS if scores[C] == max(scores.values()))
    assert linear_probe(*noisy, seed=5).C == best and len(set(scores.values())) > 1


def test_the_choice_of_C_never_sees_the_test_labels(noisy):
    train_X, train_y, X, y = noisy
    assert (
        linear_probe(train_X, train_y, X, y).C
        == linear_probe(train_X, train_y, X, 1 - y).C
    )


def test_columns_of_any_scale_and_constant_columns(noisy):
    train_X, train_y, X, y = noisy
    scale = 10.0 ** np.random.default_rng(1).integers(-6, 6, 60)
    plain = linear_probe(train_X, train_y, X, y, C=0.01).accuracy
    wide = np.hstack([train_X * scale, np.ones((60, 1))])
    test = np.hstack([X * scale, np.ones((len(X), 1))])
    scaled = linear_probe(wide, train_y, test, y, C=0.01).accuracy
    assert scaled == pytest.approx(plain, abs=0.01)


def test_balanced_accuracy_exposes_a_majority_vote():
    X, y = np.zeros((20, 2)), np.array([0] * 18 + [1] * 2)
    X[0] = 1e-3
    probe = linear_probe(X, y, np.zeros((20, 2)), y, C=1.0)
    assert probe.accuracy == 0.9 and probe.balanced_accuracy == 0.5


@pytest.mark.parametrize(
    "spoil, word",
    [
        (lambda X, y: (X, y[:-1]), "labels"),
        (lambda X, y: (np.where(X == X[0, 0], np.nan, X), y), "NaN"),
        (lambda X, y: (X, np.zeros_like(y)), "one class"),
        (lambda X, y: (X[:, :5], y), "columns"),
        (lambda X, y: (X[:3], np.array([0, 1, 2])), "single"),
    ],
)
def test_unusable_input_is_named(noisy, spoil, word):
    train_X, train_y, X, y = noisy
    with pytest.raises(CourseError, match=word):
        linear_probe(*spoil(train_X, train_y), X, y)


def test_pooled_gives_mean_and_maximum_of_every_stage():
    backbone = zoo.load("bundled/resnet10-patterns")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    mean, peak = pooled(backbone, images, batch_size=2)
    assert list(mean) == list(peak) == list(backbone.stages)
    assert mean["layer4"].shape == (5, backbone.num_features)
    assert (peak["layer2"] >= mean["layer2"]).all()
    whole, _ = pooled(backbone, images)
    assert np.allclose(whole["layer4"], mean["layer4"], atol=1e-4)


def test_pooled_refuses_a_network_without_maps():
    pytest.importorskip("timm")
    from course_lib.models.preprocessing import Preprocess
    from course_lib.pretraining.architectures import small_vit

    model = small_vit(5)
    backbone = vision(model, Preprocess(), "vit", {})
    with pytest.raises(CourseError, match="convolutional"):
        pooled(backbone, np.zeros((2, 64, 64, 3), np.uint8))
