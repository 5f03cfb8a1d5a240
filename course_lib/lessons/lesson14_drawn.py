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
from course_lib.analysis import probes
from course_lib.methods.self_supervised import ViewTraining
from course_lib.methods.view_losses import nt_xent_loss
from course_lib.training import photometric

SIDE = 24
LABELS = {  # {kind: its two classes}
    "orientation": ("lying", "standing"),
    "brightness": ("dark", "bright"),
    "colour": ("red", "blue"),
}
POOL, TEST, LABELLED = 1000, 500, 20
STEPS, BATCH, RATE, WIDTH = 100, 32, 1e-3, 128


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


CROP = training.compose(
    training.random_resized_crop(0.4), photometric.random_noise(0.3)
)
VIEWS = {  # {name: the change that makes a view}
    "crop": CROP,
    "crop, turns": training.compose(CROP, training.random_dihedral()),
    "crop, levels": training.compose(CROP, levels),
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


def learned(views, seed, steps=STEPS):
    """An encoder after SimCLR on the pool; views: of VIEWS."""
    net, (x, _) = encoder(seed), drawn(POOL, 1000 + seed)
    generator = torch.Generator().manual_seed(seed)
    with training.isolated(seed, None):
        run = ViewTraining(net, net, WIDTH, nt_xent_loss, steps=steps, lr=RATE)
        for _ in range(steps):
            rows = torch.randperm(len(x), generator=generator)[:BATCH]
            run.update(VIEWS[views](x[rows], generator) for _ in range(2))
    return net


def represented(net, x):
    """What a network makes of pictures, (N, 128), as numpy."""
    net.eval()
    with torch.no_grad():
        return net(x).numpy()


def told(Z, labels, T, test):
    """{kind: accuracy of a linear probe with 20 labelled pictures in all}."""
    few = slice(0, LABELLED)
    return {
        kind: probes.linear_probe(Z[few], labels[kind][few], T, test[kind], C=0.1)
        for kind in LABELS
    }


def erased(seeds=range(3)):
    """{views: {kind: accuracy of 20 labels (seeds,)}}, random weights first."""
    found = {}
    for views in ("random weights", *VIEWS):
        rows = {kind: [] for kind in LABELS}
        for seed in seeds:
            trained = views in VIEWS
            net = learned(views, seed) if trained else encoder(seed)
            (x, labels), (t, test) = drawn(POOL, 1000 + seed), drawn(TEST, 2000 + seed)
            probe = told(represented(net, x), labels, represented(net, t), test)
            for kind, one in probe.items():
                rows[kind].append(one.accuracy)
        found[views] = {kind: np.array(values) for kind, values in rows.items()}
    return found
