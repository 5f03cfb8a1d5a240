# %% right: one after the other
def fits(n, t, activations, gib):
    room = gib * 1024**3 - activations
    if 16 * n <= room:
        return "full"
    if 2 * n + 16 * t <= room:
        return "lora"
    return "qlora" if 4.127 * n / 8 + 16 * t <= room else None


# %% right: a generator
def fits(n, t, activations, gib):
    per = (("full", 16, 0), ("lora", 2, 16), ("qlora", 4.127 / 8, 16))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 2**30)
    return next(good, None)


# %% wrong: GB in place of GiB -> gib
def fits(n, t, activations, gib):
    per = (("full", 16, 0), ("lora", 2, 16), ("qlora", 4.127 / 8, 16))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 10**9)
    return next(good, None)


# %% wrong: no master weights -> full
def fits(n, t, activations, gib):
    per = (("full", 12, 0), ("lora", 2, 16), ("qlora", 4.127 / 8, 16))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 2**30)
    return next(good, None)


# %% wrong: adapters without moments -> adapters
def fits(n, t, activations, gib):
    per = (("full", 16, 0), ("lora", 2, 8), ("qlora", 4.127 / 8, 8))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 2**30)
    return next(good, None)


# %% wrong: activations forgotten -> activations
def fits(n, t, activations, gib):
    per = (("full", 16, 0), ("lora", 2, 16), ("qlora", 4.127 / 8, 16))
    return next((m for m, a, b in per if a * n + b * t <= gib * 2**30), None)


# %% wrong: the smallest first -> first
def fits(n, t, activations, gib):
    per = (("qlora", 4.127 / 8, 16), ("lora", 2, 16), ("full", 16, 0))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 2**30)
    return next(good, None)


# %% wrong: half a byte is forgotten -> decision
def fits(n, t, activations, gib):
    per = (("full", 16, 0), ("lora", 2, 16), ("qlora", 4.127, 16))
    good = (m for m, a, b in per if a * n + b * t + activations <= gib * 2**30)
    return next(good, None)


# %% wrong: gigabytes in place of GiB -> gib
def fits(n, t, activations, gib):
    need = {"full": 16 * n, "lora": 2 * n + 16 * t, "qlora": 4.127 / 8 * n + 16 * t}
    for method, size in need.items():
        if size + activations <= gib * 1e9:
            return method


# %% wrong: activations forgotten, written anew -> activations
def fits(n, t, activations, gib):
    need = {"full": 16 * n, "lora": 2 * n + 16 * t, "qlora": 4.127 / 8 * n + 16 * t}
    for method, size in need.items():
        if size <= gib * 2**30:
            return method


# %% wrong: the smallest that fits -> first
def fits(n, t, activations, gib):
    need = {"qlora": 4.127 / 8 * n + 16 * t, "lora": 2 * n + 16 * t, "full": 16 * n}
    for method, size in need.items():
        if size + activations <= gib * 2**30:
            return method
