# %% right: sums
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    order = sorted(range(len(W)), key=lambda i: error(W[i]))
    members, total = [order[0]], W[order[0]].copy()
    for i in order[1:]:
        tried = (total + W[i]) / (len(members) + 1)
        if error(tried) <= error(total / len(members)):
            members, total = [*members, i], total + W[i]
    return total / len(members), members


# %% right: the mean of the rows
def greedy_soup(W, X, y):
    errors = np.square(X @ W.T - y[:, None]).mean(axis=0)
    members, best = [], np.inf
    for i in np.argsort(errors, kind="stable").tolist():
        found = np.square(X @ W[[*members, i]].mean(axis=0) - y).mean()
        if found <= best:
            members, best = [*members, i], found
    return W[members].mean(axis=0), members


# %% wrong: the mean of soup and member -> weights
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    order = sorted(range(len(W)), key=lambda i: error(W[i]))
    members, soup = [order[0]], W[order[0]]
    for i in order[1:]:
        tried = (soup + W[i]) / 2
        if error(tried) <= error(soup):
            members, soup = [*members, i], tried
    return soup, members


# %% wrong: compared with the best member -> reference
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    order = sorted(range(len(W)), key=lambda i: error(W[i]))
    members = [order[0]]
    for i in order[1:]:
        if error(W[[*members, i]].mean(axis=0)) <= error(W[order[0]]):
            members.append(i)
    return W[members].mean(axis=0), members


# %% wrong: the uniform soup -> all
def greedy_soup(W, X, y):
    errors = [np.mean((X @ w - y) ** 2) for w in W]
    return W.mean(axis=0), np.argsort(errors).tolist()


# %% wrong: in the order given -> order
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    first = min(range(len(W)), key=lambda i: error(W[i]))
    members = [first]
    for i in range(len(W)):
        if i == first:
            continue
        tried = W[[*members, i]].mean(axis=0)
        if error(tried) <= error(W[members].mean(axis=0)):
            members.append(i)
    return W[members].mean(axis=0), members


# %% wrong: begins with the first of the list -> first
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    members = [0]
    for i in range(1, len(W)):
        tried = W[[*members, i]].mean(axis=0)
        if error(tried) <= error(W[members].mean(axis=0)):
            members.append(i)
    return W[members].mean(axis=0), members


# %% wrong: only if it is better -> equal
def greedy_soup(W, X, y):
    def error(w):
        return np.mean((X @ w - y) ** 2)

    order = sorted(range(len(W)), key=lambda i: error(W[i]))
    members = [order[0]]
    for i in order[1:]:
        tried = W[[*members, i]].mean(axis=0)
        if error(tried) < error(W[members].mean(axis=0)) - 1e-12:
            members.append(i)
    return W[members].mean(axis=0), members
