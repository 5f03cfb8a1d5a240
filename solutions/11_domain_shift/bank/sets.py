# %% right: sorted scores, a loop over the new examples
def prediction_sets(held_P, held_y, P, alpha):
    scores = sorted(1 - held_P[i, y] for i, y in enumerate(held_y))
    k = int(np.ceil((len(scores) + 1) * (1 - alpha)))
    q = scores[k - 1] if k <= len(scores) else 2.0
    return np.array([[1 - p <= q for p in row] for row in P])


# %% right: partition, and probabilities compared
def prediction_sets(held_P, held_y, P, alpha):
    n = len(held_y)
    true = np.take_along_axis(held_P, np.asarray(held_y)[:, None], axis=1)[:, 0]
    k = int(np.ceil((n + 1) * (1 - alpha)))
    if k > n:
        return np.ones(P.shape, dtype=bool)
    return P >= 1 - np.partition(1 - true, k - 1)[k - 1]


# %% wrong: the highest probability in place of the true class's -> true class
def prediction_sets(held_P, held_y, P, alpha):
    scores, n = np.sort(1 - held_P.max(1)), len(held_y)
    k = int(np.ceil((n + 1) * (1 - alpha)))
    return 1 - P <= (scores[k - 1] if k <= n else np.inf)


# %% wrong: n in place of n + 1 -> n
def prediction_sets(held_P, held_y, P, alpha):
    scores = np.sort(1 - held_P[np.arange(len(held_y)), held_y])
    return 1 - P <= scores[int(np.ceil(len(scores) * (1 - alpha))) - 1]


# %% wrong: the other end -> side
def prediction_sets(held_P, held_y, P, alpha):
    scores, n = np.sort(1 - held_P[np.arange(len(held_y)), held_y]), len(held_y)
    k = int(np.ceil((n + 1) * alpha))
    return 1 - P <= (scores[k - 1] if k <= n else np.inf)


# %% wrong: below in place of at most -> equal
def prediction_sets(held_P, held_y, P, alpha):
    scores, n = np.sort(1 - held_P[np.arange(len(held_y)), held_y]), len(held_y)
    k = int(np.ceil((n + 1) * (1 - alpha)))
    return 1 - P < (scores[k - 1] if k <= n else np.inf)


# %% wrong: an interpolated quantile -> interpolated
def prediction_sets(held_P, held_y, P, alpha):
    scores = 1 - held_P[np.arange(len(held_y)), held_y]
    return 1 - P <= np.quantile(scores, 1 - alpha)


# %% wrong: no set may be empty -> empty
def prediction_sets(held_P, held_y, P, alpha):
    scores, n = np.sort(1 - held_P[np.arange(len(held_y)), held_y]), len(held_y)
    k = int(np.ceil((n + 1) * (1 - alpha)))
    sets = 1 - P <= (scores[k - 1] if k <= n else np.inf)
    sets[np.arange(len(P)), P.argmax(1)] = True
    return sets


# %% wrong: the largest score where too few are held out -> few
def prediction_sets(held_P, held_y, P, alpha):
    scores, n = np.sort(1 - held_P[np.arange(len(held_y)), held_y]), len(held_y)
    k = min(n, int(np.ceil((n + 1) * (1 - alpha))))
    return 1 - P <= scores[k - 1]
