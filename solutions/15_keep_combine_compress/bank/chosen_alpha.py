# %% right: from below
def chosen_alpha(val, shifted, allowed):
    mean = {a: np.mean(v) for a, v in val.items()}
    least = max(mean.values()) - allowed
    return min(a for a in mean if mean[a] >= least)


# %% right: sorted arrays
def chosen_alpha(val, shifted, allowed):
    alphas = np.array(sorted(val))
    means = np.array([sum(val[a]) / len(val[a]) for a in alphas])
    return float(alphas[np.flatnonzero(means.max() - means <= allowed)[0]])


# %% wrong: the best under shift -> shifted
def chosen_alpha(val, shifted, allowed):
    return max(sorted(shifted), key=lambda a: np.mean(shifted[a]))


# %% wrong: the best under shift of those allowed -> shifted
def chosen_alpha(val, shifted, allowed):
    mean = {a: np.mean(v) for a, v in val.items()}
    may = [a for a in sorted(mean) if mean[a] >= max(mean.values()) - allowed]
    return max(may, key=lambda a: np.mean(shifted[a]))


# %% wrong: the best -> best
def chosen_alpha(val, shifted, allowed):
    return max(sorted(val), key=lambda a: np.mean(val[a]))


# %% wrong: the cost counts from alpha 1 -> end
def chosen_alpha(val, shifted, allowed):
    mean = {a: np.mean(v) for a, v in val.items()}
    return min(a for a in mean if mean[a] >= mean[max(mean)] - allowed)


# %% wrong: the worst draw -> worst
def chosen_alpha(val, shifted, allowed):
    worst = {a: min(v) for a, v in val.items()}
    return min(a for a in worst if worst[a] >= max(worst.values()) - allowed)


# %% wrong: the largest that is allowed, but the end -> largest
def chosen_alpha(val, shifted, allowed):
    mean = {a: np.mean(v) for a, v in val.items()}
    may = [a for a in mean if mean[a] >= max(mean.values()) - allowed]
    below = [a for a in may if a != max(mean)]
    return max(below) if below else max(may)
