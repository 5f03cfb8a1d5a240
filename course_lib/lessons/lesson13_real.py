"""Grid of lesson 13: the decision framework on real situations that it has not seen.

The framework was written from grids of the small world.  Here it meets fifteen real
situations, fixed before any of them was computed: four domains of opinions with 8 and
32 labels a class, solar cells with 25, 100 and 400, speech and leaves as pictures, and
small digits with 5 and 20 labels a class.  Nobody who has n labels of a class has many
more to choose by: the validation part has n / 2 of each class (speech and leaves: half
of what is trained on), at most 50.

Stored are validation and test accuracy, balanced, of a probe on frozen features (MiniLM
for texts, EfficientNet-Lite0 for pictures) and of each way without transfer (counted
words and characters; pixels and random features).  Penalties are chosen on validation.
Draws and seeds of solar cells, speech and leaves are those of the grids
`solar_strategies` and `real_sources`, where the same examples were fine-tuned.
"""

from functools import lru_cache

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.analysis.word_counts import COUNTED, counted
from course_lib.lessons import lesson06_real, opinions_world, solar
from course_lib.lessons.results import experiment
from course_lib.models import features, zoo

SEEDS = range(5)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
MOST_HELD = 50  # validation examples of a class
SITUATIONS = [
    *((domain, n) for domain in opinions_world.DOMAINS for n in (8, 32)),
    *(("solar", n) for n in (25, 100, 400)),
    ("speech", 20),
    ("leaves", 22),
    *(("digits", n) for n in (5, 20)),
]
SERIES = {"speech": "vowels", "leaves": "leaves"}  # by the name in lesson06_real
CLASSES = {"speech": 9, "leaves": 6, "digits": 10}  # all others have two
BASELINES = ("words", "characters", "pixels", "random")


@lru_cache(maxsize=1)
def encoder():
    """MiniLM, frozen."""
    return zoo.load("minilm")


def texts_of(domain, labels, seed):
    """{way: (validation, test) accuracy} of one domain."""
    train, held, test = (
        opinions_world.texts(domain, "train"),
        opinions_world.texts(domain, "validation"),
        opinions_world.tested(domain),
    )
    rows = opinions_world.rows(train, labels, seed)
    kept = opinions_world.rows(held, min(labels // 2, MOST_HELD), seed)
    y, v = train.labels[rows], held.labels[kept]
    learned, chosen_by = train.subset(rows), held.subset(kept)
    X, V = (features.extract(encoder(), part.texts) for part in (learned, chosen_by))
    T = opinions_world.represented(domain, "test")
    found = {"probe": probed(X, y, V, v, T, test.labels)}
    pairs = (learned.texts, y), (chosen_by.texts, v)
    for what in COUNTED:
        by = counted(what, *pairs, test.texts)
        answers = ((by.validated, v), (by.tested, test.labels))
        found[what] = tuple(scored(P.argmax(1), t) for P, t in answers)
    return found


def scored(answers, labels):
    """Balanced accuracy."""
    return training.balanced_accuracy(answers, labels)


def probed(X, y, V, v, T, t):
    """(validation, test) accuracy of logistic regression, its penalty by validation."""
    best = probes.linear_probe(X, y, T, t, val=(V, v), C=PENALTIES)
    held = probes.linear_probe(X, y, V, v, C=best.C)
    return held.balanced_accuracy, best.balanced_accuracy


@lru_cache(maxsize=3)
def pictures(target, split):
    """All pictures of a split of a target."""
    if target == "solar":
        return solar.cells(split)
    if target == "digits":
        return datasets.load("digits", split)
    return lesson06_real.pictures(SERIES[target], split)


@lru_cache(maxsize=9)
def seen(target, split, way):
    """What a logistic regression reads of all pictures of a split, (N, F)."""
    data = pictures(target, split)
    if way == "pixels":  # a third of the rows and columns
        return data.images[:, 1::3, 1::3, 0].reshape(len(data), -1) / 255.0
    return features.extract(zoo.load(solar.BACKBONE, pretrained=way == "probe"), data)


def drawn(target, labels, seed):
    """({split: rows}) that a seed takes for training and for validation."""
    held = min(labels // 2, MOST_HELD)
    if target == "solar":
        kept = solar.rows("validation", held, seed)
        return {"train": solar.rows("train", labels, seed), "validation": kept}
    if target in SERIES:
        return lesson06_real.drawn(SERIES[target], seed)
    rng, rows = np.random.default_rng(seed), {}
    for split, n in (("train", labels), ("validation", max(held, 2))):
        y = pictures(target, split).labels
        each = [rng.permutation(np.flatnonzero(y == c))[:n] for c in np.unique(y)]
        rows[split] = np.concatenate(each)
    return rows


def pictures_of(target, labels, seed):
    """{way: (validation, test) accuracy} of one set of pictures."""
    rows, found = drawn(target, labels, seed), {}
    y, v = (pictures(target, s).labels[rows[s]] for s in ("train", "validation"))
    t = pictures(target, "test").labels
    for way in ("probe", "pixels", "random"):
        X, V = (seen(target, s, way)[rows[s]] for s in ("train", "validation"))
        found[way] = probed(X, y, V, v, seen(target, "test", way), t)
    return found


@experiment(
    "real_decisions",
    grid=[
        dict(target=target, labels=labels, seed=seed)
        for target, labels in SITUATIONS
        for seed in SEEDS
    ],
    sample=[dict(target="digits", labels=5, seed=0)],
    short=[dict(target="leaves", labels=22, seed=0)],
    tolerance={"probe": 0.02, "val_probe": 0.05},
    data=(
        "assets/efficientnet-lite0",
        "assets/solar-cells",
        "assets/series",
        "assets/opinions",
        "near_duplicates.npz",
    ),
)
def real_decisions(target, labels, seed):
    """Validation and test accuracy of a probe and of each way without transfer."""
    ways = texts_of if target in opinions_world.DOMAINS else pictures_of
    found = {}
    for way, (held, tested) in ways(target, labels, seed).items():
        found |= {way: tested, f"val_{way}": held}
    return found
