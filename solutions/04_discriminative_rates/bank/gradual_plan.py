# %% right: from the full table
def gradual_plan(parts, base, alpha, every):
    L = len(parts) - 2
    rates = {part: base * alpha ** (L - l) for l, part in enumerate(parts[:-1])}
    rates[parts[-1]] = base
    return {
        i * every: {part: rates[part] for part in parts[L + 1 - i :]}
        for i in range(L + 2)
    }


# %% right: copies of one dictionary
def gradual_plan(parts, base, alpha, every):
    waiting, rate = list(parts), base
    now = {waiting.pop(): base}
    plan, epoch = {0: dict(now)}, 0
    while waiting:
        epoch += every
        now[waiting.pop()] = rate
        rate *= alpha
        plan[epoch] = dict(now)
    return plan


# %% wrong: one dictionary for all epochs -> shared
def gradual_plan(parts, base, alpha, every):
    now = {parts[-1]: base}
    plan = {0: now}
    for step, part in enumerate(reversed(parts[:-1])):
        now[part] = base * alpha**step
        plan[(step + 1) * every] = now
    return plan


# %% wrong: the stem first -> direction
def gradual_plan(parts, base, alpha, every):
    L = len(parts) - 2
    now = {parts[-1]: base}
    plan = {0: dict(now)}
    for l, part in enumerate(parts[:-1]):
        now[part] = base * alpha ** (L - l)
        plan[(l + 1) * every] = dict(now)
    return plan


# %% wrong: only what is new -> stays
def gradual_plan(parts, base, alpha, every):
    plan = {0: {parts[-1]: base}}
    for step, part in enumerate(reversed(parts[:-1])):
        plan[(step + 1) * every] = {part: base * alpha**step}
    return plan


# %% wrong: every epoch -> every
def gradual_plan(parts, base, alpha, every):
    now = {parts[-1]: base}
    plan = {0: dict(now)}
    for step, part in enumerate(reversed(parts[:-1])):
        now[part] = base * alpha**step
        plan[step + 1] = dict(now)
    return plan


# %% wrong: the last block opens with the head -> start
def gradual_plan(parts, base, alpha, every):
    now, plan = {parts[-1]: base}, {}
    for step, part in enumerate(reversed(parts[:-1])):
        now[part] = base * alpha**step
        plan[step * every] = dict(now)
    return plan


# %% wrong: the head waits, too -> start
def gradual_plan(parts, base, alpha, every):
    now, plan = {}, {}
    for step, part in enumerate(reversed(parts)):
        now[part] = base * alpha ** max(step - 1, 0)
        plan[(step + 1) * every] = dict(now)
    return plan


# %% wrong: the head counted as layer L -> one step
def gradual_plan(parts, base, alpha, every):
    now, plan = {}, {}
    for step, part in enumerate(reversed(parts)):
        now[part] = base * alpha**step
        plan[step * every] = dict(now)
    return plan


# %% wrong: the stem is the fastest -> reverse
def gradual_plan(parts, base, alpha, every):
    now = {parts[-1]: base}
    plan = {0: dict(now)}
    for l in reversed(range(len(parts) - 1)):
        now[parts[l]] = base * alpha**l
        plan[(len(parts) - 1 - l) * every] = dict(now)
    return plan


# %% wrong: rates fall with every opening -> head
def gradual_plan(parts, base, alpha, every):
    now, plan = {parts[-1]: base}, {0: {parts[-1]: base}}
    for step, part in enumerate(reversed(parts[:-1])):
        now = {name: rate * (alpha if step else 1) for name, rate in now.items()}
        now[part] = base
        plan[(step + 1) * every] = dict(now)
    return plan


# %% wrong: one flat rate -> rates
def gradual_plan(parts, base, alpha, every):
    n = len(parts)
    return {i * every: dict.fromkeys(parts[n - 1 - i :], base) for i in range(n)}


# %% wrong: a list of epochs -> raises
def gradual_plan(parts, base, alpha, every):
    return [parts[-1 - i :] for i in range(len(parts))]


# %% wrong: the block below the last opens first -> opening
def gradual_plan(parts, base, alpha, every):
    *blocks, head = parts
    rates = {part: base * alpha**step for step, part in enumerate(reversed(blocks))}
    order = list(rates)
    order = [*order[1:2], order[0], *order[2:]]
    now, plan = {head: base}, {0: {head: base}}
    for step, part in enumerate(order):
        now = {**now, part: rates[part]}
        plan[(step + 1) * every] = now
    return plan


# %% wrong: epochs as texts -> plan
def gradual_plan(parts, base, alpha, every):
    now = {parts[-1]: base}
    plan = {"epoch 0": dict(now)}
    for step, part in enumerate(reversed(parts[:-1])):
        now[part] = base * alpha**step
        plan[f"epoch {(step + 1) * every}"] = dict(now)
    return plan


# %% wrong: only the group that opens -> stays
def gradual_plan(parts, base, alpha, every):
    L, plan = len(parts) - 2, {0: {parts[-1]: base}}
    for i, part in enumerate(reversed(parts[:-1])):
        plan[(i + 1) * every] = {part: base * alpha**i}
    return plan


# %% wrong: an opening in each epoch, counted by every -> one step
def gradual_plan(parts, base, alpha, every):
    plan, open_ = {}, {parts[-1]: base}
    plan[0] = dict(open_)
    for i, part in enumerate(reversed(parts[:-1])):
        open_[part] = base * alpha ** (i + 1)
        plan[(i + 1) * every] = dict(open_)
    return plan


# %% wrong: opens from the stem up -> direction
def gradual_plan(parts, base, alpha, every):
    L, plan, now = len(parts) - 2, {}, {parts[-1]: base}
    plan[0] = dict(now)
    for i, part in enumerate(parts[:-1]):
        now[part] = base * alpha ** (L - i)
        plan[(i + 1) * every] = dict(now)
    return plan


# %% wrong: one step down for all but the last block -> rates
def gradual_plan(parts, base, alpha, every):
    *blocks, head = parts
    learning, plan = {head: base}, {0: {head: base}}
    for step, part in enumerate(reversed(blocks)):
        learning = {**learning, part: base * (alpha if step else 1)}
        plan[(step + 1) * every] = learning
    return plan


# %% wrong: the base rate reaches the head alone -> rates
def gradual_plan(parts, base, alpha, every):
    *blocks, head = parts
    learning, plan = {head: base}, {0: {head: base}}
    for step, part in enumerate(reversed(blocks)):
        learning = {**learning, part: alpha**step}
        plan[(step + 1) * every] = learning
    return plan


# %% wrong: the time between two openings doubles -> every
def gradual_plan(parts, base, alpha, every):
    *blocks, head = parts
    learning, plan = {head: base}, {0: {head: base}}
    for step, part in enumerate(reversed(blocks)):
        learning = {**learning, part: base * alpha**step}
        plan[every * 2**step] = learning
    return plan
