# %% right: strides multiplied each time
def receptive_fields(layers):
    import math

    found = []
    for i in range(len(layers)):
        steps = [math.prod(s for _, s, _ in layers[:n]) for n in range(i + 1)]
        spans = [d * (k - 1) for k, _, d in layers[: i + 1]]
        found.append(1 + sum(a * b for a, b in zip(spans, steps)))
    return found


# %% right: with a generator
def receptive_fields(layers):
    def grow():
        r = j = 1
        for k, s, d in layers:
            span = d * (k - 1) + 1
            r, j = r + (span - 1) * j, j * s
            yield r

    return list(grow())


# %% wrong: the stride first -> own stride
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        j *= s
        r += d * (k - 1) * j
        found.append(r)
    return found


# %% wrong: strides forgotten -> step
def receptive_fields(layers):
    r, found = 1, []
    for k, _, d in layers:
        r += d * (k - 1)
        found.append(r)
    return found


# %% wrong: k steps instead of k - 1 -> minus one
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r, j = r + d * k * j, j * s
        found.append(r)
    return found


# %% wrong: begins at zero -> start
def receptive_fields(layers):
    r, j, found = 0, 1, []
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j * s
        found.append(r)
    return found


# %% wrong: the lesson's own, dilation ignored -> dilation
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, _ in layers:
        r, j = r + (k - 1) * j, j * s
        found.append(r)
    return found


# %% wrong: dilation times the kernel -> dilation
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r, j = r + (d * k - 1) * j, j * s
        found.append(r)
    return found


# %% wrong: only the last -> list
def receptive_fields(layers):
    r = j = 1
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j * s
    return r


# %% wrong: the input as a layer of its own -> list
def receptive_fields(layers):
    r, j, found = 1, 1, [1]
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j * s
        found.append(r)
    return found


# %% wrong: divides by the stride -> field
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j / s
        found.append(r)
    return found


# %% wrong: a tuple -> list
def receptive_fields(layers):
    r, j, found = 1, 1, ()
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j * s
        found += (r,)
    return found


# %% wrong: the number of places in place of the span -> field
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r += (k - 1) * j + (d - 1)
        j *= s
        found.append(r)
    return found


# %% wrong: dilation spreads all later layers -> field
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r += d * (k - 1) * j
        j *= s * d
        found.append(r)
    return found


# %% wrong: capped at the picture of 64 pixels -> field
def receptive_fields(layers):
    r, j, found = 1, 1, []
    for k, s, d in layers:
        r += d * (k - 1) * j
        j *= s
        found.append(min(r, 64))
    return found


# %% wrong: even kernels as the next odd ones -> field
def receptive_fields(layers):
    r, j, fields = 1, 1, []
    for kernel, stride, dilation in layers:
        r += 2 * (kernel // 2) * dilation * j
        j *= stride
        fields.append(r)
    return fields


# %% wrong: the same pixels on both sides of an even kernel -> field
def receptive_fields(layers):
    r, j, fields = 1, 1, []
    for kernel, stride, dilation in layers:
        r += 2 * ((kernel - 1) // 2) * dilation * j
        j *= stride
        fields.append(r)
    return fields
