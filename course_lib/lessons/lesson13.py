"""Lesson 13: the decision framework on situations that it was not made from; figures.

Grid `decisions`, the small world: the framework's thresholds come from 25, 100 and 500
labels (lessons 03 and 12); here it meets the four targets with 50 and 250.  Three ways
are run in each: a probe on frozen features of all stages, all layers from the
pretrained start, all layers from a random start; rates, updates and augmentation are
those of lesson 06.  Nobody who has n labels has 900 more to choose by: the validation
set has n / 2 pictures, and checkpoints, penalties and the framework's question are
decided on these.  The real world's grid is in
:mod:`course_lib.lessons.lesson13_real`.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.diagnose import decisions as framework
from course_lib.diagnose.decisions import Situation, decide
from course_lib.jobs import pipeline
from course_lib.lessons import (
    claims,
    lesson06,
    lesson06_real,
    lesson13_real,
    results,
    solar,
)
from course_lib.lessons.protocol import BACKBONE
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import features
from course_lib.show import plots, widgets
from course_lib.training import resume

LABELS = (50, 250)
WAYS = ("probe", "tuned", "scratch")


@experiment(
    "decisions",
    grid=[
        dict(target=target, labels=labels, seed=seed)
        for labels in LABELS
        for target in lesson06.TARGETS
        for seed in SEEDS
    ],
    sample=[dict(target="digits", labels=50, seed=0)],
    short=[dict(target="digits", labels=50, seed=0, fraction=0.01)],
    tolerance={f"{part}{way}": 0.06 for way in WAYS for part in ("", "val_")},
    models=(BACKBONE,),
    data=lesson06.FILES,
)
def decisions(target, labels, seed, fraction=1.0):
    """Test and validation accuracy of the three ways in one situation."""
    splits = {s: datasets.load(target, s) for s in ("train", "validation", "test")}
    train = splits["train"].take(labels, seed=seed)
    validation = splits["validation"].take(labels // 2, seed=seed)
    test, found = results.part(splits["test"], fraction), {}
    backbone = lesson06.load_source(BACKBONE)
    X, V, T = (all_stages(backbone, part) for part in (train, validation, test))
    probe = probes.linear_probe(
        X, train.labels, T, test.labels, val=(V, validation.labels), seed=seed
    )
    chosen = probes.linear_probe(
        X, train.labels, V, validation.labels, C=probe.C, seed=seed
    )
    found["probe"], found["val_probe"] = probe.accuracy, chosen.accuracy
    for way, source in (("tuned", BACKBONE), ("scratch", "random")):
        net = lesson06.load_source(source, len(train.classes), seed)
        options = dict(lr=lesson06.chosen_rate(source, target), seed=seed)
        history = lesson06.fine_tune(
            net, train, validation, fraction=fraction, **options
        )
        tested = training.evaluate(net, test)
        found[way], found[f"loss_{way}"] = tested["accuracy"], tested["loss"]
        found[f"val_{way}"] = history.val_accuracy[history.best_epoch]
    return found


def all_stages(backbone, data):
    """Pooled features of every stage side by side, (N, F)."""
    stages = [features.extract(backbone, data, stage) for stage in backbone.stages]
    return np.concatenate(stages, axis=1)


# -- what the framework advises, and what was measured -----------------------------

FAR = "fine-tune or baseline, by validation"
STRATEGIES = {  # the framework's words, and the ways that were run
    "probe on frozen features": "probe",
    "the baseline without transfer": "baseline",
    "fine-tune all layers": "tuned",
}


@dataclass(frozen=True)
class Known:
    """One situation, one draw of labels, and how each way did.

    val, test: {"probe", "tuned", "baseline": accuracy}; of tuned there may be none.
    can_train: was a tuned network measured?
    """

    name: str
    modality: str
    seed: int
    labels: int  # of a class
    classes: int
    can_train: bool
    val: dict
    test: dict


def small_world():
    """The 24 cells of `decisions`; without transfer means trained from scratch."""
    ways = {"probe": "probe", "tuned": "tuned", "baseline": "scratch"}
    classes = {t: len(datasets.load(t, "train").classes) for t in lesson06.TARGETS}
    found = []
    for row in results.load("decisions"):
        target, n = row["target"], row["labels"]
        name = f"{target.replace('_', ' ')}, {n / classes[target]:.0f}"
        val, test = (
            {way: row[part + key] for way, key in ways.items()} for part in ("val_", "")
        )
        per_class = n // classes[target]
        about = name, "images", row["seed"], per_class, classes[target], True
        found.append(Known(*about, val, test))
    return found


def real_world():
    """The 75 cells of `real_decisions`, with fine-tuning where it had been measured."""
    found = []
    for row in results.load("real_decisions"):
        target, n, seed = row["target"], row["labels"], row["seed"]
        ways = [way for way in lesson13_real.BASELINES if way in row]
        best = max(ways, key=lambda way: row[f"val_{way}"])
        val = {"probe": row["val_probe"], "baseline": row[f"val_{best}"]}
        test = {"probe": row["probe"], "baseline": row[best]}
        tuned = fine_tuned(target, n, seed)
        if tuned is not None:
            test["tuned"] = tuned
        modality = "texts" if "words" in row else "images"
        classes = lesson13_real.CLASSES.get(target, 2)
        about = f"{target}, {n}", modality, seed, n, classes, tuned is not None
        found.append(Known(*about, val, test))
    return found


def fine_tuned(target, labels, seed):
    """Test accuracy of fine-tuning with the same labels by an older grid, or None.

    Solar cells: of last stage and all layers the better by validation.  Speech and
    leaves: the last stage.
    """
    if target == "solar":
        rows = results.load("solar_strategies").select(labels=labels, seed=seed)
        rows = [r for r in rows if r["lr"] == solar.RATES[r["strategy"]]]
        rows = [r for r in rows if r["strategy"] in ("last_stage", "full")]
        return max(rows, key=lambda row: row["val_accuracy"])["accuracy"]
    if target in lesson13_real.SERIES:
        (row,) = results.load("real_sources").select(
            source=lesson06_real.LITES[0],
            target=lesson13_real.SERIES[target],
            seed=seed,
        )
        return row["accuracy"]
    return None


def by_library(known):
    """The way that the framework advises."""
    strategy = decide(
        Situation(
            known.modality,
            labels=known.labels * known.classes,
            classes=known.classes,
            probe_wins=known.val["probe"] > known.val["baseline"],
            can_train=known.can_train,
        )
    ).strategy
    if strategy == FAR:
        return max(("tuned", "baseline"), key=lambda way: known.val.get(way, 0))
    return STRATEGIES[strategy]


ADVISERS = {
    "always frozen features": lambda known: "probe",
    "always fine-tune": lambda known: "tuned" if "tuned" in known.test else "probe",
    "never transfer": lambda known: "baseline",
}


def lost(rows, adviser):
    """Points lost against the best way of each row, by name and seed: {name: (S,)}."""
    found: dict[str, list] = {}
    for known in rows:
        best = max(known.test.values())
        points = 100 * (best - known.test[adviser(known)])
        found.setdefault(known.name, []).append(points)
    return {name: np.array(points) for name, points in found.items()}


def regret(rows, adviser):
    """Mean points lost over all situations, one number a seed."""
    return np.mean(list(lost(rows, adviser).values()), axis=0)


def by_kind(rows, advisers):
    """A table: mean points lost by each adviser, on pictures and on texts."""
    found = {}
    for kind in dict.fromkeys(known.modality for known in rows):
        own = [known for known in rows if known.modality == kind]
        title = f"{len({known.name for known in own})} of {kind}"
        found[title] = {n: regret(own, one).mean() for n, one in advisers.items()}
    return pd.DataFrame(found).round(1)


def show_regret(rows, advisers, world):
    """Bars of the regret of several advisers."""
    reached = {name: regret(rows, one) for name, one in advisers.items()}
    first = next(iter(reached))
    title = f"{world}: {reached[first].mean():.1f} points lost by {first}"
    fig = plots.bars_with_spread(
        reached,
        ylabel="points lost",
        title=title,
        digits=1,
        spread="range",
    )
    alt = f"{world}: bars of the mean points lost by {', '.join(reached)}."
    plots.show(fig, alt=alt)
    return reached


LOOKS = {"baseline": ("s", 4), "probe": ("o", 0), "tuned": ("^", 1)}
SAID = {
    "baseline": "without transfer",
    "probe": "frozen probe",
    "tuned": "last stage or all layers tuned",
}


def show_situations(rows, adviser):
    """Accuracy of each way in each situation; a ring where the advice lies."""
    names = list(dict.fromkeys(known.name for known in rows))
    points = {name: losses.mean() for name, losses in lost(rows, adviser).items()}
    worst = max(points, key=points.get)
    fig, ax = plots.new(width=8, height=0.34 * len(names) + 1.1)
    for y, name in enumerate(names):
        own = [known for known in rows if known.name == name]
        for way, (marker, colour) in LOOKS.items():
            if way in own[0].test:
                mean = np.mean([known.test[way] for known in own])
                label = SAID[way] if name == names[-1] or way == "tuned" else None
                look = dict(color=plots.COLOURS[colour], ls="none", markersize=6)
                ax.plot(mean, y, marker=marker, label=label, **look)
        advised = np.mean([known.test[adviser(known)] for known in own])
        ring = dict(mfc="none", mec="black", markersize=13, ls="none")
        ax.plot(advised, y, "o", label="advised" if not y else None, **ring)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("balanced accuracy on test examples, mean of five draws")
    ax.set_title(
        f"in {sum(p < 2 for p in points.values())} of {len(names)} the advice loses "
        f"under two points; the worst loses {points[worst]:.0f}, on {worst} labels"
    )
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles))
    ax.legend(once.values(), once.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    plots.show(
        fig,
        alt="Accuracy of a frozen probe, of fine-tuning and of the best way without "
        "transfer in each real situation, with a ring around the advised one.",
    )


def explore_tree():
    """The tree with controls: the path of a situation stands out."""

    heard = {
        "yes": (True, "if the probe wins"),
        "no": (False, "if the probe loses"),
        "not measured": (None, "nothing measured yet"),
    }

    def decided(labels, near, compute, keep_base):
        probe_wins, said = heard[near]
        situation = Situation(
            "images",
            labels=round(labels),
            classes=5,
            probe_wins=probe_wins,
            can_train=compute == "yes",
            keep_base=keep_base == "yes",
        )
        decision = decide(situation)
        title = f"{round(labels)} labels in 5 classes, {said}: {decision.strategy}"
        return decision, title

    def draw(**chosen):
        return framework.draw(*decided(**chosen))

    widgets.explore(
        draw,
        {
            "labels": widgets.log_slider("labels, 5 classes", 500, 1, 4),
            "near": widgets.choice("probe wins?", ["yes", "no", "not measured"]),
            "compute": widgets.choice("compute to train?", ["yes", "no"]),
            "keep_base": widgets.choice("base is shared?", ["no", "yes"]),
        },
        alt=lambda **chosen: f"The decision tree. Its path: {decided(**chosen)[1]}.",
    )


# -- planted cases -----------------------------------------------------------------

JUDGED = {"right": 0, "undecided": 3, "wrong": 1}
SHOWN = 60.0  # points; an interval that reaches beyond ends in an arrow


def show_cases(table, planned):
    """The gain that the diagnosis saw in each case, beside the truth.

    planned: number of cases that were to be run.
    """
    names = [f"{row['case']} ({row['truth']})" for row in table]
    counts = {word: sum(r["judged"] == word for r in table) for word in JUDGED}
    fig, ax = plots.new(width=8.4, height=0.3 * len(table) + 1.2)
    for y, row in enumerate(table):
        low, gain, high = (100 * row[key] for key in ("low", "gain", "high"))
        colour = plots.COLOURS[JUDGED[row["judged"]]]
        ax.plot(np.clip([low, high], -SHOWN, SHOWN), [y, y], color=colour, linewidth=2)
        for end in (low, high):
            if abs(end) > SHOWN:
                look = dict(marker="<" if end < 0 else ">", color=colour)
                ax.plot(np.clip(end, -SHOWN, SHOWN), y, **look)
        ax.plot(gain, y, "os^"[list(JUDGED).index(row["judged"])], color=colour)
        if row["true_gain"] is not None:
            ax.plot(100 * row["true_gain"], y, "|", color="black", markersize=12)
    ax.axvline(0, color="#777777", linewidth=0.8)
    ax.set_xlim(-1.05 * SHOWN, 1.05 * SHOWN)
    ax.set_yticks(range(len(table)), names)
    ax.invert_yaxis()
    ax.set_xlabel(
        "gain of transfer in points, 95 % interval (bar: the truth, measured)"
    )
    said = ", ".join(f"{n} {word}" for word, n in counts.items())
    ax.set_title(f"{len(table)} of {planned} cases ran: {said}")
    for word, i in JUDGED.items():
        marker = "os^"[list(JUDGED).index(word)]
        ax.plot([], [], marker, color=plots.COLOURS[i], label=word)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plots.show(
        fig,
        alt="Gain and its interval as the diagnosis reports them for each planted "
        "case, with the true gain where it was measured.",
    )
    return counts


# -- the job ------------------------------------------------------------------------

SHORT_JOB = """\
model: bundled/resnet10-patterns
strategy: full
epochs: 2
baseline: false
onnx: false
"""
MARK = 99.0  # a training loss that only the killed job can have in its history


def killed_and_resumed(folder):
    """(epochs done when killed, result of the same command again, a whole job).

    `course train` on the table in ``folder`` is killed after its first epoch, and a
    mark is left in the stored history, to see that the second call goes on and does
    not begin anew.
    """
    (folder / "short.yaml").write_text(SHORT_JOB)
    options = [f"--config={folder / 'short.yaml'}", f"--data={folder / 'cells.csv'}"]
    options.append(f"--out={folder / 'killed'}")
    command = [sys.executable, "-m", "course_lib.course.cli", "train", *options]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = folder / "killed" / "state" / "transfer.safetensors"
    with subprocess.Popen(command, **quiet) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    tensors, values = resume.load(state)
    done = len(values["history"]["step"])
    values["history"]["train_loss"][0] = MARK  # without effect on the weights
    resume.save(state, tensors, values)
    subprocess.run(command, check=True, capture_output=True)
    again = json.loads((folder / "killed" / "result.json").read_text())
    table = folder / "cells.csv"
    whole = pipeline.run(folder / "short.yaml", table, progress=False)
    return done, again, whole


def show_alarms(rings):
    """Share of windows that ring, by the share of cells of another kind."""
    groups = {
        f"{share:.0%} of another kind" if share else "ordinary days": [100 * rung]
        for share, rung in rings.items()
    }
    fig = plots.bars_with_spread(
        groups,
        ylabel="windows that ring, per cent",
        title=f"A tenth of other cells rings in {100 * rings[0.1]:.0f} % of windows",
        digits=1,
    )
    plots.show(fig, alt="Bars of the share of windows that raise the alarm, by share.")


# -- the ledger --------------------------------------------------------------------

OPEN = {"pending": "open"}  # a verdict that was withdrawn, or not yet reached


def show_ledger():
    """Bars of claims by lesson and verdict; returns {verdict: number}."""
    rows = claims.ledger()
    lessons = sorted({row["lesson"] for row in rows})
    verdicts = (*claims.VERDICTS, claims.PENDING)
    counts = np.array(
        [
            [sum(r["lesson"] == n and r["verdict"] == v for r in rows) for n in lessons]
            for v in verdicts
        ]
    )
    fig = ledger_figure(lessons, counts, verdicts)
    plots.show(fig, alt="Bars of the number of claims by lesson, stacked by verdict.")
    return dict(zip(verdicts, counts.sum(axis=1).tolist()))


def ledger_figure(lessons, counts, verdicts):
    """Bars of claims by lesson; counts: (verdicts, lessons)."""
    fig, axes = plots.new(height=3.4)
    left = np.zeros(len(lessons))
    for row, name, colour in zip(counts, verdicts, plots.COLOURS):
        axes.bar(
            lessons,
            row,
            bottom=left,
            label=f"{OPEN.get(name, name)} ({row.sum()})",
            color=colour,
            hatch={"qualified": "//", "refuted": "xx", "cited": ".."}.get(name),
            edgecolor="white",
        )
        left += row
    axes.set_xlabel("lesson")
    axes.set_ylabel("claims")
    axes.set_title(f"Of {counts.sum()} claims {counts[0].sum()} came out as told")
    axes.set_ylim(0, counts.sum(axis=0).max() * 1.3)
    axes.legend(ncols=5, fontsize=8, loc="upper center")
    return fig
