"""Cached features against the naive frozen loop: same accuracy, how much faster?

    python benchmarks/cached_features.py [--seeds 5] [--epochs 20] [--labels 500]

Both train the same linear head (same initial weights, same batches) on a frozen
backbone, with validation after every epoch.  The naive loop sends every image through
the backbone in every epoch; the other sends each image through once, keeps the
features and trains the head on them.  Lesson 03; exits with 1 when the accuracies
differ by more than the seeds scatter, or when the speed-up is below --at-least.
"""

import argparse
import sys
import time

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import statistics
from course_lib.models import features, zoo
from course_lib.training import freezing


def naive(backbone, train, val, options):
    """The frozen backbone runs in every epoch."""
    freezing.freeze_backbone(backbone)
    training.fit(backbone, train, val, **options)
    return backbone


def cached(backbone, train, val, options):
    """The frozen backbone runs once; the head trains on its stored output."""
    head = backbone.model.get_submodule(backbone.head)
    pairs = [(features.extract(backbone, part), part.labels) for part in (train, val)]
    training.fit(head, *pairs, **options)
    return backbone


def timed(strategy, seed, train, val, options):
    backbone = zoo.load(num_classes=len(train.classes), seed=seed)
    started = time.perf_counter()
    backbone = strategy(backbone, train, val, dict(options, seed=seed))
    return backbone, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--at-least", type=float, default=10.0)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: their scatter is the yardstick")
    options = dict(epochs=arguments.epochs, lr=arguments.lr)
    val, test = (datasets.load("wafer_micrographs", p) for p in ("validation", "test"))
    accuracies, seconds = {"naive": [], "cached": []}, {"naive": [], "cached": []}
    for seed in range(arguments.seeds):
        train = datasets.load("wafer_micrographs", "train", arguments.labels, seed)
        for strategy in (naive, cached):
            name = strategy.__name__
            backbone, elapsed = timed(strategy, seed, train, val, options)
            accuracies[name].append(training.evaluate(backbone, test)["accuracy"])
            seconds[name].append(elapsed)
        print(
            f"seed {seed}: naive {accuracies['naive'][-1]:.3f} in "
            f"{seconds['naive'][-1]:.2f} s, cached {accuracies['cached'][-1]:.3f} in "
            f"{seconds['cached'][-1]:.2f} s",
            flush=True,
        )
    scatter = np.std(accuracies["naive"], ddof=1)
    gap = abs(np.mean(accuracies["cached"]) - np.mean(accuracies["naive"]))
    speed_up = np.sum(seconds["naive"]) / np.sum(seconds["cached"])
    for name, values in accuracies.items():
        print(f"{name}: accuracy {statistics.mean_and_interval(values)}")
    print(
        f"difference of the means {gap:.4f}, standard deviation of seeds {scatter:.4f}"
    )
    print(f"speed-up over {arguments.epochs} epochs: {speed_up:.1f} times")
    return int(gap > scatter or speed_up < arguments.at_least)


if __name__ == "__main__":
    sys.exit(main())
