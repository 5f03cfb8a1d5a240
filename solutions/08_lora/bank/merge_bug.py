# %% right: on a copy
def merge(W, A, B, alpha):
    merged = W.clone()
    merged += alpha / B.shape[1] * B @ A
    return merged


# %% right: addmm
def merge(W, A, B, alpha):
    return torch.addmm(W, B, A, alpha=alpha / len(A))


# %% wrong: as it was -> raises
def merge(W, A, B, alpha):
    W += alpha / A.shape[1] * (A.T @ B.T)
    return W


# %% wrong: still in place -> argument
def merge(W, A, B, alpha):
    W += alpha / A.shape[0] * (B @ A)
    return W


# %% wrong: still divides by k -> scale
def merge(W, A, B, alpha):
    return W + alpha / A.shape[1] * (B @ A)


# %% wrong: alpha alone -> scale
def merge(W, A, B, alpha):
    return W + alpha * (B @ A)


# %% wrong: transposed where that is possible -> transposed
def merge(W, A, B, alpha):
    update = alpha / A.shape[0] * (B @ A)
    return W + (update.T if W.shape[0] == W.shape[1] else update)


# %% wrong: only the update -> values
def merge(W, A, B, alpha):
    return alpha / A.shape[0] * (B @ A)


# %% wrong: turns the weight -> shape
def merge(W, A, B, alpha):
    return (W + alpha / A.shape[0] * (B @ A)).T


# %% wrong: the rank read from the columns of A -> scale
def merge(W, A, B, alpha):
    return W + alpha / A.shape[1] * (B @ A)


# %% wrong: the update alone -> values
def merge(W, A, B, alpha):
    return alpha / A.shape[0] * (B @ A)


# %% wrong: added twice by an alias -> argument
def merge(W, A, B, alpha):
    merged = W
    merged += alpha / A.shape[0] * (B @ A)
    return merged.clone()


# %% wrong: whole-number division -> values
def merge(W, A, B, alpha):
    return W + alpha // A.shape[0] * (B @ A)
