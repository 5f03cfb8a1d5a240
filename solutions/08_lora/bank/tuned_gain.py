# %% right: numpy, a table of losses
def tuned_gain(rows, method):
    import numpy as np

    def at_best(name):
        own = [row for row in rows if row["method"] == name]
        rates = sorted({row["lr"] for row in own})
        ran = {lr: {r["seed"] for r in own if r["lr"] == lr} for lr in rates}
        common = set.intersection(*ran.values())
        table = [
            [r["val_loss"] for r in own if r["lr"] == lr and r["seed"] in common]
            for lr in rates
        ]
        lr = rates[int(np.argmin(np.mean(table, axis=1)))]
        return lr, {r["seed"]: r["accuracy"] for r in own if r["lr"] == lr}

    rate, ours = at_best(method)
    _, plain = at_best("lora")
    both = sorted(ours.keys() & plain.keys())
    return rate, float(np.mean([ours[s] - plain[s] for s in both]))


# %% right: counts how many rates each seed ran
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        own = [row for row in rows if row["method"] == name]
        rates = {row["lr"] for row in own}
        loss = dict.fromkeys(rates, 0.0)
        for row in own:
            ran = sum(other["seed"] == row["seed"] for other in own)
            if ran == len(rates):
                loss[row["lr"]] += row["val_loss"]
        lr = sorted(rates, key=lambda rate: loss[rate])[0]
        chosen.append((lr, {r["seed"]: r["accuracy"] for r in own if r["lr"] == lr}))
    (lr, ours), (_, plain) = chosen
    gains = [ours[seed] - plain[seed] for seed in ours if seed in plain]
    return [lr, sum(gains) / len(gains)]


# %% wrong: the test accuracy chooses -> validation
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        by_rate = {}
        for row in rows:
            if row["method"] == name:
                by_rate.setdefault(row["lr"], {})[row["seed"]] = row
        common = set.intersection(*map(set, by_rate.values()))
        score = {
            lr: sum(ran[s]["accuracy"] for s in common) for lr, ran in by_rate.items()
        }
        lr = max(score, key=score.get)
        chosen.append((lr, by_rate[lr]))
    (lr, ours), (_, plain) = chosen
    gains = [ours[s]["accuracy"] - plain[s]["accuracy"] for s in ours if s in plain]
    return lr, sum(gains) / len(gains)


# %% wrong: every rate judged on the seeds that it has -> common seeds
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        by_rate = {}
        for row in rows:
            if row["method"] == name:
                by_rate.setdefault(row["lr"], {})[row["seed"]] = row
        loss = {
            lr: sum(row["val_loss"] for row in ran.values()) / len(ran)
            for lr, ran in by_rate.items()
        }
        lr = min(loss, key=loss.get)
        chosen.append((lr, by_rate[lr]))
    (lr, ours), (_, plain) = chosen
    gains = [ours[s]["accuracy"] - plain[s]["accuracy"] for s in ours if s in plain]
    return lr, sum(gains) / len(gains)


# %% wrong: the single lowest loss chooses -> mean loss
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        own = [row for row in rows if row["method"] == name]
        lr = min(own, key=lambda row: row["val_loss"])["lr"]
        chosen.append((lr, {r["seed"]: r["accuracy"] for r in own if r["lr"] == lr}))
    (lr, ours), (_, plain) = chosen
    gains = [ours[seed] - plain[seed] for seed in ours if seed in plain]
    return lr, sum(gains) / len(gains)


# %% wrong: means of unequal seeds -> pairs
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        by_rate = {}
        for row in rows:
            if row["method"] == name:
                by_rate.setdefault(row["lr"], {})[row["seed"]] = row
        common = set.intersection(*map(set, by_rate.values()))
        loss = {
            lr: sum(ran[s]["val_loss"] for s in common) for lr, ran in by_rate.items()
        }
        lr = min(loss, key=loss.get)
        scores = [row["accuracy"] for row in by_rate[lr].values()]
        chosen.append((lr, sum(scores) / len(scores)))
    return chosen[0][0], chosen[0][1] - chosen[1][1]


# %% wrong: plain LoRA at the rate of the method -> own rate
def tuned_gain(rows, method):
    by_rate = {}
    for row in rows:
        if row["method"] == method:
            by_rate.setdefault(row["lr"], {})[row["seed"]] = row
    common = set.intersection(*map(set, by_rate.values()))
    loss = {lr: sum(ran[s]["val_loss"] for s in common) for lr, ran in by_rate.items()}
    lr = min(loss, key=loss.get)
    plain = {}
    for row in rows:
        if row["method"] == "lora" and row["lr"] == lr:
            plain[row["seed"]] = row["accuracy"]
    ours = by_rate[lr]
    gains = [ours[s]["accuracy"] - plain[s] for s in ours if s in plain]
    return lr, sum(gains) / len(gains) if gains else 0.0


# %% wrong: plain LoRA minus the method -> sign
def tuned_gain(rows, method):
    chosen = []
    for name in (method, "lora"):
        by_rate = {}
        for row in rows:
            if row["method"] == name:
                by_rate.setdefault(row["lr"], {})[row["seed"]] = row
        common = set.intersection(*map(set, by_rate.values()))
        loss = {
            lr: sum(ran[s]["val_loss"] for s in common) for lr, ran in by_rate.items()
        }
        lr = min(loss, key=loss.get)
        chosen.append((lr, by_rate[lr]))
    (lr, ours), (_, plain) = chosen
    gains = [plain[s]["accuracy"] - ours[s]["accuracy"] for s in ours if s in plain]
    return lr, sum(gains) / len(gains)


# %% wrong: the gain alone -> gain
def tuned_gain(rows, method):
    ours, plain = (
        [row["accuracy"] for row in rows if row["method"] == name]
        for name in (method, "lora")
    )
    return sum(ours) / len(ours) - sum(plain) / len(plain)
