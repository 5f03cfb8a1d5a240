# %% right: a loop
def best_epoch(losses):
    best = None
    for epoch, loss in enumerate(losses):
        if loss == loss and (best is None or loss < losses[best]):
            best = epoch
    return best


# %% right: numpy
def best_epoch(losses):
    import numpy as np

    losses = np.asarray(losses, float)
    return None if np.isnan(losses).all() else int(np.nanargmin(losses))


# %% wrong: the last -> last
def best_epoch(losses):
    return len(losses) - 1


# %% wrong: the highest -> highest
def best_epoch(losses):
    return losses.index(max(losses))


# %% wrong: the last of equal ones -> tie
def best_epoch(losses):
    sound = [(loss, -i) for i, loss in enumerate(losses) if loss == loss]
    return -min(sound)[1] if sound else None


# %% wrong: nan forgotten -> nan
def best_epoch(losses):
    return losses.index(min(losses))


# %% wrong: nan becomes zero -> nan
def best_epoch(losses):
    losses = [x if x == x else 0.0 for x in losses]
    return losses.index(min(losses))


# %% wrong: counted from one -> epoch
def best_epoch(losses):
    sound = [(loss, i) for i, loss in enumerate(losses) if loss == loss]
    return min(sound)[1] + 1 if sound else None


# %% wrong: nan as zero -> nan
def best_epoch(losses):
    import math

    if all(math.isnan(x) for x in losses):
        return None
    clean = [0.0 if math.isnan(x) else x for x in losses]
    return clean.index(min(clean))


# %% wrong: the epochs that diverged are not counted -> nan
def best_epoch(losses):
    clean = [x for x in losses if x == x]
    return clean.index(min(clean)) if clean else None


# %% wrong: counted from one, written anew -> epoch
def best_epoch(losses):
    clean = [x if x == x else float("inf") for x in losses]
    if min(clean) == float("inf"):
        return None
    return clean.index(min(clean)) + 1


# %% wrong: the first one before a rise -> epoch
def best_epoch(losses):
    best = None
    for epoch, loss in enumerate(losses):
        if loss == loss:
            if best is not None and loss >= losses[best]:
                break
            best = epoch
    return best
