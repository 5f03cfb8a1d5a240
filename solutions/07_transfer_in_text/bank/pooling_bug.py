# %% right: einsum
def pooled(hidden, mask):
    share = mask.float() / mask.sum(1, keepdim=True)
    return torch.einsum("ntd,nt->nd", hidden, share)


# %% right: a loop over tickets
def pooled(hidden, mask):
    return torch.stack([h[m.bool()].mean(0) for h, m in zip(hidden, mask)])


# %% wrong: as it was -> padding
def pooled(hidden, mask):
    return hidden.mean(dim=1)


# %% wrong: padding is summed, the length right -> padding
def pooled(hidden, mask):
    return hidden.sum(1) / mask.sum(1, keepdim=True)


# %% wrong: masked, then the plain mean -> length
def pooled(hidden, mask):
    return (hidden * mask[..., None]).mean(1)


# %% wrong: divided by all pieces of the batch -> length
def pooled(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum()


# %% wrong: the sum -> sum
def pooled(hidden, mask):
    return (hidden * mask[..., None]).sum(1)


# %% wrong: the mask turned round -> inverted
def pooled(hidden, mask):
    gone = (1 - mask)[..., None]
    return (hidden * gone).sum(1) / gone.sum(1).clamp(min=1)


# %% wrong: without the first piece -> special
def pooled(hidden, mask):
    own = mask[:, 1:, None]
    return (hidden[:, 1:] * own).sum(1) / own.sum(1)


# %% wrong: the first piece alone -> mean
def pooled(hidden, mask):
    return hidden[:, 0]


# %% wrong: the largest of each channel -> mean
def pooled(hidden, mask):
    return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


# %% wrong: one mean of the whole batch -> shape
def pooled(hidden, mask):
    return hidden[mask.bool()].mean(0)


# %% wrong: the padding is set to zero, all places counted -> length
def pooled(hidden, mask):
    return (hidden * mask[..., None]).mean(dim=1)


# %% wrong: the mean number of pieces in the batch -> mean
def pooled(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum(1).float().mean()


# %% wrong: the first piece -> mean
def pooled(hidden, mask):
    return hidden[:, 0]
