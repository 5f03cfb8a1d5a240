"""Grid of lesson 06's real world: which source, and does size pay?

Two real targets, series drawn as time-frequency pictures: vowels of 9 speakers and
outlines of 6 kinds of leaves.  The sources are three sizes of ImageNet network, three
of the course's small networks, and one of each family without training.
"""

import copy
from functools import lru_cache

import numpy as np
import torch

from course_lib import datasets, training
from course_lib.analysis import probes, transferability
from course_lib.datasets import series
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
TARGETS = tuple(SERIES)
SIZE = 64  # pixels a side: the bundled networks' own
STEPS, BATCH = 32, 16
TUNED, FROZEN = range(5), range(10)  # seeds; frozen for the sizes of ImageNet alone
BELOW = "stage6"  # of an EfficientNet, the last one that stays frozen
RATES = (1e-3, 3e-3)  # each cell tries both; its validation loss chooses
SPLITS = ("train", "validation", "test")
FILES = ("assets/series", *(name.replace("imagenet", "assets") for name in LITES))


def load_source(name, num_classes=None, seed=0):
    """A source by name; those without training have one draw of weights."""
    trained = name not in UNTRAINED
    return zoo.load(UNTRAINED.get(name, name), num_classes, seed, pretrained=trained)


@lru_cache(maxsize=6)
def pictures(target, split):
    """All pictures of a split; validation is drawn from their train."""
    known, test = (datasets.load(f"series/{SERIES[target]}", s) for s in series.SPLITS)
    return series.pictures(test if split == "test" else known, known, SIZE)


def drawn(target, seed):
    """Rows of train and of validation that the seed draws: {split: rows}.

    Two thirds of each class of the archive's training part, the rest is validation.
    """
    labels = pictures(target, "train").labels
    rng, learned = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for c in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == c))
        learned[rows[: round(2 * len(rows) / 3)]] = True
    return {"train": np.flatnonzero(learned), "validation": np.flatnonzero(~learned)}


@lru_cache(maxsize=4)
def represented(source, target, split):
    """Features (N, F) of all pictures of a split."""
    return features.extract(load_source(source), pictures(target, split))


@lru_cache(maxsize=1)
def made_ready(source, target):
    """(network behind the frozen stages, its weights, {split: what it reads})."""
    every = {split: pictures(target, split) for split in SPLITS}
    backbone = load_source(source, len(every["train"].classes))
    below = BELOW if BELOW in backbone.stages else "layer3"
    stages = FrozenStages(backbone, below, every["train"].images[:2])
    outputs = {split: stages.run(data)[0] for split, data in every.items()}
    net = stages.upper
    return net, copy.deepcopy(net.state_dict()), outputs, backbone.head


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


def last_stage_tuned(source, target, seed, fraction=1.0):
    """The last stage on stored output of the frozen ones, the better of two rates."""
    net, start, outputs, head = made_ready(source, target)
    rows, seen = drawn(target, seed), {}
    rows["test"] = np.arange(len(outputs["test"]))
    for split in SPLITS:
        labels = torch.as_tensor(pictures(target, split).labels)
        seen[split] = outputs[split][rows[split]], labels[rows[split]]
    reached, steps = [], updates(STEPS, fraction)
    recipe = training.Recipe(batch_size=BATCH, eval_every=max(1, steps // 4))
    for lr in RATES:
        net.load_state_dict(start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net.net.get_submodule(head).reset_parameters()
        options = dict(steps=steps, lr=lr, seed=seed, recipe=recipe)
        training.fit(net, seen["train"], seen["validation"], **options)
        held_out = training.evaluate(net, seen["validation"])["loss"]
        tested = training.evaluate(net, seen["test"])
        reached.append((held_out, lr, tested["balanced_accuracy"]))
    held_out, lr, accuracy = min(reached)
    return {"accuracy": accuracy, "rate": lr, "val_loss": held_out}


@experiment(
    "real_sources",
    grid=[
        dict(source=source, target=target, seed=seed)
        for target in TARGETS
        for source in SOURCES
        for seed in (FROZEN if source in LITES else TUNED)
    ],
    sample=[dict(source=SOURCES[-1], target="leaves", seed=0)],
    short=[dict(source=SOURCES[-1], target="leaves", seed=0, fraction=0.1)],
    tolerance={"accuracy": 0.06, "frozen": 0.03, "LogME": 0.01, "kNN": 0.02},
    models=[name for name in SOURCES if name.startswith("bundled")],
    data=FILES,
)
def real_sources(source, target, seed, fraction=1.0):
    """Frozen features, their scores, and the last stage fine-tuned on the same."""
    rows = drawn(target, seed)
    X, V, T = (represented(source, target, split) for split in SPLITS)
    y, v, t = (pictures(target, split).labels for split in SPLITS)
    X, y = X[rows["train"]], y[rows["train"]]
    val = V[rows["validation"]], v[rows["validation"]]
    probe = probes.linear_probe(X, y, T, t, val=val)
    found = {"frozen": probe.balanced_accuracy}
    if seed not in TUNED:
        return found
    theta = None
    if source not in UNTRAINED:  # those have no source task
        theta = source_probabilities(load_source(source), X)
    return (
        found | scores(X, y, theta) | last_stage_tuned(source, target, seed, fraction)
    )
