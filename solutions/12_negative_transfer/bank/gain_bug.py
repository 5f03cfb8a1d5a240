# %% right: all places in one list
def gain(tuned, scratch):
    def test_of(runs):
        best, value = None, float("-inf")
        for run in runs:
            for val, test in zip(run["val"], run["test"]):
                if val > best_val(best):
                    best, value = val, test
        return value

    def best_val(best):
        return float("-inf") if best is None else best

    return test_of(tuned) - test_of(scratch)


# %% right: with NumPy
def gain(tuned, scratch):
    sides = []
    for runs in (tuned, scratch):
        val = np.array([run["val"] for run in runs])
        place = np.unravel_index(val.argmax(), val.shape)
        sides.append(np.array([run["test"] for run in runs])[place])
    return float(sides[0] - sides[1])


# %% wrong: as it was -> test set
def gain(tuned, scratch):
    ours = max(max(run["test"]) for run in tuned)
    theirs = scratch[0]["test"][-1]
    return ours - theirs


# %% wrong: both sides by the test set -> test set
def gain(tuned, scratch):
    return max(max(r["test"]) for r in tuned) - max(max(r["test"]) for r in scratch)


# %% wrong: only the baseline by the test set -> test set
def gain(tuned, scratch):
    best = max(tuned, key=lambda run: max(run["val"]))
    ours = best["test"][best["val"].index(max(best["val"]))]
    return ours - max(max(run["test"]) for run in scratch)


# %% wrong: the baseline without a choice -> baseline
def gain(tuned, scratch):
    best = max(tuned, key=lambda run: max(run["val"]))
    ours = best["test"][best["val"].index(max(best["val"]))]
    return ours - scratch[0]["test"][-1]


# %% wrong: the baseline with one rate -> baseline
def gain(tuned, scratch):
    best = max(tuned, key=lambda run: max(run["val"]))
    ours = best["test"][best["val"].index(max(best["val"]))]
    val = scratch[0]["val"]
    return ours - scratch[0]["test"][val.index(max(val))]


# %% wrong: the last epoch of the best run -> last
def gain(tuned, scratch):
    def of(runs):
        return max(runs, key=lambda run: max(run["val"]))["test"][-1]

    return of(tuned) - of(scratch)


# %% wrong: the epoch on validation, the run by test -> run by test
def gain(tuned, scratch):
    def of(runs):
        return max(run["test"][run["val"].index(max(run["val"]))] for run in runs)

    return of(tuned) - of(scratch)


# %% wrong: validation accuracies -> validation
def gain(tuned, scratch):
    return max(max(r["val"]) for r in tuned) - max(max(r["val"]) for r in scratch)


# %% wrong: the other way round -> opposite
def gain(tuned, scratch):
    def of(runs):
        best = max(runs, key=lambda run: max(run["val"]))
        return best["test"][best["val"].index(max(best["val"]))]

    return of(scratch) - of(tuned)


# %% wrong: the last of equal epochs -> tie
def gain(tuned, scratch):
    def of(runs):
        best = max(runs, key=lambda run: max(run["val"]))
        epochs = [i for i, v in enumerate(best["val"]) if v == max(best["val"])]
        return best["test"][epochs[-1]]

    return of(tuned) - of(scratch)


# %% wrong: of equal ones the luckiest -> tie
def gain(tuned, scratch):
    def of(runs):
        places = [(v, s) for run in runs for v, s in zip(run["val"], run["test"])]
        return max(places)[1]

    return of(tuned) - of(scratch)


# %% wrong: mean over the rates -> gain
def gain(tuned, scratch):
    def of(runs):
        return np.mean([r["test"][r["val"].index(max(r["val"]))] for r in runs])

    return of(tuned) - of(scratch)


# %% wrong: the last of equal epochs, written anew -> tie
def gain(tuned, scratch):
    def best(runs):
        return max(
            (v, i, t)
            for run in runs
            for i, (v, t) in enumerate(zip(run["val"], run["test"]))
        )[2]

    return best(tuned) - best(scratch)


# %% wrong: the last epoch of the best run, written anew -> last
def gain(tuned, scratch):
    def best(runs):
        run = max(runs, key=lambda r: max(r["val"]))
        return run["test"][-1]

    return best(tuned) - best(scratch)


# %% wrong: the validation accuracies are subtracted -> validation
def gain(tuned, scratch):
    return max(max(r["val"]) for r in tuned) - max(max(r["val"]) for r in scratch)


# %% wrong: the run by its last validation accuracy -> run by the end
def gain(tuned, scratch):
    def chosen(runs):
        best = max(runs, key=lambda run: run["val"][-1])
        return best["test"][best["val"].index(max(best["val"]))]

    return chosen(tuned) - chosen(scratch)
