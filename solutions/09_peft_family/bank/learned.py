# %% right: counted on real layers
def learned(method, d, f, layers, n):
    shapes = [(d, d)] * 4 + [(f, d), (d, f)]
    if method == "prompt":
        return n * d
    if method == "bitfit":
        one = sum(out for out, _ in shapes) + 2 * d
    elif method == "lora":
        one = n * sum(map(sum, shapes))
    elif method == "ia3":
        one = d + d + f
    elif method == "adapter":
        one = 2 * (d * n + n) + 2 * (n * d + d)
    else:
        one = 2 * n * d
    return one * layers


# %% right: match
def learned(method, d, f, layers, n):
    match method:
        case "prompt":
            return d * n
        case "prefix":
            return layers * 2 * d * n
        case "ia3":
            return layers * (2 * d + f)
        case "lora":
            return layers * n * (10 * d + 2 * f)
        case "bitfit":
            return layers * (7 * d + f)
    return layers * (4 * d * n + 2 * n + 2 * d)


# %% wrong: a prompt in every layer -> prompt
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    return layers * (one | dict(prefix=2 * n * d, prompt=n * d))[method]


# %% wrong: keys only -> prefix
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: LoRA on query and value -> lora
def learned(method, d, f, layers, n):
    lora, adapter = n * 4 * d, 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: LoRA with one factor -> lora
def learned(method, d, f, layers, n):
    lora, adapter = n * (5 * d + f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: adapters without biases -> adapter
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: one adapter a layer -> adapter
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 2 * d * n + n + d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: IA3 on the outputs of contract -> ia3
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=3 * d, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: BitFit without the norms -> bitfit
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=5 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d)
    return one[method] * (1 if method == "prompt" else layers)


# %% wrong: one layer -> layers
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    return (one | dict(prefix=2 * n * d, prompt=n * d))[method]


# %% wrong: floats -> whole
def learned(method, d, f, layers, n):
    lora, adapter = n * (10 * d + 2 * f), 4 * d * n + 2 * n + 2 * d
    one = dict(lora=lora, adapter=adapter, ia3=2 * d + f, bitfit=7 * d + f)
    one |= dict(prefix=2 * n * d, prompt=n * d / layers)
    return float(layers * one[method])


# %% wrong: LoRA beside query and value alone -> lora
def learned(method, d, f, layers, n):
    return {
        "bitfit": layers * (5 * d + f + 2 * d),
        "lora": layers * 2 * n * 2 * d,
        "ia3": layers * (2 * d + f),
        "adapter": layers * 2 * (2 * d * n + n + d),
        "prefix": layers * 2 * n * d,
        "prompt": n * d,
    }[method]


# %% wrong: the prompt in each layer -> prompt
def learned(method, d, f, layers, n):
    return {
        "bitfit": layers * (5 * d + f + 2 * d),
        "lora": layers * n * (4 * 2 * d + 2 * (d + f)),
        "ia3": layers * (2 * d + f),
        "adapter": layers * 2 * (2 * d * n + n + d),
        "prefix": layers * 2 * n * d,
        "prompt": layers * n * d,
    }[method]


# %% wrong: biases of the adapter times its width -> adapter
def learned(method, d, f, layers, n):
    return {
        "bitfit": layers * (5 * d + f + 2 * d),
        "lora": layers * n * (4 * 2 * d + 2 * (d + f)),
        "ia3": layers * (2 * d + f),
        "adapter": layers * 2 * n * (2 * d + 1 + d),
        "prefix": layers * 2 * n * d,
        "prompt": n * d,
    }[method]
