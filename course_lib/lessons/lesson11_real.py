"""Lesson 11 in the real world: four domains of opinions, two kinds of solar cells.

A classifier learns in one domain and serves another.  Features are frozen (MiniLM for
texts, Lite0 for cells) and computed once.

Set before any result was seen.  Draws: 320 training texts of each class stand for a
domain of opinions, all training cells for a kind; `SIZES` of each class are labelled at
home, further ones held out there, and as many unlabelled ones stand for the other
domain.  Every learner chooses what it has to choose at home.  Alignment: 100 updates
of 32 and 32 at 3e-3, a hidden layer of 64 with BatchNorm, weights 1 for the adversary
and MMD, CORAL in units of the source's own covariance; the weaker adversary, 0.3, is
the second try.  Conformal sets and calibration: alpha 0.1, ten draws.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy

from course_lib.analysis import calibration, conformal, distances, probes, shift
from course_lib.datasets import solar_cells
from course_lib.lessons import opinions_world, solar
from course_lib.lessons.results import experiment, updates
from course_lib.methods import alignment
from course_lib.models import features, zoo

TEXTS, CELLS = opinions_world.DOMAINS, solar_cells.KINDS
FILES = (*opinions_world.FILES, "assets/efficientnet-lite0", "assets/solar-cells")
PAIRS = [(s, t) for group in (TEXTS, CELLS) for s in group for t in group if s != t]
POOL = 320  # training texts of each class that stand for a domain
SIZES = {"texts": (200, 100), "cells": (120, 60)}  # labelled, held out, of each class
SHARES = (0.5, 0.2)  # of positive texts, or defective cells, in the unlabelled set
STEPS, LR, BATCH, HIDDEN = 100, 3e-3, 32, 64
WEIGHTS = {"joint": 0.0, "dann": 1.0, "dann, weak": 0.3, "mmd": 1.0, "coral": 1.0}
ALPHA = 0.1


def sizes(domain, fraction=1.0):
    """(labelled, held out) of each class; fewer in a short cell."""
    return [round(n * fraction) for n in SIZES["cells" if domain in CELLS else "texts"]]


@lru_cache(maxsize=2)
def encoder(domain_is_cells):
    """The frozen network that reads a domain."""
    return zoo.load(solar.BACKBONE if domain_is_cells else "minilm")


@lru_cache(maxsize=24)
def examples(domain, split, fraction=1.0):
    """The data set that stands for a domain's split."""
    if domain in CELLS:
        data = solar_cells.load(split, kind=domain)
    elif split == "test":
        data = opinions_world.tested(domain)
    else:
        data = opinions_world.texts(domain, split)
        data = data.subset(opinions_world.rows(data, POOL, 0))
    if fraction == 1:
        return data
    return data.take(max(40, round(len(data) * fraction)), seed=0)


def read(domain, data):
    """Features (N, F) of a data set, by the frozen network of its domain."""
    seen = data if domain in CELLS else data.texts
    return features.extract(encoder(domain in CELLS), seen)


@lru_cache(maxsize=24)
def vectors(domain, split, fraction=1.0):
    """Features (N, F), labels (N,) of what stands for a domain's split."""
    data = examples(domain, split, fraction)
    return read(domain, data), data.labels


def drawn(domain, counts, seed, fraction=1.0):
    """Disjoint draws of a domain's training rows, counts[i] of each class in draw i.

    A count may be a pair: of class 0, of class 1.
    """
    labels = examples(domain, "train", fraction).labels
    rng = np.random.default_rng(seed)
    places = [rng.permutation(np.flatnonzero(labels == c)) for c in (0, 1)]
    found = []
    for count in counts:
        pair = (count, count) if np.ndim(count) == 0 else count
        found.append(np.concatenate([at[:n] for at, n in zip(places, pair)]))
        places = [at[n:] for at, n in zip(places, pair)]
    return found


def unlabelled(domain, share, seed, fraction=1.0):
    """Rows of the other domain's unlabelled set, this share of them of class 1."""
    total = 2 * sizes(domain, fraction)[0]
    positive = round(total * share)
    return drawn(domain, [(total - positive, positive)], (seed, 1), fraction)[0]


def scaled(domain, rows, fraction=1.0):
    """(scaler fitted on these rows of the source, function: features -> tensor)."""
    X = vectors(domain, "train", fraction)[0][rows]
    scaler = StandardScaler().fit(X)
    return lambda Z: torch.tensor(scaler.transform(Z), dtype=torch.float32)


def recalls(predicted, labels):
    """Share of right answers in class 0 and in class 1."""
    return [float((predicted == labels)[labels == c].mean()) for c in (0, 1)]


def in_the_mix(recall, share):
    """Accuracy where class 1 has this share."""
    return (1 - share) * recall[0] + share * recall[1]


# -- alignment on frozen features ------------------------------------------------------


def hidden_layer(width):
    """F frozen features -> HIDDEN learned ones, with BatchNorm."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU())


def alignment_of(method, seed, H):
    """(f(source, target, step, steps), weight); H: source features at the start."""
    weight = WEIGHTS[method]
    if method.startswith("dann"):
        return alignment.DomainClassifier(HIDDEN, hidden=HIDDEN, seed=seed), weight
    if method == "coral":
        own = (torch.cov(H.T) ** 2).sum() / (4 * H.shape[1] ** 2)
        return lambda s, t, *_: alignment.coral(s, t) / own, weight
    return lambda s, t, *_: alignment.mmd(s, t), weight


def aligned(X, y, U, method, seed, steps=STEPS):
    """A network of frozen features that learns X, y; U (M, F) has no labels.

    method "source": batches of X alone.  "joint": X and U pass together, so that
    BatchNorm mixes them, and nothing else.  The others add a loss of alignment.
    """
    torch.manual_seed(seed)
    trunk, head = hidden_layer(X.shape[1]), nn.Linear(HIDDEN, 2)
    align, weight, learning = None, 0.0, [*trunk.parameters(), *head.parameters()]
    if method != "source":
        align, weight = alignment_of(method, seed, trunk(X).detach())
        learning += align.parameters() if isinstance(align, nn.Module) else []
    optimizer = torch.optim.AdamW(learning, lr=LR)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        i, j = (torch.randint(len(Z), (BATCH,), generator=generator) for Z in (X, U))
        batch = X[i] if method == "source" else torch.cat([X[i], U[j]])
        h = trunk(batch)
        loss = cross_entropy(head(h[:BATCH]), y[i])
        if weight:
            loss = loss + weight * align(h[:BATCH], h[BATCH:], step, steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trunk.eval()
    return trunk, head


@torch.no_grad()
def recounted(trunk, head, U, T):
    """Logits of T with BatchNorm's statistics those of U: AdaBN on one layer."""
    h = trunk[0](U)
    mean, var = h.mean(0), h.var(0)
    norm = trunk[1]
    z = (trunk[0](T) - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    return head(z.relu()).numpy()


@experiment(
    "real_adaptation",
    grid=[
        dict(source=s, target=t, method=method, share=share, seed=seed)
        for seed in range(5)
        for s, t in PAIRS
        for share in SHARES
        for method in ("source", *WEIGHTS)
        if share == 0.5 or method in ("source", "joint", "dann")
    ],
    sample=[dict(source="mono", target="poly", method="dann", share=0.2, seed=0)],
    short=[
        dict(
            source="products", target="films", method=m, share=0.2, seed=0, fraction=0.2
        )
        for m in ("source", "dann")
    ],
    tolerance={"accuracy": 0.03, "renewed": 0.03, "reweighted": 0.03, "home": 0.03},
    data=FILES,
)
def real_adaptation(source, target, method, share, seed, fraction=1.0):
    """Accuracy in the target's mix: as trained, AdaBN on it, proportions corrected.

    home: accuracy on held-out examples of the source.  estimated: the share of class 1
    in the unlabelled set by black-box shift estimation, from these.
    """
    n, held = sizes(source, fraction)
    fit, rest = drawn(source, [n, held], seed, fraction)
    X, y = vectors(source, "train", fraction)
    (T, t), (P, _) = (vectors(target, s, fraction) for s in ("test", "train"))
    scale = scaled(source, fit, fraction)
    U = scale(P[unlabelled(target, share, seed, fraction)])
    trunk, head = aligned(
        scale(X[fit]), torch.tensor(y[fit]), U, method, seed, updates(STEPS, fraction)
    )
    with torch.no_grad():
        there, pool, home = (
            head(trunk(Z)).numpy() for Z in (scale(T), U, scale(X[rest]))
        )
    p = shift.estimate_label_shift(home.argmax(1), y[rest], pool.argmax(1), 2)
    answers = {
        "accuracy": there,
        "renewed": recounted(trunk, head, U, scale(T)),
        "reweighted": there + np.log(p.clip(1e-6) / 0.5),
    }
    numbers = {
        name: in_the_mix(recalls(logits.argmax(1), t), share)
        for name, logits in answers.items()
    }
    right = (home.argmax(1) == y[rest]).mean()
    return numbers | {"home": right, "estimated": p[1]}


# -- trust: calibration and conformal sets ---------------------------------------------


@lru_cache(maxsize=4)
def probe(source, seed, fraction=1.0):
    """(function: features -> probabilities of class 1, training and held-out rows)."""
    fit, rest = drawn(source, sizes(source, fraction), seed, fraction)
    X, y = vectors(source, "train", fraction)
    found = probes.linear_probe(X[fit], y[fit], X[rest], y[rest], seed=seed)
    scaler = StandardScaler().fit(X[fit])
    model = LogisticRegression(C=found.C, max_iter=2000)
    model.fit(scaler.transform(X[fit]), y[fit])
    return lambda Z: model.predict_proba(scaler.transform(Z)), fit, rest


def density_ratio(X, U, *wanted):
    """target / source at the wanted features, by a classifier of the two domains.

    X (N, F) source, U (M, F) target; ratio = p / (1 - p) times N / M.  Its penalty is
    that of the proxy A-distance.
    """
    scaler = StandardScaler().fit(np.concatenate([X, U]))
    Z, domain = np.concatenate([X, U]), np.repeat([0, 1], [len(X), len(U)])
    model = LogisticRegression(C=1 / X.shape[1], max_iter=1000)
    model.fit(scaler.transform(Z), domain)
    odds = [np.exp(model.decision_function(scaler.transform(W))) for W in wanted]
    return [one * len(X) / len(U) for one in odds]


def class_mean(values, labels):
    """Mean over classes of the means within, as if both were equally frequent."""
    return float(np.mean([values[labels == c].mean() for c in np.unique(labels)]))


def served(sets, P, labels, prefix=""):
    """Coverage and size of conformal sets, both as if classes were balanced."""
    own = sets[np.arange(len(sets)), labels]
    return {
        f"coverage{prefix}": class_mean(own, labels),
        f"size{prefix}": class_mean(sets.sum(axis=1), labels),
    }


def cooled(P, T):
    """Probabilities (N, 2) after their logits are divided by a temperature."""
    one = expit(logit(P[:, 1].clip(1e-6, 1 - 1e-6)) / T)
    return np.stack([1 - one, one], axis=1)


@experiment(
    "trust",
    grid=[
        dict(source=s, target=t, seed=seed)
        for group in (TEXTS, CELLS)
        for s in group
        for seed in range(10)
        for t in group
    ],
    sample=[dict(source="mono", target="poly", seed=0)],
    short=[dict(source="products", target="films", seed=0, fraction=0.2)],
    tolerance={
        "accuracy": 0.02,
        "coverage": 0.02,
        "size": 0.04,
        "coverage_weighted": 0.03,
        "ece": 0.02,
        "ece_cooled": 0.02,
        "distance": 0.05,
    },
    data=FILES,
)
def trust(source, target, seed, fraction=1.0):
    """What a probe of one domain knows about its own errors in another.

    coverage, size: of conformal sets at 90 %, calibrated at home; _weighted: by the
    density ratio; _own: calibrated on as many labelled examples of the target.  ece:
    calibration error, _cooled: with a temperature fitted at home.  distance: proxy
    A-distance of the features, in the first draw.
    """
    probabilities, fit, rest = probe(source, seed, fraction)
    X, y = vectors(source, "train", fraction)
    (T, t), (U, u) = (vectors(target, s, fraction) for s in ("test", "train"))
    there = drawn(target, sizes(target, fraction), seed, fraction)
    home, P = probabilities(X[rest]), probabilities(T)
    cold = conformal.scores(home, y[rest])
    q = conformal.quantile(cold, ALPHA)
    numbers = {"accuracy": class_mean(P.argmax(1) == t, t)}
    numbers |= served(conformal.prediction_sets(P, q), P, t)
    w, own = density_ratio(X[fit], U[there[0]], X[rest], T)
    q = conformal.weighted_quantiles(cold, w, own, ALPHA)
    numbers |= served(conformal.prediction_sets(P, q), P, t, "_weighted")
    q = conformal.quantile(
        conformal.scores(probabilities(U[there[1]]), u[there[1]]), ALPHA
    )
    numbers |= served(conformal.prediction_sets(P, q), P, t, "_own")
    log = np.log(home.clip(1e-6))
    temperature = calibration.temperature(log, y[rest])
    ece = calibration.expected_calibration_error
    numbers |= {"ece": ece(P, t), "ece_cooled": ece(cooled(P, temperature), t)}
    numbers |= {"temperature": temperature}
    if source != target and seed == 0:
        numbers["distance"] = distances.proxy_a_distance(X[fit], U[there[0]])
    return numbers
