# %% right: seed by seed
def choose_rate(rows):
    rates = sorted({rate for rate, *_ in rows})
    seeds = {seed for _, seed, *_ in rows}
    for rate in rates:
        seeds &= {seed for r, seed, *_ in rows if r == rate}

    def means(rate):
        own = [row for row in rows if row[0] == rate and row[1] in seeds]
        return [sum(row[i] for row in own) / len(own) for i in (2, 3)]

    best = max(rates, key=means)
    return best, means(best)[1], rates.index(best) in (0, len(rates) - 1)


# %% right: with a count of rates for each seed
def choose_rate(rows):
    from collections import Counter, defaultdict

    rates = {row[0] for row in rows}
    count = Counter(row[1] for row in rows)
    validation, test = defaultdict(list), defaultdict(list)
    for rate, seed, v, t in rows:
        if count[seed] == len(rates):
            validation[rate].append(v)
            test[rate].append(t)
    best = max(rates, key=lambda rate: math.fsum(validation[rate]))
    edge = best == min(rates) or best == max(rates)
    return best, math.fsum(test[best]) / len(test[best]), edge


# %% wrong: chosen on the test set -> test
def choose_rate(rows):
    rates, mean = {row[0] for row in rows}, {}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))
    for rate in rates:
        own = [t for r, s, _, t in rows if r == rate and s in common]
        mean[rate] = sum(own) / len(own)
    best = max(mean, key=mean.get)
    return best, mean[best], best in (min(mean), max(mean))


# %% wrong: the best single run of the common seeds -> one run
def choose_rate(rows):
    rates = {row[0] for row in rows}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))
    best = max((row for row in rows if row[1] in common), key=lambda row: row[2])
    return best[0], best[3], best[0] in (min(rates), max(rates))


# %% wrong: all seeds, also those of one rate -> common
def choose_rate(rows):
    table = {}
    for rate, _, v, t in rows:
        table.setdefault(rate, []).append((v, t))
    mean = {r: [sum(x) / len(x) for x in zip(*runs)] for r, runs in table.items()}
    best = max(mean, key=lambda rate: mean[rate][0])
    return best, mean[best][1], best in (min(mean), max(mean))


# %% wrong: chosen on common seeds, reported on all -> common
def choose_rate(rows):
    rates = {row[0] for row in rows}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))
    best = max(
        rates,
        key=lambda rate: sum(v for r, s, v, _ in rows if r == rate and s in common),
    )
    own = [t for r, _, _, t in rows if r == best]
    return best, sum(own) / len(own), best in (min(rates), max(rates))


# %% wrong: the validation accuracy reported -> reported
def choose_rate(rows):
    rates = {row[0] for row in rows}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))
    mean = {
        x: sum(v for r, s, v, _ in rows if r == x and s in common) / len(common)
        for x in rates
    }
    best = max(mean, key=mean.get)
    return best, mean[best], best in (min(rates), max(rates))


# %% wrong: edges by the order of the rows -> edge
def choose_rate(rows):
    rates = list(dict.fromkeys(row[0] for row in rows))
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))

    def mean(x, i):
        return sum(r[i] for r in rows if r[0] == x and r[1] in common) / len(common)

    best = max(rates, key=lambda x: mean(x, 2))
    return best, mean(best, 3), best in (rates[0], rates[-1])


# %% wrong: only the highest is an edge -> edge
def choose_rate(rows):
    rates = {row[0] for row in rows}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))

    def mean(x, i):
        return sum(r[i] for r in rows if r[0] == x and r[1] in common) / len(common)

    best = max(rates, key=lambda x: mean(x, 2))
    return best, mean(best, 3), best == max(rates)


# %% wrong: the lowest accuracy -> rate
def choose_rate(rows):
    rates = {row[0] for row in rows}
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))

    def mean(x, i):
        return sum(r[i] for r in rows if r[0] == x and r[1] in common) / len(common)

    best = min(rates, key=lambda x: mean(x, 2))
    return best, mean(best, 3), best in (min(rates), max(rates))


# %% wrong: only the rate -> triple
def choose_rate(rows):
    return max(rows, key=lambda row: row[2])[0]


# %% wrong: the means over all seeds of each rate -> common
def choose_rate(rows):
    rates = sorted({r[0] for r in rows})

    def mean(rate, column):
        own = [r[column] for r in rows if r[0] == rate]
        return sum(own) / len(own)

    best = max(rates, key=lambda rate: mean(rate, 2))
    return best, mean(best, 3), best in (rates[0], rates[-1])


# %% wrong: the edge by order of the rows -> edge
def choose_rate(rows):
    rates = list(dict.fromkeys(r[0] for r in rows))
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))

    def mean(rate, column):
        own = [r[column] for r in rows if r[0] == rate and r[1] in common]
        return sum(own) / len(own)

    best = max(rates, key=lambda rate: mean(rate, 2))
    return best, mean(best, 3), best in (rates[0], rates[-1])


# %% wrong: the test accuracy over all its seeds -> common
def choose_rate(rows):
    rates = sorted({r[0] for r in rows})
    common = set.intersection(*({r[1] for r in rows if r[0] == x} for x in rates))

    def mean(rate, column, seeds):
        own = [r[column] for r in rows if r[0] == rate and r[1] in seeds]
        return sum(own) / len(own)

    best = max(rates, key=lambda rate: mean(rate, 2, common))
    every = {r[1] for r in rows}
    return best, mean(best, 3, every), best in (rates[0], rates[-1])


# %% wrong: only the lowest rate is an edge -> edge
def choose_rate(rows):
    table = {}
    for rate, seed, validation, test in rows:
        table.setdefault(rate, {})[seed] = (validation, test)
    common = set.intersection(*map(set, table.values()))

    def mean(rate, which):
        return sum(table[rate][seed][which] for seed in common) / len(common)

    best = max(table, key=lambda rate: mean(rate, 0))
    return best, mean(best, 1), best == min(table)


# %% wrong: the seeds are 0 and 1 -> raises
def choose_rate(rows):
    table = {}
    for rate, seed, validation, test in rows:
        if seed in (0, 1):
            table.setdefault(rate, {})[seed] = (validation, test)

    def mean(rate, which):
        return sum(run[which] for run in table[rate].values()) / len(table[rate])

    best = max(table, key=lambda rate: mean(rate, 0))
    return best, mean(best, 1), best in (min(table), max(table))
