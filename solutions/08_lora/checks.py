"""Trusted checks of exercise 08: they run in the grader and are never released."""

import math
from itertools import combinations

import numpy as np
import torch

from course_lib.course.grading.checks import (
    Wrong,
    all_close,
    close,
    expect,
    same,
    shape,
    told,
)

HINTS = {
    "product": "A product of two matrices has as many entries as W: x goes through A "
    "first, then through B.",
    "shape": "The result has the wrong shape. W is (d, k), A is (r, k), B is (d, r); x "
    "may have any number of dimensions in front.",
    "scale": "The size of the update is wrong: s = alpha / r, and r is the number of "
    "rows of A.",
    "update": "Something is added to x W^T, but it is not s (x A^T) B^T.",
    "base only": "The update is missing: for a B that is not zero the output differs "
    "from the plain layer's.",
    "values": "The values are wrong.",
    "start": "Right after construction the layer must give exactly the output of its "
    "base: one of the factors starts at zero.",
    "stuck": "Nothing would ever learn: with both factors zero every gradient is zero. "
    "B is zero at the start, A is random.",
    "factor zero": "B is the factor that starts at zero (the first gradient reaches "
    "B), A the random one.",
    "frozen": "The base is not frozen: neither its weight nor its bias may learn.",
    "parameters": "What learns must be exactly A (r, k) and B (d, r).",
    "argument": "The weight that was given has been changed: the second call would add "
    "the update twice. Return a new one.",
    "transposed": "The update is transposed or its factors are in the wrong order: "
    "B A is (d, k).",
    "rounding": "The share is exceeded, or a larger rank would still fit: round down.",
    "formula": "Compare the numbers that learn, r (d + k), with share times d k.",
    "whole": "A rank is a whole number: return an int.",
    "squares": "The share is one of squared singular values: the squared norm is the "
    "sum of their squares.",
    "off by one": "The rank is one too small or one too large: the smallest rank whose "
    "share is at least the one asked for.",
    "exactly": "A rank that keeps exactly the share is enough: at least, not more.",
    "zero": "An update that is zero needs rank 0.",
    "rank": "The rank is wrong. Compare with the cumulated squares of the singular "
    "values.",
    "validation": "The lowest mean validation loss chooses the rate. What is tested "
    "must not choose.",
    "common seeds": "A rate that ran with more seeds is judged on others than the "
    "rest: compare the rates of a method on the seeds that ran with all of them.",
    "mean loss": "One lucky seed has chosen the rate: take the mean of the loss over "
    "seeds.",
    "pairs": "Pair the seeds: the gain is over those that both have at their rates.",
    "own rate": "Plain LoRA has a rate of its own, chosen as that of the method.",
    "sign": "The gain is that of the method over plain LoRA, not the other way round.",
    "gain": "The rate or the gain is wrong. Return two numbers, the rate of the method "
    "first.",
}


def tensor(rng, *size):
    """Normal numbers, float32."""
    return torch.tensor(rng.standard_normal(size), dtype=torch.float32)


COUNT = """
from course_lib.course.visible_tests import products
result = [size for _, size in products(lambda: lora_forward(x[:1], W, A, B, alpha))]
"""


def check_lora_forward(learner, rng):
    """Random shapes, two leading dimensions, r and alpha unequal."""
    for lead in ((6,), (2, 3)):
        # r is the smallest: no product that is asked for has as many numbers as W.
        r, *others = sorted(rng.choice(np.arange(4, 12), 3, replace=False).tolist())
        d, k = rng.permutation(others).tolist()
        x, W, A, B = (tensor(rng, *s) for s in ((*lead, k), (d, k), (r, k), (d, r)))
        alpha = float(rng.uniform(2, 3)) * r
        plain, low = x @ W.T, (x @ A.T) @ B.T
        y = learner.call("lora_forward", x, W, A, B, alpha)
        if close(y, plain + alpha / r * low):
            sizes = learner.run(COUNT, x=x, W=W, A=A, B=B, alpha=alpha)
            for size in expect(sizes, kind=list):
                if expect(size, kind=int) == d * k:
                    raise Wrong("product", credit=2 / 3)
            continue
        if shape(y) != tuple(plain.shape):
            raise Wrong("shape")
        if close(y, plain):
            raise Wrong("base only")
        others = (alpha, 1.0, 1 / r, alpha / math.sqrt(r), alpha / k, alpha / d)
        if any(close(y, plain + s * low) for s in others):
            raise Wrong("scale")
        raise Wrong("update")


BUILD = """
import torch
base = torch.nn.Linear(W.shape[1], W.shape[0])
with torch.no_grad():
    base.weight.copy_(W); base.bias.copy_(b)
torch.manual_seed(seed)
layer = LoRALinear(base, r, alpha)
start = layer(x)
learns = {n: p for n, p in layer.named_parameters() if p.requires_grad}
first = {n: p.detach().clone() for n, p in learns.items()}
(layer(x) - target).square().sum().backward()
slopes = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
          for n, p in learns.items()}
with torch.no_grad():
    for n, p in learns.items(): p -= 0.1 * slopes[n]
    layer.A.copy_(A); layer.B.copy_(B)
result = {"start": start, "first": first, "slopes": slopes, "later": layer(x)}
"""


def check_lora_layer(learner, rng):
    """Start, what learns, the gradients there, output with factors put in.

    A base that learns shows in the output after a step, not only in a list of names.
    """
    d, k, r = (int(n) for n in rng.choice(np.arange(3, 10), 3, replace=False))
    sizes = dict(x=(2, 3, k), W=(d, k), b=(d,), A=(r, k), B=(d, r), target=(2, 3, d))
    given = {name: tensor(rng, *size) for name, size in sizes.items()}
    alpha = float(rng.uniform(2, 3)) * r
    found = learner.run(
        BUILD, r=r, alpha=alpha, seed=int(rng.integers(1 << 30)), **given
    )
    plain = given["x"] @ given["W"].T + given["b"]
    low = (given["x"] @ given["A"].T) @ given["B"].T
    expect(found, keys=("start", "first", "slopes", "later"))
    first, slopes = (expect(found[name], kind=dict) for name in ("first", "slopes"))
    if any(name.startswith("base") for name in first):
        raise Wrong("frozen")
    sizes = {"A": (r, k), "B": (d, r)}
    first, slopes = (
        {n: expect(v, "parameters", shape=sizes[n]) for n, v in side.items()}
        for side in (expect(x, "parameters", keys=sizes) for x in (first, slopes))
    )
    expect(found["later"], "shape", shape=(2, 3, d))
    if not close(found["start"], plain, 1e-5):
        raise Wrong("start")
    if not any(slope.any() for slope in slopes.values()):
        raise Wrong("stuck")
    if first["B"].any() or slopes["A"].any() or not first["A"].any():
        raise Wrong("factor zero")
    if close(found["later"], plain + alpha / r * low):
        down = given["x"] @ torch.tensor(first["A"]).float().T
        pull = (plain - given["target"]).flatten(0, 1)
        slope = alpha / r * 2 * pull.T @ down.flatten(0, 1)
        if not close(slopes["B"], slope, 1e-3):
            raise Wrong("stuck")
        return
    if close(found["later"], plain):
        raise Wrong("base only", credit=0.25)
    if any(
        close(found["later"], plain + s * low) for s in (alpha, 1.0, 1 / r, alpha // r)
    ):
        raise Wrong("scale", credit=0.5)
    raise Wrong("update", credit=0.25)


def check_merge_bug(learner, rng):
    """A matrix that is not square, one that is, and the argument afterwards."""
    for square in (False, True):
        d, k, r = (int(n) for n in rng.choice(np.arange(3, 12), 3, replace=False))
        k = d if square else k
        W, A, B = tensor(rng, d, k), tensor(rng, r, k), tensor(rng, d, r)
        alpha = float(rng.uniform(2, 3)) * r
        found = learner.run(
            "import copy\nmerged = copy.deepcopy(merge(W, A, B, alpha))\n"
            "result = [merged, copy.deepcopy(merge(W, A, B, alpha)), W]",
            **dict(W=W, A=A, B=B, alpha=alpha),
        )
        merged, again, after = expect(found, kind=list, length=3)
        for matrix in (merged, again, after):
            expect(matrix, "shape", shape=(d, k), finite=False)
        if not close(merged, W + alpha / r * (B @ A)):
            if any(close(merged, W + s * (B @ A)) for s in (alpha, 1.0, alpha / k)):
                raise Wrong("scale")
            if square and close(merged, W + alpha / r * (B @ A).T):
                raise Wrong("transposed")
            raise Wrong("values")
        if not all_close([again, after], [merged, W], 1e-6):
            raise Wrong("argument", credit=0.5)


def check_largest_rank(learner, rng):
    """Random shapes and shares, and shares at which a whole rank fits exactly."""
    cases = []
    for _ in range(12):
        d, k = (int(n) for n in rng.integers(8, 5000, 2))
        cases.append((d, k, float(rng.choice([1.0, 0.5, 0.25, 0.125, 0.0078125]))))
    cases += [(64 * n, 64 * n, 0.5) for n in (1, 3, 5)] + [(3, 5, 0.0078125)]
    found = learner.run(
        "result = [largest_rank(d, k, share) for d, k, share in cases]", cases=cases
    )
    expected = [int(share * d * k // (d + k)) for d, k, share in cases]
    for value in expect(found, "whole", kind=list, length=len(cases)):
        expect(value, "whole", kind=int)
    if found == expected:
        return
    if all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True)):
        raise Wrong("rounding", credit=0.5)
    raise Wrong("formula")


def check_intrinsic_rank(learner, rng):
    """Known spectra in random directions, shares between two steps, and zero."""
    asked, expected, unsquared = [], [], []
    for _ in range(6):
        d, k = (int(n) for n in rng.integers(5, 12, 2))
        n = min(d, k)
        sigma = np.sort(rng.uniform(0.3, 3, n))[::-1]
        left, right = (np.linalg.qr(rng.standard_normal((m, m)))[0] for m in (d, k))
        update = (left[:, :n] * sigma) @ right[:, :n].T
        kept = np.concatenate([[0], np.cumsum(sigma**2) / np.sum(sigma**2)])
        rank = int(rng.integers(1, n))
        share = float((kept[rank - 1] + kept[rank]) / 2)
        asked.append((torch.tensor(update, dtype=torch.float32), share))
        expected.append(rank)
        plain = np.cumsum(sigma) / np.sum(sigma)
        unsquared.append(int((plain < share).sum()) + 1)
    scale = float(rng.uniform(1, 3))  # one large value: 80 % of the squares, 40 % else
    asked.append((torch.diag(torch.tensor([6.0] + [1.0] * 9)) * scale, 0.75))
    expected.append(1)
    unsquared.append(7)
    found = learner.run(
        "result = [intrinsic_rank(update, share) for update, share in asked]",
        asked=asked,
    )
    for value in expect(found, "whole", kind=list, length=len(asked)):
        expect(value, "whole", kind=int)
    if found != expected:
        if found == unsquared:
            raise Wrong("squares")
        steps = {a - b for a, b in zip(found, expected, strict=True)}
        raise Wrong("off by one" if steps in ({1}, {-1}) else "rank")
    ties = []  # equal singular values: rank i keeps exactly i / n
    for n in (4, 16):
        update = torch.eye(n) * 2.0 ** int(rng.integers(-2, 3))
        ties += [(update, i / n) for i in (int(rng.integers(1, n)), n)]
    found = learner.run(
        "result = [intrinsic_rank(update, share) for update, share in asked]",
        asked=ties,
    )
    if not same(found, [round(share * len(update)) for update, share in ties]):
        raise Wrong("exactly", credit=0.75)
    zeros = [(torch.zeros(4, 6), 0.9), asked[0], (torch.zeros(7, 3), 0.5)]
    order = rng.permutation(3)
    found = learner.run(
        "result = []\nfor update, share in asked:\n    try:\n"
        "        result.append(intrinsic_rank(update, share))\n"
        "    except Exception:\n        result.append(-1)",
        asked=[zeros[i] for i in order],
    )
    if not same(found, [(0, expected[0], 0)[i] for i in order]):
        raise Wrong("zero", credit=0.75)


WAYS = {  # what goes wrong in `tuned`
    "validation": dict(by="accuracy"),
    "common seeds": dict(common=False),
    "mean loss": dict(worst=True),
    "pairs": dict(paired=False),
    "own rate": dict(own=False),
}


def rate_of(by_rate, by="val_loss", common=True, worst=False):
    """The rate that the rows {lr: {seed: row}} of a method choose."""
    shared = set.intersection(*map(set, by_rate.values()))
    scores = {}
    for lr, ran in by_rate.items():
        values = [ran[seed][by] for seed in (shared if common else ran)]
        scores[lr] = min(values) if worst else np.mean(values)
    return (min if by == "val_loss" else max)(scores, key=scores.get)


def tuned(rows, paired=True, own=True, **chooses):
    """[rate, gain] of pissa over lora."""
    by_rate = {"pissa": {}, "lora": {}}
    for row in rows:
        by_rate[row["method"]].setdefault(row["lr"], {})[row["seed"]] = row
    rates = {name: rate_of(ran, **chooses) for name, ran in by_rate.items()}
    if not own:
        rates["lora"] = rates["pissa"]
    ours, plain = (by_rate[name][rates[name]] for name in by_rate)
    seeds = [sorted(set(ours) & set(plain))] * 2 if paired else [ours, plain]
    means = [
        np.mean([ran[seed]["accuracy"] for seed in chosen])
        for ran, chosen in zip((ours, plain), seeds, strict=True)
    ]
    return [rates["pissa"], means[0] - means[1]]


def comparison(rng):
    """Rows in which each mistake of WAYS shows; the best rate ran with more seeds."""
    while True:
        rows, seeds = [], rng.permutation(30).tolist()
        for method in ("lora", "pissa"):
            order = rng.permutation(3)
            for lr, place in zip((3e-4, 1e-3, 3e-3), order, strict=True):
                more = rng.choice(seeds[3:9], 4, replace=False).tolist()
                for seed in seeds[:3] + (more if place == 0 else []):
                    loss = 0.4 + 0.03 * place + rng.normal(0, 0.05)
                    loss += 0.5 * (seed not in seeds[:3])
                    row = dict(method=method, lr=lr, seed=seed, val_loss=float(loss))
                    rows.append(row | {"accuracy": float(rng.uniform(0.6, 0.9))})
        found = [tuned(rows), *(tuned(rows, **way) for way in WAYS.values())]
        pairs = combinations(found, 2)
        if not any(close(one, other, 1e-3) for one, other in pairs):
            return [rows[i] for i in rng.permutation(len(rows))]


def check_tuned_gain(learner, rng):
    """Rates that ran with unequal seeds, where each mistake gives another answer."""
    for _ in range(3):
        rows = comparison(rng)
        found = learner.call("tuned_gain", rows, "pissa")
        expect(found, "gain", kind=(list, tuple), length=2)
        expect(found, "gain", shape=(2,))
        rate, gain = tuned(rows)
        wrong = {hint: [tuned(rows, **way)] for hint, way in WAYS.items()}
        told(found, [rate, gain], wrong | {"sign": [[rate, -gain]]}, "gain")
