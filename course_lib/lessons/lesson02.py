"""Grids of lessons 02 and 03: training from scratch, and ways to transfer.

Training from scratch and fine-tuning were given the same three learning rates at 500
labels; the one that the validation images prefer is used everywhere (a test compares).
What does not touch the bundled weights is a grid of its own, `from_scratch`.
"""

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.lessons import results
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    RATES,
    STEPS,
    TARGET,
    adapted,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, Grid, experiment
from course_lib.models import features, zoo

TRIED = (1e-3, 3e-3, 1e-2)  # learning rates of scratch and full at 500 labels


def frozen_cell(strategy, data, seed, fraction=1.0):
    """Feature extraction: cached features, a linear or a two-layer head."""
    backbone = zoo.load(BACKBONE)
    validation, test = (datasets.load(TARGET, s) for s in ("validation", "test"))
    X, V, T = (features.extract(backbone, d) for d in (data, validation, test))
    if strategy == "frozen":
        probe = probes.linear_probe(
            X, data.labels, T, test.labels, val=(V, validation.labels), seed=seed
        )
        return {"accuracy": probe.accuracy}
    head, _ = training.fit_head(
        X,
        data.labels,
        (V, validation.labels),
        head=training.Head(num_classes=5, hidden=256, dropout=0.5),
        steps=results.updates(STEPS[len(data)], fraction),
        lr=RATES[strategy],
        seed=seed,
    )
    return {"accuracy": training.evaluate(head, (T, test.labels))["accuracy"]}


def cells(strategies):
    """The grid: each strategy at its rate, and three rates where rates are compared."""
    grid = []
    for strategy in strategies:
        few = strategy == "last_stage"
        for labels in (100, 500) if few else STEPS:
            for seed in SEEDS + ((3, 4) if labels == 500 else ()):
                rates = [RATES[strategy]]
                if strategy in ("scratch", "full") and labels == 500 and seed in SEEDS:
                    rates = TRIED
                grid += [
                    dict(strategy=strategy, labels=labels, lr=lr, seed=seed)
                    for lr in rates
                ]
    return grid


def trained_cell(strategy, labels, lr, seed, fraction=1.0):
    """Train one network; its accuracy on test and validation images, and itself."""
    backbone = adapted(strategy, seed)
    options = dict(lr=lr, steps=STEPS[labels], seed=seed, fraction=fraction)
    train(backbone, labelled(labels, seed), **options)
    return scored(backbone, fraction), backbone


@experiment(
    "from_scratch",
    grid=cells(["scratch"]),
    sample=[dict(strategy="scratch", labels=25, lr=RATES["scratch"], seed=0)],
    short=[
        dict(strategy="scratch", labels=25, lr=RATES["scratch"], seed=0, fraction=0.05)
    ],
    tolerance={"accuracy": 0.04},
    data=FILES,
)
def from_scratch(strategy, labels, lr, seed, fraction=1.0):
    """Test accuracy of the same network without pre-training."""
    numbers, _ = trained_cell(strategy, labels, lr, seed, fraction)
    return numbers


@experiment(
    "strategies",
    grid=cells(["frozen", "frozen_mlp", "last_stage", "full"]),
    sample=[
        dict(strategy="frozen", labels=500, lr=None, seed=0),
        dict(strategy="full", labels=100, lr=RATES["full"], seed=1),
    ],
    short=[
        dict(strategy="frozen", labels=500, lr=None, seed=0),
        dict(
            strategy="frozen_mlp",
            labels=500,
            lr=RATES["frozen_mlp"],
            seed=0,
            fraction=0.05,
        ),
        dict(strategy="full", labels=100, lr=RATES["full"], seed=1, fraction=0.05),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def strategies(strategy, labels, lr, seed, fraction=1.0):
    """Test accuracy of one way to transfer at one label count."""
    if strategy.startswith("frozen"):
        return frozen_cell(strategy, labelled(labels, seed), seed, fraction)
    numbers, backbone = trained_cell(strategy, labels, lr, seed, fraction)
    return numbers | forgetting(backbone)


def compared():
    """The rows of both grids, each strategy at its own rate."""
    every = results.load("from_scratch") + results.load("strategies")
    return Grid(row for row in every if row["lr"] == RATES[row["strategy"]])
