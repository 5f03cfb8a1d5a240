# %% right: counted on torch's meta device
def conv_cost(layers, size):
    import torch

    x, parameters, operations = torch.zeros(1, 1, 1, 1, device="meta"), 0, 0
    for c_in, c_out, kernel, stride, groups in layers:
        net = torch.nn.Conv2d(
            c_in,
            c_out,
            kernel,
            stride,
            kernel // 2,
            groups=groups,
            bias=False,
            device="meta",
        )
        side = size if operations == 0 else x.shape[-1]
        x = net(torch.zeros(1, c_in, side, side, device="meta"))
        parameters += net.weight.numel()
        operations += net.weight.numel() * x.shape[-1] * x.shape[-2]
    return parameters, operations


# %% right: two passes
def conv_cost(layers, size):
    sides, weights = [], []
    for c_in, c_out, kernel, stride, groups in layers:
        padding = kernel // 2
        size = int(np.floor((size + 2 * padding - kernel) / stride)) + 1
        sides.append(size)
        weights.append(kernel * kernel * c_in * c_out // groups)
    return sum(weights), sum(w * s * s for w, s in zip(weights, sides))


# %% wrong: groups forgotten -> groups
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, _ in layers:
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += c_in * c_out * kernel**2
        operations += c_in * c_out * kernel**2 * size**2
    return parameters, operations


# %% wrong: kernel not squared -> kernel
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += c_in // groups * c_out * kernel
        operations += c_in // groups * c_out * kernel * size**2
    return parameters, operations


# %% wrong: pixels of the input -> pixels
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        parameters += weights
        operations += weights * size**2
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
    return parameters, operations


# %% wrong: one side of the picture -> pixels
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += weights
        operations += weights * size
    return parameters, operations


# %% wrong: every layer sees the first size -> carried
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        side = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += weights
        operations += weights * side**2
    return parameters, operations


# %% wrong: the size divided by the stride -> rounding
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        size = size // stride
        parameters += weights
        operations += weights * size**2
    return parameters, operations


# %% wrong: no padding -> rounding
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        size = (size - kernel) // stride + 1
        parameters += weights
        operations += weights * size**2
    return parameters, operations


# %% wrong: multiplications and additions -> double
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += weights
        operations += 2 * weights * size**2
    return parameters, operations


# %% wrong: multiply-adds first -> order
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += weights
        operations += weights * size**2
    return operations, parameters


# %% wrong: with biases -> cost
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_in // groups * c_out * kernel**2 + c_out
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        parameters += weights
        operations += weights * size**2
    return parameters, operations


# %% wrong: the parameters alone -> pair
def conv_cost(layers, size):
    return sum(a // groups * b * kernel**2 for a, b, kernel, _, groups in layers)


# %% wrong: the padding is forgotten -> rounding
def conv_cost(layers, size):
    params = macs = 0
    for c_in, c_out, k, s, g in layers:
        w = c_out * (c_in // g) * k * k
        size = (size - k) // s + 1
        params += w
        macs += w * size * size
    return params, macs


# %% wrong: twice the multiply-adds -> double
def conv_cost(layers, size):
    params = macs = 0
    for c_in, c_out, k, s, g in layers:
        w = c_out * (c_in // g) * k * k
        size = (size + 2 * (k // 2) - k) // s + 1
        params += w
        macs += 2 * w * size * size
    return params, macs


# %% wrong: every layer has the size of the picture divided by its stride -> rounding
def conv_cost(layers, size):
    params = macs = 0
    for c_in, c_out, k, s, g in layers:
        w = c_out * (c_in // g) * k * k
        size = size // s
        params += w
        macs += w * size * size
    return params, macs


# %% wrong: the size over the stride, rounded up -> cost
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_out * (c_in // groups) * kernel**2
        size = -(-size // stride)
        parameters += weights
        operations += weights * size**2
    return parameters, operations


# %% wrong: an even kernel is padded by less -> cost
def conv_cost(layers, size):
    parameters = operations = 0
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_out * (c_in // groups) * kernel**2
        size = (size + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        parameters += weights
        operations += weights * size**2
    return parameters, operations
