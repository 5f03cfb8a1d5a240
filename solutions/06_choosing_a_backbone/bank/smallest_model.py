# %% right: sorted by size
def smallest_model(rows, bar, n):
    for name, _, p, _ in sorted(rows, key=lambda row: row[1]):
        if p - 1.96 * np.sqrt(p * (1 - p) / n) >= bar:
            return name


# %% right: the bar moved to the accuracies
def smallest_model(rows, bar, n):
    p = np.array([row[2] for row in rows])
    safe = p - bar >= 1.96 * (p * (1 - p)) ** 0.5 / n**0.5
    found = [row for row, good in zip(rows, safe) if good]
    return min(found, key=lambda row: row[1])[0] if found else None


# %% wrong: the accuracy itself -> luck
def smallest_model(rows, bar, n):
    found = [(size, name) for name, size, p, _ in rows if p >= bar]
    return min(found)[1] if found else None


# %% wrong: the upper end -> interval
def smallest_model(rows, bar, n):
    found = [
        (size, name)
        for name, size, p, _ in rows
        if p + 1.96 * (p * (1 - p) / n) ** 0.5 >= bar
    ]
    return min(found)[1] if found else None


# %% wrong: one standard error -> interval
def smallest_model(rows, bar, n):
    found = [
        (size, name) for name, size, p, _ in rows if p - (p * (1 - p) / n) ** 0.5 >= bar
    ]
    return min(found)[1] if found else None


# %% wrong: n is not under the root -> luck
def smallest_model(rows, bar, n):
    found = [
        (size, name)
        for name, size, p, _ in rows
        if p - 1.96 * (p * (1 - p)) ** 0.5 / n >= bar
    ]
    return min(found)[1] if found else None


# %% wrong: n forgotten -> interval
def smallest_model(rows, bar, n):
    found = [
        (size, name)
        for name, size, p, _ in rows
        if p - 1.96 * (p * (1 - p)) ** 0.5 >= bar
    ]
    return min(found)[1] if found else None


# %% wrong: by the test set -> test
def smallest_model(rows, bar, n):
    found = [
        (size, name)
        for name, size, _, p in rows
        if p - 1.96 * (p * (1 - p) / n) ** 0.5 >= bar
    ]
    return min(found)[1] if found else None


# %% wrong: the most accurate -> smallest
def smallest_model(rows, bar, n):
    return max(rows, key=lambda row: row[2])[0]


# %% wrong: the smallest of all -> bar
def smallest_model(rows, bar, n):
    return min(rows, key=lambda row: row[1])[0]


# %% wrong: fails when none meets the bar -> none
def smallest_model(rows, bar, n):
    return min(
        (size, name)
        for name, size, p, _ in rows
        if p - 1.96 * (p * (1 - p) / n) ** 0.5 >= bar
    )[1]


# %% wrong: the row -> name
def smallest_model(rows, bar, n):
    found = [row for row in rows if row[2] - 1.96 * (row[2] / n) ** 0.5 / 2 >= bar]
    return min(found, key=lambda row: row[1]) if found else None


# %% wrong: the size -> name
def smallest_model(rows, bar, n):
    found = [
        size for _, size, p, _ in rows if p - 1.96 * (p * (1 - p) / n) ** 0.5 >= bar
    ]
    return min(found) if found else None


# %% wrong: the upper end of the interval -> interval
def smallest_model(rows, bar, n):
    good = [r for r in rows if r[2] + 1.96 * (r[2] * (1 - r[2]) / n) ** 0.5 >= bar]
    return min(good, key=lambda r: r[1])[0] if good else None


# %% wrong: the largest one when none meets the bar -> none
def smallest_model(rows, bar, n):
    good = [r for r in rows if r[2] - 1.96 * (r[2] * (1 - r[2]) / n) ** 0.5 >= bar]
    return (min(good, key=lambda r: r[1]) if good else max(rows, key=lambda r: r[1]))[0]


# %% wrong: the interval of the bar -> test
def smallest_model(rows, bar, n):
    need = bar + 1.96 * (bar * (1 - bar) / n) ** 0.5
    good = [r for r in rows if r[3] >= need]
    return min(good, key=lambda r: r[1])[0] if good else None


# %% wrong: the width at the bar -> its own p
def smallest_model(rows, bar, n):
    meeting = [
        (parameters, name)
        for name, parameters, p, q in rows
        if p - 1.96 * (bar * (1 - bar) / n) ** 0.5 >= bar
    ]
    return min(meeting)[1] if meeting else None


# %% wrong: validation and test must meet it -> interval
def smallest_model(rows, bar, n):
    meeting = [
        (parameters, name)
        for name, parameters, p, q in rows
        if p - 1.96 * (p * (1 - p) / n) ** 0.5 >= bar and q >= bar
    ]
    return min(meeting)[1] if meeting else None
