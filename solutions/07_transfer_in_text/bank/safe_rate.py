# %% right: sorted
def safe_rate(rows):
    seeds = sorted({seed for _, seed, _, _ in rows})
    best = None
    for rate in sorted({row[0] for row in rows}):
        own = {row[1]: row[2] for row in rows if row[0] == rate}
        if sorted(own) == seeds:
            mean = sum(own[seed] for seed in seeds) / len(seeds)
            if best is None or mean > best[0]:
                best = (mean, rate)
    return best[1]


# %% right: with numpy
def safe_rate(rows):
    import numpy as np

    rates, seeds = (np.unique([row[i] for row in rows]) for i in (0, 1))
    table = np.full((len(rates), len(seeds)), -np.inf)
    for rate, seed, validation, _ in rows:
        table[np.searchsorted(rates, rate), np.searchsorted(seeds, seed)] = validation
    return float(rates[table.mean(1).argmax()])


# %% wrong: the best run -> incomplete
def safe_rate(rows):
    return max(rows, key=lambda row: row[2])[0]


# %% wrong: the mean of the runs that there are -> incomplete
def safe_rate(rows):
    runs = {}
    for rate, _, validation, _ in rows:
        runs.setdefault(rate, []).append(validation)
    return max(runs, key=lambda rate: (sum(runs[rate]) / len(runs[rate]), -rate))


# %% wrong: the median -> lucky
def safe_rate(rows):
    runs = {}
    for rate, _, validation, _ in rows:
        runs.setdefault(rate, []).append(validation)
    seeds = len({row[1] for row in rows})
    runs = {rate: sorted(own) for rate, own in runs.items() if len(own) == seeds}
    return max(runs, key=lambda rate: (runs[rate][seeds // 2], -rate))


# %% wrong: the best run of those with all seeds -> first seed
def safe_rate(rows):
    runs = {}
    for rate, _, validation, _ in rows:
        runs.setdefault(rate, []).append(validation)
    seeds = len({row[1] for row in rows})
    runs = {rate: max(own) for rate, own in runs.items() if len(own) == seeds}
    return max(runs, key=runs.get)


# %% wrong: by the test set -> test
def safe_rate(rows):
    runs = {}
    for rate, _, _, test in rows:
        runs.setdefault(rate, []).append(test)
    seeds = len({row[1] for row in rows})
    runs = {rate: sum(own) for rate, own in runs.items() if len(own) == seeds}
    return max(runs, key=lambda rate: (runs[rate], -rate))


# %% wrong: the first seed decides -> first seed
def safe_rate(rows):
    seeds = {row[1] for row in rows}
    full = {
        rate
        for rate, *_ in rows
        if {seed for other, seed, *_ in rows if other == rate} == seeds
    }
    return max((v, -r, r) for r, seed, v, _ in rows if seed == 0 and r in full)[2]


# %% wrong: of equal ones the largest -> tie
def safe_rate(rows):
    runs = {}
    for rate, seed, validation, _ in rows:
        runs.setdefault(rate, {})[seed] = validation
    seeds = len({row[1] for row in rows})
    runs = {rate: sum(own.values()) for rate, own in runs.items() if len(own) == seeds}
    return max(runs, key=lambda rate: (runs[rate], rate))


# %% wrong: the worst mean -> rate
def safe_rate(rows):
    runs = {}
    for rate, _, validation, _ in rows:
        runs.setdefault(rate, []).append(validation)
    seeds = len({row[1] for row in rows})
    runs = {rate: sum(own) for rate, own in runs.items() if len(own) == seeds}
    return min(runs, key=runs.get)


# %% wrong: the mean in place of the rate -> rate
def safe_rate(rows):
    return sum(row[2] for row in rows) / len(rows)


# %% wrong: equal means, the largest rate -> tie
def safe_rate(rows):
    seeds = {r[1] for r in rows}
    by = {}
    for rate, seed, val, _ in rows:
        by.setdefault(rate, {})[seed] = val
    full = {r: sum(v.values()) / len(v) for r, v in by.items() if set(v) == seeds}
    return max(full, key=lambda r: (full[r], r))


# %% wrong: the best worst seed -> rate
def safe_rate(rows):
    seeds = {r[1] for r in rows}
    by = {}
    for rate, seed, val, _ in rows:
        by.setdefault(rate, {})[seed] = val
    full = {r: min(v.values()) for r, v in by.items() if set(v) == seeds}
    return max(sorted(full), key=full.get)


# %% wrong: as many runs as there are seeds, the test mean -> test
def safe_rate(rows):
    seeds = {r[1] for r in rows}
    by = {}
    for rate, seed, _, test in rows:
        by.setdefault(rate, {})[seed] = test
    full = {r: sum(v.values()) / len(v) for r, v in by.items() if set(v) == seeds}
    return max(sorted(full), key=full.get)


# %% wrong: of equal ones the first in the rows -> tie
def safe_rate(rows):
    seeds = {row[1] for row in rows}
    runs = {}
    for rate, seed, validation, _ in rows:
        runs.setdefault(rate, {})[seed] = validation
    whole = [rate for rate in runs if set(runs[rate]) == seeds]
    return max(whole, key=lambda rate: sum(runs[rate].values()))


# %% wrong: of equal ones the last in the rows -> tie
def safe_rate(rows):
    seeds = {row[1] for row in rows}
    runs, best = {}, None
    for rate, seed, validation, _ in rows:
        runs.setdefault(rate, {})[seed] = validation
    for rate, own in runs.items():
        if set(own) == seeds:
            mean = sum(own.values()) / len(own)
            if best is None or mean >= best[0]:
                best = mean, rate
    return best[1]


# %% wrong: two seeds are enough -> incomplete
def safe_rate(rows):
    runs = {}
    for rate, seed, validation, _ in rows:
        runs.setdefault(rate, {})[seed] = validation
    means = {r: sum(o.values()) / len(o) for r, o in runs.items() if len(o) >= 2}
    return min(means, key=lambda rate: (-means[rate], rate))
