# %% right: Gram matrices of the pictures
def cka(X, Y):
    X, Y = X.double() - X.double().mean(0), Y.double() - Y.double().mean(0)
    K, L = X @ X.T, Y @ Y.T
    size = K.norm() * L.norm()
    if size == 0:
        return 0.0
    return float((K * L).sum() / size)


# %% right: numpy
def cka(X, Y):
    X, Y = X.numpy(), Y.numpy()
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    top = np.linalg.norm(Y.T @ X, "fro") ** 2
    below = np.linalg.norm(X.T @ X, "fro") * np.linalg.norm(Y.T @ Y, "fro")
    return top / below if below else 0


# %% wrong: as it was -> columns
def cka(X, Y):
    X, Y = X - X.mean(), Y - Y.mean()
    return ((Y.T @ X).norm() / ((X.T @ X).norm() * (Y.T @ Y).norm()) ** 0.5).item()


# %% wrong: only the power repaired -> columns
def cka(X, Y):
    X, Y = X - X.mean(), Y - Y.mean()
    size = (X.T @ X).norm() * (Y.T @ Y).norm()
    return ((Y.T @ X).norm() ** 2 / size).item() if size > 0 else 0.0


# %% wrong: only the centring repaired -> squared
def cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    return ((Y.T @ X).norm() / ((X.T @ X).norm() * (Y.T @ Y).norm()) ** 0.5).item()


# %% wrong: rows centred -> columns
def cka(X, Y):
    X, Y = X - X.mean(1, keepdim=True), Y - Y.mean(1, keepdim=True)
    return ((Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())).item()


# %% wrong: not centred at all -> columns
def cka(X, Y):
    return ((Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())).item()


# %% wrong: columns divided by their deviation -> standardised
def cka(X, Y):
    X, Y = (X - X.mean(0)) / X.std(0), (Y - Y.mean(0)) / Y.std(0)
    return ((Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())).item()


# %% wrong: nothing said about a constant side -> constant
def cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    return ((Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())).item()


# %% wrong: a constant side agrees -> constant
def cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    size = (X.T @ X).norm() * (Y.T @ Y).norm()
    return ((Y.T @ X).norm() ** 2 / size).item() if size > 0 else 1.0


# %% wrong: squared below as well -> cka
def cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    size = (X.T @ X).norm() ** 2 * (Y.T @ Y).norm() ** 2
    return ((Y.T @ X).norm() ** 2 / size).item() if size > 0 else 0.0


# %% wrong: rows centred in place of columns -> columns
def cka(X, Y):
    X, Y = X - X.mean(1, keepdim=True), Y - Y.mean(1, keepdim=True)
    below = (X.T @ X).norm() * (Y.T @ Y).norm()
    return ((Y.T @ X).norm() ** 2 / below).item() if below else 0.0


# %% wrong: columns standardised -> standardised
def cka(X, Y):
    X = (X - X.mean(0)) / X.std(0).clamp(min=1e-9)
    Y = (Y - Y.mean(0)) / Y.std(0).clamp(min=1e-9)
    below = (X.T @ X).norm() * (Y.T @ Y).norm()
    return ((Y.T @ X).norm() ** 2 / below).item() if below else 0.0


# %% wrong: only one side centred by column -> cka
def cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean()
    below = (X.T @ X).norm() * (Y.T @ Y).norm()
    return ((Y.T @ X).norm() ** 2 / below).item() if below else 0.0


# %% wrong: constant only where all numbers are equal -> constant
def cka(X, Y):
    if X.std() == 0 or Y.std() == 0:
        return 0.0
    X, Y = X - X.mean(0), Y - Y.mean(0)
    return ((Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())).item()
