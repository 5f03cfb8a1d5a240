"""The one protocol that every grid follows, and what the grids share.

32 images a step, turns and shifts, AdamW, warm-up then cosine, the checkpoint of lowest
validation loss, accuracy on the 1,000 test images; where a grid asks about one of these
it changes that one.
"""

from functools import lru_cache

from course_lib import datasets, training
from course_lib.lessons import results
from course_lib.models import zoo
from course_lib.pretraining import patterns, recipes

BACKBONE = "bundled/resnet10-patterns"
TARGET = "wafer_micrographs"
FILES = ("wafer_micrographs.npz",)
STEPS = {25: 300, 100: 300, 500: 640, 2500: 1600, 10_000: 3200}  # updates by labels
SEEDS = (0, 1, 2)
AUGMENT = training.compose(training.random_dihedral(), training.random_crop(4))


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


def train(backbone, data, *, steps, seed, evaluations=10, **changed):
    """The training protocol; `changed`: the options of fit that a grid asks about."""
    options = dict(eval_every=steps // evaluations, augment=AUGMENT) | changed
    validation = datasets.load(TARGET, "validation")
    return training.fit(backbone, data, validation, steps=steps, seed=seed, **options)


def scored(backbone):
    """Accuracy on the target's test and validation images."""
    parts = (("", "test"), ("val_", "validation"))
    return {
        f"{prefix}accuracy": training.evaluate(backbone, datasets.load(TARGET, part))[
            "accuracy"
        ]
        for prefix, part in parts
    }


def forgetting(backbone):
    """Accuracy that is left on the source task, one number a head."""
    kept = source_accuracy(backbone, zoo.load(BACKBONE))
    return {f"source_{head}": share for head, share in kept.items()}


def validation_accuracy(row):
    """By what rates are chosen; larger is better."""
    return row["val_accuracy"]


def chosen(rows, by=validation_accuracy, **params):
    """Rows of all seeds at the rate that validation prefers, among those they all ran.

    rows: of a grid with ``lr``, ``seed`` and what ``by`` reads; params: which of them.
    """
    by_rate = {}
    for row in sorted(results.select(rows, **params), key=lambda row: row["seed"]):
        by_rate.setdefault(row["lr"], []).append(row)
    most = max(map(len, by_rate.values()))
    complete = [found for found in by_rate.values() if len(found) == most]
    return max(complete, key=lambda found: sum(map(by, found)))


def first_choice(rows, by=validation_accuracy, **params):
    """The rate that validation prefers with the first seed."""
    return max(results.select(rows, seed=SEEDS[0], **params), key=by)["lr"]
