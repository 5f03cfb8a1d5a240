# %% right: math.floor
def largest_rank(d, k, share):
    import math

    return math.floor(share * d * k / (d + k))


# %% right: counts up
def largest_rank(d, k, share):
    r = 0
    while (r + 1) * (d + k) <= share * d * k:
        r += 1
    return r


# %% wrong: rounds to the nearest -> rounding
def largest_rank(d, k, share):
    return round(share * d * k / (d + k))


# %% wrong: rounds up -> rounding
def largest_rank(d, k, share):
    import math

    return math.ceil(share * d * k / (d + k))


# %% wrong: strictly below the share -> rounding
def largest_rank(d, k, share):
    r = int(share * d * k // (d + k))
    return r - 1 if r * (d + k) == share * d * k else r


# %% wrong: at least one -> rounding
def largest_rank(d, k, share):
    return max(1, int(share * d * k // (d + k)))


# %% wrong: a float -> whole
def largest_rank(d, k, share):
    return share * d * k // (d + k)


# %% wrong: half of the smaller side -> formula
def largest_rank(d, k, share):
    return int(share * min(d, k) / 2)


# %% wrong: counts one factor only -> formula
def largest_rank(d, k, share):
    return int(share * d * k // k)


# %% wrong: at least one, written anew -> rounding
def largest_rank(d, k, share):
    return max(1, int(share * d * k / (d + k)))


# %% wrong: half of the smaller side, written anew -> formula
def largest_rank(d, k, share):
    return int(share * min(d, k) / 2)


# %% wrong: rounded -> rounding
def largest_rank(d, k, share):
    return round(share * d * k / (d + k))
