"""Trusted checks of exercise 11: they run in the grader and are never released."""

from itertools import combinations

import numpy as np
import torch

from course_lib.course.grading.checks import Wrong, as_array, close, expect, same, shape

HINTS = {
    "values": "The values of x must come out as they went in.",
    "cut": "No gradient comes back through it at all.",
    "sign": "The gradient comes back with its own sign: it has to be turned round.",
    "strength": "The gradient is turned round, but its size does not follow strength.",
    "rest": "Part of the gradient of x itself is still there: only the term with "
    "-strength may have a gradient, the other is detached.",
    "elsewhere": "Another use of the same x has its gradient turned round too: leave x "
    "alone (no hook on it, no change in place).",
    "gradient": "The gradient that comes back is not -strength times the one given.",
    "diagonal": "The floor is not zero: pairs of a row with itself, whose k is 1, are "
    "still counted within X and within Y.",
    "squared": "The kernel takes the squared distance.",
    "floor": "Neither bug is repaired: the kernel takes the squared distance, and "
    "pairs of a row with itself do not count.",
    "divisor": "There are N (N - 1) pairs of different rows within X, M (M - 1) within "
    "Y: divide by their number.",
    "between": "Between X and Y every pair counts: no row of X is a row of Y, whatever "
    "their positions.",
    "width": "The width of the kernel: divide by 2 sigma squared.",
    "twice": "The similarity between X and Y is subtracted twice.",
    "clamped": "An unbiased estimate of 0 is below 0 half of the time: do not cut it.",
    "root": "MMD squared is asked for; its estimate may be negative and has no root.",
    "mmd": "Not the estimate of MMD squared. Compare the three terms one by one, with "
    "N and M unequal.",
    "channels": "One number for each channel: take sums over pictures, height and "
    "width.",
    "within": "The variance between the batches is missing: the average of the "
    "batches' variances is too small.",
    "weights": "The batches are of unequal size: a small one must not count as much as "
    "a large one.",
    "divisor of variance": "The variance is to be divided by the count, not by the "
    "count minus one.",
    "deviation": "The variance is asked for, not its root.",
    "once": "batches can be gone through only once: the second time nothing is left.",
    "last": "This is the last batch alone: all of them count.",
    "digits": "Right for small numbers, wrong for bright pictures: in float32 the "
    "difference of two large sums has no digits left.",
    "statistics": "Not the mean and variance of all pictures together.",
    "transposed": "A is used the wrong way round: predictions stand in its rows, true "
    "classes in its columns.",
    "solve": "The shares of the predicted classes are not yet the proportions: solve "
    "A p = q.",
    "home": "The network already expects the proportions at home: divide by p_S.",
    "inverse": "The weights are upside down: a class that became more frequent gains.",
    "rows": "Each row must sum to 1.",
    "negative": "A class that is never predicted got a negative share: cut it to 0, "
    "then divide by the sum.",
    "hard": "q counts the predicted classes; the mean of the probabilities is "
    "something else.",
    "probabilities": "The corrected probabilities are wrong: look at q, p and the "
    "weights in turn.",
    "uncorrected": "Every test is compared with the level itself: together they ring "
    "falsely too often.",
    "bonferroni": "Every test is compared with level / m: once the smallest is "
    "rejected, the next has to pass level / (m - 1) only.",
    "stop": "Holm's procedure stops at the first p-value that is too large; what comes "
    "after it is not rejected either.",
    "inputs": "That the inputs differ does not say why: look whether the fit is "
    "rejected first.",
    "errors": "More errors are expected where the inputs changed: the rule for errors "
    "comes last.",
    "bar": "A p-value that equals its bar is rejected: at most, not below.",
    "true class": "The score is 1 minus the probability of the true class, whether or "
    "not it is the likeliest one.",
    "n": "k is the ceiling of (n + 1)(1 - alpha): the new example counts too.",
    "side": "The quantile is taken at the wrong end: alpha of the examples may have a "
    "larger score.",
    "equal": "A class whose 1 - p equals q is in the set: at most, not below.",
    "interpolated": "q is one of the scores, the k-th smallest: do not interpolate.",
    "empty": "A set may be empty: no class is put into it that is not within q.",
    "few": "With fewer than k scores nothing can be promised: every class is in.",
    "sets": "Not the right sets: compare scores, k and q one by one.",
    "answer": "Another answer is right: find what is rejected, then the first rule "
    "that applies.",
}


def tensor(rng, *size):
    """Normal numbers, float32."""
    return torch.tensor(rng.standard_normal(size), dtype=torch.float32)


# -- the reversed gradient -------------------------------------------------------------

REVERSE = """
import torch
leaf = x.clone().requires_grad_(True)
given = leaf * 1.0
y = reverse(given, strength)
values = y.detach().clone()
total = (g * y).sum() + (h * given).sum()
result = [values, y.requires_grad, torch.autograd.grad(total, leaf)[0],
          given.detach()]
"""


def check_reverse(learner, rng):
    """Values and gradient, beside another use of the same features; strength 0 too."""
    for strength in (float(rng.uniform(0.2, 0.8)), 0.0, float(rng.uniform(1.5, 3))):
        x, g, h = (tensor(rng, 3, 4) for _ in range(3))
        found = learner.run(REVERSE, x=x, g=g, h=h, strength=strength)
        values, connected, gradient, left = expect(found, kind=list, length=4)
        expect(gradient, "gradient", shape=x.shape, finite=False)
        if not close(values, x, 1e-5) or not close(left, x, 1e-6):
            raise Wrong("values")
        if connected is not True:
            raise Wrong("cut")
        if close(gradient, h - strength * g, 1e-5):
            continue
        if close(gradient, h, 1e-5):
            raise Wrong("cut")
        if close(gradient, h + strength * g, 1e-5) or close(gradient, h + g, 1e-5):
            raise Wrong("sign")
        if close(gradient, h + (1 - strength) * g, 1e-5):
            raise Wrong("rest")
        if close(gradient, -strength * (h + g), 1e-5):
            raise Wrong("elsewhere", credit=0.5)
        sizes = [1.0, strength**2] + ([1 / strength] if strength else [])
        if any(close(gradient, h - s * g, 1e-5) for s in sizes):
            raise Wrong("strength")
        raise Wrong("gradient")


# -- maximum mean discrepancy ----------------------------------------------------------


def estimate(X, Y, sigma, diagonal=False, squared=True, divisor=True, width=True,
             between=2.0, skip=False):  # fmt: skip
    """MMD^2 in float64, and what comes of a mistake."""

    def k(A, B):
        D = ((A[:, None] - B[None]) ** 2).sum(-1)
        D = D if squared else D.sqrt()
        return torch.exp(-D / (2 * sigma**2 if width else 2 * sigma))

    def within(A):
        K, n = k(A, A), len(A)
        if diagonal:
            return K.mean()
        return (K.sum() - n) / (n * (n - 1) if divisor else n * n)

    X, Y = X.double(), Y.double()
    K = k(X, Y)
    cross = K.mean()
    if skip and len(X) == len(Y):
        cross = (K.sum() - K.trace()) / (len(X) * (len(X) - 1))
    return within(X) + within(Y) - between * cross


def check_mmd_bug(learner, rng):
    """Unequal sizes, equal sizes, sigma away from 1, near and far domains."""
    mistakes = {
        "floor": dict(diagonal=True, squared=False),
        "diagonal": dict(diagonal=True),
        "squared": dict(squared=False),
        "divisor": dict(divisor=False),
        "width": dict(width=False),
        "twice": dict(between=1.0),
        "between": dict(skip=True),
    }
    for n, m, apart in ((6, 9, 1.0), (7, 7, 0.6), (8, 5, 1.5), (6, 8, 0.0)):
        right = 0.0
        while not apart and right > -0.03 or right == 0:  # the same fab: below 0
            X, Y = tensor(rng, n, 3), tensor(rng, m, 3) + apart
            sigma = float(rng.uniform(1.5, 2.5))
            right = estimate(X, Y, sigma)
        found = learner.run("result = mmd(X, Y, sigma)", X=X, Y=Y, sigma=sigma)
        if close(found, right, 1e-3):
            continue
        expect(found, "mmd", shape=(), finite=False)
        if not apart and close(found, 0.0, 1e-6):
            raise Wrong("clamped", credit=0.5)
        for hint, mistake in mistakes.items():
            if close(found, estimate(X, Y, sigma, **mistake), 1e-3):
                raise Wrong(hint, credit=0.5 if hint in ("diagonal", "squared") else 0)
        if close(found, right.clamp(min=0).sqrt(), 1e-3):
            raise Wrong("root")
        raise Wrong("mmd")


# -- statistics of a pool --------------------------------------------------------------


def check_pool_statistics(learner, rng):
    """Unequal batches that differ in mean, gone through once; then bright pictures."""
    c = int(rng.integers(2, 5))
    sizes = [int(n) for n in rng.permutation([2, 3, 6])]
    batches = [tensor(rng, n, c, 2, 3) + 2 * tensor(rng, 1, c, 1, 1) for n in sizes]
    ask = "result = list(pool_statistics(iter(batches)))"
    found = learner.run(ask, batches=batches)
    everything = torch.cat(batches).double()
    mean = everything.mean((0, 2, 3))
    variance = everything.var((0, 2, 3), correction=0)
    expect(found, "statistics", kind=list, length=2)
    if shape(found[0]) != (c,) or shape(found[1]) != (c,):
        again = shape(found[0]) == (c,) and shape(found[1]) == ()
        raise Wrong("once" if again else "channels")
    own = [
        (b.double().mean((0, 2, 3)), b.double().var((0, 2, 3), correction=k))
        for b in batches
        for k in (0, 1)
    ]
    if any(close(found[0], m) and close(found[1], v) for m, v in own[-2:]):
        raise Wrong("last")
    if not close(found[0], mean):
        even = torch.stack([m for m, _ in own]).mean(0)
        raise Wrong("weights" if close(found[0], even) else "statistics")
    if not close(found[1], variance):
        share = torch.tensor(sizes).double() / sum(sizes)
        averages = [
            sum(s * v for s, (_, v) in zip(weights, own[k::2], strict=True))
            for k in (0, 1)
            for weights in (share, torch.full((3,), 1 / 3).double())
        ]
        if any(close(found[1], average) for average in averages):
            raise Wrong("within", credit=1 / 3)
        if close(found[1], everything.var((0, 2, 3), correction=1)):
            raise Wrong("divisor of variance", credit=2 / 3)
        if close(found[1], variance.sqrt()):
            raise Wrong("deviation", credit=2 / 3)
        array = as_array(found[1])
        if not np.isfinite(array).all() or (array <= 0).all():
            raise Wrong("once", credit=1 / 3)
        raise Wrong("statistics")
    bright = [300 + 0.05 * tensor(rng, n, c, 4, 4) for n in (8, 5)]
    found = learner.run(ask, batches=bright)
    expect(found, "digits", shape=(2, c), finite=False)
    bright = torch.cat(bright).double()
    mean, variance = bright.mean((0, 2, 3)), bright.var((0, 2, 3), correction=0)
    if not close(found[1], variance, 1e-2) or not close(found[0], mean):
        raise Wrong("digits", credit=2 / 3)


# -- another mix -----------------------------------------------------------------------


def reweighed(P, A, p_S, mistake=None):
    """The corrected probabilities, and what comes of a mistake."""
    hard = np.bincount(P.argmax(1), minlength=len(A)) / len(P)
    q = P.mean(0) if mistake == "hard" else hard
    p = np.linalg.solve(A.T if mistake == "transposed" else A, q)
    if mistake == "solve":
        p = q
    if mistake != "negative":
        p = p.clip(min=0)
    p = p / p.sum()
    if mistake == "home":
        weights = p
    elif mistake == "inverse":
        with np.errstate(divide="ignore"):
            weights = p_S / p
    else:
        weights = p / p_S
    Q = P * weights
    return Q if mistake == "rows" else Q / Q.sum(1, keepdims=True)


def mix(rng, never):
    """P, A and p_S at random; ``never``: nothing is predicted as class 0."""
    k, m = int(rng.integers(3, 6)), 60
    p_S = rng.permutation(np.arange(1, k + 1) + rng.uniform(0, 0.5, k))
    A = rng.uniform(0.2, 0.8, (k, k)) + np.diag(rng.uniform(5, 9, k))
    A = A / A.sum(0)
    counts = rng.permutation(np.linspace(0.6, 1.4, k)) * m / k
    told = np.repeat(np.arange(k), np.ceil(counts).astype(int))
    told = rng.permutation(told)[:m]
    P = rng.dirichlet(np.ones(k), m) * 0.3
    P[np.arange(m), np.where((told == 0) & never, k - 1, told)] += 0.4
    return P / P.sum(1, keepdims=True), A, p_S / p_S.sum()


def check_corrected(learner, rng):
    """Uneven classes at home; then a class that is never predicted."""
    for never in (False, True):
        P, A, p_S = mix(rng, never)
        m, k = P.shape
        found = learner.call("corrected", P, A, p_S)
        if shape(found) != (m, k):
            raise Wrong("probabilities")
        if close(found, reweighed(P, A, p_S)):
            continue
        if close(found, reweighed(P, A, p_S, "negative")):
            raise Wrong("negative", credit=2 / 3)
        for mistake in ("transposed", "solve", "home", "inverse", "hard"):
            if close(found, reweighed(P, A, p_S, mistake)):
                raise Wrong(mistake)
        if not close(as_array(found).sum(1), np.ones(m), 1e-3):
            raise Wrong("rows")
        raise Wrong("probabilities")


# -- three tests -----------------------------------------------------------------------

RULES = {"fit": "recount", "inputs": "reweigh", "errors": "label"}


def decided(p, level, procedure="holm", rules=RULES):
    """What Holm's procedure, or a mistaken one, makes of three p-values."""
    rejected = set()
    for i, name in enumerate(sorted(p, key=p.get)):
        divisor = {"uncorrected": 1, "bonferroni": len(p)}.get(procedure, len(p) - i)
        bar = level / divisor
        if p[name] < bar or (p[name] == bar and procedure != "bar"):
            rejected.add(name)
        elif procedure != "stop":
            break
    found = [answer for name, answer in rules.items() if name in rejected]
    return found[0] if found else "keep"


def check_remedy(learner, rng):
    """Every rule, and p-values between the bars of Holm and of what is taken for it."""
    rows, cases = [], []
    for _ in range(3):
        small, large = rng.uniform(0.01, 0.1, 4), rng.uniform(2, 9, 3)
        rows += [
            small[:3],
            (small[0], small[1], large[0]),
            (small[0], large[0], small[1]),
            (small[2], large[0], large[1]),
            (large[0], large[1], small[3]),
            large,
            (large[0], large[1], 0.6),
            (small[0], 0.4, large[0]),
            (small[0], 0.9, small[1]),
            (0.45, large[0], 0.4),
            (0.9, 0.95, 0.8),
        ]
    for row in rows:  # in units of the level
        level = float(rng.uniform(0.01, 0.06))
        cases.append((*(float(value) * level for value in row), level))
    cases += [(0.5, 0.5, 0.0625 / 4, 0.0625 * 0.75), (0.01, 0.03125, 0.5, 0.0625)]
    cases = [cases[i] for i in rng.permutation(len(cases))]
    orders = [list(rng.permutation(list(RULES))) for _ in cases]
    asked = []
    for (inputs, fit, errors, level), order in zip(cases, orders, strict=True):
        p = {"inputs": inputs, "fit": fit, "errors": errors}
        asked.append(({str(name): p[name] for name in order}, level))
    found = learner.run(
        "result = [remedy(dict(p), level) for p, level in asked]", asked=asked
    )
    expect(found, "answer", kind=list, length=len(asked))

    def alike(*way, **change):
        return same(found, [decided(p, level, *way, **change) for p, level in asked])

    if alike():
        return
    for procedure in ("uncorrected", "bonferroni", "stop", "bar"):
        if alike(procedure):
            raise Wrong(procedure, credit=0.5 if procedure == "bar" else 0.0)
    for first in ("inputs", "errors"):
        rules = {first: RULES[first]} | RULES
        if alike(rules=rules):
            raise Wrong(first, credit=0.5)
    raise Wrong("answer")


# -- sets that keep a promise ----------------------------------------------------------


def sets_of(held, labels, P, alpha, mistake=None):
    """The prediction sets, and what comes of a mistake."""
    n, true = len(labels), held[np.arange(len(labels)), labels]
    if mistake == "true class":
        true = held.max(1)
    scores = np.sort(1 - true)
    k = int(
        np.ceil((n + (mistake != "n")) * (alpha if mistake == "side" else 1 - alpha))
    )
    q = scores[k - 1] if k <= n else np.inf
    if mistake == "few":
        q = scores[min(k, n) - 1]
    if mistake == "interpolated":
        q = np.quantile(scores, 1 - alpha)
    found = 1 - P < q if mistake == "equal" else 1 - P <= q
    if mistake == "empty":
        found[np.arange(len(P)), P.argmax(1)] = True
    return found


def case_of_sets(rng, mistakes):
    """Probabilities in sixty-fourths, so that equal scores are equal; all differ.

    Held-out examples are surer than the new ones, or a set would hardly ever be empty.
    """
    while True:
        n, k, alpha = int(rng.integers(12, 20)), 3, float(rng.choice([0.125, 0.25]))
        held, P = (
            np.stack(
                [rng.multinomial(64, rng.dirichlet(np.full(k, c))) for _ in range(m)]
            )
            / 64
            for m, c in ((n, 0.5), (30, 4.0))
        )
        labels = np.array([rng.choice(k, p=row) for row in held])
        right = sets_of(held, labels, P, alpha)
        ways = [right, *(sets_of(held, labels, P, alpha, m) for m in mistakes)]
        if all((one != other).any() for one, other in combinations(ways, 2)):
            return held, labels, P, alpha, right


def check_sets(learner, rng):
    """Enough held-out examples, and then too few of them."""
    mistakes = ("true class", "n", "side", "equal", "interpolated", "empty")
    for _ in range(2):
        held, labels, P, alpha, right = case_of_sets(rng, mistakes)
        found = learner.call("prediction_sets", held, labels, P, alpha)
        if shape(found) != P.shape:
            raise Wrong("sets")
        found = as_array(found).astype(bool)
        if (found == right).all():
            continue
        for mistake in mistakes:
            if (found == sets_of(held, labels, P, alpha, mistake)).all():
                raise Wrong(mistake, credit=0.5 if mistake in ("equal", "empty") else 0)
        raise Wrong("sets")
    held, labels, P, _, _ = case_of_sets(rng, ())
    n = int(rng.integers(3, 7))
    found = learner.call("prediction_sets", held[:n], labels[:n], P, 0.125)
    if shape(found) != P.shape or not as_array(found).astype(bool).all():
        raise Wrong("few", credit=0.5)
