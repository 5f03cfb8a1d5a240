"""Grids of lesson 04: a rate for each layer, gradual unfreezing, schedules.

Every way to train gets the same rates to choose from; the lesson chooses one for each
by validation accuracy and reports the test accuracy of that one.
"""

from course_lib import layer_groups, zoo
from course_lib import schedules as over_time
from course_lib.experiments.protocol import (
    BACKBONE,
    FILES,
    SEEDS,
    STEPS,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.results import experiment

ULMFIT = 0.385  # 1 / 2.6, Howard & Ruder 2018
TRIED = (3e-4, 1e-3, 3e-3, 1e-2)  # lr: the rate of the last block
METHODS = {  # what differs from one flat rate for everything
    "flat": dict(alpha=1.0, gradual=False, head_factor=1.0),
    "head x 10": dict(alpha=1.0, gradual=False, head_factor=10.0),
    "by layer": dict(alpha=ULMFIT, gradual=False, head_factor=1.0),
    "gradual": dict(alpha=1.0, gradual=True, head_factor=1.0),
    "gradual by layer": dict(alpha=ULMFIT, gradual=True, head_factor=1.0),
}
ALPHAS = (0.1, 0.3, ULMFIT, 0.5, 1.0)  # the last but two is ULMFiT's, 1 is flat


def rate_cells():
    """100 labels: everything; 25 and 500: the three ways that the sources recommend."""
    grid = []

    def add(labels, seeds, tried=TRIED, **how):
        for seed in seeds:
            grid.extend(dict(labels=labels, **how, lr=lr, seed=seed) for lr in tried)

    for name, how in METHODS.items():
        add(100, SEEDS, **how)
        if name in ("flat", "by layer", "gradual by layer"):
            add(100, (3, 4), TRIED[:3], **how)
    add(100, SEEDS, (1e-4,), **METHODS["head x 10"])  # 3e-4 was the edge of the others
    for alpha in (0.1, 0.3, 0.5):
        add(100, SEEDS, TRIED[1:3], **METHODS["by layer"] | dict(alpha=alpha))
    for labels in (25, 500):
        for name in ("flat", "by layer", "gradual by layer"):
            if name != "flat" or labels == 25:  # flat at 500: the grid `strategies`
                tried = TRIED[1:] if labels == 25 else TRIED[1:3]
                add(labels, SEEDS, tried, **METHODS[name])
    return grid


@experiment(
    "layer_rates",
    grid=rate_cells(),
    sample=[dict(labels=25, **METHODS["gradual by layer"], lr=3e-3, seed=0)],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def layer_rates(labels, alpha, gradual, head_factor, lr, seed):
    """Fine-tune with a rate a layer group, open from the start or group by group."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    rates = dict(lr=lr, alpha=alpha, head_factor=head_factor)
    if gradual:  # one group more after each tenth of the updates
        groups, plan = over_time.gradual_unfreezing(backbone, **rates)
    else:
        groups, plan = layer_groups.decayed_groups(backbone, **rates), None
    data = labelled(labels, seed)
    options = dict(param_groups=groups, on_epoch=plan)
    train(backbone, data, steps=STEPS[labels], seed=seed, **options)
    return scored(backbone) | forgetting(backbone)


SHAPES = {  # "warm-up, cosine" is the flat rate of the grid above
    "constant": dict(schedule="constant", warmup=0.0),
    "slanted triangle": dict(schedule=over_time.slanted_triangular(), warmup=0.0),
}


@experiment(
    "schedules",
    grid=[
        dict(schedule=schedule, lr=lr, seed=seed)
        for seed in SEEDS
        for schedule in SHAPES
        for lr in TRIED
    ],
    sample=[dict(schedule="slanted triangle", lr=3e-3, seed=0)],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def schedules(schedule, lr, seed):
    """Fine-tune on 100 labels with one flat rate that follows a schedule."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    data = labelled(100, seed)
    train(backbone, data, steps=STEPS[100], seed=seed, lr=lr, **SHAPES[schedule])
    return scored(backbone) | forgetting(backbone)
