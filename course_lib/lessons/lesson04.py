"""Lesson 04: a rate for each layer, gradual unfreezing, schedules.

Every way to train gets the same rates to choose from; the lesson chooses one for each
by validation accuracy and reports the test accuracy of that one.
"""

import copy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import kl_div

from course_lib import datasets, training
from course_lib.lessons import solar
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    STEPS,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, experiment, interval, part, updates
from course_lib.models import features, zoo
from course_lib.show import plots
from course_lib.training import freezing, layer_groups
from course_lib.training import schedules as over_time
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

ULMFIT = 0.385  # 1 / 2.6, Howard & Ruder 2018
TRIED = (3e-4, 1e-3, 3e-3, 1e-2)  # lr: the rate of the last block
METHODS = {  # what differs from one flat rate for everything
    "flat": dict(alpha=1.0, gradual=False, head_factor=1.0),
    "head x 10": dict(alpha=1.0, gradual=False, head_factor=10.0),
    "by layer": dict(alpha=ULMFIT, gradual=False, head_factor=1.0),
    "by layer, head x 10": dict(alpha=ULMFIT, gradual=False, head_factor=10.0),
    "gradual": dict(alpha=1.0, gradual=True, head_factor=1.0),
    "gradual by layer": dict(alpha=ULMFIT, gradual=True, head_factor=1.0),
}
ALPHAS = (0.1, 0.3, ULMFIT, 0.5, 1.0)  # the last but two is ULMFiT's, 1 is flat


def rate_cells():
    """100 labels: everything; 25 and 500: the three ways that the sources recommend.

    Rates were added below and above wherever the best one lay at the edge.
    """
    grid = []

    def add(labels, seeds, tried, name, **changed):
        how = METHODS[name] | changed
        for seed in seeds:
            grid.extend(dict(labels=labels, **how, lr=lr, seed=seed) for lr in tried)

    for name in METHODS:
        fast_head = METHODS[name]["head_factor"] > 1
        both = name == "by layer, head x 10"
        tried = (TRIED[:2] if both else TRIED) + ((1e-4,) if fast_head else ())
        add(100, SEEDS, tried, name)
        if name in ("flat", "by layer", "gradual by layer"):
            add(100, (3, 4), TRIED[:3], name)
    for alpha in (0.1, 0.3, 0.5):
        add(100, SEEDS, TRIED[:3], "by layer", alpha=alpha)
    for name in ("flat", "by layer", "gradual by layer"):
        gradual = METHODS[name]["gradual"]
        add(25, SEEDS, (*TRIED[1:], 3e-2) if gradual else TRIED, name)
        at500 = {"flat": TRIED[:1], "by layer": TRIED[:3]}  # flat: see `strategies` too
        add(500, SEEDS, at500.get(name, TRIED[1:]), name)
    return grid


@experiment(
    "layer_rates",
    grid=rate_cells(),
    sample=[dict(labels=25, **METHODS["gradual by layer"], lr=3e-3, seed=0)],
    short=[
        dict(labels=25, **METHODS["gradual by layer"], lr=3e-3, seed=0, fraction=0.05)
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def layer_rates(labels, alpha, gradual, head_factor, lr, seed, fraction=1.0):
    """Fine-tune with a rate a layer group, open from the start or group by group."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    rates = dict(lr=lr, alpha=alpha, head_factor=head_factor)
    if gradual:  # one group more after each tenth of the updates
        groups, plan = over_time.gradual_unfreezing(backbone, **rates)
    else:
        groups, plan = layer_groups.decayed_groups(backbone, **rates), None
    data = labelled(labels, seed)
    optimization = training.Optimization(param_groups=groups)
    options = dict(optimization=optimization, on_epoch=plan, fraction=fraction)
    train(backbone, data, steps=STEPS[labels], seed=seed, **options)
    return scored(backbone, fraction) | forgetting(backbone)


SHAPES = {  # "warm-up, cosine" is the flat rate of the grid above
    "constant": training.Optimization(schedule="constant", warmup=0.0),
    "slanted triangle": training.Optimization(
        schedule=over_time.slanted_triangular(), warmup=0.0
    ),
}


@experiment(
    "schedules",
    grid=[
        dict(schedule=schedule, lr=lr, seed=seed)
        for seed in SEEDS
        for schedule in SHAPES
        for lr in TRIED
    ],
    sample=[dict(schedule="slanted triangle", lr=3e-4, seed=0)],
    short=[dict(schedule=name, lr=3e-4, seed=0, fraction=0.03) for name in SHAPES],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def schedules(schedule, lr, seed, fraction=1.0):
    """Fine-tune on 100 labels with one flat rate that follows a schedule."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    data = labelled(100, seed)
    options = dict(steps=STEPS[100], seed=seed, lr=lr, fraction=fraction)
    train(backbone, data, **options, optimization=SHAPES[schedule])
    return scored(backbone, fraction) | forgetting(backbone)


def trade_off_figure(ways, still):
    """Accuracy left on the source against that on the target, by way to fine-tune.

    ways: {name: Grid of all its rates and seeds}.  still: the two accuracies, target
    and source, of frozen features.
    """
    fig, ax = plots.new(height=4.0)
    both = ("accuracy", "source_texture")
    for i, (name, rows) in enumerate(ways.items()):
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
        by_seed = sorted(rows, key=lambda row: row["seed"])
        points = ([row[number] for row in by_seed] for number in both)
        ax.scatter(*points, s=10, alpha=0.3, **look)
        means = (rows.best().values(number).mean() for number in both)
        ax.scatter(*means, s=90, edgecolor="black", label=name, **look)
    ax.plot(*still, "k*", markersize=13, label="frozen features")
    ax.set(xlabel="target: test accuracy", ylabel="source: accuracy on textures")
    ax.set_title("All but flat keep more of the source; frozen features keep all of it")
    ax.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0.12, 0))
    return fig


# -- the real world: solar cells and EfficientNet-Lite0 -----------------------------
# What lies behind stage 5 learns: five blocks and the head, four fifths of the weights.
# The stages below stay frozen and run once on each picture.

MILD = 0.7
SOLAR_WAYS = {  # each starts from the same head, which was fitted to frozen features
    "flat": dict(alpha=1.0, gradual=False),
    "by block": dict(alpha=ULMFIT, gradual=False),
    "by block, mild": dict(alpha=MILD, gradual=False),
    "gradual": dict(alpha=1.0, gradual=True),
    "constant": dict(alpha=1.0, gradual=False),  # flat, without warm-up and cosine
}
SOLAR_TRIED = (3e-4, 1e-3, 3e-3)  # lr: the rate of the last block
SOLAR_EVALUATIONS = 8  # an epoch of the plan is the ten updates between two of them
SOLAR_PLAN = {  # one block an epoch, as ULMFiT; all are open after 50 of 80 updates
    1: ["blocks.6.0"],
    2: ["blocks.5.3"],
    3: ["blocks.5.2"],
    4: ["blocks.5.1"],
    5: ["blocks.5.0"],
}


@lru_cache(maxsize=1)
def probe(seed):
    """A head fitted to Lite0's frozen features of 100 cells of each class."""
    backbone = zoo.load(solar.BACKBONE)
    train, held = solar.labelled(solar.TUNED_AT, seed), solar.validation()
    X, V = (features.extract(backbone, data) for data in (train, held))
    options = dict(head=training.Head(standardise=False), steps=200, seed=seed)
    return training.fit_head(X, train.labels, (V, held.labels), **options)[0]


@lru_cache(maxsize=1)
def crops(size=192):
    """32 crops of each of two photographs at 96 px, (64, 96, 96, 3)."""
    cut = []
    for photograph in datasets.photographs().values():
        height, width = (n - size for n in photograph.shape[:2])
        for y in np.linspace(0, height, 4).astype(int):
            for x in np.linspace(0, width, 8).astype(int):
                cut.append(photograph[y : y + size : 2, x : x + size : 2])
    return np.stack(cut)


@lru_cache(maxsize=1)
def untouched():
    """Lite0 as ImageNet left it, the crops prepared, and its answers, (64, 1000)."""
    original = zoo.load(solar.BACKBONE)
    pictures = original.preprocess(crops())
    with torch.no_grad():
        return original, pictures, original.model(pictures).log_softmax(1)


@torch.no_grad()
def imagenet_left(backbone):
    """How far Lite0 still answers as ImageNet taught it: agreement and nats.

    ImageNet's own head is put back on the adapted network.  Its answers to crops of two
    photographs are compared with those of the untouched network: share of equal first
    answers, and Kullback-Leibler divergence.
    """
    original, pictures, before = untouched()
    model = backbone.copy().model.eval()
    model.set_submodule(backbone.head, original.model.get_submodule(original.head))
    now = model(pictures).log_softmax(1)
    same = (now.argmax(1) == before.argmax(1)).float().mean()
    far = kl_div(now, before, reduction="batchmean", log_target=True)
    return {"imagenet_agreement": float(same), "imagenet_nats": float(far)}


def keep_statistics(net):
    """BatchNorm keeps its running statistics for good; scale and shift still learn.

    The probe's head was fitted to features by these statistics.
    """
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    learn = [layer.weight.requires_grad for layer in norms]
    for layer in norms:
        layer.requires_grad_(False)
    freezing.freeze_batchnorm(net)
    for layer, before in zip(norms, learn, strict=True):
        layer.requires_grad_(before)


SOLAR_TOLERANCE = solar.TOLERANCE | {
    "imagenet_agreement": 0.1,
    "imagenet_nats": 0.2,
}


@lru_cache(maxsize=4)
def stored_below(split, seed, fraction):
    """What stage 5 gives for the cells of a split; of the training cells, two views."""
    backbone = zoo.load(solar.BACKBONE)
    data = {
        "train": lambda: solar.labelled(solar.TUNED_AT, seed),
        "validation": solar.validation,
        "test": lambda: solar.cells("test"),
    }[split]()
    lower = FrozenStages(backbone, solar.BELOW, data.images)
    if split == "train":
        return lower.run(data, MIRRORED)
    return lower.run(part(data, fraction))


def with_best(net, seen, held, plan=None, **options):
    """Train; the weights of the lowest validation loss, while `net` keeps the last.

    plan: {epoch: f(model, optimizer)}.  options: those of `training.fit`; an epoch is
    the updates between two evaluations, as there.
    """
    lowest, best = np.inf, None

    def evaluate():
        nonlocal lowest, best
        loss = training.evaluate(net, held)["loss"]
        if loss < lowest:
            lowest, best = loss, copy.deepcopy(net.state_dict())

    def on_epoch(epoch, model, optimizer):
        if epoch:
            evaluate()
        if plan and epoch in plan:
            plan[epoch](model, optimizer)

    recipe = replace(options.pop("recipe"), on_epoch=on_epoch)
    training.fit(net, seen, recipe=recipe, **options)
    evaluate()
    return best


@experiment(
    "solar_layer_rates",
    grid=[
        dict(way=way, lr=lr, seed=seed)
        for seed in range(5)
        for lr in SOLAR_TRIED
        for way in SOLAR_WAYS
    ],
    sample=[dict(way="gradual", lr=1e-3, seed=0)],
    short=[dict(way="gradual", lr=1e-3, seed=0, fraction=0.05)],
    tolerance=SOLAR_TOLERANCE | {"last_accuracy": 0.02, "val_last_accuracy": 0.02},
    data=solar.FILES,
)
def solar_layer_rates(way, lr, seed, fraction=1.0):
    """Train the last two stages of Lite0 on 100 cells of each class."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    training.attach_head(backbone, probe(seed))  # Kumar et al. 2022
    images = solar.validation().images
    upper = FrozenStages(backbone, solar.BELOW, images).upper
    keep_statistics(upper)
    alpha, gradual = SOLAR_WAYS[way]["alpha"], SOLAR_WAYS[way]["gradual"]
    if gradual:
        groups, plan = over_time.gradual_unfreezing(
            backbone, lr, alpha, plan=SOLAR_PLAN
        )
    else:
        groups, plan = layer_groups.decayed_groups(backbone, lr, alpha), None
    options = dict(schedule="constant", warmup=0.0) if way == "constant" else {}
    optimization = training.Optimization(param_groups=groups, **options)
    steps = solar.STEPS[solar.TUNED_AT]
    every = interval(steps, SOLAR_EVALUATIONS, fraction)
    recipe = training.Recipe(eval_every=every, optimization=optimization)
    seen, held, test = (
        stored_below(split, seed if split == "train" else 0, fraction)
        for split in ("train", "validation", "test")
    )
    options = dict(steps=updates(steps, fraction), seed=seed, recipe=recipe)
    best = with_best(upper, seen, held, plan, **options)
    numbers = {}
    for name in ("last_", ""):
        if name == "":
            upper.load_state_dict(best)
        for prefix, data in (("", test), ("val_", held)):
            found = training.evaluate(upper, data)
            numbers[f"{prefix}{name}accuracy"] = found["balanced_accuracy"]
            numbers[f"{prefix}{name}loss"] = found["loss"]
    return numbers | imagenet_left(backbone)
