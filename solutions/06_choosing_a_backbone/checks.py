"""Trusted checks of exercise 06: they run in the grader and are never released."""

import numpy as np

from course_lib.course.grading.checks import Wrong, as_array, close, expect, shape

HINTS = {
    "its own p": "The interval of a model has the width of its own accuracy on "
    "validation pictures; nothing else has a say.",
    "shape": "The result has the wrong shape: one row for each new picture, one "
    "column for each label.",
    "axis": "Divided along the wrong axis: P(y | s) sums to 1 over the labels, for "
    "each source class. Over the source classes it would be P(s | y).",
    "joint": "P(y, s) is not divided by P(s): frequent source classes count too much.",
    "hard": "Only the most probable source class of a picture counts. All of them do, "
    "each with its probability.",
    "log": "Probabilities are asked for, not their logarithms.",
    "probabilities": "These are not p(y | x) of the new pictures. Which label went "
    "with each source class, and how much of each class does a new picture have?",
    "itself": "A picture is its own neighbour: it votes for its own label.",
    "cosine": "The neighbours are not those of the largest cosine: long vectors win, "
    "or near points. Give each vector the length 1 first.",
    "copies": "The first of the sorted neighbours is dropped, but that is not always "
    "the picture itself: a copy of it is as near. Exclude the diagonal.",
    "vote": "The k neighbours vote: the most frequent label among them is the guess, "
    "not the share of right ones or the nearest alone.",
    "score": "The score is not the leave-one-out accuracy.",
    "pair": "Return two numbers: parameters, then multiply-adds.",
    "order": "The two numbers stand in the wrong order: parameters first.",
    "groups": "With groups an output channel sees c_in / groups channels only.",
    "kernel": "A filter has kernel x kernel weights for each channel that it sees.",
    "pixels": "The multiply-adds: each weight is used once for each pixel of the "
    "layer's *output*, height times width.",
    "carried": "The size behind one layer is the size before the next.",
    "rounding": "The size behind a layer is wrong for some sizes: use the formula, "
    "with its padding and its rounding down.",
    "double": "Count multiply-adds, not multiplications and additions one by one.",
    "cost": "The counts are wrong.",
    "ranks": "rho is the correlation of the numbers, not of their ranks.",
    "ties": "Equal numbers share the mean of their ranks.",
    "argsort": "argsort is not the rank: it says which element comes at each place.",
    "nan": "A source without a score has a say: in rho, or in what was to be had.",
    "seeds": "A source's accuracy is the mean over its seeds.",
    "points": "The loss is wanted in points: 0.10 of accuracy is 10.",
    "sign": "The loss is positive when the source chosen is not the best.",
    "rho": "rho is not Spearman's rank correlation.",
    "lost": "The points lost: the best accuracy minus that of the source with the "
    "highest score.",
    "luck": "The accuracy itself reaches the bar, the lower end of its interval does "
    "not: that may be luck.",
    "interval": "The interval has the wrong width: 1.96 times the square root of "
    "p (1 - p) / n, and only its lower end counts.",
    "test": "The test column has chosen. What it chooses it cannot measure any more.",
    "smallest": "Smaller models than this one meet the bar.",
    "bar": "This model is small, but does not meet the bar.",
    "none": "When no model meets the bar, return None.",
    "name": "Return the name of one model, or None.",
}


def check_label_probabilities(learner, rng):
    """Random probabilities, classes of different sizes, several new pictures."""
    for C in (2, 4):
        S, M = int(rng.integers(5, 9)), int(rng.integers(6, 12))
        sizes = rng.permutation([6, 13, 24, 9])[:C]
        y = rng.permutation(np.repeat(np.arange(C), sizes))
        peaks = 2 * np.eye(S)[(y + rng.integers(0, 2, len(y))) % S]
        theta, new = (
            np.exp(rng.standard_normal(size) + shift)
            for size, shift in (((len(y), S), peaks), ((M, S), 0.0))
        )
        theta, new = (p / p.sum(1, keepdims=True) for p in (theta, new))
        found = learner.call("label_probabilities", theta, y, new)
        joint = np.eye(C)[y].T @ theta  # (C, S)
        given = joint / joint.sum(0)
        expected = new @ given.T
        if close(found, expected):
            continue
        if shape(found) != (M, C):
            raise Wrong("shape")
        hard = np.eye(C)[y].T @ np.eye(S)[theta.argmax(1)]
        hard = hard / np.maximum(hard.sum(0), 1e-300)
        wrong = {
            "axis": [new @ (joint / joint.sum(1, keepdims=True)).T],
            "joint": [new @ joint.T, new @ joint.T / len(y)],
            "log": [np.log(expected)],
            "hard": [
                given.T[new.argmax(1)],
                new @ hard.T,
                hard.T[new.argmax(1)],
            ],
        }
        for name in ("axis", "joint"):
            wrong[name] += [p / p.sum(1, keepdims=True) for p in wrong[name]]
        for hint, values in wrong.items():
            if any(close(found, value) for value in values):
                raise Wrong(hint)
        raise Wrong("probabilities")


def neighbours(similar, y, k, skip=0):
    """Accuracy of the vote of places skip to skip + k of the sorted similarities."""
    near = np.argsort(-similar, axis=1, kind="stable")[:, skip : skip + k]
    return (np.array([np.bincount(y[row]).argmax() for row in near]) == y).mean()


def pictures(rng, k, twins=0):
    """Z, y, the score, the scores of wrong rules, and whether no place k is shared.

    ``twins`` pictures come in pairs of copies with two labels, apart from all others.
    """
    y = rng.integers(0, 3, 24)
    centres = rng.standard_normal((3, 5))
    Z = np.zeros((24 + twins, 8))
    Z[:24, :5] = rng.standard_normal((24, 5)) * rng.uniform(0.3, 4, (24, 1))
    Z[:24, :5] += centres[y]
    for i in range(twins // 2):
        pair = slice(24 + 2 * i, 26 + 2 * i)
        Z[pair, :5] = 0.3 * rng.standard_normal(5)
        Z[pair, 5 + i] = 9
    order = rng.permutation(len(Z))
    Z, y = Z[order], np.append(y, np.array([0, 1, 1, 2, 2, 0])[:twins])[order]
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    cosine, dot = unit @ unit.T, Z @ Z.T
    far = -np.square(Z[:, None] - Z[None]).sum(-1)
    alone = {}
    for name, similar in (("cosine", cosine), ("dot", dot), ("far", far)):
        alone[name] = similar.copy()
        np.fill_diagonal(alone[name], -np.inf)
    near = np.argsort(-alone["cosine"], axis=1)[:, :k]
    rules = ["cosine"] if twins else list(alone)
    ordered = [-np.sort(-alone[rule], axis=1) for rule in rules]
    sound = min((s[:, k - 1] - s[:, k]).min() for s in ordered) > 1e-4
    wrong = {
        "itself": neighbours(cosine, y, k),
        "itself, not turned to cosines": neighbours(dot, y, k),
        "dot": neighbours(alone["dot"], y, k),
        "far": neighbours(alone["far"], y, k),
        "share": (y[near] == y[:, None]).mean(),
        "nearest": neighbours(alone["cosine"], y, 1),
    }
    return Z, y, neighbours(alone["cosine"], y, k), wrong, sound


NEIGHBOUR_HINTS = {
    "itself": "itself",
    "itself, not turned to cosines": "itself",
    "dot": "cosine",
    "far": "cosine",
    "share": "vote",
    "nearest": "vote",
}


def opposed(rng):
    """Z and y: one picture, the only one of its label, has negative cosines alone."""
    Z, y = rng.uniform(0.2, 1, (10, 5)), rng.integers(0, 2, 10)
    place = int(rng.integers(10))
    Z[place], y[place] = -Z[place], 2
    return Z, y


def check_knn_bug(learner, rng):
    """Lengths that differ, k of 1, 3 and 5; then copies with two labels."""
    ks = (1, 3, 5)
    while True:  # until no mistake scores like another, or like the right answer
        drawn = [pictures(rng, k) for k in ks]
        right = tuple(d[2] for d in drawn)
        wrong = {name: tuple(d[3][name] for d in drawn) for name in NEIGHBOUR_HINTS}
        differ = len({right, *wrong.values()}) == 1 + len(wrong)
        if differ and all(d[4] for d in drawn):
            break
    copies = [pictures(rng, k, 6) for k in ks[:2]]
    while not all(d[4] for d in copies):
        copies = [pictures(rng, k, 6) for k in ks[:2]]
    asked = zip(drawn + copies, ks + ks[:2], strict=True)
    cases = [(d[0], d[1], k) for d, k in asked] + [(*opposed(rng), 1)]
    found = learner.run(
        "result = [knn_accuracy(Z, y, k) for Z, y, k in cases]", cases=cases
    )
    if shape(found) != (len(cases),):
        raise Wrong("score")
    if not close(found[:3], right, 1e-6):
        for name, hint in NEIGHBOUR_HINTS.items():
            if close(found[:3], wrong[name], 1e-6):
                raise Wrong(hint)
        raise Wrong("score")
    if not close(found[3:5], [d[2] for d in copies], 1e-6):
        raise Wrong("copies", credit=2 / 3)
    Z, y, _ = cases[5]
    cosine = Z @ Z.T / np.outer(*[np.linalg.norm(Z, axis=1)] * 2)
    np.fill_diagonal(cosine, -np.inf)
    if not close(found[5], neighbours(cosine, y, 1), 1e-6):
        raise Wrong("itself", credit=2 / 3)


def cost(layers, size, **change):
    """The counts, or those of a typical mistake."""
    parameters = operations = 0
    first = size
    for c_in, c_out, kernel, stride, groups in layers:
        weights = c_out * kernel ** change.get("power", 2)
        weights *= c_in if change.get("all") else c_in // groups
        before = first if change.get("apart") else size
        size = (before + 2 * (kernel // 2) - kernel) // stride + 1
        if change.get("plain"):
            size = before // stride
        if change.get("valid"):
            size = (before - kernel) // stride + 1
        pixels = before if change.get("before") else size
        parameters += weights
        operations += weights * pixels ** change.get("plane", 2)
    return parameters, operations * change.get("times", 1)


def check_conv_cost(learner, rng):
    """Strides on odd and even sizes, even and odd kernels, groups, several layers."""
    cases = []
    for size in (31, 64, 45):
        widths = [int(w) for w in 4 * rng.integers(2, 12, 5)]
        layers = [
            (a, b, int(kernel), int(stride), int(groups))
            for a, b, kernel, stride, groups in zip(
                widths[:-1],
                widths[1:],
                rng.permutation([3, 5, 1, 2]),
                rng.permutation([1, 2, 2, 3]),
                rng.permutation([1, 2, 4, 4]),
                strict=True,
            )
        ]
        cases.append((layers, size))
    found = learner.run(
        "result = [conv_cost(list(layers), size) for layers, size in cases]",
        cases=cases,
    )
    expected = [cost(*case) for case in cases]
    if shape(found) != (len(cases), 2):
        raise Wrong("pair")
    if same(found, expected):
        return
    if same(found, [pair[::-1] for pair in expected]):
        raise Wrong("order", credit=0.5)
    mistakes = [
        ("groups", dict(all=True)),
        ("kernel", dict(power=1)),
        ("pixels", dict(before=True)),
        ("pixels", dict(plane=1)),
        ("carried", dict(apart=True)),
        ("rounding", dict(plain=True)),
        ("rounding", dict(valid=True)),
        ("double", dict(times=2)),
    ]
    for hint, change in mistakes:
        if same(found, [cost(*case, **change) for case in cases]):
            raise Wrong(hint, credit=0.5 if hint in ("rounding", "double") else 0)
    raise Wrong("cost")


def same(found, expected):
    """Equal counts, of whatever kind of number; only used on checked shapes."""
    return bool((as_array(found) == as_array(expected)).all())


def ranks(values):
    """Ranks from 1, equal numbers sharing their mean."""
    below = (values[:, None] > values).sum(1)
    return below + ((values[:, None] == values).sum(1) + 1) / 2


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def sources(rng, ties, missing):
    """Scores and accuracies for which right and wrong rules differ."""
    while True:
        S = int(rng.integers(7, 10))
        score = np.exp(2 * rng.standard_normal(S))
        accuracy = rng.uniform(0.3, 0.9, (S, 1)) + rng.uniform(-0.15, 0.15, (S, 3))
        if ties:  # some share a value, but never the highest
            score = np.round(np.argsort(np.argsort(score)) / 2.1)
            score[score.argmax()] += 1
        if missing:  # the best source of all has no score
            accuracy[1] = accuracy.max() + 0.05 + rng.uniform(0, 0.02, 3)
            score[1] = np.nan
        known = ~np.isnan(score)
        s, every, t = score[known], accuracy[known], accuracy[known].mean(1)
        one_of = [*every.T, every.max(1), np.median(every, 1)]  # in place of the mean
        order = np.argsort(np.argsort(s, kind="stable")) + 1
        right = correlation(ranks(s), ranks(t))
        lost = 100 * (t.max() - t[s.argmax()])
        rhos = {
            "ranks": [correlation(s, t)],
            "argsort": [correlation(np.argsort(s), np.argsort(t))],
            "ties": [correlation(order, ranks(t))] if ties else [],
            "seeds": [correlation(ranks(s), ranks(v)) for v in one_of],
        }
        if not ties:
            signs = [np.sign(v[:, None] - v) for v in (s, t)]
            rhos["rho"] = [(signs[0] * signs[1]).sum() / (len(s) * (len(s) - 1))]
        if missing:
            filled = np.nan_to_num(score, nan=score[known].min() - 1)
            low = ranks(filled)
            high = ranks(np.where(known, score, np.inf))
            zero = ranks(np.nan_to_num(score))
            all_t = ranks(accuracy.mean(1))
            rhos["nan"] = [correlation(r, all_t) for r in (low, high, zero)]
        wrong = [(r, hint) for hint, found in rhos.items() for r in found]
        mixed = any(
            abs(a - b) < 0.004
            for i, (a, one) in enumerate(wrong)
            for b, other in wrong[:i]
            if one != other
        )
        seeds = [v.max() - v[s.argmax()] for v in one_of]
        over_all = accuracy.mean(1).max() - t[s.argmax()]
        losses = (lost, 100 * over_all) if missing else (lost,)
        apart = min(abs(100 * v - loss) for v in seeds for loss in losses)
        if mixed or min(abs(value - right) for value, _ in wrong) < 0.02:
            continue
        if lost > 5 and apart > 0.1:
            return score, accuracy, (right, lost), rhos, 100 * np.array(seeds)


def check_judge(learner, rng):
    """No ties, ties, sources without a score; the top-ranked is never the best."""
    for ties, missing in ((False, False), (True, False), (False, True)):
        score, accuracy, expected, rhos, seeds = sources(rng, ties, missing)
        found = learner.call("judge", score, accuracy)
        rho, lost = expect(found, "rho", shape=(2,), finite=False)
        if not close(rho, expected[0], 1e-3):
            for hint, values in rhos.items():
                if any(close(rho, value, 1e-3) for value in values):
                    raise Wrong(hint)
            raise Wrong("nan" if missing else "rho")
        if close(lost, expected[1], 1e-3):
            continue
        if close(lost, expected[1] / 100, 1e-3):
            raise Wrong("points", credit=0.5)
        if close(lost, -expected[1], 1e-3):
            raise Wrong("sign", credit=0.5)
        if any(close(lost, value, 1e-3) for value in seeds):
            raise Wrong("seeds")
        raise Wrong("nan" if missing else "lost", credit=0.5)


STEPS = {  # of validation and of test: half widths above the bar
    "bar": (-6.0, -6.0),
    "test": (-1.6, 2.7),
    "upper": (-0.6, -0.5),
    "luck": (0.2, -0.5),
    "interval": (0.72, -0.5),
    "right": (1.35, -0.5),
    "smallest": (2.0, -0.5),
}


def models(rng):
    """Rows, bar, n, and the role of each name: the right one, or a mistake's."""
    n, bar = int(rng.integers(200, 900)), float(rng.uniform(0.7, 0.85))
    half = 1.96 * (bar * (1 - bar) / n) ** 0.5
    roles = ["bar"] * int(rng.integers(1, 4)) + list(STEPS)[1:]  # by their size
    larger = ["smallest"] * int(rng.integers(4)) + ["luck"] * int(rng.integers(3))
    for role in [*larger, *["interval"] * int(rng.integers(3))]:
        roles.insert(int(rng.integers(roles.index("right") + 1, len(roles))), role)
    sizes = np.sort(rng.choice(10**6, len(roles), replace=False))
    names = [f"net-{int(i)}" for i in rng.choice(1000, len(roles), replace=False)]
    rows = [
        (name, int(size))
        + tuple(
            bar + half * (step + float(rng.uniform(-0.08, 0.08)))
            for step in STEPS[role]
        )
        for name, size, role in zip(names, sizes, roles, strict=True)
    ]
    role_of = {
        name: "smallest" if i > roles.index("right") else role
        for i, (name, role) in enumerate(zip(names, roles, strict=True))
    }
    return [rows[i] for i in rng.permutation(len(rows))], bar, n, role_of


def narrow(rng, n):
    """Rows, bar, and the one name that meets it by an interval of its own width."""
    bar = float(rng.uniform(0.75, 0.85))
    half = 1.96 * (bar * (1 - bar) / n) ** 0.5
    p = bar + half
    for _ in range(50):  # the accuracy that just meets the bar
        p = bar + 1.96 * (p * (1 - p) / n) ** 0.5
    right = f"net-{int(rng.integers(100, 200))}"
    rows = [
        (right, 500, 0.4 * p + 0.6 * (bar + half), bar - half),
        (f"net-{int(rng.integers(100))}", 300, bar + 0.8 * (p - bar), bar + 2 * half),
    ]
    return [rows[i] for i in rng.permutation(2)], bar, right


def check_smallest_model(learner, rng):
    """Models that each mistake would choose; between them bars that none meets."""
    drawn = [(*models(rng), i < 2) for i in rng.permutation(8)]
    found = learner.run(
        "result = []\nfor rows, bar, n in cases:\n    try:\n"
        "        name = smallest_model(list(rows), bar, n)\n"
        "        result.append(name if name is None else str(name))\n"
        "    except Exception:\n        result.append(0)",
        cases=[(rows, 0.99 if unmet else bar, n) for rows, bar, n, _, unmet in drawn],
    )
    expect(found, "name", kind=list, length=len(drawn))
    for name, (_, _, _, role_of, unmet) in zip(found, drawn, strict=True):
        if unmet:
            continue
        if type(name) is int:
            raise Wrong("raises")
        if name is None:
            raise Wrong("interval")
        role = role_of.get(expect(name, "name", kind=str), "name")
        if role != "right":
            raise Wrong("interval" if role == "upper" else role)
    if any(name is not None for name, one in zip(found, drawn, strict=True) if one[4]):
        raise Wrong("none", credit=2 / 3)
    for n in (150, 300, 900):
        rows, bar, name = narrow(rng, n)
        if learner.call("smallest_model", rows, bar, n) != name:
            raise Wrong("its own p", credit=2 / 3)
