# %% right: a line between the two ends
def ensemble_error(p, y, M):
    S, truth = len(p), np.eye(p.shape[2])[y]
    one = ((p - truth) ** 2).sum(-1).mean()  # M = 1
    all_of_them = ((p.mean(0) - truth) ** 2).sum(-1).mean()  # M = S
    V = (one - all_of_them) * S / (S - 1)
    return one - V + V / M


# %% right: numpy's own variance, ddof 1
def ensemble_error(p, y, M):
    variance = p.var(axis=0, ddof=1).sum(-1).mean()
    middle = p.mean(0).copy()
    middle[np.arange(len(y)), y] -= 1
    return float((middle**2).sum() / len(y) + variance * (1 / M - 1 / len(p)))


# %% wrong: nothing corrected -> correction
def ensemble_error(p, y, M):
    truth, middle = np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean()
    return ((middle - truth) ** 2).sum(-1).mean() + variance / M


# %% wrong: the bias as measured -> bias
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() + variance / M


# %% wrong: the variance as measured -> variance
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean()
    return ((middle - truth) ** 2).sum(-1).mean() - variance / S + variance / M


# %% wrong: a mean over the classes -> classes
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).mean() * S / (S - 1)
    return ((middle - truth) ** 2).mean() - variance / S + variance / M


# %% wrong: the same for every M -> M
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() - variance / S + variance


# %% wrong: the pictures counted as runs -> runs
def ensemble_error(p, y, M):
    S, truth, middle = p.shape[1], np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() - variance / S + variance / M


# %% wrong: the root of the error -> error
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    bias = ((middle - truth) ** 2).sum(-1).mean() - variance / S
    return (bias + variance / M) ** 0.5


# %% wrong: a number for each picture -> number
def ensemble_error(p, y, M):
    S, truth, middle = len(p), np.eye(p.shape[-1])[y], p.mean(0)
    variance = ((p - middle) ** 2).sum(-1).mean(0) * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1) - variance / S + variance / M


# %% wrong: no correction at all -> correction
def ensemble_error(p, y, M):
    onehot = np.eye(p.shape[2])[y]
    mean = p.mean(0)
    bias = ((mean - onehot) ** 2).sum(-1).mean()
    variance = ((p - mean) ** 2).sum(-1).mean()
    return bias + variance / M


# %% wrong: the variance corrected, the bias not -> bias
def ensemble_error(p, y, M):
    S = len(p)
    onehot = np.eye(p.shape[2])[y]
    mean = p.mean(0)
    bias = ((mean - onehot) ** 2).sum(-1).mean()
    variance = p.var(0, ddof=1).sum(-1).mean()
    return bias + variance / M


# %% wrong: averaged over the classes -> classes
def ensemble_error(p, y, M):
    S = len(p)
    onehot = np.eye(p.shape[2])[y]
    mean = p.mean(0)
    bias = ((mean - onehot) ** 2).mean()
    variance = p.var(0, ddof=1).mean()
    return bias - variance / S + variance / M


# %% wrong: classes counted from the labels -> raises
def ensemble_error(p, y, M):
    S, middle = len(p), p.mean(0)
    truth = np.eye(y.max() + 1)[y]
    V = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() - V / S + V / M


# %% wrong: three runs, however many there are -> error
def ensemble_error(p, y, M):
    S, middle = 3, p.mean(0)
    truth = np.eye(p.shape[-1])[y]
    V = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() - V / S + V / M


# %% wrong: answers in place of probabilities -> error
def ensemble_error(p, y, M):
    S, classes = len(p), np.eye(p.shape[-1])
    p, truth = classes[p.argmax(-1)], classes[y]
    middle = p.mean(0)
    V = ((p - middle) ** 2).sum(-1).mean() * S / (S - 1)
    return ((middle - truth) ** 2).sum(-1).mean() - V / S + V / M
