# %% right: a loop over blocks
def blockwise(w, block):
    parts, scales = [], []
    for part in w.split(block):
        s = part.abs().max()
        parts.append(part / s if s > 0 else torch.zeros_like(part))
        scales.append(s)
    return torch.cat(parts), torch.stack(scales)


# %% right: nan_to_num
def blockwise(w, block):
    blocks = w.reshape(-1, block)
    scales = torch.linalg.vector_norm(blocks, float("inf"), dim=1)
    return torch.nan_to_num(blocks / scales[:, None]).reshape(-1), scales


# %% wrong: as it was -> one scale
def blockwise(w, block):
    scales = w.max().repeat(len(w) // block)
    return w / scales.repeat_interleave(block), scales


# %% wrong: absolute, but of all -> one scale
def blockwise(w, block):
    scales = w.abs().max().repeat(len(w) // block)
    return w / scales.repeat_interleave(block), scales


# %% wrong: largest, not absolute -> absolute
def blockwise(w, block):
    scales = w.view(-1, block).amax(1)
    safe = torch.where(scales == 0, torch.ones_like(scales), scales)
    return (w.view(-1, block) / safe[:, None]).flatten(), scales


# %% wrong: zeros divided by zero -> zeros
def blockwise(w, block):
    scales = w.view(-1, block).abs().amax(1)
    return (w.view(-1, block) / scales[:, None]).flatten(), scales


# %% wrong: scale of zeros is one -> zeros
def blockwise(w, block):
    scales = w.view(-1, block).abs().amax(1)
    scales[scales == 0] = 1
    return (w.view(-1, block) / scales[:, None]).flatten(), scales


# %% wrong: every n-th entry -> blocks
def blockwise(w, block):
    blocks = w.view(block, -1)
    scales = blocks.abs().amax(0)
    safe = torch.where(scales == 0, torch.ones_like(scales), scales)
    return (blocks / safe).flatten(), scales


# %% wrong: multiplied -> scaled
def blockwise(w, block):
    scales = w.view(-1, block).abs().amax(1)
    return (w.view(-1, block) * scales[:, None]).flatten(), scales


# %% wrong: one scale for all -> one scale
def blockwise(w, block):
    scales = w.abs().max().repeat(len(w) // block)
    return w / scales.repeat_interleave(block), scales


# %% wrong: a block of zeros has the scale one -> zeros
def blockwise(w, block):
    scales = w.view(-1, block).abs().amax(1)
    scales = torch.where(scales == 0, 1.0, scales)
    return w / scales.repeat_interleave(block), scales


# %% wrong: blocks taken as columns -> blocks
def blockwise(w, block):
    B = w.view(block, -1)
    scales = B.abs().amax(0)
    safe = torch.where(scales == 0, 1.0, scales)
    return (B / safe).flatten(), scales


# %% wrong: no block is divided by less than a thousandth -> tiny
def blockwise(w, block):
    b = w.view(-1, block)
    s = b.abs().amax(1)
    return (b / s.clamp(min=1e-3)[:, None]).flatten(), s
