"""The one protocol that every grid follows, and what the grids share.

32 images a step, turns and shifts, AdamW, warm-up then cosine, the checkpoint of lowest
validation loss, accuracy on the 1,000 test images; where a grid asks about one of these
it changes that one.
"""

import copy
from dataclasses import replace
from functools import lru_cache

from course_lib import datasets, training
from course_lib.lessons import results
from course_lib.models import features, zoo
from course_lib.pretraining import patterns, recipes
from course_lib.training import freezing

BACKBONE = "bundled/resnet10-patterns"
TARGET = "wafer_micrographs"
FILES = ("wafer_micrographs.npz",)
STEPS = {25: 300, 100: 300, 500: 640, 2500: 1600, 10_000: 3200}  # updates by labels
RATES = {  # scratch and full: by validation; a logistic regression has none
    "scratch": 3e-3,
    "frozen": None,
    "frozen_mlp": 1e-3,  # untuned
    "last_stage": 1e-3,  # untuned
    "full": 1e-3,
}
AUGMENT = training.compose(training.random_dihedral(), training.random_crop(4))


def labelled(n, seed):
    """n labelled target images, classes balanced; above 500 from the rendered pool."""
    if n <= 500:
        return datasets.load(TARGET, "train").take(n, seed=seed)
    return datasets.load(TARGET, "pool", n=n, seed=seed)


def adapted(strategy, seed, num_classes=5):
    """A backbone made ready for a strategy: random or pretrained, frozen or not."""
    pretrained = strategy != "scratch"
    backbone = zoo.load(BACKBONE, num_classes, seed=seed, pretrained=pretrained)
    if strategy == "last_stage":
        freezing.freeze_until(backbone, "layer3")
    return backbone


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


def train(
    backbone, data, *, steps, seed, lr=1e-3, evaluations=10, fraction=1.0, **changed
):
    """The training protocol; `changed`: fields of the recipe that a grid asks about."""
    every = results.interval(steps, evaluations, fraction)
    recipe = training.Recipe(**dict(eval_every=every, augment=AUGMENT) | changed)
    validation = results.part(datasets.load(TARGET, "validation"), fraction)
    options = dict(steps=results.updates(steps, fraction), lr=lr, seed=seed)
    return training.fit(backbone, data, validation, recipe=recipe, **options)


def watched(net, train, held, recipe, plan=None, **options):
    """Train; (validation losses, weights of the lowest), while `net` keeps the last.

    plan: {epoch: f(model, optimizer)}.  options: those of `training.fit`; an epoch is
    the updates between two evaluations, as there.
    """
    losses, best = [], None

    def evaluate():
        nonlocal best
        losses.append(training.evaluate(net, held)["loss"])
        if losses[-1] == min(losses):
            best = copy.deepcopy(features.network(net).state_dict())

    def on_epoch(epoch, model, optimizer):
        if epoch:
            evaluate()
        if plan and epoch in plan:
            plan[epoch](model, optimizer)

    training.fit(net, train, recipe=replace(recipe, on_epoch=on_epoch), **options)
    evaluate()
    return losses, best


def last_and_lowest(net, losses, best, test, number="accuracy"):
    """What the last weights reach on a test set, and those of the lowest loss."""
    found = {}
    for name in ("last ", ""):
        if not name:
            features.network(net).load_state_dict(best)
        scores = training.evaluate(net, test)
        found |= {f"{name}accuracy": scores[number], f"{name}loss": scores["loss"]}
    return found | {"best step": losses.index(min(losses)) + 1}


def scored(backbone, fraction=1.0, target=TARGET):
    """Accuracy and loss on a target's test and validation images."""
    numbers = {}
    for prefix, split in (("", "test"), ("val_", "validation")):
        data = results.part(datasets.load(target, split), fraction)
        found = training.evaluate(backbone, data)
        numbers |= {f"{prefix}{key}": found[key] for key in ("accuracy", "loss")}
    return numbers


def forgetting(backbone):
    """Accuracy that is left on the source task, one number a head."""
    kept = source_accuracy(backbone, zoo.load(BACKBONE))
    return {f"source_{head}": share for head, share in kept.items()}
