"""Lesson 12, real world: networks that learn, where ImageNet's features lose and win.

The cases follow from the rule of :mod:`lesson12_far`, by its even seeds: the two real
targets with the lowest gain of frozen features over random ones, and for the other side
the real one with the highest.  One thing was changed when `far_frozen` had been seen,
and before anything here was run.  With the rule's 20 labels no real target wins by two
points, so solar cells have 100, where one does; and in place of the second, which wins
by too little to be an example of it, stand wafer micrographs, drawn ones.  The seeds
10 to 14 of these grids took no part in that.

A learner with n labels a class has no others to choose by: a third of them validates.
`far_signs` trains what lies behind the fifth stage, on stored output of what lies
below: from ImageNet's weights, and the same network from random ones, its lower part
random and frozen.  `far_remedies` tries what textbooks advise on the hardest target.
Ways that learn by updates have one rate, the one that validation preferred in lesson
06 for trained and for random weights of this network on vowels; training all layers has
the rates of lesson 03.  Validation loss chooses among ten moments of a run.  Ways that
do not learn by updates need no validation, and take all n labels.
"""

import copy
from functools import lru_cache

import torch

from course_lib import training
from course_lib.analysis.negative_transfer import errors_follow_source, falls_and_rises
from course_lib.lessons import lesson06_real, lesson12_far, solar
from course_lib.lessons.lesson12_far import drawn, pictures
from course_lib.lessons.results import experiment, interval, part, updates
from course_lib.models import features, zoo
from course_lib.training import freezing
from course_lib.training import schedules as over_time
from course_lib.training.frozen_stages import FrozenStages

LOSE, WIN = ("vowels", "movements"), ("solar 48 px", "wafer_micrographs")
LABELS = {"vowels": 20, "movements": 10, "solar 48 px": 100, "wafer_micrographs": 80}
HARDEST = LOSE[0]
SEEDS = range(10, 15)
STEPS, BATCH, EVALUATIONS = 40, 16, 10
RATE, GENTLE = 3e-3, 1e-3
WHOLE = {"all layers": 1e-3, "from scratch": 3e-3}
BELOW = "stage5"  # the last one that stays frozen
OPENED = {  # layer groups by the evaluation before which they are unfrozen
    1: ["blocks.6.0"],
    2: ["blocks.5.3", "blocks.5.2"],
    3: ["blocks.5.1", "blocks.5.0"],
}
CONFIDENT, ALPHA = 0.9, 0.01
FILES = lesson12_far.FILES


def divided(target, seed):
    """Rows of training pictures, two thirds of each class's labels, and the others."""
    rows = drawn(target, LABELS[target], seed)
    by_class = rows.reshape(-1, LABELS[target])
    first = round(2 * LABELS[target] / 3)
    return by_class[:, :first].ravel(), by_class[:, first:].ravel()


@lru_cache(maxsize=4)
def stored(target, weights):
    """(FrozenStages, weights of the upper part, {split: what it reads})."""
    every = {split: pictures(target, split) for split in ("train", "test")}
    pretrained, classes = weights == "imagenet", len(every["train"].classes)
    backbone = zoo.load(solar.BACKBONE, classes, pretrained=pretrained)
    stages = FrozenStages(backbone, BELOW, every["train"].images[:2])
    outputs = {split: stages.run(data) for split, data in every.items()}
    return stages, copy.deepcopy(stages.upper.state_dict()), outputs


def fresh_head(stages, seed):
    """A head drawn by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages.upper.net.get_submodule(stages.backbone.head).reset_parameters()


def tuned(target, weights, seed, fraction=1.0, start=None, gradual=False):
    """(upper network with the weights of the lowest validation loss, history).

    start: weights of the upper part, in place of its own; gradual: opened from the
    head down.
    """
    stages, own, outputs = stored(target, weights)
    train, held = (
        tuple(t[torch.as_tensor(rows)] for t in outputs["train"])
        for rows in divided(target, seed)
    )
    stages.upper.load_state_dict(start or own)
    fresh_head(stages, seed)
    changed = {}
    if gradual:
        groups, plan = over_time.gradual_unfreezing(stages.backbone, RATE, plan=OPENED)
        optimization = training.Optimization(param_groups=groups)
        changed = dict(optimization=optimization, on_epoch=plan)
    every = interval(STEPS, EVALUATIONS, fraction)
    recipe = training.Recipe(batch_size=BATCH, eval_every=every, **changed)
    options = dict(steps=updates(STEPS, fraction), lr=RATE, seed=seed, recipe=recipe)
    history = training.fit(stages.upper, train, held, **options)
    freezing.freeze_until(stages.backbone, BELOW)
    return stages.upper, history


@lru_cache(maxsize=2)
def source_classes(target):
    """Which of ImageNet's classes the network sees in the test pictures."""
    images = pictures(target, "test").images
    backbone = zoo.load(solar.BACKBONE)
    Z = torch.as_tensor(features.extract(backbone, images))
    with torch.no_grad():
        return backbone.model.get_submodule(backbone.head)(Z).argmax(1).numpy()


@experiment(
    "far_signs",
    grid=[
        dict(target=target, start=start, seed=seed)
        for target in (*LOSE, *WIN)
        for start in ("imagenet", "random")
        for seed in SEEDS
    ],
    sample=[dict(target="movements", start="imagenet", seed=10)],
    tolerance={"accuracy": 0.06, "val_accuracy": 0.1},
    data=FILES,
)
def far_signs(target, start, seed, fraction=1.0):
    """What a network that learned shows of the three warning signs.

    rises: validation loss rises from the start on while training loss falls.
    confident: share of test pictures that are wrong with a probability above 0.9.
    follow: p value of "confident errors do not follow the source's classes".
    """
    net, history = tuned(target, start, seed, fraction)
    tested = stored(target, start)[2]["test"]
    scores, labels = training.evaluate(net, tested), pictures(target, "test").labels
    wrong = scores["probabilities"].max(axis=1) > CONFIDENT
    wrong &= scores["predictions"] != labels
    follow = errors_follow_source(
        source_classes(target)[wrong], labels[wrong], scores["predictions"][wrong]
    )
    return {
        "accuracy": scores["balanced_accuracy"],
        "val_accuracy": history.val_accuracy[history.best_epoch],
        "rises": falls_and_rises(history.to_dict()),
        "confident": wrong.mean(),
        "follow": 1.0 if follow["p"] is None else follow["p"],
    }


# -- what textbooks advise, on the hardest target -----------------------------------

PROBES = ("frozen", "frozen, random", "pixels", "earlier layers, grid")
LEARNED = (
    "last stages",
    "last stages, random",
    "gradual unfreezing",
    "lower layers only",
    "intermediate domain",
)
REMEDIES = (*PROBES, *LEARNED, *WHOLE)
BETWEEN, BETWEEN_STEPS = "leaves", 60  # outlines of leaves, series of another kind


def probed(way, seed):
    """Test accuracy of a way that does not learn by updates."""
    rows, (train, test) = drawn(HARDEST, LABELS[HARDEST], seed), both()
    if way == "earlier layers, grid":
        parts = {}
        for split, at in (("train", rows), ("test", ...)):
            X, y = lesson12_far.stage_features("real", HARDEST, split)
            parts[split] = {key: Z[at] for key, Z in X.items()}, y[at]
        found = lesson12_far.by_layer(parts, seed)
        earlier = [value for key, value in found.items() if key[0] != "conv_head"]
        return max(earlier, key=lambda value: value[0])[1]
    name = {"frozen": "imagenet", "frozen, random": "random"}.get(way, way)
    draw = seed % 2 if name == "random" else 0
    X, T = (lesson12_far.represented(HARDEST, s, name, draw) for s in ("train", "test"))
    return lesson12_far.regression(X[rows], train[rows], T, test, seed)


def both():
    """Labels of the training and of the test pictures."""
    return [pictures(HARDEST, split).labels for split in ("train", "test")]


@lru_cache(maxsize=1)
def after_intermediate():
    """The upper part after updates on an intermediate domain, its head warmed first.

    A head drawn at random would send noise through the pretrained layers: it is
    trained on frozen features before they learn.
    """
    data = lesson06_real.pictures(BETWEEN, "train")
    backbone = zoo.load(solar.BACKBONE, len(data.classes))
    Z = features.extract(backbone, data)
    shape = training.Head(standardise=False)
    head, _ = training.fit_head(Z, data.labels, head=shape, steps=200)
    training.attach_head(backbone, head)
    stages = FrozenStages(backbone, BELOW, data.images[:2])
    recipe = training.Recipe(batch_size=BATCH)
    options = dict(steps=BETWEEN_STEPS, lr=GENTLE, seed=0, recipe=recipe)
    training.fit(stages.upper, stages.run(data), **options)
    return copy.deepcopy(stages.upper.state_dict())


def start_of(way):
    """Weights of the upper part to start from, or None for its own."""
    own = stored(HARDEST, "imagenet")[1]
    if way == "intermediate domain":
        other = after_intermediate()
    elif way == "lower layers only":
        other = stored(HARDEST, "random")[1]
    else:
        return None
    # what lies below is a constant of the network, and stays
    upper = ("net.blocks.5", "net.blocks.6", "net.conv_head", "net.bn2")
    return {k: other[k] if k.startswith(upper) else v for k, v in own.items()}


def whole(way, seed, fraction):
    """Test accuracy of the network when all its layers learn."""
    data = pictures(HARDEST, "train")
    train, held = (data.subset(rows) for rows in divided(HARDEST, seed))
    pretrained, classes = way == "all layers", len(data.classes)
    backbone = zoo.load(solar.BACKBONE, classes, seed=seed, pretrained=pretrained)
    every = interval(STEPS, EVALUATIONS, fraction)
    recipe = training.Recipe(batch_size=BATCH, eval_every=every)
    options = dict(steps=updates(STEPS, fraction), seed=seed, recipe=recipe)
    training.fit(backbone, train, held, lr=WHOLE[way], **options)
    test = part(pictures(HARDEST, "test"), fraction)
    return training.evaluate(backbone, test)["balanced_accuracy"]


@experiment(
    "far_remedies",
    grid=[dict(way=way, seed=seed) for way in REMEDIES for seed in SEEDS],
    sample=[dict(way="pixels", seed=10), dict(way="gradual unfreezing", seed=10)],
    short=[
        dict(way="pixels", seed=10),
        dict(way="gradual unfreezing", seed=10, fraction=0.3),
    ],
    tolerance={"accuracy": 0.06},
    data=FILES,
)
def far_remedies(way, seed, fraction=1.0):
    """Balanced test accuracy of one way on the hardest target."""
    if way in PROBES:
        return {"accuracy": probed(way, seed)}
    if way in WHOLE:
        return {"accuracy": whole(way, seed, fraction)}
    weights = "random" if way == "last stages, random" else "imagenet"
    start, gradual = start_of(way), way == "gradual unfreezing"
    net, _ = tuned(HARDEST, weights, seed, fraction, start, gradual)
    tested = stored(HARDEST, weights)[2]["test"]
    return {"accuracy": training.evaluate(net, tested)["balanced_accuracy"]}
