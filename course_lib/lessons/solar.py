"""The real world's protocol for pictures: solar cells, and networks of ImageNet.

A functional or a defective cell, at 96 pixels, with EfficientNet-Lite0.  Labels are
counted a class and drawn anew for each seed; groups of near-duplicates never lie on
both sides of the split.  The test set has twice as many functional cells as defective
ones, so accuracies are balanced: the mean of the two classes' own, .5 by guessing.
"""

from functools import lru_cache

import numpy as np

from course_lib import datasets
from course_lib.analysis import probes
from course_lib.lessons.results import experiment
from course_lib.models import features, zoo

BACKBONE = "imagenet/efficientnet-lite0"
FILES = ("assets/efficientnet-lite0", "assets/solar-cells", "near_duplicates.npz")
COUNTS = (25, 50, 100, 200, 400)  # labels a class; 429 training cells are defective
FROZEN = ("frozen", "frozen_random", "pixels")  # features of a logistic regression


def rows(split, n, seed):
    """Places of n cells of each class of a split, drawn by the seed."""
    labels = cells(split).labels
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == c))[:n] for c in (0, 1)]
    return np.concatenate(drawn)


def cells(split):
    """All cells of a split of which the experts were sure."""
    return datasets.load("solar_cells", split)


def labelled(n, seed):
    """n training cells of each class."""
    return cells("train").subset(rows("train", n, seed))


def validation():
    """100 cells of each class, to choose rates, penalties and weights with."""
    return cells("validation").subset(rows("validation", 100, 0))


@lru_cache(maxsize=9)
def represented(strategy, split):
    """What a logistic regression sees of the cells of a split, (N, F)."""
    data = cells(split)
    if strategy == "pixels":  # 32 x 32 of the 96 x 96
        return data.images[:, 1::3, 1::3, 0].reshape(len(data), -1) / 255.0
    backbone = zoo.load(BACKBONE, pretrained=strategy == "frozen")
    return features.extract(backbone, data)


def regression(strategy, n, seed):
    """Logistic regression on fixed features; its penalty chosen on validation."""
    train, held = rows("train", n, seed), rows("validation", 100, 0)
    X, V, T = (represented(strategy, s) for s in ("train", "validation", "test"))
    y, v, t = (cells(s).labels for s in ("train", "validation", "test"))
    found = probes.linear_probe(X[train], y[train], T, t, val=(V[held], v[held]))
    return {"accuracy": found.balanced_accuracy}


@experiment(
    "solar_frozen",
    grid=[
        dict(strategy=strategy, labels=n, seed=seed)
        for strategy in FROZEN
        for n in COUNTS
        for seed in range(10)
    ],
    sample=[dict(strategy="pixels", labels=100, seed=0)],
    live={"00": ("accuracy",)},
    tolerance={"accuracy": 0.02},
    data=FILES,
)
def solar_frozen(strategy, labels, seed):
    """Balanced accuracy of a logistic regression on features that do not learn."""
    return regression(strategy, labels, seed)
