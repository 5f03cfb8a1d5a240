"""Lesson 11 on solar cells: entropy at test time, and grey values imitated.

One kind of silicon at home, the other one served.  Set before any result was seen:
protocol and rate of `last_stage` in `solar.py` (Lite0 behind its fifth stage, 60
updates of 32 cells at 3e-4); TENT as in its paper, Adam at 1e-3 and batches of 64, and
batches of 8 as the small ones.
"""

import copy
from functools import lru_cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from course_lib import training
from course_lib.datasets import solar_cells
from course_lib.lessons import lesson11_real, results, solar
from course_lib.lessons.lesson11_real import class_mean, drawn, unlabelled
from course_lib.lessons.results import experiment
from course_lib.methods import test_time
from course_lib.models import zoo
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

FILES = solar.FILES
STEPS, LR = 60, 3e-4
PASSES = (1, 3, 6)  # after which TENT is looked at
RARE = 0.1  # share of defective cells in the stream of another mix


# -- the upper stages ------------------------------------------------------------------


def split_network(seed):
    """Lite0 with a new head, frozen up to the fifth stage."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    return FrozenStages(backbone, solar.BELOW, solar.cells("test").images)


@lru_cache(maxsize=4)
def stored(kind, split):
    """(fifth stage's output, labels) of a kind's cells; of test cells mirrored too."""
    stages = split_network(0)
    data = solar_cells.load(split, kind=kind)
    return stages.run(data, MIRRORED) if split == "test" else stages.run(data)


def tested(kind):
    """(output (N, ...), the mirrored cells' output, labels (N,)) of test cells."""
    x, labels = stored(kind, "test")
    n = len(x) // 2
    return x[:n], x[n:], labels[:n].numpy()


@lru_cache(maxsize=1)
def trained(source, seed, fraction=1.0):
    """The upper stages after training on one kind of cells."""
    stages = split_network(seed)
    x, y = stored(source, "train")
    fit = drawn(source, lesson11_real.sizes(source), seed)[0]
    steps = results.updates(STEPS, fraction)
    training.fit(stages.upper, (x[fit], y[fit]), steps=steps, lr=LR, seed=seed)
    return stages.upper.eval()


def answered(net, x):
    """Logits (N, 2) of stored outputs."""
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(64)]).numpy()


def recounted(net, U):
    """A copy whose BatchNorm statistics are those of U: AdaBN of the upper stages."""
    net = copy.deepcopy(net)
    layers = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    net.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = 1.0
        layer.train()
    with torch.no_grad():
        net(U)
    return net.eval()


def balanced(logits, labels):
    """Mean of the two classes' own accuracies."""
    return class_mean(logits.argmax(1) == labels, labels)


# -- entropy at test time --------------------------------------------------------------

WAYS = {  # batch size, rate, passes; None: answers as trained
    "source": None,
    "statistics": (64, 0.0, 1),
    "tent": (64, 1e-3, PASSES[-1]),
    "statistics, small": (8, 0.0, 1),
    "tent, small": (8, 1e-3, PASSES[1]),
}
STREAMS = {  # the ways tried on each stream of poly cells; rare: few are defective
    False: tuple(WAYS),
    True: ("source", "statistics", "tent"),
}


def stream(kind, rare, seed):
    """(inputs, labels) of the cells that arrive; rare: few of them defective."""
    x, _, labels = tested(kind)
    if rare:
        rng = np.random.default_rng((seed, 5))
        good, bad = (np.flatnonzero(labels == c) for c in (0, 1))
        bad = rng.permutation(bad)[: round(len(good) * RARE / (1 - RARE))]
        rows = np.concatenate([good, bad])
        x, labels = x[rows], labels[rows]
    return x, labels


def stacked(net, target, seed):
    """Balanced accuracies with AdaBN; with AdaBN and the mean over mirrored cells."""
    x, mirrored, labels = tested(target)
    rows = unlabelled(target, 0.5, seed)
    net = recounted(net, stored(target, "train")[0][rows])
    logits = [answered(net, part) for part in (x, mirrored)]
    chances = sum(torch.tensor(z).softmax(1) for z in logits).numpy()
    return {
        "renewed": balanced(logits[0], labels),
        "stacked": balanced(chances, labels),
    }


@experiment(
    "cells_adapted",
    grid=[
        dict(way=way, rare=rare, seed=seed)
        for seed in range(5)
        for rare, ways in STREAMS.items()
        for way in ways
    ],
    sample=[dict(way=way, rare=False, seed=0) for way in ("source", "statistics")],
    short=[
        dict(way=way, rare=False, seed=0, fraction=0.05)
        for way in ("tent, small", "source")
    ],
    tolerance=dict.fromkeys(
        ("pass_1", "positive_1", "entropy_1", "renewed", "stacked"), 0.03
    ),
    data=FILES,
)
def cells_adapted(way, rare, seed, fraction=1.0):
    """Balanced accuracy of the answers given in pass 1, 3 and 6 over poly cells.

    positive: the share of cells called defective; entropy: mean of the answers, nats.
    renewed, stacked: of what was trained, see `stacked`.
    """
    net = copy.deepcopy(trained("mono", seed, fraction))
    x, labels = stream("poly", rare, seed)
    if WAYS[way] is None:
        answers = answered(net, x)[None]
        numbers = stacked(net, "poly", seed)
    else:
        size, lr, passes = WAYS[way]
        passes = passes if fraction == 1 else 1
        options = dict(batch_size=size, lr=lr, passes=passes, seed=seed)
        answers, numbers = test_time.tent(net, x, **options), {}
    for k in PASSES:
        if k <= len(answers):
            logits = torch.tensor(answers[k - 1])
            p = logits.softmax(1)
            numbers[f"pass_{k}"] = balanced(answers[k - 1], labels)
            numbers[f"positive_{k}"] = (answers[k - 1].argmax(1) == 1).mean()
            numbers[f"entropy_{k}"] = -(p * logits.log_softmax(1)).sum(1).mean()
    return numbers


# -- imitation -------------------------------------------------------------------------


def grey_table(pictures, like):
    """A new value for each of 256, so that one set has the grey values of another."""
    shares = [
        np.cumsum(np.bincount(p.ravel(), minlength=256)) for p in (pictures, like)
    ]
    mine, theirs = (one / one[-1] for one in shares)
    return np.searchsorted(theirs, mine).clip(0, 255).astype(np.uint8)


def served(X, y, looks, labels, draws=5):
    """Balanced accuracy (draws,) of a regression on mono cells, by look of poly cells.

    X, y: all mono training cells.  looks: {name: features of the test cells}.
    """
    found = {name: [] for name in looks}
    for seed in range(draws):
        fit = drawn("mono", lesson11_real.sizes("mono"), seed)[0]
        scaler = StandardScaler().fit(X[fit])
        model = LogisticRegression(C=1e-3, max_iter=1000)
        model.fit(scaler.transform(X[fit]), y[fit])
        for name, T in looks.items():
            right = model.predict(scaler.transform(T)) == labels
            found[name].append(100 * class_mean(right, labels))
    return {name: np.array(values) for name, values in found.items()}
