"""Grid of lesson 01: how transferable is each stage?  Yosinski et al. 2014."""

from functools import lru_cache

from course_lib import datasets, training
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    RATES,
    STEPS,
    TARGET,
    adapted,
    labelled,
    train,
)
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import zoo
from course_lib.training import freezing


@lru_cache(maxsize=3)
def trained_on_target(seed):
    """A network of the same shape, trained on the target itself (their "BnB")."""
    backbone = adapted("scratch", 100 + seed)
    lr = RATES["scratch"]
    train(backbone, labelled(500, seed), lr=lr, steps=STEPS[500], seed=100 + seed)
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
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def copied_stages(origin, k, mode, seed):
    """Copy k stages, freeze or tune them, train the rest on 500 labels."""
    donor = zoo.load(BACKBONE) if origin == "source" else trained_on_target(seed)
    backbone = copy_stages(adapted("scratch", seed), donor, k)
    if mode == "frozen":
        last = ["stem", "layer1", "layer2", "layer3", "layer4"][k - 1]
        freezing.freeze_until(backbone, last)
    data = labelled(500, seed)
    train(backbone, data, lr=1e-3, steps=200, seed=seed, evaluations=5)
    test = datasets.load(TARGET, "test")
    return {"accuracy": training.evaluate(backbone, test)["accuracy"]}
