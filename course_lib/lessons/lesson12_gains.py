"""Grids of lesson 12: the gain of every source on every target, by number of labels.

The pairs, the augmentation and the rates are those of lesson 06, where they were set
with 100 labels; here the same 200 updates are made with 25 and, by two of the starts,
with 500.  No target and no rate was changed after a gain had been seen.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.lessons import lesson06, results
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import features

LABELS = (25, 100, 500)
LEFT_OUT = ("bundled/resnet10-patterns-short", "bundled/vit-patterns")
SOURCES = tuple(name for name in lesson06.SOURCES if name not in LEFT_OUT)
PAIRS = [pair for pair in lesson06.pairs() if pair[0] in SOURCES]


@experiment(
    "gains",
    grid=[
        dict(source=name, target=target, labels=labels, seed=seed)
        for labels in (25, 500)
        for name, target in PAIRS
        for seed in SEEDS
        if labels == 25 or name in (SOURCES[0], SOURCES[-1])
    ],
    sample=[dict(source="random", target="digits", labels=25, seed=0)],
    short=[dict(source="random", target="digits", labels=25, seed=0, fraction=0.02)],
    tolerance={"accuracy": 0.05},
    models=SOURCES[1:],
    data=lesson06.FILES,
)
def gains(source, target, labels, seed, fraction=1.0):
    """Fine-tune one source on few or many labelled pictures of one target."""
    data = datasets.load(target, "train").take(labels, seed=seed)
    backbone = lesson06.load_source(source, len(data.classes), seed)
    history = lesson06.fine_tune(
        backbone,
        data,
        datasets.load(target, "validation"),
        lr=lesson06.chosen_rate(source, target),
        seed=seed,
        fraction=fraction,
    )
    return tested(backbone, target, history, fraction)


def tested(backbone, target, history, fraction=1.0):
    """Accuracy and loss on the test pictures, best accuracy on the others."""
    test = results.part(datasets.load(target, "test"), fraction)
    found = training.evaluate(backbone, test)
    return {key: found[key] for key in ("accuracy", "loss")} | {
        "val_accuracy": history.val_accuracy[history.best_epoch]
    }


@lru_cache(maxsize=2)
def stage_features(source, target):
    """{split: (features of every stage (N, F), one after the other, data set)}."""
    backbone = lesson06.load_source(source)
    parts = {s: datasets.load(target, s) for s in ("train", "validation", "test")}
    return {
        split: ([features.extract(backbone, data, s) for s in backbone.stages], data)
        for split, data in parts.items()
    }


@experiment(
    "frozen_gains",
    grid=[
        dict(source=name, target=target, strategy=strategy, labels=labels, seed=seed)
        for name, target in PAIRS
        for strategy in ("last stage", "all stages")
        for labels in LABELS
        for seed in SEEDS
    ],
    sample=[
        dict(
            source="bundled/resnet10-silhouettes",
            target="digits",
            strategy=strategy,
            labels=25,
            seed=0,
        )
        for strategy in ("last stage", "all stages")
    ],
    tolerance={"accuracy": 0.02},
    models=SOURCES[1:],
    data=lesson06.FILES,
)
def frozen_gains(source, target, strategy, labels, seed):
    """A linear probe on the frozen last stage, or on all stages side by side."""
    first = -1 if strategy == "last stage" else 0
    parts = stage_features(source, target)
    (X, train), (V, validation), (T, test) = (
        (np.concatenate(stages[first:], axis=1), data)
        for stages, data in (parts[s] for s in ("train", "validation", "test"))
    )
    # the same pictures as take() gives to fine-tuning
    places = np.arange(len(train))
    chosen = replace(train, metadata={"place": places}).take(labels, seed=seed)
    rows = chosen.metadata["place"]
    probe = probes.linear_probe(
        X[rows],
        train.labels[rows],
        T,
        test.labels,
        val=(V, validation.labels),
        seed=seed,
    )
    return {"accuracy": probe.accuracy}


def all_gains():
    """Grid of rows {source, target, strategy, labels, seed, gain, accuracy}.

    gain: test accuracy minus that of fine-tuning the random start with the same labels
    and the same seed.
    """
    tuned = [row | {"strategy": "full"} for row in results.load("gains")]
    tuned += [
        row | {"strategy": "full", "labels": lesson06.LABELS}
        for row in results.load("sources").select(source=SOURCES)
        if row["lr"] == lesson06.chosen_rate(row["source"], row["target"])
    ]
    scratch = {
        (row["target"], row["labels"], row["seed"]): row["accuracy"]
        for row in tuned
        if row["source"] == "random"
    }
    frozen = results.load("frozen_gains")
    return results.Grid(
        row
        | {"gain": row["accuracy"] - scratch[row["target"], row["labels"], row["seed"]]}
        for row in (*tuned, *frozen)
        if not (row["source"] == "random" and row["strategy"] == "full")
    )
