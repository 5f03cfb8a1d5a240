"""Grids of lesson 11: adaptation without target labels, and an inherited bias.

Fixed before any target accuracy was seen: 300 updates at the rate of lesson 03, the
weight 1 for the adversary and for MMD, CORAL relative to the size of the source's own
covariance, a confidence of 0.9 for pseudo-labels.  Nothing is chosen on the target.

Added later, for C42 and C43: the control of weight 0 ("joint"), and AdaBN and turned
copies on top of it and of DANN, as on the source alone.  Five seeds for these three;
seeds 3 and 4 are computed whatever the first three show, and only left out if the time
is up.  Rule, written when a tenth of the updates of seed 0 in other lighting had been
timed, whose accuracies were printed, and nothing else seen; paired by seed, intervals
of 95 %, not corrected:

- The adversary has a gain of its own where DANN minus weight 0 lies wholly above 0; it
  has none that matters where that ends below 2 points; open otherwise.
- A gain over the source alone is BatchNorm's where weight 0's is wholly above 0 and the
  adversary has no gain of its own.
- DANN pays where, with the same stack on both, it lies wholly above the source alone.
- C42: confirmed in the small world if the adversary has a gain of its own in both
  looks and pays in one; refuted if in both it has none that matters; else qualified.
- C43: a loss in the other mix is the adversary's where DANN minus weight 0 is wholly
  below 0, and that of joint BatchNorm where weight 0 over the source is.

The time was up before seeds 3 and 4 were computed: three seeds.  DANN's stacks came
last, when the others' results were known; the rule above is older.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from course_lib import datasets, training
from course_lib.analysis import distances
from course_lib.analysis.distances import proxy_a_distance
from course_lib.datasets import shifted
from course_lib.lessons import lesson06, lesson12_gains, results
from course_lib.lessons.protocol import (
    AUGMENT,
    BACKBONE,
    FILES,
    TARGET,
    labelled,
)
from course_lib.lessons.results import SEEDS, experiment
from course_lib.methods import alignment, test_time
from course_lib.methods.self_supervised import continue_pretraining
from course_lib.methods.self_training import pseudo_labelled
from course_lib.models import features, zoo
from course_lib.pretraining import patterns
from course_lib.training import freezing, photometric
from course_lib.training.mixup import Mixup

SHIFTS = ("tool", "lighting", "mix")
UNLABELLED, STEPS, LR, HEAD_LR = 1000, 300, 1e-3, 3e-3
CONFIDENT = 0.9
BLIND = ("source only", "imitation", "mixup")  # never see the second fab
ALIGNED = ("joint", "dann", "mmd", "coral")  # joint: both pass together, weight 0
STACKED = ("source only", "imitation", "joint", "dann")  # AdaBN, turned copies on top
METHODS = (*BLIND, *ALIGNED, "self-supervised", "pseudo-labels", "target labels")
IMITATION = training.compose(  # what another tool or light might do, not these two
    AUGMENT,
    photometric.random_blur(1.0),
    photometric.random_noise(0.3),
    photometric.random_colour(0.3),
    photometric.random_grey(0.2),
)


@lru_cache(maxsize=2)
def second_fab(kind, fraction=1.0):
    """(unlabelled pictures, test pictures) of the second fab.

    A mix of products is reached by leaving pictures out, so more are drawn for it.
    The test pictures keep equal classes: the mix enters by the weights of `scored`.
    """
    n = int(UNLABELLED / 0.4) if "mix" in kind else UNLABELLED
    n = n if fraction == 1 else n // 5
    pool = shifted.shifted(datasets.load(TARGET, "pool", n=n, seed=1), kind, seed=1)
    look = kind.replace(" + mix", "").replace("mix", "")
    test = results.part(datasets.load(TARGET, "test"), fraction)
    return pool, shifted.shifted(test, look, seed=2) if look else test


def scored(probabilities, labels, kind):
    """Accuracy at the second fab's proportions of classes."""
    right = probabilities.argmax(axis=1) == labels
    recalls = [right[labels == c].mean() for c in range(probabilities.shape[1])]
    weights = shifted.MIX if "mix" in kind else np.full(len(recalls), 1 / len(recalls))
    return float(np.dot(recalls, weights))


def coral_weight(backbone, data):
    """1 / (||C_S||_F^2 / 4F^2): CORAL as a share of the source's own covariance."""
    X = torch.from_numpy(features.extract(backbone, data))
    return float(4 * X.shape[1] ** 2 / (torch.cov(X.T) ** 2).sum())


def unaligned(source, target, step, steps):
    """Nothing to align: both domains only pass BatchNorm together."""
    return 0 * source.sum()


@lru_cache(maxsize=3)
def trained_at_home(method, seed, fraction=1.0):
    """A network that learned from the first fab alone."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    augment, loss = IMITATION if method == "imitation" else AUGMENT, None
    if method == "mixup":
        mix = Mixup(alpha=0.2)
        augment, loss = training.compose(AUGMENT, mix), mix.loss
    training.fit(
        backbone,
        labelled(500, seed),
        results.part(datasets.load(TARGET, "validation"), fraction),
        steps=results.updates(STEPS, fraction),
        lr=LR,
        seed=seed,
        recipe=training.Recipe(
            augment=augment,
            eval_every=results.interval(STEPS, 5, fraction),
            objective=training.Objective(loss=loss),
        ),
    )
    return backbone


def trained(method, kind, seed, fraction=1.0):
    """A network trained by one method for one second fab; a fresh copy."""
    if method in BLIND:
        return trained_at_home(method, seed, fraction).copy()
    source, (target, _) = labelled(500, seed), second_fab(kind, fraction)
    recipe = training.Recipe(augment=AUGMENT)
    steps = results.updates(STEPS, fraction)
    options = dict(steps=steps, lr=LR, seed=seed, recipe=recipe)
    if method in ALIGNED:
        backbone = zoo.load(BACKBONE, 5, seed=seed)
        weight = coral_weight(backbone, source) if method == "coral" else 1.0
        loss = unaligned if method == "joint" else method
        alignment.fit_aligned(
            backbone,
            source,
            None,
            alignment.Alignment(loss, target, weight, AUGMENT),
            **options,
        )
        return backbone
    if method == "pseudo-labels":
        backbone = trained_at_home("source only", seed, fraction).copy()
        guessed, _ = pseudo_labelled(backbone, target, CONFIDENT)
        both = datasets.from_arrays(
            np.concatenate([source.images, guessed.images]),
            np.concatenate([source.labels, guessed.labels]),
            classes=source.classes,
        )
        training.fit(backbone, both, **options)
        return backbone
    if method == "target labels":  # what labels there would have given
        backbone = zoo.load(BACKBONE, 5, seed=seed)
        training.fit(backbone, target.take(500, seed=seed), **options)
        return backbone
    if method == "self-supervised":
        backbone = zoo.load(BACKBONE, 5, seed=seed)
        pictures = np.concatenate([source.images, target.images])
        continue_pretraining(
            backbone, pictures, steps=steps, lr=3e-4, seed=seed, augment=IMITATION
        )
        validation = results.part(datasets.load(TARGET, "validation"), fraction)
        every = results.interval(STEPS, 5, fraction)
        options["recipe"] = replace(recipe, eval_every=every)
        training.fit(backbone, source, validation, **options)
    return backbone


@experiment(
    "adaptation",
    grid=[
        dict(method=method, shift=kind, seed=seed)
        for seed in SEEDS
        for method in METHODS
        for kind in SHIFTS
        if kind != "mix" or method in (*BLIND, *ALIGNED)
    ],
    sample=[
        dict(method=method, shift="tool", seed=0) for method in ("coral", "source only")
    ],
    short=[
        dict(method=method, shift="tool", seed=0, fraction=0.01)
        for method in ("coral", "pseudo-labels", "source only")
    ],
    tolerance={"accuracy": 0.05, "batchnorm": 0.05, "tta": 0.05, "home": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def adapted(method, shift, seed, fraction=1.0):
    """Accuracy in the second fab: as trained, with AdaBN, with turned copies, at home.

    distance: the proxy A-distance of the features of the two fabs, each in its own
    proportions of classes.  What is done to a finished network, AdaBN and turned
    copies, is measured on the networks of `STACKED`.
    """
    backbone = trained(method, shift, seed, fraction)
    pool, test = second_fab(shift, fraction)
    home = results.part(datasets.load(TARGET, "validation"), fraction)
    X, Y = (features.extract(backbone, data) for data in (home, pool))
    logits = training.predict(backbone, test)
    at_home = training.evaluate(backbone, home)
    numbers = {
        "accuracy": scored(logits, test.labels, shift),
        "home": at_home["accuracy"],
        "home_loss": at_home["loss"],
        "distance": proxy_a_distance(X, Y),
    }
    if method in STACKED:
        renewed = test_time.adapt_batchnorm(backbone, pool.images)
        for name, changed in (
            ("batchnorm", training.predict(renewed, test)),
            ("tta", test_time.predict_tta(backbone, test.images)),
            ("both", test_time.predict_tta(renewed, test.images)),
        ):
            numbers[name] = scored(changed, test.labels, shift)
    return numbers


# --- the light imitated ---------------------------------------------------------------


def random_light(preprocess):
    """f(x, generator): pictures as other light might show them.

    Half of them inverted, all brighter towards one side and darker on the whole, by
    amounts that were not fitted to any second fab.
    """
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (preprocess.mean, preprocess.std)
    )

    def augment(x, generator):
        def drawn(low, high):
            u = torch.rand(len(x), 1, 1, 1, generator=generator)
            return low + (high - low) * u

        grey = x * std + mean  # 0 to 1
        grey = torch.where(drawn(0, 1) < 0.5, 1 - grey, grey)
        axis = torch.linspace(-0.5, 0.5, x.shape[-1])
        slope = drawn(-1, 1) * axis + drawn(-1, 1) * axis[:, None]
        light = (drawn(0.3, 1) + drawn(0, 0.6) * slope).clamp(min=0.05)
        return (grey * light - mean) / std

    return augment


def imitated(backbone, train, change, T, labels, draws=3):
    """Accuracy (draws,) on features T of a head that also saw altered pictures.

    change: f(x, generator) of preprocessed pictures, or None for the pictures alone.
    """
    X, y = features.extract(backbone, train), train.labels
    reached = []
    for seed in range(draws):
        Z, z = X, y
        if change is not None:
            x = backbone.preprocess(train.images)
            x = change(x, torch.Generator().manual_seed(seed))
            seen = features.extract(backbone, backbone.preprocess.to_images(x))
            Z, z = np.concatenate([X, seen]), np.concatenate([y, y])
        head, _ = training.fit_head(Z, z, steps=300, seed=seed)
        with torch.no_grad():
            said = head(torch.tensor(T, dtype=torch.float32)).argmax(1).numpy()
        reached.append(100 * (said == labels).mean())
    return np.array(reached)


# --- distance and gain ----------------------------------------------------------------

LOOKS = ("bundled/resnet10-patterns", "imagenet/efficientnet-lite0")  # trained, named


@lru_cache(maxsize=16)
def seen(name, network):
    """Features of 300 pictures of what a source learned, or of a target."""
    if name == "bundled/resnet10-silhouettes":
        images = patterns.silhouettes(300, 5).images.numpy()
    elif name == "bundled/resnet10-patterns":
        images = patterns.render(300, 5).images.numpy()
    else:
        name = name.removeprefix("bundled/resnet10-").replace("-", "_")
        images = datasets.load(name, "validation").images[:300]
    return features.extract(zoo.load(network), images)


@experiment(
    "pair_distances",
    grid=[
        dict(source=source, target=target, network=network)
        for network in LOOKS
        for source, target in lesson12_gains.PAIRS
        if source != "random"
    ],
    sample=[
        dict(source="bundled/resnet10-patterns", target="digits", network=LOOKS[0])
    ],
    tolerance={"mmd": 0.01},
    models=lesson12_gains.SOURCES[1:],
    data=(*lesson06.FILES, "assets/efficientnet-lite0"),
)
def pair_distances(source, target, network):
    """Frechet distance and MMD^2 of a source's and a target's pictures."""
    X, Y = seen(source, network), seen(target, network)
    return {
        "frechet": distances.frechet_distance(X, Y),
        "mmd": distances.mmd(X, Y),
    }


# --- an inherited bias ----------------------------------------------------------

NAMED = 1  # the class that the mark goes with: particle
SHARE = 0.22  # of all pictures, in every set
SETS = {  # probability of the mark in the named class; the others make up the share
    "clean": SHARE,
    "biased a little": 0.5,
    "biased": 0.9,
}
REMEDIES = ("none", "balanced groups", "head on fresh sample", "corners masked")
FEW, FRESH = 100, 50


def mark_shares(kind):
    """Probability of the mark for each class; the same share over all pictures."""
    others = (SHARE * 5 - SETS[kind]) / 4
    return [SETS[kind] if c == NAMED else others for c in range(5)]


def masked(images):
    """Pictures without their corners, where the mark may be."""
    images = images.copy()
    side, cut = images.shape[1], shifted.CORNER
    grey = images.mean(axis=(1, 2), keepdims=True).astype(np.uint8)  # (N, 1, 1, 3)
    for rows in (slice(0, cut), slice(side - cut, side)):
        for columns in (slice(0, cut), slice(side - cut, side)):
            images[:, rows, columns] = grey
    return images


@lru_cache(maxsize=2)
def trained_source(kind, seed, fraction=1.0):
    """The bundled network after a first job in which the mark went with a class."""
    n = 2000 if fraction == 1 else 400
    pool = datasets.load(TARGET, "pool", n=n, seed=3)
    pool = shifted.marked(pool, mark_shares(kind), seed=seed)
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    recipe = training.Recipe(augment=AUGMENT)
    steps = results.updates(400, fraction)
    training.fit(backbone, pool, steps=steps, lr=LR, seed=seed, recipe=recipe)
    return backbone


def second_job(kind, seed, fraction=1.0):
    """(100 labelled, 500 for choosing) pictures of the second fab, marked."""
    parts = []
    validation = 500 if fraction == 1 else 200
    for split, n, at in (("train", FEW, seed), ("validation", validation, 0)):
        data = datasets.load(TARGET, split).take(n, seed=at)
        data = shifted.shifted(data, "tool", seed=5 + seed)
        parts.append(shifted.marked(data, mark_shares(kind), seed=10 + seed))
    return parts


def fresh_sample(seed):
    """50 further labelled pictures of the second fab, the mark put on half of them."""
    data = datasets.load(TARGET, "train").take(FEW + FRESH, seed=seed)
    data = shifted.shifted(data.subset(np.arange(FEW, FEW + FRESH)), "tool", seed=7)
    return shifted.marked(data, [0.5] * 5, seed=20 + seed)


def balanced_groups(data, seed):
    """As many pictures, drawn so that in every class half of them carry the mark."""
    rng = np.random.default_rng((seed, 6))
    groups = 2 * data.labels + data.metadata["mark"]
    size = len(data) // len(np.unique(groups))
    drawn = [
        rng.choice(np.flatnonzero(groups == g), size, replace=True)
        for g in np.unique(groups)
    ]
    return data.subset(rng.permutation(np.concatenate(drawn)))


def audited(predict, test):
    """What the mark does to the same pictures: without it, with it."""
    with_it = np.stack([shifted.with_mark(x, i % 4) for i, x in enumerate(test.images)])
    plain, marked = predict(test.images), predict(with_it)
    named = test.labels == NAMED
    right = {
        "aligned": np.concatenate(
            [marked[named] == NAMED, (plain == test.labels)[~named]]
        ),
        "conflicting": np.concatenate(
            [plain[named] == NAMED, (marked == test.labels)[~named]]
        ),
    }
    return {group: float(hits.mean()) for group, hits in right.items()} | {
        "pulled": float(
            (marked == NAMED)[~named].mean() - (plain == NAMED)[~named].mean()
        )
    }


@experiment(
    "inherited_bias",
    grid=[
        dict(source=source, target=target, strategy=strategy, remedy="none", seed=seed)
        for seed in SEEDS
        for source in ("clean", "biased")
        for target in ("clean", "biased a little")
        for strategy in ("frozen", "full")
    ]
    + [
        dict(
            source="biased",
            target="biased a little",
            strategy=strategy,
            remedy=remedy,
            seed=seed,
        )
        for seed in SEEDS
        for strategy in ("frozen", "full")
        for remedy in REMEDIES[1:]
    ],
    sample=[
        dict(
            source="clean",
            target="biased a little",
            strategy="frozen",
            remedy="none",
            seed=0,
        )
    ],
    short=[
        dict(
            source="clean",
            target="biased a little",
            strategy="frozen",
            remedy="none",
            seed=0,
            fraction=0.01,
        ),
        dict(
            source="biased",
            target="biased a little",
            strategy="full",
            remedy="head on fresh sample",
            seed=0,
            fraction=0.01,
        ),
    ],
    tolerance={"aligned": 0.05, "conflicting": 0.05},
    models=(BACKBONE,),
    data=FILES,
)
def inherited_bias(source, target, strategy, remedy, seed, fraction=1.0):
    """Accuracy where the mark helps and where it misleads, after a second, small job.

    source, target: how strongly the mark goes with one class in each.
    """
    backbone = trained_source(source, seed, fraction).copy().to_classes(5, seed)
    train, validation = second_job(target, seed, fraction)
    test = results.part(datasets.load(TARGET, "test"), fraction)
    test = shifted.shifted(test, "tool", seed=2)
    if remedy == "corners masked":
        train, validation = (
            replace(part, images=masked(part.images)) for part in (train, validation)
        )
    if remedy == "balanced groups":
        train = balanced_groups(train, seed)
    if strategy == "frozen":
        freezing.freeze_backbone(backbone)
    every = results.interval(200, 10, fraction)
    recipe = training.Recipe(augment=AUGMENT, eval_every=every)
    options = dict(seed=seed, recipe=recipe)
    lr = HEAD_LR if strategy == "frozen" else LR
    steps = results.updates(200, fraction)
    training.fit(backbone, train, validation, steps=steps, lr=lr, **options)
    if remedy == "head on fresh sample":
        freezing.freeze_backbone(backbone)
        steps = results.updates(100, fraction)
        training.fit(backbone, fresh_sample(seed), steps=steps, lr=HEAD_LR, **options)
    hide = masked if remedy == "corners masked" else (lambda images: images)

    def predict(images):
        data = (hide(images), np.zeros(len(images), dtype=np.int64))
        return training.predict(backbone, data).argmax(axis=1)

    loss = training.evaluate(backbone, test)["loss"]
    return audited(predict, test) | {"loss": loss}
