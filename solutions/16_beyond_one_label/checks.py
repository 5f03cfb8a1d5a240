"""Trusted checks of exercise 16: they run in the grader and are never released."""

import numpy as np

from course_lib.course.grading.checks import Wrong, close, expect, same, told

HINTS = {
    "pair": "Return two arrays: scores (N,), then rows and columns (N, 2).",
    "root": "A distance is the root of the summed squares.",
    "nearest": "A patch is as strange as it is far from the nearest one of the memory, "
    "not from the farthest, nor from their mean.",
    "strangest": "A picture is as strange as its strangest patch: not the mean over "
    "its patches, nor the least strange one.",
    "swapped": "Rows first, then columns.",
    "place": "The places are not those of the strangest patch, as row and column.",
    "scores": "The scores are wrong.",
    "remembered": "The threshold comes from pictures in the memory. Their own patches "
    "lie there, so that they look less strange than any other.",
    "between": "The threshold is one of the scores, not a number between two of them.",
    "side": "An alarm is raised above the threshold: the highest scores, few of them.",
    "rounding": "At most the given share may lie above: round the number of pictures "
    "down, and mind that none may be allowed.",
    "spread": "Mean and deviation say nothing about a share unless scores are normal.",
    "threshold": "The threshold is wrong.",
    "pictures": "Add up the pixels of all pictures first, then divide once a class.",
    "absent": "Classes that occur neither in found nor in true do not count.",
    "invented": "A class that was found but is never true counts, with 0.",
    "ignored": "Pixels whose true class is `ignore` count nowhere, whatever was found.",
    "dice": "The union has each pixel once; the sum of both areas has some twice.",
    "accuracy": "That is a share of right pixels, not the mean of IoU over classes.",
    "background": "Class 0 is a class like the others.",
    "iou": "The mean IoU is wrong.",
    "itself": "A picture finds itself: the archive are all others.",
    "cosine": "Sort by the cosine, which does not see the length of a vector.",
    "alone": "A picture that is alone in its group is no query.",
    "precision": "Is at least one of the k right? That, and not how many.",
    "last": "Any of the first k will do, not only the one at place k.",
    "recall": "The recall is wrong.",
    "luck": "A higher mean may be luck: the whole interval must lie above 0.",
    "paired": "The interval is that of the differences, seed by seed.",
    "deviation": "The half width is t times the sample deviation (divided by S - 1) "
    "over the root of S.",
    "lost": "The probe must win there and at every larger number of labels.",
    "order": "The dictionary may come in any order of its labels.",
    "none": "Where the largest number of labels does not win, the answer is None.",
    "labels": "This is not the number of labels asked for.",
}


def differing(right, wrong):
    """Does each mistake give other numbers than the right rule?"""
    flat = [value for values in wrong.values() for value in values]
    return not any(close(value, right, 1e-3) for value in flat)


def check_picture_scores(learner, rng):
    """Random patches on grids that are not square; the strangest is in one place."""
    for h, w, F, M in ((3, 5, 4, 6), (6, 2, 7, 9), (4, 4, 2, 1)):
        N = int(rng.integers(3, 6))
        P, bank = rng.standard_normal((N, h, w, F)), rng.standard_normal((M, F))
        odd = rng.integers(0, (h, w), (N, 2))
        P[np.arange(N), odd[:, 0], odd[:, 1]] *= 4
        every = np.linalg.norm(P[..., None, :] - bank, axis=-1)  # (N, h, w, M)
        found = learner.call("picture_scores", P, bank)
        if type(found) not in (list, tuple) or len(found) != 2:
            raise Wrong("pair")
        scores = expect(found[0], "pair", shape=(N,))
        far = every.min(-1).reshape(N, -1)
        centre = np.linalg.norm(P - bank.mean(0), axis=-1).reshape(N, -1)
        wrong = {
            "root": [far.max(1) ** 2],
            "strangest": [far.mean(1), far.min(1), far.sum(1), np.median(far, 1)],
            "nearest": [
                every.max(-1).reshape(N, -1).max(1),
                every.mean(-1).reshape(N, -1).max(1),
                centre.max(1),
            ],
        }
        told(scores, far.max(1), wrong, "scores")
        places = np.stack(np.unravel_index(far.argmax(1), (h, w)), 1)
        given = expect(found[1], "place", shape=(N, 2))
        if not close(given, places, 1e-6):
            raise Wrong("swapped" if close(given, places[:, ::-1], 1e-6) else "place")


def scores_of(P, bank):
    """Distance of the strangest patch of each picture to the memory."""
    return np.linalg.norm(P[:, :, None] - bank, axis=3).min(2).max(1)


def alarms(P, n, rate):
    """The threshold, and those of typical mistakes."""
    bank = P[:n].reshape(-1, P.shape[2])
    own, held = scores_of(P[:n], bank), np.sort(scores_of(P[n:], bank))
    whole = P.reshape(-1, P.shape[2])
    everything = np.sort(scores_of(P, bank))
    N = len(held)
    cut = {}
    for name, number in (("down", rate * N + 1e-9), ("up", np.ceil(rate * N - 1e-9))):
        cut[name] = int(number)
    places = {"more": cut["up"], "one more": cut["down"] + 1}
    places = {k: min(v, N - 1) for k, v in places.items()}
    wrong = {
        "remembered": [
            np.quantile(own, 1 - rate),
            own.max(),
            np.quantile(everything, 1 - rate),
            everything[len(everything) - 1 - int(rate * len(everything) + 1e-9)],
            np.quantile(scores_of(P[n:], whole), 1 - rate),
        ],
        "between": [np.quantile(held, 1 - rate)],
        "side": [held[cut["down"]], np.quantile(held, rate), held[0]],
        "rounding": [held[N - 1 - place] for place in places.values()],
        "spread": [held.mean() + k * held.std(ddof=d) for k in (2, 3) for d in (0, 1)],
    }
    return held[N - 1 - cut["down"]], wrong


def check_alarm_bug(learner, rng):
    """Numbers of pictures that the rate divides and others, and a rate of none."""
    cases = []
    for N, n, rate in ((29, 8, 0.1), (36, 16, 0.25), (23, 6, 0.0), (31, 4, 0.333)):
        P = rng.standard_normal((N, 3, 4)) * rng.uniform(0.5, 2, (N, 1, 1))
        cases.append((P, n, rate))
    found = learner.run(
        "result = [float(alarm_threshold(P, n, rate)) for P, n, rate in cases]",
        cases=cases,
    )
    found = expect(found, "threshold", shape=(4,))
    pairs = [alarms(*case) for case in cases]
    right = np.array([pair[0] for pair in pairs])
    wrong = {
        hint: [
            np.array([pair[1][hint][k] for pair in pairs])
            for k in range(len(pairs[0][1][hint]))
        ]
        for hint in pairs[0][1]
    }
    told(found, right, wrong, "threshold")


def ious(found, true, classes, ignore):
    """{hint: mean IoU by a mistake}, and under "right" the right one."""
    counted = true != ignore
    f, t = found[counted], true[counted]

    def values(f, t, which=range(classes), below="union"):
        out = []
        for c in which:
            both, a, b = ((f == c) & (t == c)).sum(), (f == c).sum(), (t == c).sum()
            size = {"union": a + b - both, "sum": (a + b) / 2, "true": b}[below]
            out.append(both / size if size else np.nan)
        return np.array(out)

    apart = [
        values(a[b != ignore], b[b != ignore]) for a, b in zip(found, true, strict=True)
    ]
    known = [c for c in range(classes) if (t == c).any()]
    plain = values(f, t)
    return {
        "right": [np.nanmean(plain)],
        "pictures": [np.mean([np.nanmean(v) for v in apart]), np.nanmean(apart)],
        "absent": [np.nan_to_num(plain).mean(), np.nan_to_num(plain, nan=1.0).mean()],
        "invented": [np.nanmean(values(f, t, known))],
        "ignored": [np.nanmean(values(found, true))],
        "dice": [np.nanmean(values(f, t, below="sum"))],
        "accuracy": [(f == t).mean(), (found == true).mean()]
        + [np.nanmean(values(f, t, known, "true"))],
        "background": [np.nanmean(plain[1:])],
    }


def by_hint(rules):
    """(right answers, {hint: [answers by a mistake]}), each with one number a case."""
    columns = {
        hint: [np.array(c) for c in zip(*(r[hint] for r in rules), strict=True)]
        for hint in rules[0]
    }
    return columns.pop("right")[0], columns


def check_mean_iou(learner, rng):
    """Different classes by picture, an absent and an invented one, ignored pixels."""
    while True:
        cases = []
        for N, classes, ignore in ((3, 5, 255), (4, 6, 255), (3, 5, 9)):
            true = rng.integers(0, classes - 2, (N, 6, 7))
            true[0] = rng.integers(0, 2, (6, 7))
            wrong = rng.integers(0, classes - 1, true.shape)
            found = np.where(rng.random(true.shape) < 0.6, true, wrong)
            found[0, 0, 0] = classes - 2  # never true
            true[rng.random(true.shape) < 0.15] = ignore
            true[0, 0, 0] = 0
            cases.append((found, true, classes, ignore))
        rules = [ious(*case) for case in cases]
        right, wrong = by_hint(rules)
        if differing(right, wrong):
            break
    found = learner.run(
        "result = [float(mean_iou(*case)) for case in cases]", cases=cases
    )
    found = expect(found, "iou", shape=(3,), finite=False)
    told(found, right, wrong, "iou")


def recalls(Z, groups, k):
    """{hint: recall by a mistake}, and under "right" the right one."""
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    alone = (groups[:, None] == groups).sum(1) == 1

    def hits(similar, own=False):
        similar = similar.copy()
        if not own:
            np.fill_diagonal(similar, -np.inf)
        near = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        return groups[near] == groups[:, None]

    cosine = hits(unit @ unit.T)
    far = hits(-np.square(Z[:, None] - Z[None]).sum(-1))
    dot = hits(Z @ Z.T)
    own, own_dot = hits(unit @ unit.T, True), hits(Z @ Z.T, True)
    return {
        "right": [cosine[~alone].any(1).mean()],
        "itself": [own[~alone].any(1).mean(), own.any(1).mean()]
        + [own_dot[~alone].any(1).mean(), own_dot.any(1).mean()],
        "cosine": [dot[~alone].any(1).mean(), far[~alone].any(1).mean()],
        "alone": [cosine.any(1).mean()],
        "precision": [cosine[~alone].mean(), cosine.mean()]
        + [cosine[~alone].all(1).mean()],
        "last": [cosine[~alone][:, -1].mean()],
    }


def check_recall_at_k(learner, rng):
    """Lengths that differ, groups of one to four pictures, k of 2 to 5."""
    while True:
        cases = []
        for k, groups in ((2, 9), (3, 12), (5, 11), (4, 10)):
            labels = rng.integers(0, groups, 26) * 3
            centres = rng.standard_normal((3 * groups, 6))
            Z = centres[labels] + 1.1 * rng.standard_normal((26, 6))
            Z = Z * rng.uniform(0.3, 4, (26, 1))
            labels[:3] = 3 * groups + np.arange(3)  # alone
            cases.append((Z, labels, k))
        rules = [recalls(*case) for case in cases]
        right, wrong = by_hint(rules)
        if differing(right, wrong):
            break
    found = learner.run(
        "result = [float(recall_at_k(*case)) for case in cases]", cases=cases
    )
    found = expect(found, "recall", shape=(4,), finite=False)
    told(found, right, wrong, "recall")


def winners(memory, probe, t):
    """{labels: {rule: does the probe win by it}}, smallest number first."""
    out = {}
    for n in sorted(probe):
        a, b = np.array(probe[n]), np.array(memory)
        d, S = a - b, len(b)
        apart = ((a.var(ddof=1) + b.var(ddof=1)) / S) ** 0.5
        out[n] = {
            "right": d.mean() > t * d.std(ddof=1) / S**0.5,
            "luck": d.mean() > 0,
            "paired": d.mean() > t * apart,
            "whole": d.mean() > t * d.std(ddof=1),
            "no t": d.mean() > d.std(ddof=1) / S**0.5,
            "biased": d.mean() > t * d.std() / S**0.5,
        }
    return out


def worth(won, rule):
    """The smallest number of labels from which on the rule says yes, or None."""
    answer = None
    for n in sorted(won, reverse=True):
        if not won[n][rule]:
            break
        answer = n
    return answer


def drawn(rng, gains, S, common=0.03, own=0.006):
    """Memory and probe whose differences have these means, in units of `own`."""
    shared = common * rng.standard_normal(S)
    memory = 0.8 + shared
    probe = {}
    for n, gain in gains.items():
        noise = rng.standard_normal(S)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        probe[n] = (memory + own * (gain + noise)).tolist()
    keys = rng.permutation(list(probe)).tolist()
    return memory.tolist(), {key: probe[key] for key in keys}


def check_labels_worth(learner, rng):
    """Wins by luck, wins that are lost again, pairs, orders of keys, and none."""
    t = {5: 2.776, 8: 2.365}
    cases = {
        "plain": ({10: -3, 25: -1, 50: 3, 100: 5}, 5),
        "luck": ({10: 0.4, 25: 0.9, 50: 4, 100: 5}, 5),
        "deviation": ({5: -2, 10: 1.16, 20: 3, 40: 4}, 5),
        "lost": ({10: 4, 25: -1, 50: 0.2, 100: 3, 200: 4}, 8),
        "whole": ({10: -3, 25: 1.6, 50: 6, 100: 9}, 8),
        "none": ({10: 3, 25: 4, 50: 0.3}, 8),
    }
    each = int(rng.integers(2, 1000))  # other numbers of labels with each draw
    arguments = [
        (*drawn(rng, {each * n: gain for n, gain in gains.items()}, S), t[S])
        for gains, S in cases.values()
    ]
    pairs = [(m, list(probe.items()), t) for m, probe, t in arguments]
    found = learner.run(
        "result = [labels_worth(m, dict(pairs), t) for m, pairs, t in cases]",
        cases=pairs,
    )
    expect(found, "labels", kind=(list, tuple), length=len(cases))
    won = [winners(*case) for case in arguments]
    right = [worth(w, "right") for w in won]
    if same(found, right):
        return
    first = [next((n for n in w if w[n]["right"]), None) for w in won]
    by_key = [
        next((n for n in case[1] if w[n]["right"]), None)
        for case, w in zip(arguments, won, strict=True)
    ]
    wrong = {
        "luck": [worth(w, "luck") for w in won],
        "paired": [worth(w, "paired") for w in won],
        "deviation": [worth(w, "no t") for w in won],
        "lost": first,
        "order": by_key,
    }
    hints = {hint: [values] for hint, values in wrong.items()}
    hints["deviation"] += [
        [worth(w, rule) for w in won] for rule in ("whole", "biased")
    ]
    hints["luck"].append([next((n for n in w if w[n]["luck"]), None) for w in won])
    for hint, several in hints.items():
        if any(same(found, values) for values in several):
            raise Wrong(hint)
    if found[-1] is not None and same(list(found[:-1]), right[:-1]):
        raise Wrong("none")
    raise Wrong("labels")
