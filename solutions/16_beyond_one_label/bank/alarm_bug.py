# %% right: by counting
def alarm_threshold(P, n, rate):
    bank = P[:n].reshape(-1, P.shape[-1])
    scores = []
    for picture in P[n:]:
        near = [np.sqrt(((bank - patch) ** 2).sum(1)).min() for patch in picture]
        scores.append(max(near))
    fitting = [s for s in scores if sum(x > s for x in scores) <= rate * len(scores)]
    return min(fitting)


# %% right: a quantile that takes a score
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2).max(axis=1)
    order = -np.sort(-far)
    return order[int(np.floor(np.round(rate * len(far), 9)))]


# %% wrong: as it was -> remembered
def alarm_threshold(P, n, rate):
    bank = P[:n].reshape(-1, P.shape[2])
    far = np.linalg.norm(P[:n, :, None] - bank, axis=3).min(axis=2)
    return np.quantile(far.max(axis=1), 1 - rate)


# %% wrong: all normal pictures, remembered ones too -> remembered
def alarm_threshold(P, n, rate):
    bank = P[:n].reshape(-1, P.shape[2])
    far = np.linalg.norm(P[:, :, None] - bank, axis=3).min(axis=2).max(axis=1)
    scores = np.sort(far)
    return scores[len(scores) - 1 - int(rate * len(scores) + 1e-9)]


# %% wrong: all of them are remembered -> remembered
def alarm_threshold(P, n, rate):
    bank = P.reshape(-1, P.shape[2])
    far = np.linalg.norm(P[n:, :, None] - bank, axis=3).min(axis=2)
    return np.quantile(far.max(axis=1), 1 - rate)


# %% wrong: a quantile between two scores -> between
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2)
    return np.quantile(far.max(axis=1), 1 - rate)


# %% wrong: the lower end -> side
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2)
    scores = np.sort(far.max(axis=1))
    return scores[int(rate * len(scores) + 1e-9)]


# %% wrong: the number is rounded up -> rounding
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2)
    scores = np.sort(far.max(axis=1))
    allowed = int(np.ceil(rate * len(scores) - 1e-9))
    return scores[len(scores) - 1 - allowed]


# %% wrong: one too many -> rounding
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2)
    scores = -np.sort(-far.max(axis=1))
    return scores[int(rate * len(scores) + 1e-9) + 1]


# %% wrong: mean and two deviations -> spread
def alarm_threshold(P, n, rate):
    bank, held = P[:n].reshape(-1, P.shape[2]), P[n:]
    far = np.linalg.norm(held[:, :, None] - bank, axis=3).min(axis=2)
    scores = far.max(axis=1)
    return scores.mean() + 2 * scores.std()
