"""Grids of lesson 06's real world: which source, and does size pay?

Three real targets as pictures: solar cells (2 classes), spoken vowels (9 speakers) and
outlines of leaves (6 kinds), the last two drawn as time-frequency pictures.  The
sources are three sizes of ImageNet network, three of the course's small networks, and
one of each family without training.
"""

import copy
from functools import lru_cache

import numpy as np
import torch

from course_lib import datasets, training
from course_lib.analysis import probes, transferability
from course_lib.datasets import series, solar_cells
from course_lib.lessons import solar
from course_lib.lessons.results import experiment, updates
from course_lib.models import features, zoo
from course_lib.training.frozen_stages import FrozenStages

LITES = tuple(f"imagenet/efficientnet-lite{size}" for size in (0, 1, 2))
SOURCES = (
    "random Lite0",
    *LITES,
    "random ResNet-10",
    "bundled/resnet10-silhouettes",
    "bundled/resnet10-patterns-short",
    "bundled/resnet10-patterns",
)
UNTRAINED = {"random Lite0": LITES[0], "random ResNet-10": SOURCES[-1]}
SERIES = {"vowels": "JapaneseVowels", "leaves": "OSULeaf"}
TARGETS = ("solar cells", *SERIES)
SIZE = 64  # pixels a side: the bundled networks' own
STEPS, BATCH = 48, 16
BELOW = "stage6"  # of an EfficientNet, the last one that stays frozen
RATES = (1e-3, 3e-3)  # each cell tries both; its validation loss chooses
FILES = (*solar.FILES, "assets/series")
LITE_FILES = tuple(f"assets/efficientnet-lite{size}" for size in (1, 2))


def load_source(name, num_classes=None, seed=0):
    """A source by name; those without training have one draw of weights."""
    trained = name not in UNTRAINED
    return zoo.load(UNTRAINED.get(name, name), num_classes, seed, pretrained=trained)


@lru_cache(maxsize=6)
def pictures(target, split, size):
    """All pictures of a split; the series' validation is drawn from their train."""
    if target == "solar cells":
        return solar_cells.load(split, size=size)
    known, test = (datasets.load(f"series/{SERIES[target]}", s) for s in series.SPLITS)
    return series.pictures(test if split == "test" else known, known, size)


def drawn(target, seed):
    """Rows of train and of validation that the seed draws: {split: rows}.

    Solar cells: 100 of each class and the protocol's validation; series: two thirds of
    each class of the archive's training part, the rest is validation.
    """
    if target == "solar cells":
        held = solar.rows("validation", 100, 0)
        return {"train": solar.rows("train", 100, seed), "validation": held}
    labels = pictures(target, "train", SIZE).labels
    rng, learned = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for c in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == c))
        learned[rows[: round(2 * len(rows) / 3)]] = True
    return {"train": np.flatnonzero(learned), "validation": np.flatnonzero(~learned)}


@lru_cache(maxsize=4)
def represented(source, target, split, size=SIZE):
    """Features (N, F) of all pictures of a split."""
    return features.extract(load_source(source), pictures(target, split, size))


@lru_cache(maxsize=4)
def stored(source, target, split):
    """What the frozen stages give for all pictures of a split."""
    data = pictures(target, split, SIZE)
    return behind(load_source(source, len(data.classes)), data).run(data)[0]


def behind(backbone, data):
    """A network frozen up to its last stage but one."""
    below = BELOW if BELOW in backbone.stages else "layer3"
    return FrozenStages(backbone, below, data.images[:2])


def source_probabilities(backbone, Z):
    """Softmax (N, S) of the source head with the most classes, from its features."""
    widths = [len(names) for names in backbone.card["heads"].values()]
    largest = int(np.argmax(widths))
    start = sum(widths[:largest])
    head = backbone.model.get_submodule(backbone.head)
    with torch.no_grad():
        logits = head(torch.as_tensor(Z))[:, start : start + widths[largest]]
    return logits.softmax(1).numpy()


def two_fold(Z, y):
    """Accuracy of a linear probe fitted on one half of the features, twice."""
    rank = np.array([(y[:i] == y[i]).sum() for i in range(len(y))])  # within its class
    half = rank % 2 == 0
    hits = [
        probes.linear_probe(Z[a], y[a], Z[~a], y[~a], C=0.1).accuracy
        for a in (half, ~half)
    ]
    return float(np.mean(hits))


def scores(Z, y, theta=None):
    """{score: number} of features Z (N, F) and labels; theta (N, S): see LEEP."""
    found = {
        "kNN": transferability.knn_accuracy(Z, y),
        "linear probe": two_fold(Z, y),
        "H-score": transferability.h_score(Z, y),
        "LogME": transferability.logme(Z, y),
    }
    return found if theta is None else found | {"LEEP": transferability.leep(theta, y)}


def score_features(backbone, data, has_source):
    """The scores of a backbone on labelled pictures; LEEP wants a source task."""
    Z = features.extract(backbone, data)
    theta = source_probabilities(backbone, Z) if has_source else None
    return scores(Z, data.labels, theta)


@experiment(
    "real_sources",
    grid=[
        dict(source=source, target=target, seed=seed)
        for target in TARGETS
        for source in SOURCES
        for seed in range(5)
    ],
    sample=[dict(source=SOURCES[-1], target="leaves", seed=0)],
    short=[
        dict(source=source, target="leaves", seed=0, fraction=0.2)
        for source in (LITES[0], SOURCES[-1])
    ],
    tolerance={"accuracy": 0.06, "LogME": 0.01, "kNN": 0.02},
    models=[name for name in SOURCES if name.startswith("bundled")],
    data=(*FILES, *LITE_FILES),
)
def real_sources(source, target, seed, fraction=1.0):
    """Scores of a source, and its last stage fine-tuned on the same pictures."""
    rows = drawn(target, seed)
    every = {s: pictures(target, s, SIZE) for s in ("train", "validation", "test")}
    rows["test"] = np.arange(len(every["test"]))
    seen = {}
    for split, data in every.items():
        outputs = stored(source, target, split)[rows[split]]
        seen[split] = outputs, torch.as_tensor(data.labels[rows[split]])
    backbone = load_source(source, len(every["train"].classes))
    backbone.to_classes(len(every["train"].classes), seed)
    net = behind(backbone, every["train"]).upper
    start, reached = copy.deepcopy(net.state_dict()), []
    steps = updates(STEPS, fraction)
    recipe = training.Recipe(batch_size=BATCH, eval_every=max(1, steps // 4))
    for lr in RATES:
        net.load_state_dict(start)
        options = dict(steps=steps, lr=lr, seed=seed, recipe=recipe)
        training.fit(net, seen["train"], seen["validation"], **options)
        held_out = training.evaluate(net, seen["validation"])["loss"]
        tested = training.evaluate(net, seen["test"])
        reached.append((held_out, lr, tested["balanced_accuracy"]))
    held_out, lr, accuracy = min(reached)
    tuned = {"accuracy": accuracy, "rate": lr, "val_loss": held_out}
    Z = represented(source, target, "train")[rows["train"]]
    theta = None
    if source not in UNTRAINED:
        theta = source_probabilities(load_source(source), Z)
    return scores(Z, seen["train"][1].numpy(), theta) | tuned


@experiment(
    "real_sizes",
    grid=[
        dict(source=source, target=target, seed=seed)
        for target in TARGETS
        for source in LITES
        for seed in range(10)
    ],
    sample=[dict(source=LITES[2], target="leaves", seed=0)],
    tolerance={"accuracy": 0.03},
    data=(*FILES, *LITE_FILES),
)
def real_sizes(source, target, seed):
    """A regression on frozen features of one size of network, at 96 pixels."""
    rows = drawn(target, seed)
    X, V, T = (
        represented(source, target, split, solar_cells.SIZE)
        for split in ("train", "validation", "test")
    )
    y, v, t = (
        pictures(target, split, SIZE).labels
        for split in ("train", "validation", "test")
    )
    train, held = rows["train"], rows["validation"]
    val = (V[held], v[held])
    found = probes.linear_probe(X[train], y[train], T, t, val=val)
    return {"accuracy": found.balanced_accuracy}
