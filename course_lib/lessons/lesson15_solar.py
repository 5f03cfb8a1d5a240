"""Lesson 15 on solar cells: LP-FT, WiSE-FT and soups, from one kind to the other.

Set before looking.  A network learns from 100 labelled cells of a class of one kind of
silicon.  It is tested on that kind's test cells (in), on the same cells as another
camera may see them (camera, `lesson16_solar.disturbed`), and on test and validation
cells of the other kind, which nothing is trained or chosen on (out).  Everything behind
Lite0's fifth stage learns, 48 updates of 32, half of the cells mirrored; AdamW, warm-up
then cosine, the weights of the lowest validation loss of four evaluations.

FT begins from a new head, LP-FT from the probe (a linear head fitted on frozen
features, `solar.start`).  Both try the same three rates, and the lowest validation loss
chooses for each seed.  The soup has five members, all from the probe: the three rates,
and the two larger ones with another order of batches and label smoothing.  WiSE-FT goes
from the probe to LP-FT; its alpha is that of the lowest validation loss, too, and 0.5
is looked at as well.  All validation cells are of the kind trained on.

The main measure is the AUROC.  A trial of two updates had shown that a threshold
learned on one kind calls nearly all cells of the other functional, so that a balanced
accuracy of .5 says nothing about the ranking.  Both are stored.
"""

import copy
from functools import lru_cache

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.optim.swa_utils import update_bn

from course_lib import training
from course_lib.lessons import solar
from course_lib.lessons.lesson16_solar import disturbed
from course_lib.lessons.results import experiment, interval, updates
from course_lib.methods import merging
from course_lib.models import zoo
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

OTHER = {"mono": "poly", "poly": "mono"}
LABELS, STEPS = 100, 48
RATES = (1e-4, 3e-4, 1e-3)
EXTRA = ((3e-4, 0.1), (1e-3, 0.1))  # more members of the soup: rate, label smoothing
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
SHORT = 24  # cells of each part in a short cell
SEEDS = {"mono": range(6), "poly": range(5)}


def of_kind(split, kind):
    """Cells of one kind of silicon."""
    data = solar.cells(split)
    return data.subset(np.flatnonzero(data.metadata["kind"] == kind))


def labelled(kind, seed):
    """LABELS training cells of each class, drawn by the seed."""
    data, rng = of_kind("train", kind), np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(data.labels == c))[:LABELS] for c in (0, 1)]
    return data.subset(np.concatenate(drawn))


@lru_cache(maxsize=8)
def held(kind, split, fraction=1.0):
    """(output of the fifth stage, labels) of the cells of one kind of a split.

    split: camera for the test cells as another camera may see them.
    """
    data = of_kind("test" if split == "camera" else split, kind)
    data = data if fraction == 1 else data.take(SHORT, seed=0)
    images = disturbed(data.images, 0) if split == "camera" else data.images
    return lower().run((images, data.labels))


@lru_cache(maxsize=1)
def lower():
    """The frozen stages, which every seed shares."""
    return start(0)[1]


def joined(*parts):
    """Several (inputs, labels) as one."""
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))


def start(seed):
    """(Lite0 with a new head, its stages up to the fifth frozen)."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    return backbone, FrozenStages(
        backbone, solar.BELOW, solar.cells("validation").images
    )


def pooled(upper, stored, batch_size=64):
    """What the classifier reads, (N, 1280)."""
    seen, net = [], upper.net
    hook = net.classifier.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    with hook, torch.no_grad():
        upper.eval()
        for first in range(0, len(stored), batch_size):
            upper(stored[first : first + batch_size])
    return torch.cat(seen).numpy()


def probed(upper, train, val, seed, fraction=1.0):
    """The state with the head that is best on frozen features, `solar.start`'s."""
    n = len(train[1]) // 2  # without the mirrored ones
    X, V = pooled(upper, train[0][:n]), pooled(upper, val[0])
    shape = training.Head(standardise=False)
    head, _ = training.fit_head(
        X, train[1][:n].numpy(), (V, val[1].numpy()), head=shape,
        steps=updates(200, fraction), seed=seed,
    )  # fmt: skip
    upper.net.classifier.load_state_dict(head.state_dict())
    return copy.deepcopy(upper.state_dict())


def tuned(upper, state, train, val, lr, seed, smoothing=0.0, fraction=1.0):
    """The state after training from another one."""
    upper.load_state_dict(state)
    recipe = training.Recipe(
        eval_every=interval(STEPS, 4, fraction),
        objective=training.Objective(label_smoothing=smoothing),
    )
    steps = updates(STEPS, fraction)
    training.fit(upper, train, val, steps=steps, lr=lr, seed=seed, recipe=recipe)
    return copy.deepcopy(upper.state_dict())


class Bench:
    """One seed's network and data: states are trained, merged and tested on it."""

    def __init__(self, kind, seed, fraction=1.0):
        self.seed, self.fraction = seed, fraction
        backbone, stages = start(seed)
        data = labelled(kind, seed)
        if fraction != 1:
            data = data.take(SHORT, seed=0)
        self.upper = stages.upper
        self.train = stages.run(data, MIRRORED)
        self.val = held(kind, "validation", fraction)
        other = (held(OTHER[kind], split, fraction) for split in ("validation", "test"))
        self.places = {
            "in": held(kind, "test", fraction),
            "out": joined(*other),
            "camera": held(kind, "camera", fraction),
        }
        self.known = {}
        self.fresh = copy.deepcopy(self.upper.state_dict())
        self.probe = probed(self.upper, self.train, self.val, seed, fraction)

    def tuned(self, state, lr, order=0, smoothing=0.0):
        """A state trained from another one, on these cells."""
        seed = self.seed + 100 * order
        return tuned(
            self.upper, state, self.train, self.val, lr, seed, smoothing, self.fraction
        )

    def answers(self, state, data):
        """(loss in nats, probabilities (N, 2)) of a state, computed once."""
        key = id(state), id(data)
        if key not in self.known:
            self.upper.load_state_dict(state)
            found = training.evaluate(self.upper, data)
            self.known[key] = found["loss"], found["probabilities"], state
        return self.known[key][:2]

    def loss(self, state):
        """On the validation cells, in nats."""
        return self.answers(state, self.val)[0]

    def best(self, states):
        """Place of the lowest validation loss."""
        return int(np.argmin([self.loss(state) for state in states]))

    def refreshed(self, state):
        """The state with BatchNorm's statistics estimated anew on training cells."""
        self.upper.load_state_dict(state)
        batches = self.train[0].split(64)
        update_bn([batch.float() for batch in batches], self.upper)
        return copy.deepcopy(self.upper.state_dict())

    def tested(self, name, states):
        """{number: value} in each place, of the mean of the states' answers."""
        numbers = {}
        for where, data in self.places.items():
            found = [self.answers(state, data) for state in states]
            P, y = np.mean([P for _, P in found], axis=0), data[1].numpy()
            numbers[f"{name} {where}"] = training.balanced_accuracy(P, y)
            numbers[f"{name} {where} auroc"] = roc_auc_score(y, P[:, 1])
            numbers[f"{name} {where} loss"] = float(-np.log(P[range(len(y)), y]).mean())
        return numbers


@experiment(
    "solar_merging",
    grid=[dict(kind=kind, seed=s) for kind, seeds in SEEDS.items() for s in seeds],
    sample=[dict(kind="mono", seed=0)],
    short=[dict(kind="mono", seed=0, fraction=0.05)],
    tolerance={f"{way} in auroc": 0.03 for way in ("LP", "FT", "LP-FT", "uniform")},
    data=solar.FILES,
)
def solar_merging(kind, seed, fraction=1.0):
    """All ways of one seed, tested in three places."""
    bench = Bench(kind, seed, fraction)
    rates = RATES if fraction == 1 else RATES[1:]
    fresh = [bench.tuned(bench.fresh, lr) for lr in rates]
    members = [bench.tuned(bench.probe, lr) for lr in rates]
    ft, own = bench.best(fresh), bench.best(members)
    if fraction == 1:
        members += [bench.tuned(bench.probe, lr, 1, s) for lr, s in EXTRA]
    numbers = {"ft rate": rates[ft], "lp-ft rate": rates[own]}
    ways = {"LP": [bench.probe], "FT": [fresh[ft]], "LP-FT": [members[own]]}
    mixed = {a: merging.interpolate(bench.probe, members[own], a) for a in ALPHAS}
    numbers["alpha"] = ALPHAS[bench.best(mixed.values())]
    ways |= {f"alpha {alpha:g}": [state] for alpha, state in mixed.items()}
    greedy, kept = merging.greedy_soup(members, lambda state: -bench.loss(state))
    uniform = merging.soup(members)
    ways |= {"best member": [members[bench.best(members)]], "greedy": [greedy]}
    ways |= {"uniform": [uniform], "refreshed": [bench.refreshed(uniform)]}
    ways |= {f"member {i}": [state] for i, state in enumerate(members)}
    for name, states in (ways | {"ensemble": members}).items():
        numbers |= bench.tested(name, states)
    return numbers | {"kept": len(kept)}
