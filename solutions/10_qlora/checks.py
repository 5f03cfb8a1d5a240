"""Trusted checks of exercise 10: they run in the grader and are never released."""

import numpy as np
import torch

from course_lib.course.grading.checks import Wrong, as_array, close, expect, same, shape

HINTS = {
    "shape": "The result has the wrong shape: one position for every entry of x.",
    "levels": "Positions of levels are asked for, not the levels.",
    "above": "The next level above or below is not always the nearest.",
    "nearest": "Not the nearest level: compare the distances to all sixteen.",
    "sixteen": "There are 16 levels: eight above zero, seven below, and zero.",
    "zero": "Zero must be one of the levels, exactly.",
    "symmetric": "NF4 is not symmetric: the upper half has nine probabilities, the "
    "lower eight (zero is dropped from both).",
    "even": "The levels are evenly spaced: those of the probabilities are, their "
    "quantiles are not.",
    "ends": "The ends are -1 and 1: divide by the largest.",
    "float64": "The levels are a tensor in double precision, torch.float64.",
    "offset": "The probabilities start at 1 - (1/32 + 1/30) / 2.",
    "absolute": "The scale of a block is its largest absolute value: blocks may be "
    "negative.",
    "one scale": "All blocks have the same scale: one outlier spoils everything.",
    "zeros": "A block of zeros has the scale 0 and stays zero.",
    "tiny": "A block of tiny entries is divided by its own scale, too: only a block of "
    "zeros needs another divisor.",
    "scaled": "The entries are not those of their block divided by its scale.",
    "blocks": "Blocks are made of entries that follow each other.",
    "scales": "The scales are wrong.",
    "double": "With double quantisation a scale costs 8 bits, and one 32-bit constant "
    "is shared by `group` scales.",
    "single": "Without double quantisation every block stores one scale of 32 bits.",
    "bytes": "Bits are asked for: the 4 bits of the weight are part of the price.",
    "gib": "A GiB has 2**30 bytes.",
    "full": "Full fine-tuning: 2 + 2 + 4 + 4 + 4 bytes for every parameter.",
    "adapters": "Adapters: weights, gradients and two moments of 4 bytes each, for "
    "both lora and qlora.",
    "activations": "The activations take their room too.",
    "first": "Of the methods that fit the first is asked for, in the order full, lora, "
    "qlora.",
    "decision": "The decision is wrong: add up the bytes of each method once more.",
    "labels": "Labels have the shape of the ids, and integers in it.",
    "question": "The question is learned: its labels are -100.",
    "padding": "Padding is learned: what lies behind the length is -100.",
    "end": "The end of the answer is not learned: only its position tells it from the "
    "padding, which has the same number.",
    "changed": "The ids that were given have been changed: make labels of a copy.",
    "rows": "Not the answers and their ends: each row has its own start and length.",
}


def check_nearest_level(learner, rng):
    """Uneven levels and entries beyond both ends, three dimensions."""
    uneven = np.linspace(-1, 1, 16) + rng.uniform(-0.05, 0.05, 16)
    levels = torch.tensor(uneven, dtype=torch.float32)
    x = torch.tensor(rng.uniform(-1.3, 1.3, (3, 4, 50)), dtype=torch.float32)
    distance = (x[..., None] - levels).abs()
    expected = distance.argmin(-1)
    # Near the middle of two levels a right answer may round to either.
    nearest, second = distance.topk(2, largest=False).values.unbind(-1)
    x = torch.where(second - nearest < 0.01, (x + levels[expected]) / 2, x)
    found = learner.call("nearest_level", x, levels)
    if shape(found) != tuple(x.shape):
        raise Wrong("shape")
    if close(found, levels[expected]):
        raise Wrong("levels")
    if close(found, expected, 1e-9):
        return
    above = torch.searchsorted(levels, x)
    for other in (above.clamp(max=15), (above - 1).clamp(min=0)):
        if close(found, other, 1e-9):
            raise Wrong("above")
    raise Wrong("nearest")


def book(start: float, counts=(9, 8)) -> torch.Tensor:
    """The code book for a start and numbers of probabilities; sorted, not divided."""
    halves = [
        torch.special.ndtri(torch.linspace(start, 0.5, n, dtype=torch.float64))[:-1]
        for n in counts
    ]
    zero = torch.zeros(1, dtype=torch.float64)
    return torch.cat([halves[0], -halves[1], zero]).sort().values


def check_nf4_levels(learner, rng):
    """Against the derivation, in double precision."""
    found = learner.call("nf4_levels")
    delta = (1 / 32 + 1 / 30) / 2
    levels = book(1 - delta)
    if close(found, levels / levels.max(), 1e-5):
        if getattr(found, "dtype", None) != torch.float64:
            raise Wrong("float64", credit=0.75)
        if not close(found, levels / levels.max(), 1e-9):
            raise Wrong("float64", credit=0.75)  # its digits are those of a float32
        return
    if shape(found) != (16,):
        raise Wrong("sixteen")
    if close(found, levels, 1e-5):
        raise Wrong("ends", credit=0.75)
    array = as_array(found)
    if not (array == 0).any():
        raise Wrong("zero")
    turned = -levels.flip(0) / levels.max()
    if close(found, turned, 1e-5):
        raise Wrong("symmetric", credit=0.25)
    if abs(array + array[::-1])[1:-1].max() < 1e-3:
        raise Wrong("symmetric")
    steps = array[1:] - array[:-1]
    if steps.max() < 1.3 * steps.min():
        raise Wrong("even")
    books = (book(float(start)) for start in torch.linspace(0.9, 0.9995, 400))
    derived = any(close(found, other / other.max(), 3e-3) for other in books)
    raise Wrong("offset", credit=0.25 if derived else 0)


def check_blockwise_bug(learner, rng):
    """Negative blocks, a block of zeros, a tiny one, and one outlier."""
    for block in (4, 16):
        n = block * 6
        w = torch.tensor(rng.standard_normal(n), dtype=torch.float32)
        w[block : 2 * block] = -w[block : 2 * block].abs()
        w[3] = 50.0
        tiny = slice(2 * block, 3 * block)
        w[tiny] *= 1e-5
        w[4 * block : 5 * block] = 0
        found = learner.call("blockwise", w, block)
        scaled, scales = expect(found, "scales", kind=(tuple, list), length=2)
        blocks = w.view(-1, block)
        right = blocks.abs().amax(1)
        if shape(scales) != (6,) or shape(scaled) != (n,):
            raise Wrong("scales")
        if not close(scales, right, 1e-6):
            array = torch.as_tensor(as_array(scales)).float()
            if close(array, blocks.amax(1), 1e-6):
                raise Wrong("absolute")
            if (array == array[0]).all():
                raise Wrong("one scale")
            if close(array, w.view(block, -1).abs().amax(0), 1e-6):
                raise Wrong("blocks")
            kept = right > 0
            if close(array[kept], right[kept], 1e-6):
                raise Wrong("zeros", credit=0.5)
            raise Wrong("scales")
        if not close(as_array(scales)[2:3] * 1e5, right[2:3] * 1e5, 1e-5):
            raise Wrong("tiny", credit=0.5)
        safe = torch.where(right > 0, right, torch.ones_like(right))
        expected = (blocks / safe[:, None]).flatten()
        if not close(scaled, expected, 1e-5):
            array = torch.as_tensor(as_array(scaled))
            array[tiny], found = expected[tiny].double(), array[tiny].clone()
            if close(array, expected, 1e-5) and found.isfinite().all():
                raise Wrong("tiny", credit=0.5)
            nan = ~array.isfinite()
            raise Wrong("zeros" if nan.any() else "scaled", credit=0.5)


def check_bits_per_parameter(learner, rng):
    """Random powers of two, with and without double quantisation."""
    cases = [
        (int(2 ** rng.integers(4, 10)), int(2 ** rng.integers(5, 10))) for _ in range(6)
    ]
    found = learner.run(
        "result = [[bits_per_parameter(block), bits_per_parameter(block, group)] "
        "for block, group in cases]",
        cases=cases,
    )
    found = expect(found, shape=(6, 2), finite=False)
    block, group = np.array(cases, float).T
    single, double = 4 + 32 / block, 4 + 8 / block + 32 / (block * group)
    if not close(found[:, 0], single, 1e-6):
        less = any(close(found[:, 0], x, 1e-6) for x in (single - 4, single / 8))
        raise Wrong("bytes" if less else "single")
    if not close(found[:, 1], double, 1e-7):
        raise Wrong("double", credit=0.5)


def check_fits(learner, rng):
    """Cards just large enough, and just too small, for each method."""
    cases = []
    for _ in range(6):
        n, t = float(rng.uniform(1e9, 9e9)), float(rng.uniform(1e8, 3e8))
        a = float(rng.uniform(2e9, 4e9))
        sizes = {
            "full": 16 * n,
            "lora": 2 * n + 16 * t,
            "qlora": 4.127 / 8 * n + 16 * t,
        }
        for size in sizes.values():
            for share in (0.985, 1.015):
                cases.append((n, t, a, (size + a) * share / 2**30))
    cases = [cases[i] for i in rng.permutation(len(cases))]
    found = learner.run("result = [fits(*case) for case in cases]", cases=cases)

    def decide(n, t, a, gib, full=16, adapter=16, giga=2**30, names=(0, 1, 2)):
        sizes = (full * n, 2 * n + adapter * t, 4.127 / 8 * n + adapter * t)
        methods = ("full", "lora", "qlora")
        for i in names:
            if sizes[i] + a <= gib * giga:
                return methods[i]
        return None

    expect(found, "decision", kind=list, length=len(cases))

    def alike(**change):
        return same(found, [decide(*case, **change) for case in cases])

    if alike():
        return
    if alike(giga=10**9):
        raise Wrong("gib")
    if any(alike(full=b) for b in (2, 4, 6, 8, 10, 12, 14)):
        raise Wrong("full")
    if any(alike(adapter=b) for b in (0, 2, 4, 6, 8, 10, 12)):
        raise Wrong("adapters")
    if same(found, [decide(n, t, 0, g) for n, t, _, g in cases]):
        raise Wrong("activations")
    if alike(names=(2, 1, 0)):
        raise Wrong("first")
    raise Wrong("decision")


def check_answer_labels(learner, rng):
    """Rows of different starts and lengths; the end's number occurs inside, too."""
    n, width = 6, 24
    ids = torch.tensor(rng.integers(3, 900, (n, width)))
    starts = torch.tensor(rng.permutation(np.arange(6, 6 + n)))
    lengths = starts + torch.tensor(rng.integers(3, 9, n))
    for row, start, length in zip(ids, starts, lengths, strict=True):
        row[length - 1 :] = 2  # the end, and the padding
        row[start - 2] = 2  # the end of the question's turn
    before, places = ids.clone(), torch.arange(width)
    found = learner.run(
        "given = ids.clone()\n"
        "labels = answer_labels(given, starts, lengths)\n"
        "result = [labels, given]",
        ids=ids,
        starts=starts,
        lengths=lengths,
    )
    labels, given = expect(found, "labels", kind=(list, tuple), length=2)
    if shape(labels) != (n, width):
        raise Wrong("labels")
    labels = torch.as_tensor(as_array(labels))
    if shape(given) != (n, width):
        raise Wrong("labels")
    prompt = places < starts[:, None]
    padding = places >= lengths[:, None]
    end = places == lengths[:, None] - 1
    right = torch.where(prompt | padding, -100, before)
    if close(labels, right, 1e-9):
        if not close(given, before, 1e-9):
            raise Wrong("changed", credit=0.75)
        return
    if (labels[prompt] != -100).any():
        raise Wrong("question")
    if (labels[padding] != -100).any():
        raise Wrong("padding")
    if (labels[end] == -100).all():
        raise Wrong("end", credit=0.25 if (labels[~end] == right[~end]).all() else 0)
    raise Wrong("rows")
