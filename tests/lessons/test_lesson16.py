"""Lesson 16: what its comparisons rest on, on small inputs."""

import numpy as np
import pytest
import torch

from course_lib.lessons import (
    lesson16,
    lesson16_masks,
    lesson16_series,
    lesson16_solar,
    solar,
)
from course_lib.lessons.results import Grid


@pytest.mark.parametrize(
    "groups, k, expected",
    [([0, 1, 2], 1, [1, 0, 0]), ([0, 1, 1], 1, [1, 0, 1]), ([0, 1, 2], 2, [1, 1, 0])],
)
def test_queries_find_their_own_group_among_the_first(groups, k, expected):
    similar = np.array([[9, 1, 0], [8, 7, 2], [5, 6, 4]])
    assert lesson16_solar.hits(similar, np.array(groups), k).tolist() == expected


def test_a_disturbance_hangs_on_the_seed_and_place_alone():
    images = np.full((3, 96, 96, 3), 128, np.uint8)
    images[:, :20] = 20
    one = lesson16_solar.disturbed(images, 5)
    assert one.shape == images.shape and one.dtype == np.uint8
    assert (one == lesson16_solar.disturbed(images, 5)).all()
    assert (one[:2] == lesson16_solar.disturbed(images[:2], 5)).all()
    assert (one != lesson16_solar.disturbed(images, 6)).any()
    assert (one[..., 0] == one[..., 2]).all()  # still grey


@pytest.mark.slow
def test_a_learned_map_finds_what_pairs_have_in_common():
    rng = np.random.default_rng(0)
    shared = 2 * rng.standard_normal((400, 8))
    views = [
        np.hstack([shared, rng.standard_normal((400, 150))]).astype(np.float32)
        for _ in range(2)
    ]
    known, unseen = [v[:300] for v in views], [v[300:] for v in views]
    found = {}
    for name, f in {
        "whitened": lesson16_solar.whitening(known[0]),
        "learned": lesson16_solar.metric(*known),
    }.items():
        a, b = (lesson16_solar.unit(f(x)) for x in unseen)
        found[name] = lesson16_solar.hits(a @ b.T, np.arange(100), 1).mean()
    assert found["learned"] > 2 * found["whitened"]


def test_series_are_drawn_by_class_and_scaled_with_zeros_behind():
    for target in lesson16_series.TARGETS:
        rows = lesson16_series.drawn(target, 3)
        train = lesson16_series.datasets.load(f"series/{target}", "train")
        counts = np.bincount(train.labels[rows]), np.bincount(train.labels)
        assert len(set(rows)) == len(rows)
        assert (counts[0] == np.round(2 * counts[1] / 3)).all()
    data = lesson16_series.datasets.load("series/JapaneseVowels", "train")
    X, length = lesson16_series.scaled(data), data.series[0].shape[1]
    assert X.shape[2] == 29 and (X[0, :, length:] == 0).all()
    assert abs(X[0, :, :length].mean(1)).max() < 1e-4
    levels = lesson16_series.scaled(data, data)
    assert abs(levels[0, :, :length].mean(1)).max() > 0.1


def test_masks_are_exact_and_drawn_by_the_seed():
    images, masks = lesson16_masks.drawn(12, 7)
    again, other = lesson16_masks.drawn(12, 7)[0], lesson16_masks.drawn(12, 8)[0]
    assert images.shape == (12, 64, 64, 3) and masks.shape == (12, 1, 64, 64)
    assert (images == again).all() and (images != other).any()
    assert set(masks.unique().tolist()) == {0, 1}
    assert 0.02 < float(masks.mean()) < 0.4


def test_aurocs_of_perfect_and_of_turned_scores():
    labels = solar.cells("test").labels.astype(float)
    assert set(lesson16_solar.aurocs(labels).values()) == {1.0}
    assert set(lesson16_solar.aurocs(-labels).values()) == {0.0}


def test_normal_cells_are_functional_and_of_the_kind():
    train, rows = solar.cells("train"), lesson16_solar.normal_rows(300, 4, "mono")
    assert set(train.metadata["kind"][rows]) == {"mono"}
    assert not train.labels[rows].any() and len(set(rows.tolist())) == 300


def test_the_crossing_lies_between_two_numbers_of_labels():
    rows = [dict(method="patches", labels=0, seed=s, auroc=0.75) for s in (0, 1)]
    for n, value in ((5, 0.6), (10, 0.7), (40, 0.8)):
        rows += [
            dict(method="supervised", labels=n, seed=s, auroc=value) for s in (0, 1)
        ]
    assert lesson16.crossing(Grid(rows)) == (10, 40)
    assert np.isnan(lesson16.crossing(Grid(rows[:2] + rows[2:4]))).all()


def test_glowing_pictures_keep_what_is_not_strange():
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    heat = torch.zeros(2, 8, 8)
    heat[1, 2:4, 2:4] = 5
    found = lesson16.glowing(images, heat)
    assert (found[0] == 100).all() and found[1, 2, 2, 0] > 150
