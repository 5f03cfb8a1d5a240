# %% right: with the inverse, counts by a loop
def corrected(P, A, p_S):
    K = len(p_S)
    says = P.argmax(1)
    q = np.array([(says == k).mean() for k in range(K)])
    p = np.linalg.inv(A) @ q
    p[p < 0] = 0
    p /= p.sum()
    Q = P * p[None] / p_S[None]
    return Q / Q.sum(1)[:, None]


# %% right: through logits
def corrected(P, A, p_S):
    q = np.eye(len(A))[P.argmax(1)].mean(0)
    p = np.maximum(np.linalg.lstsq(A, q, rcond=None)[0], 1e-12)
    z = np.log(P) + np.log(p / p.sum()) - np.log(p_S)
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


# %% wrong: A the other way round -> transposed
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A.T, q).clip(0)
    Q = P * (p / p.sum() / p_S)
    return Q / Q.sum(1, keepdims=True)


# %% wrong: predicted shares taken for the proportions -> solve
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    Q = P * q / p_S
    return Q / Q.sum(1, keepdims=True)


# %% wrong: proportions at home forgotten -> home
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A, q).clip(0)
    Q = P * p
    return Q / Q.sum(1, keepdims=True)


# %% wrong: the weights upside down -> inverse
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A, q).clip(1e-12)
    p = p / p.sum()
    Q = P * p_S / p
    return Q / Q.sum(1, keepdims=True)


# %% wrong: rows not divided by their sums -> rows
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A, q).clip(0)
    return P * (p / p.sum()) / p_S


# %% wrong: columns divided by their sums -> rows
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A, q).clip(0)
    Q = P * (p / p.sum()) / p_S
    return Q / Q.sum(0)


# %% wrong: negative shares kept -> negative
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    Q = P * np.linalg.solve(A, q) / p_S
    return Q / Q.sum(1, keepdims=True)


# %% wrong: mean of the probabilities -> hard
def corrected(P, A, p_S):
    p = np.linalg.solve(A, P.mean(0)).clip(0)
    Q = P * (p / p.sum()) / p_S
    return Q / Q.sum(1, keepdims=True)


# %% wrong: as they came -> probabilities
def corrected(P, A, p_S):
    return P


# %% wrong: the classes only -> probabilities
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    p = np.linalg.solve(A, q).clip(0)
    return (P * p / p_S).argmax(1)


# %% wrong: q is the mean probability -> hard
def corrected(P, A, p_S):
    p = np.linalg.solve(A, P.mean(0)).clip(0)
    p /= p.sum()
    Q = P * (p / p_S)
    return Q / Q.sum(1, keepdims=True)


# %% wrong: the proportions at home are forgotten -> home
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=P.shape[1]) / len(P)
    p = np.linalg.solve(A, q).clip(0)
    Q = P * p / p.sum()
    return Q / Q.sum(1, keepdims=True)


# %% wrong: the matrix transposed -> transposed
def corrected(P, A, p_S):
    q = np.bincount(P.argmax(1), minlength=P.shape[1]) / len(P)
    p = np.linalg.solve(A.T, q).clip(0)
    Q = P * (p / p.sum() / p_S)
    return Q / Q.sum(1, keepdims=True)
