# %% right: with numpy
def choose_strategy(rows, labels, slack):
    import numpy as np

    rows = [r for r in rows if r[1] == labels]
    names = sorted({r[0] for r in rows})
    acc = {n: np.mean([r[2] for r in rows if r[0] == n]) for n in names}
    cost = {n: np.mean([r[3] for r in rows if r[0] == n]) for n in names}
    best = max(acc.values())
    return min((cost[n], n) for n in names if acc[n] + slack >= best)[1]


# %% right: sorted by cost
def choose_strategy(rows, labels, slack):
    table = {}
    for name, n, accuracy, cost in rows:
        if n == labels:
            entry = table.setdefault(name, [0, 0.0, 0.0])
            entry[0] += 1
            entry[1] += accuracy
            entry[2] += cost
    best = max(a / k for k, a, c in table.values())
    for name in sorted(table, key=lambda x: table[x][2] / table[x][0]):
        if best - table[name][1] / table[name][0] <= slack:
            return name


# %% wrong: the best -> slack
def choose_strategy(rows, labels, slack):
    names = {r[0] for r in rows if r[1] == labels}
    mean = {}
    for n in names:
        own = [r[2] for r in rows if r[0] == n and r[1] == labels]
        mean[n] = sum(own) / len(own)
    return max(mean, key=mean.get)


# %% wrong: the cheapest -> cheapest
def choose_strategy(rows, labels, slack):
    return min((r for r in rows if r[1] == labels), key=lambda r: r[3])[0]


# %% wrong: single seeds -> average
def choose_strategy(rows, labels, slack):
    rows = [r for r in rows if r[1] == labels]
    top = {}
    for name, _, accuracy, cost in rows:
        top[name] = max(top.get(name, (0, 0)), (accuracy, cost))
    best = max(a for a, _ in top.values()) - 0.04
    return min((c, n) for n, (a, c) in top.items() if a >= best - slack)[1]


# %% wrong: nothing is returned -> choice
def choose_strategy(rows, labels, slack):
    best = max(r[2] for r in rows)
    [r[0] for r in rows if r[2] >= best - slack]


# %% wrong: the row in place of the name -> choice
def choose_strategy(rows, labels, slack):
    return max((r for r in rows if r[1] == labels), key=lambda r: r[2])


# %% wrong: the worst -> cheapest
def choose_strategy(rows, labels, slack):
    return min((r for r in rows if r[1] == labels), key=lambda r: r[2])[0]


# %% wrong: all numbers of labels -> labels
def choose_strategy(rows, labels, slack):
    acc, cost = {}, {}
    for name, _, a, c in rows:
        acc.setdefault(name, []).append(a)
        cost.setdefault(name, []).append(c)
    acc = {n: sum(v) / len(v) for n, v in acc.items()}
    best = max(acc.values())
    near = [n for n in acc if acc[n] >= best - slack]
    return min(near, key=lambda n: sum(cost[n]) / len(cost[n]))


# %% wrong: total cost in place of the mean -> slack
def choose_strategy(rows, labels, slack):
    own = [r for r in rows if r[1] == labels]
    acc, cost = {}, {}
    for name, _, a, c in own:
        acc.setdefault(name, []).append(a)
        cost[name] = cost.get(name, 0) + c
    mean = {k: sum(v) / len(v) for k, v in acc.items()}
    best = max(mean.values())
    return min((k for k in mean if mean[k] >= best - slack), key=cost.get)


# %% wrong: the slack is a share of the best -> choice
def choose_strategy(rows, labels, slack):
    own = [r for r in rows if r[1] == labels]
    acc, cost = {}, {}
    for name, _, a, c in own:
        acc.setdefault(name, []).append(a)
        cost.setdefault(name, []).append(c)
    mean = {k: sum(v) / len(v) for k, v in acc.items()}
    best = max(mean.values())
    good = [k for k in mean if mean[k] >= best * (1 - slack)]
    return min(good, key=lambda k: sum(cost[k]) / len(cost[k]))


# %% wrong: the last seed overwrites the others -> average
def choose_strategy(rows, labels, slack):
    table = {r[0]: (r[2], r[3]) for r in rows if r[1] == labels}
    best = max(a for a, _ in table.values())
    return min(
        (k for k in table if table[k][0] >= best - slack), key=lambda k: table[k][1]
    )


# %% wrong: the cheapest single run -> cost
def choose_strategy(rows, labels, slack):
    by = {}
    for name, n, accuracy, cost in rows:
        if n == labels:
            by.setdefault(name, []).append((accuracy, cost))
    mean = {s: sum(a for a, _ in runs) / len(runs) for s, runs in by.items()}
    good = [s for s in mean if mean[s] >= max(mean.values()) - slack]
    return min(good, key=lambda s: min(cost for _, cost in by[s]))


# %% wrong: cost over all numbers of labels -> cost
def choose_strategy(rows, labels, slack):
    accuracies, costs = {}, {}
    for name, n, accuracy, cost in rows:
        costs.setdefault(name, []).append(cost)
        if n == labels:
            accuracies.setdefault(name, []).append(accuracy)
    mean = {s: sum(a) / len(a) for s, a in accuracies.items()}
    good = [s for s in mean if mean[s] >= max(mean.values()) - slack]
    return min(good, key=lambda s: sum(costs[s]) / len(costs[s]))


# %% wrong: cost of the last row -> cost
def choose_strategy(rows, labels, slack):
    found = {}
    for strategy, n, accuracy, cost in rows:
        if n == labels:
            found.setdefault(strategy, []).append((accuracy, cost))
    means = {s: sum(a for a, _ in own) / len(own) for s, own in found.items()}
    good = [s for s in means if means[s] >= max(means.values()) - slack]
    return min(good, key=lambda s: found[s][-1][1])


# %% wrong: largest cost -> cost
def choose_strategy(rows, labels, slack):
    found = {}
    for strategy, n, accuracy, cost in rows:
        if n == labels:
            found.setdefault(strategy, []).append((accuracy, cost))
    means = {s: sum(a for a, _ in own) / len(own) for s, own in found.items()}
    good = [s for s in means if means[s] >= max(means.values()) - slack]
    return min(good, key=lambda s: max(c for _, c in found[s]))


# %% wrong: median cost -> cost
def choose_strategy(rows, labels, slack):
    found = {}
    for strategy, n, accuracy, cost in rows:
        if n == labels:
            found.setdefault(strategy, []).append((accuracy, cost))
    means = {s: sum(a for a, _ in own) / len(own) for s, own in found.items()}
    good = [s for s in means if means[s] >= max(means.values()) - slack]
    return min(good, key=lambda s: sorted(c for _, c in found[s])[len(found[s]) // 2])
