# %% right: sets and lists
def test_rows(labels, wafers, share, seed):
    rng = np.random.default_rng(seed)
    of = {}
    for label, wafer in zip(labels.tolist(), wafers.tolist()):
        of.setdefault(label, set()).add(wafer)
    chosen = set()
    for label in sorted(of):
        names = sorted(of[label])
        rng.shuffle(names)
        chosen |= set(names[: max(round(share * len(names)), 1)])
    return [i for i, wafer in enumerate(wafers.tolist()) if wafer in chosen]


# %% right: choice without replacement
def test_rows(labels, wafers, share, seed):
    rng, rows = np.random.default_rng(seed), []
    for c in sorted(set(labels.tolist())):
        names = np.unique(wafers[labels == c])
        n = max(1, int(np.round(share * names.size)))
        picked = rng.choice(names, n, replace=False)
        rows += np.where(np.isin(wafers, picked))[0].tolist()
    return np.array(sorted(rows))


# %% wrong: by picture -> leak
def test_rows(labels, wafers, share, seed):
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(order[: round(share * len(labels))])


# %% wrong: by picture, stratified -> leak
def test_rows(labels, wafers, share, seed):
    rng, rows = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == c))
        rows.extend(own[: max(1, round(share * len(own)))])
    return np.sort(rows)


# %% wrong: one picture of each wafer -> rows
def test_rows(labels, wafers, share, seed):
    rng, rows = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        for wafer in rng.permutation(own)[: max(1, round(share * len(own)))]:
            rows.append(np.flatnonzero(wafers == wafer)[0])
    return np.sort(rows)


# %% wrong: by wafer, not by class -> classes
def test_rows(labels, wafers, share, seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(wafers))
    return np.flatnonzero(np.isin(wafers, names[: round(share * len(names))]))


# %% wrong: as many wafers as pictures are wanted -> pictures
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        n = max(1, round(share * (labels == c).sum()))
        chosen.extend(rng.permutation(own)[:n])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: rare classes left out -> one
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(rng.permutation(own)[: round(share * len(own))])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: always down -> rounded
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(rng.permutation(own)[: max(1, int(share * len(own)))])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: the training part -> training
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(rng.permutation(own)[: max(1, round(share * len(own)))])
    return np.flatnonzero(~np.isin(wafers, chosen))


# %% wrong: the first wafers -> random
def test_rows(labels, wafers, share, seed):
    chosen = []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(own[: max(1, round(share * len(own)))])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: always the same seed -> random
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(0), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(rng.permutation(own)[: max(1, round(share * len(own)))])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: the global generator -> seed
def test_rows(labels, wafers, share, seed):
    chosen = []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(np.random.permutation(own)[: max(1, round(share * len(own)))])
    return np.flatnonzero(np.isin(wafers, chosen))


# %% wrong: a mask -> positions
def test_rows(labels, wafers, share, seed):
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        chosen.extend(rng.permutation(own)[: max(1, round(share * len(own)))])
    return np.isin(wafers, chosen)


# %% wrong: the share of all wafers, not class by class -> classes
def test_rows(labels, wafers, share, seed):
    names = np.unique(wafers)
    n = max(1, round(share * len(names)))
    drawn = np.random.default_rng(seed).choice(names, n, replace=False)
    return np.flatnonzero(np.isin(wafers, drawn))


# %% wrong: rounded up -> rounded
def test_rows(labels, wafers, share, seed):
    rng, drawn = np.random.default_rng(seed), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        drawn += list(rng.choice(own, int(np.ceil(share * len(own))), replace=False))
    return np.flatnonzero(np.isin(wafers, drawn))


# %% wrong: the generator is made anew without the seed -> seed
def test_rows(labels, wafers, share, seed):
    rng, drawn = np.random.default_rng(), []
    for c in np.unique(labels):
        own = np.unique(wafers[labels == c])
        n = max(1, round(share * len(own)))
        drawn += list(rng.choice(own, n, replace=False))
    return np.flatnonzero(np.isin(wafers, drawn))


# %% wrong: class by class, not sorted -> positions
def test_rows(labels, wafers, share, seed):
    rng, rows = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = np.unique(wafers[labels == label])
        chosen = rng.permutation(own)[: max(1, round(share * len(own)))]
        rows.extend(np.flatnonzero(np.isin(wafers, chosen)))
    return np.array(rows)
