# %% right: a loop over the rows
def pick_and_report(G, margin):
    found = []
    for i, row in enumerate(np.asarray(G)):
        picked = float(np.mean(row[0::2]))
        if picked < -margin:
            found.append((i, picked, float(np.mean(row[1::2]))))
    return found


# %% right: masks of the seeds
def pick_and_report(G, margin):
    even = np.arange(G.shape[1]) % 2 == 0
    picks, reports = G[:, even].mean(1), G[:, ~even].mean(1)
    rows = [i for i in range(len(G)) if picks[i] + margin < 0]
    return [(i, picks[i], reports[i]) for i in rows]


# %% wrong: the seeds that picked report -> own half
def pick_and_report(G, margin):
    m = G[:, ::2].mean(1)
    return [(i, m[i], m[i]) for i in range(len(G)) if m[i] < -margin]


# %% wrong: first half against second half -> halves
def pick_and_report(G, margin):
    n = (G.shape[1] + 1) // 2
    a, b = G[:, :n].mean(1), G[:, n:].mean(1)
    return [(i, a[i], b[i]) for i in range(len(G)) if a[i] < -margin]


# %% wrong: all seeds pick -> all seeds
def pick_and_report(G, margin):
    a, b = G.mean(1), G[:, 1::2].mean(1)
    return [(i, a[i], b[i]) for i in range(len(G)) if a[i] < -margin]


# %% wrong: large gains either way -> either way
def pick_and_report(G, margin):
    a, b = G[:, ::2].mean(1), G[:, 1::2].mean(1)
    return [(i, a[i], b[i]) for i in range(len(G)) if abs(a[i]) > margin]


# %% wrong: the odd seeds must agree -> rows
def pick_and_report(G, margin):
    a, b = G[:, ::2].mean(1), G[:, 1::2].mean(1)
    return [(i, a[i], b[i]) for i in range(len(G)) if max(a[i], b[i]) < -margin]


# %% wrong: the odd seeds pick -> rows
def pick_and_report(G, margin):
    a, b = G[:, 1::2].mean(1), G[:, ::2].mean(1)
    return [(i, a[i], b[i]) for i in range(len(G)) if a[i] < -margin]


# %% wrong: means of all seeds reported -> means
def pick_and_report(G, margin):
    a = G[:, ::2].mean(1)
    return [(i, a[i], G[i].mean()) for i in range(len(G)) if a[i] < -margin]


# %% wrong: only the rows -> triples
def pick_and_report(G, margin):
    return [[float(i)] for i in np.flatnonzero(G[:, ::2].mean(1) < -margin)]
