"""Lesson 13: points lost by advice, and when a verdict of the diagnosis is right."""

import numpy as np
import pytest

from course_lib.lessons import lesson13, lesson13_unseen
from course_lib.lessons.lesson13 import Known


def known(name, seed, val, test, labels=10):
    return Known(name, "images", seed, labels, 2, "tuned" in test, val, test)


def test_points_are_lost_against_the_best_way_of_the_same_draw():
    rows = [
        known("a", 0, {}, {"probe": 0.6, "baseline": 0.7}),
        known("a", 1, {}, {"probe": 0.8, "baseline": 0.7}),
        known("b", 0, {}, {"probe": 0.5, "baseline": 0.4, "tuned": 0.9}),
        known("b", 1, {}, {"probe": 0.9, "baseline": 0.4, "tuned": 0.5}),
    ]
    lost = lesson13.lost(rows, lambda one: "probe")
    assert np.allclose(lost["a"], [10, 0]) and np.allclose(lost["b"], [40, 0])
    assert np.allclose(lesson13.regret(rows, lambda one: "probe"), [25, 0])
    tuned = lesson13.lost(rows, lesson13.ADVISERS["always fine-tune"])
    assert np.allclose(tuned["b"], [0, 40])


def test_without_a_tuned_network_the_framework_is_told_of_no_computer():
    near, far = {"probe": 0.9, "baseline": 0.8}, {"probe": 0.7, "baseline": 0.8}
    for val, way in ((near, "probe"), (far, "baseline")):
        assert lesson13.by_library(known("a", 0, val, val, labels=400)) == way
    measured = near | {"tuned": 0.85}
    assert lesson13.by_library(known("a", 0, near, measured, labels=400)) == "tuned"


@pytest.mark.parametrize(
    "truth, kind, word",
    [
        ("helps", "helps", "right"),
        ("hurts", "helps", "wrong"),
        ("neither", "no difference", "right"),
        ("neither", "hurts", "wrong"),
        ("helps", "no difference", "wrong"),
        ("helps", "no evidence", "undecided"),
        ("open", "helps", "undecided"),
    ],
)
def test_a_verdict_is_right_wrong_or_undecided(truth, kind, word):
    assert lesson13_unseen.judged(truth, kind) == word


def test_a_measured_truth_needs_its_interval_and_its_size():
    assert lesson13_unseen.settled(0.1, 0.05, 0.15) == "helps"
    assert lesson13_unseen.settled(-0.1, -0.15, -0.05) == "hurts"
    assert lesson13_unseen.settled(0.1, -0.05, 0.25) == "open"
    assert lesson13_unseen.settled(0.01, 0.005, 0.015) == "neither"


def test_what_is_planted_is_there():
    plain = lesson13_unseen.tweets("accents")
    accents = np.array([any(c in text for c in "áéíóú") for text in plain.texts])
    assert (accents == (plain.labels == 1)).mean() > 0.95
    tiles = lesson13_unseen.tiles("channel orders")
    assert tiles.images.shape == (208, 64, 64, 3) and set(tiles.labels) == {0, 1, 2, 3}
    case = lesson13_unseen.CASES["solar cells, blank pictures"]
    x = lesson13_unseen.start_of(case).preprocess(tiles.images[:2])
    assert (x == 1).all()
