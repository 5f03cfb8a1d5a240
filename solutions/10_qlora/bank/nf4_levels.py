# %% right: scipy's quantiles
def nf4_levels():
    import numpy as np
    from scipy.stats import norm

    start = 1 - (1 / 32 + 1 / 30) / 2
    up = norm.ppf(np.linspace(start, 0.5, 9)[:-1])
    down = -norm.ppf(np.linspace(start, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([up, down, [0.0]]))
    return torch.tensor(levels / levels.max())


# %% right: a loop
def nf4_levels():
    from statistics import NormalDist

    q, start = NormalDist().inv_cdf, 1 - (1 / 32 + 1 / 30) / 2
    up = [q(start + (0.5 - start) * i / 8) for i in range(8)]
    down = [-q(start + (0.5 - start) * i / 7) for i in range(7)]
    levels = torch.tensor(sorted([*up, *down, 0.0]), dtype=torch.float64)
    return levels / levels[-1]


# %% wrong: symmetric, without an exact zero -> zero
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    p = torch.linspace(1 - start, start, 16, dtype=torch.float64)
    levels = torch.special.ndtri(p)
    return levels / levels.max()


# %% wrong: the halves exchanged -> symmetric
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    p = torch.linspace
    up = torch.special.ndtri(p(start, 0.5, 8, dtype=torch.float64))[:-1]
    down = -torch.special.ndtri(p(start, 0.5, 9, dtype=torch.float64))[:-1]
    levels = torch.cat([up, down, torch.zeros(1, dtype=torch.float64)])
    return levels.sort().values / levels.abs().max()


# %% wrong: evenly spaced -> even
def nf4_levels():
    down = torch.linspace(-1, 0, 8, dtype=torch.float64)[:-1]
    return torch.cat([down, torch.linspace(0, 1, 9, dtype=torch.float64)])


# %% wrong: not divided -> ends
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    q, p = torch.special.ndtri, torch.linspace
    up = q(p(start, 0.5, 9, dtype=torch.float64))[:-1]
    down = -q(p(start, 0.5, 8, dtype=torch.float64))[:-1]
    return torch.cat([up, down, torch.zeros(1, dtype=torch.float64)]).sort().values


# %% wrong: another offset -> offset
def nf4_levels():
    start = 1 - 1 / 32
    q, p = torch.special.ndtri, torch.linspace
    up = q(p(start, 0.5, 9, dtype=torch.float64))[:-1]
    down = -q(p(start, 0.5, 8, dtype=torch.float64))[:-1]
    levels = torch.cat([up, down, torch.zeros(1, dtype=torch.float64)]).sort().values
    return levels / levels.max()


# %% wrong: zero twice -> sixteen
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    q, p = torch.special.ndtri, torch.linspace
    up = q(p(start, 0.5, 9, dtype=torch.float64))
    down = -q(p(start, 0.5, 8, dtype=torch.float64))
    levels = torch.cat([up, down]).sort().values
    return levels / levels.max()


# %% wrong: sixteen even levels -> even
def nf4_levels():
    left = torch.linspace(-1, 0, 8, dtype=torch.float64)
    right = torch.linspace(0, 1, 9, dtype=torch.float64)
    return torch.cat([left, right[1:]])


# %% wrong: eight probabilities on both sides, one level repeated half-way -> offset
def nf4_levels():
    d = (1 / 32 + 1 / 30) / 2
    p = torch.linspace(1 - d, 0.5, 9, dtype=torch.float64)[:-1]
    q = torch.special.ndtri(p)
    n = -q[:-1]
    levels = torch.cat([q, n, torch.zeros(1, dtype=torch.float64)]).sort().values
    levels = levels / levels.abs().max()
    levels[0] = -1
    return levels


# %% wrong: delta from one sixteenth -> offset
def nf4_levels():
    d = 1 / 32
    q = torch.special.ndtri
    p = torch.linspace(1 - d, 0.5, 9, dtype=torch.float64)[:-1]
    n = torch.linspace(1 - d, 0.5, 8, dtype=torch.float64)[:-1]
    zero = torch.zeros(1, dtype=torch.float64)
    levels = torch.cat([q(p), -q(n), zero]).sort().values
    return levels / levels[-1]


# %% right: the lower half from the lower tail
def nf4_levels():
    import numpy as np
    from scipy.stats import norm

    delta = (1 / 32 + 1 / 30) / 2
    upper = norm.ppf(np.linspace(0.5, 1 - delta, 9))[1:]
    lower = norm.ppf(np.linspace(delta, 0.5, 8))[:-1]
    return torch.from_numpy(np.concatenate([lower, [0.0], upper]) / upper[-1])


# %% wrong: in single precision -> float64
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    halves = [torch.special.ndtri(torch.linspace(start, 0.5, n))[:-1] for n in (9, 8)]
    levels = torch.cat([halves[0], -halves[1], torch.zeros(1)]).sort().values
    return levels / levels.max()


# %% wrong: computed in float32, then made float64 -> float64
def nf4_levels():
    start = 1 - (1 / 32 + 1 / 30) / 2
    upper, lower = (
        torch.special.ndtri(torch.linspace(start, 0.5, n))[:-1] for n in (9, 8)
    )
    levels = torch.cat([upper, -lower, torch.zeros(1)]).sort().values
    return (levels / levels.max()).double()
