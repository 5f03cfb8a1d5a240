"""Lesson 16: series as pictures, and as series.

The pictures of speech are maps of its 12 coefficients over time, for a word has 7 to 29
steps only; those of the other sets are spectrograms.

All ways see the same draws: two thirds of each class of the archive's training part,
tested on the archive's test part, and all end in the ridge classifier that the paper on
ROCKET uses, on standardised features.  Nothing was tuned.

An extension: eight draws of ``spectrogram_weights`` were seen, with half-widths up to
4.2 points.  By their spread 14 would have brought all three sets to 3, so 24 were set.
"""

from functools import lru_cache

import numpy as np

from course_lib import datasets
from course_lib.datasets import series
from course_lib.lessons import solar
from course_lib.lessons.results import experiment
from course_lib.methods import random_kernels
from course_lib.models import features, zoo

TARGETS = {"JapaneseVowels": "speech", "ACSF1": "power"}
WAYS = ("imagenet", "random", "pixels", "rocket", "rocket_levels")
SEEDS = range(5)
KERNELS = 1000  # the paper draws 10,000


@lru_cache(maxsize=8)
def pictures(target, split):
    """All series of a split as pictures; grey values are set on the training part."""
    train, data = (datasets.load(f"series/{target}", s) for s in ("train", split))
    return series.pictures(data, train)


@lru_cache(maxsize=8)
def represented(target, split, pretrained):
    """What Lite0 makes of all pictures of a split, (N, 1280)."""
    backbone = zoo.load(solar.BACKBONE, pretrained=pretrained)
    return features.extract(backbone, pictures(target, split))


def drawn(target, seed):
    """Rows of the archive's training part that the seed takes: 2/3 of each class."""
    labels = datasets.load(f"series/{target}", "train").labels
    rng, rows = np.random.default_rng(seed), []
    for c in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == c))
        rows.append(of_class[: round(2 * len(of_class) / 3)])
    return np.concatenate(rows)


def scaled(data, like=None):
    """Series of mean 0 and deviation 1, zeros behind the shorter ones: (N, C, T).

    Each channel of each series by itself, as the paper has it; like: a data set, whose
    channels give mean and deviation instead, so that levels remain.
    """
    length = max(
        x.shape[1] for s in series.SPLITS for x in datasets.load(data.name, s).series
    )
    out = np.zeros((len(data), len(data.series[0]), length), np.float32)
    known = like and np.concatenate(like.series, axis=1)
    for row, x in zip(out, data.series):
        of = x if like is None else known
        middle, spread = of.mean(axis=1, keepdims=True), of.std(axis=1, keepdims=True)
        row[:, : x.shape[1]] = (x - middle) / np.maximum(spread, 1e-8)
    return out


@lru_cache(maxsize=2)
def kernels_of(target, seed):
    """Kernels for series of this set, from the paper's distribution."""
    X = scaled(datasets.load(f"series/{target}", "test"))
    return random_kernels.draw(KERNELS, *X.shape[1:], seed)


def seen(way, target, split, seed):
    """What the classifier reads of all series of a split, (N, F)."""
    if way in ("imagenet", "random"):
        return represented(target, split, way == "imagenet")
    if way == "pixels":
        images = pictures(target, split).images
        return images[:, 1::3, 1::3, 0].reshape(len(images), -1).astype(np.float32)
    data, train = (datasets.load(f"series/{target}", s) for s in (split, "train"))
    X = scaled(data, train if way == "rocket_levels" else None)
    return random_kernels.transform(X, kernels_of(target, seed))


def ridge(X, y, T):
    """Predictions for T; the penalty is chosen by leaving out each row of X."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10))
    return make_pipeline(StandardScaler(), model).fit(X, y).predict(T)


def series_cells():
    """Each way on each set; ACSF1 comes without levels."""
    return [
        dict(target=target, way=way, seed=seed)
        for target in TARGETS
        for way in WAYS
        for seed in SEEDS
        if (way, target) != ("rocket_levels", "ACSF1")
    ]


@experiment(
    "series_ways",
    grid=series_cells(),
    sample=[dict(target="JapaneseVowels", way="pixels", seed=0)],
    tolerance={"accuracy": 0.02},
    data=("assets/series", "assets/efficientnet-lite0"),
)
def series_ways(target, way, seed):
    """Balanced accuracy of a ridge classifier on what a way sees of a series."""
    from sklearn.metrics import balanced_accuracy_score

    y, t = (datasets.load(f"series/{target}", s).labels for s in series.SPLITS)
    X, T = (seen(way, target, split, seed) for split in series.SPLITS)
    learned = drawn(target, seed)
    found = ridge(X[learned], y[learned], T)
    return {"accuracy": balanced_accuracy_score(t, found)}


# -- ImageNet's weights on spectrograms ------------------------------------------------

SPECTROGRAMS = {
    "ACSF1": "power",
    "OSULeaf": "leaves",
    "GunPoint": "hands",
}
DRAWS = range(24)  # of training series, and of random weights; 8 were seen first


@experiment(
    "spectrogram_weights",
    grid=[
        dict(target=target, weights=weights, seed=seed)
        for target in SPECTROGRAMS
        for weights in ("imagenet", "random")
        for seed in DRAWS
    ],
    sample=[dict(target="GunPoint", weights="imagenet", seed=0)],
    tolerance={"accuracy": 0.02},
    data=("assets/series", "assets/efficientnet-lite0"),
)
def spectrogram_weights(target, weights, seed):
    """Balanced accuracy of a ridge classifier on Lite0's features of spectrograms.

    Random weights are drawn anew for each seed.
    """
    from sklearn.metrics import balanced_accuracy_score

    y, t = (datasets.load(f"series/{target}", s).labels for s in series.SPLITS)
    if weights == "imagenet":
        X, T = (represented(target, split, True) for split in series.SPLITS)
    else:
        backbone = zoo.load(solar.BACKBONE, seed=seed, pretrained=False)
        X, T = (
            features.extract(backbone, pictures(target, split))
            for split in series.SPLITS
        )
    learned = drawn(target, seed)
    found = ridge(X[learned], y[learned], T)
    return {"accuracy": balanced_accuracy_score(t, found)}
