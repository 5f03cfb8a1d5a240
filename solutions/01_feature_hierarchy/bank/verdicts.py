# %% right: with arrays
def verdicts(trained, random, chance, margin):
    t, r = np.mean(trained, axis=0), np.mean(random, axis=0)
    absent = (t <= chance + margin) & (r <= chance + margin)
    words = np.select(
        [absent, t - r > margin, r - t > margin],
        ["absent", "learned", "discarded"],
        "given",
    )
    return words.tolist()


# %% right: plain Python
def verdicts(trained, random, chance, margin):
    def means(table):
        return [sum(column) / len(column) for column in zip(*table.tolist())]

    def one(t, r):
        if t - chance <= margin and r - chance <= margin:
            return "absent"
        if abs(t - r) <= margin:
            return "given"
        return "learned" if t > r else "discarded"

    return [one(t, r) for t, r in zip(means(trained), means(random))]


# %% wrong: against guessing -> chance
def verdicts(trained, random, chance, margin):
    t = trained.mean(0)
    return ["learned" if x > chance + margin else "absent" for x in t]


# %% wrong: the wrong way round -> swapped
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("discarded" if t > r else "learned")
    return found


# %% wrong: no look at chance -> absent
def verdicts(trained, random, chance, margin):
    found = []
    for d in trained.mean(0) - random.mean(0):
        found.append(
            "given" if abs(d) <= margin else "learned" if d > 0 else "discarded"
        )
    return found


# %% wrong: absent when the trained network guesses -> both
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if t <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: against the best random run -> mean
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.max(0)):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: only the first runs -> mean
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained[0], random[0]):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: any difference counts -> margin
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if max(t, r) <= chance:
            found.append("absent")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: a verdict for each split -> stages
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(1), random.mean(1)):
        found.append("learned" if t > r + margin else "given")
    return found


# %% wrong: one verdict for the network -> stages
def verdicts(trained, random, chance, margin):
    return "learned" if trained.mean() > random.mean() + margin else "given"


# %% wrong: absent and given mixed up -> verdict
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if max(t, r) <= chance + margin:
            found.append("given")
        elif abs(t - r) <= margin:
            found.append("absent")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: absent when the trained one alone is at chance -> both
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if t - chance <= margin:
            found.append("absent")
        elif t - r > margin:
            found.append("learned")
        elif r - t > margin:
            found.append("discarded")
        else:
            found.append("given")
    return found


# %% wrong: the best runs are compared -> absent
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.max(0), random.max(0)):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif t > r + margin:
            found.append("learned")
        elif r > t + margin:
            found.append("discarded")
        else:
            found.append("given")
    return found


# %% wrong: no margin between trained and random -> verdict
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif t > r:
            found.append("learned")
        elif r > t:
            found.append("discarded")
        else:
            found.append("given")
    return found


# %% wrong: medians -> mean
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(np.median(trained, 0), np.median(random, 0)):
        if max(t, r) <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: a margin of its own -> absent
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if max(t, r) <= chance + 0.05:
            found.append("absent")
        elif abs(t - r) <= 0.05:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found


# %% wrong: the mean of both against chance -> verdict
def verdicts(trained, random, chance, margin):
    found = []
    for t, r in zip(trained.mean(0), random.mean(0)):
        if (t + r) / 2 <= chance + margin:
            found.append("absent")
        elif abs(t - r) <= margin:
            found.append("given")
        else:
            found.append("learned" if t > r else "discarded")
    return found
