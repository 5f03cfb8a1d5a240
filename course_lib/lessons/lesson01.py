"""Grids and figures of lesson 01: what each stage answers, and which ones transfer.

Small world: the first stages of a network are copied and the rest is drawn anew and
trained (Yosinski et al. 2014), in `copied_stages` for 200 updates, in `copied_longer`
for as many as training from scratch gets.  Real world: EfficientNet-Lite0 and solar
cells; rates and numbers of updates were fixed beforehand and are those of `solar`.
"""

from functools import lru_cache

import numpy as np
import torch

from course_lib import datasets, training
from course_lib.analysis import probes, probing_tasks, similarity
from course_lib.lessons import results, solar
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    RATES,
    STEPS,
    TARGET,
    adapted,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, experiment, interval, updates
from course_lib.models import zoo
from course_lib.pretraining import patterns
from course_lib.training import freezing
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

STAGES = ["stem", "layer1", "layer2", "layer3", "layer4"]


@lru_cache(maxsize=3)
def trained_on_target(seed, fraction=1.0):
    """A network of the same shape, trained on the target itself (their "BnB")."""
    backbone = adapted("scratch", 100 + seed)
    options = dict(lr=RATES["scratch"], steps=STEPS[500], fraction=fraction)
    train(backbone, labelled(500, seed), seed=100 + seed, **options)
    return backbone


def copy_stages(target, origin, k):
    """Copy the first k stages of `origin` into `target`, BatchNorm included."""
    parts = ["conv1", "bn1", *STAGES[1:]]
    for part in parts[: k + 1] if k else []:
        state = origin.model.get_submodule(part).state_dict()
        target.model.get_submodule(part).load_state_dict(state)
    return target


@experiment(
    "copied_stages",
    grid=[dict(origin="source", k=0, mode="tuned", seed=seed) for seed in SEEDS]
    + [
        dict(origin="source", k=k, mode=mode, seed=seed)
        for k in range(1, 6)
        for mode in ("frozen", "tuned")
        for seed in SEEDS
    ]
    + [
        dict(origin="target", k=k, mode="frozen", seed=seed)
        for k in range(1, 6)
        for seed in SEEDS
    ],
    sample=[dict(origin="source", k=3, mode="frozen", seed=0)],
    short=[
        dict(origin="source", k=3, mode="frozen", seed=0, fraction=0.05),
        dict(origin="target", k=2, mode="frozen", seed=0, fraction=0.01),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def copied_stages(origin, k, mode, seed, fraction=1.0):
    """Copy k stages, freeze or tune them, train the rest on 500 labels."""
    donor = zoo.load(BACKBONE)
    if origin == "target":
        donor = trained_on_target(seed, fraction)
    backbone = copy_stages(adapted("scratch", seed), donor, k)
    if mode == "frozen":
        freezing.freeze_until(backbone, STAGES[k - 1])
    data = labelled(500, seed)
    options = dict(lr=1e-3, steps=200, evaluations=5, fraction=fraction)
    train(backbone, data, seed=seed, **options)
    return scored(backbone, fraction)


def turned(quarters, flip):
    """A view of a batch (N, C, H, W): turned by quarters, mirrored or not."""
    return lambda x: torch.rot90(x.flip(3) if flip else x, quarters, (2, 3))


TURNED = tuple(turned(q, flip) for q in range(4) for flip in (False, True))


@experiment(
    "copied_longer",
    grid=[
        dict(origin=origin, k=k, seed=seed)
        for seed in SEEDS
        for origin in ("target", "source")
        for k in (5, 4, 3)
    ],
    sample=[dict(origin="source", k=4, seed=0)],
    short=[
        dict(origin="source", k=4, seed=0, fraction=0.03),
        dict(origin="target", k=5, seed=0, fraction=0.01),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def copied_longer(origin, k, seed, fraction=1.0):
    """Copy and freeze k stages; the rest learns as long as a network from scratch.

    The frozen stages run once on each picture and on its turns and mirror images.
    """
    donor = trained_on_target(seed, fraction) if origin == "target" else None
    backbone = copy_stages(adapted("scratch", seed), donor or zoo.load(BACKBONE), k)
    data, steps = labelled(500, seed), STEPS[500]
    frozen = FrozenStages(backbone, STAGES[k - 1], data.images)
    validation, test = (
        frozen.run(results.part(datasets.load(TARGET, split), fraction))
        for split in ("validation", "test")
    )
    recipe = training.Recipe(eval_every=interval(steps, 10, fraction))
    options = dict(steps=updates(steps, fraction), lr=RATES["scratch"], seed=seed)
    learn = frozen.run(data, TURNED)
    training.fit(frozen.upper, learn, validation, recipe=recipe, **options)
    found = training.evaluate(frozen.upper, test)
    return {key: found[key] for key in ("accuracy", "loss")}


# -- the real world: EfficientNet-Lite0 -------------------------------------------

REAL_STAGES = ("stem", *(f"stage{i}" for i in range(1, 8)), "conv_head")
QUESTIONS = ("colour", "orientation", "texture", "shape", "digit", "defect")
SET_OF = {"digit": "digits", "defect": "solar_cells"}  # others: drawn pictures
PENALTIES = (10.0, 100.0, 1000.0)
A_CLASS = 100  # labelled solar cells
UNTRAINED = 3  # random networks
CUTS = ("stage5", "stage6")  # the last frozen stage
COPIES = {"random": (3e-3, 240), "pretrained": (1e-3, 80)}  # rate, updates of the rest
TUNED = dict(steps=20, lr=1e-3)  # all of Lite0


def ridge(X, y, fit, penalties=PENALTIES):
    """Labels (N,) said by ridge regressions fitted on the rows `fit`, one a penalty.

    X: (N, p) features; y: (N,) labels.  ``W = (X'X + penalty I)^-1 X'Y`` of
    standardised features; with fewer rows than features the same W as
    ``X' (XX' + penalty I)^-1 Y``.  Hoerl & Kennard 1970.
    """
    X = ((X - X[fit].mean(0)) / (X[fit].std(0) + 1e-6)).double()
    X = torch.cat([X, torch.ones_like(X[:, :1])], 1)  # (N, p + 1)
    A, Y = X[fit], torch.eye(int(y.max()) + 1).double()[y[fit]]  # (n, p + 1), (n, c)
    if len(A) < A.shape[1]:
        e, Q = torch.linalg.eigh(A @ A.T)
        left, right = X @ A.T @ Q, Q.T @ Y
    else:
        e, Q = torch.linalg.eigh(A.T @ A)
        left, right = X @ Q, Q.T @ (A.T @ Y)
    return [(left / (e + penalty) @ right).argmax(1) for penalty in penalties]


@lru_cache(maxsize=1)
def drawn(n=1200):
    """Pictures of the small world's source task that no training has seen."""
    return patterns.render(n, seed=1_000_003)


def asked(question):
    """Pictures (N, H, W, 3) and labels (N,) of one question; label -1: no answer."""
    if question in SET_OF:
        splits = ("train", "validation", "test")
        parts = [datasets.load(SET_OF[question], split) for split in splits]
        images = np.concatenate([one.images for one in parts])
        return images, np.concatenate([one.labels for one in parts])
    images = drawn().images.numpy()
    generic = {"colour": probing_tasks.hues, "orientation": probing_tasks.angles}
    if question in generic:
        return images, generic[question](images)
    return images, drawn().labels[question].numpy()


def divided(question, y, seed):
    """Rows to fit on, to choose the penalty with, and to test on."""
    rng = np.random.default_rng(seed)
    if question == "defect":
        train_cells, held = (len(solar.cells(s)) for s in ("train", "validation"))
        choose = train_cells + solar.rows("validation", 100, 0)
        test = np.arange(train_cells + held, len(y))
        return solar.rows("train", A_CLASS, seed), choose, test
    if question == "digit":
        return rng.permutation(600)[:300], np.arange(600, 1100), np.arange(1100, len(y))
    known = rng.permutation(np.flatnonzero(y >= 0))
    return np.split(known, [len(known) // 2, 2 * len(known) // 3])


@lru_cache(maxsize=3 * (UNTRAINED + 1))
def seen_by(network, which, pictures):
    """{stage: (N, C)} means over positions; pictures: a key of SET_OF, or "drawn"."""
    backbone = zoo.load(solar.BACKBONE, pretrained=network == "imagenet", seed=which)
    images = asked(pictures if pictures in SET_OF else "colour")[0]
    return probes.pooled(backbone, images, batch_size=50)[0]


def balanced(truth, said):
    """Mean over the classes of the share that is right."""
    right = said == truth
    return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))


@experiment(
    "probed_stages",
    grid=[
        dict(network=network, question=question, seed=seed)
        for question in QUESTIONS
        for network in ("imagenet", "random")
        for seed in range(10)
    ],
    sample=[dict(network="random", question="colour", seed=0)],
    tolerance=dict.fromkeys(REAL_STAGES, 0.03),
    data=solar.FILES,
)
def probed_stages(network, question, seed):
    """Balanced accuracy of a linear probe on every stage of Lite0."""
    which = 0 if network == "imagenet" else seed % UNTRAINED
    y = asked(question)[1]
    fit, choose, test = divided(question, y, seed)
    rows = np.concatenate([fit, choose, test])
    kept, truth = (
        seen_by(network, which, question if question in SET_OF else "drawn"),
        y[rows],
    )
    first, second = slice(len(fit), len(fit) + len(choose)), slice(-len(test), None)
    numbers = {}
    for stage in REAL_STAGES:
        X = kept[stage][rows]
        said = ridge(X, torch.as_tensor(truth), slice(len(fit)))
        said = [one.numpy() for one in said]
        best = max(said, key=lambda one: balanced(truth[first], one[first]))
        numbers[stage] = balanced(truth[second], best[second])
    return numbers


@experiment(
    "moved_stages",
    grid=[dict(lr=TUNED["lr"], seed=seed) for seed in range(5)]
    + [dict(lr=1e-12, seed=seed) for seed in range(2)],
    sample=[dict(lr=TUNED["lr"], seed=0)],
    short=[dict(lr=TUNED["lr"], seed=0, fraction=0.1)],
    tolerance=dict.fromkeys(REAL_STAGES, 0.05),
    data=solar.FILES,
)
def moved_stages(lr, seed, fraction=1.0):
    """CKA of each stage of Lite0 before and after fine-tuning on solar cells.

    At the rate of 1e-12 no weight moves, only BatchNorm's statistics do.
    """
    held, kept = solar.validation().images, []
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    for learned in (False, True):
        if learned:
            data, steps = (
                solar.labelled(A_CLASS, seed),
                updates(TUNED["steps"], fraction),
            )
            training.fit(backbone, data, steps=steps, lr=lr, seed=seed)
        kept.append(probes.pooled(backbone, held, batch_size=50)[0])
    before, after = kept
    return {s: similarity.linear_cka(before[s], after[s]) for s in REAL_STAGES}


@lru_cache(maxsize=len(CUTS))
def stored_below(cut):
    """ImageNet's stages up to `cut`, run once: {split: (output, labels)}."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2)
    frozen = FrozenStages(backbone, cut, solar.cells("train").images)
    data = {"validation": solar.validation(), "test": solar.cells("test")}
    stored = {name: frozen.run(one) for name, one in data.items()}
    return stored | {"train": frozen.run(solar.cells("train"), MIRRORED)}


@experiment(
    "copied_lite0",
    grid=[
        dict(cut=cut, rest=rest, seed=seed)
        for cut in reversed(CUTS)
        for rest in COPIES
        for seed in range(5)
    ],
    sample=[dict(cut="stage6", rest="pretrained", seed=0)],
    short=[dict(cut="stage6", rest="random", seed=0, fraction=0.05)],
    tolerance={"accuracy": 0.02, "val_accuracy": 0.02, "loss": 0.03, "val_loss": 0.03},
    data=solar.FILES,
)
def copied_lite0(cut, rest, seed, fraction=1.0):
    """ImageNet's stages up to a cut, frozen; the rest random or ImageNet's, trained."""
    lr, steps = COPIES[rest]
    backbone = zoo.load(
        solar.BACKBONE, num_classes=2, seed=seed, pretrained=rest == "pretrained"
    )
    upper = FrozenStages(backbone, cut, solar.cells("train").images).upper
    stored, n = stored_below(cut), len(solar.cells("train"))
    rows = solar.rows("train", A_CLASS, seed)
    rows = np.concatenate([rows, n + rows])  # and their mirror images
    learn = tuple(column[rows] for column in stored["train"])
    every = interval(steps, solar.EVALUATIONS, fraction)
    options = dict(steps=updates(steps, fraction), lr=lr, seed=seed)
    recipe = training.Recipe(eval_every=every)
    training.fit(upper, learn, stored["validation"], recipe=recipe, **options)
    numbers = {}
    for prefix, split in (("", "test"), ("val_", "validation")):
        found = training.evaluate(upper, stored[split])
        numbers[f"{prefix}accuracy"] = found["balanced_accuracy"]
        numbers[f"{prefix}loss"] = found["loss"]
    return numbers
