"""Does continued masked-word training help?  Four domains of opinions, and the tickets.

Fixed before any cell was scored.  The encoder goes on learning from the unlabelled
texts of its target's training part (tickets: 4,800 of the pool), in batches of 16 of
like length, cut at 40 word pieces.  Then it is frozen, all pieces are read, and a
logistic regression learns from 400 labels in all, or from 50 (the mean over eight parts
of the 400).  Its penalty comes from cross-validation inside these labels.  Each of five
seeds draws the labels, the test texts (800, classes equal) and the new head anew, and
every way shares the labels and test texts of its seed.

Ways: the encoder as it is; a warm head, which learns alone for 120 updates before both
learn for 120; a random head, where both learn from the first of 240.  The rate is the
library's own, 1e-4; no label chose it.

Verdict (C47), by 95 % intervals of warm head minus as it is, with 400 labels: confirmed
where the mean of the five targets lies above zero, and so do four of five and none
below.  Refuted where neither the mean nor any target lies above zero.  Else qualified.
"""

import numpy as np

from course_lib import datasets
from course_lib.lessons import opinions_world, results
from course_lib.lessons.results import experiment
from course_lib.methods import self_supervised
from course_lib.models import features, zoo

FILES = (*opinions_world.FILES, "tickets.csv")
TARGETS = (*opinions_world.DOMAINS, "tickets")
SEEDS = range(5)
LABELS, FEW, TESTED, POOL = 400, 50, 800, 4_800  # of all classes together
LONGEST = 40  # word pieces while the encoder learns
STEPS, RATE = 240, 1e-4
WAYS = {  # updates, and how many of them train the head alone
    "as it is": dict(steps=0, warm=0, lr=0.0),
    "warm head": dict(steps=STEPS, warm=STEPS // 2, lr=RATE),
    "random head": dict(steps=STEPS, warm=0, lr=RATE),
}


def part(target, split):
    """All labelled texts of a target's split."""
    name = "tickets" if target == "tickets" else f"opinions/{target}"
    return datasets.load(name, split)


def drawn(target, split, n, seed):
    """n labelled texts of a split, as many of each class."""
    data = part(target, split)
    return data.subset(opinions_world.rows(data, n // len(data.classes), seed))


def unlabelled(target, seed):
    """What the encoder may read without a label."""
    if target == "tickets":
        return datasets.load("tickets", "pool", n=POOL, seed=seed).texts
    return opinions_world.unlabelled(target)


def adapted(target, steps, warm, lr, seed):
    """The encoder, and the losses of its updates (nats a hidden piece)."""
    backbone, losses = zoo.load("minilm"), []
    if steps:
        usual, backbone.preprocess.max_length = backbone.preprocess.max_length, LONGEST
        losses = self_supervised.continue_on_texts(
            backbone,
            unlabelled(target, seed),
            steps=steps,
            lr=lr,
            batch_size=16,
            seed=seed,
            warm_head=warm,
            like_length=True,
        )
        backbone.preprocess.max_length = usual
    return backbone, losses


def cells():
    """Every seed of the two ways that decide, then of the mistake."""
    return [
        dict(target=target, seed=seed, **WAYS[way])
        for ways in (("as it is", "warm head"), ("random head",))
        for seed in SEEDS
        for target in TARGETS
        for way in ways
    ]


@experiment(
    "texts_adapted",
    grid=cells(),
    sample=[dict(target="tweets", seed=0, **WAYS["warm head"])],
    short=[dict(target="tweets", seed=0, **WAYS["warm head"], fraction=0.02)],
    tolerance={"accuracy": 0.03, "accuracy_few": 0.03},
    data=FILES,
)
def texts_adapted(target, steps, warm, lr, seed, fraction=1.0):
    """Balanced accuracy on the vectors of one encoder, adapted or as it is."""
    if steps:
        steps, warm = results.updates(steps, fraction), round(warm * fraction)
    backbone, losses = adapted(target, steps, warm, lr, seed)
    less = 1 if fraction == 1 else 4  # a short cell has a quarter of the texts
    train = drawn(target, "train", LABELS // less, seed)
    test = drawn(target, "test", TESTED // less, seed)
    X, T = (features.extract(backbone, data.texts) for data in (train, test))
    every = np.arange(len(X))
    scores = [
        opinions_world.regression(X[at], train.labels[at], T, test.labels, seed)
        for at in (every, *every.reshape(-1, FEW))
    ]
    found = {"accuracy": scores[0], "accuracy_few": float(np.mean(scores[1:]))}
    if losses:
        found["loss"] = float(np.mean(losses[-20:]))
    return found
