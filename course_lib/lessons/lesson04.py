"""Lesson 04: a rate for each layer, gradual unfreezing, schedules.

Every way to train gets the same rates to choose from; the lesson chooses one for each
by validation accuracy and reports the test accuracy of that one.
"""

from course_lib import training
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    STEPS,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import zoo
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
