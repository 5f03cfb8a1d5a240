# %% right: all at once
def pool_statistics(batches):
    x = torch.cat(list(batches)).double().transpose(0, 1).flatten(1)
    return x.mean(1), x.var(1, correction=0)


# %% right: batch by batch, means and spreads merged
def pool_statistics(batches):
    n, mean, spread = 0, None, None
    for x in batches:
        x = x.double()
        m, dims = x.numel() // x.shape[1], (0, 2, 3)
        own, off = x.mean(dims), x.var(dims, correction=0) * m
        if mean is None:
            n, mean, spread = m, own, off
            continue
        gap = own - mean
        spread = spread + off + gap**2 * n * m / (n + m)
        mean = mean + gap * m / (n + m)
        n += m
    return mean, spread / n


# %% right: variance within plus variance between
def pool_statistics(batches):
    parts = [
        (b.numel() / b.shape[1], *torch.var_mean(b.double(), (0, 2, 3), correction=0))
        for b in batches
    ]
    total = sum(n for n, _, _ in parts)
    mean = sum(n * m for n, _, m in parts) / total
    return mean, sum(n * (v + (m - mean) ** 2) for n, v, m in parts) / total


# %% wrong: average of means and of variances -> weights
def pool_statistics(batches):
    parts = [(b.mean((0, 2, 3)), b.var((0, 2, 3), correction=0)) for b in batches]
    means, variances = zip(*parts)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


# %% wrong: weighted average of the variances -> within
def pool_statistics(batches):
    n, mean, variance = 0, 0, 0
    for b in batches:
        n += len(b)
        mean = mean + len(b) * b.mean((0, 2, 3))
        variance = variance + len(b) * b.var((0, 2, 3), correction=0)
    return mean / n, variance / n


# %% wrong: divided by the count minus one -> divisor of variance
def pool_statistics(batches):
    x = torch.cat(list(batches)).double()
    return x.mean((0, 2, 3)), x.var((0, 2, 3))


# %% wrong: standard deviation -> deviation
def pool_statistics(batches):
    x = torch.cat(list(batches)).double()
    return x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)


# %% wrong: goes through the batches twice -> once
def pool_statistics(batches):
    n, mean, square = 0, 0, 0
    for b in batches:
        n += b.numel() // b.shape[1]
        mean = mean + b.double().sum((0, 2, 3))
    mean = mean / n
    for b in batches:
        square = square + (b - mean[:, None, None]).square().sum((0, 2, 3))
    return mean, square / n


# %% wrong: twice, into tensors -> once
def pool_statistics(batches):
    n, mean = 0, 0
    for b in batches:
        n += b.numel() // b.shape[1]
        mean = mean + b.double().sum((0, 2, 3))
    mean = mean / n
    square = torch.zeros_like(mean)
    for b in batches:
        square += (b - mean[:, None, None]).square().sum((0, 2, 3))
    return mean, square / n


# %% wrong: sums in float32 -> digits
def pool_statistics(batches):
    n, total, square = 0, 0, 0
    for b in batches:
        n += b.numel() // b.shape[1]
        total = total + b.sum((0, 2, 3))
        square = square + b.square().sum((0, 2, 3))
    mean = total / n
    return mean, square / n - mean**2


# %% wrong: the last batch -> last
def pool_statistics(batches):
    for b in batches:
        mean, variance = b.mean((0, 2, 3)), b.var((0, 2, 3), correction=0)
    return mean, variance


# %% wrong: one number for all channels -> channels
def pool_statistics(batches):
    x = torch.cat(list(batches)).double()
    return x.mean(), x.var(correction=0)


# %% wrong: one number for each pixel -> channels
def pool_statistics(batches):
    x = torch.cat(list(batches)).double()
    return x.mean(0), x.var(0, correction=0)


# %% wrong: the mean square -> statistics
def pool_statistics(batches):
    x = torch.cat(list(batches)).double()
    return x.mean((0, 2, 3)), x.square().mean((0, 2, 3))


# %% wrong: every batch counts alike -> weights
def pool_statistics(batches):
    means, squares = [], []
    for b in batches:
        b = b.double()
        means.append(b.mean((0, 2, 3)))
        squares.append((b**2).mean((0, 2, 3)))
    mean = torch.stack(means).mean(0)
    return mean.float(), (torch.stack(squares).mean(0) - mean**2).float()


# %% wrong: weighted mean of the batches' variances -> within
def pool_statistics(batches):
    n = mean = var = 0
    for b in batches:
        k = len(b)
        mean = mean + k * b.mean((0, 2, 3))
        var = var + k * b.var((0, 2, 3), unbiased=False)
        n += k
    return mean / n, var / n


# %% wrong: the count minus one -> divisor of variance
def pool_statistics(batches):
    all_ = torch.cat(list(batches))
    return all_.mean((0, 2, 3)), all_.var((0, 2, 3))


# %% wrong: each picture counts by its mean -> statistics
def pool_statistics(batches):
    means = torch.cat([x.double().mean((2, 3)) for x in batches])
    return means.mean(0), means.var(0, unbiased=False)
