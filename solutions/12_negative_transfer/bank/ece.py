# %% right: a loop over the edges
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        own = (confidence >= b / bins) & (confidence < (b + 1) / bins)
        if b == bins - 1:
            own |= confidence == 1
        if own.any():
            total += own.sum() * abs(right[own].mean() - confidence[own].mean())
    return total / len(P)


# %% right: sums by bincount
def ece(P, labels, bins):
    confidence, right = P.max(1), (P.argmax(1) == labels).astype(float)
    place = np.clip(np.floor(confidence * bins), 0, bins - 1).astype(int)
    gaps = np.bincount(place, right - confidence, minlength=bins)
    return np.abs(gaps).sum() / len(P)


# %% wrong: bins not weighted -> weights
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[place == b].mean() - confidence[place == b].mean())
        for b in np.unique(place)
    ]
    return np.mean(gaps)


# %% wrong: divided by the number of bins -> weights
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0
    for b in np.unique(place):
        total += abs(right[place == b].mean() - confidence[place == b].mean())
    return total / bins


# %% wrong: signs cancel -> signed
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0
    for b in np.unique(place):
        own = place == b
        total += own.mean() * (right[own].mean() - confidence[own].mean())
    return abs(total)


# %% wrong: example by example -> each
def ece(P, labels, bins):
    return np.abs((P.argmax(1) == labels) - P.max(1)).mean()


# %% wrong: the worst bin -> largest
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return max(
        abs(right[place == b].mean() - confidence[place == b].mean())
        for b in np.unique(place)
    )


# %% wrong: the middle of the bin -> middle
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0
    for b in np.unique(place):
        own = place == b
        total += own.mean() * abs(right[own].mean() - (b + 0.5) / bins)
    return total


# %% wrong: probability of the true class -> class
def ece(P, labels, bins):
    confidence, right = P[np.arange(len(P)), labels], P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0
    for b in np.unique(place):
        own = place == b
        total += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return total


# %% wrong: confidences of 1 fall out -> one
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        own = (confidence >= b / bins) & (confidence < (b + 1) / bins)
        if own.any():
            total += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return total


# %% wrong: empty bins -> empty
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        own = place == b
        total += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return total


# %% wrong: in percent -> percent
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0
    for b in np.unique(place):
        own = place == b
        total += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return 100 * total


# %% wrong: the error rate -> ece
def ece(P, labels, bins):
    return (P.argmax(1) != labels).mean()


# %% wrong: a list of the bins -> ece
def ece(P, labels, bins):
    confidence, right = P.max(1), P.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [right[place == b].mean() - confidence[place == b].mean() for b in range(2)]


# %% wrong: the middle of the bin as the confidence -> middle
def ece(P, labels, bins):
    c, right = P.max(1), P.argmax(1) == labels
    b = np.minimum((c * bins).astype(int), bins - 1)
    return sum(
        (b == i).mean() * abs(right[b == i].mean() - (i + 0.5) / bins) for i in set(b)
    )


# %% wrong: bins by number of examples -> ece
def ece(P, labels, bins):
    c, right = P.max(1), P.argmax(1) == labels
    order = np.argsort(c)
    total = 0
    for part in np.array_split(order, bins):
        if len(part):
            total += len(part) / len(c) * abs(right[part].mean() - c[part].mean())
    return total


# %% wrong: the probability of the label as the confidence -> class
def ece(P, labels, bins):
    c, right = P[np.arange(len(P)), labels], P.argmax(1) == labels
    b = np.minimum((c * bins).astype(int), bins - 1)
    return sum(
        (b == i).mean() * abs(right[b == i].mean() - c[b == i].mean()) for i in set(b)
    )


# %% wrong: bins with the upper edge in place of the lower -> edge
def ece(P, labels, bins):
    conf, right = P.max(1), P.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for lo, hi in zip(edges[:-1], edges[1:]):
        inside = (conf > lo) & (conf <= hi)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - conf[inside].mean())
    return total
