"""Splits that keep groups together and every stratum near its share."""

from collections.abc import Mapping

import numpy as np


def grouped_split(
    strata, groups, shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """{part: boolean (N,)}: rows of one group are in one part.

    strata (N,): classes that each part should hold in its share; groups (N,): equal
    values stay together; shares: of the parts, which sum to 1.
    """
    strata = np.unique(strata, return_inverse=True)[1]
    parts = dealt(strata, groups, tuple(shares.values()), seed)
    return {name: parts == k for k, name in enumerate(shares)}


def dealt(strata, groups, fractions, seed: int) -> np.ndarray:
    """The part (N,) of each row: whole groups, dealt to the part that lacks most.

    Groups come in a random order, the largest first, and go to the part that lacks
    most of what the group holds, so that every stratum comes near to the fractions.
    """
    rng = np.random.default_rng(seed)
    strata, groups = np.asarray(strata), np.asarray(groups)
    _, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    edges = np.cumsum(np.bincount(inverse))[:-1]
    members = np.split(order, edges)
    members = [members[i] for i in rng.permutation(len(members))]
    members.sort(key=len, reverse=True)  # stable; small groups even out large ones
    n = int(strata.max()) + 1
    wanted = np.outer(fractions, np.bincount(strata, minlength=n))  # (parts, strata)
    missing = wanted.copy()
    parts = np.empty(len(strata), dtype=np.int64)
    for rows in members:
        own = np.bincount(strata[rows], minlength=n)
        lack = (missing / np.maximum(wanted, 1e-9)) @ own  # shares still to come
        part = int(np.argmax(np.round(lack, 9)))
        parts[rows] = part
        missing[part] -= own
    return parts
