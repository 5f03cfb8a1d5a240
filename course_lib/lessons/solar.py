"""The real world's protocol for pictures: solar cells, and networks of ImageNet.

A functional or a defective cell, at 96 pixels, with EfficientNet-Lite0.  Labels are
counted a class and drawn anew for each seed; groups of near-duplicates never lie on
both sides of the split.  The test set has twice as many functional cells as defective
ones, so accuracies are balanced: the mean of the two classes' own, .5 by guessing.

Networks that learn see 32 cells an update, half of them mirrored; AdamW, warm-up then
cosine, and the weights of the lowest validation loss of four evaluations.  Rates are
compared at 100 labels a class over three seeds, and validation chooses.
"""

from functools import lru_cache

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.lessons.results import SEEDS, experiment, interval, part, updates
from course_lib.models import features, zoo
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

BACKBONE = "imagenet/efficientnet-lite0"
FILES = ("assets/efficientnet-lite0", "assets/solar-cells", "near_duplicates.npz")
COUNTS = (25, 50, 100, 200, 400)  # labels a class; 429 training cells are defective
FROZEN = ("frozen", "frozen_random", "pixels")  # features of a logistic regression
STEPS = {25: 40, 100: 80, 400: 120}  # updates by labels a class
LONGER = 3  # times as many from random weights
EVALUATIONS = 4
TUNED_AT = 100  # labels a class
TRIED = {  # rates of AdamW; where the lowest was the best, a lower one was added
    "last_stage": (1e-4, 3e-4, 1e-3, 3e-3),
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
    "full_from_probe": (1e-4, 3e-4, 1e-3),
    "scratch": (1e-3, 3e-3, 1e-2),
}
RATES = {  # of these, by validation
    "last_stage": 3e-4,
    "full": 3e-4,
    "full_from_probe": 1e-3,
    "scratch": 3e-3,
}
BELOW = "stage5"  # the last one that stays frozen in last_stage


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


def start(strategy, train, seed):
    """A network made ready: random or pretrained weights, and which head."""
    pretrained = strategy != "scratch"
    backbone = zoo.load(BACKBONE, num_classes=2, seed=seed, pretrained=pretrained)
    if strategy == "full_from_probe":  # Kumar et al. 2022; all else is as in `full`
        held = validation()
        X, V = (features.extract(backbone, data) for data in (train, held))
        head, _ = training.fit_head(
            X,
            train.labels,
            (V, held.labels),
            head=training.Head(standardise=False),
            steps=200,
            seed=seed,
        )
        training.attach_head(backbone, head)
    return backbone


def trained(strategy, labels, lr, seed, fraction=1.0):
    """A network that has learned from `labels` cells of each class."""
    train, held = labelled(labels, seed), part(validation(), fraction)
    backbone = start(strategy, train, seed)
    steps = STEPS[labels] * (LONGER if strategy == "scratch" else 1)
    recipe = training.Recipe(
        augment=None if strategy == "last_stage" else training.random_flips(),
        eval_every=interval(steps, EVALUATIONS, fraction),
    )
    options = dict(steps=updates(steps, fraction), lr=lr, seed=seed, recipe=recipe)
    if strategy == "last_stage":  # what lies below runs once on each cell, two ways
        stages = FrozenStages(backbone, BELOW, train.images)
        seen = stages.run(train, MIRRORED), stages.run(held)
        training.fit(stages.upper, *seen, **options)
    else:
        training.fit(backbone, train, held, **options)
    return backbone


def scored(backbone, fraction=1.0):
    """Balanced accuracy and loss on test and validation cells."""
    numbers = {}
    for prefix, data in (("", cells("test")), ("val_", validation())):
        found = training.evaluate(backbone, part(data, fraction))
        numbers[f"{prefix}accuracy"] = found["balanced_accuracy"]
        numbers[f"{prefix}loss"] = found["loss"]
    return numbers


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


TOLERANCE = {"accuracy": 0.02, "val_accuracy": 0.02, "loss": 0.03, "val_loss": 0.03}


def compared():
    """The cells of `solar_strategies`: rates compared, then more seeds and labels."""
    tuned = [
        dict(strategy=strategy, labels=TUNED_AT, lr=lr, seed=seed)
        for seed in SEEDS
        for strategy, rates in TRIED.items()
        for lr in rates
    ]
    more = [(n, seed) for n in (TUNED_AT, 400, 25) for seed in range(5)]
    chosen = [
        dict(strategy=strategy, labels=n, lr=lr, seed=seed)
        for n, seed in more
        if n != TUNED_AT or seed not in SEEDS
        for strategy, lr in RATES.items()
        if n == TUNED_AT or strategy == "last_stage"
    ]
    return tuned + chosen


@experiment(
    "solar_strategies",
    grid=compared(),
    sample=[dict(strategy="full", labels=100, lr=1e-3, seed=0)],
    short=[
        dict(strategy=strategy, labels=100, lr=1e-3, seed=0, fraction=0.025)
        for strategy in ("last_stage", "full_from_probe")
    ],
    tolerance=TOLERANCE,
    data=FILES,
)
def solar_strategies(strategy, labels, lr, seed, fraction=1.0):
    """Balanced accuracy of one way to train Lite0 on solar cells."""
    return scored(trained(strategy, labels, lr, seed, fraction), fraction)
