# %% right: one after the other
def warning_signs(tuned, scratch):
    found = []
    if max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]):
        found.append(1)
    val = np.array(tuned["val_loss"])
    lowest = val.argmin()
    falls = tuned["train_loss"][0] > tuned["train_loss"][-1]
    if falls and lowest <= 1 and val[-1] > 1.05 * val[lowest]:
        found.append(2)
    shares = []
    for run in (tuned, scratch):
        sure = [p > 0.9 for p in run["probability"]]
        bad = [s and not r for s, r in zip(sure, run["right"])]
        shares.append(sum(bad) / len(bad))
    if shares[0] > shares[1]:
        found.append(3)
    return found


# %% right: with tensors
def warning_signs(tuned, scratch):
    def share(run):
        wrong = ~torch.as_tensor(np.asarray(run["right"]))
        sure = torch.as_tensor(np.asarray(run["probability"])) > 0.9
        return (wrong & sure).double().mean().item()

    loss = torch.tensor(tuned["val_loss"], dtype=torch.float64)
    signs = [
        max(scratch["val_accuracy"]) > max(tuned["val_accuracy"]),
        tuned["train_loss"][-1] < tuned["train_loss"][0]
        and loss.argmin().item() in (0, 1)
        and (loss[-1] / loss.min()).item() > 1.05,
        share(tuned) > share(scratch),
    ]
    return [i + 1 for i, s in enumerate(signs) if s]


# %% wrong: the last validation accuracies -> best
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    low = min(val)
    signs = {
        1: tuned["val_accuracy"][-1] < scratch["val_accuracy"][-1],
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: above the random start -> below
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    low = min(val)
    signs = {
        1: max(tuned["val_accuracy"]) > max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: training loss not looked at -> falls
def warning_signs(tuned, scratch):
    val = tuned["val_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    low = min(val)
    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: every overfitting rings -> early
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and val[-1] > 1.05 * min(val),
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: 0.05 in place of 5 % -> five percent
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    low = min(val)
    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > low + 0.05,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: above where it began -> five percent
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    low = min(val)
    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > val[0],
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: without the random start -> compare
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]
    low = min(val)
    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: ((tuned["probability"] > 0.9) & ~tuned["right"]).any(),
    }
    return [k for k in signs if signs[k]]


# %% wrong: sure, right or wrong -> wrong ones
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]
    low = min(val)

    def share(r):
        return np.mean(r["probability"] > 0.9)

    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: the share of the errors -> share
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]
    low = min(val)

    def share(r):
        return np.mean(r["probability"][~r["right"]] > 0.9)

    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: counts, not shares -> share
def warning_signs(tuned, scratch):
    val, train = tuned["val_loss"], tuned["train_loss"]
    low = min(val)

    def count(r):
        return np.sum((r["probability"] > 0.9) & ~r["right"])

    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: count(tuned) > count(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: read from the random start -> sign 2
def warning_signs(tuned, scratch):
    val, train = scratch["val_loss"], scratch["train_loss"]
    low = min(val)

    def share(r):
        return np.mean((r["probability"] > 0.9) & ~r["right"])

    signs = {
        1: max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        2: train[-1] < train[0] and low in val[:2] and val[-1] > 1.05 * low,
        3: share(tuned) > share(scratch),
    }
    return [k for k in signs if signs[k]]


# %% wrong: three truth values -> list
def warning_signs(tuned, scratch):
    val = tuned["val_loss"]
    one = max(tuned["val_accuracy"]) < max(scratch["val_accuracy"])
    return {"below": one, "rises": val[-1] > 1.05 * min(val), "follows": False}


# %% wrong: last accuracies in place of the highest -> best
def warning_signs(tuned, scratch):
    found = []
    if tuned["val_accuracy"][-1] < scratch["val_accuracy"][-1]:
        found.append(1)
    v, t = tuned["val_loss"], tuned["train_loss"]
    if t[-1] < t[0] and int(np.argmin(v)) < 2 and v[-1] > 1.05 * min(v):
        found.append(2)

    def sure(x):
        return (~np.array(x["right"]) & (np.array(x["probability"]) > 0.9)).mean()

    if sure(tuned) > sure(scratch):
        found.append(3)
    return found


# %% wrong: any rise of the validation loss -> five percent
def warning_signs(tuned, scratch):
    found = []
    if max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]):
        found.append(1)
    v, t = tuned["val_loss"], tuned["train_loss"]
    if t[-1] < t[0] and int(np.argmin(v)) < 2 and v[-1] > min(v):
        found.append(2)

    def sure(x):
        return (~np.array(x["right"]) & (np.array(x["probability"]) > 0.9)).mean()

    if sure(tuned) > sure(scratch):
        found.append(3)
    return found


# %% wrong: the share of the wrong ones that are sure -> share
def warning_signs(tuned, scratch):
    found = []
    if max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]):
        found.append(1)
    v, t = tuned["val_loss"], tuned["train_loss"]
    if t[-1] < t[0] and int(np.argmin(v)) < 2 and v[-1] > 1.05 * min(v):
        found.append(2)

    def sure(x):
        wrong = np.array(x["probability"])[~np.array(x["right"])]
        return (wrong > 0.9).mean() if len(wrong) else 0

    if sure(tuned) > sure(scratch):
        found.append(3)
    return found


# %% wrong: the share of the sure ones that are wrong -> share
def warning_signs(tuned, scratch):
    def sure_and_wrong(run):
        sure = np.asarray(run["probability"]) > 0.9
        return np.mean(~np.asarray(run["right"])[sure]) if sure.any() else 0.0

    losses = list(tuned["val_loss"])
    lowest = min(losses)
    learned = tuned["train_loss"][-1] < tuned["train_loss"][0]
    raised = [
        max(tuned["val_accuracy"]) < max(scratch["val_accuracy"]),
        learned and losses.index(lowest) < 2 and losses[-1] > 1.05 * lowest,
        sure_and_wrong(tuned) > sure_and_wrong(scratch),
    ]
    return [i for i, sign in enumerate(raised, 1) if sign]
