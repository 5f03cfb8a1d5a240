"""Trusted checks of exercise 13: they run in the grader and are never released."""

import numpy as np
import torch
from scipy.stats import norm

from course_lib.course.grading.checks import Wrong, close, expect, same

HINTS = {
    "pair": "Return a pair: the strategy, and the list of reasons.",
    "all reasons": "Every rule that holds is a reason, not only the first.",
    "order": "The first rule that holds decides, and the reasons come in the order of "
    "the table.",
    "rarest": "The rarest class counts: neither the mean nor the sum of the labels.",
    "ten": "Fewer than 10: with exactly 10 labels the rule does not hold.",
    "gib": "A GiB has 2**30 bytes.",
    "bytes": "Full fine-tuning takes 16 bytes for each parameter.",
    "edge": "What needs exactly the memory that is there does fit.",
    "decision": "Another strategy, or other reasons: go through the rules one by one.",
    "positions": "Return the sorted positions of the test pictures, whole numbers, "
    "each once.",
    "leak": "Pictures of one wafer are on both sides: the test set knows what was "
    "trained on.",
    "classes": "The share holds for the wafers of each class, not only for all "
    "together.",
    "pictures": "The number of wafers is rounded, not the number of pictures: wafers "
    "have unequal numbers of pictures.",
    "rounded": "Round the number of wafers, neither always down nor always up.",
    "one": "Each class has at least one wafer in the test set.",
    "training": "These are the positions of the training pictures.",
    "seed": "The same seed must give the same split: draw from "
    "np.random.default_rng(seed) alone.",
    "random": "Which wafers are in the test set does not depend on the seed.",
    "rows": "A wafer belongs to the test set with all of its pictures.",
    "alias": "The model is left with its last weights: state_dict() gives the tensors "
    "themselves, and training changes them in place.",
    "buffers": "The buffers (BatchNorm's statistics, for one) are those of the last "
    "epoch: they belong to the checkpoint.",
    "reset": "patience counts epochs in a row: a lower loss starts the count again.",
    "patience": "It stops one epoch too late or too early: after `patience` epochs "
    "without a lower loss.",
    "number": "The number of the best epoch is asked for, counted from 0.",
    "tie": "An equal loss is not a lower one: the first stays the best.",
    "nan": "A loss of nan is never lower.",
    "trained": "max_epochs, or every epoch it trains, is not what was asked for.",
    "weights": "The model is not left as it was in the best epoch.",
    "cancel": "Differences of opposite sign cancel: take absolute values, and the "
    "largest.",
    "largest": "One example in a thousand may be wrong, and no mean shows it: take the "
    "largest absolute difference.",
    "answers": "Equal answers are not enough: the probabilities are used too.",
    "shape": "Arrays of other shapes are not the same, even if NumPy stretches them.",
    "finite": "nan or infinity anywhere is never the same model, not even on both "
    "sides.",
    "large": "The last digits of large logits are larger: the tolerance grows with the "
    "largest logit.",
    "small": "For logits below 1 the tolerance is 1e-4, not less.",
    "strict": "float32 differs in the last digits: a smaller tolerance than 1e-4 times "
    "the largest logit asks too much.",
    "same": "Not the comparison that was asked for.",
    "list of features": "Return the sorted list of the positions of the features.",
    "shared": "The level is shared: with many features one of them nearly always "
    "rings. Compare with level / F.",
    "two sides": "A mean may rise or fall: use |z| and both tails.",
    "error": "z is in units of the error of the two means: variances divided by the "
    "numbers of rows.",
    "both": "Both sides are uncertain: the window's and the reference's variance, each "
    "over its own number of rows.",
    "constant": "A feature that is constant and the same on both sides does not ring; "
    "one that left its constant value does.",
    "features": "Other features ring.",
    "one number": "Return one number, the mean points lost.",
    "chosen": "The way is chosen on validation. Chosen on the test set it loses "
    "nothing, and nothing is measured.",
    "points": "Points are hundredths: a loss of 0.05 is 5 points.",
    "not run": "A way that was not run can neither be taken nor be the best.",
    "equals": "Among equals on validation the first is taken, it is the cheapest.",
    "scales": "Both sides are test accuracies: validation only chooses.",
    "each": "Each situation has its own choice and its own best way.",
    "mean": "The mean over the situations is asked for.",
    "lost": "Other points are lost: go through one situation by hand.",
}


# -- the decision ----------------------------------------------------------------------


def held(task, few=None, ten=10, bytes_=16, gib=2**30, edge=False):
    """[(reason, strategy)] of all rules that hold, and what comes of a mistake."""
    counts = list(task["labels"].values())
    rare = {"mean": np.mean, "sum": sum, "most": max}.get(few, min)(counts) < ten
    size, room = bytes_ * task["parameters"], task["gib"] * gib
    rules = [
        ("licence", task["licence"] not in task["allowed"], "from scratch"),
        ("memory", size >= room if edge else size > room, "LoRA"),
        ("few and far", rare and task["far"], "compare"),
        ("few", rare, "frozen features"),
    ]
    return [(reason, strategy) for reason, holds, strategy in rules if holds]


def judged(task, **mistake):
    """(strategy, reasons)."""
    found = held(task, **mistake)
    strategy = found[0][1] if found else "full fine-tuning"
    return strategy, [reason for reason, _ in found]


def tasks(rng):
    """Every combination of rules, and tasks at and between the bars."""
    labels = {
        False: [{"a": 10, "b": 10}, {"a": 40, "b": 10, "c": 300}],
        True: [{"a": 9, "b": 9}, {"a": 500, "b": 9, "c": 60}, {"a": 1, "b": 3}],
    }
    gib = int(rng.integers(1, 9)) * 4
    exact = gib * 2**26  # parameters that just fit
    found = []
    for foreign in (False, True):
        for few in labels:
            for counts in labels[few]:
                for far in (False, True):
                    for share in (0.2, 0.97, 1.0, 1.1, 1.5, 5.0):
                        parameters = int(share * exact) + (share > 1)
                        task = {
                            "licence": "research" if foreign else "mit",
                            "allowed": ["mit", "bsd"] if far else ["mit"],
                            "parameters": parameters,
                            "gib": gib,
                            "labels": counts,
                            "far": far,
                        }
                        found.append(task)
    return [found[i] for i in rng.permutation(len(found))]


def check_decide(learner, rng):
    """Every combination of rules, and tasks at the bars of each."""
    asked = tasks(rng)
    found = learner.run("result = [decide(dict(task)) for task in asked]", asked=asked)
    for one in expect(found, "pair", kind=list, length=len(asked)):
        strategy, reasons = expect(one, "pair", kind=(tuple, list), length=2)
        expect(strategy, "pair", kind=str)
        for reason in expect(reasons, "pair", kind=(tuple, list)):
            expect(reason, "pair", kind=str)
    if same(found, [judged(task) for task in asked]):
        return
    first = [(strategy, reasons[:1]) for strategy, reasons in map(judged, asked)]
    if same(found, first):
        raise Wrong("all reasons", credit=0.5)
    mistakes = {
        "rarest": [dict(few="mean"), dict(few="sum"), dict(few="most")],
        "ten": [dict(ten=10.5)],
        "gib": [dict(gib=10**9)],
        "bytes": [dict(bytes_=b) for b in (2, 4, 8, 12)],
        "edge": [dict(edge=True)],
    }
    for hint, ways in mistakes.items():
        if any(same(found, [judged(task, **way) for task in asked]) for way in ways):
            raise Wrong(hint, credit=0.5)
    sets = [set(reasons) for _, reasons in found]
    if sets == [set(judged(task)[1]) for task in asked]:
        raise Wrong("order", credit=0.5)
    raise Wrong("decision")


# -- a split that does not leak --------------------------------------------------------


def wafers_of(rng):
    """labels and wafers: unequal numbers of pictures, rows in no order."""
    labels, wafers = [], []
    names = rng.permutation(1000)[:60].tolist()
    for label, count in enumerate(rng.permutation([2, 11, 17, 24])):
        for _ in range(count):
            pictures = int(rng.choice([1, 2, 3, 12]))
            labels += [label] * pictures
            wafers += [names.pop()] * pictures
    order = rng.permutation(len(labels))
    return np.array(labels)[order], np.array(wafers)[order]


def positions(found, n):
    """The rows as an array of whole numbers; Wrong when they are none."""
    if isinstance(found, torch.Tensor):
        found = found.numpy()
    if isinstance(found, (list, tuple)) and not all(type(i) is int for i in found):
        raise Wrong("positions")
    rows = np.asarray(found)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not 0 < len(rows) <= n:
        raise Wrong("positions")
    if rows.min() < 0 or rows.max() >= n or len(np.unique(rows)) < len(rows):
        raise Wrong("positions")
    if (np.diff(rows) < 0).any():
        raise Wrong("positions")
    return rows


def check_split_wafers(learner, rng):
    """Properties of the split: no leak, the numbers of wafers, what the seed does."""
    labels, wafers = wafers_of(rng)
    share, seeds = 0.22, [int(s) for s in rng.integers(1 << 30, size=6)]
    found = learner.run(
        "result = [test_rows(labels.copy(), wafers.copy(), share, seed)"
        " for seed in seeds + seeds]",
        labels=labels,
        wafers=wafers,
        share=share,
        seeds=seeds,
    )
    expect(found, "positions", kind=list, length=12)
    splits = [positions(one, len(labels)) for one in found]
    for rows in splits:
        chosen = np.unique(wafers[rows])
        if len(rows) < np.isin(wafers, chosen).sum():
            raise Wrong("rows" if len(rows) == len(chosen) else "leak")
        counts, wanted, alternatives = [], [], []
        for label in np.unique(labels):
            own = np.unique(wafers[labels == label])
            counts.append(int(np.isin(own, chosen).sum()))
            wanted.append(max(1, round(share * len(own))))
            alternatives.append(len(own) - wanted[-1])
        if counts == wanted:
            continue
        if counts == alternatives:
            raise Wrong("training", credit=0.5)
        pairs = list(zip(counts, wanted, strict=True))
        if any(counts) and all(c == w or (c == 0 and w == 1) for c, w in pairs):
            raise Wrong("one", credit=0.5)
        groups = [len(np.unique(wafers[labels == c])) for c in np.unique(labels)]
        for way in (np.floor, np.ceil):
            if counts == [max(1, int(way(share * n))) for n in groups]:
                raise Wrong("rounded", credit=0.5)
        total = round(share * sum(groups))
        if abs(sum(counts) - total) <= 1:
            raise Wrong("classes", credit=1 / 3)
        near = share / 2 < len(rows) / len(labels) < 2 * share
        raise Wrong("pictures", credit=1 / 3 if near else 0)
    sets = [tuple(rows.tolist()) for rows in splits]
    if sets[:6] != sets[6:]:
        raise Wrong("seed", credit=0.5)
    if len(set(sets)) == 1:
        raise Wrong("random", credit=0.5)


# -- the best checkpoint ---------------------------------------------------------------

FIT = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("seen", torch.zeros(1))
def train_epoch(model):
    with torch.no_grad():
        model.weight += step
        model.seen += 1
def validate(model):
    return losses[int(model.seen.item()) - 1]
result = []
for losses, patience, max_epochs, step in cases:
    net = Net()
    number = fit(net, train_epoch, Counted(net, validate), patience, max_epochs)
    result.append([number, net.weight.detach().clone(), net.seen.item(), Counted.calls])
"""
COUNTED = """
class Counted:
    calls = 0
    def __init__(self, net, validate):
        self.net, self.validate = net, validate
        Counted.calls = 0
    def __call__(self, model):
        Counted.calls += 1
        return self.validate(model)
"""


def stopped(losses, patience, most, reset=True, late=0, tie=False):
    """(best epoch, epochs trained), and what comes of a mistake."""
    best, waited, kept = float("inf"), 0, None
    for epoch in range(min(most, len(losses))):
        loss = losses[epoch]
        if loss < best or (tie and loss == best):
            best, kept = loss, epoch
            waited = 0 if reset else waited
        else:
            waited += 1
        if waited >= patience + late:
            break
    return kept, epoch + 1


def check_fit_bug(learner, rng):
    """Best first, last, between; ties, nan; patience 1 to 4; no stop at all."""
    nan = float("nan")
    a, b, c, d, e = (round(float(x), 3) for x in np.sort(rng.uniform(0.1, 2, 5)))
    cases = [
        ([e, c, d, b, d, c, d, e, e, e], 2, 9),
        ([e, d, e, c, e, b, e, a, d, d, c, a], 2, 12),
        ([b, c, d, e, a, a, a, a], 3, 8),
        ([e, d, c, b, a, c], 4, 5),
        ([d, c, e, b, e, e, a, a], 1, 8),
        ([c, b, b, b, d, a, a], 3, 7),
        ([nan, c, nan, b, nan, nan, a, a], 2, 8),
    ]
    asked = []
    for losses, patience, most in cases:  # each after a fall of some epochs
        more = int(rng.integers(5))
        fall = [3.0 + more - i for i in range(more)]
        step = torch.tensor(rng.uniform(0.5, 2, 2)).float()
        asked.append((fall + losses, patience, most + more, step))
    found = learner.run(COUNTED + FIT, cases=asked)
    expect(found, kind=list, length=len(asked))
    for one in found:
        number, weight, *others = expect(one, kind=list, length=4)
        expect(weight, "weights", shape=(2,), finite=False)
        for value in (number, *others):
            expect(value, "number", shape=(), finite=False)
    pairs = list(zip(found, asked, strict=True))
    known = all(
        same(one[0], stopped(losses, patience, most)[0])
        for one, (losses, patience, most, _) in pairs
        if not any(loss != loss for loss in losses)
    )
    for one, case in pairs:
        judge_fit(*one, *case, known)


def judge_fit(number, weight, seen, calls, losses, patience, most, step, known):
    """Wrong with its hint; a part of the points if the numbers are ``known``."""
    epoch, trained = stopped(losses, patience, most)
    half, third = 0.5 * known, known / 3
    if not same(number, epoch) and any(loss != loss for loss in losses):
        raise Wrong("nan", credit=half)
    if not same(number, epoch):
        ways = {
            "reset": dict(reset=False),
            "patience": dict(late=1),
            "tie": dict(tie=True),
        }
        for hint, way in ways.items():
            if same(number, stopped(losses, patience, most, **way)[0]):
                raise Wrong(hint)
        raise Wrong("number")
    if not same(calls, trained):
        if same(calls, stopped(losses, patience, most, reset=False)[1]):
            raise Wrong("reset", credit=half)
        late = [stopped(losses, patience, most, late=k)[1] for k in (1, -1)]
        if any(same(calls, k) for k in late):
            raise Wrong("patience", credit=half)
        raise Wrong("trained", credit=half)
    if not close(weight, step * (epoch + 1)):
        last = close(weight, step * trained)
        raise Wrong("alias" if last else "weights", credit=third)
    if not same(seen, epoch + 1):
        raise Wrong("buffers", credit=2 * third)


# -- a check that never fails ----------------------------------------------------------


def pairs_of_logits(rng):
    """[(hint, ours, theirs, same?)]: each mistake fails at one of them."""
    n, k = 1000, 5
    ours = rng.normal(0, 2, (n, k))
    noise = rng.uniform(-1, 1, (n, k))
    top = np.abs(ours).max()
    found = [
        ("answers", ours, 1.5 * ours + 0.3, False),
        ("strict", ours, ours + noise * 1e-5, True),
        ("large", ours, ours + noise * 0.9e-4 * top, True),
        ("large", 300 * ours, 300 * ours + noise * 0.02, True),
        ("small", 0.01 * ours, 0.01 * ours + noise * 8e-5, True),
        ("same", ours, ours.copy(), True),
    ]
    for skewed in (
        np.where(ours > 0, 0.6, 3) * ours,
        np.where(ours < 0, 0.6, 3) * ours,
    ):
        near = skewed + noise * 0.9e-4 * np.abs(skewed).max()  # the largest of one sign
        found.append(("large", skewed, near, True))
    cancel = ours + np.where(np.arange(k) % 2, 1, -1) * 0.5 * (np.arange(k) < 4)
    found.append(("cancel", ours, cancel, False))
    found.append(("cancel", ours, np.roll(ours, 1, axis=1), False))
    for sign in (-1, 1):  # one logit too small, one too large
        one = ours.copy()
        one[int(rng.integers(n)), 2] += sign * 0.003 * top
        found.append(("largest", ours, one, False))
    found.append(("shape", np.repeat(ours[:1], 4, 0), ours[:1].copy(), False))
    found.append(("shape", np.full((6, k), 0.5), np.full((6, 1), 0.5), False))
    bad = ours.copy()
    bad[3, 1] = np.nan
    found.append(("finite", ours, bad, False))
    found.append(("finite", bad, bad.copy(), False))
    endless = ours.copy()
    endless[5, 0] = np.inf
    found.append(("finite", endless, endless.copy(), False))
    found.append(("finite", endless, ours, False))
    return found


def check_export_bug(learner, rng):
    """Noise that has to pass at three scales, and differences that have to fail."""
    cases = pairs_of_logits(rng)
    order = rng.permutation(len(cases))
    found = learner.run(
        "result = []\nfor ours, theirs in pairs:\n"
        "    said = same_model(ours, theirs)\n"
        "    result.append(said if isinstance(said, bool) else bool(said))",
        pairs=[cases[i][1:3] for i in order],
    )
    expect(found, "same", kind=list, length=len(cases))
    for said in found:
        expect(said, "same", kind=bool)
    for place, (hint, _, _, equal) in zip(np.argsort(order), cases, strict=True):
        if found[place] is not equal:
            raise Wrong(hint, credit=0.5 if hint in ("finite", "shape") else 0.0)


# -- the alarm -------------------------------------------------------------------------


def ringing(r, w, level, mistake=None):
    """Which features ring, and what comes of a mistake."""
    N, M = len(r), len(w)
    gap = w.mean(0) - r.mean(0)
    parts = w.var(0, ddof=1) / M, r.var(0, ddof=1) / N
    variance = parts[0] + parts[1]
    if mistake == "both":
        variance = parts[0]
    if mistake == "reference":
        variance = r.var(0, ddof=1) / M
    if mistake == "pooled":
        pooled = ((M - 1) * w.var(0, ddof=1) + (N - 1) * r.var(0, ddof=1)) / (M + N - 2)
        variance = pooled * (1 / M + 1 / N)
    if mistake == "error":
        variance = w.var(0, ddof=1) + r.var(0, ddof=1)
    z = gap / np.sqrt(np.maximum(variance, 1e-24))
    p = 2 * norm.cdf(-np.abs(z))
    if mistake == "half":
        p = p / 2
    if mistake == "upper":
        p = norm.cdf(-z)
    if mistake == "two upper":
        p = 2 * norm.cdf(-z)
    bar = level if mistake == "shared" else level / len(p)
    return np.flatnonzero(p <= bar).tolist()


def days(rng):
    """A reference and a window whose z are planned, features in random order."""
    N, M, level = 400, 80, 0.05
    planned = [45.0, -45, 38, -41, 52, -36]  # that no mistake keeps from ringing
    planned += [0.0] * 12
    planned += [1.2, -0.8, 2.5, -2.7, 2.98, -2.98, 3.13, -3.13]
    planned += [3.4, -3.5, 6, -7]
    planned += [3.4, -3.4, 2.9, -2.9] + [0.3] * 6  # 40: the bar is 3.23, one-sided 3.02
    spread = np.ones(40)
    spread[30:32], spread[32:34] = 0.4, 2.5  # of the window
    r, w = rng.standard_normal((N, 40)), rng.standard_normal((M, 40))
    r = (r - r.mean(0)) / r.std(0, ddof=1)
    w = (w - w.mean(0)) / w.std(0, ddof=1) * spread
    z = np.array(planned)
    w = w + z * np.sqrt(spread**2 / M + 1 / N)
    size, centre = rng.uniform(0.2, 5, 40), rng.normal(0, 3, 40)
    order = rng.permutation(40)
    return (r * size + centre)[:, order], (w * size + centre)[:, order], level


def check_drift(learner, rng):
    """Planned z around the bars, both directions, unequal spreads; then constants."""
    for _ in range(2):
        r, w, level = days(rng)
        found = learner.run("result = drift(r, w, level)", r=r, w=w, level=level)
        if isinstance(found, (np.ndarray, torch.Tensor)) and found.ndim == 1:
            found = found.tolist()
        for place in expect(found, "list of features", kind=(list, tuple)):
            expect(place, "list of features", kind=int)
        found = list(found)
        right = ringing(r, w, level)
        if found == right:
            continue
        if sorted(found) == right:
            raise Wrong("list of features", credit=0.5)
        ways = {
            "shared": ["shared"],
            "two sides": ["half", "upper", "two upper"],
            "error": ["error"],
            "both": ["both", "reference", "pooled"],
        }
        for hint, names in ways.items():
            if any(found == ringing(r, w, level, name) for name in names):
                raise Wrong(hint, credit=1 / 3)
        raise Wrong("features")
    r, w, level = days(rng)
    r, w = r[:, :6].copy(), w[:, :6].copy()
    r[:, 1] = w[:, 1] = 0.0
    r[:, 3] = w[:, 3] = 2.0
    r[:, 4], w[:, 4] = 0.0, 0.5
    right = ringing(r, w, level)
    found = learner.run(
        "import warnings\nwith warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n    result = list(drift(r, w, level))",
        r=r,
        w=w,
        level=level,
    )
    if not same(found, right):
        raise Wrong("constant", credit=2 / 3)


# -- what trust in validation costs ----------------------------------------------------


def taken_of(validation, mistake=None):
    """Which way each situation takes, (S,)."""
    if mistake == "one":
        best = int(np.nanargmax(np.nanmean(validation, axis=0)))
        return np.full(len(validation), best)
    if mistake == "equals":
        last = validation.shape[1] - 1
        return last - np.nanargmax(validation[:, ::-1], axis=1)
    return np.nanargmax(validation, axis=1)


def lost_by(validation, test, mistake=None):
    """The mean points lost, and what comes of a mistake."""
    with np.errstate(all="ignore"):
        rows = np.arange(len(test))
        own = test[rows, taken_of(validation, mistake)]
        best = np.nanmax(test, axis=1)
        if mistake == "scales":
            best = np.nanmax(validation, axis=1)
        if mistake == "together":
            best = np.nanmax(np.nanmean(test, axis=0))
        lost = 100 * (best - own)
        if mistake == "points":
            lost = lost / 100
        return float(np.nanmax(lost) if mistake == "mean" else np.nanmean(lost))


def ways(rng, missing, equal):
    """(validation, test) of 40 situations and 4 ways, in hundredths."""
    test = rng.integers(40, 95, (40, 4)) / 100
    validation = np.clip(test + rng.integers(-25, 26, test.shape) / 100, 0, 1)
    validation += np.arange(4) / 1000  # no two are equal by chance
    if equal:
        top = validation.max(axis=1)
        validation[:, 0] = validation[:, 3] = top
    if missing:
        for i, j in enumerate(rng.integers(0, 4, len(test))):
            validation[i, j] = test[i, j] = np.nan
    return validation, test


def check_lost(learner, rng):
    """Whole tables, then equals, then ways that were not run."""
    cases = [ways(rng, *kind) for kind in ((0, 0), (0, 1), (1, 0), (1, 0))]
    found = learner.run(
        "import warnings\nwith warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    result = [points_lost(v, t) for v, t in cases]",
        cases=cases,
    )
    expect(found, "one number", kind=list, length=len(cases))
    for k, (value, case) in enumerate(zip(found, cases, strict=True)):
        number = expect(value, "one number", shape=(), finite=False)
        right = lost_by(*case)
        if close(number, right):
            continue
        if k == 0 and close(number, 0.0):
            raise Wrong("chosen")
        ways_wrong = {
            "points": ("points",),
            "scales": ("scales",),
            "each": ("one", "together"),
            "mean": ("mean",),
            "equals": ("equals",),
        }
        for hint, names in ways_wrong.items():
            if any(close(number, lost_by(*case, name)) for name in names):
                raise Wrong(hint, credit=0.5 if hint == "equals" else 1 / 3)
        if k > 1:
            raise Wrong("not run", credit=0.5)
        raise Wrong("lost")
