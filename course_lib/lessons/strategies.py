"""Grids of lessons 01 to 03: strategies, training from scratch, copied stages.

Training from scratch and fine-tuning were given the same three learning rates at 500
labels; the one that the validation images prefer is used everywhere (a test compares).
What does not touch the bundled weights is a grid of its own, `from_scratch`.
"""

from functools import lru_cache

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.lessons import results
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    SEEDS,
    STEPS,
    TARGET,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import experiment
from course_lib.models import features, zoo
from course_lib.training import freezing

TRIED = (1e-3, 3e-3, 1e-2)  # learning rates of scratch and full at 500 labels
RATES = {  # scratch and full: by validation; a logistic regression has none
    "scratch": 3e-3,
    "frozen": None,
    "frozen_mlp": 1e-3,  # untuned
    "last_stage": 1e-3,  # untuned
    "full": 1e-3,
}


def adapted(strategy, seed, num_classes=5):
    """A backbone made ready for a strategy: random or pretrained, frozen or not."""
    pretrained = strategy != "scratch"
    backbone = zoo.load(BACKBONE, num_classes, seed=seed, pretrained=pretrained)
    if strategy == "last_stage":
        freezing.freeze_until(backbone, "layer3")
    return backbone


def frozen_cell(strategy, data, seed):
    """Feature extraction: cached features, a linear or a two-layer head."""
    backbone = zoo.load(BACKBONE)
    validation, test = (datasets.load(TARGET, s) for s in ("validation", "test"))
    X, V, T = (features.extract(backbone, d) for d in (data, validation, test))
    if strategy == "frozen":
        probe = probes.linear_probe(
            X, data.labels, T, test.labels, val=(V, validation.labels), seed=seed
        )
        return {"accuracy": probe.accuracy}
    head, _ = training.fit_head(
        X,
        data.labels,
        (V, validation.labels),
        num_classes=5,
        hidden=256,
        dropout=0.5,
        steps=STEPS[len(data)],
        lr=RATES[strategy],
        seed=seed,
    )
    return {"accuracy": training.evaluate(head, (T, test.labels))["accuracy"]}


def cells(strategies):
    """The grid: each strategy at its rate, and three rates where rates are compared."""
    grid = []
    for strategy in strategies:
        few = strategy == "last_stage"
        for labels in (100, 500) if few else STEPS:
            for seed in SEEDS + ((3, 4) if labels == 500 else ()):
                rates = [RATES[strategy]]
                if strategy in ("scratch", "full") and labels == 500 and seed in SEEDS:
                    rates = TRIED
                grid += [
                    dict(strategy=strategy, labels=labels, lr=lr, seed=seed)
                    for lr in rates
                ]
    return grid


def trained_cell(strategy, labels, lr, seed):
    """Train one network; its accuracy on test and validation images, and itself."""
    backbone = adapted(strategy, seed)
    train(backbone, labelled(labels, seed), lr=lr, steps=STEPS[labels], seed=seed)
    return scored(backbone), backbone


@experiment(
    "from_scratch",
    grid=cells(["scratch"]),
    sample=[dict(strategy="scratch", labels=25, lr=RATES["scratch"], seed=0)],
    tolerance={"accuracy": 0.04},
    data=FILES,
)
def from_scratch(strategy, labels, lr, seed):
    """Test accuracy of the same network without pre-training.  Lessons 02 and 03."""
    numbers, _ = trained_cell(strategy, labels, lr, seed)
    return numbers


@experiment(
    "strategies",
    grid=cells(["frozen", "frozen_mlp", "last_stage", "full"]),
    sample=[dict(strategy="frozen", labels=500, lr=None, seed=0)],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def strategies(strategy, labels, lr, seed):
    """Test accuracy of one way to transfer at one label count.  Lessons 02 and 03."""
    if strategy.startswith("frozen"):
        return frozen_cell(strategy, labelled(labels, seed), seed)
    numbers, backbone = trained_cell(strategy, labels, lr, seed)
    return numbers | forgetting(backbone)


def compared():
    """The rows of both grids, each strategy at its own rate.  Lessons 00, 02, 03."""
    every = results.load("from_scratch") + results.load("strategies")
    return [row for row in every if row["lr"] == RATES[row["strategy"]]]


# --- Yosinski et al. 2014: how transferable is each stage? --------------------


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
    """Copy k stages, freeze or tune them, train the rest on 500 labels.  Lesson 01."""
    donor = zoo.load(BACKBONE) if origin == "source" else trained_on_target(seed)
    backbone = copy_stages(adapted("scratch", seed), donor, k)
    if mode == "frozen":
        last = ["stem", "layer1", "layer2", "layer3", "layer4"][k - 1]
        freezing.freeze_until(backbone, last)
    data = labelled(500, seed)
    train(backbone, data, lr=1e-3, steps=200, seed=seed, evaluations=5)
    test = datasets.load(TARGET, "test")
    return {"accuracy": training.evaluate(backbone, test)["accuracy"]}
