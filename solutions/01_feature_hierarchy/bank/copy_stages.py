# %% right: number by number
def copy_stages(donor, network, parts, frozen):
    inside = tuple(part + "." for part in parts)
    own, theirs = network.state_dict(), donor.state_dict()
    with torch.no_grad():
        for name in own:
            if name.startswith(inside):
                own[name].copy_(theirs[name])
    for name, p in network.named_parameters():
        if name.startswith(inside):
            p.requires_grad = not frozen
    for part in parts:
        network.get_submodule(part).train(not frozen)


# %% right: deep copies of the modules
def copy_stages(donor, network, parts, frozen):
    import copy

    for part in parts:
        module = copy.deepcopy(getattr(donor, part)).train()
        for p in module.parameters():
            p.requires_grad = True
        if frozen:
            module.eval().requires_grad_(False)
        setattr(network, part, module)


# %% wrong: as it was -> statistics
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine, theirs = network.get_submodule(part), donor.get_submodule(part)
        for p, q in zip(mine.parameters(), theirs.parameters()):
            p.data = q.data
            p.requires_grad = not frozen


# %% wrong: parameters cloned, nothing else -> statistics
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine, theirs = network.get_submodule(part), donor.get_submodule(part)
        for p, q in zip(mine.parameters(), theirs.parameters()):
            p.data = q.data.clone()
            p.requires_grad = not frozen
        mine.train(not frozen)


# %% wrong: the donor's own modules -> shared
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        module = getattr(donor, part)
        setattr(network, part, module.requires_grad_(not frozen).train(not frozen))


# %% wrong: statistics copied, memory still shared -> shared
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine, theirs = network.get_submodule(part), donor.get_submodule(part)
        for p, q in zip(mine.parameters(), theirs.parameters()):
            p.data = q.data
            p.requires_grad = not frozen
        for b, c in zip(mine.buffers(), theirs.buffers()):
            b.copy_(c)
        mine.train(not frozen)


# %% wrong: requires_grad alone -> drift
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())
        mine.requires_grad_(not frozen)


# %% wrong: always frozen -> tuned
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())
        mine.requires_grad_(False).eval()


# %% wrong: tuned copies learn with fixed statistics -> tuned
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())
        mine.requires_grad_(not frozen).eval()


# %% wrong: never frozen -> frozen
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())


# %% wrong: the whole network -> rest
def copy_stages(donor, network, parts, frozen):
    network.load_state_dict(donor.state_dict())
    for part in parts:
        network.get_submodule(part).requires_grad_(not frozen).train(not frozen)


# %% wrong: the whole network in eval mode -> rest
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())
        mine.requires_grad_(not frozen)
    if frozen:
        network.eval()


# %% wrong: from the network into the donor -> direction
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        donor.get_submodule(part).load_state_dict(mine.state_dict())
        mine.requires_grad_(not frozen).train(not frozen)


# %% wrong: a state dict that is changed, but not the network -> not copied
def copy_stages(donor, network, parts, frozen):
    own, theirs = dict(network.state_dict()), donor.state_dict()
    for part in parts:
        for name in own:
            if name.startswith(part + "."):
                own[name] = theirs[name].clone()
        network.get_submodule(part).requires_grad_(not frozen).train(not frozen)


# %% wrong: the parameters copied, the buffers not -> statistics
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine, theirs = network.get_submodule(part), donor.get_submodule(part)
        with torch.no_grad():
            for p, q in zip(mine.parameters(), theirs.parameters()):
                p.copy_(q)
                p.requires_grad = not frozen
        if frozen:
            mine.eval()


# %% wrong: the whole network is put into eval mode -> rest
def copy_stages(donor, network, parts, frozen):
    for part in parts:
        mine = network.get_submodule(part)
        mine.load_state_dict(donor.get_submodule(part).state_dict())
        mine.requires_grad_(not frozen)
    if frozen:
        network.eval()


# %% wrong: everything copied, the parts frozen -> rest
def copy_stages(donor, network, parts, frozen):
    network.load_state_dict(donor.state_dict())
    for part in parts:
        mine = network.get_submodule(part)
        if frozen:
            mine.requires_grad_(False).eval()


# %% wrong: names that begin alike are copied too -> rest
def copy_stages(donor, network, parts, frozen):
    taken = {
        name: tensor
        for name, tensor in donor.state_dict().items()
        if name.startswith(tuple(parts))
    }
    network.load_state_dict({**network.state_dict(), **taken})
    for part in parts:
        network.get_submodule(part).requires_grad_(not frozen).train(not frozen)
