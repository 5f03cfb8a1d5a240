# %% right: with numpy, as a table
def compare(rows, first, second, t):
    import numpy as np

    tests = {}
    for method in (first, second):
        own = [row[1:] for row in rows if row[0] == method]
        rates, seeds = (sorted({row[i] for row in own}) for i in (0, 1))
        table = {(rate, seed): scores for rate, seed, *scores in own}
        validation = [np.mean([table[r, s][0] for s in seeds]) for r in rates]
        place = int(np.argmax(validation))
        if place == 0 or place == len(rates) - 1:
            return "untuned"
        tests[method] = np.array([table[rates[place], s][1] for s in seeds])
    delta = tests[first] - tests[second]
    half = t * delta.std(ddof=1) / np.sqrt(len(delta))
    low, high = delta.mean() - half, delta.mean() + half
    return first if low > 0 else second if high < 0 else "open"


# %% right: with the statistics module
def compare(rows, first, second, t):
    from statistics import mean, stdev

    def at_best(method):
        runs = {}
        for name, rate, seed, validation, test in rows:
            if name == method:
                runs.setdefault(rate, {})[seed] = (validation, test)
        order = sorted(runs, key=lambda r: mean(v for v, _ in runs[r].values()))
        inside = min(runs) < order[-1] < max(runs)
        return {s: test for s, (_, test) in runs[order[-1]].items()} if inside else None

    a, b = at_best(first), at_best(second)
    if a is None or b is None:
        return "untuned"
    deltas = [a[seed] - b[seed] for seed in a]
    statistic = mean(deltas) / (stdev(deltas) / len(deltas) ** 0.5)
    if abs(statistic) <= t:
        return "open"
    return (second, first)[statistic > 0]


# %% wrong: second minus first -> way
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        tests.append(np.array([row[4] for row in sorted(runs[best], key=str)]))
    delta = tests[1] - tests[0]
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: the best of all methods -> way
def compare(rows, first, second, t):
    return max(rows, key=lambda row: row[3] + row[4])[0]


# %% wrong: the rate chosen by the test set -> test
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method, column=4)
        if best in (min(runs), max(runs)):
            return "untuned"
        own = sorted(runs[best], key=lambda row: row[2])
        tests.append(np.array([row[4] for row in own]))
    delta = tests[0] - tests[1]
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: the higher mean -> open
def compare(rows, first, second, t):
    means = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        means.append(sum(row[4] for row in runs[best]))
    return first if means[0] > means[1] else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: one rate for both -> common
def compare(rows, first, second, t):
    import numpy as np

    runs, best = by_rate(rows, first)
    other, _ = by_rate(rows, second)
    if best in (min(runs), max(runs)):
        return "untuned"
    a, b = (
        np.array([row[4] for row in sorted(own[best], key=lambda row: row[2])])
        for own in (runs, other)
    )
    delta = a - b
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: edges are not looked at -> edge
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        own = sorted(runs[best], key=lambda row: row[2])
        tests.append(np.array([row[4] for row in own]))
    delta = tests[0] - tests[1]
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: only the first method's edges -> edge
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if method == first and best in (min(runs), max(runs)):
            return "untuned"
        own = sorted(runs[best], key=lambda row: row[2])
        tests.append(np.array([row[4] for row in own]))
    delta = tests[0] - tests[1]
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: n below the line -> narrow
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        own = sorted(runs[best], key=lambda row: row[2])
        tests.append(np.array([row[4] for row in own]))
    delta = tests[0] - tests[1]
    half = t * delta.std() / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: not divided by the root of n -> wide
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        own = sorted(runs[best], key=lambda row: row[2])
        tests.append(np.array([row[4] for row in own]))
    delta = tests[0] - tests[1]
    half = t * delta.std(ddof=1)
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: two separate deviations -> paired
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        tests.append(np.array([row[4] for row in runs[best]]))
    delta = tests[0].mean() - tests[1].mean()
    half = t * (sum(v.var(ddof=1) for v in tests) / len(tests[0])) ** 0.5
    return "open" if abs(delta) <= half else first if delta > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: paired by the order of the rows -> paired
def compare(rows, first, second, t):
    import numpy as np

    tests = []
    for method in (first, second):
        runs, best = by_rate(rows, method)
        if best in (min(runs), max(runs)):
            return "untuned"
        tests.append(np.array([row[4] for row in runs[best]]))
    delta = tests[0] - tests[1]
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if abs(delta.mean()) <= half:
        return "open"
    return first if delta.mean() > 0 else second


def by_rate(rows, method, column=3):
    runs = {}
    for row in rows:
        if row[0] == method:
            runs.setdefault(row[1], []).append(row)
    return runs, max(runs, key=lambda rate: sum(row[column] for row in runs[rate]))


# %% wrong: n below the line of the deviation -> narrow
def compare(rows, first, second, t):
    tests = []
    for method in (first, second):
        own = [r for r in rows if r[0] == method]
        rates = sorted({r[1] for r in own})
        best = max(rates, key=lambda x: sum(r[3] for r in own if r[1] == x))
        if best in (rates[0], rates[-1]):
            return "untuned"
        tests.append({r[2]: r[4] for r in own if r[1] == best})
    d = [tests[0][s] - tests[1][s] for s in sorted(tests[0])]
    n = len(d)
    mean = sum(d) / n
    half = t * (sum((x - mean) ** 2 for x in d) / n) ** 0.5 / n**0.5
    return "open" if abs(mean) <= half else first if mean > 0 else second


# %% wrong: edges of all rates together -> edge
def compare(rows, first, second, t):
    rates = sorted({r[1] for r in rows})
    tests = []
    for method in (first, second):
        own = [r for r in rows if r[0] == method]
        mine = sorted({r[1] for r in own})
        best = max(mine, key=lambda x: sum(r[3] for r in own if r[1] == x))
        if best in (rates[0], rates[-1]):
            return "untuned"
        tests.append({r[2]: r[4] for r in own if r[1] == best})
    d = [tests[0][s] - tests[1][s] for s in sorted(tests[0])]
    n = len(d)
    mean = sum(d) / n
    half = t * (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5 / n**0.5
    return "open" if abs(mean) <= half else first if mean > 0 else second


# %% wrong: only the first method is looked at for edges -> edge
def compare(rows, first, second, t):
    tests = []
    for method in (first, second):
        own = [r for r in rows if r[0] == method]
        rates = sorted({r[1] for r in own})
        best = max(rates, key=lambda x: sum(r[3] for r in own if r[1] == x))
        if method == first and best in (rates[0], rates[-1]):
            return "untuned"
        tests.append({r[2]: r[4] for r in own if r[1] == best})
    d = [tests[0][s] - tests[1][s] for s in sorted(tests[0])]
    n = len(d)
    mean = sum(d) / n
    half = t * (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5 / n**0.5
    return "open" if abs(mean) <= half else first if mean > 0 else second


# %% wrong: only the smallest rate is an edge -> edge
def compare(rows, first, second, t):
    chosen = []
    for method in (first, second):
        runs = {}
        for name, rate, seed, validation, test in rows:
            if name == method:
                runs.setdefault(rate, []).append((seed, validation, test))
        best = max(runs, key=lambda rate: sum(run[1] for run in runs[rate]))
        if best == min(runs):
            return "untuned"
        tests = [test for _, _, test in sorted(runs[best])]
        chosen.append(torch.tensor(tests, dtype=torch.float64))
    delta = chosen[0] - chosen[1]
    if abs(delta.mean()) <= t * delta.std() / len(delta) ** 0.5:
        return "open"
    return first if delta.mean() > 0 else second


# %% wrong: only the second method is asked for an edge -> edge
def compare(rows, first, second, t):
    chosen = []
    for method in (first, second):
        runs = {}
        for name, rate, seed, validation, test in rows:
            if name == method:
                runs.setdefault(rate, []).append((seed, validation, test))
        best = max(runs, key=lambda rate: sum(run[1] for run in runs[rate]))
        if method == second and best in (min(runs), max(runs)):
            return "untuned"
        tests = [test for _, _, test in sorted(runs[best])]
        chosen.append(torch.tensor(tests, dtype=torch.float64))
    delta = chosen[0] - chosen[1]
    if abs(delta.mean()) <= t * delta.std() / len(delta) ** 0.5:
        return "open"
    return first if delta.mean() > 0 else second
