"""Trusted checks of exercise 15: they run in the grader and are never released."""

import numpy as np

from course_lib.course.grading.checks import Wrong, close, expect, same, shape, told

HINTS = {
    "names": "Return a dictionary with the names of `end`.",
    "swapped": "At alpha 0 stand the weights of the start, at alpha 1 those of the "
    "end.",
    "counts": "Whole numbers are counts: take those of the end, unmixed.",
    "statistics": "Running means and variances are mixed like weights.",
    "changed": "The states that were given must stay as they are.",
    "beyond": "Alpha is a factor, not a switch.",
    "mixture": "The mixture is wrong.",
    "soup": "Return two things: the weights (k,), and the list of members.",
    "first": "Begin with the member of the lowest error.",
    "weights": "Every member of the soup counts the same: the mean of all of them, not "
    "the mean of the old soup and the new member.",
    "reference": "Compare with the soup so far, not with the best member alone.",
    "equal": "A member that makes the soup no worse is kept, also if it is as good.",
    "order": "Try the members from the best to the worst.",
    "all": "A member that makes the soup worse is left out.",
    "members": "These are not the members of the greedy soup.",
    "trim": "Each update keeps its own share of largest magnitude, before anything is "
    "elected.",
    "together": "Each update is trimmed by itself, not all of them together.",
    "votes": "The sign is that of the sum of what is left, not of the majority.",
    "untrimmed": "The sign is elected by what is left after trimming.",
    "agree": "Average only the updates that have the elected sign.",
    "divisor": "Divide by the number of updates that agree, not by that of all tasks.",
    "sum": "An average, not a sum, of the updates that agree.",
    "ties": "The merged update is wrong.",
    "pair": "Return A (R, k) and B (d, R), with R the sum of the ranks.",
    "cross": "A product of sums has terms that belong to no adapter.",
    "scale": "The update of an adapter is alpha / r times B A, each with its own r.",
    "twice": "The weight stands in A and in B, so that it counts twice.",
    "weight": "Each update is multiplied by its weight.",
    "update": "B A is not the weighted sum of the updates.",
    "shifted": "The accuracy under shift must not choose.",
    "best": "Not the best mean: the smallest alpha that costs no more than allowed.",
    "end": "The cost counts from the best mean, not from that of alpha 1.",
    "worst": "The mean over the draws counts, not the worst or the best draw.",
    "largest": "The smallest of the alphas that may be taken, nearest to the start.",
    "alpha": "This is not the alpha asked for.",
}


# -- interpolation ------------------------------------------------------------------


def flat(state, names):
    return np.concatenate([np.ravel(np.asarray(state[n], float)) for n in names])


def check_interpolate(learner, rng):
    """States with weights, running statistics and counts, under drawn names."""
    cases = []
    for alpha in (0.0, 1.0, float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.6, 0.9))):
        tag = f"layer{int(rng.integers(100))}."
        shapes = {"weight": (3, 2), "bias": (3,), "running_mean": (4,)}
        start, end = (
            {tag + n: rng.standard_normal(s) for n, s in shapes.items()}
            for _ in range(2)
        )
        seen = int(rng.integers(3, 50))
        start[tag + "num_batches_tracked"] = np.array(seen)
        end[tag + "num_batches_tracked"] = np.array(seen + int(rng.integers(5, 90)))
        cases.append((start, end, alpha))
    code = """
import copy
result = []
for start, end, alpha in cases:
    before = copy.deepcopy((start, end))
    found = interpolate(start, end, alpha)
    pairs = zip(before, (start, end))
    alike = all((old[n] == new[n]).all() for old, new in pairs for n in new)
    result.append((dict(found), bool(alike)))
"""
    found = expect(
        learner.run(code, cases=cases), "names", kind=(list, tuple), length=4
    )
    for (start, end, alpha), pair in zip(cases, found, strict=True):
        expect(pair, "names", kind=(list, tuple), length=2)
        state = expect(pair[0], "names", keys=end)
        for name, value in state.items():
            expect(value, "mixture", shape=np.shape(end[name]))
        names = sorted(end)
        one = {n: end[n] for n in names if n.endswith("tracked")}
        own = {n: end[n] for n in names if n.endswith("running_mean")}
        first = {n: start[n] for n in one}

        def mixed(a, changed=(), start=start, end=end, names=names, one=one):
            found = {n: (1 - a) * start[n] + a * end[n] for n in names}
            return flat(found | one | dict(changed), names)

        wrong = {
            "swapped": [mixed(1 - alpha), mixed(1 - alpha, first)],
            "counts": [mixed(alpha, first)]
            + [mixed(alpha, {n: (1 - alpha) * start[n] + alpha * end[n] for n in one})]
            + [
                mixed(
                    alpha,
                    {n: int((1 - alpha) * start[n] + alpha * end[n]) for n in one},
                )
            ],
            "statistics": [mixed(alpha, own), mixed(alpha, {n: start[n] for n in own})],
            "beyond": [
                flat({n: start[n] + end[n] * alpha for n in names} | one, names)
            ],
        }
        told(flat(state, names), mixed(alpha), wrong, "mixture")
        if pair[1] is not True:
            raise Wrong("changed")


# -- greedy soup --------------------------------------------------------------------


def error(w, X, y):
    return float(np.square(X @ w - y).mean())


def greedy(W, X, y, rule="right"):
    """(weights, members) by the right rule, or by a mistake."""
    errors = [error(w, X, y) for w in W]
    order = np.argsort(errors, kind="stable").tolist()
    if rule == "order":
        order = [order[0], *(i for i in range(len(W)) if i != order[0])]
    if rule == "first":
        order = list(range(len(W)))
    members, soup = order[:1], W[order[0]]
    for i in order[1:]:
        mean = W[[*members, i]].mean(0)
        tried = (soup + W[i]) / 2 if rule == "weights" else mean
        limit = errors[order[0]] if rule == "reference" else error(soup, X, y)
        worse = error(tried, X, y) > limit + 1e-12
        if rule == "equal":
            worse = error(tried, X, y) >= limit - 1e-12
        if not worse or rule == "all":
            members, soup = [*members, i], tried
    return soup, members


RULES = ("first", "weights", "reference", "order", "all", "equal")


def soup_cases(rng):
    """Linear models for which each mistake gives other weights, all of them at once."""
    while True:
        cases = []
        for _ in range(5):
            k, M = 4, int(rng.integers(5, 8))
            X, true = rng.standard_normal((12, k)), rng.standard_normal(k)
            W = true + rng.standard_normal((M, k)) * rng.uniform(0.3, 1.2, (M, 1))
            cases.append((W, X, X @ true + 0.2 * rng.standard_normal(12)))
        w, X = rng.standard_normal(3), rng.standard_normal((12, 3))
        y = X @ w + rng.standard_normal(12)
        cases.append((np.stack([w + 2, w, w, w - 3]), X, y))  # w twice: no worse
        every = {rule: joined(cases, rule) for rule in ("right", *RULES)}
        apart = len({tuple(np.round(v, 6)) for v in every.values()}) == len(every) - 1
        if apart and greedy(*cases[-1])[1] == [1, 2]:  # but `equal`, in its weights
            return cases, every


def joined(cases, rule):
    """The weights of all soups by a rule, one after the other."""
    return np.concatenate([greedy(*case, rule)[0] for case in cases])


def check_soup_bug(learner, rng):
    """Five drawn cases, and one with twice the same member, which does no harm."""
    cases, every = soup_cases(rng)
    found = learner.run(
        "result = [list(greedy_soup(*case)) for case in cases]", cases=cases
    )
    expect(found, "soup", kind=(list, tuple), length=len(cases))
    weights, members = [], []
    for (W, _, _), pair in zip(cases, found, strict=True):
        expect(pair, "soup", kind=(list, tuple), length=2)
        weights.append(expect(pair[0], "soup", shape=(W.shape[1],)))
        expect(pair[1], "members", kind=(list, tuple))
        members.append(list(pair[1]))
    right = every.pop("right")
    wrong = {rule: [values] for rule, values in every.items() if rule != "equal"}
    told(np.concatenate(weights), right, wrong, "members")
    if not same(members, [greedy(*case)[1] for case in cases]):
        lazy = [greedy(*case, "equal")[1] for case in cases]
        raise Wrong("equal" if same(members, lazy) else "members")


# -- TIES ---------------------------------------------------------------------------


def kept(U, density):
    """Each row with its own share of largest magnitude."""
    out = np.zeros_like(U)
    for row, update in zip(out, U, strict=True):
        at = np.argsort(-np.abs(update))[: int(density * len(update))]
        row[at] = update[at]
    return out


def merged(U, density, rule="right"):
    left = kept(U, density)
    if rule == "trim":
        left = U
    if rule == "together":
        whole = np.sort(np.abs(U).ravel())[::-1]
        left = np.where(np.abs(U) >= whole[int(density * U.size) - 1], U, 0)
    elected = left.sum(0)
    if rule == "votes":
        elected = np.sign(left).sum(0)
    if rule == "untrimmed":
        elected = U.sum(0)
    sign = np.where(elected >= 0, 1, -1)
    agree = np.sign(left) == sign
    if rule == "agree":
        return left.sum(0) / np.maximum((left != 0).sum(0), 1)
    total = (left * agree).sum(0)
    if rule == "sum":
        return total
    return total / (len(U) if rule == "divisor" else np.maximum(agree.sum(0), 1))


MISTAKES = ("trim", "together", "votes", "untrimmed", "agree", "divisor", "sum")


def check_ties(learner, rng):
    """Updates of very different sizes, three and five tasks, several densities."""
    while True:
        cases = []
        for T, n, density in ((3, 30, 0.5), (5, 24, 0.34), (4, 41, 0.2)):
            U = rng.standard_normal((T, n)) * rng.uniform(0.4, 2.5, (T, 1))
            cases.append((U, density))
        right = [merged(*case) for case in cases]
        others = [[merged(*case, rule) for case in cases] for rule in MISTAKES]
        apart = [
            not close(r, o, 1e-3)
            for other in others
            for r, o in zip(right, other, strict=True)
        ]
        if all(apart):
            break
    found = learner.run("result = [ties(*case) for case in cases]", cases=cases)
    expect(found, "ties", kind=(list, tuple), length=3)
    for case, answer in zip(cases, found, strict=True):
        given = expect(answer, "ties", shape=(case[0].shape[1],))
        wrong = {rule: [merged(*case, rule)] for rule in MISTAKES}
        told(given, merged(*case), wrong, "ties")


# -- adapters -----------------------------------------------------------------------


def check_merged_adapter(learner, rng):
    """Two and three adapters, equal ranks and others, negative weights."""
    for ranks in ((2, 2), (3, 1), (2, 2, 2), (1, 4, 2)):
        d, k = (int(n) for n in rng.integers(8, 12, 2) + np.array([0, 5]))
        adapters = [
            (rng.standard_normal((r, k)), rng.standard_normal((d, r)), float(alpha))
            for r, alpha in zip(ranks, rng.uniform(1, 9, len(ranks)), strict=True)
        ]
        w = (
            rng.uniform(0.2, 1.5, len(ranks)) * rng.choice([-1, 1], len(ranks))
        ).tolist()
        found = learner.call("merged_adapter", adapters, w)
        expect(found, "pair", kind=(list, tuple), length=2)
        R = sum(ranks)
        parts = [shape(part) for part in found]
        summed = len(set(ranks)) == 1 and parts == [(ranks[0], k), (d, ranks[0])]
        if summed:
            raise Wrong("cross")
        A, B = (
            expect(found[0], "pair", shape=(R, k)),
            expect(found[1], "pair", shape=(d, R)),
        )

        rules = {
            "scale": [
                lambda v, r, a, R: v,
                lambda v, r, a, R: v * a,
                lambda v, r, a, R: v * a / R,
                lambda v, r, a, R: v * (a / r) ** 2,
            ],
            "twice": [
                lambda v, r, a, R: v * v * a / r,
                lambda v, r, a, R: v * v * (a / r) ** 2,
                lambda v, r, a, R: v * v,
            ],
            "weight": [lambda v, r, a, R: a / r],
        }
        wrong = {k: [total(adapters, w, f) for f in own] for k, own in rules.items()}
        right = total(adapters, w, lambda v, r, a, R: v * a / r)
        told(B @ A, right, wrong, "update")


def total(adapters, weights, factor):
    """Sum of factor(weight, r, alpha, sum of ranks) B A."""
    R = sum(len(A) for A, _, _ in adapters)
    return sum(
        factor(v, len(A), alpha, R) * B @ A
        for v, (A, B, alpha) in zip(weights, adapters, strict=True)
    )


# -- which alpha --------------------------------------------------------------------


def choice(val, shifted, allowed, rule="right"):
    mean = {a: float(np.mean(v)) for a, v in val.items()}
    if rule == "worst":
        mean = {a: float(np.min(v)) for a, v in val.items()}
    if rule == "luckiest":
        mean = {a: float(np.max(v)) for a, v in val.items()}
    top = mean[max(mean)] if rule == "end" else max(mean.values())
    may = [a for a in sorted(mean) if mean[a] >= top - allowed - 1e-12]
    if rule == "best":
        return max(sorted(mean), key=mean.get)
    if rule == "shifted":
        return max(sorted(shifted), key=lambda a: np.mean(shifted[a]))
    if rule == "shifted too":
        return max(may, key=lambda a: np.mean(shifted[a]))
    if rule == "largest":
        below = [a for a in may if a != max(mean)]
        return max(below) if below else max(may)
    return min(may)


OTHERS = {
    "shifted": ("shifted", "shifted too"),
    "best": ("best",),
    "end": ("end",),
    "worst": ("worst", "luckiest"),
    "largest": ("largest",),
}


def check_chosen_alpha(learner, rng):
    """Curves with a peak in the middle, in any order, drawn until mistakes differ."""
    wanted = [rule for rules in OTHERS.values() for rule in rules]
    while True:
        cases = [alpha_case(rng) for _ in range(5)]
        answers = {
            rule: tuple(choice(*case, rule) for case in cases)
            for rule in ("right", *wanted)
        }
        if len(set(answers.values())) == len(answers):
            break
    code = """
result = []
for val, shifted, allowed in cases:
    result.append(float(chosen_alpha(dict(val), dict(shifted), allowed)))
"""
    sent = [(list(v.items()), list(s.items()), a) for v, s, a in cases]
    found = learner.run(code, cases=sent)
    expect(found, "alpha", kind=(list, tuple), length=5)
    right = [choice(*case) for case in cases]
    if same(found, right):
        return
    for hint, rules in OTHERS.items():
        if any(same(found, [choice(*c, rule) for c in cases]) for rule in rules):
            raise Wrong(hint)
    raise Wrong("alpha")


def alpha_case(rng):
    """A curve in domain with a peak in the middle, and one under shift."""
    while True:
        alphas = sorted({round(float(a), 3) for a in rng.uniform(0, 1, 6)} | {1.0})
        peak, S = rng.uniform(0.4, 0.8), int(rng.integers(4, 7))
        val, shifted = {}, {}
        for a in rng.permutation(alphas).tolist():
            noise = 0.01 * rng.standard_normal(S)
            val[a] = (0.85 - 0.2 * (a - peak) ** 2 + noise).tolist()
            shifted[a] = (0.6 + 0.1 * rng.random() + noise).tolist()
        allowed = float(rng.uniform(0.004, 0.02))
        means = [float(np.mean(v)) for v in val.values()]
        if all(abs(max(means) - allowed - mean) > 2e-4 for mean in means):
            return val, shifted, allowed
