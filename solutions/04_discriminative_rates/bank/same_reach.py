# %% right: with logarithms
def same_reach(alpha, groups, other):
    return math.exp(math.log(alpha) * (groups - 2) / (other - 2))


# %% right: a root of the share
def same_reach(alpha, groups, other):
    share = 1.0
    for _ in range(groups - 2):
        share *= alpha
    return share ** (1 / (other - 2))


# %% wrong: unchanged -> same
def same_reach(alpha, groups, other):
    return alpha


# %% wrong: all groups counted -> head counted
def same_reach(alpha, groups, other):
    return alpha ** (groups / other)


# %% wrong: only the head taken off -> head counted
def same_reach(alpha, groups, other):
    return alpha ** ((groups - 1) / (other - 1))


# %% wrong: upside down -> inverse
def same_reach(alpha, groups, other):
    return alpha ** ((other - 2) / (groups - 2))


# %% wrong: in proportion -> power
def same_reach(alpha, groups, other):
    return alpha * (groups - 2) / (other - 2)


# %% wrong: the stem's share itself -> reach
def same_reach(alpha, groups, other):
    return alpha ** (groups - 2)


# %% wrong: groups taken off -> reach
def same_reach(alpha, groups, other):
    return alpha ** (1 / (1 + abs(other - groups)))


# %% wrong: one step less than groups -> head counted
def same_reach(alpha, groups, other):
    return alpha ** ((groups - 1) / (other - 1))


# %% wrong: the exponent turned round -> inverse
def same_reach(alpha, groups, other):
    return alpha ** ((other - 2) / (groups - 2))


# %% wrong: linear in the number of steps -> reach
def same_reach(alpha, groups, other):
    return 1 - (1 - alpha) * (groups - 2) / (other - 2)
