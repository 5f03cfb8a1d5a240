"""Lesson 12: what its comparisons rest on, on small inputs."""

import numpy as np
import pytest
import torch

from course_lib.lessons import lesson12, lesson12_far, lesson12_tuned
from course_lib.lessons.results import Grid


def test_the_seeds_that_pick_do_not_report():
    assert not set(lesson12_far.PICK) & set(lesson12_far.REPORT)
    rows = [
        dict(way=way, seed=seed, accuracy=accuracy + 0.001 * seed)
        for way, accuracy in (("imagenet", 0.5), ("random", 0.7))
        for seed in range(10)
    ]
    for row in rows:  # the odd seeds see no difference
        if row["way"] == "random" and row["seed"] % 2:
            row["accuracy"] -= 0.2
    (one,) = lesson12.judged(Grid(rows), ["random"])
    assert one["said"] == "loses" and one["picked"] == pytest.approx(-0.2)
    assert one["kind"] == "no difference" and abs(one["interval"].mean) < 1e-9


def test_a_rotated_regression_answers_as_a_plain_one():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    X, T = rng.normal(size=(40, 90)) + y[:, None], rng.normal(size=(50, 90)) + 1
    found, _ = lesson12_far.fitted(X, y, 0)
    plain = LogisticRegression(C=found[-1].C, max_iter=500)
    plain = make_pipeline(StandardScaler(), plain).fit(X, y)
    assert np.allclose(found.predict_proba(T), plain.predict_proba(T), atol=5e-3)


def test_each_way_sees_the_pictures_as_they_were_photographed():
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    small = lesson12_far.resized(images, 16)
    means = images.reshape(2, 16, 3, 16, 3, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 1  # Pillow rounds rows and columns in turn
    assert lesson12_far.native("digits") == 8 and lesson12_far.native("vowels") == 32


def test_a_strong_pull_holds_the_start_and_one_to_zero_erases_it():
    torch.manual_seed(0)
    conv, head = torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(4, 2)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    net = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), head)
    X, Y = torch.randn(40, 1, 5, 5), torch.arange(40) % 2
    origin = {n: w.detach().clone() for n, w in net.named_parameters()}
    zero = {n: 0 * w for n, w in origin.items()}
    for w_S in (origin, zero):
        lesson12_tuned.learn(net, X, Y, w_S, alpha=3.0, lr=0.03, steps=200, seed=0)
        assert (conv.weight - w_S["0.weight"]).norm() < 0.1 * origin["0.weight"].norm()
