"""Grid of lesson 01: how transferable is each stage?  Yosinski et al. 2014."""

from functools import lru_cache

from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    RATES,
    STEPS,
    adapted,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import zoo
from course_lib.training import freezing


@lru_cache(maxsize=3)
def trained_on_target(seed, fraction=1.0):
    """A network of the same shape, trained on the target itself (their "BnB")."""
    backbone = adapted("scratch", 100 + seed)
    options = dict(lr=RATES["scratch"], steps=STEPS[500], fraction=fraction)
    train(backbone, labelled(500, seed), seed=100 + seed, **options)
    return backbone


def copy_stages(target, origin, k):
    """Copy the first k stages of `origin` into `target`, BatchNorm included."""
    parts = ["conv1", "bn1"] + [f"layer{i}" for i in range(1, 5)]
    for part in parts[: k + 1] if k else []:
        state = origin.model.get_submodule(part).state_dict()
        target.model.get_submodule(part).load_state_dict(state)
    return target


@experiment(
    "copied_stages",
    grid=[dict(origin="source", k=0, mode="tuned", seed=seed) for seed in SEEDS]
    + [
        dict(origin="source", k=k, mode=mode, seed=seed)
        for k in range(1, 6)
        for mode in ("frozen", "tuned")
        for seed in SEEDS
    ]
    + [
        dict(origin="target", k=k, mode="frozen", seed=seed)
        for k in range(1, 6)
        for seed in SEEDS
    ],
    sample=[dict(origin="source", k=3, mode="frozen", seed=0)],
    short=[
        dict(origin="source", k=3, mode="frozen", seed=0, fraction=0.05),
        dict(origin="target", k=2, mode="frozen", seed=0, fraction=0.01),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def copied_stages(origin, k, mode, seed, fraction=1.0):
    """Copy k stages, freeze or tune them, train the rest on 500 labels."""
    donor = zoo.load(BACKBONE)
    if origin == "target":
        donor = trained_on_target(seed, fraction)
    backbone = copy_stages(adapted("scratch", seed), donor, k)
    if mode == "frozen":
        last = ["stem", "layer1", "layer2", "layer3", "layer4"][k - 1]
        freezing.freeze_until(backbone, last)
    data = labelled(500, seed)
    options = dict(lr=1e-3, steps=200, evaluations=5, fraction=fraction)
    train(backbone, data, seed=seed, **options)
    return scored(backbone, fraction)
