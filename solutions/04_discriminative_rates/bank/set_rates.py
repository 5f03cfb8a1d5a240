# %% right: kept on the optimizer, by group
def set_rates(optimizer, t, T):
    given = optimizer.__dict__.setdefault("given", {})
    c = math.floor(T / 10)
    p = t / c if t < c else (T - t) / (T - c)
    for group in optimizer.param_groups:
        key = id(group["params"][0])
        given.setdefault(key, group["lr"])
        group["lr"] = given[key] * (1 / 32 + p * 31 / 32)


# %% right: PyTorch's own key
def set_rates(optimizer, t, T):
    cut = int(T / 10)
    rising, falling = t / cut, 1 - (t - cut) / (T - cut)
    s = (1 + 31 * min(rising, falling)) / 32
    for group in optimizer.param_groups:
        if "initial_lr" not in group:
            group["initial_lr"] = group["lr"]
        group["lr"] = s * group["initial_lr"]


# %% wrong: one rate for all -> erased
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group["lr"] = optimizer.defaults["lr"] * (1 + p * 31) / 32


# %% wrong: the rate of the first group for all -> erased
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    first = optimizer.param_groups[0]
    base = first.setdefault("given", first["lr"])
    for group in optimizer.param_groups:
        group["lr"] = base * (1 + p * 31) / 32


# %% wrong: multiplied at every call -> compound
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group["lr"] *= (1 + p * 31) / 32


# %% wrong: the given rates are asked for at t = 0 only -> late
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    if t == 0:
        optimizer.given = [group["lr"] for group in optimizer.param_groups]
    for group, lr in zip(optimizer.param_groups, optimizer.given):
        group["lr"] = lr * (1 + p * 31) / 32


# %% wrong: the given rates in a list of the first call -> late
def set_rates(optimizer, t, T, given=[]):  # noqa: B006
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    if not given:
        given.extend([group["lr"] for group in optimizer.param_groups])
    for group, lr in zip(optimizer.param_groups, given):
        group["lr"] = lr * (1 + p * 31) / 32


# %% wrong: a list that every optimizer shares -> other optimizer
def set_rates(optimizer, t, T, given=[]):  # noqa: B006
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for i, group in enumerate(optimizer.param_groups):
        if i == len(given):
            given.append(group["lr"])
        group["lr"] = given[i] * (1 + p * 31) / 32


# %% wrong: the peak between two updates -> cut
def set_rates(optimizer, t, T):
    c = T / 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * (1 + p * 31) / 32


# %% wrong: down to zero -> ratio
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * p


# %% wrong: warm-up and cosine -> factor
def set_rates(optimizer, t, T):
    c = T // 10
    s = (t + 1) / c if t < c else (1 + math.cos(math.pi * (t - c) / (T - c))) / 2
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * s


# %% wrong: no rise at all -> factor
def set_rates(optimizer, t, T):
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * (1 + (1 - t / T) * 31) / 32


# %% wrong: kept on the optimizer when t is 0 -> other optimizer
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        if t == 0 or "given" not in group and t > T // 4 and t < T - 1:
            group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * (1 + p * 31) / 32


# %% wrong: remembers the first rates by optimizer in the function -> late
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    s = (1 + p * 31) / 32
    if not hasattr(optimizer, "given"):
        optimizer.given = [g["lr"] for g in optimizer.param_groups]
    for lr, group in zip(optimizer.given, optimizer.param_groups):
        group["lr"] = lr * s


# %% wrong: the peak is not rounded down -> cut
def set_rates(optimizer, t, T):
    c = T / 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * (1 + p * 31) / 32


# %% wrong: falls to zero in place of 1/32 -> factor
def set_rates(optimizer, t, T):
    c = T // 10
    p = t / c if t < c else 1 - (t - c) / (T - c)
    for group in optimizer.param_groups:
        group.setdefault("given", group["lr"])
        group["lr"] = group["given"] * (p if t >= c else (1 + p * 31) / 32)
