"""Trusted checks of exercise 12: they run in the grader and are never released."""

import numpy as np
import torch
from scipy.stats import t

from course_lib.course.grading.checks import Wrong, close, expect, same

HINTS = {
    "run by the end": "A run is chosen by its highest validation accuracy, not by "
    "that of its last epoch.",
    "test set": "Something is still chosen by test accuracy: runs and epochs are "
    "chosen on validation, on both sides.",
    "baseline": "The random start is not allowed its own choice of rate and epoch.",
    "last": "The last epoch is reported: validation says which one to keep.",
    "run by test": "The epoch is chosen on validation, but the run by test accuracy.",
    "validation": "Validation accuracies were used to choose, so they flatter: report "
    "the test accuracies.",
    "opposite": "The gain is positive when transfer is better.",
    "tie": "Of equal validation accuracies the first run counts, then its first epoch.",
    "gain": "Not the difference of the test accuracies at the epochs that validation "
    "chooses.",
    "list": "Return a list of the numbers 1, 2 and 3, in this order, of those signs "
    "that are raised.",
    "best": "Sign 1 compares the best evaluations, those that would be kept, not the "
    "last ones.",
    "below": "Sign 1 is raised when tuned is below scratch.",
    "falls": "Sign 2 needs both: the training loss falls, too.",
    "early": "Sign 2 is raised only when validation loss was lowest at one of the "
    "first two evaluations.",
    "five percent": "Sign 2: validation loss ends more than 5 % above its lowest "
    "value; not 0.05 above, not above where it began, not merely above.",
    "sign 2": "Sign 2 is read from tuned: look at its three conditions one by one.",
    "compare": "Sign 3 compares with the random start: without it the sign also rings "
    "when all is well.",
    "wrong ones": "Sign 3 counts answers that are sure and wrong, not all sure ones, "
    "and not all wrong ones.",
    "share": "Sign 3: the share of all pictures, not of the wrong ones or of the sure "
    "ones.",
    "sign 3": "Sign 3 is not raised where it should be, or the other way round.",
    "scalar": "The penalty is one number.",
    "half": "Half of alpha and half of beta: the gradient is then alpha (w - w_S).",
    "head": "The new head is pulled towards the old one: it has no start.",
    "prefix": "A module whose name only begins like the head's is not the head: "
    "compare with the name and a dot.",
    "zero": "The body is pulled towards zero: that is weight decay.",
    "mean": "The squared norm is a sum over all entries, not a mean.",
    "norm": "The squared norm is asked for, not the norm.",
    "swapped": "alpha belongs to the start, beta to the head.",
    "no beta": "The head's own term is missing: it is pulled towards zero.",
    "no gradient": "The value is right, but no gradient reaches the weights.",
    "penalty": "The penalty is wrong. Compare the two terms one by one.",
    "three": "Return three things: mean, half width, and what may be said.",
    "mean gain": "The mean gain is ours minus theirs, in points.",
    "paired": "Take the difference of each pair first, then its spread: what both "
    "sides share falls out.",
    "quantile": "With R repeats the factor is Student's quantile for R - 1 degrees of "
    "freedom: 4.30 for three, and two-sided, so 0.975.",
    "deviation": "s has R - 1 below the line (ddof=1).",
    "root": "The interval is one of the mean: divide s by the root of R.",
    "width": "The half width of the interval is wrong.",
    "negligible": "An interval that lies between -1 and 1 point is no difference, "
    "even if it excludes zero: that rule comes first.",
    "ends": "The whole interval has to lie between -1 and 1: both its ends, not the "
    "mean and the half width each for itself.",
    "evidence": "An interval that covers zero is no proof of no difference: it takes "
    "a half width below 2 points.",
    "narrow": "An interval that covers zero with a half width below 2 points is no "
    "difference.",
    "interval": "helps and hurts need the whole interval above or below zero, not only "
    "the mean.",
    "said": "What may be said is one of helps, hurts, no difference, no evidence.",
    "weights": "A bin counts with its share of the examples.",
    "signed": "Too sure in one bin does not make up for too modest in another: take "
    "absolute values in each bin.",
    "each": "Accuracy and confidence are compared bin by bin, not example by example.",
    "largest": "The mean over the bins is asked for, not the worst bin.",
    "middle": "The confidence of a bin is the mean of its examples', not its middle.",
    "class": "The confidence is that of the answer given, the largest probability, not "
    "that of the true class.",
    "edge": "A confidence on the edge of two bins belongs to the upper one: bin b "
    "begins at b / B.",
    "one": "Answers with a confidence of exactly 1 are lost: they belong to the last "
    "bin.",
    "empty": "Bins without examples have to be left out.",
    "percent": "The error is a number between 0 and 1.",
    "ece": "Not the expected calibration error.",
    "triples": "Return a list of (row, picked, reported), one for each picked row.",
    "rows": "The picked rows are those whose mean over the even seeds is below "
    "-margin, in their order.",
    "own half": "Who picks does not report: the second mean is of the odd seeds.",
    "halves": "The even seeds are 0, 2, 4 ..., not the first half.",
    "all seeds": "The even seeds alone pick, and the odd seeds alone report.",
    "either way": "A gain above the margin is a win: only losses are picked.",
    "means": "The two means are those of the even and of the odd seeds.",
}


# -- a gain that is too good -----------------------------------------------------------


def first_best(values):
    """Position of the first highest value."""
    return int(np.argmax(values))


def by_validation(runs):
    """(run, epoch) with the highest validation accuracy, the first of equal ones."""
    run = first_best([max(run["val"]) for run in runs])
    return run, first_best(runs[run]["val"])


def kept(runs):
    """The test accuracy where validation is highest."""
    run, epoch = by_validation(runs)
    return runs[run]["test"][epoch]


def drawn_runs(rng, n, ties):
    """Runs whose test accuracies misjudge what validation prefers."""
    runs = []
    for offset in 0.011 * rng.permutation(n) + rng.uniform(0, 0.01, n):
        val = rng.permutation(np.linspace(0.4, 0.8, 6)) + offset
        test = rng.uniform(0.4, 0.9, 6)
        runs.append({"val": val, "test": test})
    if ties:  # two runs share the best, and one has it twice
        for run in runs[:2]:
            run["val"][rng.choice(5, 2, replace=False)] = 0.9
            run["val"][5] = 0.9
    elif by_validation(runs)[0] == 0:
        runs[0], runs[-1] = runs[-1], runs[0]
    run, epoch = by_validation(runs)
    if not ties:  # neither the last epoch nor the first run is the best
        for key in ("val", "test"):
            values = runs[run][key]
            values[epoch], values[2] = values[2], values[epoch]
        epoch = 2
    lowest = min(other["test"].min() for other in runs)
    runs[run]["test"][epoch] = lowest - rng.uniform(0.02, 0.05)
    elsewhere = {first_best(runs[0]["val"]), epoch, 2, 5}
    luckiest = next(e for e in range(6) if e not in elsewhere)
    runs[0]["test"][luckiest] = 0.95  # the highest of all, where no other rule looks
    return [
        {key: [round(float(x), 4) for x in v] for key, v in r.items()} for r in runs
    ]


def check_gain_bug(learner, rng):
    """Several rates on both sides; ties in the last cases."""
    by_end = lambda runs: kept([max(runs, key=lambda run: run["val"][-1])])  # noqa: E731
    by_test = lambda runs: max(max(run["test"]) for run in runs)  # noqa: E731
    mistakes = {
        "test set": [
            lambda a, b: by_test(a) - by_test(b),
            lambda a, b: by_test(a) - kept(b),
            lambda a, b: kept(a) - by_test(b),
            lambda a, b: by_test(a) - b[0]["test"][-1],
        ],
        "baseline": [
            lambda a, b: kept(a) - b[0]["test"][-1],
            lambda a, b: kept(a) - kept(b[:1]),
            lambda a, b: kept(a) - b[by_validation(b)[0]]["test"][-1],
            lambda a, b: kept(a) - b[0]["test"][by_validation(a)[1]],
            lambda a, b: kept(a) - max(run["test"][-1] for run in b),
        ],
        "last": [
            lambda a, b: (
                a[by_validation(a)[0]]["test"][-1] - b[by_validation(b)[0]]["test"][-1]
            )
        ],
        "run by the end": [lambda a, b: by_end(a) - by_end(b)],
        "run by test": [
            lambda a, b: max(kept([r]) for r in a) - max(kept([r]) for r in b)
        ],
        "validation": [
            lambda a, b: max(max(r["val"]) for r in a) - max(max(r["val"]) for r in b)
        ],
        "opposite": [lambda a, b: kept(b) - kept(a)],
    }
    for ties in (False, False, False, True, True):
        sides = [drawn_runs(rng, int(rng.integers(3, 6)), ties) for _ in range(2)]
        found = learner.call("gain", *sides)
        if close(found, kept(sides[0]) - kept(sides[1]), 1e-6):
            continue
        if ties:
            raise Wrong("tie", credit=2 / 3)
        for hint, ways in mistakes.items():
            if any(close(found, way(*sides), 1e-6) for way in ways):
                raise Wrong(hint)
        raise Wrong("gain")


# -- three warning signs ---------------------------------------------------------------


def sure_and_wrong(run):
    """Share of all answers that are wrong with a probability above 0.9."""
    return np.mean((run["probability"] > 0.9) & ~run["right"])


def sign_2(run, falls=True, early=True, above=lambda v: v[-1] > 1.05 * min(v)):
    """Falling training loss with rising validation loss, and what is taken for it."""
    train, val = run["train_loss"], run["val_loss"]
    found = train[-1] < train[0] or not falls
    return found and (first_best(-np.array(val)) <= 1 or not early) and above(val)


TOLD = {
    1: {
        None: lambda a, b: max(a["val_accuracy"]) < max(b["val_accuracy"]),
        "best": lambda a, b: a["val_accuracy"][-1] < b["val_accuracy"][-1],
        "below": lambda a, b: max(a["val_accuracy"]) > max(b["val_accuracy"]),
    },
    2: {
        None: lambda a, b: sign_2(a),
        "falls": lambda a, b: sign_2(a, falls=False),
        "early": lambda a, b: sign_2(a, early=False),
        "five percent": [
            lambda a, b: sign_2(a, above=lambda v: v[-1] > min(v) + 0.05),
            lambda a, b: sign_2(a, above=lambda v: v[-1] > v[0]),
            lambda a, b: sign_2(a, above=lambda v: v[-1] > 1.05 * v[0]),
            lambda a, b: sign_2(a, above=lambda v: v[-1] > min(v)),
        ],
    },
    3: {
        None: lambda a, b: sure_and_wrong(a) > sure_and_wrong(b),
        "compare": [
            lambda a, b: sure_and_wrong(a) > 0,
            lambda a, b: sure_and_wrong(a) > 0.05,
            lambda a, b: sure_and_wrong(a) > 0.1,
        ],
        "wrong ones": [
            lambda a, b: (
                (a["probability"] > 0.9).mean() > (b["probability"] > 0.9).mean()
            ),
            lambda a, b: a["right"].mean() < b["right"].mean(),
        ],
        "share": [
            lambda a, b: (
                sure_and_wrong(a) / (~a["right"]).mean()
                > sure_and_wrong(b) / (~b["right"]).mean()
            ),
            lambda a, b: (
                sure_and_wrong(a) / (a["probability"] > 0.9).mean()
                > sure_and_wrong(b) / (b["probability"] > 0.9).mean()
            ),
            lambda a, b: (
                (sure_and_wrong(a) * len(a["right"]))
                > (sure_and_wrong(b) * len(b["right"]))
            ),
        ],
    },
}
VAL_LOSS = (  # in units of their lowest value
    [2.0, 1.5, 1.2, 1.1, 1.0],  # sound
    [1.0, 1.2, 1.3, 1.4, 1.5],  # rises from the start
    [1.2, 1.0, 1.1, 1.2, 1.15],  # rises, and ends below where it began
    [2.0, 1.5, 1.0, 1.2, 1.4],  # rises later
    [1.1, 1.0, 1.02, 1.03, 1.03],  # hardly rises
    [1.02, 1.0, 1.03, 1.04, 1.045],  # ends above its beginning, by less than 5 %
)
SURE = (  # right and sure, right and unsure, wrong and sure, wrong and unsure
    ((60, 20, 2, 18), (50, 30, 8, 12)),
    ((50, 20, 10, 20), (60, 20, 4, 16)),
    ((70, 10, 4, 16), (50, 20, 6, 24)),  # surer, and rarely wrong when sure
    ((20, 30, 6, 44), (60, 30, 4, 6)),  # a small part of many errors
    ((50, 44, 3, 3), (50, 20, 6, 24)),  # a large part of few errors
    ((60, 30, 6, 4), (90, 42, 8, 60)),  # fewer, of fewer pictures
    ((20, 60, 3, 17), (70, 10, 6, 14)),  # seldom sure, and then often wrong
    ((60, 10, 8, 22), (40, 20, 12, 28)),  # both often sure and wrong
    ((60, 25, 3, 12), (60, 25, 1, 14)),  # both rarely
    ((55, 25, 0, 20), (60, 25, 0, 15)),
)


def drawn_run(rng, sure, val_loss, high_loss, falls):
    """One history with the counts of sure and of wrong answers given."""
    steps, scale = len(val_loss), 2.0 if high_loss else 0.25
    train = np.linspace(1.6, 0.4, steps) if falls else np.linspace(0.8, 0.9, steps)
    accuracy = rng.permutation(np.linspace(0.3, 0.9, steps)) * rng.uniform(0.8, 1)
    likely, right = (
        np.repeat(kinds, sure)
        for kinds in ([True, False, True, False], [True, True, False, False])
    )
    order = rng.permutation(len(right))
    low, high = rng.uniform(0.3, 0.88, len(right)), rng.uniform(0.92, 1, len(right))
    return {
        "train_loss": [float(x) for x in train],
        "val_loss": [float(x) * scale for x in val_loss],
        "val_accuracy": [float(x) for x in accuracy],
        "probability": np.where(likely, high, low)[order],
        "right": right[order],
    }


def check_warning_signs(learner, rng):
    """Each sign alone, in runs that only a mistaken reading tells apart."""
    pairs = []
    for i, sides in enumerate(SURE):
        for val_loss in VAL_LOSS:
            other = VAL_LOSS[int(rng.integers(len(VAL_LOSS)))]
            ours = drawn_run(rng, sides[0], val_loss, i % 2, i % 3)
            pairs.append([ours, drawn_run(rng, sides[1], other, i // 2 % 2, i % 5)])
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    found = learner.run(
        "result = [warning_signs(dict(a), dict(b)) for a, b in pairs]", pairs=pairs
    )
    for one in expect(found, "list", kind=list, length=len(pairs)):
        for number in expect(one, "list", kind=list):
            if expect(number, "list", kind=int) not in TOLD:
                raise Wrong("list")
    wrong = []
    for sign, ways in TOLD.items():
        said = [sign in one for one in found]
        if said == [bool(ways[None](*pair)) for pair in pairs]:
            continue
        hint = {1: "best", 2: "sign 2", 3: "sign 3"}[sign]
        for name, others in ways.items():
            for other in others if isinstance(others, list) else [others]:
                if name and said == [bool(other(*pair)) for pair in pairs]:
                    hint = name
        wrong.append(hint)
    if wrong:
        raise Wrong(wrong[0], credit=(3 - len(wrong)) / 4)
    if found != [sorted(set(one)) for one in found]:
        raise Wrong("list", credit=0.5)


# -- the pull towards the start --------------------------------------------------------

PULL = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.fc_old = nn.Linear(4, 4)
        self.fc = nn.Linear(4, k)
net = Net()
net.load_state_dict(weights)
value = l2_sp(net, dict(start), "fc", alpha, beta)
gradients = {}
if torch.is_tensor(value) and value.requires_grad and value.dim() == 0:
    names, given = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(value, given, allow_unused=True)
    gradients = {n: g for n, g in zip(names, found, strict=True) if g is not None}
result = [value, gradients]
"""


def check_l2_sp(learner, rng):
    """An old head of the same size and of another; value, then gradient."""
    for k, old in ((5, 5), (2, 7)):
        alpha, beta = (float(rng.uniform(0.3, 0.9)) for _ in range(2))
        sizes = {"body": (4, 3), "fc_old": (4, 4), "fc": (k, 4)}
        weights, start = {}, {}
        for name, (out, into) in sizes.items():
            for part, size in (("weight", (out, into)), ("bias", (out,))):
                before = (old, *size[1:]) if name == "fc" else size
                for where, shape_ in ((weights, size), (start, before)):
                    values = torch.tensor(rng.standard_normal(shape_))
                    where[f"{name}.{part}"] = values.float()
        given = dict(k=k, weights=weights, start=start, alpha=alpha, beta=beta)
        value, gradients = expect(learner.run(PULL, **given), kind=list, length=2)
        w, w_S = ({n: p.double() for n, p in x.items()} for x in (weights, start))
        body = [n for n in w if not n.startswith("fc.")]
        away = sum((w[n] - w_S[n]).square().sum() for n in body)
        size = sum(w[n].square().sum() for n in w if n not in body)
        right = alpha / 2 * away + beta / 2 * size
        expect(value, "scalar", shape=(), finite=False)
        if not close(value, right):
            raise Wrong(pull(value, w, w_S, body, alpha, beta, away, size, k == old))
        expected = {n: alpha * (w[n] - w_S[n]) if n in body else beta * w[n] for n in w}
        for name, gradient in expect(gradients, kind=dict).items():
            if name not in expected:
                raise Wrong("no gradient")
            expect(gradient, shape=expected[name].shape, finite=False)
        if not all(close(gradients.get(n), expected[n]) for n in expected):
            raise Wrong("no gradient", credit=0.5)


def pull(value, w, w_S, body, alpha, beta, away, size, same):
    """The hint for a wrong value of the penalty."""
    old = 0.0
    if same:
        parts = ("fc.weight", "fc.bias")
        old = sum((w[n] - w_S[n]).square().sum() for n in parts)
    short = [n for n in body if not n.startswith("fc")]
    short_away = sum((w[n] - w_S[n]).square().sum() for n in short)
    longer = sum(w[n].square().sum() for n in w if n not in short)
    plain = sum(w[n].square().sum() for n in body)
    means = [
        sum(f(n) for n in names)
        for names, f in (
            (body, lambda n: (w[n] - w_S[n]).square().mean()),
            ([n for n in w if n not in body], lambda n: w[n].square().mean()),
        )
    ]
    norms = [
        sum((w[n] - w_S[n]).norm() for n in body),
        sum(w[n].norm() for n in w if n not in body),
    ]
    a, b = alpha / 2, beta / 2
    ways = {
        "half": [2 * a * away + 2 * b * size],
        "head": [a * (away + old), a * (away + old) + b * size, a * away + b * old],
        "prefix": [a * short_away + b * longer],
        "zero": [a * plain + b * size],
        "mean": [a * means[0] + b * means[1]],
        "norm": [a * norms[0] + b * norms[1], a * away.sqrt() + b * size.sqrt()],
        "swapped": [b * away + a * size],
        "no beta": [a * away],
    }
    for hint, values in ways.items():
        if any(close(value, x) for x in values):
            return hint
    return "penalty"


# -- repeats and a verdict -------------------------------------------------------------


def interval(ours, theirs, mistake=None):
    """(mean, half width), and what comes of a mistake."""
    d, R = ours - theirs, len(ours)
    s = d.std(ddof=0 if mistake == "deviation" else 1)
    if mistake in ("paired", "Welch"):
        s = np.sqrt(ours.var(ddof=1) + theirs.var(ddof=1))
    degrees = {"R": R, "Welch": 2 * R - 2}.get(mistake, R - 1)
    factor = t.ppf(0.95 if mistake == "one-sided" else 0.975, degrees)
    if mistake == "quantile":
        factor = 1.96
    return d.mean(), factor * s / (1 if mistake == "root" else np.sqrt(R))


def spoken(mean, half, mistake=None):
    """What may be said, and what is said instead."""
    low, high = mean - half, mean + half
    if -1 < low and high < 1 and mistake != "negligible":
        return "no difference"
    if mistake == "ends" and abs(mean) < 1 and half < 1:
        return "no difference"
    if mistake == "interval":
        return "helps" if mean > 0 else "hurts"
    if low > 0 or high < 0:
        return "helps" if low > 0 else "hurts"
    if mistake == "narrow":
        return "no evidence"
    return "no difference" if half < 2 or mistake == "evidence" else "no evidence"


GAINS = (  # mean and half width, each verdict for each of its reasons
    *((5, 2), (-5, 2), (3, 1), (0.3, 0.2), (-0.4, 0.3), (0.0, 0.5)),
    *((0.8, 1.6), (-1, 1.5), (-0.1, 1.2), (1.2, 5), (-3, 9), (12, 15)),
    *((0.8, 0.7), (-0.9, 0.6)),  # not inside -1 and 1, though both numbers are
)


def check_verdict(learner, rng):
    """Numbers first; then gains and spreads at which each verdict is due."""
    numbers = []
    for R in (3, 5, 8):
        theirs = rng.uniform(50, 80, R)
        numbers.append((theirs + rng.normal(3, 2, R), theirs))
    pairs = list(numbers)
    for mean, half in (GAINS[i] for i in rng.permutation(len(GAINS))):
        mean, half = mean * rng.uniform(0.97, 1.03), half * rng.uniform(0.97, 1.03)
        R = int(rng.integers(3, 7))
        d = rng.standard_normal(R)
        d = (d - d.mean()) / d.std(ddof=1)
        d = mean + d * half * np.sqrt(R) / t.ppf(0.975, R - 1)
        theirs = rng.uniform(60, 80, R)
        pairs.append((theirs + d, theirs))
    found = learner.run("result = [list(verdict(a, b)) for a, b in pairs]", pairs=pairs)
    for one in expect(found, "three", kind=list, length=len(pairs)):
        expect(one, "three", kind=list, length=3)
        for number in one[:2]:
            expect(number, "three", shape=(), finite=False)
        expect(one[2], "three", kind=str)
    for (mean, *_), pair in zip(found, pairs, strict=True):
        if not close([mean, 100.0], [interval(*pair)[0], 100.0], 1e-6):
            raise Wrong("mean gain")
    for (_, half, _), pair in zip(found, pairs, strict=True):
        if close(half, interval(*pair)[1]):
            continue
        ways = {way: way for way in ("paired", "quantile", "deviation", "root")}
        ways |= {"Welch": "paired", "one-sided": "quantile", "R": "quantile"}
        for mistake, hint in ways.items():
            if close(half, interval(*pair, mistake)[1]):
                raise Wrong(hint, credit=1 / 3)
        raise Wrong("width", credit=1 / 3)
    said = [one[2] for one in found]
    right = [interval(*pair) for pair in pairs]
    if same(said, [spoken(*one) for one in right]):
        return
    for mistake in ("negligible", "ends", "evidence", "narrow", "interval"):
        if said == [spoken(*one, mistake) for one in right]:
            raise Wrong(mistake, credit=2 / 3)
    raise Wrong("said", credit=2 / 3)


# -- calibration -----------------------------------------------------------------------


def calibration(P, labels, bins, mistake=None):
    """The expected calibration error, and what comes of a mistake."""
    confidence, right = P.max(1), P.argmax(1) == labels
    if mistake == "class":
        confidence = P[np.arange(len(P)), labels]
    if mistake == "one":
        keep = confidence < 1
        share = keep.mean()
        return share * calibration(P[keep], labels[keep], bins)
    if mistake == "each":
        return np.abs(right - confidence).mean()
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    if mistake == "edge":
        place = np.ceil(confidence * bins).astype(int) - 1
    rows = []
    for b in np.unique(place):
        own = place == b
        said = (b + 0.5) / bins if mistake == "middle" else confidence[own].mean()
        rows.append((own.mean(), right[own].mean() - said))
    share, gap = np.array(rows).T
    if mistake == "weights":
        return np.abs(gap).mean()
    if mistake == "all bins":
        return np.abs(gap).sum() / bins
    if mistake == "signed":
        return abs((share * gap).sum())
    if mistake == "largest":
        return np.abs(gap).max()
    return (share * np.abs(gap)).sum()


def answers(rng, bins, n, sure):
    """Probabilities and labels: too sure in some bins, too modest in the others.

    In 8 bins, whose edges are exact, some confidences lie on an edge.
    """
    k = int(rng.integers(3, 6))
    confidence = rng.uniform(0.35, 0.97, n)
    if bins == 8:
        confidence[sure : 2 * sure] = rng.choice([0.5, 0.625, 0.75, 0.875], sure)
    other = rng.dirichlet(np.ones(k - 1) * 20, n) * (1 - confidence)[:, None]
    P = np.concatenate([confidence[:, None], other], 1)
    P[:sure] = np.eye(k)[0]
    P = np.stack([row[rng.permutation(k)] for row in P])
    place = (P.max(1) * bins).astype(int)
    bias = np.where(place % 2, 0.3, -0.3)
    hits = rng.random(n) < np.clip(P.max(1) + bias, 0.1, 0.9)
    labels = np.where(hits, P.argmax(1), (P.argmax(1) + 1) % k)
    wrong = sure // 2  # of those with a confidence of 1
    labels[:wrong] = (P[:wrong].argmax(1) + 1) % k
    return P, labels


def check_ece(learner, rng):
    """Sure answers, confidences on edges, few examples in many bins."""
    for bins, n, sure in ((5, 80, 0), (8, 60, 12), (15, 12, 2)):
        P, labels = answers(rng, bins, n, sure)
        while bins == 8 and close(
            calibration(P, labels, bins, "edge"), calibration(P, labels, bins), 0.01
        ):
            P, labels = answers(rng, bins, n, sure)
        found = learner.call("ece", P, labels, bins)
        right = calibration(P, labels, bins)
        if close(found, right):
            continue
        if not np.isfinite(expect(found, "ece", shape=(), finite=False)):
            if (P.max(1) < 0.5).all() or (P.max(1) >= 0.5).all():
                raise Wrong("empty")
            full = learner.call("ece", P, labels, 2)  # no bin of these is empty
            known = close(full, calibration(P, labels, 2))
            raise Wrong("empty", credit=2 / 3 if known else 0)
        if close(found, 100 * right):
            raise Wrong("percent", credit=2 / 3)
        if sure and close(found, calibration(P, labels, bins, "one")):
            raise Wrong("one", credit=2 / 3)
        for way in ("edge", "weights", "signed", "each", "largest", "middle", "class"):
            if close(found, calibration(P, labels, bins, way)):
                raise Wrong(way)
        if close(found, calibration(P, labels, bins, "all bins")):
            raise Wrong("weights")
        if close(found, (P.argmax(1) != labels).mean()):
            raise Wrong("ece")
        raise Wrong("ece")


# -- who picks does not report ---------------------------------------------------------


def halves(G, margin, mistake=None):
    """[(row, picked, reported)], and what comes of a mistake."""
    even, odd = G[:, ::2].mean(1), G[:, 1::2].mean(1)
    n = (G.shape[1] + 1) // 2
    first, last = G[:, :n].mean(1), G[:, n:].mean(1)
    picked, reported = {
        None: (even, odd),
        "own half": (even, even),
        "halves": (first, last),
        "all seeds": (G.mean(1), odd),
        "either way": (even, odd),
    }[mistake]
    size = -abs(picked) if mistake == "either way" else picked
    return [(i, picked[i], reported[i]) for i in np.flatnonzero(size < -margin)]


def check_pick_and_report(learner, rng):
    """Rows beyond the margin by one half of the seeds only, and by both."""
    for seeds in (6, 9, 10):
        margin = float(rng.uniform(1, 3))
        G = rng.normal(0, 2, (14, seeds)) + rng.choice([-6, -3, 0, 5], 14)[:, None]
        G[0, ::2], G[0, 1::2] = -margin - 3, 4 + rng.uniform(0, 2, seeds // 2)
        G[1, ::2], G[1, 1::2] = 0.5, -20 - rng.uniform(0, 2, seeds // 2)
        G[2] = 6 + rng.uniform(0, 2, seeds)
        G = G[rng.permutation(14)]
        found = learner.run(
            "result = [[float(x) for x in one] for one in pick_and_report(G, margin)]",
            G=G,
            margin=margin,
        )
        expect(found, "triples", kind=list)
        for one in found:
            expect(one, "triples", kind=list, length=3)
        right = halves(G, margin)
        if len(found) == len(right) and close(found, right):
            continue
        for mistake in ("own half", "halves", "all seeds", "either way"):
            other = halves(G, margin, mistake)
            if len(found) == len(other) and close(found, other):
                raise Wrong(mistake)
        rows = [one[0] for one in found]
        same_rows = len(rows) == len(right) and close(rows, [one[0] for one in right])
        raise Wrong("means" if same_rows else "rows")
