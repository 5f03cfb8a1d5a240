# %% right: with ceil
def same_padding(size, kernel, stride, dilation=1):
    import math

    outputs = math.ceil(size / stride)
    reach = dilation * (kernel - 1) + 1
    missing = max(0, (outputs - 1) * stride + reach - size)
    return missing // 2, math.ceil(missing / 2)


# %% right: counted pixel by pixel
def same_padding(size, kernel, stride, dilation=1):
    outputs = len(range(0, size, stride))
    last = (outputs - 1) * stride + (kernel - 1) * dilation  # last pixel that is read
    missing = 0
    while size + missing <= last:
        missing += 1
    return [missing // 2, missing - missing // 2]


# %% wrong: PyTorch's own -> sides
def same_padding(size, kernel, stride, dilation=1):
    p = dilation * (kernel - 1) // 2
    return p, p


# %% wrong: the odd pixel before -> behind
def same_padding(size, kernel, stride, dilation=1):
    outputs = -(-size // stride)
    missing = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return missing - missing // 2, missing // 2


# %% wrong: rounded down -> rounding
def same_padding(size, kernel, stride, dilation=1):
    outputs = size // stride
    missing = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return missing // 2, missing - missing // 2


# %% wrong: never less than nothing was forgotten -> negative
def same_padding(size, kernel, stride, dilation=1):
    outputs = -(-size // stride)
    missing = (outputs - 1) * stride + dilation * (kernel - 1) + 1 - size
    return missing // 2, missing - missing // 2


# %% wrong: without dilation -> dilation
def same_padding(size, kernel, stride, dilation=1):
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


# %% wrong: the kernel itself is spread -> dilation
def same_padding(size, kernel, stride, dilation=1):
    missing = max((-(-size // stride) - 1) * stride + dilation * kernel - size, 0)
    return missing // 2, missing - missing // 2


# %% wrong: stride 1 always -> stride
def same_padding(size, kernel, stride, dilation=1):
    missing = dilation * (kernel - 1)
    return missing // 2, missing - missing // 2


# %% wrong: all of it behind -> sides
def same_padding(size, kernel, stride, dilation=1):
    outputs = -(-size // stride)
    missing = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return 0, missing


# %% wrong: without a stride the odd one stands before -> padding
def same_padding(size, kernel, stride, dilation=1):
    outputs, reach = -(-size // stride), dilation * (kernel - 1) + 1
    missing = max((outputs - 1) * stride + reach - size, 0)
    few, many = missing // 2, missing - missing // 2
    return (few, many) if stride > 1 else (many, few)


# %% wrong: dilated, a kernel reaches over dilation * kernel - 1 -> padding
def same_padding(size, kernel, stride, dilation=1):
    outputs, reach = -(-size // stride), dilation * kernel - (dilation > 1)
    missing = max((outputs - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2
