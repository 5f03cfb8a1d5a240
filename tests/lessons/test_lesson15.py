"""Lesson 15: what its comparisons rest on, on small inputs."""

import numpy as np
import pytest
import torch

from course_lib.lessons import lesson15, lesson15_keeping
from course_lib.lessons.results import Grid


def test_each_seed_is_read_at_its_own_alpha():
    rows = [
        {"seed": s, "alpha": a, "alpha 0 in": 0.1, "alpha 0.5 in": 0.5}
        for s, a in enumerate((0.0, 0.5))
    ]
    assert lesson15.at_chosen(Grid(rows)).values("chosen in").tolist() == [0.1, 0.5]


def test_students_are_compared_draw_by_draw():
    rng = np.random.default_rng(0)
    alone = rng.uniform(0.5, 0.9, 10)  # differ far more than the gains
    found = {n: alone + 0.02 for n in ("teacher", "distilled", "T = 4", "hard answers")}
    found |= {"alone": alone, "sure": np.full(10, 0.4)}
    gain = lesson15.gained(found, "distilled")
    assert (gain.low, gain.mean, gain.high) == pytest.approx((2, 2, 2))
    words = lesson15.over_alone(found)
    assert words["T = 4"] == "+2.0 (+2.0 to +2.0)"
    assert words["accuracy alone"] == round(alone.mean(), 2)


def test_halves_of_the_digits_have_no_class_in_common():
    tasks = lesson15_keeping.Tasks(0)
    first, second = (set(y.tolist()) for _, y in tasks.train)
    assert first == set(range(5)) and second == set(range(5, 10))
    assert all(len(y) == 5 * lesson15_keeping.LABELS for _, y in tasks.train)
    net = tasks.network()
    replayed = lesson15_keeping.drawn(*tasks.train[0], 2, seed=0)
    assert torch.bincount(replayed[1]).tolist() == [2] * 5
    assert net(replayed[0]).shape == (10, 10)
