# %% right: from the eigenvalues of the Gram matrix
def effective_rank(Z):
    small = Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z
    s = np.sqrt(np.clip(np.linalg.eigvalsh(small), 0, None))
    p = s[s > 1e-9 * s.max()] / s.sum()
    return np.exp(-np.sum(p * np.log(p)))


# %% right: scipy's entropy
def effective_rank(Z):
    from scipy.stats import entropy

    return float(np.exp(entropy(np.linalg.svd(Z)[1])))


# %% wrong: squares -> squares
def effective_rank(Z):
    s = np.linalg.svd(Z, compute_uv=False) ** 2
    p = s / s.sum()
    p = p[p > 0]
    return np.exp(-(p * np.log(p)).sum())


# %% wrong: participation ratio -> squares
def effective_rank(Z):
    s = np.linalg.svd(Z, compute_uv=False)
    return s.sum() ** 2 / (s**2).sum()


# %% wrong: centred -> centred
def effective_rank(Z):
    s = np.linalg.svd(Z - Z.mean(axis=0), compute_uv=False)
    p = s / max(s.sum(), 1e-300)
    p = p[p > 1e-15]
    return np.exp(-(p * np.log(p)).sum())


# %% wrong: the entropy -> entropy
def effective_rank(Z):
    s = np.linalg.svd(Z, compute_uv=False)
    p = s / s.sum()
    p = p[p > 0]
    return -(p * np.log(p)).sum()


# %% wrong: logarithm of base 2 -> base
def effective_rank(Z):
    s = np.linalg.svd(Z, compute_uv=False)
    p = s / s.sum()
    p = p[p > 0]
    return np.exp(-(p * np.log2(p)).sum())


# %% wrong: a count -> count
def effective_rank(Z):
    return float(np.linalg.matrix_rank(Z))


# %% wrong: zeros give nan -> zero
def effective_rank(Z):
    s = np.linalg.svd(Z, compute_uv=False)
    p = s / s.sum()
    p = np.where(p > 1e-12, p, 0.0)
    return np.exp(-(p * np.log(p)).sum())
