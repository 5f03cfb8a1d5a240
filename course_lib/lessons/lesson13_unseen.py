"""Grids of lesson 13: the diagnosis on twenty cases that had no part in making it.

Set before any case was run: the cases and their order, the settings, the truths or how
they are measured, and what counts as right.  None of these was changed afterwards.  The
diagnosis itself was, when the first seven had been seen: with few labels its repeats
now share one test part (`own_samples.splits`), because their intervals had spanned up
to 388 points.  All cases were then run anew, so the first seven do not judge the mend.

**Settings.**  The command's own, with so little time (`--minutes 0.1`) that it falls
back on its smallest plan, 40 updates, three repeats, rates chosen once.  So it does not
depend on how fast the machine is.  The last two cases are for all defaults, five
minutes and all labels; how many updates these allow depends on the machine.  Both were
first run, and found right, when the plan asked too much of five minutes.  Since then
batches hold texts of like length, and the three cases of texts were run anew.

**Truth.**  By construction: the labels are permuted or the weights are random ones, so
that nothing can be gained ("neither"); the source is the target's own generator
("helps"); the preprocessing or a dead first layer removes what the labels are about
("hurts").  Else measured by other code, with more updates, on examples that the
diagnosis trains on, too, but in other draws (:func:`true_gain`, or an older grid): a
gain "helps" or "hurts" when its 95 % interval lies beyond 0 and its mean beyond
``MARGIN``, it is "neither" when its mean lies within ``MARGIN``, else "open".

**Judgement.**  "right": the verdict is the truth.  "undecided": the verdict is "no
evidence either way", or the truth is open.  "wrong": all else.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.analysis.statistics import paired_difference
from course_lib.datasets import real, series, solar_cells
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.labelled import joined
from course_lib.diagnose import modality as modalities
from course_lib.diagnose.diagnosis import Settings, diagnose
from course_lib.diagnose.own_samples import Samples
from course_lib.lessons import results
from course_lib.lessons.results import experiment
from course_lib.models import zoo

PATTERNS, SHORT = "bundled/resnet10-patterns", "bundled/resnet10-patterns-short"
SPECTROGRAMS, MAPS = "bundled/resnet10-spectrograms", "bundled/resnet10-wafer-maps"
LITE, MINILM = "imagenet/efficientnet-lite0", "minilm"
MARGIN = 0.02  # the command's own: the smallest gain that would change a decision
SMALLEST = 0.1  # minutes, see above
DRAWS, STEPS, LR = 4, 80, 2e-3  # of the truth; twice the updates of the diagnosis
SIDE = 64  # pixels: what the command makes of pictures for the bundled networks
ORDERS = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1))  # of red, green, blue
ACCENTS = str.maketrans("aeiou", "áéíóú")
HELPS, HURTS, NEITHER, MEASURED = "helps", "hurts", "neither", "measured"


@dataclass(frozen=True)
class Case:
    """A start, a target, labels a class, and what is known of it beforehand."""

    start: str
    target: str
    labels: int | None
    truth: str


CASES = {
    "speech, patterns": Case(PATTERNS, "speech", 20, MEASURED),
    "photographs, patterns": Case(PATTERNS, "photographs", 5, MEASURED),
    "leaves, patterns": Case(PATTERNS, "leaves", 12, MEASURED),
    "kind of cell at 24 px, patterns": Case(PATTERNS, "small kinds", 10, MEASURED),
    "channel orders, grey": Case("grey", "channel orders", 10, HURTS),
    "spectrograms, their own source": Case(SPECTROGRAMS, "spectrograms", 10, HELPS),
    "speech, random weights": Case("random", "speech", 20, NEITHER),
    "solar cells, labels permuted": Case(PATTERNS, "permuted cells", 20, NEITHER),
    "speech, dead stem": Case("dead stem", "speech", 20, HURTS),
    "tweets, accents": Case(MINILM, "accents", 6, HURTS),
    "solar cells, patterns": Case(PATTERNS, "cells", 50, MEASURED),
    "wafer maps, their own source": Case(MAPS, "wafer_maps", 10, HELPS),
    "solar cells, blank pictures": Case("blank", "cells", 20, HURTS),
    "photographs, labels permuted": Case(PATTERNS, "permuted tiles", 10, NEITHER),
    "solar cells, random weights": Case("random", "cells", 20, NEITHER),
    "tweets, labels permuted": Case(MINILM, "permuted tweets", 6, NEITHER),
    "speech, short training": Case(SHORT, "speech", 20, MEASURED),
    "editorials, 8 labels": Case(MINILM, "editorials", 8, "opinions_frozen"),
    "solar cells, all defaults": Case(LITE, "all cells", None, "solar_frozen"),
    "products, all defaults": Case(MINILM, "products", None, "opinions_frozen"),
}
TO_MEASURE = [name for name, case in CASES.items() if case.truth == MEASURED]


# -- targets ----------------------------------------------------------------------


@lru_cache(maxsize=4)
def examples(target):
    """The examples of a case, as the command would read them."""
    if target in ("speech", "leaves"):
        name = {"speech": "JapaneseVowels", "leaves": "OSULeaf"}[target]
        known, test = (datasets.load(f"series/{name}", s) for s in series.SPLITS)
        return joined([series.pictures(one, known, SIDE) for one in (known, test)])
    if target in ("spectrograms", "wafer_maps"):
        return bare(joined([datasets.load(target, s) for s in ("train", "test")]))
    if target in ("photographs", "channel orders", "permuted tiles"):
        return tiles(target)
    if target in ("accents", "permuted tweets"):
        return tweets(target)
    if target == "editorials":
        return bare(datasets.load("opinions/editorials", "train"))
    return some_cells(target)


def bare(data):
    """A data set without its other columns."""
    return replace(data, metadata={})


def permuted(data, seed=0):
    """The same examples, whose labels have nothing to do with them."""
    return replace(data, labels=np.random.default_rng(seed).permutation(data.labels))


def some_cells(target):
    """300 solar cells of each class, of which the experts were sure."""
    size = 24 if target == "small kinds" else SIDE
    parts = [solar_cells.load(s, size=size) for s in solar_cells.SHARES]
    data = joined(parts)
    if target == "small kinds":
        kinds = (data.metadata["kind"] == "poly").astype(np.int64)
        data = replace(data, labels=kinds, classes=solar_cells.KINDS)
    data = bare(data.take(n_per_class=300, seed=0))
    return permuted(data) if target == "permuted cells" else data


def tiles(target):
    """Two photographs cut into tiles of 48 pixels, none over another: 208 pictures."""
    images, labels = [], []
    for k, photograph in enumerate(real.photographs().values()):
        for i in range(0, 427 - 47, 48):
            for j in range(0, 640 - 47, 48):
                tile = Image.fromarray(photograph[i : i + 48, j : j + 48])
                images.append(np.asarray(tile.resize((SIDE, SIDE))))
                labels.append(k)
    images, labels, classes = np.stack(images), np.array(labels), ("china", "flower")
    if target == "channel orders":
        labels = np.random.default_rng(0).permutation(np.arange(len(images)) % 4)
        images = np.stack([x[..., ORDERS[k]] for x, k in zip(images, labels)])
        classes = tuple("".join("rgb"[c] for c in order) for order in ORDERS)
    data = ImageDataset(images, labels, classes, target)
    return permuted(data) if target == "permuted tiles" else data


def tweets(target):
    """260 short tweets; with accents, these are the label, and an encoder that reads
    without accents cannot see them."""
    data = datasets.load("opinions/tweets", "train")
    short = np.array([len(text) <= 60 for text in data.texts])
    data = bare(data.subset(short)).take(n_per_class=130, seed=0)
    labels = np.random.default_rng(0).permutation(np.arange(len(data)) % 2)
    if target == "permuted tweets":
        return replace(data, labels=labels)
    texts = tuple(
        text.translate(ACCENTS) if label else text
        for text, label in zip(data.texts, labels)
    )
    return replace(data, texts=texts, labels=labels, classes=("plain", "accents"))


# -- starts -----------------------------------------------------------------------


@dataclass(frozen=True)
class Spoiled:
    """A preprocessing that came with the weights and loses something.

    grey: colours.  blank: everything, as where a transparent layer is read in place of
    the picture.
    """

    rule: object
    how: str

    def __call__(self, images):
        x = self.rule(images)
        if self.how == "blank":
            return torch.ones_like(x)
        return x.mean(dim=1, keepdim=True).expand_as(x).contiguous()


def start_of(case):
    """The backbone of a case, damaged where that was planted."""
    if case.start == "random":
        return zoo.load(PATTERNS, seed=4321, pretrained=False)
    if case.start not in ("grey", "blank", "dead stem"):
        return zoo.load(case.start)
    backbone = zoo.load(PATTERNS)
    if case.start == "dead stem":  # no ReLU behind it ever fires
        nn.init.constant_(backbone.model.bn1.bias, -20.0)
        return backbone
    return replace(backbone, preprocess=Spoiled(backbone.preprocess, case.start))


# -- the truth --------------------------------------------------------------------


def true_gain(case, draws=DRAWS, steps=STEPS):
    """Interval of the gain: best way from the start minus best from random weights.

    A ridge classifier on all stages side by side, and all layers trained by a loop of
    its own; other draws and seeds than those of the diagnosis.  Each side has its best
    way by these very test examples, which favours neither.
    """
    data = examples(case.target)
    reached = {}
    for side in ("start", "random"):
        ways = {"probe": [], "trained": []}
        for seed in range(draws):
            own = start_of(case)
            if side == "random":
                own = zoo.load(case.start, seed=500 + seed, pretrained=False)
            train, test = drawn(data, case.labels, 100 + seed)
            ways["probe"].append(probed(own, train, test))
            ways["trained"].append(trained(own, train, test, seed, steps))
        reached[side] = max(ways.values(), key=np.mean)
    return paired_difference(reached["start"], reached["random"])


def drawn(data, labels, seed):
    """(labels examples of each class, 300 others at most)."""
    order = np.random.default_rng(seed).permutation(len(data))
    y = data.labels[order]
    kept = [order[y == k][:labels] for k in range(len(data.classes))]
    train = np.concatenate(kept)
    return data.subset(train), data.subset(np.setdiff1d(order, train)[::2][:300])


def scaled_up(images):
    """Small pictures enlarged, as the command does."""
    if images.shape[1] == SIDE:
        return images
    size, lanczos = (SIDE, SIDE), Image.Resampling.LANCZOS
    return np.stack(
        [np.asarray(Image.fromarray(x).resize(size, lanczos)) for x in images]
    )


def balanced(answers, labels):
    """Balanced accuracy."""
    return training.balanced_accuracy(np.asarray(answers), labels)


def probed(backbone, train, test):
    """Balanced accuracy of a ridge classifier on all stages side by side."""
    X, T = (
        torch.cat(list(probes.pooled(backbone, scaled_up(d.images))[0].values()), 1)
        for d in (train, test)
    )
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 4, 9)))
    return balanced(model.fit(X, train.labels).predict(T), test.labels)


def trained(backbone, train, test, seed, steps):
    """Balanced accuracy after all layers have learned, the last weights kept."""
    backbone.to_classes(len(train.classes), seed)
    generator = torch.Generator().manual_seed(seed)
    net = backbone.model
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, max(steps, 40), pct_start=0.1, cycle_momentum=False
    )
    x = backbone.preprocess(scaled_up(train.images))
    y = torch.as_tensor(train.labels)
    net.train()
    for _ in range(steps):
        rows = torch.randperm(len(x), generator=generator)[:32]
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        answers = net(backbone.preprocess(scaled_up(test.images))).argmax(1)
    return balanced(answers.numpy(), test.labels)


FILES = (
    "spectrograms.npz",
    "wafer_maps.npz",
    "near_duplicates.npz",
    "assets/solar-cells",
    "assets/series",
    "assets/opinions",
)


@experiment(
    "unseen_truth",
    grid=[dict(case=name) for name in TO_MEASURE],
    sample=[dict(case="photographs, patterns")],
    short=[dict(case="photographs, patterns", fraction=0.05)],
    tolerance={"gain": 0.05},
    models=(PATTERNS, SHORT),
    data=("assets/solar-cells", "assets/series"),
)
def unseen_truth(case, fraction=1.0):
    """What a case truly is; a short cell makes two draws of few updates."""
    draws = DRAWS if fraction == 1 else 2
    gain = true_gain(CASES[case], draws, results.updates(STEPS, fraction))
    if fraction < 1:
        return {"gain": gain.mean}
    return {"gain": gain.mean, "low": gain.low, "high": gain.high}


# -- the diagnosis ----------------------------------------------------------------


def said_of(backbone, samples, settings):
    """What the diagnosis says, as numbers; kind: its place in KINDS."""
    with tempfile.TemporaryDirectory() as folder:
        found = diagnose(backbone, samples, settings, folder=folder, progress=False)
    gain = found.gains["transfer"]
    return {
        "gain": gain["mean"],
        "low": gain["low"],
        "high": gain["high"],
        "kind": KINDS.index(found.kind),
        "updates": found.plan["steps"],
        "repeats": found.plan["repeats"],
        "seconds": found.seconds["total"],
    }


KINDS = ("helps", "hurts", "no difference", "no evidence")


@experiment(
    "unseen_cases",
    grid=[dict(case=name) for name in CASES],
    sample=[dict(case="photographs, patterns")],
    short=[dict(case="photographs, patterns", fraction=0.05)],
    tolerance={"gain": 0.1},
    models=(PATTERNS, SHORT, SPECTROGRAMS, MAPS),
    data=FILES,
)
def unseen_cases(case, fraction=1.0):
    """What the diagnosis says of one case, by its smallest plan or at all defaults."""
    planted = CASES[case]
    if planted.labels is None:
        return at_defaults(case)
    settings = Settings(labels_per_class=planted.labels, minutes=SMALLEST)
    if fraction < 1:
        settings = replace(settings, steps=2, repeats=(2, 2))
    return said_of(start_of(planted), examples(planted.target), settings)


def at_defaults(case):
    """What the diagnosis says of a case at all defaults, as `course diagnose` does.

    The target has a test part of its own, and pictures are read at the size that the
    command takes.
    """
    start, target = start_of(CASES[case]), CASES[case].target
    if target == "all cells":
        start, size = modalities.sized(start)
        parts = [solar_cells.load(split, size=size) for split in ("train", "test")]
    else:
        parts = [datasets.load("opinions/products", s) for s in ("train", "test")]
    return said_of(start, Samples(*map(bare, parts)), Settings())


# -- judged -----------------------------------------------------------------------


def truths():
    """{case: (truth, gain, half width)}; by construction there are no numbers."""
    found = {}
    measured = {row["case"]: row for row in results.load("unseen_truth")}
    for name, case in CASES.items():
        if case.truth in (HELPS, HURTS, NEITHER):
            found[name] = (case.truth, None, None)
            continue
        if case.truth == MEASURED and name not in measured:
            found[name] = ("open", None, None)
            continue
        if case.truth == MEASURED:
            row = measured[name]
            gain, low, high = (row[key] for key in ("gain", "low", "high"))
        else:
            gain, low, high, _ = stored_gain(name)
        found[name] = (settled(gain, low, high), gain, (high - low) / 2)
    return found


def stored_gain(name):
    """The interval of an older grid, frozen features against the best without."""
    case = CASES[name]
    if case.truth == "solar_frozen":
        rows = results.load("solar_frozen").select(labels=400)
        ours, theirs = (rows.select(strategy=s) for s in ("frozen", "pixels"))
    else:
        rows = results.load("opinions_frozen")
        rows = rows.select(domain=case.target, labels=case.labels or 400)
        ours, theirs = (rows.select(way=w) for w in ("frozen", "word counts"))
    return ours.minus(theirs)


def settled(gain, low, high):
    """The truth by the rule at the top."""
    if abs(gain) <= MARGIN:
        return NEITHER
    return HELPS if low > 0 else HURTS if high < 0 else "open"


def judged(truth, kind):
    """ "right", "undecided" or "wrong", by the rule at the top."""
    if kind == "no evidence" or truth == "open":
        return "undecided"
    said = {"no difference": NEITHER}.get(kind, kind)
    return "right" if said == truth else "wrong"


def table():
    """One dict a case, in the order set beforehand; only cases that were run."""
    run, known = {row["case"]: row for row in results.load("unseen_cases")}, truths()
    found = []
    for name in CASES:
        if name not in run:
            continue
        truth, gain, half = known[name]
        kind = KINDS[int(run[name]["kind"])]
        one = dict(truth=truth, true_gain=gain, true_half=half, kind=kind)
        found.append(run[name] | one | {"judged": judged(truth, kind)})
    return found
