# %% right: padded
def prepend(P, words, mask):
    prompt = P.unsqueeze(0).repeat(words.shape[0], 1, 1)
    wider = nn.functional.pad(mask, (P.shape[0], 0), value=1)
    return torch.cat((prompt, words), 1), wider


# %% right: filled in
def prepend(P, words, mask):
    N, T, d = words.shape
    longer = words.new_zeros(N, len(P) + T, d)
    longer[:, : len(P)], longer[:, len(P) :] = P, words
    wider = torch.ones(N, len(P) + T, dtype=mask.dtype)
    wider[:, len(P) :] = mask
    return longer, wider


# %% wrong: as it was -> side
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    mask = torch.cat([mask, torch.ones(len(mask), len(P))], dim=1)
    return longer, mask


# %% wrong: the right side, float -> kind
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.cat([torch.ones(len(mask), len(P)), mask], dim=1)


# %% wrong: zeros for the prompt -> hidden
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.cat([mask.new_zeros(len(mask), len(P)), mask], dim=1)


# %% wrong: a mask of ones -> padding
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.ones(longer.shape[:2], dtype=mask.dtype)


# %% wrong: the mask as it came -> shape
def prepend(P, words, mask):
    return torch.cat([P.expand(len(words), -1, -1), words], dim=1), mask


# %% wrong: the prompt behind the words -> front
def prepend(P, words, mask):
    longer = torch.cat([words, P.expand(len(words), -1, -1)], dim=1)
    return longer, torch.cat([mask, mask.new_ones(len(mask), len(P))], dim=1)


# %% wrong: the mask repeated from its first places -> mask
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.cat([mask[:, -len(P) :], mask], dim=1)


# %% wrong: one prompt for the whole batch -> raises
def prepend(P, words, mask):
    longer = torch.cat([P[None], words], dim=1)
    return longer, torch.cat([mask.new_ones(len(mask), len(P)), mask], dim=1)


# %% wrong: zeros for the prompt, written anew -> hidden
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    front = mask.new_zeros(len(mask), len(P))
    return longer, torch.cat([front, mask], dim=1)


# %% wrong: the prompt behind the words, written anew -> front
def prepend(P, words, mask):
    longer = torch.cat([words, P.expand(len(words), -1, -1)], dim=1)
    return longer, torch.cat([mask, mask.new_ones(len(mask), len(P))], dim=1)


# %% wrong: everything may be attended to -> padding
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, mask.new_ones(longer.shape[:2])


# %% wrong: the first place of the mask repeated -> mask
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.cat([mask[:, :1].expand(-1, len(P)), mask], dim=1)


# %% wrong: always whole numbers -> kind
def prepend(P, words, mask):
    longer = torch.cat([P.expand(len(words), -1, -1), words], dim=1)
    return longer, torch.cat([torch.ones(len(mask), len(P)).long(), mask.long()], dim=1)


# %% wrong: the mean of the prompt -> front
def prepend(P, words, mask):
    longer = torch.cat([P.mean(0).expand(len(words), len(P), -1), words], dim=1)
    return longer, torch.cat([mask.new_ones(len(mask), len(P)), mask], dim=1)
