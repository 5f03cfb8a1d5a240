# %% right: a loop over rows
def answer_labels(ids, starts, lengths):
    labels = torch.full_like(ids, -100)
    for i, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist())):
        labels[i, start:length] = ids[i, start:length]
    return labels


# %% right: two masks on a copy
def answer_labels(ids, starts, lengths):
    labels = ids.clone()
    places = torch.arange(ids.shape[1]).expand_as(ids)
    labels[places < starts.unsqueeze(1)] = -100
    labels[places >= lengths.unsqueeze(1)] = -100
    return labels


# %% wrong: as it was -> question
def answer_labels(ids, starts, lengths):
    labels = ids.clone()
    labels[labels == 2] = -100
    return labels


# %% wrong: the question too -> question
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    return torch.where(places < lengths[:, None], ids, torch.full_like(ids, -100))


# %% wrong: all ends masked -> end
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    counted = (places >= starts[:, None]) & (ids != 2)
    return torch.where(counted, ids, torch.full_like(ids, -100))


# %% wrong: one token too few -> end
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    counted = (places >= starts[:, None]) & (places < lengths[:, None] - 1)
    return torch.where(counted, ids, torch.full_like(ids, -100))


# %% wrong: padding learned -> padding
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    return torch.where(places >= starts[:, None], ids, torch.full_like(ids, -100))


# %% wrong: the ids are changed -> changed
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    ids[(places < starts[:, None]) | (places >= lengths[:, None])] = -100
    return ids


# %% wrong: the answer alone -> labels
def answer_labels(ids, starts, lengths):
    return torch.stack([row[s : s + 3] for row, s in zip(ids, starts.tolist())])


# %% wrong: one position too late -> rows
def answer_labels(ids, starts, lengths):
    places = torch.arange(ids.shape[1])
    counted = (places > starts[:, None]) & (places < lengths[:, None])
    return torch.where(counted, ids, torch.full_like(ids, -100))
