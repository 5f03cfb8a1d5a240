"""Lesson 04: a rate for each layer, gradual unfreezing, schedules.

Every way to train gets the same rates to choose from; the lesson chooses one for each
by validation accuracy and reports the test accuracy of that one.
"""

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
from course_lib.training import layer_groups
from course_lib.training import schedules as over_time

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

MILD = 0.7
SOLAR_WAYS = {  # each starts from the same head, which was fitted to frozen features
    "flat": dict(alpha=1.0, gradual=False),
    "by stage": dict(alpha=ULMFIT, gradual=False),
    "by stage, mild": dict(alpha=MILD, gradual=False),
    "gradual": dict(alpha=1.0, gradual=True),
}
SOLAR_TRIED = (3e-4, 1e-3, 3e-3)  # lr: the rate of the last stage
SOLAR_EVALUATIONS = 8  # an epoch of the plan is the ten updates between two of them
SOLAR_PLAN = {  # ULMFiT opens one group an epoch; here all are open after 50 of 80
    1: ["blocks.6.0"],
    2: ["blocks.5"],
    3: ["blocks.4"],
    4: ["blocks.3", "blocks.2"],
    5: ["blocks.1", "blocks.0.0", "stem"],
}
COMPARED, CONFIRMED = (0, 1), (2, 3, 4)  # seeds: of all rates, of the chosen one
SOLAR_BEST: dict[str, float] = {}  # by validation accuracy over COMPARED


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


@torch.no_grad()
def imagenet_left(backbone):
    """How far Lite0 still answers as ImageNet taught it: agreement and nats.

    ImageNet's own head is put back on the adapted network.  Its answers to crops of two
    photographs are compared with those of the untouched network: share of equal first
    answers, and Kullback-Leibler divergence.  BatchNorm's statistics moved with the
    target pictures; for `restored` they are ImageNet's again, which asks about the
    weights alone.
    """
    original = zoo.load(solar.BACKBONE)
    model = backbone.copy().model.eval()
    model.set_submodule(backbone.head, original.model.get_submodule(original.head))
    pictures = backbone.preprocess(crops())
    before = original.model(pictures).log_softmax(1)
    statistics_of_imagenet = dict(original.model.named_buffers())
    numbers = {}
    for name in ("moved", "restored"):
        if name == "restored":
            model.load_state_dict(statistics_of_imagenet, strict=False)
        now = model(pictures).log_softmax(1)
        same = (now.argmax(1) == before.argmax(1)).float().mean()
        numbers[f"agreement_{name}"] = float(same)
        far = kl_div(now, before, reduction="batchmean", log_target=True)
        numbers[f"nats_{name}"] = float(far)
    return numbers


@experiment(
    "solar_layer_rates",
    grid=[
        dict(SOLAR_WAYS[way], lr=lr, seed=seed)
        for seed in COMPARED
        for lr in SOLAR_TRIED
        for way in SOLAR_WAYS
    ]
    + [
        dict(SOLAR_WAYS[way], lr=lr, seed=seed)
        for seed in CONFIRMED
        for way, lr in SOLAR_BEST.items()
    ],
    sample=[dict(SOLAR_WAYS["gradual"], lr=1e-3, seed=0)],
    short=[dict(SOLAR_WAYS["gradual"], lr=1e-3, seed=0, fraction=0.05)],
    tolerance=solar.TOLERANCE
    | {"agreement_restored": 0.1, "agreement_moved": 0.1}
    | {"nats_restored": 0.2, "nats_moved": 0.2},
    data=solar.FILES,
)
def solar_layer_rates(alpha, gradual, lr, seed, fraction=1.0):
    """Fine-tune Lite0 on 100 cells of each class with a rate a stage."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    training.attach_head(backbone, probe(seed))  # Kumar et al. 2022
    stages = layer_groups.layer_groups(backbone, "stages")
    rates = dict(lr=lr, alpha=alpha, groups=stages)
    if gradual:
        groups, plan = over_time.gradual_unfreezing(backbone, **rates, plan=SOLAR_PLAN)
    else:
        groups, plan = layer_groups.decayed_groups(backbone, **rates), None
    steps = solar.STEPS[solar.TUNED_AT]
    recipe = training.Recipe(
        augment=training.random_flips(),
        eval_every=interval(steps, SOLAR_EVALUATIONS, fraction),
        on_epoch=plan,
        optimization=training.Optimization(param_groups=groups),
    )
    options = dict(steps=updates(steps, fraction), seed=seed, recipe=recipe)
    train = solar.labelled(solar.TUNED_AT, seed)
    training.fit(backbone, train, part(solar.validation(), fraction), **options)
    return solar.scored(backbone, fraction) | imagenet_left(backbone)
