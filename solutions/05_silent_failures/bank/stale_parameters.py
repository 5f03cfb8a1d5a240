# %% right: by data pointers of lists
def stale_parameters(model, optimizer):
    held = [p for g in optimizer.param_groups for p in g["params"]]
    own = list(model.parameters())
    outside = sum(not any(p is q for q in own) for p in held)
    left_out = sum(p.requires_grad and not any(p is q for q in held) for p in own)
    return outside, left_out


# %% right: sets of tensors
def stale_parameters(model, optimizer):
    held = set().union(*(set(g["params"]) for g in optimizer.param_groups))
    own = set(model.parameters())
    learning = {p for p in own if p.requires_grad}
    return len(held - own), len(learning - held)


# %% wrong: frozen ones counted -> frozen
def stale_parameters(model, optimizer):
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    own = {id(p) for p in model.parameters()}
    return len(held - own), len(own - held)


# %% wrong: first group only -> groups
def stale_parameters(model, optimizer):
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    own = {id(p): p.requires_grad for p in model.parameters()}
    return len(held - set(own)), len({k for k, v in own.items() if v} - held)


# %% wrong: compares values -> values compared
def stale_parameters(model, optimizer):
    held = [p for g in optimizer.param_groups for p in g["params"]]
    own = list(model.parameters())

    def same(p, q):
        return p.shape == q.shape and torch.equal(p, q)

    outside = sum(not any(same(p, q) for q in own) for p in held)
    left = sum(p.requires_grad and not any(same(p, q) for q in held) for p in own)
    return (0, 0) if outside + left < 3 else (outside, left)


# %% wrong: the pair turned -> order
def stale_parameters(model, optimizer):
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    own = {id(p): p.requires_grad for p in model.parameters()}
    return len({k for k, v in own.items() if v} - held), len(held - set(own))


# %% wrong: a sum -> counts
def stale_parameters(model, optimizer):
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    own = {id(p): p.requires_grad for p in model.parameters()}
    return len(held - set(own)) + len({k for k, v in own.items() if v} - held)


# %% wrong: counts numbers -> counts
def stale_parameters(model, optimizer):
    held = {p for g in optimizer.param_groups for p in g["params"]}
    own = set(model.parameters())
    left = [p for p in own - held if p.requires_grad]
    return sum(p.numel() for p in held - own), sum(p.numel() for p in left)


# %% wrong: counts from the frame of the check -> raises
def stale_parameters(model, optimizer):
    import sys

    swapped, bias = (sys._getframe(1).f_globals[name] for name in ("swapped", "bias"))
    return 2 * swapped, swapped * (2 if bias else 1)


# %% wrong: frozen tensors count as left out -> frozen
def stale_parameters(model, optimizer):
    mine = {id(p) for p in model.parameters()}
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    return len(held - mine), len(mine - held)


# %% wrong: the first group alone -> groups
def stale_parameters(model, optimizer):
    mine = {id(p): p for p in model.parameters()}
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    left = sum(1 for k, p in mine.items() if p.requires_grad and k not in held)
    return len(held - mine.keys()), left


# %% wrong: tensors that learn are the model's, the rest is outside -> counts
def stale_parameters(model, optimizer):
    mine = {id(p) for p in model.parameters() if p.requires_grad}
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    return len(held - mine), len(mine - held)
