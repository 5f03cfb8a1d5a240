# %% right: row by row
def mixed(x, W, adapters, ids):
    base = x @ W.T
    rows = []
    for row, i in enumerate(ids.tolist()):
        y = base[row]
        if i >= 0:
            A, B, alpha = adapters[i]
            y = y + x[row] @ A.T @ B.T * (alpha / B.shape[1])
        rows.append(y)
    return torch.stack(rows)


# %% right: padded to one rank, in one product
def mixed(x, W, adapters, ids):
    r = max(len(A) for A, _, _ in adapters)
    pad = nn.functional.pad
    A = torch.stack([pad(A, (0, 0, 0, r - len(A))) for A, _, _ in adapters])
    B = torch.stack([pad(B * a / len(A), (0, r - len(A))) for A, B, a in adapters])
    A, B = (torch.cat([f, torch.zeros_like(f[:1])]) for f in (A, B))  # -1: zeros
    return x @ W.T + (x @ A[ids].mT) @ B[ids].mT


# %% wrong: -1 taken as an index -> minus one
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for row, i in enumerate(ids.tolist()):
        A, B, alpha = adapters[i]
        y[row] += alpha / len(A) * x[row] @ A.T @ B.T
    return y


# %% wrong: the adapter of the first row for all -> one for all
def mixed(x, W, adapters, ids):
    A, B, alpha = adapters[max(0, int(ids[0]))]
    return x @ W.T + alpha / len(A) * x @ A.T @ B.T


# %% wrong: the sum of all adapters -> one for all
def mixed(x, W, adapters, ids):
    return x @ W.T + sum(a / len(A) * x @ A.T @ B.T for A, B, a in adapters)


# %% wrong: without the base -> base
def mixed(x, W, adapters, ids):
    y = torch.zeros(*x.shape[:2], len(W))
    for i, (A, B, alpha) in enumerate(adapters):
        y[ids == i] = alpha / len(A) * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: changes a copy -> base only
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for i, (A, B, alpha) in enumerate(adapters):
        own = y[ids == i]
        own += alpha / len(A) * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: task by task -> order
def mixed(x, W, adapters, ids):
    parts = [x[ids == -1] @ W.T]
    for i, (A, B, alpha) in enumerate(adapters):
        own = x[ids == i]
        parts.append(own @ W.T + alpha / len(A) * own @ A.T @ B.T)
    return torch.cat(parts)


# %% wrong: alpha not divided -> scale
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for i, (A, B, alpha) in enumerate(adapters):
        y[ids == i] += alpha * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: the rank of the first adapter for all -> scale
def mixed(x, W, adapters, ids):
    y, r = x @ W.T, len(adapters[0][0])
    for i, (A, B, alpha) in enumerate(adapters):
        y[ids == i] += alpha / r * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: stacks factors of different ranks -> raises
def mixed(x, W, adapters, ids):
    A, B = (torch.stack([each[i] for each in adapters])[ids] for i in (0, 1))
    return x @ W.T + (x @ A.mT) @ B.mT


# %% wrong: rows without an adapter are left out -> shape
def mixed(x, W, adapters, ids):
    x, ids = x[ids >= 0], ids[ids >= 0]
    y = x @ W.T
    for i, (A, B, alpha) in enumerate(adapters):
        y[ids == i] += alpha / len(A) * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: rows without an adapter are zero -> mixed
def mixed(x, W, adapters, ids):
    y = x @ W.T * (ids >= 0)[:, None, None]
    for i, (A, B, alpha) in enumerate(adapters):
        y[ids == i] += alpha / len(A) * x[ids == i] @ A.T @ B.T
    return y


# %% wrong: the last adapter for minus one -> minus one
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for i, which in enumerate(ids.tolist()):
        A, B, alpha = adapters[which]
        y[i] = y[i] + alpha / len(A) * x[i] @ A.T @ B.T
    return y


# %% wrong: sorted by adapter -> order
def mixed(x, W, adapters, ids):
    parts = []
    for which in range(-1, len(adapters)):
        rows = x[ids == which]
        y = rows @ W.T
        if which >= 0:
            A, B, alpha = adapters[which]
            y = y + alpha / len(A) * rows @ A.T @ B.T
        parts.append(y)
    return torch.cat(parts)


# %% wrong: the largest rank scales all -> mixed
def mixed(x, W, adapters, ids):
    y, r = x @ W.T, max(len(A) for A, _, _ in adapters)
    for which, (A, B, alpha) in enumerate(adapters):
        own = ids == which
        y[own] += alpha / r * x[own] @ A.T @ B.T
    return y


# %% wrong: the base row by row -> once
def mixed(x, W, adapters, ids):
    y = []
    for row, number in zip(x, ids.tolist()):
        y.append(row @ W.T)
        if number >= 0:
            A, B, alpha = adapters[number]
            y[-1] = y[-1] + alpha / len(A) * (row @ A.T) @ B.T
    return torch.stack(y)


# %% wrong: the base again for each adapter -> once
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for number, (A, B, alpha) in enumerate(adapters):
        own = x @ W.T + alpha / len(A) * (x @ A.T) @ B.T
        y = torch.where((ids == number)[:, None, None], own, y)
    return y


# %% wrong: the first rows of the batch for each adapter -> mixed
def mixed(x, W, adapters, ids):
    y = x @ W.T
    for number, (A, B, alpha) in enumerate(adapters):
        rows = ids == number
        y[rows] += alpha / len(A) * (x[: int(rows.sum())] @ A.T) @ B.T
    return y
