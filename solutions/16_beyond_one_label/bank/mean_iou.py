# %% right: a confusion matrix
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    counts = np.zeros((classes, classes))
    np.add.at(counts, (true[keep], found[keep]), 1)
    both = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - both
    return (both[union > 0] / union[union > 0]).mean()


# %% right: sets of places
def mean_iou(found, true, classes, ignore=255):
    places = np.flatnonzero(true.ravel() != ignore)
    f, t = found.ravel(), true.ravel()
    values = []
    for c in range(classes):
        a = {i for i in places if f[i] == c}
        b = {i for i in places if t[i] == c}
        if a | b:
            values.append(len(a & b) / len(a | b))
    return sum(values) / len(values)


# %% wrong: the mean of the pictures -> pictures
def mean_iou(found, true, classes, ignore=255):
    every = []
    for f, t in zip(found, true):
        f, t = f[t != ignore], t[t != ignore]
        values = []
        for c in range(classes):
            union = ((f == c) | (t == c)).sum()
            if union:
                values.append(((f == c) & (t == c)).sum() / union)
        every.append(np.mean(values))
    return np.mean(every)


# %% wrong: absent classes count 0 -> absent
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t, values = found[keep], true[keep], []
    for c in range(classes):
        union = ((f == c) | (t == c)).sum()
        values.append(((f == c) & (t == c)).sum() / max(union, 1))
    return np.mean(values)


# %% wrong: absent classes count 1 -> absent
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t, values = found[keep], true[keep], []
    for c in range(classes):
        union = ((f == c) | (t == c)).sum()
        values.append(((f == c) & (t == c)).sum() / union if union else 1.0)
    return np.mean(values)


# %% wrong: classes of the true masks only -> invented
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t = found[keep], true[keep]
    values = [
        ((f == c) & (t == c)).sum() / ((f == c) | (t == c)).sum()
        for c in range(classes)
        if (t == c).any()
    ]
    return np.mean(values)


# %% wrong: ignored pixels count as found -> ignored
def mean_iou(found, true, classes, ignore=255):
    values = []
    for c in range(classes):
        union = ((found == c) | (true == c)).sum()
        if union:
            values.append(((found == c) & (true == c)).sum() / union)
    return np.mean(values)


# %% wrong: twice the intersection over the sum -> dice
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t, values = found[keep], true[keep], []
    for c in range(classes):
        size = (f == c).sum() + (t == c).sum()
        if size:
            values.append(2 * ((f == c) & (t == c)).sum() / size)
    return np.mean(values)


# %% wrong: the share of right pixels -> accuracy
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    return (found[keep] == true[keep]).mean()


# %% wrong: the share of each true class that was found -> accuracy
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t = found[keep], true[keep]
    return np.mean([(f[t == c] == c).mean() for c in range(classes) if (t == c).any()])


# %% wrong: without class 0 -> background
def mean_iou(found, true, classes, ignore=255):
    keep = true != ignore
    f, t, values = found[keep], true[keep], []
    for c in range(1, classes):
        union = ((f == c) | (t == c)).sum()
        if union:
            values.append(((f == c) & (t == c)).sum() / union)
    return np.mean(values)
