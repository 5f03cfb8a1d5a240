"""Lesson 14 on tables: contrastive pre-training on corrupted rows (SCARF).

Two tables of scikit-learn.  Digits: is this an 8, where eights have been thinned out to
one row in twenty, as frauds would be.  Cancer: malignant or not, one in three.  Three
tenths of the rows are for testing; the rest is the pool without labels, of which some
rows get one.  Measured is the average precision, which is the share of positives for a
guess.

Set before looking: corruption of 60 % of the values and temperature 1, as in the paper;
300 updates of pre-training and 200 with labels, batches of 128, AdamW at 1e-3.
"""

import copy
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.lessons.results import experiment
from course_lib.methods.self_supervised import ViewTraining
from course_lib.methods.table_views import corrupted
from course_lib.methods.view_losses import nt_xent_loss

LABELS = {"digits": (50, 100, 200, 400), "cancer": (10, 20, 50, 100)}  # rows
WAYS = ("pre-trained", "from scratch", "frozen", "logistic", "boosted trees")
RARE = 0.05  # share of eights
PRETRAINING, UPDATES, BATCH, RATE = 300, 200, 128, 1e-3
WIDTH = 128


@lru_cache(maxsize=2)
def table(name):
    """(X, y) of all rows, y 0 or 1."""
    from sklearn.datasets import load_breast_cancer, load_digits

    if name == "cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return X, 1 - y  # malignant is 1
    X, y = load_digits(return_X_y=True)
    eights, others = np.flatnonzero(y == 8), np.flatnonzero(y != 8)
    kept = np.random.default_rng(0).permutation(eights)
    kept = kept[: round(RARE / (1 - RARE) * len(others))]
    rows = np.sort(np.concatenate([others, kept]))
    return X[rows], (y[rows] == 8).astype(int)


def parts(name, seed):
    """(pool, its labels, test, its labels), columns standardised by the pool."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = table(name)
    X, T, y, t = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(X)
    X, T = (torch.tensor(scaler.transform(Z), dtype=torch.float32) for Z in (X, T))
    return X, y, T, t


def with_labels(y, n, seed):
    """n rows of the pool, of each class its share but two at least."""
    rng, positives = np.random.default_rng(seed), max(2, round(n * y.mean()))
    found = [
        rng.permutation(np.flatnonzero(y == c))[:k]
        for c, k in ((1, positives), (0, n - positives))
    ]
    return np.concatenate(found)


def encoder(columns, seed):
    """Three layers of 128 that learn without labels first, or with them alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = (columns, WIDTH, WIDTH, WIDTH)
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:])]
    return nn.Sequential(*(part for layer in layers for part in layer))


def pretrain(net, X, seed):
    """Make each row find its corrupted copy; the losses."""
    generator = torch.Generator().manual_seed(seed)
    with training.isolated(seed, None):
        run = ViewTraining(
            net,
            net,
            WIDTH,
            lambda a, b: nt_xent_loss(a, b, temperature=1.0),
            steps=PRETRAINING,
            lr=RATE,
        )
        for _ in range(PRETRAINING):
            rows = torch.randperm(len(X), generator=generator)[:BATCH]
            run.update((X[rows], corrupted(X, 0.6, generator)[rows]))
    return run.losses


def fine_tuned(net, X, y, seed):
    """The encoder and a new head, both learning from labelled rows."""
    with training.isolated(seed, None):
        model = nn.Sequential(net, nn.Linear(WIDTH, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
        for _ in range(UPDATES):
            rows = torch.randint(len(X), (min(len(X), BATCH),))
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def scores(way, parts, rows, net, seed):
    """How likely each test row is positive, (N,); net: the encoder after pre-training.

    An encoder that learns with labels is a copy of it, or a new one.
    """
    X, y, T, _ = parts
    X, y = X[rows], y[rows]
    if way in ("pre-trained", "from scratch"):
        start = encoder(X.shape[1], seed)
        if way == "pre-trained":
            start = copy.deepcopy(net)
        model = fine_tuned(start, X, torch.as_tensor(y), seed)
        with torch.no_grad():
            return model(T).softmax(1)[:, 1].numpy()
    if way == "frozen":
        with torch.no_grad():
            X, T = net(X), net(T)
    return classifier(way).fit(X.numpy(), y).predict_proba(T.numpy())[:, 1]


def classifier(way):
    """What reads the columns, or the frozen encoder's output."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if way == "boosted trees":
        return HistGradientBoostingClassifier(
            max_iter=100, min_samples_leaf=5, early_stopping=False, random_state=0
        )
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


@experiment(
    "table_labels",
    grid=[
        dict(table=name, way=way, labels=n, seed=seed)
        for name in LABELS
        for seed in range(10)
        for way in WAYS
        for n in LABELS[name]
    ],
    sample=[
        dict(table="cancer", way=way, labels=10, seed=0)
        for way in ("pre-trained", "frozen")
    ],
    tolerance={"precision": 0.02},
)
def table_labels(table, way, labels, seed):
    """Average precision on test rows of one way to use rows without labels, or not."""
    from sklearn.metrics import average_precision_score

    found = parts(table, seed)
    rows = with_labels(found[1], labels, seed)
    net = pretrained(table, seed) if way in ("pre-trained", "frozen") else None
    likely = scores(way, found, rows, net, seed)
    return {"precision": average_precision_score(found[3], likely)}


@lru_cache(maxsize=2)
def pretrained(table, seed):
    """The encoder after pre-training on the pool of a table."""
    X, *_ = parts(table, seed)
    net = encoder(X.shape[1], seed)
    pretrain(net, X, seed)
    return net.eval()
