# %% right: column by column
def variance_term(Z, least):
    total = 0.0
    for column in Z.T:
        variance = ((column - column.mean()) ** 2).sum() / (len(column) - 1)
        total += max(0.0, least - (variance + 1e-4) ** 0.5)
    return total / Z.shape[1]


# %% right: from the covariance matrix
def variance_term(Z, least):
    variance = np.diag(np.atleast_2d(np.cov(Z.T)))
    return np.clip(least - np.sqrt(variance + 0.0001), 0, None).mean()


# %% wrong: as it was -> axis
def variance_term(Z, least):
    spread = Z.std(axis=1)
    return np.maximum(0, least - spread).mean()


# %% wrong: of all numbers together -> axis
def variance_term(Z, least):
    return max(0.0, least - np.sqrt(Z.var(ddof=1) + 1e-4))


# %% wrong: divided by N -> sample
def variance_term(Z, least):
    return np.maximum(0, least - np.sqrt(Z.var(axis=0) + 1e-4)).mean()


# %% wrong: nothing is added -> small
def variance_term(Z, least):
    return np.maximum(0, least - Z.std(axis=0, ddof=1)).mean()


# %% wrong: cut after the mean -> hinge
def variance_term(Z, least):
    return max(0.0, (least - np.sqrt(Z.var(axis=0, ddof=1) + 1e-4)).mean())


# %% wrong: never cut -> hinge
def variance_term(Z, least):
    return (least - np.sqrt(Z.var(axis=0, ddof=1) + 1e-4)).mean()


# %% wrong: least is 1 -> least
def variance_term(Z, least):
    return np.maximum(0, 1 - np.sqrt(Z.var(axis=0, ddof=1) + 1e-4)).mean()


# %% wrong: the sum -> columns
def variance_term(Z, least):
    return np.maximum(0, least - np.sqrt(Z.var(axis=0, ddof=1) + 1e-4)).sum()
