# %% right: value by value
def corrupt(X, chosen, donors):
    out = np.array(X)
    for i in range(len(X)):
        for f in range(X.shape[1]):
            if chosen[i, f]:
                out[i, f] = X[donors[i, f], f]
    return out


# %% right: by places
def corrupt(X, chosen, donors):
    out = X.copy()
    rows, columns = np.nonzero(chosen)
    out[rows, columns] = X[donors[rows, columns], columns]
    return out


# %% wrong: the others are replaced -> inverted
def corrupt(X, chosen, donors):
    return np.where(chosen, X, np.take_along_axis(X, donors, axis=0))


# %% wrong: everything is replaced -> inverted
def corrupt(X, chosen, donors):
    return np.take_along_axis(X, donors, axis=0)


# %% wrong: another column of the same row -> column
def corrupt(X, chosen, donors):
    return np.where(chosen, np.take_along_axis(X, donors % X.shape[1], axis=1), X)


# %% wrong: any value of the table -> column
def corrupt(X, chosen, donors):
    return np.where(chosen, X.ravel()[donors], X)


# %% wrong: one donor a row -> whole rows
def corrupt(X, chosen, donors):
    return np.where(chosen, X[donors[:, 0]], X)


# %% wrong: changed rows give on -> original
def corrupt(X, chosen, donors):
    out = X.copy()
    for i in range(len(X)):
        for f in range(X.shape[1]):
            if chosen[i, f]:
                out[i, f] = out[donors[i, f], f]
    return out


# %% wrong: into X itself -> in place
def corrupt(X, chosen, donors):
    X[...] = np.where(chosen, np.take_along_axis(X, donors, axis=0), X)
    return X
