# %% right: the library's interval
def ahead(first, second):
    from course_lib.analysis import statistics

    seeds = [s for s in first if s in second]
    if len(seeds) < 2:
        return None, None, "undecided"
    found = statistics.paired_difference(
        [first[s] for s in seeds], [second[s] for s in seeds]
    )
    if found.low > 0:
        return found.low, found.high, "first"
    return found.low, found.high, "second" if found.high < 0 else "undecided"


# %% right: scipy's paired test
def ahead(first, second):
    seeds = list(first.keys() & second.keys())
    if len(seeds) < 2:
        return (None, None, "undecided")
    a, b = ([side[s] for s in seeds] for side in (first, second))
    low, high = map(float, stats.ttest_rel(a, b).confidence_interval(0.95))
    return (low, high, ["undecided", "first", "second"][(low > 0) - (high < 0)])


# %% wrong: 1.96 for every n -> t
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = 1.96 * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: 5 % left on each side -> t
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.95, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: numpy's deviation as it comes -> deviation
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std() / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: the spread of single runs -> root
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1)
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: two separate spreads -> paired
def ahead(first, second):
    seeds = sorted(set(first) & set(second))
    n = len(seeds)
    if n < 2:
        return None, None, "undecided"
    a, b = (np.array([side[s] for s in seeds]) for side in (first, second))
    half = stats.t.ppf(0.975, n - 1) * ((a.var(ddof=1) + b.var(ddof=1)) / n) ** 0.5
    low, high = a.mean() - b.mean() - half, a.mean() - b.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: paired by position -> seeds
def ahead(first, second):
    d = np.array([a - b for a, b in zip(first.values(), second.values())])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: seeds of one side count as 0 -> seeds
def ahead(first, second):
    seeds = set(first) | set(second)
    d = np.array([first.get(s, 0) - second.get(s, 0) for s in seeds])
    if len(set(first) & set(second)) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: second minus first -> sign
def ahead(first, second):
    d = np.array([second[s] - first[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: the higher mean wins -> verdict
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if d.mean() > 0 else "second"


# %% wrong: one common seed gives not a number -> few
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: only the verdict -> triple
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    return "first" if d.mean() > 0 else "second"


# %% wrong: the range of the differences -> interval
def ahead(first, second):
    d = [first[s] - second[s] for s in first if s in second]
    if len(d) < 2:
        return None, None, "undecided"
    low, high = min(d), max(d)
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: normal quantile -> t
def ahead(first, second):
    seeds = sorted(set(first) & set(second))
    if len(seeds) < 2:
        return None, None, "undecided"
    d = np.array([first[s] - second[s] for s in seeds])
    half = stats.norm.ppf(0.975) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: paired by position, written anew -> seeds
def ahead(first, second):
    d = np.array([a - b for a, b in zip(first.values(), second.values())])
    if len(d) < 2:
        return None, None, "undecided"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: the verdict by the mean alone -> verdict
def ahead(first, second):
    seeds = sorted(set(first) & set(second))
    if len(seeds) < 2:
        return None, None, "undecided"
    d = np.array([first[s] - second[s] for s in seeds])
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if d.mean() > 0 else "second"


# %% wrong: two seeds on each side, common or not -> few
def ahead(first, second):
    if min(len(first), len(second)) < 2:
        return None, None, "undecided"
    d = np.array([first[s] - second[s] for s in first if s in second])
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"


# %% wrong: t of three seeds, however many there are -> interval
def ahead(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    if len(d) < 2:
        return None, None, "undecided"
    half = 4.303 * d.std(ddof=1) / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    return low, high, "first" if low > 0 else "second" if high < 0 else "undecided"
