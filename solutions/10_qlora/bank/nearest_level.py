# %% right: midpoints
def nearest_level(x, levels):
    return torch.bucketize(x, (levels[1:] + levels[:-1]) / 2)


# %% right: cdist
def nearest_level(x, levels):
    distance = torch.cdist(x.reshape(-1, 1), levels[:, None])
    return distance.argmin(1).reshape(x.shape)


# %% wrong: the next above -> above
def nearest_level(x, levels):
    return torch.searchsorted(levels, x).clamp(max=len(levels) - 1)


# %% wrong: the next below -> above
def nearest_level(x, levels):
    return (torch.searchsorted(levels, x) - 1).clamp(min=0)


# %% wrong: the level itself -> levels
def nearest_level(x, levels):
    return levels[(x.unsqueeze(-1) - levels).abs().argmin(-1)]


# %% wrong: without abs -> nearest
def nearest_level(x, levels):
    return (x.unsqueeze(-1) - levels).argmin(-1)


# %% wrong: flat -> shape
def nearest_level(x, levels):
    return (x.reshape(-1, 1) - levels).abs().argmin(-1)


# %% wrong: even levels assumed -> nearest
def nearest_level(x, levels):
    n = len(levels) - 1
    return ((x + 1) / 2 * n).round().clamp(0, n).long()


# %% wrong: one row at a time without the last axis -> raises
def nearest_level(x, levels):
    return (x - levels).abs().argmin(-1)


# %% wrong: the values in place of the positions -> levels
def nearest_level(x, levels):
    return levels[(x[..., None] - levels).abs().argmin(-1)]


# %% wrong: the level below -> above
def nearest_level(x, levels):
    return (torch.searchsorted(levels, x, right=True) - 1).clamp(min=0)


# %% wrong: rounded on an even grid -> nearest
def nearest_level(x, levels):
    n = len(levels) - 1
    even = (x - levels[0]) / (levels[-1] - levels[0]) * n
    return even.round().clamp(0, n).long()
