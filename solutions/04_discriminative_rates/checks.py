"""Trusted checks of exercise 04: they run in the grader and are never released."""

import math
from collections import OrderedDict

from torch import nn

from course_lib.course.grading.checks import Wrong, all_close, close, expect

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
    "not applied": "The rates are still those of before: change `lr` of each group.",
    "own rate": "All groups are scaled from one rate, but each has a rate of its own.",
    "shares": "A rate is not the group's own rate times its `lr_scale`; a group that "
    "has no `lr_scale` keeps its rate.",
    "again": "A second call changes the rates once more.",
    "left": "The share is still in the group: a timm scheduler would apply it again.",
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
model = nn.Sequential(OrderedDict((name, nn.Linear(2, 2)) for name in names))
try:
    rates_by_layer(model, parts, 0.1, 0.5, 0.01)
    result = None
except ValueError as error:
    result = str(error)[:2000]
"""


def parameters_of(names):
    """{name: number of dimensions} of the parameters of GROUPS' model."""

    def block(n):
        return nn.Sequential(
            nn.Linear(n, n), nn.LayerNorm(n), nn.Linear(n, n, bias=False)
        )

    body = nn.Sequential(OrderedDict((name, block(3)) for name in names))
    model = nn.ModuleDict(
        dict(
            stem=nn.Sequential(nn.Conv1d(1, 3, 1), nn.BatchNorm1d(3)),
            body=body,
            fc_norm=nn.LayerNorm(3),
            fc=nn.Linear(3, 2),
        )
    )
    return {name: p.ndim for name, p in model.named_parameters()}


def ask_left_out(learner, rng):
    """The message of the error names the parameter, and none that is in a part."""
    names = [f"{c}{int(rng.integers(100, 1000))}" for c in rng.permutation(list("pqr"))]
    said = learner.run(LEFT, names=names, parts=[names[0], names[2]])
    if said is None:
        raise Wrong("left out", credit=0.75)
    expect(said, kind=str)
    listed = any(f"{names[i]}.weight" in said for i in (0, 2))
    if names[1] not in said or listed:
        raise Wrong("unnamed", credit=0.75)


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
        ndim = parameters_of(names)
        for settings in expect(found, "missing parameter", keys=ndim).values():
            for pair in expect(settings, kind=list):
                expect(pair, shape=(2,), finite=False)
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
        flat = [n for n in got if ndim[n] < 2]
        wrong = [
            n for n in got if not close(got[n][1], 0.0 if n in flat else decay, 1e-5)
        ]
        if wrong:
            scales = all(n in flat and not n.endswith("bias") for n in wrong)
            raise Wrong("norms" if scales else "decay", credit=0.5)
    ask_left_out(learner, rng)


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

        expect(told, "factor", kind=list, length=T)
        for t, rates in enumerate(told):
            expect(rates, "factor", shape=(3 if t < joins else 4,), finite=False)

        def wanted(s, T=T, first=first, late=late, joins=joins):
            return [
                [lr * s(t, T) for lr in (first if t < joins else [*first, late])]
                for t in range(T)
            ]

        def alike(s, told=told, wanted=wanted):
            return all_close(told, wanted(s), 1e-4)

        if not alike(slanted):
            kept = [a[:3] for a in told]
            if all_close(kept, [b[:3] for b in wanted(slanted)], 1e-4):
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
            if all_close(kept, again, 1e-3):
                raise Wrong("compound")
            raise Wrong("factor")
        times = [T - 1, 0, T // 10, T // 3]
        try:
            after = learner.run(OTHER, T=T, given=second, times=times)
        except Wrong:
            raise Wrong("other optimizer", credit=0.5) from None
        for rates in expect(after, "other optimizer", kind=list, length=len(times)):
            expect(rates, "other optimizer", shape=(3,), finite=False)
        right = [[lr * slanted(t, T) for lr in second] for t in times]
        if not all_close(after, right, 1e-4):
            raise Wrong("other optimizer", credit=0.5)


# -- a decay that nobody applies -------------------------------------------------------

SCALED = f"""{TOOLS}
optimizer = made([lr for lr, _ in given])
for group, (_, share) in zip(optimizer.param_groups, given):
    if share > 0:
        group["lr_scale"] = share
result = []
for _ in range(2):
    apply_decay(optimizer)
    left = [float(group.get("lr_scale", 1.0)) for group in optimizer.param_groups]
    result.append([rates(optimizer), left])
"""


def check_apply_decay(learner, rng):
    """Groups with rates of their own, some without a share; two calls."""
    for _ in range(2):
        shares = rng.permutation([*rng.uniform(0.01, 0.8, 3), 0.0, 0.0]).tolist()
        own = rng.uniform(0.01, 1, 5).tolist()
        given = [list(pair) for pair in zip(own, shares, strict=True)]
        told = expect(learner.run(SCALED, given=given), kind=list, length=2)
        for call in told:
            for numbers in expect(call, kind=list, length=2):
                expect(numbers, shape=(5,), finite=False)
        factors = [share or 1.0 for share in shares]
        right = [lr * factor for lr, factor in zip(own, factors, strict=True)]
        (first, _), (second, left) = told
        if close(first, own, 1e-5):
            raise Wrong("not applied")
        if close(first, [own[0] * factor for factor in factors], 1e-5):
            raise Wrong("own rate")
        if not close(first, right, 1e-5):
            raise Wrong("shares")
        if not close(second, right, 1e-5):
            raise Wrong("again", credit=0.5)
        if not close(left, [1.0] * 5, 1e-5):
            raise Wrong("left", credit=0.5)


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
        for pair in expect(found, "plan", kind=list):
            epoch, groups = expect(pair, "plan", kind=list, length=2)
            plan[expect(epoch, "plan", kind=int)] = expect(groups, "plan", kind=dict)
            for rate in groups.values():
                expect(rate, "plan", shape=(), finite=False)
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
        if not close(plan[0][head], base, 1e-5):
            raise Wrong("head")
        if len(plan) != len(epochs):
            raise Wrong("opening")
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


def swept(rng, place, all_traps):
    """Rows whose best rate has a place among five, the right triple, and mistakes."""
    rates = sorted(rng.choice(TRIED, 5, replace=False).tolist())
    others = [i for i in rng.permutation(5) if i != place]
    tested, lucky, extra = (
        i if all_traps or rng.random() < 0.6 else None for i in others[:3]
    )
    again = None if all_traps or rng.random() < 0.5 else others[3]  # a second lucky one
    level = float(rng.uniform(-0.1, 0.05))
    validation = {i: 0.6 + level + rng.uniform(-0.1, 0.1) for i in range(5)}
    validation[place] = 0.80 + level
    traps = (tested, lucky, extra, again)
    for i, value in zip(traps, (0.74, 0.76, 0.77, 0.755), strict=True):
        validation |= {i: value + level} if i is not None else {}
    test = {i: v - rng.uniform(0.01, 0.03) for i, v in validation.items()}
    test |= {tested: 0.86 + level} if tested is not None else {}
    rows = []
    for i, rate in enumerate(rates):
        spread = 0.09 if i in (lucky, again) else 0.01
        for seed, share in zip((3, 5, 8), (spread, -spread, 0.0), strict=True):
            rows.append(
                (rate, seed, float(validation[i] + share), float(test[i] + share))
            )
        if i in (extra, place):
            bonus = 0.19 if i == extra else -0.1
            rows.append((rate, 9, validation[i] + bonus, float(test[i] + bonus)))
    rows = [rows[k] for k in rng.permutation(len(rows))]
    right = (rates[place], float(test[place]), place in (0, 4))
    hints = ("test", tested), ("one run", lucky), ("common", extra), ("one run", again)
    misled = [(rates[i], hint) for hint, i in hints if i is not None]
    return rows, right, misled


def seen_edge(rows):
    """Is the best rate the first or the last to appear, which makes it no edge?"""
    seen = list(dict.fromkeys(row[0] for row in rows))
    common = {s for s in (3, 5, 8, 9) if sum(row[1] == s for row in rows) == len(seen)}

    def total(rate):
        return sum(row[2] for row in rows if row[0] == rate and row[1] in common)

    return max(seen, key=total) in (seen[0], seen[-1])


def check_choose_rate(learner, rng):
    """Sweeps in which test, single runs, extra seeds and the order all mislead."""
    places, drawn = rng.permutation([1, 3, 0, 4, 2, 0]), []
    while sum(seen_edge(rows) != edge for rows, (_, _, edge), _ in drawn) < 2:
        drawn = [swept(rng, place, i < 2) for i, place in enumerate(places)]
    cases, expected, misled = zip(*drawn, strict=True)
    found = learner.run(
        "result = [choose_rate([tuple(row) for row in rows]) for rows in cases]",
        cases=list(cases),
    )
    for one in expect(found, "triple", kind=list, length=len(cases)):
        expect(one, "triple", kind=(tuple, list), length=3)
        expect(one[2], "triple", kind=bool)
        for number in one[:2]:
            expect(number, "triple", shape=())
    for one, (rate, _, _), others in zip(found, expected, misled, strict=True):
        if not close(one[0], rate, 1e-6):
            raise Wrong(next((h for r, h in others if close(one[0], r, 1e-6)), "rate"))
    accuracies = [accuracy for _, accuracy, _ in expected]
    if not all_close([one[1] for one in found], accuracies):
        others = [accuracy - 0.1 / 4 for accuracy in accuracies]
        everyone = all_close([one[1] for one in found], others)
        raise Wrong("common" if everyone else "reported", credit=0.5)
    if [one[2] for one in found] != [edge for _, _, edge in expected]:
        raise Wrong("edge", credit=0.75)
