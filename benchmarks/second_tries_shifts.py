"""Second tries of what lesson 11 says of alignment, on digits and on opinions.

Digits of 8 x 8 pixels are learned as they are and answered dimmed to one side, tilted
or noisy; opinions are read by word counts.  What would contradict a verdict was written
down before anything was run.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations

import numpy as np
import small_networks as small
import torch
from small_networks import Adam, Convolutional, Dense, points
from torch.nn import functional as F

ZERO_TO_FOUR = list(range(5))
RARE = 0.2  # share of the second half of the classes in the other mix


# -- shifted digits --------------------------------------------------------------------


def dimmed(x, strength):
    """Darker from left to right; strength 0 to 1, one number or one a picture."""
    ramp = 1 - strength * torch.linspace(0, 1, 8)
    return (x - x.min()) * ramp + x.min()


def tilted(x, degrees):
    """Turned by an angle, one number or (n, 1, 1) for each picture (n, 8, 8)."""
    angle = torch.as_tensor(degrees).expand(len(x), 1, 1).flatten() * math.pi / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    rows = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows, (len(x), 1, 8, 8), align_corners=False)
    low = x.min()
    return F.grid_sample((x - low)[:, None], grid, align_corners=False)[:, 0] + low


def noisy(x, strength):
    """Noise of a standard deviation, from torch's global generator."""
    return x + strength * torch.randn(x.shape)


SHIFTS = {  # how a target is made, and how it is imitated at random strength
    "dimmed": (lambda x: dimmed(x, 0.9), lambda x, s: dimmed(x, s)),
    "tilted": (lambda x: tilted(x, 25.0), lambda x, s: tilted(x, 70 * s - 35)),
    "noisy": (lambda x: noisy(x, 0.9), lambda x, s: noisy(x, 1.2 * s)),
}


def divided(seeds, labelled, unlabelled, share=0.5):
    """Draws (source rows, unlabelled rows, test rows), each (S, n).

    share: of the classes 5 to 9 among the unlabelled and the test pictures.
    """
    _, y = small.digits()
    late, found = y.numpy() >= 5, []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        first, rest = order[:labelled], order[labelled:]
        early, few = rest[~late[rest]], rest[late[rest]]
        few = few[: round(len(early) * share / (1 - share))] if share < 0.5 else few
        rest = np.random.default_rng(seed).permutation(np.concatenate([early, few]))
        found.append((first, rest[:unlabelled], rest[unlabelled : unlabelled + 360]))
    return [torch.tensor(np.stack(part)) for part in zip(*found, strict=True)]


def shifted_runs(seeds, share=0.5):
    """{x, y, u, t, v}: each (shifts times S, n, ...): source, unlabelled, test."""
    digits, labels = small.digits()
    first, others, tested = divided(seeds, 600, 360, share)
    torch.manual_seed(0)
    looks = [shift(digits) for shift, _ in SHIFTS.values()]
    several = (len(SHIFTS), 1, 1)
    return {
        "x": digits[first].repeat(*several, 1),
        "y": labels[first].repeat(several[:2]),
        "u": torch.cat([look[others] for look in looks]),
        "t": torch.cat([look[tested] for look in looks]),
        "v": labels[tested].repeat(several[:2]),
    }


# -- alignment -------------------------------------------------------------------------


def reversed_gradient(h, weight):
    """h as it is, its gradient times -weight (Ganin et al. 2016)."""
    return (1 + weight) * h.detach() - weight * h


def adapted(nets, x, y, u, joint, weight, steps=200, rate=2e-3, seed=0):
    """Train on x, y; joint: u passes too; weight: of the adversary that tells them."""
    runs, size = len(x), 32
    statistics = "update" if nets.norms else "running"
    width = nets.layers[-1][0].shape[1]
    judge = Dense(runs, width, 1, seed=seed + 1, hidden=(32,))
    moving = nets.parameters() + [(k, t) for k, t in judge.parameters() if weight]
    optimizer = Adam(moving, torch.full((runs,), rate))
    order = (small.batches(runs, z.shape[1], size, steps, seed) for z in (x, u))
    domain = torch.cat([torch.zeros(size), torch.ones(size)]).expand(runs, -1)
    for step, (i, j) in enumerate(zip(*order, strict=True)):
        shown = small.taken(x, i)
        if joint:
            shown = torch.cat([shown, small.taken(u, j)], 1)
        h = nets.features(shown, statistics)
        head, bias = nets.layers[-1]
        loss = small.loss_of(h[:, :size] @ head + bias, small.taken(y, i))
        if weight:
            grown = weight * (2 / (1 + math.exp(-10 * step / steps)) - 1)
            told = judge.logits(reversed_gradient(h, grown)).squeeze(2)
            error = F.binary_cross_entropy_with_logits(told, domain, reduction="none")
            loss = loss + error.mean(1).sum()
        optimizer.step(loss)
    return nets


def recounted(nets, u):
    """A copy with the statistics of u in every norm: AdaBN."""
    nets = nets.select(range(len(u)))
    nets.memory = 0.0
    with torch.no_grad():
        nets.features(u, "update")
    return nets


ARMS = {  # norms, joint batches, weight of the adversary
    "source": (False, False, 0.0),
    "DANN": (False, True, 1.0),
    "DANN, weak": (False, True, 0.1),
    "source, norms": (True, False, 0.0),
    "weight 0, norms": (True, True, 0.0),
    "DANN, norms": (True, True, 1.0),
    "DANN, norms, weak": (True, True, 0.1),
}
NEEDED = ("source", "DANN", "source, norms")  # of these in another mix


@lru_cache(maxsize=2)
def digit_arms(seeds, share, names=NEEDED):
    """{arm: accuracy (shifts, seeds)}; AdaBN of the network with norms as well."""
    data, found = shifted_runs(range(seeds), share), {}
    x, y, u, t, v = (data[k] for k in "xyutv")
    for name in names:
        norms, joint, weight = ARMS[name]
        nets = Convolutional(len(x), 10, seed=7, norms=norms)
        adapted(nets, x, y, u, joint, weight)
        found[name] = small.accuracy(nets, t, v)
        if name == "source, norms":
            found["AdaBN"] = small.accuracy(recounted(nets, u), t, v)
    return {k: a.reshape(len(SHIFTS), seeds) for k, a in found.items()}


def gained(found, arm, other):
    """By shift and in the mean over shifts, "dimmed +1.0 (...), ..."."""
    more = found[arm] - found[other]
    told = [f"{name} {points(one)}" for name, one in zip(SHIFTS, more, strict=True)]
    return f"{points(more.mean(0))} ({', '.join(told)})"


# -- opinions by word counts -----------------------------------------------------------


@lru_cache(maxsize=1)
def counts():
    """{domain: (vectors, labels, test vectors, test labels)}: 100 values a text."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    from course_lib.datasets import opinions

    parts = {
        d: [opinions.load(d, s) for s in ("train", "test")] for d in opinions.DOMAINS
    }
    words = TfidfVectorizer(min_df=3, sublinear_tf=True)
    fitted = words.fit_transform([t for part in parts.values() for t in part[0].texts])
    svd = TruncatedSVD(100, random_state=0).fit(fitted)

    def vectors(data):
        return svd.transform(words.transform(data.texts)).astype(np.float32)

    return {
        d: (vectors(fit), fit.labels, vectors(test), test.labels)
        for d, (fit, test) in parts.items()
    }


def drawn_pair(source, target, seed, share):
    """(X, y, U, T, t): 200 labelled of each class, 400 unlabelled, share of class 1."""
    (X, y, _, _), (P, p, T, t) = counts()[source], counts()[target]
    rng = np.random.default_rng((seed, 9))
    ours = np.concatenate(
        [rng.permutation(np.flatnonzero(y == c))[:200] for c in (0, 1)]
    )
    numbers = 400 - round(400 * share), round(400 * share)
    theirs = np.concatenate(
        [rng.permutation(np.flatnonzero(p == c))[: numbers[c]] for c in (0, 1)]
    )
    mean, deviation = X[ours].mean(0), X[ours].std(0) + 1e-6
    scaled = [(Z - mean) / deviation for Z in (X[ours], P[theirs], T)]
    return scaled[0], y[ours], scaled[1], scaled[2], t


def in_the_mix(answers, labels, share):
    """Accuracy where class 1 has this share."""
    recalls = [(answers == labels)[labels == c].mean() for c in (0, 1)]
    return (1 - share) * recalls[0] + share * recalls[1]


def power(C, exponent):
    """Power of a symmetric matrix."""
    values, vectors = np.linalg.eigh(C + np.eye(len(C)) * 0.1)
    return vectors * values**exponent @ vectors.T


def moved(X, U, way):
    """The source's vectors with the target's moments: of each value, or CORAL's."""
    if way == "moments":
        return (X - X.mean(0)) / X.std(0) * U.std(0) + U.mean(0)
    if way == "CORAL":
        whitened = (X - X.mean(0)) @ power(np.cov(X.T), -0.5)
        return whitened @ power(np.cov(U.T), 0.5) + U.mean(0)
    return X


def opinion_arms(share, seeds=5):
    """{arm: accuracy in the mix (seeds,)}, means over 12 pairs.

    Logistic regression, and networks of one hidden layer.
    """
    from sklearn.linear_model import LogisticRegression

    pairs = list(permutations(counts(), 2))
    drawn = [drawn_pair(*pair, s, share) for pair in pairs for s in range(seeds)]
    found = {}
    for way in ("source", "moments", "CORAL"):
        found[way] = []
        for X, y, U, T, t in drawn:
            model = LogisticRegression(C=0.01, max_iter=300).fit(moved(X, U, way), y)
            found[way].append(in_the_mix(model.predict(T), t, share))
    X, y, U = (torch.tensor(np.stack([d[k] for d in drawn])) for k in range(3))
    for name, weight in {"network": 0.0, "DANN": 1.0}.items():
        nets = Dense(len(X), 100, 2, seed=3)
        adapted(nets, X, y, U, joint=weight > 0, weight=weight)
        nets = [nets.select([k]) for k in range(len(X))]
        found[name] = []
        with torch.no_grad():
            for net, (*_, T, t) in zip(nets, drawn, strict=True):
                answers = net.logits(torch.tensor(T)[None])[0].argmax(1).numpy()
                found[name].append(in_the_mix(answers, t, share))
    return {k: np.reshape(v, (len(pairs), seeds)).mean(0) for k, v in found.items()}


def c42() -> str:
    """An adversary without BatchNorm and with it, on shifted digits and on word counts.

    Six seeds, the same rate for all, three shifts; opinions in 12 pairs, 5 draws.
    Contradicts the verdict: on opinions DANN over the source wholly above +1 point; on
    digits with norms DANN over AdaBN wholly above 0 in the mean; or, without norms,
    DANN over the source wholly above +2 (then not all of a gain is BatchNorm's).  The
    weight was 1; since that lost 30 points when first run, 0.1 was added after it.
    """
    found, texts = digit_arms(6, 0.5, tuple(ARMS)), opinion_arms(0.5)
    dann = points(texts["DANN"] - texts["network"])
    told = [f"opinions DANN over the source {dann}"]
    told.append(f"CORAL {points(texts['CORAL'] - texts['source'])}")
    for arm, bare in (
        ("DANN", "source"),
        ("DANN, weak", "source"),
        ("DANN, norms", "weight 0, norms"),
        ("DANN, norms", "AdaBN"),
        ("DANN, norms, weak", "weight 0, norms"),
        ("DANN, norms, weak", "AdaBN"),
    ):
        told.append(f"digits [{arm}] over [{bare}] {gained(found, arm, bare)}")
    return f"points: {'; '.join(told)}"


def c43() -> str:
    """The same where one in five is of the second half of the classes.

    Alignment by moments and by CORAL in closed form as well.  Contradicts the verdict:
    on opinions, gain at one in five minus gain at equal classes not wholly below 0 for
    any of moments, CORAL and DANN; or on digits DANN and AdaBN lose nothing by it.
    """
    even, rare = opinion_arms(0.5), opinion_arms(RARE)
    told = []
    for arm, bare in (("moments", "source"), ("CORAL", "source"), ("DANN", "network")):
        gains = [one[arm] - one[bare] for one in (even, rare)]
        told.append(f"{arm} {points(gains[1])}, beside {points(gains[0])} with equal")
    digits = [digit_arms(6, share) for share in (0.5, RARE)]
    for arm, bare in (("DANN", "source"), ("AdaBN", "source, norms")):
        gains = [(one[arm] - one[bare]).mean(0) for one in digits]
        told.append(f"digits {arm} {points(gains[1])}, beside {points(gains[0])}")
    return f"one in five, points over nothing done: opinions {'; '.join(told)}"


TRIES = {"C42": c42, "C43": c43}
