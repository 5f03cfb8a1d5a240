"""Grids of lesson 06: every bundled source on several targets, and CNN against ViT.

The augmentation of each target was fixed before any result: turns and mirrorings only
where they cannot change the class.
"""

from course_lib import datasets, training
from course_lib.lessons import protocol
from course_lib.lessons.protocol import AUGMENT, labelled, train
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import zoo

SOURCES = (
    "random",
    "bundled/resnet10-silhouettes",
    "bundled/resnet10-wafer-maps",
    "bundled/resnet10-spectrograms",
    "bundled/resnet10-patterns-short",
    "bundled/vit-patterns",
    "bundled/resnet10-patterns",
)
OWN_TARGET = {  # drawn by the same renderer: no honest candidate there
    "bundled/resnet10-wafer-maps": "wafer_maps",
    "bundled/resnet10-spectrograms": "spectrograms",
}
SHIFTED = training.random_crop(4)
TARGETS = {
    "wafer_micrographs": AUGMENT,
    "wafer_maps": AUGMENT,
    "spectrograms": SHIFTED,
    "digits": SHIFTED,
}
LABELS, STEPS = 100, 200
RATES = (1e-3, 3e-3)  # tried with seed 0 on every pair; validation chose
SLOW = {  # the sources that preferred 1e-3 on a target; a test compares
    "wafer_micrographs": (
        "bundled/resnet10-silhouettes",
        "bundled/resnet10-patterns-short",
        "bundled/vit-patterns",
        "bundled/resnet10-patterns",
    ),
    "wafer_maps": ("bundled/resnet10-spectrograms", "bundled/vit-patterns"),
    "spectrograms": ("bundled/vit-patterns", "bundled/resnet10-patterns"),
    "digits": (
        "random",
        "bundled/resnet10-wafer-maps",
        "bundled/resnet10-spectrograms",
        "bundled/vit-patterns",
        "bundled/resnet10-patterns",
    ),
}
FILES = tuple(f"{target}.npz" for target in TARGETS if target != "digits")


def recipe(target, evaluations=5, **changed):
    """How every source is fine-tuned on a target; `changed`: other fields."""
    every = STEPS // evaluations
    return training.Recipe(augment=TARGETS[target], eval_every=every, **changed)


def pictures(target, labels, seed):
    """(labelled, validation, test) pictures of a target."""
    parts = (datasets.load(target, part) for part in ("train", "validation", "test"))
    train, validation, test = parts
    return train.take(labels, seed=seed), validation, test


def fine_tuned(backbone, data, validation, target, seed, lr, **changed):
    """Train by the recipe of a target; the history."""
    options = dict(steps=STEPS, lr=lr, seed=seed, recipe=recipe(target, **changed))
    return training.fit(backbone, data, validation, **options)


def scored(backbone, test, history):
    """Accuracy on test pictures, and on validation pictures of the weights kept."""
    return {
        "accuracy": training.evaluate(backbone, test)["accuracy"],
        "val_accuracy": history.val_accuracy[history.best_epoch],
    }


def load_source(name, num_classes=None, seed=0):
    """A source by name; "random" is the residual network without training."""
    if name == "random":
        backbone = "bundled/resnet10-patterns"
        return zoo.load(backbone, num_classes, seed=seed, pretrained=False)
    return zoo.load(name, num_classes, seed=seed)


def pairs():
    """(source, target) for every pair but a source and its own renderer."""
    return [
        (name, target)
        for target in TARGETS
        for name in SOURCES
        if OWN_TARGET.get(name) != target
    ]


def chosen_rate(name, target):
    """The rate at which a source is fine-tuned on a target with every seed."""
    return RATES[0] if name in SLOW[target] else RATES[1]


@experiment(
    "sources",
    grid=[
        dict(source=name, target=target, lr=lr, seed=seed)
        for seed in SEEDS
        for name, target in pairs()
        for lr in RATES
        if seed == 0 or lr == chosen_rate(name, target)
    ],
    sample=[dict(source="random", target="digits", lr=3e-3, seed=0)],
    tolerance={"accuracy": 0.05},
    models=SOURCES[1:],
    data=FILES,
)
def sources(source, target, lr, seed):
    """Fine-tune one source on 100 labelled pictures of one target."""
    data, validation, test = pictures(target, LABELS, seed)
    backbone = load_source(source, len(data.classes), seed)
    history = fine_tuned(backbone, data, validation, target, seed, lr)
    return scored(backbone, test, history)


CNN, VIT = "bundled/resnet10-patterns-short", "bundled/vit-patterns"
TRIED = {  # by architecture and start; the ViT from scratch may choose
    (CNN, True): (1e-3,),
    (CNN, False): (3e-3,),
    (VIT, True): (1e-3,),
    (VIT, False): (3e-4, 1e-3),
}


@experiment(
    "cnn_vit",
    grid=[
        dict(model=model, pretrained=start, augmented=turned, lr=lr, seed=seed)
        for seed in SEEDS
        for (model, start), rates in TRIED.items()
        for lr in rates
        for turned in (False, True)
    ],
    sample=[dict(model=CNN, pretrained=True, augmented=False, lr=1e-3, seed=0)],
    tolerance={"accuracy": 0.04},
    models=(CNN, VIT),
    data=("wafer_micrographs.npz",),
)
def cnn_vit(model, pretrained, augmented, lr, seed):
    """A residual network or a Vision Transformer on the 500 wafer pictures."""
    backbone = zoo.load(model, 5, seed=seed, pretrained=pretrained)
    changed = {} if augmented else {"augment": None}
    options = dict(steps=320, seed=seed, evaluations=5)
    train(backbone, labelled(500, seed), lr=lr, **options, **changed)
    return protocol.scored(backbone)
