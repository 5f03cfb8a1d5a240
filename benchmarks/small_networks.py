"""Many small networks that train side by side, for the second tries.

R networks of one form, each with its own weights, data, rate and draw, are one tensor
(R, ...), so that hundreds of them train in a minute.  Written with matrix products:
nothing here is from course_lib but the data.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import t as student
from torch.nn import functional as F

CHANNELS = (1, 8, 16, 16, 32)
STRIDES = (1, 2, 1, 2)  # 8 pixels a side become 8, 4, 4, 2


def random_layer(runs, i, o, generator):
    """[weight (runs, i, o), bias (runs, 1, o)] with random weights (He et al. 2015)."""
    weight = torch.randn(runs, i, o, generator=generator) * math.sqrt(2 / i)
    return [weight, torch.zeros(runs, 1, o)]


class Networks:
    """R networks: hidden layers, each [weight (R, i, o), bias (R, 1, o)], and a head.

    norms: each hidden layer has BatchNorm and its scale (R, 1, o) as well.
    """

    memory = 0.9  # share of BatchNorm's old statistics that an update keeps

    def __init__(self, sizes, runs, seed=0, norms=False):
        generator, self.norms = torch.Generator().manual_seed(seed), norms
        self.layers = [random_layer(runs, i, o, generator) for i, o in sizes]
        self.running = [
            (torch.zeros(runs, 1, o), torch.ones(runs, 1, o)) for _, o in sizes
        ]
        for layer in self.layers[:-1] if norms else ():
            layer.append(torch.ones_like(layer[1]))

    def select(self, rows):
        """Independent copies of some runs, in this order, with repetitions."""
        if not isinstance(rows, slice | torch.Tensor):
            rows = torch.tensor(list(rows))
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.layers = [[t.detach()[rows].clone() for t in one] for one in self.layers]
        copy.running = [tuple(t[rows].clone() for t in one) for one in self.running]
        return copy

    def fresh_head(self, classes, seed=0):
        """A new random head for every run; returns the networks."""
        runs, width = self.layers[-1][0].shape[:2]
        generator = torch.Generator().manual_seed(seed)
        self.layers[-1] = random_layer(runs, width, classes, generator)
        return self

    def parameters(self):
        """[(index of the layer, tensor)]."""
        return [(k, t) for k, layer in enumerate(self.layers) for t in layer]

    def hidden(self, k, h, statistics):
        """One hidden layer on h (R, n, i): product, norm and ReLU."""
        weight, bias, *scale = self.layers[k]
        z = h @ weight
        if scale:
            z = self.normed(k, z, statistics) * scale[0]
        return (z + bias).relu()

    def normed(self, k, z, statistics):
        """statistics: "running", "batch", or "update" (batch, and remember them)."""
        mean, var = self.running[k]
        if statistics != "running":
            mean, var = z.mean(1, keepdim=True), z.var(1, keepdim=True)
        if statistics == "update":
            kept = zip(self.running[k], (mean, var), strict=True)
            keep = self.memory
            self.running[k] = tuple(keep * a + (1 - keep) * b.detach() for a, b in kept)
        return (z - mean) / (var + 1e-5).sqrt()

    def logits(self, x, statistics="running"):
        """(R, n, classes)."""
        weight, bias = self.layers[-1]
        return self.features(x, statistics) @ weight + bias


class Dense(Networks):
    """Networks of vectors x (R, n, width)."""

    def __init__(self, runs, width, classes, seed=0, hidden=(64,)):
        super().__init__([*pairwise((width, *hidden, classes))], runs, seed)

    def features(self, x, statistics="running"):
        """(R, n, values) behind the hidden layers."""
        for k in range(len(self.layers) - 1):
            x = self.hidden(k, x, statistics)
        return x


class Convolutional(Networks):
    """Networks of pictures x (R, n, 8, 8): four 3 x 3 convolutions and a head."""

    def __init__(self, runs, classes, seed=0, norms=False):
        sizes = [(9 * i, o) for i, o in pairwise(CHANNELS)]
        super().__init__([*sizes, (4 * CHANNELS[-1], classes)], runs, seed, norms)

    def features(self, x, statistics="running", stop=4):
        """(R, n, values) behind the first `stop` convolutions."""
        h = x.unsqueeze(-1)  # (R, n, height, width, C)
        for k, stride in enumerate(STRIDES[:stop]):
            side = h.shape[2]
            h = F.pad(h, (0, 0, 1, 1, 1, 1))
            shifted = [
                h[:, :, i : i + side : stride, j : j + side : stride]
                for i in range(3)
                for j in range(3)
            ]
            h = torch.cat(shifted, -1)  # (R, n, height, width, 9 C)
            z = self.hidden(k, h.flatten(1, 3), statistics)
            h = z.view(*h.shape[:4], -1)
        return h.flatten(2)


class Adam:
    """Adam with a rate of its own for each run (R,) and a factor for each layer."""

    def __init__(self, parameters, rates, factors=None):
        self.parameters = [(k, t.requires_grad_()) for k, t in parameters]
        self.moments = [
            (torch.zeros_like(t), torch.zeros_like(t)) for _, t in parameters
        ]
        self.rates, self.factors, self.steps = rates, factors, 0

    def step(self, loss, factor=1.0):
        """One update; loss is summed over the runs, factor (R,) scales the rates."""
        self.steps += 1
        gradients = torch.autograd.grad(loss, [t for _, t in self.parameters])
        with torch.no_grad():
            for (k, t), (m, v), g in zip(
                self.parameters, self.moments, gradients, strict=True
            ):
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                rate = self.rates * factor
                if self.factors is not None:
                    rate = rate * self.factors[:, k]
                m_hat = m / (1 - 0.9**self.steps)
                v_hat = v / (1 - 0.999**self.steps)
                t -= rate.view(-1, 1, 1) * m_hat / (v_hat.sqrt() + 1e-8)


class Momentum:
    """SGD with momentum; towards (list of tensors) and strengths (R,) pull weights.

    The head is pulled to zero by 0.001 in every run.
    """

    def __init__(self, parameters, rates, towards, strengths):
        self.parameters = [(k, t.requires_grad_()) for k, t in parameters]
        self.speeds = [torch.zeros_like(t) for _, t in parameters]
        self.rates, self.towards, self.strengths = rates, towards, strengths

    def step(self, loss, factor=1.0):
        """One update; see Adam."""
        gradients = torch.autograd.grad(loss, [t for _, t in self.parameters])
        rate = (self.rates * factor).view(-1, 1, 1)
        strength, last = self.strengths.view(-1, 1, 1), self.parameters[-1][0]
        with torch.no_grad():
            for (k, t), v, goal, g in zip(
                self.parameters, self.speeds, self.towards, gradients, strict=True
            ):
                pull = 1e-3 * t if k == last else strength * (t - goal)
                v.mul_(0.9).add_(g + pull)
                t -= rate * v


def cosine(step, steps, warm=0.1):
    """Up in the first tenth of the updates, then down to zero as a half cosine."""
    if step < warm * steps:
        return (step + 1) / (warm * steps)
    return 0.5 * (1 + math.cos(math.pi * (step / steps - warm) / (1 - warm)))


def loss_of(logits, y):
    """Cross-entropy summed over the runs, mean over the pictures."""
    return (
        F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / y.shape[1]
    )


def batches(runs, n, size, steps, seed):
    """Yield rows (R, size), in shuffled passes over n examples, each run its own."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(runs, 0, dtype=torch.long)
    for _ in range(steps):
        while order.shape[1] < size:
            shuffled = torch.rand(runs, n, generator=generator).argsort(1)
            order = torch.cat([order, shuffled], 1)
        yield order[:, :size]
        order = order[:, size:]


def taken(x, rows):
    """x[r, rows[r]] for every run r."""
    return x[torch.arange(len(x))[:, None], rows]


def train(nets, x, y, steps, optimizer, factor=cosine, seed=0, batch=16, watch=None):
    """Train every run on its own x (R, n, ...), y (R, n).

    factor(step, steps): of the rates, a number or (R,).  watch(step): called before
    each update and at the end.
    """
    statistics = "update" if nets.norms else "running"
    size = min(batch, y.shape[1])
    for step, rows in enumerate(batches(len(y), y.shape[1], size, steps, seed)):
        if watch:
            watch(step)
        loss = loss_of(nets.logits(taken(x, rows), statistics), taken(y, rows))
        optimizer.step(loss, factor(step, steps))
    if watch:
        watch(steps)
    return nets


@torch.no_grad()
def right(nets, x, y, statistics="running"):
    """Which answers are right, (R, n); a few pictures at a time."""
    parts = zip(x.split(40, 1), y.split(40, 1), strict=True)
    return torch.cat([nets.logits(a, statistics).argmax(2) == b for a, b in parts], 1)


def accuracy(nets, x, y):
    """(R,)."""
    return right(nets, x, y).double().mean(1).numpy()


# -- data ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def digits():
    """scikit-learn's digits as they are, 8 x 8: pictures (1797, 8, 8), labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(found.target)


@lru_cache(maxsize=1)
def maps():
    """Wafer maps of 8 x 8 pixels, the share of failing dies: a far target."""
    from course_lib import datasets

    parts = [datasets.load("wafer_maps", split) for split in ("train", "test")]
    red = np.concatenate([part.images[..., 0] for part in parts]) / 255.0
    x = torch.tensor(red.reshape(-1, 8, 8, 8, 8).mean((2, 4)), dtype=torch.float32)
    labels = torch.tensor(np.concatenate([part.labels for part in parts]))
    return (x - x.mean()) / x.std(), labels


def some(data, classes):
    """The pictures of some classes, labelled 0, 1, ..."""
    x, y = data
    keep = torch.isin(y, torch.tensor(classes))
    return x[keep], torch.searchsorted(torch.tensor(classes), y[keep])


@lru_cache(maxsize=1)
def targets():
    """{name: (pictures, labels)}: near and far from the digits 0 to 4."""
    return {"digits 5-9": some(digits(), [5, 6, 7, 8, 9]), "wafer maps": maps()}


def drawn(data, each, held, tested, seeds):
    """Draws of (fit, validation, test), each (x (S, n, ...), y (S, n)).

    each: labels of each class to fit; held, tested: numbers of other pictures.
    """
    x, y = data
    rows = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        of_class = [order[y.numpy()[order] == c] for c in np.unique(y.numpy())]
        fit = np.concatenate([members[:each] for members in of_class])
        rest = order[~np.isin(order, fit)][: held + tested]
        rows.append((fit, rest[:held], rest[held:]))
    stacked = (torch.tensor(np.stack(part)) for part in zip(*rows, strict=True))
    return tuple((x[part], y[part]) for part in stacked)


# -- what is said ----------------------------------------------------------------------


def interval(values):
    """(mean, low, high) of one value a seed, Student's t, 95 %."""
    values = np.asarray(values, dtype=float)
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), values.mean() - half, values.mean() + half


def points(values):
    """Shares as points: "+1.2 (-0.3 to +2.7)"."""
    mean, low, high = (100 * v for v in interval(values))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
