"""Grids of lesson 06: every bundled source on several targets, and CNN against ViT.

The augmentation of each target was fixed before any result: turns and mirrorings only
where they cannot change the class.
"""

from course_lib import datasets, training
from course_lib.lessons import results
from course_lib.lessons.protocol import AUGMENT, labelled, scored, train
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


def fine_tune(
    backbone, data, validation, *, lr, seed, evaluations=5, fraction=1.0, **changed
):
    """How every source learns pictures of a target; `changed`: fields of the recipe."""
    every = results.interval(STEPS, evaluations, fraction)
    fields = dict(augment=TARGETS[data.name], eval_every=every) | changed
    return training.fit(
        backbone,
        data,
        results.part(validation, fraction),
        steps=results.updates(STEPS, fraction),
        lr=lr,
        seed=seed,
        recipe=training.Recipe(**fields),
    )


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
    short=[
        dict(source="random", target="digits", lr=3e-3, seed=0, fraction=0.05),
        dict(
            source="bundled/resnet10-silhouettes",
            target="spectrograms",
            lr=3e-3,
            seed=0,
            fraction=0.05,
        ),
    ],
    tolerance={"accuracy": 0.05},
    models=SOURCES[1:],
    data=FILES,
)
def sources(source, target, lr, seed, fraction=1.0):
    """Fine-tune one source on 100 labelled pictures of one target."""
    data = datasets.load(target, "train").take(LABELS, seed=seed)
    backbone = load_source(source, len(data.classes), seed)
    validation = datasets.load(target, "validation")
    fine_tune(backbone, data, validation, lr=lr, seed=seed, fraction=fraction)
    return scored(backbone, fraction, target)


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
    short=[
        dict(
            model=model,
            pretrained=start,
            augmented=start,
            lr=TRIED[model, start][0],
            seed=0,
            fraction=fraction,
        )
        for model, start, fraction in ((CNN, True, 0.05), (VIT, False, 0.02))
    ],
    tolerance={"accuracy": 0.04},
    models=(CNN, VIT),
    data=("wafer_micrographs.npz",),
)
def cnn_vit(model, pretrained, augmented, lr, seed, fraction=1.0):
    """A residual network or a Vision Transformer on the 500 wafer pictures."""
    backbone = zoo.load(model, 5, seed=seed, pretrained=pretrained)
    changed = {} if augmented else {"augment": None}
    options = dict(steps=320, seed=seed, evaluations=5, fraction=fraction)
    train(backbone, labelled(500, seed), lr=lr, **options, **changed)
    return scored(backbone, fraction)
