"""From the stored runs of a diagnosis to choices, gains, errors and warning signs.

Nothing here trains, and nothing is chosen on a test example.
"""

from collections.abc import Sequence

import numpy as np

from course_lib.analysis.calibration import expected_calibration_error, reliability
from course_lib.analysis.negative_transfer import errors_follow_source, falls_and_rises
from course_lib.analysis.statistics import (
    crossed_interval,
    judge,
    resampled_interval,
    size_needed,
)
from course_lib.analysis.subgroups import subgroup_table

WITH = ("frozen", "full")  # all other arms are without transfer
# What a way costs to train, in steps of an order of magnitude: counting words, one pass
# through a network, many passes forwards and backwards.
COST = {"counts": 0, "random": 1, "frozen": 1, "scratch": 2, "full": 2}
SATURATED = 1e-3  # scores that differ by less are shown as equal
CONFIDENT = 0.9  # probability
FOLLOWS = 0.01  # p value
BELOW = 0.01  # of validation accuracy: the first warning sign


def _choose(values, losses, pooled: bool) -> list[int]:
    """Which of C candidates each of R repeats takes: highest value, then lowest loss.

    values, losses (R, C) on validation.  pooled: one for all, by the means over the
    repeats, which is fair while no test example is in any validation part.
    """
    values, losses = np.asarray(values, float), np.asarray(losses, float)
    if pooled:
        values = np.repeat(values.mean(axis=0)[None], len(values), axis=0)
        losses = np.repeat(losses.mean(axis=0)[None], len(losses), axis=0)
    return [
        int(np.lexsort((loss, -np.round(value, 9)))[0])
        for value, loss in zip(values, losses)
    ]


class _Arm:
    """One way to train, with the choices made: a list over the repeats of each."""

    def __init__(self, job, name: str, rows: list[dict]):
        self.name, self.candidates = name, rows[0]["candidates"]
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        taken = _choose(columns["accuracy"], columns["loss"], job.shared_test)
        self.taken = taken
        self.accuracy, self.loss, self.predictions, self.confidence = (
            [values[i] for values, i in zip(columns[key], taken)]
            for key in ("accuracy", "loss", "predictions", "confidence")
        )
        self.labels = [job.data.labels[tested] for _, _, tested in job.parts]
        self.test = [job.score(p, y) for p, y in zip(self.predictions, self.labels)]

    def summary(self) -> dict:
        return {
            "candidates": self.candidates,
            "taken": [self.candidates[i] for i in self.taken],
            "validation": self.accuracy,
            "test": self.test,
        }


def _better(job, arms: dict[str, _Arm], names: Sequence[str]) -> list[str]:
    """Which arm each repeat takes, by validation."""
    values, losses = (
        np.transpose([getattr(arms[name], key) for name in names])
        for key in ("accuracy", "loss")
    )
    return [names[i] for i in _choose(values, losses, job.shared_test)]


def _column(arms, names: Sequence[str], key: str) -> list:
    """Entry r of the arm that repeat r takes."""
    return [getattr(arms[name], key)[r] for r, name in enumerate(names)]


def _gain(job, arms, ours: Sequence[str], theirs: Sequence[str]) -> dict:
    """Interval of the gain of one choice of arms over another, with its judgement."""
    repeats = range(len(ours))
    labels = [job.data.labels[job.parts[r][2]] for r in repeats]
    sides = [_column(arms, names, "predictions") for names in (ours, theirs)]
    if job.shared_test:  # repeats cross examples: both are counted as chance
        right = [[np.array(p) == y for p, y in zip(side, labels)] for side in sides]
        D = np.array(right[0]).astype(float) - np.array(right[1])
        interval = crossed_interval(D, labels[0] if job.balanced else None)
    else:  # the repeats share examples: their gains vary less than new ones would
        scored = [[job.score(p, y) for p, y in zip(side, labels)] for side in sides]
        train, _, test = (len(rows) for rows in job.parts[0])
        tested = len(np.unique(np.concatenate([job.parts[r][2] for r in repeats])))
        gains = np.subtract(*scored)
        interval = resampled_interval(gains, train, test, tested)
    matters = job.settings.matters
    kind, code = judge(interval, matters)
    return interval | {
        "kind": kind,
        "code": code,
        "needed": size_needed(interval, matters),
    }


def concluded(job, plan, looked, rows) -> dict:
    """Everything that follows from the stored steps, without further training."""
    arms = {name: _Arm(job, name, [row[name] for row in rows]) for name in rows[0]}
    R = len(rows)
    baselines = [name for name in arms if name not in WITH]
    without, transfer = (_better(job, arms, names) for names in (baselines, WITH))
    pairs = {
        "transfer": (transfer, without),
        "frozen": (["frozen"] * R, without),
        "full": (["full"] * R, without),
        "full over frozen": (["full"] * R, ["frozen"] * R),
        "frozen over random": (["frozen"] * R, ["random"] * R),
    }
    gains = {name: _gain(job, arms, *pair) for name, pair in pairs.items()}
    histories = {
        name: [row[name]["histories"][i] for row, i in zip(rows, arms[name].taken)]
        for name in ("scratch", "full")
    }
    judged = overall(gains)
    sides = {"with": transfer, "without": without}
    confident = {side: _confident(job, arms, sides[side], looked) for side in sides}
    return dict(
        backbone=job.backbone.name,
        data=job.about,
        options=job.settings.to_dict(),
        plan=plan,
        metric="balanced accuracy" if job.balanced else "accuracy",
        **judged,
        notes=list(job.notes),
        gains=gains,
        chosen={side: _commonest(arms, names) for side, names in sides.items()},
        recommended=_recommended(job, arms, judged["kind"], baselines),
        arms={name: arm.summary() for name, arm in arms.items()},
        depth=_depth(job, rows),
        scores=_compared(rows, len(job.data.classes)),
        source={
            "distance": looked["distance"],
            "vocabulary": looked["vocabulary"],
            "heads": {k: len(v["names"]) for k, v in looked["heads"].items()},
            "forgetting": rows[0]["full"]["source"][arms["full"].taken[0]],
        },
        calibration={
            side: _calibration(job, arms, names) for side, names in sides.items()
        },
        confident=confident,
        subgroups=_subgroups(job, arms, sides),
        signs=_signs(arms, sides, histories, confident),
        histories={name: runs[0] for name, runs in histories.items()},
        key=job.key,
    )


def overall(gains) -> dict:
    """The kind and code of the whole: that of the way which validation preferred.

    One exception: transfer hurts only if every way to transfer hurts, each by its own
    interval.  Such an intersection of tests keeps its level without correction
    (Berger 1982), and a way that was preferred by mistake condemns no weights.
    """
    kind, code = gains["transfer"]["kind"], gains["transfer"]["code"]
    if kind == "hurts":
        ways = [gains[way]["kind"] for way in WITH]
        if set(ways) != {"hurts"}:
            quiet = "no difference" in ways
            kind, code = "no difference" if quiet else "no evidence", 0
    return {"kind": kind, "code": code}


def _commonest(arms, names: Sequence[str]) -> dict:
    """The arm and candidate that most repeats took, and how it did."""
    name = max(dict.fromkeys(names), key=names.count)
    taken = [arms[name].candidates[i] for i in arms[name].taken]
    return {
        "arm": name,
        "candidate": max(dict.fromkeys(taken), key=taken.count),
        "validation": float(np.mean(_column(arms, names, "accuracy"))),
        "test": float(np.mean(_column(arms, names, "test"))),
    }


def _recommended(job, arms, kind: str, baselines: Sequence[str]) -> dict:
    """The cheapest way whose validation accuracy is within what matters of the best.

    Where transfer helps, among the ways to transfer that are no worse than all without;
    where it hurts, among those without; else among all.  Beside it the best, and its
    gain over this way.
    """
    validated = {name: float(np.mean(arm.accuracy)) for name, arm in arms.items()}
    names = {"helps": WITH, "hurts": baselines}.get(kind, list(arms))
    best = max(names, key=validated.get)
    least = validated[best] - job.settings.matters
    if kind == "helps":
        least = max(least, *(validated[name] for name in baselines))
    least = min(least, validated[best])
    within = [name for name in names if validated[name] >= least - 1e-9]
    name = min(within, key=lambda name: (COST[name], -validated[name]))
    R = len(arms[name].taken)
    return _commonest(arms, [name] * R) | {
        "best": _commonest(arms, [best] * R),
        "over": _gain(job, arms, [best] * R, [name] * R),
    }


def _depth(job, rows) -> dict:
    """{"stages": names, "pretrained", "random": test scores (R, S) of the probes}."""
    labels = [job.data.labels[tested] for _, _, tested in job.parts]
    scores = {
        side: [
            [job.score(p, y) for p in row[arm]["depth"].values()]
            for row, y in zip(rows, labels)
        ]
        for side, arm in (("pretrained", "frozen"), ("random", "random"))
    }
    return {"stages": list(rows[0]["frozen"]["depth"])} | scores


def _compared(rows, classes: int) -> dict:
    """Mean scores of both sides, and the names of those that cannot tell them apart.

    A score is saturated where it is the same for pretrained and random features, or
    where both are at its bound, as the H-score, at most K - 1, with more features than
    labels.
    """
    pretrained, random = (
        _mean_scores([row[name]["scores"] for row in rows])
        for name in ("frozen", "random")
    )
    bounds = {"H-score": classes - 1, "kNN": 1.0}
    saturated = []
    for name, ours in pretrained.items():
        theirs = random[name]
        if ours is None or theirs is None:
            continue
        low = min(ours, theirs)
        same = abs(ours - theirs) < SATURATED
        if same or low > bounds.get(name, np.inf) - SATURATED:
            saturated.append(name)
    return {"pretrained": pretrained, "random": random, "saturated": saturated}


def _mean_scores(found: Sequence[dict]) -> dict:
    """The mean of each score over the repeats; None where one is missing."""
    columns = {name: [one[name] for one in found] for name in found[0]}
    return {
        name: None if None in values else float(np.mean(values))
        for name, values in columns.items()
    }


def _calibration(job, arms, names: Sequence[str]) -> dict:
    """Expected calibration error of each repeat, and the reliability of all."""
    classes = len(job.data.classes)
    parts = []
    for r, name in enumerate(names):
        arm = arms[name]
        parts.append((arm.predictions[r], arm.confidence[r], arm.labels[r]))
    columns = [np.concatenate(column) for column in zip(*parts)]
    errors = [
        expected_calibration_error(_spread(p, c, classes), y) for p, c, y in parts
    ]
    rows = reliability(_spread(*columns[:2], classes), columns[2], bins=10)
    return {"error": errors, "rows": rows}


def _spread(predictions, confidence, classes: int) -> np.ndarray:
    """Probabilities (N, K) of which only the largest is known, the rest level."""
    confidence = np.maximum(confidence, 1 / classes + 1e-6)[:, None]
    P = np.repeat((1 - confidence) / (classes - 1), classes, axis=1)
    P[np.arange(len(P)), np.asarray(predictions)] = confidence[:, 0]
    return P


def _subgroups(job, arms, sides) -> list[dict]:
    """Accuracy by class and by metadata, of both sides, each example tested once.

    Each example is judged by the first repeat that tested it.
    """
    first: dict[int, tuple[int, int]] = {}
    for r in range(len(sides["with"])):
        for i, row in enumerate(job.parts[r][2].tolist()):
            first.setdefault(row, (r, i))
    rows = np.array(list(first))
    labels = job.data.labels[rows]
    names = np.array(job.data.classes)[labels]
    groups = {"class": names}
    for column, values in job.data.metadata.items():
        groups["column class" if column == "class" else column] = values[rows]
    tables = {}
    for side, taken in sides.items():
        predictions = _column(arms, taken, "predictions")
        answers = np.array([predictions[r][i] for r, i in first.values()])
        tables[side] = subgroup_table(labels, answers, groups)
    before = {
        (row["column"], row["group"]): row["accuracy"] for row in tables["without"]
    }
    return [
        row | {"without": before[row["column"], row["group"]]} for row in tables["with"]
    ]


def _confident(job, arms, names: Sequence[str], looked) -> dict:
    """Wrong answers given with a probability above 0.9, and what they follow."""
    first: dict[int, int] = {}  # example -> the answer of the first such repeat
    wrong = sure = tested = 0
    for r, name in enumerate(names):
        rows = job.parts[r][2]
        answers, y = np.array(arms[name].predictions[r]), job.data.labels[rows]
        bad = answers != y
        confident = bad & (np.array(arms[name].confidence[r]) > CONFIDENT)
        wrong, sure, tested = wrong + bad.sum(), sure + confident.sum(), tested + len(y)
        for i in np.flatnonzero(confident):
            first.setdefault(int(rows[i]), int(answers[i]))
    rows = np.array(list(first), dtype=int)
    answers, y = np.array(list(first.values()), dtype=int), job.data.labels[rows]
    heads, pairs = {}, []
    for head, seen in looked["heads"].items():
        s = np.array(seen["predicted"])[rows]
        heads[head] = errors_follow_source(s, y, answers, seed=job.settings.seed)
        for (a, b, c), count in _commonest_rows(np.stack([s, y, answers], axis=1)):
            named = seen["names"][a], job.data.classes[b], job.data.classes[c]
            pairs.append([head, *named, count])
    p_values = [one["p"] for one in heads.values() if one["p"] is not None]
    p = min(1.0, len(p_values) * min(p_values)) if p_values else None  # Bonferroni
    return {
        "share": float(sure / tested),
        "of_errors": float(sure / wrong) if wrong else 0.0,
        "errors": float(wrong / tested),
        "examples": len(rows),
        "heads": heads,
        "p": p,
        "pairs": sorted(pairs, key=lambda pair: -pair[-1])[:5],
    }


def _commonest_rows(table, most: int = 3) -> list:
    """The commonest rows of a table of whole numbers, and how often they occur."""
    rows, counts = np.unique(table, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(rows[i].tolist(), int(counts[i])) for i in order]


def _signs(arms, sides, histories, confident) -> list[dict]:
    """The three warning signs of negative transfer: raised or not, with numbers."""
    accuracy = {
        side: float(np.mean(_column(arms, names, "accuracy")))
        for side, names in sides.items()
    }
    rises = [falls_and_rises(history) for history in histories["full"]]
    ours, theirs = confident["with"], confident["without"]
    follows = ours["p"] is not None and ours["p"] < FOLLOWS
    return [
        {
            "sign": "validation accuracy below random initialisation",
            "raised": accuracy["with"] < accuracy["without"] - BELOW,
            "numbers": accuracy,
        },
        {
            "sign": "training loss falls while validation loss rises from the start",
            "raised": 2 * sum(rises) > len(rises),
            "numbers": {"repeats": sum(rises), "of": len(rises)},
        },
        {
            "sign": "confident errors that follow the source's classes",
            "raised": bool(follows and ours["share"] > theirs["share"]),
            "numbers": {
                "with": ours["share"],
                "without": theirs["share"],
                "p": ours["p"],
            },
        },
    ]
