# %% right: an entry of one
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        if "lr_scale" in group:
            group["lr"] = group["lr"] * group["lr_scale"]
            group["lr_scale"] = 1.0


# %% right: in two rounds
def apply_decay(optimizer):
    shares = [group.pop("lr_scale", 1.0) for group in optimizer.param_groups]
    for group, share in zip(optimizer.param_groups, shares):
        group["lr"] *= share


# %% wrong: nothing -> not applied
def apply_decay(optimizer):
    pass


# %% wrong: the optimizer's default -> not applied
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        optimizer.defaults["lr"] *= group.get("lr_scale", 1.0)
        group["lr_scale"] = 1.0


# %% wrong: one base rate for all -> own rate
def apply_decay(optimizer):
    base = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = base * group.pop("lr_scale", 1.0)


# %% wrong: divided -> shares
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        group["lr"] /= group.pop("lr_scale", 1.0)


# %% wrong: without a share the group stops -> shares
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 0.0)


# %% wrong: applied again at each call -> again
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)


# %% wrong: the share stays -> left
def apply_decay(optimizer):
    for group in optimizer.param_groups:
        given = group.setdefault("given_lr", group["lr"])
        group["lr"] = given * group.get("lr_scale", 1.0)
