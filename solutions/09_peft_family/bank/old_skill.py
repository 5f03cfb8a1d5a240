# %% right: numpy, a table by rate and seed
def old_skill(rows, method, margin, t):
    import numpy as np

    own = [row for row in rows if row["method"] == method]
    rates, seeds = (sorted({row[key] for row in own}) for key in ("lr", "seed"))
    at = {(row["lr"], row["seed"]): row for row in own}
    losses = [np.mean([at[lr, s]["val_loss"] for s in seeds]) for lr in rates]
    place = int(np.argmin(losses))
    if place in (0, len(rates) - 1):
        return "untuned"
    probe = {row["seed"]: row for row in rows if row["method"] == "probe"}
    lost = [probe[s]["source"] - at[rates[place], s]["source"] for s in seeds]
    half = t * np.std(lost, ddof=1) / np.sqrt(len(lost))
    low, high = np.mean(lost) - half, np.mean(lost) + half
    return "kept" if high < margin else "lost" if low > margin else "open"


# %% right: the statistics module
def old_skill(rows, method, margin, t):
    from statistics import mean, stdev

    losses, sources = {}, {}
    for row in rows:
        if row["method"] in (method, "probe"):
            key = row["method"], row["lr"]
            losses.setdefault(key, []).append(row["val_loss"])
            sources.setdefault(key, {})[row["seed"]] = row["source"]
    tried = sorted((lr, mean(x)) for (name, lr), x in losses.items() if name == method)
    best = min(tried, key=lambda one: one[1])
    if best in (tried[0], tried[-1]):
        return "untuned"
    (frozen,) = (found for (name, _), found in sources.items() if name == "probe")
    own = sources[method, best[0]]
    delta = [frozen[seed] - own[seed] for seed in own]
    statistic = (mean(delta) - margin) / (stdev(delta) / len(delta) ** 0.5)
    return "kept" if statistic < -t else "lost" if statistic > t else "open"


# %% right: the course's own grid
def old_skill(rows, method, margin, t):
    from course_lib.lessons import results

    grid = results.Grid(rows)
    rates = sorted({row["lr"] for row in grid.select(method=method)})
    means = [grid.values("val_loss", method=method, lr=lr).mean() for lr in rates]
    best = means.index(min(means))
    if not 0 < best < len(rates) - 1:
        return "untuned"
    own = grid.values("source", method=method, lr=rates[best])
    delta = grid.values("source", method="probe") - own
    half = t * delta.std(ddof=1) / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    if delta.mean() - half > margin:
        return "lost"
    return "open"


# %% wrong: the method minus the frozen encoder -> way
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [row["source"] - frozen[row["seed"]] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: the test accuracy chooses -> rate
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = max(runs, key=lambda lr: sum(row["accuracy"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: the rate that keeps most -> rate
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = max(runs, key=lambda lr: sum(row["source"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: one lucky seed chooses -> mean loss
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: min(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: the highest loss, as if it were an accuracy -> mean loss
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = max(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: edges are not looked at -> edge
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: only the smallest rate is an edge -> edge
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate == min(runs):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: only the largest rate is an edge -> edge
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate == max(runs):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: edges of all rows -> edge
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    tried = [row["lr"] for row in rows]
    if rate in (min(tried), max(tried)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: no loss seen is taken for kept -> ruled out
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    return "lost" if delta.mean() - half > 0 else "kept"


# %% wrong: no loss seen is kept, otherwise the margin -> ruled out
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() - half <= 0:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: the mean alone -> mean
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    return "kept" if delta.mean() < margin else "lost"


# %% wrong: compared with zero -> margin
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < 0:
        return "kept"
    return "lost" if delta.mean() - half > 0 else "open"


# %% wrong: what is not kept is lost -> open
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    return "kept" if delta.mean() + half < margin else "lost"


# %% wrong: what is not lost is kept -> open
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    return "lost" if delta.mean() - half > margin else "kept"


# %% wrong: n below the line of the deviation -> narrow
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std(correction=0) / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: 1.96 for any number of seeds -> narrow
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = 1.96 * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: not divided by the root of n -> wide
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std()
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: paired by the order of the rows -> paired
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [start - row["source"] for start, row in zip(frozen.values(), runs[rate])]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: two separate deviations -> paired
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [frozen[row["seed"]] - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    own = torch.tensor([row["source"] for row in runs[rate]], dtype=torch.float64)
    start = torch.tensor(list(frozen.values()), dtype=torch.float64)
    half = t * ((own.var() + start.var()) / len(delta)) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: the mean of the frozen encoder for every seed -> paired
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    start = sum(frozen.values()) / len(frozen)
    losses = [start - row["source"] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: losses of all rates together -> verdict
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    every = [row for own in runs.values() for row in own]
    losses = [frozen[row["seed"]] - row["source"] for row in every]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: a share of the start -> verdict
def old_skill(rows, method, margin, t):
    frozen, runs = {}, {}
    for row in rows:
        if row["method"] == "probe":
            frozen[row["seed"]] = row["source"]
        elif row["method"] == method:
            runs.setdefault(row["lr"], []).append(row)
    rate = min(runs, key=lambda lr: sum(row["val_loss"] for row in runs[lr]))
    if rate in (min(runs), max(runs)):
        return "untuned"
    losses = [1 - row["source"] / frozen[row["seed"]] for row in runs[rate]]
    delta = torch.tensor(losses, dtype=torch.float64)
    half = t * delta.std() / len(delta) ** 0.5
    if delta.mean() + half < margin:
        return "kept"
    return "lost" if delta.mean() - half > margin else "open"


# %% wrong: a yes or no -> verdict
def old_skill(rows, method, margin, t):
    means = []
    for name in ("probe", method):
        found = [row["source"] for row in rows if row["method"] == name]
        means.append(sum(found) / len(found))
    return means[0] - means[1] < margin
