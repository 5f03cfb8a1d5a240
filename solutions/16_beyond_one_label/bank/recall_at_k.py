# %% right: a loop over queries
def recall_at_k(Z, groups, k):
    answered, asked = 0, 0
    for i in range(len(Z)):
        others = np.delete(np.arange(len(Z)), i)
        if groups[i] not in groups[others]:
            continue
        lengths = np.linalg.norm(Z[others], axis=1) * np.linalg.norm(Z[i])
        near = others[np.argsort(-(Z[others] @ Z[i]) / lengths)[:k]]
        asked += 1
        answered += groups[i] in groups[near]
    return answered / asked


# %% right: the best of the own group against the k-th of all
def recall_at_k(Z, groups, k):
    Z = Z / np.sqrt((Z**2).sum(1, keepdims=True))
    similar = Z @ Z.T - 9 * np.eye(len(Z))
    own = groups[:, None] == groups
    np.fill_diagonal(own, False)
    asked = own.any(1)
    best = np.where(own, similar, -9).max(1)[asked]
    kth = -np.sort(-similar, axis=1)[asked, k - 1]
    return np.mean(best >= kth)


# %% wrong: finds itself -> itself
def recall_at_k(Z, groups, k):
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    near = np.argsort(-(Z @ Z.T), axis=1, kind="stable")[:, :k]
    return (groups[near] == groups[:, None]).any(1).mean()


# %% wrong: dot products -> cosine
def recall_at_k(Z, groups, k):
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = (-similar).argsort(axis=1)[:, :k]
    hit = (groups[near] == groups[:, None]).any(1)
    alone = (groups[:, None] == groups).sum(1) == 1
    return hit[~alone].mean()


# %% wrong: distances -> cosine
def recall_at_k(Z, groups, k):
    far = np.linalg.norm(Z[:, None] - Z[None], axis=2)
    np.fill_diagonal(far, np.inf)
    near = far.argsort(axis=1)[:, :k]
    hit = (groups[near] == groups[:, None]).any(1)
    alone = (groups[:, None] == groups).sum(1) == 1
    return hit[~alone].mean()


# %% wrong: single pictures are queries too -> alone
def recall_at_k(Z, groups, k):
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = (-similar).argsort(axis=1)[:, :k]
    return (groups[near] == groups[:, None]).any(1).mean()


# %% wrong: the share of right ones -> precision
def recall_at_k(Z, groups, k):
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = (-similar).argsort(axis=1)[:, :k]
    alone = (groups[:, None] == groups).sum(1) == 1
    return (groups[near] == groups[:, None])[~alone].mean()


# %% wrong: all k must be right -> precision
def recall_at_k(Z, groups, k):
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = (-similar).argsort(axis=1)[:, :k]
    alone = (groups[:, None] == groups).sum(1) == 1
    return (groups[near] == groups[:, None])[~alone].all(1).mean()


# %% wrong: the one at place k -> last
def recall_at_k(Z, groups, k):
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    similar = Z @ Z.T
    np.fill_diagonal(similar, -np.inf)
    near = np.argsort(-similar, axis=1)[:, k - 1]
    alone = (groups[:, None] == groups).sum(1) == 1
    return (groups[near] == groups)[~alone].mean()
