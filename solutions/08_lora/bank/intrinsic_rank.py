# %% right: a loop over ranks
def intrinsic_rank(update, share):
    s2 = torch.linalg.svdvals(update.double()) ** 2
    total = float(s2.sum())
    if total == 0:
        return 0
    for r in range(1, len(s2) + 1):
        if float(s2[:r].sum()) >= share * total:
            return r
    return len(s2)


# %% right: searchsorted
def intrinsic_rank(update, share):
    s2 = torch.linalg.svd(update.double()).S.square()
    if s2.sum() == 0:
        return 0
    return int(torch.searchsorted(s2.cumsum(0), share * s2.sum())) + 1


# %% wrong: singular values not squared -> squares
def intrinsic_rank(update, share):
    s = torch.linalg.svdvals(update.double())
    if s.sum() == 0:
        return 0
    return int((s.cumsum(0) / s.sum() < share).sum()) + 1


# %% wrong: counts without adding one -> off by one
def intrinsic_rank(update, share):
    s2 = torch.linalg.svdvals(update.double()).square()
    if s2.sum() == 0:
        return 0
    return int((s2.cumsum(0) / s2.sum() < share).sum())


# %% wrong: one too many -> off by one
def intrinsic_rank(update, share):
    s2 = torch.linalg.svdvals(update.double()).square()
    if s2.sum() == 0:
        return 0
    return int((s2.cumsum(0) / s2.sum() < share).sum()) + 2


# %% wrong: zero forgotten -> zero
def intrinsic_rank(update, share):
    s2 = torch.linalg.svdvals(update.double()).square()
    return int((s2.cumsum(0) / s2.sum() < share).sum()) + 1


# %% wrong: rank of the matrix -> rank
def intrinsic_rank(update, share):
    return int(torch.linalg.matrix_rank(update))


# %% wrong: a tensor -> whole
def intrinsic_rank(update, share):
    s2 = torch.linalg.svdvals(update.double()).square()
    if s2.sum() == 0:
        return 0
    return (s2.cumsum(0) / s2.sum() < share).sum() + 1


# %% wrong: the singular values unsquared -> squares
def intrinsic_rank(update, share):
    s = torch.linalg.svdvals(update)
    if s.sum() == 0:
        return 0
    kept = s.cumsum(0) / s.sum()
    return int((kept < share).sum()) + 1


# %% wrong: how many values are above one minus the share of the largest -> rank
def intrinsic_rank(update, share):
    s = torch.linalg.svdvals(update)
    return int((s > (1 - share) * s.max()).sum())


# %% wrong: more than the share -> off by one
def intrinsic_rank(update, share):
    s = torch.linalg.svdvals(update) ** 2
    if s.sum() == 0:
        return 0
    kept = s.cumsum(0) / s.sum()
    return int((kept < share).sum())


# %% wrong: counts the large ones, no running sum -> rank
def intrinsic_rank(update, share):
    energy = torch.linalg.svdvals(update).square()
    return int((energy > (1 - share) * energy.sum()).sum())


# %% wrong: lengths of the rows in place of singular values -> rank
def intrinsic_rank(update, share):
    energy = update.double().square().sum(1).sort(descending=True).values
    if not energy.any():
        return 0
    return int((energy.cumsum(0) / energy.sum() < share - 1e-12).sum()) + 1


# %% wrong: more than the share where exactly the share is enough -> exactly
def intrinsic_rank(update, share):
    s = torch.linalg.svdvals(update) ** 2
    if s.sum() == 0:
        return 0
    c = s.cumsum(0) / s.sum()
    return int((c <= share).sum()) + 1
