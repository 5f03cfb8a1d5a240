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
    "way": "The better method is not the one you return: the differences are first "
    "minus second, and other methods in the rows have no say.",
    "test": "A rate is chosen by the test accuracy. Validation chooses, the test set "
    "measures.",
    "open": 'The interval includes 0, so these seeds cannot tell: "open".',
    "common": "Each method is compared at its own best rate, not at a common one.",
    "edge": "A method whose best rate is the smallest or largest of those tried for "
    'it is "untuned".',
    "narrow": "The interval is too narrow: t times the deviation (n - 1 below the "
    "line) by the square root of n.",
    "wide": "The interval is too wide: the deviation is divided by the square root of "
    "n.",
    "paired": "Pair by seed: the deviation is that of the differences, and the runs "
    "may come in another order.",
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


def check_compare(learner, rng):
    """One case for each mistake; in all but the last the second method is steady."""
    t, low = 4.303, 0.4
    first, second, other = (f"{c}{int(rng.integers(100))}" for c in "pqr")
    seeds = [int(s) for s in rng.choice(90, 3, replace=False)]
    size = float(rng.uniform(0.8, 1.2))

    def runs(method, best, tests, rates=(1, 3, 10), elsewhere=low, order=1):
        base, steps = 1e-3, (0.0, 0.02, -0.01)
        return [
            (method, base * rate, seed, level + step, tests[i] if hit else elsewhere)
            for rate in rates
            for hit in (rate == best,)
            for level in (0.7 if hit else 0.5,)
            for i, seed, step in list(zip(range(3), seeds, steps, strict=True))[::order]
        ]

    def spread(mean, sigma):  # three numbers of this mean and deviation
        return [0.7 + size * (mean + sigma * step) for step in (-1, 0, 1)]

    steady = [0.7] * 3
    up, down = spread(0.1, 0.01), spread(-0.1, 0.01)
    half = t * 0.02 / 3**0.5  # of the interval for a deviation of 0.02
    b, wide = runs(second, 3, steady), (0.3, 1, 3, 10)
    moving = [0.55, 0.75, 0.68]
    cases = [
        ("way", first, runs(first, 3, up) + b),
        ("way", second, runs(first, 3, down) + b),
        ("way", first, runs(first, 3, up) + b + runs(other, 3, [0.95] * 3)),
        ("test", second, runs(first, 3, down, elsewhere=0.9) + b),
        ("open", "open", runs(first, 3, spread(0.02, 0.03)) + b),
        (
            "common",
            "open",
            runs(first, 1, spread(0.002, 0.02), rates=wide)
            + runs(second, 3, steady, rates=wide),
        ),
        ("edge", "untuned", runs(first, 1, up) + b),
        ("edge", "untuned", runs(first, 3, up) + runs(second, 10, steady)),
        (
            "edge",  # of the second's own rates
            "untuned",
            runs(first, 3, up) + runs(second, 3, steady, rates=(3, 10, 30)),
        ),
        ("narrow", "open", runs(first, 3, spread(0.9 * half, 0.02)) + b),
        ("wide", first, runs(first, 3, spread(1.3 * half, 0.02)) + b),
        (
            "paired",
            first,
            runs(first, 3, [moving[0] + 0.041, moving[1] + 0.039, moving[2] + 0.04])
            + runs(second, 3, moving, order=-1),
        ),
    ]
    asked = []
    for hint, _, rows in cases:
        mixed = (
            rows if hint == "paired" else [rows[i] for i in rng.permutation(len(rows))]
        )
        asked.append(mixed)
    order = rng.permutation(len(cases))
    found = learner.run(
        "result = [compare(list(rows), first, second, t) for rows in cases]",
        cases=[asked[i] for i in order],
        first=first,
        second=second,
        t=t,
    )
    expect(found, "way", kind=list, length=len(cases))
    for i in np.argsort(order):
        expect(found[i], "way", kind=str)
    said = [found[i] for i in np.argsort(order)]
    for one, (hint, expected, _) in zip(said, cases, strict=True):
        if one != expected:
            late = hint in ("narrow", "wide", "paired")
            raise Wrong(hint, credit=0.5 if late else 0)
