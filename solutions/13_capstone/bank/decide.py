# %% right: one rule after the other
def decide(task):
    reasons, strategy = [], None
    if task["licence"] not in task["allowed"]:
        reasons.append("licence")
        strategy = strategy or "from scratch"
    if task["parameters"] * 16 / 2**30 > task["gib"]:
        reasons.append("memory")
        strategy = strategy or "LoRA"
    rarest = sorted(task["labels"].values())[0]
    if rarest < 10 and task["far"]:
        reasons.append("few and far")
        strategy = strategy or "compare"
    if rarest < 10:
        reasons.append("few")
        strategy = strategy or "frozen features"
    return strategy or "full fine-tuning", reasons


# %% right: a table of functions
def decide(task):
    few = any(n < 10 for n in task["labels"].values())
    table = {
        "licence": (
            "from scratch",
            lambda: task["licence"] not in set(task["allowed"]),
        ),
        "memory": ("LoRA", lambda: 16 * task["parameters"] > task["gib"] * 1024**3),
        "few and far": ("compare", lambda: few and task["far"]),
        "few": ("frozen features", lambda: few),
    }
    reasons = [name for name, (_, holds) in table.items() if holds()]
    return (table[reasons[0]][0] if reasons else "full fine-tuning"), reasons


# %% wrong: returns at the first rule -> all reasons
def decide(task):
    few = min(task["labels"].values()) < 10
    if task["licence"] not in task["allowed"]:
        return "from scratch", ["licence"]
    if 16 * task["parameters"] > task["gib"] * 2**30:
        return "LoRA", ["memory"]
    if few and task["far"]:
        return "compare", ["few and far"]
    if few:
        return "frozen features", ["few"]
    return "full fine-tuning", []


# %% wrong: the last rule decides -> order
def decide(task):
    few, strategy, reasons = min(task["labels"].values()) < 10, "full fine-tuning", []
    if task["licence"] not in task["allowed"]:
        strategy = "from scratch"
        reasons.append("licence")
    if 16 * task["parameters"] > task["gib"] * 2**30:
        strategy = "LoRA"
        reasons.append("memory")
    if few and task["far"]:
        strategy = "compare"
        reasons.append("few and far")
    if few:
        strategy = "frozen features"
        reasons.append("few")
    return strategy, reasons


# %% wrong: the mean of the labels -> rarest
def decide(task):
    few = np.mean(list(task["labels"].values())) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] > task["gib"] * 2**30, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: all labels together -> rarest
def decide(task):
    few = sum(task["labels"].values()) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] > task["gib"] * 2**30, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: ten are few -> ten
def decide(task):
    few = min(task["labels"].values()) <= 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] > task["gib"] * 2**30, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: GB for GiB -> gib
def decide(task):
    few = min(task["labels"].values()) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] > task["gib"] * 1e9, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: the weights alone -> bytes
def decide(task):
    few = min(task["labels"].values()) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 4 * task["parameters"] > task["gib"] * 2**30, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: what just fits does not fit -> edge
def decide(task):
    few = min(task["labels"].values()) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] >= task["gib"] * 2**30, "LoRA"),
        ("few and far", few and task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: the strategy alone -> pair
def decide(task):
    return "LoRA" if task["far"] else "full fine-tuning"


# %% wrong: far or few -> decision
def decide(task):
    few = min(task["labels"].values()) < 10
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", 16 * task["parameters"] > task["gib"] * 2**30, "LoRA"),
        ("few and far", few or task["far"], "compare"),
        ("few", few, "frozen features"),
    ]
    rules = [(r, s) for r, holds, s in rules if holds]
    return rules[0][1] if rules else "full fine-tuning", [r for r, _ in rules]


# %% wrong: the few rule only where the source is near -> decision
def decide(task):
    reasons = []
    rare = min(task["labels"].values()) < 10
    if task["licence"] not in task["allowed"]:
        reasons.append("licence")
    if 16 * task["parameters"] > task["gib"] * 2**30:
        reasons.append("memory")
    if rare and task["far"]:
        reasons.append("few and far")
    elif rare:
        reasons.append("few")
    ways = {
        "licence": "from scratch",
        "memory": "LoRA",
        "few and far": "compare",
        "few": "frozen features",
    }
    return (ways[reasons[0]] if reasons else "full fine-tuning"), reasons


# %% wrong: gigabytes -> gib
def decide(task):
    reasons = []
    rare = min(task["labels"].values()) < 10
    if task["licence"] not in task["allowed"]:
        reasons.append("licence")
    if 16 * task["parameters"] > task["gib"] * 1e9:
        reasons.append("memory")
    if rare and task["far"]:
        reasons.append("few and far")
    if rare:
        reasons.append("few")
    ways = {
        "licence": "from scratch",
        "memory": "LoRA",
        "few and far": "compare",
        "few": "frozen features",
    }
    return (ways[reasons[0]] if reasons else "full fine-tuning"), reasons


# %% wrong: the mean class in place of the rarest -> rarest
def decide(task):
    reasons = []
    n = list(task["labels"].values())
    rare = sum(n) / len(n) < 10
    if task["licence"] not in task["allowed"]:
        reasons.append("licence")
    if 16 * task["parameters"] > task["gib"] * 2**30:
        reasons.append("memory")
    if rare and task["far"]:
        reasons.append("few and far")
    if rare:
        reasons.append("few")
    ways = {
        "licence": "from scratch",
        "memory": "LoRA",
        "few and far": "compare",
        "few": "frozen features",
    }
    return (ways[reasons[0]] if reasons else "full fine-tuning"), reasons
