"""Trusted checks of exercise 14: they run in the grader and are never released."""

import numpy as np

from course_lib.course.grading.checks import Wrong, close, expect, same, told

HINTS = {
    "length": "Each row has to be divided by its length first.",
    "itself": "A row is not compared with itself: it does not stand below the "
    "fraction.",
    "one side": "Below the fraction stand the other rows of both views, not those of "
    "one view only.",
    "temperature": "The cosines are divided by the temperature.",
    "partner": "The other view of row i is the one of the same picture.",
    "mean": "The mean over the 2 N rows is asked for.",
    "loss": "The loss is wrong.",
    "axis": "Pictures are rows: the spread of a column is taken over the rows.",
    "sample": "The sample variance divides by N - 1.",
    "small": "The root is of the variance plus 0.0001.",
    "hinge": "A column that is spread enough costs nothing, and pays for no other: cut "
    "at 0 first, then the mean.",
    "least": "The least spread is an argument.",
    "columns": "The mean over the columns is asked for.",
    "term": "The term is wrong.",
    "squares": "Singular values, not their squares.",
    "centred": "The features are taken as they are, not centred.",
    "entropy": "The entropy is not yet the rank: take exp of it.",
    "base": "With the natural logarithm goes exp.",
    "count": "That is a count of singular values, not their effective number.",
    "zero": "Where a singular value is 0, its term is 0, not nan.",
    "rank": "The effective rank is wrong.",
    "inverted": "Values are replaced where `chosen` holds True, and nowhere else.",
    "column": "A value comes from its own column of the donor row.",
    "whole rows": "Each value has a donor row of its own.",
    "original": "Donors give their original values, also when they are changed too.",
    "in place": "X itself must not change.",
    "view": "The second view is wrong.",
    "logarithm": "The line is straight over the logarithm of the number of labels.",
    "difference": "The labels saved are asked for: those needed minus those used.",
    "first": "Where the curve reaches the score several times, the first counts.",
    "never": "Where the curve never reaches the score, the answer is None.",
    "below": "Where the first point is above the score already, the answer is None.",
    "saved": "These are not the labels saved.",
}


def by_hint(rules):
    """(right answers, {hint: [answers by a mistake]}), each with one number a case."""
    columns = {
        hint: [np.array(c) for c in zip(*(r[hint] for r in rules), strict=True)]
        for hint in rules[0]
    }
    return columns.pop("right")[0], columns


# -- the loss of SimCLR ------------------------------------------------------------


def losses(A, B, tau):
    """{hint: loss by a mistake}, and under "right" the right one."""
    n = len(A)
    raw = np.concatenate([A, B])
    Z = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    other, rows = np.roll(np.arange(2 * n), n), np.arange(2 * n)

    def terms(Z, tau=tau, own=False, which=None, partner=other):
        logits = Z @ Z.T / tau
        right = logits[rows, partner]
        allowed = np.ones((2 * n, 2 * n), bool) if which is None else which
        allowed = allowed & (own | ~np.eye(2 * n, dtype=bool))
        return np.log((np.exp(logits) * allowed).sum(axis=1)) - right

    across = (rows[:, None] < n) != (rows < n)  # the other view alone
    negatives = np.ones((2 * n, 2 * n), bool)
    negatives[rows, other] = False  # the other view itself is left out
    neighbour = rows ^ 1
    plain = terms(Z)
    return {
        "right": [plain.mean()],
        "length": [terms(raw).mean()],
        "itself": [terms(Z, own=True).mean()],
        "one side": [
            terms(Z, which=across).mean(),
            terms(Z, which=across)[:n].mean(),
            terms(Z, which=negatives).mean(),
        ],
        "temperature": [terms(Z, 1 / tau).mean(), terms(Z, 1.0).mean()],
        "partner": [terms(Z, partner=neighbour).mean()],
        "mean": [plain.sum(), plain.sum() / n, plain[:n].mean(), -plain.mean()],
    }


def check_nt_xent(learner, rng):
    """Rows of other lengths, views that differ, temperatures on both sides of 1."""
    cases = []
    for n, width, tau in ((4, 3, 0.3), (6, 5, 0.7), (3, 4, 1.6)):
        A = rng.standard_normal((n, width))
        B = A + 0.7 * rng.standard_normal((n, width))
        scale = rng.uniform(0.4, 2, (2, n, 1))
        cases.append((A * scale[0], B * scale[1], tau))
    found = learner.run(
        "result = [float(nt_xent(*case)) for case in cases]", cases=cases
    )
    found = expect(found, "loss", shape=(3,), finite=False)
    right, wrong = by_hint([losses(*case) for case in cases])
    told(found, right, wrong, "loss", 1e-5)


# -- the variance term -------------------------------------------------------------


def terms_of(Z, least):
    """{hint: term by a mistake}, and under "right" the right one."""

    def lacking(axis=0, ddof=1, epsilon=1e-4, least=least):
        spread = np.sqrt(Z.var(axis=axis, ddof=ddof) + epsilon)
        return np.maximum(0, least - spread)

    spread = np.sqrt(Z.var(axis=0, ddof=1) + 1e-4)
    return {
        "right": [lacking().mean()],
        "axis": [lacking(axis).mean() for axis in (1, None)]
        + [lacking(1, 0, 0).mean(), lacking(1, 0).mean(), lacking(None, 0).mean()],
        "sample": [lacking(ddof=0).mean(), lacking(ddof=0, epsilon=0).mean()],
        "small": [
            lacking(epsilon=0).mean(),
            np.maximum(0, least - np.sqrt(Z.var(axis=0, ddof=1)) - 1e-4).mean(),
        ],
        "hinge": [
            (least - spread).mean(),
            max(0.0, (least - spread).mean()),
            max(0.0, least - np.sqrt(Z.var(axis=0, ddof=1).mean() + 1e-4)),
        ],
        "least": [lacking(least=1.0).mean()],
        "columns": [lacking().sum(), lacking().max()],
    }


def check_variance_bug(learner, rng):
    """Columns of other spreads, few rows, a least spread that is not 1."""
    cases = []
    for n, width, least in ((4, 6, 0.8), (5, 3, 1.7), (7, 4, 0.3)):
        spread = np.linspace(0.02, 1.5, width) * rng.uniform(0.85, 1.15, width) * least
        Z = rng.standard_normal((n, width))
        Z = (Z - Z.mean(axis=0)) / Z.std(axis=0, ddof=1) * spread
        cases.append((Z + rng.normal(0, 3, width), least))
    found = learner.run(
        "result = [float(variance_term(*case)) for case in cases]", cases=cases
    )
    found = expect(found, "term", shape=(3,), finite=False)
    right, wrong = by_hint([terms_of(*case) for case in cases])
    told(found, right, wrong, "term", 1e-5)


# -- effective rank ----------------------------------------------------------------


def ranks(Z):
    """{hint: effective rank by a mistake}, and under "right" the right one."""

    def entropy(s, log=np.log):
        p = s / s.sum()
        p = p[p > 1e-15]
        return -(p * log(p)).sum()

    s = np.linalg.svd(Z, compute_uv=False)
    middle = np.linalg.svd(Z - Z.mean(axis=0), compute_uv=False)
    return {
        "right": [np.exp(entropy(s))],
        "squares": [np.exp(entropy(s**2)), 1 / ((s / s.sum()) ** 2).sum()]
        + [s.sum() ** 2 / (s**2).sum(), (s**2).sum() ** 2 / (s**4).sum()],
        "centred": [np.exp(entropy(middle)), np.exp(entropy(middle**2))],
        "entropy": [entropy(s), entropy(s, np.log2)],
        "base": [np.exp(entropy(s, np.log2)), 2 ** entropy(s)],
        "count": [np.linalg.matrix_rank(Z), min(Z.shape)],
    }


def check_effective_rank(learner, rng):
    """Wide and tall features with a mean, and some with exact zeros."""
    cases = []
    for n, width in ((9, 4), (5, 8)):
        Z = rng.standard_normal((n, width)) * rng.uniform(0.2, 3, width)
        cases.append(Z + rng.normal(0, 1, width))
    zeros = np.zeros((6, 5))
    zeros[:3, :3] = np.diag(rng.uniform(1, 5, 3))
    found = learner.run(
        "result = [float(effective_rank(Z)) for Z in cases]", cases=[*cases, zeros]
    )
    found = expect(found, "rank", shape=(3,), finite=False)
    right, wrong = by_hint([ranks(Z) for Z in (*cases, zeros)])
    if np.isnan(found[2]) and close(found[:2], right[:2], 1e-5):
        raise Wrong("zero")
    partly = {hint: [value[:2] for value in values] for hint, values in wrong.items()}
    told(found[:2], right[:2], partly, "rank", 1e-5)
    told(found, right, wrong, "zero", 1e-5)


# -- corrupted rows ----------------------------------------------------------------


def one_after_the_other(X, chosen, donors):
    """Corrupted in place: changed rows give what they have become."""
    out = X.copy()
    for i, f in zip(*np.nonzero(chosen), strict=True):
        out[i, f] = out[donors[i, f], f]
    return out


def check_corrupt(learner, rng):
    """Random choices and donors; every value occurs once."""
    n, width = int(rng.integers(5, 9)), int(rng.integers(3, 6))
    X = rng.permutation(n * width).reshape(n, width) * 1.5
    chosen = rng.random((n, width)) < 0.6
    chosen[0], chosen[1] = True, False
    donors = rng.integers(0, n, (n, width))
    donors[2:, 0], chosen[2:, 0] = 0, True  # of a row that is changed itself
    donors[0] = np.arange(width) % (n - 1) + 1
    found = learner.run(
        "before = X.copy()\nY = corrupt(X, chosen, donors)\n"
        "result = [Y, bool((before == X).all())]",
        X=X,
        chosen=chosen,
        donors=donors,
    )
    expect(found, "view", kind=(list, tuple), length=2)
    given = expect(found[0], "view", shape=(n, width))
    right = np.where(chosen, np.take_along_axis(X, donors, axis=0), X)
    wrong = {
        "inverted": [np.where(chosen, X, np.take_along_axis(X, donors, axis=0))]
        + [np.take_along_axis(X, donors, axis=0)],
        "column": [
            np.where(chosen, np.take_along_axis(X, donors % width, axis=1), X),
            np.where(chosen, X.ravel()[donors], X),
        ],
        "whole rows": [
            np.where(chosen, X[donors[:, 0]], X),
            X[donors[:, 0]],
            np.where(chosen.any(axis=1, keepdims=True), X[donors[:, 0]], X),
            np.where(chosen, X[donors[:, -1]], X),
        ],
        "original": [one_after_the_other(X, chosen, donors)],
    }
    told(given, right, wrong, "view", 1e-5)
    if found[1] is not True:
        raise Wrong("in place")


# -- labels saved ------------------------------------------------------------------


def needed(labels, plain, score, rule="right"):
    """Labels at which the curve reaches the score by a rule, or None."""
    if plain[0] >= score:
        if plain[0] == score or rule == "below":
            return float(labels[0])
        return None
    places = [k for k in range(1, len(labels)) if plain[k] >= score]
    if rule == "last":
        places = [k for k in places if plain[k - 1] < score][::-1]
    if not places:
        return float(labels[-1]) if rule == "never" else None
    k = places[0]
    share = (score - plain[k - 1]) / (plain[k] - plain[k - 1])
    a, b = labels[k - 1], labels[k]
    if rule == "line":
        return a + share * (b - a)
    if rule == "next":
        return float(b)
    return a * (b / a) ** share


def savings(case, rule="right", minus=True):
    """The answer to a case by a rule."""
    labels, plain, better = case
    found = [needed(labels, plain, score, rule) for score in better]
    return [
        None if m is None else m - n if minus else m
        for m, n in zip(found, labels, strict=True)
    ]


def alike(found, wanted):
    """Are all answers None where they should be, and close elsewhere?"""
    return all(
        (a is None) == (b is None)
        and (a is None or isinstance(a, (int, float)) and abs(a - b) < 1e-4)
        for one, other in zip(found, wanted, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def check_labels_saved(learner, rng):
    """Gains, losses, scores that are never or always reached, and two crossings."""
    first = int(rng.integers(4, 30))
    labels = [first, 3 * first, 8 * first, 30 * first]
    low, step = rng.uniform(0.3, 0.4), rng.uniform(0.08, 0.12)
    rising = [low, low + step, low + 2 * step, low + 2.5 * step]
    bumpy = [low, low + 2 * step, low + step, low + 3 * step]
    cases = [
        (labels, rising, [value + 0.3 * step for value in rising]),
        (labels, rising, [value - 0.4 * step for value in rising]),
        (labels, bumpy, [low + s * step for s in (0.5, 1.5, 1.2, 0.3)]),
        (labels[:3], rising[:3], [rising[0], rising[0] + 0.7 * step, rising[2]]),
    ]
    found = learner.run(
        "result = [[None if s is None else float(s) for s in labels_saved(*case)] "
        "for case in cases]",
        cases=cases,
    )
    expect(found, "saved", kind=(list, tuple), length=len(cases))
    for answer, case in zip(found, cases, strict=True):
        expect(answer, "saved", kind=(list, tuple), length=len(case[0]))
    right = [savings(case) for case in cases]
    if alike(found, right):
        return
    wrong = {
        "logarithm": ["line", "next"],
        "never": ["never"],
        "below": ["below"],
        "first": ["last"],
    }
    for hint, rules in wrong.items():
        if any(alike(found, [savings(case, rule) for case in cases]) for rule in rules):
            raise Wrong(hint)
    if alike(found, [savings(case, minus=False) for case in cases]):
        raise Wrong("difference")
    signs = [[s is None for s in answer] for answer in found]
    if same(signs, [[s is None for s in answer] for answer in right]):
        raise Wrong("saved")
    raise Wrong("never" if found[0][-1] is not None else "below")
