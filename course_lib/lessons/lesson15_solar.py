"""Lesson 15 on solar cells: LP-FT, WiSE-FT and soups, from one kind to the other.

Set before looking.  A network learns from 100 labelled cells of a class of one kind of
silicon.  It is tested on that kind's test cells (in), on the same cells as another
camera may see them (camera, `lesson16_solar.disturbed`), and on test and validation
cells of the other kind, which nothing is trained or chosen on (out).  Everything behind
Lite0's fifth stage learns, 48 updates of 32, half of the cells mirrored; AdamW, warm-up
then cosine, the weights of the lowest validation loss of four evaluations.

FT begins from a new head, LP-FT from the probe (a linear head fitted on frozen
features, `solar.start`).  Both try the same three rates, and the lowest validation loss
chooses for each seed.  The soup has five members, all from the probe: the three rates,
and the two larger ones with another order of batches and label smoothing.  WiSE-FT goes
from the probe to LP-FT; its alpha is that of the lowest validation loss, too, and 0.5
is looked at as well.  All validation cells are of the kind trained on.

The main measure is the AUROC.  A trial of two updates had shown that a threshold
learned on one kind calls nearly all cells of the other functional, so that a balanced
accuracy of .5 says nothing about the ranking.  Both are stored.

More draws, set when the FIRST six were known and no other: DRAWS by the same rule of
seeds.  At the spread of the six, half a 95 % interval is then at most 2.4 points for
LP-FT minus FT (9 draws would do for 3 points) and 2.6 for a soup minus the run chosen
(10); it is 3.6 for LP minus FT on the other kind (16) and 5.3 for WiSE-FT there (32).
Twelve were made first; WiSE-FT had 4.8 there, so that the 32 were made, too.
All draws count, and ahead or behind means an interval without 0.  C67, in five shifts
(camera, out, three domains of texts): confirmed if LP-FT is ahead of FT in three or
more and behind in none, refuted if it is ahead in none and each interval ends below 3
points, else qualified.  C69, two soups in three places: confirmed if each interval
against the run chosen begins above -3, and so does that of the uniform soup in domain
against the member that was best there in the six, on the draws after them; refuted if a
soup is behind the run chosen in domain; else qualified.
"""

from functools import lru_cache, partial

import numpy as np
import torch

from course_lib.lessons import solar
from course_lib.lessons.lesson15_bench import Bench
from course_lib.lessons.lesson16_solar import disturbed
from course_lib.lessons.results import experiment
from course_lib.methods import merging
from course_lib.models import zoo
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

OTHER = {"mono": "poly", "poly": "mono"}
LABELS, STEPS = 100, 48
RATES = (1e-4, 3e-4, 1e-3)
EXTRA = ((3e-4, 0.1), (1e-3, 0.1))  # more members of the soup: rate, label smoothing
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
SHORT = 24  # cells of each part in a short cell
DRAWS, FIRST = 32, 6
SEEDS = {"mono": range(DRAWS)}


def of_kind(split, kind):
    """Cells of one kind of silicon."""
    data = solar.cells(split)
    return data.subset(np.flatnonzero(data.metadata["kind"] == kind))


def labelled(kind, seed):
    """LABELS training cells of each class, drawn by the seed."""
    data, rng = of_kind("train", kind), np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(data.labels == c))[:LABELS] for c in (0, 1)]
    return data.subset(np.concatenate(drawn))


@lru_cache(maxsize=8)
def held(kind, split, fraction=1.0):
    """(output of the fifth stage, labels) of the cells of one kind of a split.

    split: camera for the test cells as another camera may see them.
    """
    data = of_kind("test" if split == "camera" else split, kind)
    data = data if fraction == 1 else data.take(SHORT, seed=0)
    images = disturbed(data.images, 0) if split == "camera" else data.images
    return lower().run((images, data.labels))


@lru_cache(maxsize=1)
def lower():
    """The frozen stages, which every seed shares."""
    return start(0)[1]


def joined(*parts):
    """Several (inputs, labels) as one."""
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))


def start(seed):
    """(Lite0 with a new head, its stages up to the fifth frozen)."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    return backbone, FrozenStages(
        backbone, solar.BELOW, solar.cells("validation").images
    )


def pooled(upper, stored, batch_size=64):
    """What the classifier reads, (N, 1280)."""
    seen = []
    hook = upper.net.classifier.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    upper.eval()
    with hook, torch.no_grad():
        for first in range(0, len(stored), batch_size):
            upper(stored[first : first + batch_size])
    return torch.cat(seen).numpy()


def bench(kind, seed, fraction=1.0):
    """The network of a seed with its cells."""
    _, stages = start(seed)
    data = labelled(kind, seed)
    data = data if fraction == 1 else data.take(SHORT, seed=0)
    other = (held(OTHER[kind], split, fraction) for split in ("validation", "test"))
    places = {
        "in": held(kind, "test", fraction),
        "out": joined(*other),
        "camera": held(kind, "camera", fraction),
    }
    upper, train = stages.upper, stages.run(data, MIRRORED)
    return Bench(
        upper,
        upper.net.classifier,
        partial(pooled, upper),
        (train, held(kind, "validation", fraction), places),
        steps=STEPS,
        seed=seed,
        fraction=fraction,
    )


@experiment(
    "solar_merging",
    grid=[dict(kind=kind, seed=s) for kind, seeds in SEEDS.items() for s in seeds],
    sample=[dict(kind="mono", seed=0)],
    short=[dict(kind="mono", seed=0, fraction=0.05)],
    tolerance={f"{way} in auroc": 0.03 for way in ("LP", "FT", "LP-FT", "uniform")},
    data=solar.FILES,
)
def solar_merging(kind, seed, fraction=1.0):
    """All ways of one seed, tested in three places.

    A short cell has one rate for all, for after two updates rounding would choose.
    """
    made = bench(kind, seed, fraction)
    rates = RATES if fraction == 1 else RATES[1:2]
    fresh = [made.tuned(made.fresh, lr) for lr in rates]
    members = [made.tuned(made.probe, lr) for lr in rates]
    ft, own = made.best(fresh), made.best(members)
    if fraction == 1:
        members += [made.tuned(made.probe, lr, 1, s) for lr, s in EXTRA]
    numbers = {"ft rate": rates[ft], "lp-ft rate": rates[own]}
    ways = {"LP": [made.probe], "FT": [fresh[ft]], "LP-FT": [members[own]]}
    mixed = {a: merging.interpolate(made.probe, members[own], a) for a in ALPHAS}
    numbers["alpha"] = ALPHAS[made.best(mixed.values())]
    ways |= {f"alpha {alpha:g}": [state] for alpha, state in mixed.items()}
    greedy, kept = merging.greedy_soup(members, lambda state: -made.loss(state))
    uniform = merging.soup(members)
    ways |= {"best member": [members[made.best(members)]], "greedy": [greedy]}
    ways |= {"uniform": [uniform], "refreshed": [made.refreshed(uniform)]}
    ways |= {f"member {i}": [state] for i, state in enumerate(members)}
    for name, states in (ways | {"ensemble": members}).items():
        numbers |= made.tested(name, states)
    return numbers | {"kept": len(kept)}
