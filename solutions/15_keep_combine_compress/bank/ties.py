# %% right: row by row
def ties(U, density):
    left = np.zeros_like(U)
    for row, update in zip(left, U):
        at = np.argsort(-np.abs(update))[: int(density * len(update))]
        row[at] = update[at]
    sign = np.where(left.sum(axis=0) >= 0, 1, -1)
    agree = left * sign > 0
    return (left * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


# %% right: by a threshold, column by column
def ties(U, density):
    T, n = U.shape
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    out = np.zeros(n)
    for j in range(n):
        sign = 1 if left[:, j].sum() >= 0 else -1
        same = [v for v in left[:, j] if v * sign > 0]
        out[j] = np.mean(same) if same else 0
    return out


# %% wrong: nothing is trimmed -> trim
def ties(U, density):
    sign = np.where(U.sum(axis=0) >= 0, 1, -1)
    agree = U * sign > 0
    return (U * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


# %% wrong: trimmed together -> together
def ties(U, density):
    least = np.sort(np.abs(U).ravel())[::-1][int(density * U.size) - 1]
    left = np.where(np.abs(U) >= least, U, 0)
    sign = np.where(left.sum(axis=0) >= 0, 1, -1)
    agree = left * sign > 0
    return (left * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


# %% wrong: the majority elects -> votes
def ties(U, density):
    n = U.shape[1]
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    sign = np.where(np.sign(left).sum(axis=0) >= 0, 1, -1)
    agree = left * sign > 0
    return (left * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


# %% wrong: elected before trimming -> untrimmed
def ties(U, density):
    n = U.shape[1]
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    sign = np.where(U.sum(axis=0) >= 0, 1, -1)
    agree = left * sign > 0
    return (left * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


# %% wrong: all that is left is averaged -> agree
def ties(U, density):
    n = U.shape[1]
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    return left.sum(axis=0) / np.maximum((left != 0).sum(axis=0), 1)


# %% wrong: divided by the number of tasks -> divisor
def ties(U, density):
    n = U.shape[1]
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    sign = np.where(left.sum(axis=0) >= 0, 1, -1)
    return (left * (left * sign > 0)).mean(axis=0)


# %% wrong: a sum -> sum
def ties(U, density):
    n = U.shape[1]
    least = np.sort(np.abs(U), axis=1)[:, n - int(density * n)]
    left = np.where(np.abs(U) >= least[:, None], U, 0)
    sign = np.where(left.sum(axis=0) >= 0, 1, -1)
    return (left * (left * sign > 0)).sum(axis=0)
