# %% right: the smaller of two lines
def factor(step, steps, warmup):
    rise = step / warmup if warmup else 1.0
    fall = (steps - step) / (steps - warmup)
    return max(min(rise, fall), 0.0)


# %% right: interpolated
def factor(step, steps, warmup):
    import numpy as np

    if warmup == 0:
        return float(np.interp(step, [0, steps], [1, 0]))
    return float(np.interp(step, [0, warmup, steps], [0, 1, 0]))


# %% wrong: falls from the start -> jump
def factor(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return max(0.0, (steps - step) / steps)


# %% wrong: constant after the warm-up -> decay
def factor(step, steps, warmup):
    return min(1.0, step / warmup) if warmup else 1.0


# %% wrong: a cosine -> decay
def factor(step, steps, warmup):
    import math

    if step < warmup:
        return step / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (step - warmup) / (steps - warmup)))


# %% wrong: no warm-up at all -> rise
def factor(step, steps, warmup):
    return max(0.0, min(1.0, (steps - step) / (steps - warmup)))


# %% wrong: the warm-up falls -> rise
def factor(step, steps, warmup):
    if step < warmup:
        return 1 - step / warmup
    return max(0.0, (steps - step) / (steps - warmup))


# %% wrong: one update early -> off by one
def factor(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / (steps - warmup))


# %% wrong: divides by no warm-up -> no warm-up
def factor(step, steps, warmup):
    return max(0.0, min(step / warmup, (steps - step) / (steps - warmup)))


# %% wrong: begins at zero without a warm-up -> no warm-up
def factor(step, steps, warmup):
    if step < max(1, warmup):
        return step / max(1, warmup)
    return max(0.0, (steps - step) / (steps - warmup))


# %% wrong: negative after the end -> after
def factor(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return (steps - step) / (steps - warmup)


# %% wrong: falls below zero after the end -> after
def factor(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return (steps - step) / (steps - warmup)


# %% wrong: counted from one in the warm-up -> off by one
def factor(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / (steps - warmup))


# %% wrong: a cosine, written anew -> decay
def factor(step, steps, warmup):
    import math

    if step < warmup:
        return step / warmup
    share = min(1.0, (step - warmup) / (steps - warmup))
    return (1 + math.cos(math.pi * share)) / 2


# %% wrong: always 100 updates -> decay
def factor(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return max(0.0, (100 - step) / (100 - warmup))
