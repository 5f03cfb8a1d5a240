# %% right: squares written out
def mmd(X, Y, sigma):
    def k(A, B):
        D = ((A[:, None, :] - B[None, :, :]) ** 2).sum(-1)
        return torch.exp(-D / (2 * sigma**2))

    n, m = len(X), len(Y)
    xx = (k(X, X).sum() - n) / (n * (n - 1))
    yy = (k(Y, Y).sum() - m) / (m * (m - 1))
    return xx + yy - 2 * k(X, Y).sum() / (n * m)


# %% right: by a mask over the pooled rows
def mmd(X, Y, sigma):
    Z = torch.cat([X, Y])
    K = (-(torch.cdist(Z, Z) ** 2) / (2 * sigma**2)).exp()
    n = len(X)
    off = ~torch.eye(len(Z), dtype=torch.bool)
    first = K[:n, :n][off[:n, :n]].mean()
    second = K[n:, n:][off[n:, n:]].mean()
    return first + second - 2 * K[:n, n:].mean()


# %% right: loops and a float
def mmd(X, Y, sigma):
    def mean(A, B, same):
        values = [
            torch.exp(-(a - b).dot(a - b) / (2 * sigma**2)).item()
            for i, a in enumerate(A)
            for j, b in enumerate(B)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    return mean(X, X, True) + mean(Y, Y, True) - 2 * mean(X, Y, False)


# %% wrong: as it was -> floor
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-torch.cdist(A, B) / (2 * sigma**2))

    return k(X, X).mean() + k(Y, Y).mean() - 2 * k(X, Y).mean()


# %% wrong: only the kernel repaired -> diagonal
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    return k(X, X).mean() + k(Y, Y).mean() - 2 * k(X, Y).mean()


# %% wrong: only the diagonal repaired -> squared
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-torch.cdist(A, B) / (2 * sigma**2))

    n, m = len(X), len(Y)
    within = (k(X, X).sum() - n) / (n * (n - 1)) + (k(Y, Y).sum() - m) / (m * (m - 1))
    return within - 2 * k(X, Y).mean()


# %% wrong: diagonal zero, still divided by all pairs -> divisor
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    KX, KY = k(X, X), k(Y, Y)
    KX, KY = KX - torch.diag(KX.diag()), KY - torch.diag(KY.diag())
    return KX.mean() + KY.mean() - 2 * k(X, Y).mean()


# %% wrong: leaves positions out between the domains too -> between
def mmd(X, Y, sigma):
    def mean(A, B):
        K = torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))
        if len(A) != len(B):
            return K.mean()
        return (K.sum() - K.trace()) / (len(A) * (len(A) - 1))

    return mean(X, X) + mean(Y, Y) - 2 * mean(X, Y)


# %% wrong: sigma not squared -> width
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma))

    n, m = len(X), len(Y)
    within = (k(X, X).sum() - n) / (n * (n - 1)) + (k(Y, Y).sum() - m) / (m * (m - 1))
    return within - 2 * k(X, Y).mean()


# %% wrong: subtracted once -> twice
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    n, m = len(X), len(Y)
    within = (k(X, X).sum() - n) / (n * (n - 1)) + (k(Y, Y).sum() - m) / (m * (m - 1))
    return within - k(X, Y).mean()


# %% wrong: the root -> root
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    n, m = len(X), len(Y)
    within = (k(X, X).sum() - n) / (n * (n - 1)) + (k(Y, Y).sum() - m) / (m * (m - 1))
    return (within - 2 * k(X, Y).mean()).clamp(min=0).sqrt()


# %% wrong: the number of rows of X for both -> mmd
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    n = len(X)
    within = (k(X, X).sum() + k(Y, Y).sum() - 2 * n) / (n * (n - 1))
    return within - 2 * k(X, Y).mean()


# %% wrong: the distance of the means -> mmd
def mmd(X, Y, sigma):
    return (X.mean(0) - Y.mean(0)).square().sum() / (2 * sigma**2)


# %% wrong: one value for each row -> mmd
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    return k(X, X).mean(1)[:5] + k(Y, Y).mean(1)[:5] - 2 * k(X, Y).mean(1)[:5]


# %% wrong: the diagonal is left out, the same count below -> divisor
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    def inside(A):
        K = k(A, A)
        return (K.sum() - K.trace()) / len(A) ** 2

    return inside(X) + inside(Y) - 2 * k(X, Y).mean()


# %% wrong: sigma unsquared -> width
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma))

    def inside(A):
        K = k(A, A)
        return (K.sum() - K.trace()) / (len(A) * (len(A) - 1))

    return inside(X) + inside(Y) - 2 * k(X, Y).mean()


# %% wrong: never below zero -> clamped
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-(torch.cdist(A, B) ** 2) / (2 * sigma**2))

    def inside(A):
        K = k(A, A)
        return (K.sum() - K.trace()) / (len(A) * (len(A) - 1))

    return (inside(X) + inside(Y) - 2 * k(X, Y).mean()).clamp(min=0)


# %% wrong: sum of absolute differences, squared -> mmd
def mmd(X, Y, sigma):
    def k(A, B):
        return torch.exp(-torch.cdist(A, B, p=1).square() / (2 * sigma**2))

    def within(A):
        K, n = k(A, A), len(A)
        return (K.sum() - K.trace()) / (n * (n - 1))

    return within(X) + within(Y) - 2 * k(X, Y).mean()
