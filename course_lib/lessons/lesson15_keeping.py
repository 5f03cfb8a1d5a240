"""Lesson 15: one task after the other, and a small network after a large one.

Set before looking.  What learns is small and reads stored features, so that all of it
takes seconds: a hidden layer of 64 and a head.

Remembering (`remembering`).  Two sequences of tasks: cells (Lite0's features; mono,
then poly, 100 labels a class) and digits (pixels; the classes 0 to 4, then 5 to 9, one
head of ten).  150 updates of 32 a task, AdamW.  Every way tries two rates, penalties
also four strengths, and the lowest mean of the validation losses of both tasks after
the last one chooses.  Replay keeps 20 examples a class of the first task, and half of
every batch comes from them.  LoRA: in the second task the layers are frozen and an
update of rank 4 learns, which is merged at the end.  All at once: 150 updates a task,
on everything.

Distilling (`distilling`).  The teacher is a logistic regression on MiniLM's features of
film reviews, the student one on weighted words.  Both have the same labels, 100 a
class; the student also gets the teacher's answers to the rest of the training part,
whose labels nobody reads (but in `all labels`).  Validation texts choose penalties.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from torch import nn

from course_lib import training
from course_lib.analysis import probes
from course_lib.lessons import lesson15_opinions as texts
from course_lib.lessons import lesson15_solar, solar
from course_lib.lessons.results import experiment, updates
from course_lib.methods import lora
from course_lib.methods.penalties import ewc, fisher_diagonal, l2_sp
from course_lib.models import features, zoo
from course_lib.training.cached_heads import make_head

SEQUENCES = {
    "cells": ("mono", "poly"),
    "digits": ("0 to 4", "5 to 9"),
}
LABELS = {"cells": 100, "digits": 60}  # a class
CLASSES = {"cells": 2, "digits": 10}
HIDDEN, STEPS, BATCH, KEPT, RANK = 64, 150, 32, 20, 4
RATES = (1e-3, 3e-3)
STRENGTHS = {"L2-SP": (1e-3, 1e-2, 1e-1, 1.0), "EWC": (10.0, 100.0, 1e3, 1e4)}
PENALTIES = (1.0, 10.0, 100.0)  # C of the bag of words
WAYS = ("in turn", "L2-SP", "EWC", "LoRA", "replay", "all at once")


# -- tasks, as (inputs, labels) of three parts -------------------------------------


@lru_cache(maxsize=8)
def cells_read(kind, split):
    """(Lite0's features (N, 1280), labels) of the cells of a kind."""
    data = lesson15_solar.of_kind(split, kind)
    return features.extract(zoo.load(solar.BACKBONE), data), data.labels


@lru_cache(maxsize=1)
def digits_read():
    """{split: (pixels (N, 64), labels)} of scikit-learn's digits, divided once."""
    X, y = load_digits(return_X_y=True)
    X, T, y, t = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    V, T, v, t = train_test_split(T, t, test_size=0.7, random_state=0, stratify=t)
    return {"train": (X, y), "validation": (V, v), "test": (T, t)}


def read(sequence, task, split):
    """(X (N, F), y (N,)) of one task."""
    if sequence == "cells":
        return cells_read(task, split)
    X, y = digits_read()[split]
    own = (y < 5) == (task == "0 to 4")
    return X[own], y[own]


def drawn(X, y, n, seed):
    """n rows of each class, as (inputs, labels) tensors."""
    rng = np.random.default_rng(seed)
    at = [rng.permutation(np.flatnonzero(y == c))[:n] for c in np.unique(y)]
    at = np.concatenate(at)
    return torch.tensor(X[at]).float(), torch.tensor(y[at])


class Tasks:
    """The tasks of a sequence with one seed's labels."""

    def __init__(self, sequence, seed):
        self.names, n = SEQUENCES[sequence], LABELS[sequence]
        self.seed, self.classes = seed, CLASSES[sequence]
        self.train, self.parts = [], {"validation": [], "test": []}
        for name in self.names:
            self.train.append(drawn(*read(sequence, name, "train"), n, seed))
            for split, found in self.parts.items():
                X, y = read(sequence, name, split)
                found.append((torch.tensor(X).float(), torch.tensor(y)))

    def network(self):
        """A hidden layer and a head; inputs scaled by the first task's."""
        X = self.train[0][0].numpy()
        options = dict(hidden=HIDDEN, standardise=X, seed=self.seed)
        return make_head(X.shape[1], self.classes, **options)

    def losses(self, net, split="validation"):
        """Mean cross-entropy of each task, in nats."""
        return [training.evaluate(net, data)["loss"] for data in self.parts[split]]

    def accuracies(self, net):
        """Balanced test accuracy of each task."""
        found = [training.evaluate(net, data) for data in self.parts["test"]]
        return [one["balanced_accuracy"] for one in found]


# -- one task after the other ------------------------------------------------------


def learn(net, data, lr, seed, steps, penalties=()):
    """Updates on (inputs, labels); the last weights are kept."""

    def penalty():
        return sum(one() for one in penalties)

    recipe = training.Recipe(
        batch_size=BATCH,
        eval_every=steps,
        objective=training.Objective(penalty=penalty if penalties else None),
    )
    training.fit(net, data, steps=steps, lr=lr, seed=seed, recipe=recipe)


def mixed(data, kept):
    """The data and as many rows of those kept, repeated."""
    X, y = (torch.cat(part) for part in zip(*kept, strict=True))
    at = torch.arange(len(data[1])) % len(y)
    return torch.cat([data[0], X[at]]), torch.cat([data[1], y[at]])


def in_turn(tasks, way, lr, strength, fraction=1.0):
    """The network after the last task."""
    net, steps, kept, held = tasks.network(), updates(STEPS, fraction), [], []
    if way == "all at once":
        everything = tuple(torch.cat(part) for part in zip(*tasks.train, strict=True))
        learn(net, everything, lr, tasks.seed, steps * len(tasks.names))
        return net
    for i, data in enumerate(tasks.train):
        if i and way == "LoRA":
            names = [n for n, m in net.named_modules() if isinstance(m, nn.Linear)]
            lora.inject(net, names, r=RANK, alpha=2 * RANK, seed=tasks.seed + i)
        seen = mixed(data, kept) if i and way == "replay" else data
        learn(net, seen, lr, tasks.seed + i, steps, held)
        if i and way == "LoRA":
            lora.merge(net).requires_grad_(True)
        if way == "replay":
            kept.append(drawn(*(part.numpy() for part in data), KEPT, tasks.seed))
        if way == "EWC":
            held.append(ewc(net, fisher_diagonal(net, data[0]), strength))
        if way == "L2-SP":
            held = [l2_sp(net, net, strength)]
    return net


@experiment(
    "remembering",
    grid=[
        dict(sequence=sequence, seed=seed)
        for sequence in SEQUENCES
        for seed in range(5)
    ],
    sample=[dict(sequence="digits", seed=0)],
    short=[dict(sequence="digits", seed=0, fraction=0.1)],
    tolerance={f"{way} first": 0.04 for way in ("in turn", "replay", "all at once")},
    data=solar.FILES,
)
def remembering(sequence, seed, fraction=1.0):
    """Balanced test accuracy after the last task, on the first, the last and all."""
    tasks, numbers = Tasks(sequence, seed), {}
    for way in WAYS:
        tried = []
        for lr in RATES:
            for strength in STRENGTHS.get(way, (0.0,)):
                net = in_turn(tasks, way, lr, strength, fraction)
                loss = float(np.mean(tasks.losses(net)))
                tried.append((loss, lr, strength, net))
        loss, lr, strength, net = min(tried, key=lambda one: one[0])
        found = tasks.accuracies(net)
        numbers |= {f"{way} first": found[0], f"{way} last": found[-1]}
        numbers |= {f"{way} all": float(np.mean(found)), f"{way} loss": loss}
        numbers |= {f"{way} rate": lr, f"{way} strength": strength}
    alone = tasks.network()
    learn(alone, tasks.train[0], RATES[0], seed, updates(STEPS, fraction))
    return numbers | {"before first": tasks.accuracies(alone)[0]}


# -- distillation ------------------------------------------------------------------


@lru_cache(maxsize=1)
def films():
    """{split: (labels, MiniLM's features, weighted words)} of short texts of films."""
    words, found = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), {}
    for split in ("train", "validation", "test"):
        data = texts.short("films", split)
        if split != "train":
            data = data.subset(texts.rows(data, texts.TESTED, 0))
        count = words.fit_transform if split == "train" else words.transform
        X = features.extract(texts.minilm(), data.texts)
        found[split] = data.labels, X, count(data.texts)
    return found


def taught(X, P, val):
    """Logistic regression on soft labels P (N, 2): each row twice, with weights.

    Its loss is the cross-entropy to the teacher at temperature 1.  val: (X, labels),
    chooses the penalty by balanced accuracy.
    """
    y, doubled = np.repeat([0, 1], X.shape[0]), sparse.vstack([X, X]).tocsr()
    models = [
        LogisticRegression(C=C, max_iter=2000).fit(doubled, y, P.T.ravel())
        for C in PENALTIES
    ]
    return max(models, key=lambda m: balanced_accuracy_score(val[1], m.predict(val[0])))


def first_rows(labels, seed, n=100):
    """Places of n rows of each class, drawn by the seed."""
    rng = np.random.default_rng(seed)
    drawn_ = [rng.permutation(np.flatnonzero(labels == c))[:n] for c in (0, 1)]
    return np.concatenate(drawn_)


@experiment(
    "distilling",
    grid=[dict(seed=seed) for seed in range(10)],
    sample=[dict(seed=0)],
    tolerance={name: 0.03 for name in ("teacher", "student", "distilled")},
    data=("assets/opinions", "near_duplicates.npz"),
)
def distilling(seed):
    """Balanced test accuracy on films: the teacher, and the bag of words."""
    (y, X, W), (v, _, V), (t, T, U) = films().values()
    at = first_rows(y, seed)
    teacher = probes.linear_probe(
        X[at], y[at], np.concatenate([X, T]), np.concatenate([y, t]), seed=seed
    )
    P, hard = teacher.probabilities, np.eye(2)
    soft = P[: len(y)].copy()
    soft[at] = hard[y[at]]
    students = {
        "student": taught(W[at], hard[y[at]], (V, v)),
        "distilled": taught(W, soft, (V, v)),
        "all labels": taught(W, hard[y], (V, v)),
    }
    answers = {name: model.predict(U) for name, model in students.items()}
    answers["teacher"] = P[len(y) :].argmax(1)
    return {name: balanced_accuracy_score(t, a) for name, a in answers.items()}
