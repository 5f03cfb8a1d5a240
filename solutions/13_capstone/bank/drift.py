# %% right: a loop over the features
def drift(reference, window, level):
    found, F = [], reference.shape[1]
    for i in range(F):
        r, w = reference[:, i], window[:, i]
        error = np.sqrt(w.var(ddof=1) / len(w) + r.var(ddof=1) / len(r))
        gap = w.mean() - r.mean()
        if error == 0:
            if gap != 0:
                found.append(i)
        elif 2 * (1 - norm.cdf(abs(gap) / error)) <= level / F:
            found.append(i)
    return found


# %% right: z against its bar
def drift(reference, window, level):
    gap = np.abs(window.mean(0) - reference.mean(0))
    error = np.sqrt(
        window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    )
    bar = norm.isf(level / gap.size / 2)
    rings = (gap >= bar * error) & (gap > 1e-9)
    return [int(i) for i in np.where(rings)[0]]


# %% wrong: each feature at the level -> shared
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level).tolist()


# %% wrong: one tail -> two sides
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    p = norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: only rising means -> two sides
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    p = 2 * norm.cdf(-gap / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: not divided by the numbers of rows -> error
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) + reference.var(0, ddof=1)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: the reference taken for certain -> both
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: the reference's spread for both -> both
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = reference.var(0, ddof=1) / len(window)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: dead features ring -> constant
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v))
    return np.flatnonzero(~(p > level / len(p))).tolist()


# %% wrong: constant features never ring -> constant
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    z = np.where(v > 0, gap / np.sqrt(np.where(v > 0, v, 1)), 0)
    p = 2 * norm.cdf(-np.abs(z))
    return np.flatnonzero(p <= level / len(p)).tolist()


# %% wrong: truth values -> list of features
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    v = window.var(0, ddof=1) / len(window) + reference.var(0, ddof=1) / len(reference)
    p = 2 * norm.cdf(-np.abs(gap) / np.sqrt(v + 1e-18))
    return (p <= level / len(p)).tolist()


# %% wrong: does it ring at all -> list of features
def drift(reference, window, level):
    gap = window.mean(0) - reference.mean(0)
    return bool((np.abs(gap) > 1).any())


# %% wrong: a fixed gap -> features
def drift(reference, window, level):
    gap = np.abs(window.mean(0) - reference.mean(0))
    return np.flatnonzero(gap > 0.5).tolist()


# %% wrong: one direction -> two sides
def drift(reference, window, level):
    M, N = len(window), len(reference)
    s = np.sqrt(window.var(0, ddof=1) / M + reference.var(0, ddof=1) / N)
    z = (window.mean(0) - reference.mean(0)) / np.where(s > 0, s, np.inf)
    p = 2 * norm.cdf(-z)
    return [int(i) for i in np.flatnonzero(p <= level / reference.shape[1])]


# %% wrong: each feature at the level, written anew -> shared
def drift(reference, window, level):
    M, N = len(window), len(reference)
    s = np.sqrt(window.var(0, ddof=1) / M + reference.var(0, ddof=1) / N)
    z = (window.mean(0) - reference.mean(0)) / np.where(s > 0, s, np.inf)
    return [int(i) for i in np.flatnonzero(2 * norm.cdf(-abs(z)) <= level)]


# %% wrong: one-sided p -> two sides
def drift(reference, window, level):
    M, N = len(window), len(reference)
    s = np.sqrt(window.var(0, ddof=1) / M + reference.var(0, ddof=1) / N)
    z = (window.mean(0) - reference.mean(0)) / np.where(s > 0, s, np.inf)
    return [
        int(i) for i in np.flatnonzero(norm.cdf(-abs(z)) <= level / reference.shape[1])
    ]
