"""The grids behind the lessons' figures: one function, one cell of a grid.

A cell trains and measures one combination of settings and returns plain numbers.
`course run --recompute` runs the grids over many seeds and writes data/results; the
lessons load those files, and a test recomputes a sample of their cells.  Every grid
trains alike: 32 images a step, turns and shifts, AdamW, warm-up then cosine, the
checkpoint of lowest validation loss, accuracy on the 1,000 test images.  Augmentation
was chosen on the validation images of one run, the rates by `learning_rates`.
"""

from functools import lru_cache

from course_lib import datasets, features, freezing, probes, training, zoo
from course_lib.pretraining import patterns, recipes
from course_lib.results import experiment

__all__ = ["copied_stages", "learning_rates", "strategies"]

BACKBONE = "bundled/resnet10-patterns"
TARGET = "wafer_micrographs"
FILES = ("wafer_micrographs.npz",)
STEPS = {25: 300, 100: 300, 500: 640, 2500: 1000, 10_000: 1600}  # updates by labels
RATES = {"scratch": 3e-3, "full": 1e-3, "last_stage": 1e-3, "full_high_rate": 1e-2}
OTHER_RATES = {"scratch": (1e-3,)}  # fine-tuning was left at its usual rate
SEEDS = (0, 1, 2)


def labelled(n, seed):
    """n labelled target images, classes balanced; above 500 from the rendered pool."""
    if n <= 500:
        return datasets.load(TARGET, "train").take(n, seed=seed)
    return datasets.load(TARGET, "pool", n=n, seed=seed)


@lru_cache(maxsize=1)
def source_pictures(n=1024):
    """Held-out pictures of the source task, to measure forgetting."""
    return patterns.render(n, recipes.HELD_OUT_SEED)


def source_accuracy(backbone, original):
    """Accuracy of the source heads on top of the backbone's present features."""
    model = backbone.copy().model
    model.set_submodule(backbone.head, original.model.get_submodule(original.head))
    held_out = source_pictures()
    pool = (held_out.images, held_out.labels)
    return recipes.head_accuracy(model, pool, original.card["heads"])


def train(backbone, data, *, lr, steps, seed, evaluations=10):
    """The one training protocol of every grid."""
    augment = training.compose(training.random_dihedral(), training.random_crop(4))
    return training.fit(
        backbone,
        data,
        datasets.load(TARGET, "validation"),
        steps=steps,
        eval_every=steps // evaluations,
        lr=lr,
        augment=augment,
        seed=seed,
    )


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
        lr=1e-3,
        seed=seed,
    )
    return {"accuracy": training.evaluate(head, (T, test.labels))["accuracy"]}


@experiment(
    "strategies",
    grid=[
        dict(strategy=strategy, labels=labels, seed=seed)
        for strategy in ("scratch", "frozen", "frozen_mlp", "last_stage", "full")
        for labels in STEPS
        for seed in SEEDS + ((3, 4) if labels == 500 else ())
        if strategy != "last_stage" or labels in (100, 500)
    ]
    + [dict(strategy="full_high_rate", labels=500, seed=seed) for seed in SEEDS],
    sample=[
        dict(strategy="frozen", labels=500, seed=0),
        dict(strategy="full", labels=100, seed=1),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def strategies(strategy, labels, seed):
    """Test accuracy of one way to transfer at one label count.  Lessons 02 and 03."""
    data = labelled(labels, seed)
    if strategy.startswith("frozen"):
        return frozen_cell(strategy, data, seed)
    backbone = adapted(strategy, seed)
    train(backbone, data, lr=RATES[strategy], steps=STEPS[labels], seed=seed)
    numbers = {
        f"{prefix}accuracy": training.evaluate(backbone, datasets.load(TARGET, part))[
            "accuracy"
        ]
        for prefix, part in (("", "test"), ("val_", "validation"))
    }
    if strategy != "scratch":
        kept = source_accuracy(backbone, zoo.load(BACKBONE))
        numbers |= {f"source_{head}": share for head, share in kept.items()}
    return numbers


@experiment(
    "learning_rates",
    grid=[
        dict(strategy=strategy, lr=lr, seed=seed)
        for strategy in OTHER_RATES
        for lr in OTHER_RATES[strategy]
        for seed in SEEDS
    ],
    sample=[dict(strategy="scratch", lr=1e-3, seed=0)],
    tolerance={"val_accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def learning_rates(strategy, lr, seed):
    """Validation accuracy, 500 labels, at rates other than those of `strategies`."""
    backbone = adapted(strategy, seed)
    train(backbone, labelled(500, seed), lr=lr, steps=STEPS[500], seed=seed)
    validation = datasets.load(TARGET, "validation")
    return {"val_accuracy": training.evaluate(backbone, validation)["accuracy"]}


# --- Yosinski et al. 2014: how transferable is each stage? --------------------


@lru_cache(maxsize=3)
def trained_on_target(seed):
    """A network of the same shape, trained on the target itself (their "BnB")."""
    backbone = adapted("scratch", 100 + seed)
    train(backbone, labelled(500, seed), lr=1e-3, steps=STEPS[500], seed=100 + seed)
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
