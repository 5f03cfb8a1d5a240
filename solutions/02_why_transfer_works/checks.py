"""Trusted checks of exercise 02: they run in the grader and are never released."""

import math

import numpy as np
import torch
from scipy import stats
from torch import nn

from course_lib.course.grading.checks import (
    Wrong,
    all_close,
    close,
    expect,
    same,
    shape,
)

HINTS = {
    "pair": "Return a pair: a number, and True or False.",
    "bound": "Where scratch never reaches the accuracy, only counts[-1] / n is known, "
    "and that it is a bound: (counts[-1] / n, False).",
    "reached": "Scratch does reach this accuracy: the second entry is True.",
    "logarithm": "Read off linearly in log n: half-way between 100 and 10,000 lies "
    "1,000.",
    "divide": "This is a number of labels; the ratio divides it by n.",
    "inverse": "The ratio is upside down: labels of scratch divided by n.",
    "between": "The accuracy is reached between two counts: interpolate, do not take "
    "a measured count.",
    "first": "The curve dips and reaches the accuracy more than once: the first time "
    "counts.",
    "ratio": "The ratio is not n_scratch(a) / n.",
    "changed": "One of the given models has been changed: mix in a copy.",
    "modes": "One of the given models has been left in another mode.",
    "ends": "The ends are swapped: alpha = 0 is a, alpha = 1 is b.",
    "parameters": "The parameters are not (1 - alpha) of a plus alpha of b.",
    "statistics": "The running statistics are not those of X in the mixed model: "
    "mixing or keeping stored ones fits neither end nor mixture.",
    "momentum": "One pass moves the statistics only by momentum of the way: with 1, or "
    "None after a reset, they become those of X.",
    "too early": "These statistics are those of X in one of the ends: mix the "
    "parameters first, then let X pass.",
    "mode": "Return the model in eval mode, all of it.",
    "number": "Return one number.",
    "correction": "Nothing is corrected: for M = 1 this is right, for others not, or "
    "the other way round.",
    "bias": "The measured bias still holds V / S: take it off.",
    "variance": "Among S runs the variance is measured too small, by S / (S - 1).",
    "classes": "Squares are summed over the classes; the mean is over pictures and "
    "runs.",
    "M": "The result does not depend on M as it should: V / M.",
    "runs": "S is the number of runs, the first axis.",
    "error": "The value is not b + V / M.",
    "triple": "Return three things: low end, high end, verdict.",
    "few": "With fewer than two common seeds there is no interval: None, None and "
    "undecided.",
    "seeds": "Pair by seed: only seeds that both have, each with its own partner, "
    "whatever the order of the dictionaries.",
    "sign": "The difference is first minus second.",
    "t": "The factor is Student's t for n - 1, both sides together leaving 5 %: for "
    "few seeds it is far larger than 1.96.",
    "deviation": "The deviation of few seeds has n - 1 below the line: ddof=1.",
    "root": "It is the interval of a mean: the deviation is divided by the root of n.",
    "paired": "The spread over seeds is shared by both: take the deviation of the "
    "differences.",
    "interval": "The ends of the interval are wrong.",
    "verdict": "The ends are right, the verdict does not follow from them.",
}


# -- data efficiency -------------------------------------------------------------------


def efficiency(counts, scratch, n, a, scale=math.log, back=math.exp):
    """The ratio and whether scratch got there."""
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            low, high = scale(counts[i - 1]), scale(counts[i])
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return back(low + share * (high - low)) / n, True
    return counts[-1] / n, False


def check_data_efficiency(learner, rng):
    """Rising curves, one that dips, an accuracy at a count, one beyond the curve."""
    rising, dips, beyond = [], [], []
    for _ in range(3):
        counts = np.cumprod([int(rng.integers(10, 40)), *rng.integers(3, 8, 4)])
        counts = [int(c) for c in counts]
        scratch = np.sort(rng.uniform(0.2, 0.9, 5)) + np.arange(5) * 0.02
        n, i = int(rng.integers(5, 300)), int(rng.integers(1, 5))
        share = float(rng.uniform(0.3, 0.7))
        a = float(scratch[i - 1] + share * (scratch[i] - scratch[i - 1]))
        rising += [(counts, scratch.tolist(), n, a)]
        rising += [(counts, scratch.tolist(), n, float(scratch[i]))]
        beyond.append((counts, scratch.tolist(), n, float(scratch[-1]) + 0.01))
        low = float(rng.uniform(0.2, 0.3))
        for rest in ((0.05, 0.35, 0.4), (0.05, 0.06, 0.07), (0.28, 0.05, 0.35)):
            curve = [low, low + 0.3, *(low + more for more in rest)]
            dips.append((counts, curve, n, low + float(rng.uniform(0.1, 0.25))))
    cases = [*rising, *dips, *beyond]
    order = rng.permutation(len(cases))
    found = learner.run(
        "result = [data_efficiency(list(c), list(s), n, a) for c, s, n, a in cases]",
        cases=[cases[i] for i in order],
    )
    expect(found, "pair", kind=list, length=len(cases))
    found = [found[i] for i in np.argsort(order)]
    ratios = []
    for pair in found:
        expect(pair, "pair", kind=(tuple, list), length=2)
        hint = "pair" if pair[0] is not None else "bound"
        expect(pair[1], hint, kind=bool)
        ratios.append(expect(pair[0], hint, shape=(), finite=False))
    expected = [efficiency(*case)[0] for case in cases]
    right = [close(r, e, 1e-3) for r, e in zip(ratios, expected, strict=True)]
    many = len(rising)
    if not all(right[:many]):

        def alike(others):
            return all_close(ratios[:many], others, 1e-3)

        linear = [efficiency(*c, scale=float, back=float)[0] for c in rising]
        nearest = [c[np.flatnonzero(np.array(s) >= a)[0]] / n for c, s, n, a in rising]
        below = [
            c[max(0, int((np.array(s) < a).sum()) - 1)] / n for c, s, n, a in rising
        ]
        if alike(linear):
            raise Wrong("logarithm")
        if alike([e * c[2] for e, c in zip(expected[:many], rising, strict=True)]):
            raise Wrong("divide", credit=0.5)
        if alike([1 / e for e in expected[:many]]):
            raise Wrong("inverse")
        if alike(nearest) or alike(below):
            raise Wrong("between")
        raise Wrong("ratio")
    if not all(flag for _, flag in found[:many]):
        raise Wrong("reached", credit=0.5)
    last = many + len(dips)
    if any(flag for _, flag in found[last:]) or not all(right[last:]):
        raise Wrong("bound", credit=0.5)
    if not all(right) or not all(flag for _, flag in found[:last]):
        raise Wrong("first", credit=0.75)


# -- mixtures --------------------------------------------------------------------------

MIX = """
import torch
from torch import nn
def net(state):
    made = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Unflatten(1, (4, 1, 1)), nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Flatten()), nn.Linear(4, 2))
    made.load_state_dict(state)
    return made
def state(model):
    return {n: t.detach().clone() for n, t in model.state_dict().items()}
def modes(model):
    return [m.training for m in model.modules()]
a, b = net(A).train(a_mode), net(B).train(not a_mode)
a[1].train(not a_mode)
model = mixture(a, b, alpha, X.clone())
result = dict(state=state(model), a=state(a), b=state(b),
              again=state(mixture(a, b, alpha, X.clone())),
              modes=[modes(m) for m in (model, a, b)],
              outputs=[m(probe).detach() for m in (model, a, b)])
"""
SIZES = {"0": (4, 3), "1": None, "3.0": (4, 4, 1, 1), "3.1": None, "4": (2, 4)}


def net(state):
    """MIX's net; the momentum is that at which one batch replaces the statistics."""
    made = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4, momentum=1.0),
        nn.Unflatten(1, (4, 1, 1)),
        nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=1.0), nn.Flatten()
        ),
        nn.Linear(4, 2),
    )
    made.load_state_dict(state)
    return made


def statistics(state, X):
    """Inputs' mean and variance at both norms of MIX's net, one batch, train mode."""
    made = net(state)
    with torch.no_grad():
        made.train()(X)
    return {n: t.clone() for n, t in made.state_dict().items() if "running" in n}


def judge_modes(found, states, modes, probe):
    """Outputs tell a norm's mode: stored statistics or those of the probe.

    modes: of the mixture, a and b: of the net, and of its first norm.
    """
    for i, (state, (mode, norm)) in enumerate(zip(states, modes, strict=True)):
        model = net(state).train(mode)
        model[1].train(norm)
        flags = [m.training for m in model.modules()]
        with torch.no_grad():
            right = close(found["outputs"][i], model(probe), 1e-3)
        if not right or not same(found["modes"][i], flags):
            raise Wrong("modes" if i else "mode", credit=0.75)


def drawn_state(rng):
    """Numbers for MIX's net; variances are positive."""
    state = {}
    for name, size in SIZES.items():
        if size:
            state[f"{name}.weight"] = rng.standard_normal(size)
            state[f"{name}.bias"] = rng.standard_normal(size[0])
        else:
            for kind in ("weight", "running_var"):
                state[f"{name}.{kind}"] = rng.uniform(0.5, 2, 4)
            for kind in ("bias", "running_mean"):
                state[f"{name}.{kind}"] = rng.standard_normal(4)
    state = {n: torch.tensor(v, dtype=torch.float32) for n, v in state.items()}
    for name in ("1", "3.1"):
        state[f"{name}.num_batches_tracked"] = torch.tensor(int(rng.integers(1, 99)))
    return state


def check_mixture_bug(learner, rng):
    """Two norms, one behind the other; both modes; what is left of the two models."""
    for a_mode in (False, True):
        A, B = drawn_state(rng), drawn_state(rng)
        alpha, n = float(rng.uniform(0.1, 0.4)), 24
        X = torch.tensor(rng.standard_normal((n, 3)) * 2 + 1, dtype=torch.float32)
        probe = torch.tensor(rng.standard_normal((9, 3)) - 1, dtype=torch.float32)
        found = learner.run(MIX, A=A, B=B, alpha=alpha, X=X, a_mode=a_mode, probe=probe)
        expect(found, keys=("state", "a", "b", "again", "modes", "outputs"))
        for side in ("state", "a", "b", "again"):
            expect(found[side], "parameters", kind=dict)
        expect(found["modes"], kind=list, length=3)
        for output in expect(found["outputs"], kind=list, length=3):
            expect(output, shape=(len(probe), 2), finite=False)
        names = [k for k in A if "tracked" not in k]
        learned = [k for k in names if "running" not in k]
        for side, given in (("a", A), ("b", B)):
            if not all(close(found[side].get(k), given[k], 1e-6) for k in A):
                raise Wrong("changed")
        if not all(close(found["again"].get(k), found["state"].get(k)) for k in A):
            raise Wrong("changed")  # the second call found other models

        def mixed(alpha, A=A, B=B):
            return {k: ((1 - alpha) * A[k] + alpha * B[k]).to(A[k].dtype) for k in A}

        made, expected = found["state"], mixed(alpha)
        if not all(close(made.get(k), expected[k], 1e-4) for k in learned):
            turned = mixed(1 - alpha)
            if all(close(made.get(k), turned[k], 1e-4) for k in learned):
                raise Wrong("ends")
            raise Wrong("parameters")
        right = statistics(expected, X)

        def fits(other, made=made, n=n, share=1.0, old=None):
            for k, value in other.items():
                start = old[k] if old else 0.0
                wanted = (1 - share) * start + share * value
                biased = (1 - share) * start + share * value * (n - 1) / n
                if not close(made.get(k), wanted, 1e-3):
                    if "mean" in k or not close(made.get(k), biased, 1e-3):
                        return False
            return True

        if not fits(right):
            fresh = {k: torch.full((4,), float("var" in k)) for k in right}
            for old in (A, B, expected, fresh):
                if any(fits(right, share=s, old=old) for s in (0.1, 0.01, 0.9)):
                    raise Wrong("momentum", credit=0.5)
            if fits(statistics(A, X)) or fits(statistics(B, X)):
                raise Wrong("too early", credit=0.5)
            raise Wrong("statistics", credit=0.25)
        made = {k: torch.as_tensor(made[k]).float() if k in names else A[k] for k in A}
        modes = [(False, False), (a_mode, not a_mode), (not a_mode, not a_mode)]
        judge_modes(found, (made, A, B), modes, probe)


# -- bias and variance -----------------------------------------------------------------


def check_ensemble_error(learner, rng):
    """Random probabilities of several runs, M below, at and above their number."""
    for S in (2, 3, 5):
        N, C = (int(m) for m in rng.permutation([6, 7, 8, 9])[:2])
        p = rng.dirichlet(np.ones(C), (S, N))
        y = rng.integers(0, C - 1, N)  # the last class does not occur
        sizes = [1, S, 4, 20]
        found = learner.run(
            "result = [ensemble_error(p, y, M) for M in sizes]", p=p, y=y, sizes=sizes
        )
        middle, M = p.mean(0), np.array(sizes)
        v = ((p - middle) ** 2).sum(-1).mean()
        b = ((middle - np.eye(C)[y]) ** 2).sum(-1).mean()
        V = v * S / (S - 1)
        expected = b - V / S + V / M
        if close(found, expected, 1e-4):
            continue
        if shape(found) != (4,):
            raise Wrong("number")
        if close(found, expected / C, 1e-4):
            raise Wrong("classes", credit=0.5)
        if close(found, b + v / M, 1e-4):
            raise Wrong("correction")
        if close(found, b + V / M, 1e-4):
            raise Wrong("bias", credit=0.5)
        if any(close(found, b - w / S + v / M, 1e-4) for w in (v, V)):
            raise Wrong("variance", credit=0.5)
        if any(close(found, b - V / S + w * np.ones(4), 1e-4) for w in (V, v)):
            raise Wrong("M")
        if any(close(found, b - v / k * (k > 1) + v / M, 1e-4) for k in (N, C)):
            raise Wrong("runs")
        W = v * N / (N - 1)
        if close(found, b - W / N + W / M, 1e-4):
            raise Wrong("runs")
        raise Wrong("error")


# -- paired differences ----------------------------------------------------------------


def ends(d, t=None, ddof=1, root=True):
    """Mean of d minus and plus the half width."""
    d, n = np.array(d), len(d)
    half = (stats.t.ppf(0.975, n - 1) if t is None else t(n)) * d.std(ddof=ddof)
    half /= n**0.5 if root else 1
    return [d.mean() - half, d.mean() + half]


def runs_of_two(rng, step, alone):
    """Two lists of (seed, accuracy) apart by a step, and the right triple.

    ``alone``: how many seeds each side has to itself.
    """
    n = 5 if abs(step) > 0.01 else 3
    seeds = [int(s) for s in rng.choice(90, n + 2 * alone, replace=False)]
    both, one, two = seeds[:n], seeds[n : n + alone], seeds[n + alone :]
    luck = dict(zip(seeds, rng.permutation(len(seeds)).tolist(), strict=True))
    noise = np.linspace(-0.007, 0.007, n)[rng.permutation(n)]
    step, noise = step * rng.uniform(0.8, 1.2), noise * rng.uniform(0.8, 1.2)
    second = {s: 0.5 + 0.04 * luck[s] for s in both}
    first = {s: float(second[s] + step + e) for s, e in zip(both, noise, strict=True)}
    low, high = ends([first[s] - second[s] for s in both])
    first |= {s: 0.99 for s in one}
    second |= {s: 0.98 if step < 0 else 0.2 for s in two}
    pair = [
        [list(side.items())[i] for i in rng.permutation(len(side))]
        for side in (first, second)
    ]
    verdict = "first" if low > 0 else "second" if high < 0 else "undecided"
    return pair, (low, high, verdict)


def check_ahead(learner, rng):
    """Shared luck, seeds that one side lacks, other orders, near misses of t."""
    kinds = [(step, alone) for step in (0.02, -0.02, 0.008) for alone in (0, 2)]
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    cases, expected = zip(*(runs_of_two(rng, *kind) for kind in kinds), strict=True)
    assert {e[2] for e in expected} == {"first", "second", "undecided"}
    ask = (
        "result = [ahead(*(dict(map(tuple, side)) for side in pair)) for pair in cases]"
    )
    found = learner.run(ask, cases=list(cases))
    for one in expect(found, "triple", kind=list, length=len(cases)):
        expect(one, "triple", kind=(tuple, list), length=3)
        for end in one[:2]:
            expect(end, "interval", shape=(), finite=False)
        expect(one[2], "triple", kind=str)
    judge_ends(
        [one[:2] for one in found], cases, expected, [not alone for _, alone in kinds]
    )
    if not same([one[2] for one in found], [e[2] for e in expected]):
        raise Wrong("verdict", credit=0.5)
    ask_few(learner, rng, cases[0], expected[0])


def judge_ends(found, cases, expected, shared):
    """Wrong with its hint; ``shared``: do both sides of a case have the same seeds?"""
    paired, placed, shuffled = [], [], []
    for first, second in cases:
        a, b = dict(first), dict(second)
        paired.append([a[s] - b[s] for s in a if s in b])
        common = [x for s, x in first if s in b]
        placed.append([x - y for (_, x), (_, y) in zip(first, second, strict=True)])
        others = [y for s, y in second if s in a]
        shuffled.append([x - y for x, y in zip(common, others, strict=True)])

    def alike(pairs=paired, **change):
        return all_close(found, [ends(d, **change) for d in pairs], 1e-4)

    if alike():
        return
    if alike(placed) or alike(shuffled):
        raise Wrong("seeds")
    if all_close(found, [[-high, -low] for low, high, _ in expected], 1e-4):
        raise Wrong("sign", credit=0.5)
    factors = [
        lambda n: 1.96,
        lambda n: 2.0,
        lambda n: stats.norm.ppf(0.975),
        lambda n: stats.t.ppf(0.975, n),
        lambda n: stats.t.ppf(0.95, n - 1),
        lambda n: 1.0,
    ]
    if any(alike(t=t, ddof=ddof) for t in factors for ddof in (0, 1)):
        raise Wrong("t", credit=0.5)
    if alike(ddof=0):
        raise Wrong("deviation", credit=0.5)
    if alike(root=False) or alike(root=False, ddof=0):
        raise Wrong("root", credit=0.5)
    centres = np.array(found, float).mean(1)
    means = np.array([np.mean(d) for d in paired])
    if close(centres, means, 1e-3):
        wider = all(
            high - low > 3 * (e[1] - e[0])
            for (low, high), e in zip(found, expected, strict=True)
        )
        raise Wrong("paired" if wider else "interval")
    if close(centres[shared], means[shared], 1e-6):
        raise Wrong("seeds")
    raise Wrong("interval")


FEW = """
import warnings
warnings.simplefilter("ignore")
result = []
for pair in cases:
    try:
        one = ahead(*(dict(map(tuple, side)) for side in pair))
        result.append(one)
    except (ZeroDivisionError, ValueError):
        result.append(0)
"""


def ask_few(learner, rng, pair, expected):
    """One common seed, none, and between them a pair that has an interval."""
    some = round(float(rng.uniform(0.3, 0.6)), 3)
    cases = [
        [[(1, some)], [(1, 0.2)]],
        [[(1, some), (2, 0.4)], [(3, 0.2), (4, 0.1)]],
        pair,
    ]
    order = rng.permutation(3)
    found = learner.run(FEW, cases=[cases[i] for i in order])
    expect(found, "few", kind=list, length=3)
    found = [found[i] for i in np.argsort(order)]
    sound = expect(found[2], "interval", kind=(tuple, list), length=3)
    if not close(sound[:2], expected[:2]):
        raise Wrong("interval")
    if not all(same(one, [None, None, "undecided"]) for one in found[:2]):
        raise Wrong("few", credit=0.75)
