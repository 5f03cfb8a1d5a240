"""Trusted checks of exercise 04: they run in the grader and are never released."""

import math

from course_lib.grading.checks import Wrong, as_array, close

HINTS = {
    "twice": "A parameter is in two groups: names that only begin alike, or contain "
    "one another, are different parts. Compare with the name and a dot.",
    "missing parameter": "A parameter of a listed part is in no group.",
    "left out": "A parameter that is in no part must not pass in silence: ValueError.",
    "unnamed": "The ValueError does not say which parameter is in no part.",
    "reverse": "The exponent counts the wrong way: the last block has the base rate, "
    "the stem the smallest.",
    "one step": "Every rate below the head is alpha times too small: the last block is "
    "l = L and learns at the base rate.",
    "head": "The head learns at the base rate.",
    "rates": "The rates are not base times alpha to the L - l.",
    "norms": "Norms get no decay either, whatever they are called: their scale has one "
    "dimension.",
    "decay": "Matrices decay, what has one dimension does not.",
    "same": "This is the same alpha: with more groups it reaches further down.",
    "head counted": "Count only the steps from the last block to the stem: two fewer "
    "than groups.",
    "inverse": "The exponent is upside down: more groups need a factor nearer to 1.",
    "power": "The shares multiply from group to group: this is a matter of powers.",
    "reach": "The stem's share of the base rate is not the same.",
    "erased": "All groups have one rate: the rates by layer are erased.",
    "compound": "The factor meets a rate that already has one: each call "
    "starts from the rate that the group was given.",
    "late": "A group that joined later does not follow: its own given rate times s(t).",
    "other optimizer": "A second optimizer gets rates of the first, or none: keep "
    "them with the group, and expect any t at the first call.",
    "cut": "The peak is at a whole update: c is T / 10, rounded down.",
    "ratio": "At the start and at the end 1 / 32 of the rate is left, not zero.",
    "factor": "The factor is not the slanted triangle: up to 1 at t = c, then down a "
    "straight line.",
    "plan": "Return a dictionary {epoch: {part: rate}}.",
    "start": "In epoch 0 the head learns, and nothing else.",
    "direction": "Groups open from the last block down to the stem.",
    "stays": "A group that is open stays open: each entry lists all that learn.",
    "every": "The next group opens `every` epochs after the one before.",
    "shared": "All entries are one dictionary: what is added later shows in epoch 0.",
    "opening": "The groups that are open in some epoch are not those of the plan.",
    "triple": "Return three things: the rate, a number, and True or False.",
    "test": "The rate was chosen on test accuracy: choose on validation.",
    "one run": "One lucky run is no mean: average over the seeds.",
    "common": "Rates are compared, and the result reported, on the seeds that all of "
    "them have.",
    "rate": "Another rate has the highest mean validation accuracy.",
    "reported": "The second number is the mean test accuracy of the chosen rate.",
    "edge": "An edge is the lowest or the highest rate tried, in whatever order the "
    "rows come.",
}


# -- groups ----------------------------------------------------------------------------

GROUPS = """
import torch
from collections import OrderedDict
from torch import nn
def block(n):
    return nn.Sequential(nn.Linear(n, n), nn.LayerNorm(n), nn.Linear(n, n, bias=False))
layers = OrderedDict((name, block(3)) for name in names)
model = nn.Sequential(OrderedDict(
    stem=nn.Sequential(nn.Conv1d(1, 3, 1), nn.BatchNorm1d(3)),
    body=nn.Sequential(layers), fc_norm=nn.LayerNorm(3), fc=nn.Linear(3, 2)))
groups = rates_by_layer(model, parts, base, alpha, decay)
found = {name: [] for name, _ in model.named_parameters()}
of = {id(p): name for name, p in model.named_parameters()}
for group in groups:
    for p in list(group["params"]):
        rate, decays = group.get("lr", -1), group.get("weight_decay", -1)
        found[of[id(p)]].append([float(rate), float(decays)])
result = found
"""
LEFT = """
import torch
from collections import OrderedDict
from torch import nn
model = nn.Sequential(OrderedDict(
    stem=nn.Linear(2, 2), extra=nn.Linear(2, 2), head=nn.Linear(2, 2)))
try:
    rates_by_layer(model, ["stem", "head"], 0.1, 0.5, 0.01)
    result = "nothing"
except ValueError as error:
    result = "named" if "extra" in str(error) else "unnamed"
"""


def check_rates_by_layer(learner, rng):
    """Nested names that begin alike, norms in a Sequential, a part that is missing."""
    for _ in range(2):
        first, second = (int(n) for n in rng.permutation(8)[:2] + 1)
        names = [f"layer{first}", f"layer{first}{second}", f"layer{second}"]
        parts = ["stem", *(f"body.{name}" for name in names), "fc_norm", "fc"]
        base, alpha = float(rng.uniform(0.01, 0.1)), float(rng.uniform(0.3, 0.6))
        decay = float(rng.uniform(0.02, 0.3))
        found = learner.run(
            GROUPS, names=names, parts=parts, base=base, alpha=alpha, decay=decay
        )
        counts = {len(settings) for settings in found.values()}
        if max(counts) > 1:
            raise Wrong("twice")
        if counts != {1}:
            raise Wrong("missing parameter")
        part_of = {
            name: next(i for i, part in enumerate(parts) if name.startswith(part + "."))
            for name in found
        }
        top = len(parts) - 2
        got = {name: settings[0] for name, settings in found.items()}

        def alike(rates, got=got, part_of=part_of):
            return all(close(got[n][0], rates[part_of[n]], 1e-5) for n in got)

        right = [base * alpha ** (top - l) for l in range(top + 1)] + [base]
        if not alike(right):
            up = [base * alpha**l for l in range(top + 1)]
            if alike([*up, base]) or alike([*up, base * alpha ** (top + 1)]):
                raise Wrong("reverse")
            if alike([base * alpha ** (top + 1 - l) for l in range(top + 2)]):
                raise Wrong("one step", credit=0.25)
            if alike([*right[:-1], got["fc.weight"][0]]):
                raise Wrong("head", credit=0.5)
            raise Wrong("rates")
        flat = [n for n in got if n.endswith("bias") or ".1." in n or "norm" in n]
        wrong = [
            n for n in got if not close(got[n][1], 0.0 if n in flat else decay, 1e-5)
        ]
        if wrong:
            scales = all(n in flat and not n.endswith("bias") for n in wrong)
            raise Wrong("norms" if scales else "decay", credit=0.5)
    said = learner.run(LEFT)
    if said != "named":
        raise Wrong("unnamed" if said == "unnamed" else "left out", credit=0.75)


# -- reach -----------------------------------------------------------------------------


def check_same_reach(learner, rng):
    """Random counts of groups, more and fewer than before."""
    cases = []
    for _ in range(6):
        groups, other = rng.permutation([4, 5, 7, 10, 16, 26])[:2].tolist()
        cases.append((float(rng.uniform(0.2, 0.9)), groups, other))
    found = learner.run("result = [same_reach(*case) for case in cases]", cases=cases)

    def alike(way):
        return close(found, [way(*case) for case in cases], 1e-4)

    def power(k, up=False):
        if up:
            return lambda a, g, o: a ** ((o - k) / (g - k))
        return lambda a, g, o: a ** ((g - k) / (o - k))

    if alike(power(2)):
        return
    if alike(lambda a, g, o: a):
        raise Wrong("same")
    if any(alike(power(k)) for k in (0, 1, 3)):
        raise Wrong("head counted", credit=0.5)
    if any(alike(power(k, up=True)) for k in (0, 1, 2)):
        raise Wrong("inverse")
    for k in (0, 1, 2):
        if alike(lambda a, g, o, k=k: a * (g - k) / (o - k)) or alike(
            lambda a, g, o, k=k: a * (o - k) / (g - k)
        ):
            raise Wrong("power")
    raise Wrong("reach")


# -- rates over time -------------------------------------------------------------------

TOOLS = """
import torch
def parameter():
    return torch.nn.Parameter(torch.zeros(1))
def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]
def made(given):
    return torch.optim.SGD([dict(params=[parameter()], lr=lr) for lr in given], lr=0.5)
"""
STEPS = f"""{TOOLS}
optimizer, result = made(given), []
for t in range(T):
    if t == joins:
        optimizer.add_param_group(dict(params=[parameter()], lr=late))
    for _ in range(2 if t in twice else 1):
        set_rates(optimizer, t, T)
    result.append(rates(optimizer))
"""
OTHER = f"""{TOOLS}
optimizer, result = made(given), []
for t in times:
    set_rates(optimizer, t, T)
    result.append(rates(optimizer))
"""


def slanted(t, T, rho=32.0, c=None):
    """ULMFiT's triangle."""
    c = T // 10 if c is None else c
    p = t / c if t < c else 1 - (t - c) / (T - c)
    return (1 + p * (rho - 1)) / rho


def check_set_rates(learner, rng):
    """T that ten does not divide, a group that joins, repeats, a second optimizer."""
    for T in (25, 40 + int(rng.integers(1, 9))):
        first, second = ([float(x) for x in rng.uniform(0.01, 1, 3)] for _ in "ab")
        late, joins = float(rng.uniform(0.01, 1)), T // 2
        twice = [T // 10 + 1, joins + 1]
        told = learner.run(STEPS, T=T, given=first, late=late, joins=joins, twice=twice)

        def wanted(s, T=T, first=first, late=late, joins=joins):
            return [
                [lr * s(t, T) for lr in (first if t < joins else [*first, late])]
                for t in range(T)
            ]

        def alike(s, told=told, wanted=wanted):
            return all(close(a, b, 1e-4) for a, b in zip(told, wanted(s)))

        if not alike(slanted):
            kept = [a[:3] for a in told]
            if all(close(a, b[:3], 1e-4) for a, b in zip(kept, wanted(slanted))):
                raise Wrong("late", credit=0.5)
            if all(max(a) - min(a) < 1e-9 for a in told):
                raise Wrong("erased")
            if alike(lambda t, T: slanted(t, T, c=T / 10)) or alike(
                lambda t, T: slanted(t, T, c=math.ceil(T / 10))
            ):
                raise Wrong("cut", credit=0.5)
            if alike(lambda t, T: 32 / 31 * (slanted(t, T) - 1 / 32)):
                raise Wrong("ratio", credit=0.5)
            share, again = 1.0, []
            for t in range(T):
                share *= slanted(t, T) ** (2 if t in twice else 1)
                again.append([lr * share for lr in first])
            if all(close(a, b, 1e-3) for a, b in zip(kept, again)):
                raise Wrong("compound")
            raise Wrong("factor")
        times = [T - 1, 0, T // 10, T // 3]
        try:
            after = learner.run(OTHER, T=T, given=second, times=times)
        except Wrong:
            raise Wrong("other optimizer", credit=0.5) from None
        if not all(
            close(a, [lr * slanted(t, T) for lr in second], 1e-4)
            for t, a in zip(times, after)
        ):
            raise Wrong("other optimizer", credit=0.5)


# -- the plan --------------------------------------------------------------------------


def planned(parts, base, alpha, every, more=0, reverse=False):
    """The plan, and two ways to get its rates wrong."""
    *blocks, head = parts
    plan, now = {0: {head: base}}, {head: base}
    for step, part in enumerate(reversed(blocks)):
        power = len(blocks) - 1 - step if reverse else step + more
        now = {**now, part: base * alpha**power}
        plan[(step + 1) * every] = now
    return plan


def check_gradual_plan(learner, rng):
    """Several numbers of parts, steps of one and more epochs."""
    for count, every in ((6, 1), (4, 3), (2, 2)):
        words = [
            f"{c}{int(rng.integers(100))}" for c in rng.permutation(list("pqrstu"))
        ]
        parts, base = words[:count], float(rng.uniform(0.001, 0.1))
        alpha = float(rng.uniform(0.3, 0.6))
        found = learner.run(
            "plan = gradual_plan(list(parts), base, alpha, every)\n"
            "result = [[epoch, dict(groups)] for epoch, groups in plan.items()]",
            parts=parts,
            base=base,
            alpha=alpha,
            every=every,
        )
        plan = {}
        for epoch, groups in found:
            if type(epoch) is not int or not isinstance(groups, dict):
                raise Wrong("plan")
            plan[epoch] = groups
        right = planned(parts, base, alpha, every)
        epochs, head = list(right), parts[-1]

        def same(one, other):
            return one.keys() == other.keys() and all(
                set(one[e]) == set(other[e])
                and all(close(one[e][p], other[e][p], 1e-5) for p in other[e])
                for e in other
            )

        if same(plan, right):
            continue
        if set(plan.get(0, {})) != {head}:
            everything = plan and all(set(g) == set(parts) for g in plan.values())
            raise Wrong("shared" if everything else "start")
        if sorted(plan) != epochs:
            raise Wrong("every", credit=0.25)
        sets = {epoch: set(groups) for epoch, groups in plan.items()}
        if sets != {epoch: set(groups) for epoch, groups in right.items()}:
            last = right[epochs[-1]]
            if any(len(sets[e]) <= 1 for e in epochs[1:]) or not sets[
                epochs[-1]
            ] >= set(last):
                raise Wrong("stays", credit=0.25)
            raise Wrong("direction" if parts[0] in sets[epochs[1]] else "opening")
        if same(plan, planned(parts, base, alpha, every, more=1)):
            raise Wrong("one step", credit=0.5)
        if same(plan, planned(parts, base, alpha, every, reverse=True)):
            raise Wrong("reverse", credit=0.5)
        if not all(close(groups[head], base, 1e-5) for groups in plan.values()):
            raise Wrong("head", credit=0.5)
        raise Wrong("rates", credit=0.25)


# -- choosing --------------------------------------------------------------------------


TRIED = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def check_choose_rate(learner, rng):
    """Sweeps in which test, single runs, extra seeds and the order all mislead."""
    cases, expected, misled = [], [], []
    for place in (1, 3, 0, 4, 2):
        rates = sorted(rng.choice(TRIED, 5, replace=False).tolist())
        others = [i for i in rng.permutation(5) if i != place]
        tested, lucky, extra = others[:3]
        validation = {i: 0.6 for i in range(5)} | {place: 0.80, tested: 0.74}
        validation |= {lucky: 0.76, extra: 0.77}
        test = {i: v - 0.02 for i, v in validation.items()} | {tested: 0.86}
        rows = []
        for i, rate in enumerate(rates):
            spread = 0.09 if i == lucky else 0.01
            for seed, share in zip((3, 5, 8), (spread, -spread, 0.0)):
                rows.append((rate, seed, validation[i] + share, test[i] + share))
            if i in (extra, place):
                bonus = 0.19 if i == extra else -0.1
                rows.append((rate, 9, validation[i] + bonus, test[i] + bonus))
        rows = [rows[k] for k in rng.permutation(len(rows))]
        rows.sort(key=lambda row, best=rates[place]: row[0] != best)
        if place in (0, 4):  # an edge that is not the first rate to appear
            rows.insert(0, rows.pop())
        cases.append(rows)
        expected.append((rates[place], test[place], place in (0, 4)))
        misled.append((rates[tested], rates[lucky], rates[extra], validation[place]))
    found = learner.run(
        "result = [choose_rate([tuple(row) for row in rows]) for rows in cases]",
        cases=cases,
    )
    for one in found:
        if not isinstance(one, (tuple, list)) or len(one) != 3:
            raise Wrong("triple")
        if type(one[2]) is not bool or as_array(one[0]) is None:
            raise Wrong("triple")
    for one, (rate, accuracy, _), others in zip(found, expected, misled):
        tested, lucky, extra, validation = others
        if not close(one[0], rate, 1e-6):
            known = {tested: "test", lucky: "one run", extra: "common"}
            raise Wrong(known.get(one[0], "rate"))
        if not close(one[1], accuracy, 1e-4):
            if close(one[1], accuracy - 0.1 / 4, 1e-4):
                raise Wrong("common", credit=0.5)
            raise Wrong("reported", credit=0.5)
    if [one[2] for one in found] != [edge for _, _, edge in expected]:
        raise Wrong("edge", credit=0.75)
