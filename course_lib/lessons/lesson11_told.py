"""Lesson 11: are the real world's shifts told, and which kind are they said to be?

Frozen features as in `lesson11_real`, a regression of the first domain as predictor,
and no label of the second.  Three cases whose truth is known:

    none       other examples of the same domain, in the same mix: the control
    mix        other examples of the same domain, one in five of class 1: label shift
    elsewhere  examples of another domain, in the same mix: the inputs differ

Rule, written before anything was computed.  Ten draws, fewer where the time is up (then
the first ones count), level 0.01 for the distance (MMD, by permutation) and for the
chain `shift.examine`.  A pair is *seen* by a test if it rejects in nine tenths of the
draws.  It is *told* if the chain says the right kind and no other: covariate shift
elsewhere, label shift for the mix, nothing for the control.  The draws overlap, so
counts are given and no interval.  If a test rejects in more than one in twenty of the
controls, its other counts are not to be read.  Not asked: concept shift, which needs
labels of the second domain.  Some mono cells are near-duplicates, and halves of one
kind share them: that makes halves more alike than other modules would be.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from course_lib.analysis import distances, shift
from course_lib.lessons import lesson11_real
from course_lib.lessons.lesson11_real import CELLS, TEXTS, drawn, vectors
from course_lib.lessons.results import experiment

SIZES = {"texts": (120, 100, 100), "cells": (68, 60, 60)}  # fit, held out, second; each
RARE = 4  # times as many of class 0 as of class 1 in another mix
LEVEL = 0.01
RIGHT = {"none": (), "mix": ("label shift",), "elsewhere": ("covariate shift",)}


def case(source, target, mix):
    """The case that a row of the grid is of: a key of RIGHT."""
    return "elsewhere" if source != target else "mix" if mix else "none"


@experiment(
    "told_apart",
    grid=[
        dict(source=s, target=t, mix=mix, seed=seed)
        for seed in range(10)
        for group in (TEXTS, CELLS)
        for s in group
        for t in group
        for mix in (False, True)
        if s == t or not mix
    ],
    sample=[
        dict(source="films", target="films", mix=True, seed=0),
        dict(source="films", target="tweets", mix=False, seed=0),
    ],
    tolerance={"mmd": 0.002, "apart": 0.03, "fit": 0.03, "share": 0.03},
    data=lesson11_real.FILES,
)
def told_apart(source, target, mix, seed):
    """What the tests say of two sets of examples.

    mmd, apart, fit, share: MMD^2; accuracies of the classifier of the domains, and of
    the one that is left after the mix was corrected; the estimated share of class 1.
    p_...: their p values, p_share that of the predicted classes.  right: does the chain
    say the case's kind; covariate, label: does it say these.
    """
    fit, held, n = SIZES["cells" if source in CELLS else "texts"]
    mine = drawn(source, [fit, held], seed)
    second = (n, n // RARE) if mix else n
    rows = drawn(target, [fit, held, second], seed)[2]
    (X, y), (U, _) = vectors(source, "train"), vectors(target, "train")
    scaler = StandardScaler().fit(X[mine[0]])
    model = LogisticRegression(C=1e-3, max_iter=1000)
    model.fit(scaler.transform(X[mine[0]]), y[mine[0]])
    home, away = (scaler.transform(Z) for Z in (X[mine[1]], U[rows]))
    told, there = model.predict(home), model.predict(away)
    found = shift.examine(
        (home, y[mine[1]], told), (away, there), alpha=LEVEL, seed=seed
    )
    mmd, p_mmd = distances.mmd_test(home, away, seed=seed)
    tests = {one.test: one for one in found.evidence}
    inputs, left = tests["inputs"], tests["label shift fit"]
    numbers = {"mmd": mmd, "p_mmd": p_mmd}
    numbers |= {"apart": inputs.statistic, "p_apart": inputs.p_value}
    if np.isfinite(left.statistic):
        numbers |= {"fit": left.statistic, "p_fit": left.p_value}
    numbers |= {"share": found.proportions[1]}
    numbers |= {"p_share": tests["predicted classes"].p_value}
    return numbers | {
        "right": float(found.kinds == RIGHT[case(source, target, mix)]),
        "covariate": float("covariate shift" in found.kinds),
        "label": float("label shift" in found.kinds),
    }
