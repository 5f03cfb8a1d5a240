"""Lesson 15: what its comparisons rest on, on small inputs."""

import numpy as np
import pytest
import torch
from scipy.stats import t

from course_lib.lessons import lesson15, lesson15_keeping
from course_lib.lessons import lesson15_opinions as opinions
from course_lib.lessons.results import Grid


def adapters(rng, share, n=8):
    """Rows whose merged gains are `share` of the own ones, and a little noise."""
    rows = []
    for seed in range(n):
        row = {"seed": seed}
        own = 0.1 + 0.02 * rng.standard_normal(3)
        for d, gain in zip(opinions.MERGED, own, strict=True):
            noise = 0.004 * rng.standard_normal()
            row |= {f"base {d}": 0.7, f"own {d}": 0.7 + gain}
            row[f"sum {d}"] = 0.7 + share * gain + noise
        rows.append(row)
    return Grid(rows)


def test_the_share_kept_lies_where_its_difference_is_not_told_from_0():
    grid = adapters(np.random.default_rng(0), 0.6)
    found, low, high = lesson15.kept(grid, "sum")
    assert low < found < high and abs(found - 0.6) < 0.05
    a, b = (lesson15.gains_of(grid, way).mean(1) for way in ("sum", "own"))
    for limit in (low, high):  # Fieller: there the t-interval of a - c b touches 0
        d = a - limit * b
        size = abs(d.mean()) / (d.std(ddof=1) / len(d) ** 0.5)
        assert size == pytest.approx(t.ppf(0.975, len(d) - 1), rel=1e-6)


def test_each_seed_is_read_at_its_own_alpha():
    rows = [
        {"seed": s, "alpha": a, "alpha 0 in": 0.1, "alpha 0.5 in": 0.5}
        for s, a in enumerate((0.0, 0.5))
    ]
    assert lesson15.at_chosen(Grid(rows)).values("chosen in").tolist() == [0.1, 0.5]


def test_halves_of_the_digits_have_no_class_in_common():
    tasks = lesson15_keeping.Tasks(0)
    first, second = (set(y.tolist()) for _, y in tasks.train)
    assert first == set(range(5)) and second == set(range(5, 10))
    assert all(len(y) == 5 * lesson15_keeping.LABELS for _, y in tasks.train)
    net = tasks.network()
    replayed = lesson15_keeping.drawn(*tasks.train[0], 2, seed=0)
    assert torch.bincount(replayed[1]).tolist() == [2] * 5
    assert net(replayed[0]).shape == (10, 10)
