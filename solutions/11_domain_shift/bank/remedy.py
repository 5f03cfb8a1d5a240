# %% right: sorted values and a counter
def remedy(p, level):
    order, rejected = sorted((value, name) for name, value in p.items()), []
    for i, (value, name) in enumerate(order):
        if value * (len(order) - i) <= level:
            rejected.append(name)
        else:
            break
    if "fit" in rejected:
        return "recount"
    if "inputs" in rejected:
        return "reweigh"
    return "label" if "errors" in rejected else "keep"


# %% right: adjusted p-values
def remedy(p, level):
    names, highest, adjusted = sorted(p, key=lambda name: p[name]), 0.0, {}
    for i, name in enumerate(names):
        highest = max(highest, (3 - i) * p[name])
        adjusted[name] = highest
    for name, answer in (
        ("fit", "recount"),
        ("inputs", "reweigh"),
        ("errors", "label"),
    ):
        if adjusted[name] <= level:
            return answer
    return "keep"


# %% wrong: each at the full level -> uncorrected
def remedy(p, level):
    if p["fit"] <= level:
        return "recount"
    if p["inputs"] <= level:
        return "reweigh"
    return "label" if p["errors"] <= level else "keep"


# %% wrong: each at a third -> bonferroni
def remedy(p, level):
    if p["fit"] <= level / 3:
        return "recount"
    if p["inputs"] <= level / 3:
        return "reweigh"
    return "label" if p["errors"] <= level / 3 else "keep"


# %% wrong: goes on after the first that stays -> stop
def remedy(p, level):
    names = sorted(p, key=p.get)
    rejected = {n for i, n in enumerate(names) if p[n] <= level / (3 - i)}
    if "fit" in rejected:
        return "recount"
    if "inputs" in rejected:
        return "reweigh"
    return "label" if "errors" in rejected else "keep"


# %% wrong: below instead of at most -> bar
def remedy(p, level):
    rejected = set()
    for name in sorted(p, key=p.get):
        if p[name] >= level / (3 - len(rejected)):
            break
        rejected.add(name)
    if "fit" in rejected:
        return "recount"
    if "inputs" in rejected:
        return "reweigh"
    return "label" if "errors" in rejected else "keep"


# %% wrong: inputs before the fit -> inputs
def remedy(p, level):
    rejected = set()
    for name in sorted(p, key=p.get):
        if p[name] > level / (3 - len(rejected)):
            break
        rejected.add(name)
    for name, answer in (
        ("inputs", "reweigh"),
        ("fit", "recount"),
        ("errors", "label"),
    ):
        if name in rejected:
            return answer
    return "keep"


# %% wrong: errors before all -> errors
def remedy(p, level):
    rejected = set()
    for name in sorted(p, key=p.get):
        if p[name] > level / (3 - len(rejected)):
            break
        rejected.add(name)
    for name, answer in (
        ("errors", "label"),
        ("fit", "recount"),
        ("inputs", "reweigh"),
    ):
        if name in rejected:
            return answer
    return "keep"


# %% wrong: the smallest p-value decides -> answer
def remedy(p, level):
    name = min(p, key=p.get)
    if p[name] > level / 3:
        return "keep"
    return {"fit": "recount", "inputs": "reweigh", "errors": "label"}[name]


# %% wrong: the names of the shifts -> answer
def remedy(p, level):
    if p["fit"] <= level / 3:
        return "covariate shift"
    return "label shift" if p["inputs"] <= level / 3 else "no shift"


# %% wrong: never acts -> answer
def remedy(p, level):
    return "keep"


# %% wrong: each at the level, no correction -> uncorrected
def remedy(p, level):
    for name, word in (("fit", "recount"), ("inputs", "reweigh"), ("errors", "label")):
        if p[name] <= level:
            return word
    return "keep"


# %% wrong: does not stop at the first -> stop
def remedy(p, level):
    order = sorted(p, key=p.get)
    rejected = {x for i, x in enumerate(order) if p[x] <= level / (3 - i)}
    for name, word in (("fit", "recount"), ("inputs", "reweigh"), ("errors", "label")):
        if name in rejected:
            return word
    return "keep"


# %% wrong: the smallest decides -> answer
def remedy(p, level):
    words = {"fit": "recount", "inputs": "reweigh", "errors": "label"}
    name = min(p, key=p.get)
    return words[name] if p[name] <= level / 3 else "keep"
