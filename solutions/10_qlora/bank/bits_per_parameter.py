# %% right: of a million weights
def bits_per_parameter(block, group=None):
    n = block * (group or 1) * 1000
    scales = n / block
    constants = scales / group if group else 0
    return (4 * n + scales * (8 if group else 32) + 32 * constants) / n


# %% right: conditional
def bits_per_parameter(block, group=None):
    scale = 32 if group is None else 8 + 32 / group
    return 4 + scale / block


# %% wrong: constants for every group of weights -> double
def bits_per_parameter(block, group=None):
    if group is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / group


# %% wrong: the constants forgotten -> double
def bits_per_parameter(block, group=None):
    return 4 + (32 if group is None else 8) / block


# %% wrong: group ignored -> double
def bits_per_parameter(block, group=None):
    return 4 + 32 / block


# %% wrong: only the extra bits -> bytes
def bits_per_parameter(block, group=None):
    return 32 / block if group is None else 8 / block + 32 / (block * group)


# %% wrong: bytes -> bytes
def bits_per_parameter(block, group=None):
    scale = 32 if group is None else 8 + 32 / group
    return (4 + scale / block) / 8


# %% wrong: 16-bit scales -> single
def bits_per_parameter(block, group=None):
    return 4 + 16 / block if group is None else 4 + 8 / block + 32 / (block * group)


# %% wrong: the groups hold weights -> double
def bits_per_parameter(block, group=None):
    if group is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / group


# %% wrong: 8-bit scales in both cases -> single
def bits_per_parameter(block, group=None):
    return 4 + 8 / block + (32 / (block * group) if group else 0)


# %% wrong: the scales are halves -> single
def bits_per_parameter(block, group=None):
    if group is None:
        return 4 + 16 / block
    return 4 + 8 / block + 16 / (block * group)
