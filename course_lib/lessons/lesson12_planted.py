"""Grids of lesson 12: is a diagnosis right where the answer is known?

Fifteen planted cases: a start that helps by 5 points or more, one that was damaged so
that it hurts by 5 or more, or one that makes no difference.  They were written down
before any gain had been looked at.  What a case truly is was then measured by other
code on other pictures (:func:`true_gain`).  A case counts as what it was planted as
when the 95 % interval of its true gain lies beyond 5 points, or, for no difference,
covers 0 with a mean within 3 points; this rule was set when four of the fifteen had
been diagnosed.  Five were not what they had been planted as and were replaced:

- helps: "patterns on wafer maps, 5 labels a class" truly lost 2.8 points; now the near
  source with 40 labels.
- helps: "patterns on spectrograms, 5 labels a class" gains 2.9 +- 5.9 over six draws
  (three draws had said 7); now the short training with 40 labels.  It had been
  diagnosed as "no evidence either way: +3.3 +- 4.2", which was right.
- hurts: "trained on shuffled labels of spectrograms, 20 labels a class" was 0.3 points
  above random weights; now a network most of whose channels have died.
- hurts: "colour-blind stem, micrographs with their channels in four orders" could not
  be learned from any start (25 %); now wafer maps, whose colours are fixed, and a
  preprocessing that makes them grey.
- no difference: "patterns on wafer maps with their channels in four orders, 20 labels a
  class" truly lost 3.4 points in these few updates; now other random weights.

The number of repeats went from 4 to 8, for all, after the first four cases: the
half-width was 8 points where the labels are few, and 5 points are to be told.

What matters is set to the 5 points that the cases were planted with.  That came last:
with intervals of 95 % alone, "other seed, spectrograms" was said to hurt by 2.3 +- 1.3
points (truly 0.3 +- 1.0; another seed of the diagnosis said +0.5 +- 1.9), one false
alarm in fifteen.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.analysis.statistics import paired_difference
from course_lib.diagnose.diagnosis import Settings, diagnose
from course_lib.lessons import results
from course_lib.lessons.results import experiment
from course_lib.models import zoo
from course_lib.models.preprocessing import Preprocess

PATTERNS, SHORT = "bundled/resnet10-patterns", "bundled/resnet10-patterns-short"
SILHOUETTES = "bundled/resnet10-silhouettes"
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # as the cards say
STEPS, LR = 100, 2e-3
MATTERS = 0.05  # points: what the cases were planted with
REPEATS = 8  # of the diagnosis; with 4 a gain of 5 points could not be told
DRAWS, MORE_DRAWS = 6, 24  # of training pictures and seeds, for the true gain
POOL_SEED = 12
FOLDER = ("train", "validation", "test")
COLOURS = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1))  # orders of red, green, blue


@dataclass(frozen=True)
class Case:
    """A start, a target, a number of labels a class, and what is expected."""

    start: str
    target: str
    labels: int
    expected: int


def planted_cases() -> dict[str, Case]:
    """{name: Case}: five that help, five that hurt, five without a difference."""
    return {
        "near source, 10 labels": Case(PATTERNS, "wafer_micrographs", 10, +1),
        "near source, 20 labels": Case(PATTERNS, "wafer_micrographs", 20, +1),
        "short training": Case(SHORT, "wafer_micrographs", 20, +1),
        "short training, 40 labels": Case(SHORT, "wafer_micrographs", 40, +1),
        "near source, 40 labels": Case(PATTERNS, "wafer_micrographs", 40, +1),
        "dead stem": Case("dead stem", "digits", 10, -1),
        "dying channels": Case("dying channels", "spectrograms", 20, -1),
        "thumbnails": Case("thumbnails", "wafer_maps", 10, -1),
        "shuffled": Case("shuffled", "spectrograms", 20, -1),
        "colour-blind": Case("colour-blind", "colours", 10, -1),
        "other seed, digits": Case("other seed", "digits", 10, 0),
        "other seed, spectrograms": Case("other seed", "spectrograms", 20, 0),
        "easy wafer maps": Case(PATTERNS, "full or empty", 10, 0),
        "other seed, wafer maps": Case("other seed", "wafer_maps", 10, 0),
        "silhouettes": Case(SILHOUETTES, "digits", 20, 0),
    }


# -- targets ----------------------------------------------------------------------


@lru_cache(maxsize=8)
def pictures(target, which, fraction=1.0):
    """Half-size pictures of a target: a folder to diagnose, or a pool for the truth."""
    name = dict.fromkeys(("colours", "full or empty"), "wafer_maps").get(target, target)
    if target == "digits":  # there are no others
        data = joined(name, {"folder": FOLDER[1:], "pool": FOLDER[:1]}[which])
    elif which == "folder":
        data = joined(name, FOLDER)
    else:
        n = 3000 if fraction == 1 else 600
        data = datasets.load(name, "pool", n=n, seed=POOL_SEED)
    if target == "colours":
        data = in_colours(data)
    if target == "full or empty":
        data = of_classes(data, ("near-full", "none"))
    return replace(data, images=halved(data.images))


def joined(name, splits):
    """Several splits of a data set as one, without metadata."""
    parts = [datasets.load(name, split) for split in splits]
    images, labels = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("images", "labels")
    )
    return replace(parts[0], images=images, labels=labels, metadata={})


def halved(images):
    """Means of 2 x 2 pixels: uint8 (N, H, W, 3) to (N, H / 2, W / 2, 3)."""
    n, height, width, _ = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, 3)
    return (blocks.mean(axis=(2, 4)) + 0.5).astype(np.uint8)


def of_classes(data, names):
    """The pictures of some classes, renumbered."""
    numbers = [data.classes.index(name) for name in names]
    part = data.subset(np.isin(data.labels, numbers))
    return replace(part, labels=np.searchsorted(numbers, part.labels), classes=names)


def in_colours(data):
    """A task of colour alone: which order do the three channels stand in?"""
    labels = np.arange(len(data)) % len(COLOURS)
    images = np.stack([x[..., COLOURS[k]] for x, k in zip(data.images, labels)])
    names = tuple("".join("rgb"[c] for c in order) for order in COLOURS)
    return replace(data, images=images, labels=labels, classes=names, metadata={})


# -- starts -----------------------------------------------------------------------


def start_of(case):
    """The backbone of a case, damaged where that was planted."""
    made = {
        "dead stem": dead_stem,
        "dying channels": dying_channels,
        "thumbnails": thumbnails,
        "shuffled": shuffled,
        "colour-blind": colour_blind,
        "other seed": other_seed,
    }
    if case.start not in made:
        return zoo.load(case.start)
    return made[case.start](zoo.load(PATTERNS))


def dead_stem(backbone):
    """The first BatchNorm shifts every channel so low that no ReLU ever fires."""
    nn.init.constant_(backbone.model.bn1.bias, -20.0)
    return backbone


def dying_channels(backbone):
    """In every layer fifteen of sixteen channels are shifted below zero for good."""
    for module in backbone.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            dead = torch.arange(len(module.bias)) % 16 > 0
            module.bias.data[dead] = -20.0
    return backbone


def thumbnails(backbone):
    """The preprocessing that came with the weights makes pictures of 8 pixels."""
    backbone.preprocess = Preprocess(size=8, mean=MEAN, std=STD)
    return backbone


def shuffled(backbone):
    """Weights change places within each layer; norms are scaled up and down."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in backbone.model.modules():
            if isinstance(module, nn.Conv2d):
                order = torch.randperm(module.weight.numel(), generator=generator)
                module.weight.copy_(
                    module.weight.flatten()[order].view_as(module.weight)
                )
            if isinstance(module, nn.BatchNorm2d):
                scale = torch.randn(len(module.weight), generator=generator).exp() ** 2
                module.weight.mul_(scale)
                module.bias.sub_(scale)
    return backbone


@dataclass(frozen=True)
class Grey:
    """The preprocessing of weights that were made for pictures without colour."""

    prepare: Preprocess

    def __call__(self, images):
        x = self.prepare(images)
        return x.mean(dim=1, keepdim=True).expand_as(x).contiguous()


def colour_blind(backbone):
    """The preprocessing that came with the weights makes pictures grey."""
    backbone.preprocess = Grey(backbone.preprocess)
    return backbone


def other_seed(backbone):
    """Random weights that call themselves pretrained."""
    return zoo.load(PATTERNS, seed=4321, pretrained=False)


# -- the truth --------------------------------------------------------------------


@lru_cache(maxsize=32)
def reached(start, target, labels, draws, fraction=1.0):
    """Accuracy of each draw, (draws,), by a probe and by training, on the pool.

    ``start``: what stands in a case, or None for random weights.
    """
    pool, steps = pictures(target, "pool", fraction), results.updates(STEPS, fraction)
    third = len(pool) // 3
    spare, test = pool.subset(range(third)), pool.subset(range(third, len(pool)))
    case, T = Case(start, target, labels, 0), None
    probed, trained = [], []
    for seed in range(draws):
        train = spare.take(n_per_class=labels, seed=100 + seed)
        if start is None:
            backbone = zoo.load(PATTERNS, seed=500 + seed, pretrained=False)
        else:
            backbone = start_of(case)
        if T is None or start is None:
            T = all_stages(backbone, test)
        probed.append(probe_accuracy(all_stages(backbone, train), train, T, test))
        backbone.to_classes(len(pool.classes), seed)
        trained.append(trained_accuracy(backbone, train, test, seed, steps))
    return {"probe": np.array(probed), "trained": np.array(trained)}


def all_stages(backbone, data):
    """Features (N, F) of all stages side by side."""
    return torch.cat(list(probes.pooled(backbone, data.images)[0].values()), dim=1)


def probe_accuracy(X, train, T, test):
    """Of a ridge classifier, its penalty chosen by leaving one out."""
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 4, 9)))
    return model.fit(X, train.labels).score(T, test.labels)


def trained_accuracy(backbone, train, test, seed, steps=STEPS):
    """All layers trained by a loop of its own, the last weights kept."""
    generator = torch.Generator().manual_seed(seed)
    net = backbone.model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, steps, pct_start=0.1, cycle_momentum=False
    )
    x, y = backbone.preprocess(train.images), torch.as_tensor(train.labels)
    shift = training.random_crop(max(1, x.shape[-1] // 16))
    net.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (32,), generator=generator)
        batch = shift(x[rows], generator).contiguous(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(net(batch), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        answers = [
            net(backbone.preprocess(part)).argmax(1)
            for part in np.array_split(test.images, len(test) // 250 + 1)
        ]
    return (torch.cat(answers).numpy() == test.labels).mean()


def true_gain(case, draws=DRAWS, fraction=1.0):
    """Interval of the gain: best way from the start minus best from random weights.

    Other pictures, other draws and seeds, another loop and another probe than those of
    the diagnosis; the test pictures are many, and each side has its best way by them.
    """
    sides = (case.start, None)
    ours, theirs = (
        reached(start, case.target, case.labels, draws, fraction) for start in sides
    )
    best = [max(side.values(), key=np.mean) for side in (ours, theirs)]
    return paired_difference(*best)


# -- the grids --------------------------------------------------------------------

SPARE = {  # not what it was planted as, and candidates for its place, in this order
    "few spectrograms": Case(PATTERNS, "spectrograms", 5, +1),
    "short training, 10 labels": Case(SHORT, "wafer_micrographs", 10, +1),
    "spectrograms, 10 labels": Case(PATTERNS, "spectrograms", 10, +1),
}
MEASURED_LONGER = (  # of no difference, and not known to 1.5 points with six draws
    "other seed, digits",
    "other seed, spectrograms",
    "other seed, wafer maps",
)
MODELS = (PATTERNS, SHORT, SILHOUETTES)
DATA = ("wafer_micrographs.npz", "wafer_maps.npz", "spectrograms.npz")


@experiment(
    "planted_truth",
    grid=[dict(case=name, draws=DRAWS) for name in (*planted_cases(), *SPARE)]
    + [dict(case=name, draws=MORE_DRAWS) for name in MEASURED_LONGER],
    sample=[dict(case="shuffled", draws=DRAWS)],
    short=[dict(case="shuffled", draws=DRAWS, fraction=0.05)],
    tolerance={"gain": 0.05},
    models=MODELS,
    data=DATA,
)
def planted_truth(case, draws, fraction=1.0):
    """What a planted case truly is; a short cell makes two draws."""
    draws = draws if fraction == 1 else 2
    gain = true_gain((planted_cases() | SPARE)[case], draws, fraction)
    if fraction < 1:
        return {"gain": gain.mean}  # two draws have no interval worth comparing
    return {"gain": gain.mean, "low": gain.low, "high": gain.high}


@experiment(
    "diagnosis_cases",
    grid=[
        dict(case=name, expected=c.expected, repeats=REPEATS)
        for name, c in planted_cases().items()
    ],
    sample=[dict(case="dead stem", expected=-1, repeats=REPEATS)],
    short=[dict(case="dead stem", expected=-1, repeats=REPEATS, fraction=0.05)],
    tolerance={"gain": 0.05, "code": 0},
    models=MODELS,
    data=DATA,
)
def diagnosis_cases(case, expected, repeats, fraction=1.0):
    """What the diagnosis says of one planted case; a short cell repeats it twice."""
    planted = planted_cases()[case]
    repeats = repeats if fraction == 1 else 2
    with tempfile.TemporaryDirectory() as folder:
        found = diagnose(
            start_of(planted),
            pictures(planted.target, "folder"),
            Settings(
                labels_per_class=planted.labels,
                steps=results.updates(STEPS, fraction),
                rates=(LR,),
                repeats=(repeats, repeats),
                matters=MATTERS,
            ),
            folder=folder,
            progress=False,
        )
    gain = found.gains["transfer"]
    if fraction < 1:
        return {"gain": gain["mean"], "code": found.code}
    return {
        "gain": gain["mean"],
        "low": gain["low"],
        "high": gain["high"],
        "code": found.code,
    }
