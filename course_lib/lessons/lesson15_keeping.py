"""Lesson 15 on scikit-learn's digits: a second task, and a student of a teacher.

Small enough to be computed in the lesson, over three draws of the labels, students over
ten.  Nothing is tuned: rates and strengths were set before looking.
"""

from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from course_lib import training
from course_lib.methods import lora
from course_lib.methods.penalties import ewc, fisher_diagonal
from course_lib.training.cached_heads import make_head

SEEDS, DISTILLED = (0, 1, 2), range(10)
LABELS, HIDDEN, STEPS, BATCH = 60, 64, 150, 32  # labels a class
LR, KEPT, RANK = 1e-3, 20, 4  # KEPT examples a class for replay
STRENGTH = 100.0  # of EWC
WAYS = ("in turn", "EWC", "LoRA", "replay", "all at once")


@lru_cache(maxsize=1)
def digits():
    """(X, y, T, t): pixels (N, 64) and labels to draw from and to test on."""
    X, y = load_digits(return_X_y=True)
    X, T, y, t = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    X, T = (torch.tensor(part).float() for part in (X, T))
    return X, torch.tensor(y), T, torch.tensor(t)


def drawn(X, y, n, seed):
    """n rows of each class that occurs, as (inputs, labels)."""
    generator = torch.Generator().manual_seed(seed)
    places = [torch.nonzero(y == c)[:, 0] for c in y.unique()]
    mixed = [at[torch.randperm(len(at), generator=generator)[:n]] for at in places]
    at = torch.cat(mixed)
    return X[at], y[at]


def halves(X, y):
    """[(inputs, labels) of 0 to 4, of 5 to 9]."""
    return [(X[own], y[own]) for own in (y < 5, y >= 5)]


class Tasks:
    """The classes 0 to 4, then 5 to 9, with one seed's labels."""

    def __init__(self, seed):
        X, y, T, t = digits()
        self.train = halves(*drawn(X, y, LABELS, seed))
        self.test, self.seed = halves(T, t), seed

    def network(self):
        """A hidden layer and one head of ten; inputs scaled by the first task's."""
        X = self.train[0][0].numpy()
        return make_head(64, 10, hidden=HIDDEN, standardise=X, seed=self.seed)

    def accuracies(self, net):
        """Test accuracy on both halves."""
        return [training.evaluate(net, data)["accuracy"] for data in self.test]


def learn(net, data, seed, steps=STEPS, penalty=None):
    """Updates on (inputs, labels); the last weights are kept."""
    recipe = training.Recipe(
        batch_size=BATCH,
        eval_every=steps,
        objective=training.Objective(penalty=penalty),
    )
    training.fit(net, data, steps=steps, lr=LR, seed=seed, recipe=recipe)


def second_task(tasks, net, way):
    """The network that has learned the first half learns the second, in place."""
    first, second = tasks.train
    seed, penalty = tasks.seed + 1, None
    if way == "LoRA":
        names = [n for n, m in net.named_modules() if isinstance(m, nn.Linear)]
        lora.inject(net, names, r=RANK, alpha=2 * RANK, seed=seed)
    if way == "EWC":
        penalty = ewc(net, fisher_diagonal(net, first[0]), STRENGTH)
    if way == "replay":  # half of every batch
        X, y = drawn(*first, KEPT, seed)
        at = torch.arange(len(second[1])) % len(y)
        second = torch.cat([second[0], X[at]]), torch.cat([second[1], y[at]])
    learn(net, second, seed, penalty=penalty)
    return lora.merge(net) if way == "LoRA" else net


def remembered():
    """{way: accuracies (S, 2) on both halves at the end}, and before the second."""
    found = {way: [] for way in ("before", *WAYS)}
    for seed in SEEDS:
        tasks = Tasks(seed)
        for way in WAYS:
            net = tasks.network()
            if way == "all at once":
                both = [torch.cat(part) for part in zip(*tasks.train, strict=True)]
                learn(net, tuple(both), seed, 2 * STEPS)
            else:
                learn(net, tasks.train[0], seed)
                if way == "in turn":
                    found["before"].append(tasks.accuracies(net))
                second_task(tasks, net, way)
            found[way].append(tasks.accuracies(net))
    return {way: np.array(values) for way, values in found.items()}
