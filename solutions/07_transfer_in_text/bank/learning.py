# %% right: by identity
def learning(encoder, head, update, warm):
    kept = list(encoder.parameters())
    new = [p for p in head.parameters() if not any(p is q for q in kept)]
    return new if update < warm else new + [q for q in kept if q.requires_grad]


# %% right: a dict without doubles
def learning(encoder, head, update, warm):
    own = {id(p): p for p in encoder.parameters()}
    found = {id(p): p for p in head.parameters() if id(p) not in own}
    if update >= warm:
        found |= {i: p for i, p in own.items() if p.requires_grad}
    return list(found.values())


# %% right: sets of parameters
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    new = set(head.parameters()) - own
    return list(new | {p for p in own if p.requires_grad and update >= warm})


# %% wrong: everything from the first update on -> early
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    new = set(head.parameters()) - own
    return list(new | {p for p in own if p.requires_grad})


# %% wrong: the colleague's line -> early
def learning(encoder, head, update, warm):
    return [*encoder.parameters(), *head.parameters()]


# %% wrong: all of the head, tied matrix included -> tied
def learning(encoder, head, update, warm):
    new = list(head.parameters())
    known = set(new)
    if update < warm:
        return new
    return new + [p for p in encoder.parameters() if p.requires_grad and p not in known]


# %% wrong: the tied matrix twice -> tied
def learning(encoder, head, update, warm):
    new = list(head.parameters())
    if update < warm:
        return new
    return new + [p for p in encoder.parameters() if p.requires_grad]


# %% wrong: one update late -> late
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    new = [p for p in head.parameters() if p not in own]
    if update <= warm:
        return new
    return new + [p for p in encoder.parameters() if p.requires_grad]


# %% wrong: frozen ones learn -> thawed
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    new = [p for p in head.parameters() if p not in own]
    return new if update < warm else new + list(encoder.parameters())


# %% wrong: the head stops when the encoder begins -> missing
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    if update < warm:
        return [p for p in head.parameters() if p not in own]
    return [p for p in encoder.parameters() if p.requires_grad]


# %% wrong: the encoder never learns -> missing
def learning(encoder, head, update, warm):
    own = set(encoder.parameters())
    return [p for p in head.parameters() if p not in own]


# %% wrong: by shape, so that the bias of the decoder is lost -> missing
def learning(encoder, head, update, warm):
    shapes = {p.shape for p in encoder.parameters()}
    new = [p for p in head.parameters() if p.shape not in shapes]
    return new + [p for p in encoder.parameters() if p.requires_grad and update >= warm]


# %% wrong: names instead of parameters -> list
def learning(encoder, head, update, warm):
    return [name for name, _ in head.named_parameters()]
