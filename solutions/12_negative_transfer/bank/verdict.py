# %% right: with scipy's interval
def verdict(ours, theirs):
    from scipy import stats

    d = np.asarray(ours) - np.asarray(theirs)
    low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    half = (high - low) / 2
    if max(abs(low), abs(high)) < 1:
        said = "no difference"
    elif low > 0:
        said = "helps"
    elif high < 0:
        said = "hurts"
    elif half < 2:
        said = "no difference"
    else:
        said = "no evidence"
    return float(d.mean()), float(half), said


# %% right: plain Python
def verdict(ours, theirs):
    d = [float(a) - float(b) for a, b in zip(ours, theirs)]
    R = len(d)
    mean = sum(d) / R
    s = (sum((x - mean) ** 2 for x in d) / (R - 1)) ** 0.5
    half = float(t.ppf(0.975, R - 1)) * s / R**0.5
    narrow = half < 2
    small = mean - half > -1 and mean + half < 1
    if small or (narrow and abs(mean) <= half):
        return mean, half, "no difference"
    if abs(mean) <= half:
        return mean, half, "no evidence"
    return mean, half, "helps" if mean > 0 else "hurts"


# %% wrong: spread of both sides added -> paired
def verdict(ours, theirs):
    R = len(ours)
    mean = np.mean(ours) - np.mean(theirs)
    s = np.sqrt(np.var(ours, ddof=1) + np.var(theirs, ddof=1))
    half = t.ppf(0.975, R - 1) * s / np.sqrt(R)
    return mean, half, "no evidence" if abs(mean) < half else "helps"


# %% wrong: two samples, 2R - 2 degrees of freedom -> paired
def verdict(ours, theirs):
    R = len(ours)
    mean = np.mean(ours) - np.mean(theirs)
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / R)
    half = t.ppf(0.975, 2 * R - 2) * error
    return mean, half, "no evidence" if abs(mean) < half else "helps"


# %% wrong: 1.96 -> quantile
def verdict(ours, theirs):
    d = ours - theirs
    half = 1.96 * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), half, "helps" if d.mean() > half else "no evidence"


# %% wrong: one-sided -> quantile
def verdict(ours, theirs):
    d = ours - theirs
    half = t.ppf(0.95, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), half, "helps" if d.mean() > half else "no evidence"


# %% wrong: NumPy's own deviation -> deviation
def verdict(ours, theirs):
    d = ours - theirs
    half = t.ppf(0.975, len(d) - 1) * d.std() / np.sqrt(len(d))
    return d.mean(), half, "helps" if d.mean() > half else "no evidence"


# %% wrong: not divided by the root -> root
def verdict(ours, theirs):
    d = ours - theirs
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1)
    return d.mean(), half, "helps" if d.mean() > half else "no evidence"


# %% wrong: theirs minus ours -> mean gain
def verdict(ours, theirs):
    d = theirs - ours
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), half, "helps" if d.mean() > half else "no evidence"


# %% wrong: whole width -> width
def verdict(ours, theirs):
    d = ours - theirs
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), 2 * half, "helps" if d.mean() > half else "no evidence"


# %% wrong: every interval beside zero counts -> negligible
def verdict(ours, theirs):
    d = ours - theirs
    mean = d.mean()
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    if mean - half > 0:
        return mean, half, "helps"
    if mean + half < 0:
        return mean, half, "hurts"
    return mean, half, "no difference" if half < 2 else "no evidence"


# %% wrong: covers zero, so no difference -> evidence
def verdict(ours, theirs):
    d = ours - theirs
    mean = d.mean()
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    if abs(mean) < half or abs(mean) + half < 1:
        return mean, half, "no difference"
    return mean, half, "helps" if mean > 0 else "hurts"


# %% wrong: narrow intervals say nothing -> narrow
def verdict(ours, theirs):
    d = ours - theirs
    mean = d.mean()
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    if abs(mean) + half < 1:
        return mean, half, "no difference"
    if abs(mean) < half:
        return mean, half, "no evidence"
    return mean, half, "helps" if mean > 0 else "hurts"


# %% wrong: the sign of the mean -> interval
def verdict(ours, theirs):
    d = ours - theirs
    mean = d.mean()
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    if abs(mean) + half < 1:
        return mean, half, "no difference"
    return mean, half, "helps" if mean > 0 else "hurts"


# %% wrong: other words -> said
def verdict(ours, theirs):
    d = ours - theirs
    mean = d.mean()
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return mean, half, "significant" if abs(mean) > half else "not significant"


# %% wrong: only the words -> three
def verdict(ours, theirs):
    d = ours - theirs
    return ("helps",) if d.mean() > 0 else ("hurts",)


# %% wrong: helps before no difference -> negligible
def verdict(ours, theirs):
    d = np.asarray(ours) - np.asarray(theirs)
    R = len(d)
    half = t.ppf(0.975, R - 1) * d.std(ddof=1) / R**0.5
    mean = d.mean()
    if mean - half > 0:
        word = "helps"
    elif mean + half < 0:
        word = "hurts"
    elif half < 2 or abs(mean) + half < 1:
        word = "no difference"
    else:
        word = "no evidence"
    return mean, half, word


# %% wrong: no evidence whenever zero is inside -> narrow
def verdict(ours, theirs):
    d = np.asarray(ours) - np.asarray(theirs)
    R = len(d)
    half = t.ppf(0.975, R - 1) * d.std(ddof=1) / R**0.5
    mean = d.mean()
    if abs(mean) + half < 1:
        word = "no difference"
    elif mean - half > 0:
        word = "helps"
    elif mean + half < 0:
        word = "hurts"
    else:
        word = "no evidence"
    return mean, half, word


# %% wrong: one-sided quantile -> quantile
def verdict(ours, theirs):
    d = np.asarray(ours) - np.asarray(theirs)
    R = len(d)
    half = t.ppf(0.95, R - 1) * d.std(ddof=1) / R**0.5
    mean = d.mean()
    if abs(mean) + half < 1:
        word = "no difference"
    elif mean - half > 0:
        word = "helps"
    elif mean + half < 0:
        word = "hurts"
    elif half < 2:
        word = "no difference"
    else:
        word = "no evidence"
    return mean, half, word


# %% wrong: mean and half width below one, not the ends -> ends
def verdict(ours, theirs):
    d = np.asarray(ours) - np.asarray(theirs)
    m, h = d.mean(), t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    if abs(m) < 1 and h < 1:
        return m, h, "no difference"
    if abs(m) > h:
        return m, h, "helps" if m > 0 else "hurts"
    return m, h, "no difference" if h < 2 else "no evidence"
