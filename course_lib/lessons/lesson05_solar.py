"""Grid of lesson 05's real world: silent failures of Lite0 on solar cells.

The protocol is that of `solar`, with two differences: pictures of 64 pixels a side, to
save time, and 100 labels a class throughout.  A failure and its correct counterpart
share the cells, the start of the head and the batches.  Nothing is tuned here.
"""

from dataclasses import replace
from functools import lru_cache, partial
from statistics import median

import numpy as np
import timm
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from course_lib import training
from course_lib.analysis import probes
from course_lib.datasets import solar_cells
from course_lib.lessons import protocol, results, solar
from course_lib.lessons.results import experiment, part, updates
from course_lib.models import features, zoo
from course_lib.models.preprocessing import Preprocess
from course_lib.training import freezing
from course_lib.training.frozen_stages import AS_THEY_ARE, MIRRORED, FrozenStages

SIZE, LABELS, LR = 64, 100, 1e-3
HEAD_LR = 1e-2  # of a head alone, as in the small world
BELOW = "stage6"  # frozen up to here; 4 BatchNorm layers learn behind it
OWN = dict(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, size=SIZE)
RIGHT = Preprocess(**OWN)
WRONG = {
    "ImageNet": Preprocess(size=SIZE),
    "0 to 255": Preprocess(mean=(0.0,) * 3, std=(1 / 255,) * 3, size=SIZE),
    "half size": Preprocess(**OWN | {"size": SIZE // 2}),
}
TWIN = "wrong twin"
MISTAKES = (TWIN, *WRONG)


def lite0(num_classes=None, seed=0):
    """Lite0 that sees cells of 64 pixels."""
    return replace(zoo.load(solar.BACKBONE, num_classes, seed=seed), preprocess=RIGHT)


def twin():
    """Lite0's weights in timm's network without `tf_`: nothing complains."""
    right = lite0()
    wrong = timm.create_model("efficientnet_lite0", pretrained=False)
    wrong.load_state_dict(right.model.state_dict())
    return replace(right, model=wrong.eval())


@lru_cache(maxsize=18)
def represented(mistake, split):
    """Features (N, 1280) of all cells of a split, prepared rightly or not."""
    backbone = twin() if mistake == TWIN else lite0()
    preprocess = WRONG.get(mistake, RIGHT)
    return features.extract(backbone, solar.cells(split), preprocess=preprocess)


def probe(learned, served, seed):
    """Balanced accuracy of a regression on features of one kind, served another."""
    train, held = solar.rows("train", LABELS, seed), solar.rows("validation", 100, 0)
    y, v, t = (solar.cells(s).labels for s in ("train", "validation", "test"))
    X, V = (represented(learned, s) for s in ("train", "validation"))
    val, T = (V[held], v[held]), represented(served, "test")
    return probes.linear_probe(X[train], y[train], T, t, val=val).balanced_accuracy


def inputs(seed, fraction=1.0):
    """Feature extraction: right, served wrongly, and wrong from the start."""
    numbers = {"accuracy": probe(None, None, seed)}
    for mistake in MISTAKES:
        numbers[f"served {mistake}"] = probe(None, mistake, seed)
        numbers[f"throughout {mistake}"] = probe(mistake, mistake, seed)
    return numbers


@lru_cache(maxsize=1)
def all_cells():
    """Features, labels and groups of all cells of which the experts were sure."""
    splits = tuple(solar_cells.SHARES)
    groups = [solar.cells(split).metadata["group"] for split in splits]
    labels = [solar.cells(split).labels for split in splits]
    Z = [represented(None, split) for split in splits]
    return np.concatenate(Z), np.concatenate(labels), np.concatenate(groups)


def duplicates(seed, fraction=1.0):
    """The same test cells, with and without near-duplicates among 800 training cells.

    A quarter of all cells is the test set, as a random split draws it.
    """
    Z, y, group = all_cells()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    test, rest = order[: len(y) // 4], order[len(y) // 4 :]
    unseen = rest[~np.isin(group[rest], group[test])]
    numbers = {}
    for name, pool in (("random split", rest), ("by group", unseen)):
        train = np.concatenate([pool[y[pool] == c][:400] for c in (0, 1)])
        X, labels = Z[train], y[train]
        found = probes.linear_probe(X, labels, Z[test], y[test], C=0.01)
        numbers[name] = found.balanced_accuracy
        nearest = (unit(Z[test]) @ unit(X).T).argmax(1)
        guess = labels[nearest]
        numbers[f"neighbour, {name}"] = training.balanced_accuracy(guess, y[test])
        numbers[f"copied, {name}"] = np.isin(group[test], group[train]).mean()
    return numbers


def unit(Z):
    """Rows (N, F) of length 1."""
    return Z / np.linalg.norm(Z, axis=1, keepdims=True)


def norms(model):
    """The BatchNorm layers of a network."""
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def accuracy(model, fraction):
    """Balanced accuracy on the test cells, in evaluation mode."""
    return training.evaluate(
        model, part(solar.cells("test"), fraction), preprocess=RIGHT
    )["balanced_accuracy"]


def frozen_loop(seed, fraction=1.0):
    """The tutorial's loop: backbone frozen, the head learns, in train mode or not.

    In evaluation mode a frozen backbone gives the same features in each update, so
    they are taken from `represented`.
    """
    rows, numbers = solar.rows("train", LABELS, seed), {}
    x = RIGHT(solar.cells("train").images[rows])
    Z = torch.as_tensor(represented(None, "train")[rows])
    y = torch.as_tensor(solar.cells("train").labels[rows])
    for mode in ("train", "eval"):
        backbone = freezing.freeze_backbone(lite0(2, seed))
        head = backbone.model.classifier
        layers = norms(backbone.model.train())
        before = [layer.running_mean.clone() for layer in layers]
        optimizer = torch.optim.AdamW(head.parameters(), lr=HEAD_LR)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(updates(40, fraction)):
            batch = torch.randperm(len(y), generator=generator)[:32]
            logits = backbone.model(x[batch]) if mode == "train" else head(Z[batch])
            loss = nn.functional.cross_entropy(logits, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        numbers[f"{mode} mode"] = accuracy(backbone, fraction)
        if mode == "train":
            moved = [
                ((layer.running_mean - old).norm() / old.norm()).item()
                for layer, old in zip(layers, before)
            ]
            numbers |= {"drift": median(moved), "moved": sum(m > 0.01 for m in moved)}
    return numbers


def momentum(seed, fraction=1.0):
    """Forty updates of all of Lite0 with BatchNorm's momentum at 0.01.

    The batches alone drive training, so one run serves all comparisons: its weights
    with statistics of momentum 0.01, of 0.1, of the test batch, and renewed.
    """
    backbone, train = lite0(2, seed), solar.labelled(LABELS, seed)
    layers = norms(backbone.model)
    faster = [(m.running_mean.clone(), m.running_var.clone()) for m in layers]

    def follow(at, layer, inputs):
        if layer.training:
            x = inputs[0].detach()
            found = x.mean((0, 2, 3)), x.var((0, 2, 3))
            for kept, new in zip(faster[at], found):
                kept.lerp_(new, 0.1)

    hooks = []
    for at, layer in enumerate(layers):
        layer.momentum = 0.01
        hooks.append(layer.register_forward_pre_hook(partial(follow, at)))
    recipe = training.Recipe(augment=training.random_flips())
    steps = updates(40, fraction)
    training.fit(backbone, train, steps=steps, lr=LR, seed=seed, recipe=recipe)
    for hook in hooks:
        hook.remove()
    numbers = {"momentum 0.01": accuracy(backbone, fraction)}
    for layer, (mean, variance) in zip(layers, faster):
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
    numbers["momentum 0.1"] = accuracy(backbone, fraction)
    update_bn(RIGHT(train.images).split(40), backbone.model)
    numbers["renewed"] = accuracy(backbone, fraction)
    for layer in layers:  # without statistics of its own it takes the batch's
        layer.running_mean = layer.running_var = None
    return numbers | {"batch": accuracy(backbone, fraction)}


@lru_cache(maxsize=4)
def stored(split, views=AS_THEY_ARE):
    """What the frozen stages give for all cells of a split, and the labels."""
    stages = FrozenStages(lite0(2), BELOW, solar.cells("test").images[:2])
    data = solar.validation() if split == "validation" else solar.cells(split)
    return stages.run(data, views)


def upper(seed, views):
    """Lite0 behind stage 6, and what it learns from: stored output, labels."""
    outputs, labels = stored("train", views)
    rows, n = solar.rows("train", LABELS, seed), len(solar.cells("train"))
    rows = np.concatenate([rows + n * view for view in range(len(views))])
    stages = FrozenStages(lite0(2, seed), BELOW, solar.cells("test").images[:2])
    return stages.upper, (outputs[rows], labels[rows])


def some(data, fraction):
    """In a short cell the first 200 of stored outputs and labels."""
    return data if fraction == 1 else tuple(column[:200] for column in data)


def small_batches(size, frozen_norms, seed, fraction=1.0, pictures=1280):
    """A BatchNorm layer and a new head on frozen features, 1,280 cells in batches.

    The rate is in step with the size of the batch; last weights.  The frozen layer has
    the statistics of the training features, and its scale and shift do not learn.
    """
    rows = solar.rows("train", LABELS, seed)
    X, y = represented(None, "train")[rows], solar.cells("train").labels[rows]
    norm = nn.BatchNorm1d(X.shape[1])
    head = training.make_head(X.shape[1], 2, seed=seed)
    model = nn.Sequential(norm, head)
    if frozen_norms:
        norm.running_mean.copy_(torch.as_tensor(X.mean(0)))
        norm.running_var.copy_(torch.as_tensor(X.var(0)))
        freezing.freeze(norm)
    recipe = training.Recipe(batch_size=size)
    steps, lr = updates(pictures // size, fraction), HEAD_LR * size / 32
    training.fit(model, (X, y), steps=steps, lr=lr, seed=seed, recipe=recipe)
    seen = some((represented(None, "test"), solar.cells("test").labels), fraction)
    found = training.evaluate(model, seen)
    return {"accuracy": found["balanced_accuracy"], "loss": found["loss"]}


def long_run(augmented, seed, fraction=1.0, steps=160):
    """Twice as long: weights of the lowest validation loss, and the last ones."""
    model, train = upper(seed, MIRRORED if augmented else AS_THEY_ARE)
    every = results.interval(steps, 8, fraction)
    validation, test = (
        some(stored(split), fraction) for split in ("validation", "test")
    )
    schedule = "cosine" if augmented else "constant"
    recipe = training.Recipe(
        eval_every=every, optimization=training.Optimization(schedule=schedule)
    )
    options = dict(steps=updates(steps, fraction), lr=LR, seed=seed)
    losses, best = protocol.watched(model, train, validation, recipe, **options)
    found = protocol.last_and_lowest(model, losses, best, test, "balanced_accuracy")
    found["best step"] *= every
    return found


SETUPS = {  # and their numbers of seeds
    "inputs": (inputs, 10),
    "duplicates": (duplicates, 10),
    "long run": (partial(long_run, True), 5),
    "long run, plain": (partial(long_run, False), 5),
    **{
        f"batch {size}{', frozen norms' * still}": (
            partial(small_batches, size, still),
            10,
        )
        for size in (2, 8, 32)
        for still in (False, True)
    },
    "frozen loop": (frozen_loop, 5),
    "momentum": (momentum, 5),
}


@experiment(
    "solar_failures",
    grid=[
        dict(setup=setup, seed=seed)
        for setup, (_, seeds) in SETUPS.items()
        for seed in range(seeds)
    ],
    sample=[dict(setup="momentum", seed=0)],
    short=[dict(setup="momentum", seed=0, fraction=0.05)],
    tolerance={"accuracy": 0.03, f"served {TWIN}": 0.03, "momentum 0.1": 0.05},
    live={"05": ("accuracy", f"served {TWIN}")},
    data=solar.FILES,
)
def solar_failures(setup, seed, fraction=1.0):
    """One set-up, right or wrong, on solar cells."""
    return SETUPS[setup][0](seed=seed, fraction=fraction)
