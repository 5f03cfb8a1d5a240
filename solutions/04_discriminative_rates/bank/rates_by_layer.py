# %% right: part by part, with a check at the end
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, seen = [], set()
    rate = base / alpha ** -(len(parts) - 2)
    for part in parts:
        own = dict(model.get_submodule(part).named_parameters())
        seen |= {f"{part}.{name}" for name in own}
        lr = base if part == parts[-1] else rate
        for matrices in (True, False):
            params = [p for p in own.values() if (p.ndim > 1) == matrices]
            decay = weight_decay if matrices else 0.0
            groups.append({"params": params, "lr": lr, "weight_decay": decay})
        rate /= alpha
    forgotten = {name for name, _ in model.named_parameters()} - seen
    if forgotten:
        raise ValueError(f"in no part: {sorted(forgotten)}")
    return groups


# %% right: a group for each parameter
def rates_by_layer(model, parts, base, alpha, weight_decay):
    found = []
    for name, p in model.named_parameters():
        for steps, part in enumerate(reversed(parts)):
            if (name + ".").startswith(part + "."):
                lr = base * alpha ** max(steps - 1, 0)
                decay = 0 if p.ndim <= 1 else weight_decay
                found.append(dict(params=[p], lr=lr, weight_decay=decay))
                break
        else:
            raise ValueError(name)
    return found


# %% wrong: names that begin alike -> twice
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    names = dict(model.named_parameters())
    for l, part in enumerate(parts):
        lr = base if part == parts[-1] else base * alpha ** (L - l)
        for name, p in names.items():
            if name.startswith(part):
                decay = weight_decay if p.ndim > 1 else 0.0
                groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    for name in names:
        if not any(name.startswith(part) for part in parts):
            raise ValueError(f"{name} is in no part")
    return groups


# %% wrong: names that contain one another -> twice
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        own = [p for name, p in model.named_parameters() if part in name]
        lr = base * alpha ** max(L - l, 0)
        groups.append(dict(params=own, lr=lr, weight_decay=weight_decay))
    return groups


# %% wrong: the first component of the name -> missing parameter
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        lr = base * alpha ** max(L - l, 0)
        for name, p in model.named_parameters():
            if name.split(".")[0] == part:
                decay = weight_decay if p.ndim > 1 else 0.0
                groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: nobody asks for the forgotten -> left out
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        lr = base * alpha ** max(L - l, 0)
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: the forgotten join the head -> left out
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for name, p in model.named_parameters():
        own = [l for l, part in enumerate(parts) if name.startswith(part + ".")]
        l = own[0] if own else L + 1
        decay = weight_decay if p.ndim > 1 else 0.0
        lr = base * alpha ** max(L - l, 0)
        groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: the stem is the fastest -> reverse
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups = []
    for l, part in enumerate(parts):
        lr = base if part == parts[-1] else base * alpha**l
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: the head counted as layer L -> one step
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 1
    for l, part in enumerate(parts):
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            lr = base * alpha ** (L - l)
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: the formula for the head, too -> head
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            lr = base * alpha ** (L - l)
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: alpha times l -> rates
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            lr = base * (1 - alpha * max(L - l, 0) / len(parts))
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: everything decays -> decay
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        params = list(model.get_submodule(part).parameters())
        lr = base * alpha ** max(L - l, 0)
        groups.append(dict(params=params, lr=lr, weight_decay=weight_decay))
    return groups


# %% wrong: only biases are spared -> norms
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        for name, p in model.get_submodule(part).named_parameters():
            decay = 0.0 if name.endswith("bias") else weight_decay
            lr = base * alpha ** max(L - l, 0)
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: norms looked for by name -> norms
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        for name, p in model.get_submodule(part).named_parameters():
            spared = "norm" in part + name or name.endswith("bias")
            decay = 0.0 if spared else weight_decay
            lr = base * alpha ** max(L - l, 0)
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    return groups


# %% wrong: nothing returned -> raises
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups = [dict(params=model.parameters(), lr=base, weight_decay=weight_decay)]


# %% wrong: an error that names nothing -> unnamed
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        lr = base * alpha ** max(L - l, 0)
        for p in model.get_submodule(part).parameters():
            decay = weight_decay if p.ndim > 1 else 0.0
            groups.append(dict(params=[p], lr=lr, weight_decay=decay))
    if len(groups) < len(list(model.parameters())):
        raise ValueError("some parameters are in no part")
    return groups


# %% wrong: decay left to the optimizer -> decay
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, L = [], len(parts) - 2
    for l, part in enumerate(parts):
        params = list(model.get_submodule(part).parameters())
        groups.append(dict(params=params, lr=base * alpha ** max(L - l, 0)))
    return groups


# %% wrong: decay decided by the name bias -> norms
def rates_by_layer(model, parts, base, alpha, weight_decay):
    L, groups, seen = len(parts) - 2, [], set()
    for i, part in enumerate(parts):
        lr = base * alpha ** max(L - i, 0)
        own = [(n, p) for n, p in model.named_parameters() if n.startswith(part + ".")]
        seen |= {n for n, _ in own}
        bias = [p for n, p in own if n.endswith("bias")]
        rest = [p for n, p in own if not n.endswith("bias")]
        groups.append({"params": rest, "lr": lr, "weight_decay": weight_decay})
        groups.append({"params": bias, "lr": lr, "weight_decay": 0.0})
    for n, _ in model.named_parameters():
        if n not in seen:
            raise ValueError(n)
    return groups


# %% wrong: the head one step above the base -> one step
def rates_by_layer(model, parts, base, alpha, weight_decay):
    groups, seen = [], set()
    for i, part in enumerate(reversed(parts)):
        lr = base * alpha**i
        own = [(n, p) for n, p in model.named_parameters() if n.startswith(part + ".")]
        seen |= {n for n, _ in own}
        for decay, keep in (
            (weight_decay, lambda p: p.dim() > 1),
            (0.0, lambda p: p.dim() <= 1),
        ):
            groups.append(
                {
                    "params": [p for _, p in own if keep(p)],
                    "lr": lr,
                    "weight_decay": decay,
                }
            )
    for n, _ in model.named_parameters():
        if n not in seen:
            raise ValueError(n)
    return groups


# %% wrong: the error does not name the parameter -> unnamed
def rates_by_layer(model, parts, base, alpha, weight_decay):
    L, groups, held = len(parts) - 2, [], 0
    for i, part in enumerate(parts):
        lr = base * alpha ** max(L - i, 0)
        own = [p for n, p in model.named_parameters() if n.startswith(part + ".")]
        held += len(own)
        groups.append(
            {
                "params": [p for p in own if p.dim() > 1],
                "lr": lr,
                "weight_decay": weight_decay,
            }
        )
        groups.append(
            {"params": [p for p in own if p.dim() == 1], "lr": lr, "weight_decay": 0.0}
        )
    if held != len(list(model.parameters())):
        raise ValueError("some parameters are in no part")
    return groups


# %% wrong: decay for two dimensions only, none for convolutions -> decay
def rates_by_layer(model, parts, base, alpha, weight_decay):
    L, groups = len(parts) - 2, []
    for name, p in model.named_parameters():
        own = [i for i, part in enumerate(parts) if name.startswith(part + ".")]
        if not own:
            raise ValueError(f"{name} is in no part")
        rate = base * alpha ** max(L - own[0], 0)
        groups.append(
            dict(params=[p], lr=rate, weight_decay=weight_decay * (p.ndim == 2))
        )
    return groups


# %% wrong: the base rate is forgotten -> rates
def rates_by_layer(model, parts, base, alpha, weight_decay):
    L, groups = len(parts) - 2, []
    for name, p in model.named_parameters():
        own = [i for i, part in enumerate(parts) if name.startswith(part + ".")]
        if not own:
            raise ValueError(f"{name} is in no part")
        rate = alpha ** max(L - own[0], 0)
        groups.append(
            dict(params=[p], lr=rate, weight_decay=weight_decay * (p.ndim > 1))
        )
    return groups
