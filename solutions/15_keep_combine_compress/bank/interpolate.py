# %% right: by name
def interpolate(start, end, alpha):
    out = {}
    for name in end:
        value = np.asarray(end[name])
        if value.dtype.kind in "iu":
            out[name] = value.copy()
        else:
            out[name] = start[name] + alpha * (value - start[name])
    return out


# %% right: counts by their name
def interpolate(start, end, alpha):
    out = {n: (1 - alpha) * start[n] + alpha * end[n] for n in end}
    return out | {n: end[n] for n in end if n.endswith("num_batches_tracked")}


# %% wrong: start and end exchanged -> swapped
def interpolate(start, end, alpha):
    out = {n: alpha * start[n] + (1 - alpha) * end[n] for n in end}
    return out | {n: end[n] for n in end if n.endswith("num_batches_tracked")}


# %% wrong: counts mixed -> counts
def interpolate(start, end, alpha):
    return {n: (1 - alpha) * start[n] + alpha * end[n] for n in end}


# %% wrong: counts of the start -> counts
def interpolate(start, end, alpha):
    out = {n: (1 - alpha) * start[n] + alpha * end[n] for n in end}
    return out | {n: start[n] for n in end if n.endswith("num_batches_tracked")}


# %% wrong: running statistics of the end -> statistics
def interpolate(start, end, alpha):
    out = {n: (1 - alpha) * start[n] + alpha * end[n] for n in end}
    kept = ("num_batches_tracked", "running_mean")
    return out | {n: end[n] for n in end if n.endswith(kept)}


# %% wrong: the end is added -> beyond
def interpolate(start, end, alpha):
    out = {n: start[n] + alpha * end[n] for n in end}
    return out | {n: end[n] for n in end if n.endswith("num_batches_tracked")}


# %% wrong: the start is changed in place -> changed
def interpolate(start, end, alpha):
    for name, value in start.items():
        if name.endswith("num_batches_tracked"):
            start[name] = end[name]
        else:
            value *= 1 - alpha
            value += alpha * end[name]
    return start
