# %% right: nanargmax and nanmax
def points_lost(validation, test):
    taken = np.nanargmax(validation, axis=1)
    own = np.take_along_axis(test, taken[:, None], axis=1)[:, 0]
    return float(np.mean(np.nanmax(test, axis=1) - own) * 100)


# %% right: a loop over the situations
def points_lost(validation, test):
    lost = []
    for chosen_by, tested in zip(validation, test):
        run = ~np.isnan(chosen_by)
        taken = tested[run][chosen_by[run].argmax()]
        lost.append(100 * (np.nanmax(tested) - taken))
    return sum(lost) / len(lost)


# %% wrong: chosen on the test set -> chosen
def points_lost(validation, test):
    return float(100 * np.mean(np.nanmax(test, axis=1) - np.nanmax(test, axis=1)))


# %% wrong: shares, not points -> points
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.nanargmax(validation, axis=1)
    return float(np.mean(np.nanmax(test, axis=1) - test[rows, taken]))


# %% wrong: nan counts as a number -> not run
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.argmax(validation, axis=1)
    return float(100 * np.mean(np.max(test, axis=1) - test[rows, taken]))


# %% wrong: a way that was not run counts as perfect -> not run
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.nan_to_num(validation, nan=1.0).argmax(axis=1)
    best = np.nan_to_num(test, nan=1.0).max(axis=1)
    return float(100 * np.mean(best - np.nan_to_num(test, nan=1.0)[rows, taken]))


# %% wrong: the last among equals -> equals
def points_lost(validation, test):
    rows, last = np.arange(len(test)), validation.shape[1] - 1
    taken = last - np.nanargmax(validation[:, ::-1], axis=1)
    return float(100 * np.mean(np.nanmax(test, axis=1) - test[rows, taken]))


# %% wrong: validation beside test -> scales
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.nanargmax(validation, axis=1)
    return float(100 * np.mean(np.nanmax(validation, axis=1) - test[rows, taken]))


# %% wrong: one way for all situations -> each
def points_lost(validation, test):
    taken = np.nanargmax(np.nanmean(validation, axis=0))
    lost = np.nanmax(test, axis=1) - test[:, taken]
    return float(100 * np.nanmean(lost))


# %% wrong: the best way of all situations together -> each
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.nanargmax(validation, axis=1)
    best = np.nanmax(np.nanmean(test, axis=0))
    return float(100 * (best - test[rows, taken].mean()))


# %% wrong: the largest loss -> mean
def points_lost(validation, test):
    rows = np.arange(len(test))
    taken = np.nanargmax(validation, axis=1)
    return float(100 * np.max(np.nanmax(test, axis=1) - test[rows, taken]))
