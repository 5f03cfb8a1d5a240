# %% right: by buffers
def drifting(model):
    names = []
    for name, module in model.named_modules():
        buffers = dict(module.named_buffers(recurse=False))
        if "running_mean" not in buffers or not module.training:
            continue
        own = list(module.parameters(recurse=False))
        if not [p for p in own if p.requires_grad]:
            names.append(name)
    return sorted(names)


# %% right: one expression
def drifting(model):
    return sorted(
        n
        for n, m in model.named_modules()
        if m.training
        and isinstance(getattr(m, "running_var", None), torch.Tensor)
        and not any(p.requires_grad for p in m.parameters(recurse=False))
    )


# %% wrong: eval mode too -> eval
def drifting(model):
    return sorted(
        n
        for n, m in model.named_modules()
        if getattr(m, "running_mean", None) is not None
        and not any(p.requires_grad for p in m.parameters(recurse=False))
    )


# %% wrong: learning layers too -> learning
def drifting(model):
    return sorted(
        n
        for n, m in model.named_modules()
        if m.training and getattr(m, "running_mean", None) is not None
    )


# %% wrong: every norm -> statistics
def drifting(model):
    return sorted(
        n
        for n, m in model.named_modules()
        if m.training
        and "Norm" in type(m).__name__
        and not any(p.requires_grad for p in m.parameters(recurse=False))
    )


# %% wrong: needs a frozen weight -> learning
def drifting(model):
    return sorted(
        n
        for n, m in model.named_modules()
        if m.training
        and getattr(m, "running_mean", None) is not None
        and getattr(m, "weight", None) is not None
        and not m.weight.requires_grad
    )


# %% wrong: children only -> missing
def drifting(model):
    return sorted(
        n
        for n, m in model.named_children()
        if m.training
        and getattr(m, "running_mean", None) is not None
        and not any(p.requires_grad for p in m.parameters())
    )


# %% wrong: a set -> no plain data
def drifting(model):
    return {
        n
        for n, m in model.named_modules()
        if m.training and getattr(m, "running_mean", None) is not None
    }


# %% wrong: looks for names in the frame of the check -> raises
def drifting(model):
    import sys

    still, learning, drifts = sys._getframe(1).f_globals["names"]
    found = [f"{learning}.inner.0", f"{drifts}.norm", f"{drifts}.inner.0"]
    return sorted([*found, "plain", "instance"])


# %% wrong: children alone -> missing
def drifting(model):
    found = []
    for name, m in model.named_children():
        if (
            isinstance(m, nn.modules.batchnorm._BatchNorm)
            and m.training
            and m.running_mean is not None
        ):
            if not any(p.requires_grad for p in m.parameters()):
                found.append(name)
    return sorted(found)


# %% wrong: the model's mode in place of the layer's -> eval
def drifting(model):
    if not model.training:
        return []
    return sorted(
        name
        for name, m in model.named_modules()
        if getattr(m, "running_mean", None) is not None
        and not any(p.requires_grad for p in m.parameters())
    )


# %% wrong: only layers with frozen weights -> learning
def drifting(model):
    return sorted(
        name
        for name, m in model.named_modules()
        if getattr(m, "running_mean", None) is not None
        and m.training
        and getattr(m, "weight", None) is not None
        and not m.weight.requires_grad
    )


# %% wrong: the weight alone decides -> learning
def drifting(model):
    found = []
    for name, m in model.named_modules():
        if getattr(m, "running_mean", None) is not None and m.training:
            learns = m.weight is not None and m.weight.requires_grad
            if not learns:
                found.append(name)
    return sorted(found)


# %% wrong: the bias alone decides -> learning
def drifting(model):
    found = []
    for name, m in model.named_modules():
        if getattr(m, "running_mean", None) is not None and m.training:
            learns = m.bias is not None and m.bias.requires_grad
            if not learns:
                found.append(name)
    return sorted(found)


# %% wrong: all parameters would have to learn -> learning
def drifting(model):
    found = []
    for name, m in model.named_modules():
        if getattr(m, "running_mean", None) is not None and m.training:
            learns = list(m.parameters()) and all(
                p.requires_grad for p in m.parameters()
            )
            if not learns:
                found.append(name)
    return sorted(found)


# %% wrong: layers without parameters are left out -> affine
def drifting(model):
    found = []
    for name, m in model.named_modules():
        if getattr(m, "running_mean", None) is not None and m.training:
            learns = not list(m.parameters()) or any(
                p.requires_grad for p in m.parameters()
            )
            if not learns:
                found.append(name)
    return sorted(found)


# %% wrong: only BatchNorm in one and two dimensions -> missing
def drifting(model):
    found = []
    for name, m in model.named_modules():
        if (
            isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))
            and m.track_running_stats
            and m.training
        ):
            learns = any(p.requires_grad for p in m.parameters())
            if not learns:
                found.append(name)
    return sorted(found)
