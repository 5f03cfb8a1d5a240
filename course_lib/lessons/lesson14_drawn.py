"""Lesson 14's small world: drawn stripes, of which each picture has three labels.

Stripes lie or stand, are dark or bright, red or blue; the rest (how many, where they
begin, how strong, noise) is drawn at random and is no label.  A small network learns
from them without labels, with views that change one thing or another; then 20 labels of
each kind show what is left in its features.
"""

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import effective_rank, probes
from course_lib.lessons import lesson14_pictures
from course_lib.lessons.results import experiment, updates
from course_lib.methods.self_supervised import ViewTraining
from course_lib.training import photometric

SIDE = 24
LABELS = {  # {kind: its two classes}
    "orientation": ("lying", "standing"),
    "brightness": ("dark", "bright"),
    "colour": ("red", "blue"),
}
POOL, TEST, LABELLED = 1000, 500, 20
STEPS, BATCH, RATE, WIDTH = 150, 32, 1e-3, 128


def drawn(n, seed):
    """(pictures float32 (n, 3, 24, 24), {kind: labels (n,)}), values about 0."""
    rng = np.random.default_rng(seed)
    labels = {kind: rng.integers(0, 2, n) for kind in LABELS}
    waves, start = rng.uniform(2, 5, (n, 1, 1)), rng.uniform(0, 1, (n, 1, 1))
    along = np.linspace(0, 1, SIDE)
    lying, standing = along[:, None], along[None, :]
    place = np.where(labels["orientation"][:, None, None], standing, lying)
    stripes = np.sin(2 * np.pi * (waves * place + start))  # (n, 24, 24)
    stripes = stripes * rng.uniform(0.5, 1.0, (n, 1, 1))
    level = np.where(labels["brightness"], 0.5, -0.5) + rng.normal(0, 0.15, n)
    tint = np.where(labels["colour"], -0.5, 0.5) + rng.normal(0, 0.15, n)
    x = np.stack([stripes] * 3, axis=1) + level[:, None, None, None]
    x[:, 0] += tint[:, None, None]
    x[:, 2] -= tint[:, None, None]
    x += rng.normal(0, 0.3, x.shape)
    return torch.tensor(x, dtype=torch.float32), labels


def levels(x, generator):
    """Each picture lighter or darker, the same in all channels."""
    return x + 3 * (torch.rand(len(x), 1, 1, 1, generator=generator) - 0.5)


def channels(x, generator):
    """The channels of each picture in an order drawn at random."""
    order = torch.rand(len(x), 3, generator=generator).argsort(dim=1)
    return x.gather(1, order[:, :, None, None].expand_as(x))


CROP = training.compose(
    training.random_resized_crop(0.4), photometric.random_noise(0.3)
)
VIEWS = {  # {name: the change that makes a view}
    "crop": CROP,
    "crop, turns": training.compose(CROP, training.random_dihedral()),
    "crop, levels": training.compose(CROP, levels),
    "crop, channels": training.compose(CROP, channels),
    "all of them": training.compose(CROP, training.random_dihedral(), levels, channels),
}


def encoder(seed):
    """Three convolutions and a mean over places: (N, 3, 24, 24) to (N, 128)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = []
        for a, b in ((3, 32), (32, 64), (64, WIDTH)):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def learned(views, way, seed, steps=STEPS, watch=None):
    """An encoder after pre-training, and its projector.

    watch(net, projector) is called every ten updates and at the end.

    views: of VIEWS; way: of lesson14_pictures.WAYS.
    """
    net, (x, _) = encoder(seed), drawn(POOL, 1000 + seed)
    generator = torch.Generator().manual_seed(seed)
    with training.isolated(seed, None):
        run = ViewTraining(
            net, net, WIDTH, lesson14_pictures.WAYS[way], steps=steps, lr=RATE
        )
        for step in range(steps):
            if watch and step % 10 == 0:
                watch(net, run.projector)
            rows = torch.randperm(len(x), generator=generator)[:BATCH]
            run.update(VIEWS[views](x[rows], generator) for _ in range(2))
    if watch:
        watch(net, run.projector)
    return net, run.projector


def represented(net, x):
    """What a network makes of pictures, (N, 128), as numpy."""
    net.eval()
    with torch.no_grad():
        found = net(x).numpy()
    net.train()
    return found


def signs(Z, ending=""):
    """{rankme, spread} of features or projections (N, F)."""
    found = {"rankme": effective_rank.rankme(Z), "spread": effective_rank.spread(Z)}
    return {name + ending: value for name, value in found.items()}


def told(Z, labels, T, test):
    """{kind: accuracy of a linear probe with 20 labelled pictures in all}."""
    few = slice(0, LABELLED)
    return {
        kind: probes.linear_probe(Z[few], labels[kind][few], T, test[kind], C=0.1)
        for kind in LABELS
    }


@experiment(
    "drawn_views",
    grid=[
        dict(views=views, way=way, seed=seed)
        for views, way in [
            ("crop", "frozen"),
            *[(views, "simclr") for views in VIEWS],
            *[("crop", way) for way in ("barlow_twins", "vicreg")],
            *[("crop", way) for way in lesson14_pictures.COLLAPSING],
        ]
        for seed in range(5 if way in ("frozen", "simclr") else 3)
    ],
    sample=[dict(views="crop", way=way, seed=0) for way in ("frozen", "no variance")],
    short=[
        dict(views="all of them", way="simclr", seed=0, fraction=0.1),
        dict(views="crop", way="frozen", seed=0),
    ],
    tolerance={
        "orientation": 0.04,
        "brightness": 0.04,
        "colour": 0.04,
        "rankme": 1.0,
        "spread": 0.03,
        "rankme projected": 1.0,
        "spread projected": 0.03,
    },
)
def drawn_views(views, way, seed, fraction=1.0):
    """What 20 labels read out of features that were learned without labels."""
    net, projector = encoder(seed), None
    if way != "frozen":
        net, projector = learned(views, way, seed, updates(STEPS, fraction))
    (x, labels), (t, test) = drawn(POOL, 1000 + seed), drawn(TEST, 2000 + seed)
    Z, T = represented(net, x), represented(net, t)
    found = {k: p.accuracy for k, p in told(Z, labels, T, test).items()} | signs(Z)
    if projector:
        projected = represented(nn.Sequential(net, projector), x)
        found |= signs(projected, " projected")
    return found
