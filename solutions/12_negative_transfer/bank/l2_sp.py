# %% right: vectors of all entries
def l2_sp(model, start, head, alpha, beta):
    own = dict(model.named_parameters())
    new = [name for name in own if name.split(".")[0] == head]
    w = torch.cat([(own[n] - start[n]).flatten() for n in own if n not in new])
    v = torch.cat([own[n].flatten() for n in new])
    return alpha / 2 * w @ w + beta / 2 * v @ v


# %% right: the head from its module
def l2_sp(model, start, head, alpha, beta):
    new = {id(p) for p in model.get_submodule(head).parameters()}
    total = torch.zeros(())
    for name, p in model.named_parameters():
        if id(p) in new:
            total = total + 0.5 * beta * (p**2).sum()
        else:
            total = total + 0.5 * alpha * ((p - start[name].detach()) ** 2).sum()
    return total


# %% wrong: without the halves -> half
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total = total + beta * p.square().sum()
        else:
            total = total + alpha * (p - start[name]).square().sum()
    return total


# %% wrong: the head towards the old head -> head
def l2_sp(model, start, head, alpha, beta):
    away = size = 0
    for name, p in model.named_parameters():
        away = away + (p - start[name]).square().sum()
        if name.startswith(head + "."):
            size = size + p.square().sum()
    return alpha / 2 * away + beta / 2 * size


# %% wrong: fc_old taken for the head -> prefix
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.startswith(head):
            total = total + beta / 2 * p.square().sum()
        else:
            total = total + alpha / 2 * (p - start[name]).square().sum()
    return total


# %% wrong: weight decay -> zero
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        factor = beta if name.startswith(head + ".") else alpha
        total = total + factor / 2 * p.square().sum()
    return total


# %% wrong: means -> mean
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total = total + beta / 2 * p.square().mean()
        else:
            total = total + alpha / 2 * (p - start[name]).square().mean()
    return total


# %% wrong: norms that are not squared -> norm
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total = total + beta / 2 * p.norm()
        else:
            total = total + alpha / 2 * (p - start[name]).norm()
    return total


# %% wrong: alpha and beta exchanged -> swapped
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total = total + alpha / 2 * p.square().sum()
        else:
            total = total + beta / 2 * (p - start[name]).square().sum()
    return total


# %% wrong: the head left out -> no beta
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if not name.startswith(head + "."):
            total = total + alpha / 2 * (p - start[name]).square().sum()
    return total


# %% wrong: from the state dict, which has no gradient -> no gradient
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.state_dict().items():
        if name.startswith(head + "."):
            total = total + beta / 2 * p.square().sum()
        else:
            total = total + alpha / 2 * (p - start[name]).square().sum()
    return total


# %% wrong: a plain number -> no gradient
def l2_sp(model, start, head, alpha, beta):
    total = 0.0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total += beta / 2 * p.square().sum().item()
        else:
            total += alpha / 2 * (p - start[name]).square().sum().item()
    return total


# %% wrong: one number a tensor -> scalar
def l2_sp(model, start, head, alpha, beta):
    total = []
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            total.append(beta / 2 * p.square().sum())
        else:
            total.append(alpha / 2 * (p - start[name]).square().sum())
    return torch.stack(total)


# %% wrong: weights only, biases left out -> penalty
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            continue
        if name.startswith(head + "."):
            total = total + beta / 2 * p.square().sum()
        else:
            total = total + alpha / 2 * (p - start[name]).square().sum()
    return total


# %% wrong: norms unsquared -> norm
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for n, p in model.named_parameters():
        if n.startswith(head + "."):
            total = total + beta / 2 * p.norm()
        else:
            total = total + alpha / 2 * (p - start[n]).norm()
    return total


# %% wrong: the mean of the squares -> mean
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for n, p in model.named_parameters():
        if n.startswith(head + "."):
            total = total + beta / 2 * (p**2).mean()
        else:
            total = total + alpha / 2 * ((p - start[n]) ** 2).mean()
    return total


# %% wrong: alpha for the head as well -> penalty
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for n, p in model.named_parameters():
        near = torch.zeros_like(p) if n.startswith(head + ".") else start[n]
        total = total + alpha / 2 * ((p - near) ** 2).sum()
    return total


# %% wrong: towards the old head where its size allows it -> head
def l2_sp(model, start, head, alpha, beta):
    total = 0
    for name, p in model.named_parameters():
        if name in start and start[name].shape == p.shape:
            total = total + alpha / 2 * (p - start[name]).square().sum()
        else:
            total = total + beta / 2 * p.square().sum()
    return total


# %% wrong: means over each tensor away from the start -> penalty
def l2_sp(model, start, head, alpha, beta):
    away = size = 0.0
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            size = size + p.square().sum()
        else:
            away = away + (p - start[name]).square().mean()
    return alpha / 2 * away + beta / 2 * size
