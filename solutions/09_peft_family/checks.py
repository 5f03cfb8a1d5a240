"""Trusted checks of exercise 09: they run in the grader and are never released."""

import math

import numpy as np
import torch
from torch.nn.functional import gelu

from course_lib.course.grading.checks import Wrong, close, expect, shape

HINTS = {
    "once": "The product with the shared weight is computed once, for all rows of the "
    "batch together.",
    "parameters": "What learns must be exactly `down`, an nn.Linear(d, width), and "
    "`up`, an nn.Linear(width, d), each with its bias.",
    "residual": "h itself is not added: the bottleneck stands beside it.",
    "start": "Right after construction the output must be exactly h: both U and c "
    "start at zero.",
    "stuck": "Nothing but c would ever learn: with D and e zero too, gelu gives 0 and "
    "every other gradient is zero. D is random at the start.",
    "which zero": "U is the one that starts at zero, so that the first gradient "
    "reaches it; D and e are random.",
    "gelu": "The gelu is missing, in another place, or another function: it stands "
    "between down and up.",
    "bottleneck": "The output is not h + U gelu(D h + e) + c.",
    "layers": "All layers count: the parts of a method are in every one of them.",
    "prompt": "The prompt stands in front of the input only: n d numbers, however many "
    "layers there are.",
    "prefix": "A prefix is n keys and n values, of d numbers each, in every layer.",
    "lora": "LoRA of rank n beside a matrix (a, b) has n (a + b) numbers, and all six "
    "linear parts have one.",
    "adapter": "A bottleneck has two matrices and two biases, of width and of d "
    "numbers; there are two bottlenecks in a layer.",
    "ia3": "IA3: d factors for key, d for value, and f for the inputs of contract.",
    "bitfit": "BitFit: query, key, value, project and contract have d biases each, "
    "expand has f, and each of the two norms d.",
    "whole": "Return a whole number.",
    "shape": "The result has the wrong shape.",
    "scale": "The size of the update is wrong: s = alpha / r, where r is the number of "
    "rows of this A.",
    "rows": "One length for each row of W, that is, for each output: not for a column, "
    "nor for the whole matrix.",
    "of W": "The length is that of W: it must be that of V = W + s B A, or the rows "
    "get longer as they turn.",
    "length": "The learned lengths m are not used, or used on top of the old ones.",
    "direction": "These rows do not point in the direction of W + s B A.",
    "side": "The mask has grown on the wrong side: the prompt stands in front.",
    "hidden": "The prompt is masked away: nobody attends to it, so it never learns.",
    "padding": "Padding is attended to: the mask of the words must stay as it is.",
    "front": "The prompt must stand in front of the words, the same for each row.",
    "kind": "The mask has become another kind of number: make the new part like it.",
    "mask": "The mask is wrong.",
    "minus one": "-1 means the base alone. As an index it means the last adapter.",
    "one for all": "One adapter, or the sum of several, is used for every row. Each "
    "row has its own.",
    "base": "The shared part x W^T is missing.",
    "base only": "No row is changed by its adapter.",
    "order": "The rows must stay in the order in which they came.",
    "mixed": "A row's output is not x W^T + s (x A^T) B^T with its own adapter.",
    "way": "The loss is the source of the frozen encoder minus that of the method.",
    "rate": "The lowest mean validation loss chooses the rate. The test set must not "
    "choose it, nor what is kept.",
    "mean loss": "The rate has the lowest loss, not the highest, as a mean over the "
    "seeds: one lucky seed must not choose.",
    "edge": "A method whose best rate is the smallest or the largest of those tried "
    'for it is "untuned".',
    "ruled out": "That no loss is seen does not rule out one: the whole interval must "
    'lie below the margin for "kept".',
    "mean": 'Only the mean is looked at. An interval around the margin is "open".',
    "margin": "The interval is to be compared with the margin, on both sides.",
    "open": 'There are three answers: an interval around the margin is "open".',
    "narrow": "The interval is too narrow: t times the deviation (n - 1 below the "
    "line) by the square root of n.",
    "wide": "The interval is too wide: the deviation is divided by the square root of "
    "n.",
    "paired": "Pair by seed: the deviation is that of the differences, and the rows "
    "come in any order.",
    "verdict": "Several answers are wrong. Check the rate, its edges, the losses by "
    "seed, their interval and the margin, one by one.",
}


def tensor(rng, *size):
    """Normal numbers, float32."""
    return torch.tensor(rng.standard_normal(size), dtype=torch.float32)


BUILD = """
import torch
torch.manual_seed(seed)
adapter = Adapter(h.shape[-1], width)
start = adapter(h)
learns = {n: p for n, p in adapter.named_parameters() if p.requires_grad}
first = {n: p.detach().clone() for n, p in learns.items()}
(adapter(h) - target).square().sum().backward()
slopes = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
          for n, p in learns.items()}
with torch.no_grad():
    for n, p in adapter.named_parameters():
        p.copy_(values[n])
result = {"start": start, "first": first, "slopes": slopes, "later": adapter(h)}
"""


def check_adapter(learner, rng):
    """Start, what learns, first gradients, output with numbers put in."""
    d, width = (int(n) for n in rng.choice(np.arange(3, 10), 2, replace=False))
    h, target = tensor(rng, 2, 7, d), tensor(rng, 2, 7, d)
    D, e = tensor(rng, width, d), tensor(rng, width)
    U, c = tensor(rng, d, width), tensor(rng, d)
    names = ("down.weight", "down.bias", "up.weight", "up.bias")
    values = dict(zip(names, (D, e, U, c), strict=True))
    learner.run("import torch\nresult = Adapter(4, 2)(torch.zeros(3, 4))")
    try:
        found = learner.run(
            BUILD,
            h=h,
            target=target,
            width=width,
            values=values,
            seed=int(rng.integers(1 << 30)),
        )
    except Wrong as wrong:
        if wrong.hint == "raises":  # names or shapes that do not fit
            wrong = Wrong("parameters")
        raise wrong from None
    expect(found, keys=("start", "first", "slopes", "later"))
    first, slopes = (
        {
            n: torch.tensor(expect(v, "parameters", shape=values[n].shape)).float()
            for n, v in expect(found[side], "parameters", keys=values).items()
        }
        for side in ("first", "slopes")
    )
    expect(found["later"], "bottleneck", shape=h.shape)
    if not close(found["start"], h, 1e-6):
        raise Wrong("residual" if close(found["start"], 0 * h) else "start")
    if first["up.weight"].any() or not slopes["up.weight"].any():
        raise Wrong("which zero" if slopes["down.weight"].any() else "stuck")
    low = h @ D.T + e
    if close(found["later"], h + gelu(low) @ U.T + c, 2e-3):
        bent = gelu(h @ first["down.weight"].T + first["down.bias"]).flatten(0, 1)
        slope = 2 * (h - target).flatten(0, 1).T @ bent
        if not close(slopes["up.weight"], slope, 1e-2):
            raise Wrong("stuck")
        return
    others = [
        h + low @ U.T + c,
        h + low.relu() @ U.T + c,
        h + low.tanh() @ U.T + c,
        h + low.sigmoid() @ U.T + c,
        h + gelu(low @ U.T + c),
        h + gelu(h) @ D.T @ U.T + c,
        h + (gelu(h) @ D.T + e) @ U.T + c,
    ]
    if any(close(found["later"], other, 2e-3) for other in others):
        raise Wrong("gelu", credit=1 / 3)
    raise Wrong("bottleneck")


def counts(d, f, layers, n):
    """{method: numbers that learn}."""
    linear = [(d, d)] * 4 + [(f, d), (d, f)]
    return {
        "prompt": n * d,
        "prefix": layers * n * d * 2,
        "lora": layers * sum(n * (a + b) for a, b in linear),
        "adapter": layers * 2 * (n * d + n + d * n + d),
        "ia3": layers * (d + d + f),
        "bitfit": layers * (sum(a for a, _ in linear) + d + d),
    }


def check_learned(learner, rng):
    """Random widths, layers and n: each method by itself."""
    cases = []
    for _ in range(4):
        d = int(8 * rng.integers(4, 150))
        f = int(d * rng.integers(2, 6) + rng.integers(1, 9))
        cases.append((d, f, int(rng.integers(2, 40)), int(rng.integers(2, 70))))
    expected = [counts(*case) for case in cases]
    found = learner.run(
        "result = {m: [learned(m, d, f, layers, n) for d, f, layers, n in cases]"
        " for m in methods}",
        cases=cases,
        methods=list(expected[0]),
    )
    for numbers in expect(found, keys=expected[0]).values():
        expect(numbers, shape=(len(cases),), finite=False)
    right = {m: [row[m] for row in expected] for m in expected[0]}
    wrong = [m for m in right if not close(found[m], right[m], 1e-9)]
    if not wrong:
        if any(type(v) is not int for values in found.values() for v in values):
            raise Wrong("whole", credit=0.5)
        return
    one = [counts(d, f, 1, n) for d, f, _, n in cases]
    alone = [m for m in wrong if close(found[m], [row[m] for row in one], 1e-9)]
    if len(alone) == 5 == len(wrong):
        raise Wrong("layers", credit=1 / 6)
    raise Wrong(wrong[0], credit=1 - len(wrong) / 6)


def check_dora_weight(learner, rng):
    """Lengths that are not those of W, r and alpha unequal, oblong and square."""
    for square in (False, True):
        d, k, r = (int(n) for n in rng.choice(np.arange(3, 12), 3, replace=False))
        k = d if square else k
        W, A, B = tensor(rng, d, k), tensor(rng, r, k), tensor(rng, d, r)
        alpha = float(rng.uniform(1.5, 2.5)) * r
        m = torch.tensor(rng.uniform(1, 4, d), dtype=torch.float32)
        m[::2] *= -1  # a length turns the row when it is negative
        found = learner.call("dora_weight", W, A, B, alpha, m)
        V = W + alpha / r * (B @ A)

        def scaled(V, norm, m=m):
            return m[:, None] * V / norm

        row = V.norm(dim=1, keepdim=True)
        if close(found, scaled(V, row)):
            continue
        if shape(found) != (d, k):
            raise Wrong("shape")
        others = [
            W + s * (B @ A) for s in (alpha, 1.0, alpha / k, alpha / math.sqrt(r))
        ]
        row_of_W, update = W.norm(dim=1, keepdim=True), V - W
        across = V.norm(dim=0, keepdim=True)
        wrong = {
            "scale": [scaled(v, v.norm(dim=1, keepdim=True)) for v in others],
            "rows": [scaled(V, across), scaled(V, V.norm())],
            "of W": [
                scaled(V, row_of_W),
                scaled(W, row_of_W) + update,
                scaled(W, row_of_W),
            ],
            "length": [row_of_W * V / row, V / row, m[:, None] * V, V],
        }
        wrong["rows"] += [m * V / across] if square else []
        wrong["rows"] += [m * V / row] if square else []
        for hint, values in wrong.items():
            if any(close(found, value) for value in values):
                raise Wrong(hint)
        raise Wrong("direction")


def check_prompt_bug(learner, rng):
    """Tickets of different lengths; the numbers, and what kind they are."""
    for kind in (torch.long, torch.float32, torch.bool):
        judge_prompt(learner, rng, kind)


def judge_prompt(learner, rng, kind):
    """One batch, with a mask of this kind of numbers."""
    N, T, n, d = 5, 7, int(rng.integers(2, 5)), 4
    lengths = rng.permutation([7, 2, 3, 5, 4])
    mask = torch.tensor(np.arange(T) < lengths[:, None]).to(kind)
    mask[::2] = mask[::2].flip(1)  # padding in front, as decoders have it
    P, words = tensor(rng, n, d), tensor(rng, N, T, d)
    found = learner.run(
        "longer, wider = prepend(P, words, mask.clone())\nresult = [longer, wider]",
        P=P,
        words=words,
        mask=mask,
    )
    longer, wider = expect(found, kind=list, length=2)
    if shape(longer) != (N, n + T, d) or shape(wider) != (N, n + T):
        raise Wrong("shape")
    if not close(longer, torch.cat([P.expand(N, n, d), words], 1)):
        raise Wrong("front")
    new = mask.new_ones(N, n)
    if not close(wider, torch.cat([new, mask], 1)):
        for hint, value in {
            "side": torch.cat([mask, new], 1),
            "hidden": torch.cat([0 * new, mask], 1),
            "padding": mask.new_ones(N, n + T),
        }.items():
            if close(wider, value):
                raise Wrong(hint)
        raise Wrong("mask")
    if not isinstance(wider, torch.Tensor) or wider.dtype != mask.dtype:
        raise Wrong("kind", credit=0.5)


COUNT = """
from course_lib.course.visible_tests import products
read = products(lambda: mixed(x, W, list(adapters), ids), W=W)
result = sum("W" in names for names, _ in read)
"""


def check_mixed(learner, rng):
    """Adapters of different ranks, rows without one, an adapter without rows."""
    N, T, d, k = 9, 3, 6, 5
    ids = torch.tensor(rng.permutation([0, 1, 2, 0, 1, 2, -1, -1, 0]))
    x, W = tensor(rng, N, T, k), tensor(rng, d, k)
    adapters, updates = [], []
    for r in (*(int(n) for n in rng.permutation([1, 2, 4])), 3):
        A, B = tensor(rng, r, k), tensor(rng, d, r)
        alpha = float(rng.uniform(1.5, 3)) * r
        adapters.append((A, B, alpha))
        updates.append((x @ A.T) @ B.T)
    found = learner.call("mixed", x, W, adapters, ids)
    times = learner.run(COUNT, x=x, W=W, adapters=adapters, ids=ids)
    base = x @ W.T
    zero = torch.zeros_like(base)

    def served(scales, none=zero):
        every = [s * u for s, u in zip(scales, updates, strict=True)] + [none]
        return base + torch.stack([every[i][row] for row, i in enumerate(ids)])

    ranks = [len(A) for A, _, _ in adapters]
    alphas = [alpha for _, _, alpha in adapters]
    scales = [alpha / r for alpha, r in zip(alphas, ranks, strict=True)]
    right = served(scales)
    if close(found, right):
        if expect(times, kind=int) > 1:
            raise Wrong("once", credit=2 / 3)
        return
    if shape(found) != (N, T, d):
        raise Wrong("shape")
    scaled = [s * u for s, u in zip(scales, updates, strict=True)]
    every = [base + update for update in scaled]
    by_task = [int(i) for i in np.argsort(ids.numpy(), kind="stable")]
    last = by_task[(ids == -1).sum() :] + by_task[: (ids == -1).sum()]
    total = sum(scaled)
    wrong = {
        "minus one": [served(scales, scales[-1] * updates[-1])],
        "base": [right - base],
        "base only": [base],
        "order": [right[by_task], right[last]],
        "one for all": [*every, base + total, base + total / len(updates)],
        "scale": [
            served(alphas),
            served([1.0] * 4),
            served([alphas[0] / r for r in ranks]),
            served([alpha / ranks[0] for alpha in alphas]),
            served([alpha / k for alpha in alphas]),
            served([alpha / d for alpha in alphas]),
        ],
    }
    for hint, values in wrong.items():
        if any(close(found, value) for value in values):
            raise Wrong(hint)
    raise Wrong("mixed")


RULES = {  # from the ends and the middle of an interval and a margin to an answer
    "right": lambda low, mean, high, m: (
        "kept" if high < m else "lost" if low > m else "open"
    ),
    "seen": lambda low, mean, high, m: "kept" if low <= 0 else "lost",
    "seen or open": lambda low, mean, high, m: (
        "kept" if low <= 0 else "lost" if low > m else "open"
    ),
    "mean": lambda low, mean, high, m: "kept" if mean < m else "lost",
    "zero": lambda low, mean, high, m: (
        "kept" if high < 0 else "lost" if low > 0 else "open"
    ),
    "else lost": lambda low, mean, high, m: "kept" if high < m else "lost",
    "else kept": lambda low, mean, high, m: "lost" if low > m else "kept",
}
SLIPS = {  # what goes wrong in `judged`, those that cost half of the points last
    "way": [dict(sign=-1)],
    "rate": [dict(by="accuracy"), dict(by="source")],
    "mean loss": [dict(over=np.min), dict(lowest=False)],
    "edge": [dict(edges=kind) for kind in ("none", "smallest", "largest", "all")],
    "ruled out": [dict(rule="seen"), dict(rule="seen or open")],
    "mean": [dict(rule="mean")],
    "margin": [dict(rule="zero")],
    "open": [dict(rule="else lost"), dict(rule="else kept")],
    "narrow": [dict(ddof=0), dict(t=1.96)],
    "wide": [dict(root=False)],
    "paired": [dict(pairs="order"), dict(pairs="none"), dict(pairs="mean")],
}


def interval(start, own, t, sign=1, ddof=1, root=True, pairs="seed"):
    """(low, mean, high) of start minus own, both {seed: source} as the rows came."""
    a, b = np.array(list(start.values())), np.array(list(own.values()))
    if pairs != "order":
        b = np.array([own[seed] for seed in start])
    deviation = (a - b).std(ddof=ddof)
    if pairs == "none":
        deviation = (a.var(ddof=1) + b.var(ddof=1)) ** 0.5
    if pairs == "mean":
        deviation = b.std(ddof=1)
    half = t * deviation / (len(a) ** 0.5 if root else 1)
    mean = sign * (a - b).mean()
    return mean - half, mean, mean + half


def best_rate(runs, by="val_loss", over=np.mean, lowest=True):
    """The rate that the rows {lr: {seed: row}} of a method choose."""
    scores = {lr: over([row[by] for row in ran.values()]) for lr, ran in runs.items()}
    return (min if lowest == (by == "val_loss") else max)(scores, key=scores.get)


def judged(case, rule="right", edges="own", t=None, **slip):
    """The answer to a case (rows, method, margin, t), with a slip where one is given.

    edges: the rates at which a method is untuned.
    """
    rows, method, margin, given = case
    runs = {}
    for row in rows:
        by_rate = runs.setdefault(row["method"], {})
        by_rate.setdefault(row["lr"], {})[row["seed"]] = row
    own, every = list(runs[method]), [row["lr"] for row in rows]
    kinds = {
        "own": {min(own), max(own)},
        "none": set(),
        "smallest": {min(own)},
        "largest": {max(own)},
        "all": {min(every), max(every)},
    }
    choosing = {k: slip.pop(k) for k in ("by", "over", "lowest") if k in slip}
    rate = best_rate(runs[method], **choosing)
    if rate in kinds[edges]:
        return "untuned"
    start, found = (
        {seed: row["source"] for seed, row in ran.items()}
        for ran in (*runs["probe"].values(), runs[method][rate])
    )
    return RULES[rule](*interval(start, found, t or given, **slip), margin)


def some_runs(rng):
    """A case: the frozen encoder, a method and another one, in any order."""
    n = int(rng.integers(3, 6))
    seeds = [int(seed) for seed in rng.choice(90, n, replace=False)]
    start = rng.normal(0.5, 0.1, n)
    first, second = (f"{c}{int(rng.integers(100))}" for c in "pq")
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    rows = [
        ("probe", 0.0, seed, 0.4, x, 0.6) for seed, x in zip(seeds, start, strict=True)
    ]
    for method, tried in ((first, rates[1:5]), (second, rates)):
        for lr in tried:
            lost, level = rng.uniform(-0.05, 0.12), rng.uniform(0.3, 0.5)
            spread = rng.uniform(0.002, 0.03)
            for seed, x in zip(seeds, start, strict=True):
                source = x - lost - rng.normal(0, spread)
                loss, accuracy = rng.normal(level, 0.05), rng.uniform(0.6, 0.9)
                rows.append((method, lr, seed, loss, source, accuracy))
    names = ("method", "lr", "seed", "val_loss", "source", "accuracy")
    found = [
        dict(zip(names, (*row[:3], *map(float, row[3:])), strict=True))
        for row in (rows[i] for i in rng.permutation(len(rows)))
    ]
    t = {3: 4.303, 4: 3.182, 5: 2.776}[n]
    return found, first, float(rng.uniform(0.01, 0.1)), t


def telling(rng, slip):
    """A case to which this slip gives a wrong answer."""
    while True:
        case = some_runs(rng)
        if judged(case) != judged(case, **slip):
            return case


def check_old_skill(learner, rng):
    """Two cases for each slip, to which it gives a wrong answer."""
    slips = [(hint, slip) for hint, own in SLIPS.items() for slip in own * 2]
    cases = [telling(rng, slip) for _, slip in slips]
    right = [judged(case) for case in cases]
    order = rng.permutation(len(cases))
    found = learner.run(
        "result = [old_skill(list(rows), method, margin, t)"
        " for rows, method, margin, t in cases]",
        cases=[cases[i] for i in order],
    )
    expect(found, "verdict", kind=list, length=len(cases))
    for answer in found:
        expect(answer, "verdict", kind=str)
    said = [found[i] for i in np.argsort(order)]
    if said == right:
        return
    missed = {
        hint
        for (hint, _), one, other in zip(slips, said, right, strict=True)
        if one != other
    }
    fitting = [
        hint for hint, slip in slips if said == [judged(case, **slip) for case in cases]
    ]
    hint = (*fitting, *missed)[0] if fitting or len(missed) == 1 else "verdict"
    late = hint in ("narrow", "wide", "paired")
    raise Wrong(hint, credit=0.5 if late else 0)
