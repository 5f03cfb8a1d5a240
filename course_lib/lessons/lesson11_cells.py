"""Lesson 11 on solar cells: adaptation inside the network, imitation, inherited bias.

One kind of silicon at home, the other one served.  Set before any result was seen:
protocol and rate of `last_stage` in `solar.py` (Lite0 behind its fifth stage, 60
updates of 32 cells at 3e-4); TENT as in its paper, Adam at 1e-3 and batches of 64, and
batches of 8 as the small ones; blind augmentations of one blur and one noise; the mark
of a review station on nine in ten defective cells of the biased first job and on seven
in ten of the second.
"""

import copy
from functools import lru_cache

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from course_lib import training
from course_lib.analysis import probes
from course_lib.datasets import shifted, solar_cells
from course_lib.lessons import lesson11_real, results, solar
from course_lib.lessons.lesson11_real import class_mean, drawn, examples, unlabelled
from course_lib.lessons.results import experiment
from course_lib.methods import test_time
from course_lib.models import features, zoo
from course_lib.training import photometric
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

FILES = solar.FILES
KINDS = solar_cells.KINDS
OTHER = dict(zip(KINDS, KINDS[::-1]))
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
    short=[dict(way="tent, small", rare=False, seed=0, fraction=0.05)],
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

SERVED = ("as it is", "blind", "imitated", "matched")


def grey_table(pictures, like):
    """A new value for each of 256, so that one set has the grey values of another."""
    shares = [
        np.cumsum(np.bincount(p.ravel(), minlength=256)) for p in (pictures, like)
    ]
    mine, theirs = (one / one[-1] for one in shares)
    return np.searchsorted(theirs, mine).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def looks(kind, split, look):
    """Frozen features of a kind's cells as they are, or changed.

    "other": with the grey values of the other kind's training cells.
    """
    data = solar_cells.load(split, kind=kind)
    images = data.images
    if look == "other":
        mine, theirs = (
            solar_cells.load("train", kind=k).images for k in (kind, OTHER[kind])
        )
        images = grey_table(mine, theirs)[images]
    if look == "blind":
        backbone = lesson11_real.encoder(True)
        generator = torch.Generator().manual_seed(0)
        x = backbone.preprocess(images)
        for change in (photometric.random_blur(1.0), photometric.random_noise(0.3)):
            x = change(x, generator)
        images = backbone.preprocess.to_images(x)
    return features.extract(lesson11_real.encoder(True), np.ascontiguousarray(images))


@experiment(
    "cells_served",
    grid=[
        dict(source=kind, way=way, seed=seed)
        for kind in KINDS
        for seed in range(5)
        for way in SERVED
    ],
    sample=[dict(source="mono", way="as it is", seed=0)],
    tolerance={"accuracy": 0.02},
    data=FILES,
)
def cells_served(source, way, seed):
    """Balanced accuracy on the other kind of a regression on frozen features.

    blind, imitated: half of the training cells' copies are blurred and noisy, or have
    the other kind's grey values; matched: the served cells get those of the source.
    """
    fit = drawn(source, lesson11_real.sizes(source), seed)[0]
    y = examples(source, "train").labels
    X, y, target = looks(source, "train", "plain")[fit], y[fit], OTHER[source]
    if way in ("blind", "imitated"):
        look = "blind" if way == "blind" else "other"
        X = np.concatenate([X, looks(source, "train", look)[fit]])
        y = np.concatenate([y, y])
    served = looks(target, "test", "other" if way == "matched" else "plain")
    labels = examples(target, "test").labels
    found = probes.linear_probe(X, y, served, labels)
    return {"accuracy": found.balanced_accuracy}


# -- an inherited bias -----------------------------------------------------------------

MARKED = {  # probability of the mark on functional and on defective cells
    "clean": (0.5, 0.5),
    "biased": (0.1, 0.9),
    "biased a little": (0.3, 0.7),
}
FIRST, SECOND = 180, 50  # labels of each class in the first and in the second job


@lru_cache(maxsize=8)
def with_or_without(kind, split):
    """Frozen features (2, N, F) of a kind's cells, without and with the mark."""
    images = solar_cells.load(split, kind=kind).images
    marked = np.stack([shifted.with_mark(x, i % 4) for i, x in enumerate(images)])
    backbone = lesson11_real.encoder(True)
    return np.stack([features.extract(backbone, part) for part in (images, marked)])


def job(kind, n, bias, rng):
    """(features, labels) of n cells of each class; some carry the mark."""
    both, y = with_or_without(kind, "train"), examples(kind, "train").labels
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:n] for c in (0, 1)])
    mark = rng.random(len(rows)) < np.array(MARKED[bias])[y[rows]]
    return both[mark.astype(int), rows], y[rows]


def learned(net, X, y, steps, lr, seed):
    """The same network after some updates of 64 cells."""
    recipe = training.Recipe(batch_size=64)
    training.fit(net, (X, y), steps=steps, lr=lr, seed=seed, recipe=recipe)
    return net


@experiment(
    "cells_bias",
    grid=[
        dict(source=source, target=target, strategy=strategy, seed=seed)
        for seed in range(10)
        for source in ("clean", "biased")
        for target in ("clean", "biased a little")
        for strategy in ("frozen", "full")
    ],
    sample=[dict(source="biased", target="biased a little", strategy="full", seed=0)],
    tolerance={"gap": 0.04, "accuracy": 0.03},
    data=FILES,
)
def cells_bias(source, target, strategy, seed):
    """How much the mark helps where it agrees with the class, in a second, small job.

    A layer of 128 on frozen features learns mono cells, then a new head (frozen) or
    all of it (full) learns poly cells.  gap: accuracy on test cells with the mark where
    defective, minus that with the mark where functional.
    """
    rng = np.random.default_rng((seed, 8))
    X, y = job("mono", FIRST, source, rng)
    scale = StandardScaler().fit(X).transform
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(X.shape[1], 128), nn.ReLU())
    net = nn.Sequential(trunk, nn.Linear(128, 2))
    learned(net, scale(X).astype(np.float32), y, 200, 1e-3, seed)
    net[1] = nn.Linear(128, 2)
    trunk.requires_grad_(strategy == "full")
    rng = np.random.default_rng((seed, 9))
    X, y = job("poly", SECOND, target, rng)
    learned(net, scale(X).astype(np.float32), y, 200, 1e-3, seed)
    labels = examples("poly", "test").labels
    answers = [
        net(torch.tensor(scale(part), dtype=torch.float32)).detach().numpy()
        for part in with_or_without("poly", "test")
    ]
    right = np.stack([z.argmax(1) == labels for z in answers])  # (2, N)
    places = np.arange(len(labels))
    agrees, conflicts = right[labels, places], right[1 - labels, places]
    gap = class_mean(agrees, labels) - class_mean(conflicts, labels)
    return {"gap": gap, "accuracy": class_mean(right.mean(0), labels)}
