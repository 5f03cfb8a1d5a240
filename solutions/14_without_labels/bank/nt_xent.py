# %% right: row by row
def nt_xent(A, B, tau):
    Z = [z / np.sqrt((z**2).sum()) for z in [*A, *B]]
    n, total = len(A), 0.0
    for i in range(2 * n):
        below = sum(np.exp(Z[i] @ Z[k] / tau) for k in range(2 * n) if k != i)
        total -= np.log(np.exp(Z[i] @ Z[(i + n) % (2 * n)] / tau) / below)
    return total / (2 * n)


# %% right: with torch
def nt_xent(A, B, tau):
    import torch
    from torch.nn.functional import cross_entropy, normalize

    Z = normalize(torch.cat([torch.tensor(A), torch.tensor(B)]))
    logits = (Z @ Z.T / tau).fill_diagonal_(-torch.inf)
    return float(cross_entropy(logits, torch.arange(len(Z)).roll(len(A))))


# %% wrong: the lengths stay -> length
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    logits = Z @ Z.T / tau
    np.fill_diagonal(logits, -np.inf)
    right = logits[np.arange(len(Z)), np.roll(np.arange(len(Z)), len(A))]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))


# %% wrong: each row meets itself -> itself
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits = Z @ Z.T / tau
    right = logits[np.arange(len(Z)), np.roll(np.arange(len(Z)), len(A))]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))


# %% wrong: only the other view below -> one side
def nt_xent(A, B, tau):
    A, B = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (A, B))
    logits = A @ B.T / tau
    one = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    other = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    return float((one.mean() + other.mean()) / 2)


# %% wrong: negatives alone below -> one side
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits, rows = Z @ Z.T / tau, np.arange(len(Z))
    other = np.roll(rows, len(A))
    right = logits[rows, other].copy()
    np.fill_diagonal(logits, -np.inf)
    logits[rows, other] = -np.inf
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))


# %% wrong: multiplied by the temperature -> temperature
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits = Z @ Z.T * tau
    np.fill_diagonal(logits, -np.inf)
    right = logits[np.arange(len(Z)), np.roll(np.arange(len(Z)), len(A))]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))


# %% wrong: the sum -> mean
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits = Z @ Z.T / tau
    np.fill_diagonal(logits, -np.inf)
    right = logits[np.arange(len(Z)), np.roll(np.arange(len(Z)), len(A))]
    return float(np.sum(np.log(np.exp(logits).sum(axis=1)) - right))


# %% wrong: only one view asks -> mean
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits, n = Z @ Z.T / tau, len(A)
    np.fill_diagonal(logits, -np.inf)
    right = logits[np.arange(n), np.arange(n) + n]
    return float(np.mean(np.log(np.exp(logits[:n]).sum(axis=1)) - right))


# %% wrong: neighbours are taken for partners -> partner
def nt_xent(A, B, tau):
    Z = np.concatenate([A, B])
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits = Z @ Z.T / tau
    np.fill_diagonal(logits, -np.inf)
    right = logits[np.arange(len(Z)), np.arange(len(Z)) ^ 1]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))
