"""Trusted checks of exercise 07: they run in the grader and are never released."""

import math

import numpy as np
import torch

from course_lib.course.grading.checks import (
    Wrong,
    all_close,
    as_array,
    close,
    expect,
    shape,
)

HINTS = {
    "shape": "The result has the wrong shape.",
    "padding": "Padding is part of the mean: the embedding depends on the batch.",
    "length": "The sum is over the ticket's own pieces, but it is divided by another "
    "number: each ticket has a length of its own.",
    "sum": "This is the sum, not the mean.",
    "inverted": "The mean is over the padding: 1 marks the ticket's own pieces.",
    "special": "A piece is missing from the mean: the mask marks [CLS] and [SEP] too.",
    "mean": "This is not the mean of each ticket's own word pieces.",
    "pair": "Return two tensors of whole numbers, (N, T) each: inputs and labels.",
    "changed": "The tensor of word pieces that was given has been changed.",
    "special chosen": "A special piece or padding has been chosen.",
    "labels": "Labels are the original pieces where one was chosen, -100 elsewhere: "
    "not what stands there now, and not every piece.",
    "unasked": "A piece that was not chosen has been changed.",
    "share": "The wrong share of pieces is chosen: each that is not special, with "
    "probability `share`.",
    "together": "The pieces are not chosen independently: whole rows or columns share "
    "their fate, or a fixed number is chosen.",
    "eighty": "Of the chosen pieces 80 % become [MASK].",
    "ten": "10 % of the chosen become random pieces and 10 % stay: of those that are "
    "not [MASK], half.",
    "one word": "The random pieces are drawn once: every place gets the same, or they "
    "do not come from the whole vocabulary.",
    "vocabulary": "Some piece of 0 ... vocab - 1 never becomes the random one: "
    "torch.randint leaves out its upper end.",
    "generator": "Two calls with the same seed give different results, or two seeds "
    "the same: draw everything from the generator that is given.",
    "decay": "After the peak the factor falls in a straight line that ends at 0, at "
    "update `steps`.",
    "jump": "The fall takes steps - warmup updates, from 1 at the peak: yours jumps.",
    "rise": "The warm-up rises in a straight line from 0 at update 0 to 1 at update "
    "`warmup`.",
    "off by one": "Everything is one update late or early: update 0 has the factor 0, "
    "update `warmup` the factor 1.",
    "no warm-up": "Without a warm-up there is nothing to divide by: begin at 1.",
    "after": "After the last update the factor is 0: a negative rate would climb.",
    "leak": "The test texts have taught the vectoriser words, or how rare they are.",
    "twice": "The test texts are fitted anew: their columns are not those of the "
    "training features.",
    "old": "The vectoriser still knows what it was fitted on before: fit it on the "
    "training texts.",
    "left out": "A training ticket was left out of the fit. What is in the training "
    "texts is known, whatever the test texts are.",
    "order": "The two results stand in the wrong order: training, then test.",
    "features": "These are not the features of the training and of the test texts.",
    "incomplete": "The rate chosen was not run with every seed.",
    "lucky": "The rate chosen does well with most seeds and fails with one: its mean "
    "over all seeds is lower.",
    "test": "The test column has chosen. What it chooses it cannot measure any more.",
    "first seed": "One seed has decided. The mean over all of them does.",
    "tie": "Of equal means the smallest rate is wanted.",
    "list": "Return the parameters themselves, in a list.",
    "tied": "The tied matrix learns before update `warm`: it belongs to the encoder.",
    "early": "The encoder learns before update `warm`.",
    "late": "The first `warm` updates are 0 to `warm` - 1: yours are one more or less.",
    "double": "A parameter comes twice: the tied matrix is in both networks.",
    "thawed": "A parameter that somebody froze learns.",
    "missing": "A parameter is missing: what is new learns at every update, the "
    "encoder from update `warm` on.",
    "rate": "This is not the rate with the highest mean validation accuracy.",
}


def check_pooling_bug(learner, rng):
    """Tickets of different lengths, large numbers in the padding."""
    for N, T, d in ((4, 9, 5), (3, 6, 7)):
        lengths = rng.choice(np.arange(2, T), N, replace=False)
        lengths[0] = T
        mask = torch.tensor(np.arange(T) < lengths[:, None]).long()
        hidden = rng.standard_normal((N, T, d)) + 1
        hidden[mask.numpy() == 0] += rng.uniform(2, 4, d)
        hidden = torch.tensor(hidden, dtype=torch.float32)
        found = learner.call("pooled", hidden, mask)
        own = mask[:, :, None]
        expected = (hidden * own).sum(1) / own.sum(1)
        if close(found, expected):
            continue
        if shape(found) != (N, d):
            raise Wrong("shape")
        short = own.clone()
        short[:, 0] = 0
        ends = short.clone()
        ends[torch.arange(N), torch.tensor(lengths) - 1] = 0
        total = (hidden * own).sum(1)
        wrong = {
            "padding": [hidden.mean(1), hidden.sum(1), hidden.sum(1) / own.sum(1)],
            "length": [total / T, total / N, total / own.sum()],
            "sum": [total],
            "inverted": [
                (hidden * (1 - own)).sum(1) / n
                for n in (1, T, (1 - own).sum(1), (1 - own).sum(1).clamp(1), own.sum(1))
            ],
            "special": [
                (hidden * kept).sum(1) / n
                for kept in (short, ends)
                for n in (kept.sum(1), own.sum(1))
            ],
        }
        for hint, values in wrong.items():
            if any(close(found, value) for value in values):
                raise Wrong(hint)
        raise Wrong("mean")


MASK = """
import torch
given, results = ids.clone(), []
for other, seed in enumerate(seeds):
    torch.manual_seed(other)
    generator = torch.Generator().manual_seed(seed)
    results.append(mask_words(given, special, mask_id, vocab, share, generator))
result = [results, given]
"""


def check_mask_words(learner, rng):
    """Many tickets: what is chosen, what becomes of it, and what is repeated.

    Bounds are five standard errors of a share: one right answer in a million fails.
    """
    N, T, vocab, first = 250, 100, 2000, 1000
    mask_id, share = int(rng.integers(5, 900)), float(rng.uniform(0.15, 0.4))
    ids = rng.integers(first, vocab, (N, T))  # never the mask, never the special ones
    special = np.arange(T) >= rng.integers(T // 2, T, (N, 1))
    special[:, 0] = True
    ids[special] = rng.integers(0, 4, special.sum())
    seed, other = (int(n) for n in rng.choice(10**9, 2, replace=False))
    found = learner.run(
        MASK,
        ids=torch.tensor(ids),
        special=torch.tensor(special),
        mask_id=mask_id,
        vocab=vocab,
        share=share,
        seeds=[seed, seed, other],
    )
    results, given = expect(found, "pair", kind=list, length=2)
    if (expect(given, "changed", shape=(N, T)) != ids).any():
        raise Wrong("changed")
    once, again, third = expect(results, "pair", shape=(3, 2, N, T))
    inputs, labels = once
    chosen = labels != -100
    if (chosen & special).any():
        raise Wrong("labels" if chosen.all() else "special chosen")
    if (inputs != ids)[special].any():
        raise Wrong("special chosen")
    if (labels != ids)[chosen].any() or chosen[~special].all():
        raise Wrong("labels")
    if (inputs != ids)[~chosen].any():
        raise Wrong("unasked")
    real = ~special
    for axis in (0, 1):  # chosen in each place, in each ticket: scattered as coins
        n, p = real.sum(axis), chosen[real].mean()
        z = (chosen.sum(axis) - p * n) / np.sqrt(p * (1 - p) * n + 1e-9)
        z = z[n > 20]
        if abs(np.square(z).mean() - 1) > 5 * math.sqrt(2 / len(z)) + 0.2:
            raise Wrong("together")
    if off(chosen[real].mean(), share, real.sum()):
        raise Wrong("share")
    masked = (inputs == mask_id)[chosen]
    same = (inputs == ids)[chosen]
    n = chosen.sum()
    if off(masked.mean(), 0.8, n):
        raise Wrong("eighty")
    if off(same.mean(), 0.1, n):
        raise Wrong("ten", credit=0.5)
    words = inputs[chosen][~masked & ~same]
    if len(np.unique(words)) < len(words) / 3 or off((words < first).mean(), 0.5, 300):
        raise Wrong("one word", credit=0.5)
    if words.min() < 0 or words.max() >= vocab:
        raise Wrong("one word", credit=0.5)
    if not np.array_equal(again, once) or np.array_equal(third, again):
        raise Wrong("generator", credit=0.5)
    small_vocabulary(learner, rng, share, other)


def small_vocabulary(learner, rng, share, seed):
    """A text of one piece: all the others, 0 and the last too, come up as random."""
    size = (250, 100)
    few = int(rng.integers(6, 10))  # pieces in all: each of them is drawn
    piece, mask_id = (int(i) for i in rng.choice(np.arange(1, few - 1), 2, False))
    found = learner.run(
        MASK,
        ids=torch.full(size, piece),
        special=torch.zeros(size, dtype=torch.bool),
        mask_id=mask_id,
        vocab=few,
        share=share,
        seeds=[seed],
    )
    results, _ = expect(found, "pair", kind=list, length=2)
    inputs, _ = expect(results, "pair", shape=(1, 2, *size))[0]
    if set(inputs.flatten()) != set(range(few)):
        raise Wrong("vocabulary", credit=0.75)


def off(found, expected, n, errors=5):
    """Is a share of n further than so many standard errors from the expected one?"""
    return abs(found - expected) > errors * math.sqrt(expected * (1 - expected) / n)


def check_warm_up(learner, rng):
    """Every update of several plans, without a warm-up, and after the end."""

    def factor(step, steps, warmup):
        rise = step / warmup if step < warmup else 1
        return min(rise, max(0, (steps - step) / (steps - warmup)))

    plans = [(int(rng.integers(40, 90)), int(rng.integers(5, 20))) for _ in range(3)]
    ask = "result = [factor(step, steps, warmup) for step, steps, warmup in cases]"
    cases = [(step, *plan) for plan in plans for step in range(plan[0] + 1)]
    found = learner.run(ask, cases=cases)
    right = np.array([factor(*case) for case in cases])
    if shape(found) != right.shape:
        raise Wrong("decay")
    found = as_array(found)
    step, steps, warmup = np.array(cases).T
    if not close(found, right, 1e-6):
        up = step < warmup
        for shift in (-1, 1):
            late = [factor(max(0, s + shift), *plan) for s, *plan in cases]
            if close(found, late, 1e-6):
                raise Wrong("off by one", credit=0.5)
        if not close(found[up], right[up], 1e-6):
            rest = close(found[~up], right[~up], 1e-6)
            shifted = close(found[up], (step[up] + 1) / warmup[up], 1e-6)
            raise Wrong("off by one" if rest and shifted else "rise")
        jumps = close(found[~up], 1 - step[~up] / steps[~up], 1e-6)
        raise Wrong("jump" if jumps else "decay")
    steps = plans[0][0]
    flat = learner.run(
        "try:\n    result = [factor(step, steps, 0) for step in (0, 1, steps // 2)]\n"
        "except ZeroDivisionError:\n    result = None",
        steps=steps,
    )
    if not close(flat, [factor(s, steps, 0) for s in (0, 1, steps // 2)], 1e-6):
        raise Wrong("no warm-up", credit=0.5)
    times = [steps + 1, steps // 2, steps + 7]
    late = learner.run(ask, cases=[(time, *plans[0]) for time in times])
    if not close(late, [0.0, factor(steps // 2, *plans[0]), 0.0]):
        raise Wrong("after", credit=0.5)


WORDS = """
import math
class Words:
    def fit(self, texts):
        sets = [set(text.split()) for text in texts]
        self.known = sorted(set().union(*sets))
        self.weights = [
            1 + math.log(len(sets) / sum(w in s for s in sets)) for w in self.known]
        return self
    def transform(self, texts):
        import numpy as np
        rows = [[t.split().count(w) for w in self.known] for t in texts]
        return np.array(rows, float).reshape(len(texts), -1) * self.weights
    def fit_transform(self, texts):
        return self.fit(texts).transform(texts)
"""
SPLIT = WORDS + "result = list(count_features(Words().fit(before), train, test))"


def check_leak_bug(learner, rng):
    """Words that only one part has, and a vectoriser that was used before."""
    space = {}
    exec(WORDS, space)

    def write(words, n):
        return [" ".join(rng.choice(words, 7)) for _ in range(n)]

    for size in ((9, 5), (6, 8)):
        names = [f"w{int(i)}" for i in rng.choice(900, 35, replace=False)]
        shared = names[:10]
        train, test = (
            write(shared + own, n)
            for own, n in zip((names[10:18], names[18:26]), size, strict=True)
        )
        before = write(shared + names[26:34], 5)
        train[0] += f" {names[34]}"  # a ticket that both parts have
        test[-1] = train[0]
        found = learner.run(SPLIT, train=train, test=test, before=before)
        expect(found, "features", kind=list, length=2)
        words = space["Words"]().fit(train)
        right = [words.transform(train), words.transform(test)]
        if all_close(found, right):
            continue
        if all_close(found, right[::-1]):
            raise Wrong("order", credit=0.5)

        def features(*fitted, train=train, test=test):
            made = (space["Words"]().fit(texts) for texts in fitted)
            return [w.transform(t) for w, t in zip(made, (train, test), strict=True)]

        others = [text for text in train if text not in test]
        wrong = {
            "leak": [
                features(train + test, train + test),
                features(test + train, test + train),
                features(test, test),
                features(train, train + test),
            ],
            "twice": [features(train, test)],
            "left out": [features(others, others)],
            "old": [features(before, before), features(before, train)],
        }
        for hint, values in wrong.items():
            for value in values:
                if all_close(found, value):
                    raise Wrong(hint)
        raise Wrong("features")


def check_safe_rate(learner, rng):
    """Rates that each mistake would choose; all accuracies are whole 512ths."""
    roles = {  # 512ths: (validation by seed), test
        "right": ((330, 322, 326), 300),
        "incomplete": ((420, 410), 310),
        "lucky": ((400, 398, 100), 310),
        "test": ((300, 305, 298), 390),
        "first seed": ((405, 230, 300), 310),
        "rate": ((200, 210, 190), 200),
        "rate/steady": ((324, 324, 324), 300),  # the best of the worst seeds
    }
    cases, names = [], []
    ties = rng.permutation(["", "", "", "", "smaller first", "larger first"])
    for i, tie in enumerate(ties):
        found = {}
        for role, (values, test) in roles.items():
            for copy in range(1 if i == 0 or role == "right" else int(rng.integers(3))):
                lower = 25 * copy
                found[f"{role}/{copy}"] = (
                    tuple(value - lower for value in values),
                    test + int(rng.integers(-40, 40)),
                )
        if tie:
            found["tie/0"] = (roles["right"][0], roles["right"][1])
        shift = int(rng.integers(-60, 60))
        pool = rng.choice(np.arange(1, 400), len(found), replace=False)
        rates = [round(float(r) * 1e-4, 6) for r in pool]
        if tie:  # the right one is the smaller of the two
            place = list(found).index("right/0"), list(found).index("tie/0")
            rates[place[0]], rates[place[1]] = sorted(rates[i] for i in place)
        rows = [
            (rate, seed, (value + shift) / 512, (test + shift) / 512)
            for rate, (values, test) in zip(rates, found.values(), strict=True)
            for seed, value in enumerate(values)
        ]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        if tie:
            first = rates[place[tie == "larger first"]]
            rows.sort(key=lambda row: row[0] != first)
        cases.append(rows)
        kinds = [role.partition("/")[0] for role in found]
        names.append(dict(zip(rates, kinds, strict=True)))
    found = learner.run(
        "result = [safe_rate(list(rows)) for rows in cases]", cases=cases
    )
    expect(found, "rate", kind=list, length=len(cases))
    hints = []
    for rate, role in zip(found, names, strict=True):
        hints.append(role.get(expect(rate, "rate", kind=float), "rate"))
    hints = [hint for hint in hints if hint != "right"]
    if hints:
        raise Wrong(hints[0], credit=2 / 3 if set(hints) == {"tie"} else 0)


LEARNING = """
import torch
from torch import nn
results = []
for width, layers, still, warm, updates in cases:
    encoder = nn.Sequential(nn.Embedding(width + 5, width))
    encoder.extend(nn.Linear(width, width) for _ in range(layers))
    head = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width + 5))
    head[1].weight = encoder[0].weight
    for i, p in enumerate(encoder.parameters()):
        p.requires_grad_(i not in still)
    names = {id(p): f"new{i}" for i, p in enumerate(head.parameters())}
    names.update({id(p): f"own{i}" for i, p in enumerate(encoder.parameters())})
    for update in updates:
        found = learning(encoder, head, update, warm)
        results.append([names.get(id(p), "unknown") for p in found])
result = results
"""


def check_learning(learner, rng):
    """Encoders with some parameters frozen, once the tied one; before and after."""
    cases = []
    for tied_is_still in rng.permutation([False, True, False]):
        layers, warm = int(rng.integers(2, 5)), int(rng.integers(2, 7))
        still = rng.choice(np.arange(1, 2 * layers + 1), 2, replace=False).tolist()
        updates = rng.permutation([0, warm - 1, warm, warm + 3]).tolist()
        still += [0] * bool(tied_is_still)
        cases.append([int(rng.integers(3, 9)), layers, still, warm, updates])
    found = learner.run(LEARNING, cases=cases)
    asked = [(case, update) for case in cases for update in case[4]]
    expect(found, "list", kind=list, length=len(asked))
    new, wrong = {"new0", "new1", "new3"}, set()  # new2 would be the tied one
    for names, ((_, layers, still, warm, _), update) in zip(found, asked, strict=True):
        expect(names, "list", kind=list)
        for name in names:
            if expect(name, "list", kind=str) == "unknown":
                raise Wrong("list")
        own = {f"own{i}" for i in range(2 * layers + 1)}
        thawed = own - {f"own{i}" for i in still}
        right = new | thawed if update >= warm else new
        extra = set(names) - right
        if set(names) == right:
            wrong |= {"double"} if len(names) > len(right) else set()
        elif extra == {"own0"} and update < warm:
            wrong.add("tied")
        elif extra & own & thawed and update < warm - 1:
            wrong.add("early")
        elif update in (warm - 1, warm) and set(names) in (new, new | thawed):
            wrong.add("late")
        elif extra:
            wrong.add("thawed" if update >= warm else "early")
        else:
            wrong.add("missing")
    for hint in ("early", "tied", "thawed", "double", "missing", "late"):
        if hint in wrong:
            raise Wrong(hint, credit=0.5 if wrong == {"late"} else 0)
