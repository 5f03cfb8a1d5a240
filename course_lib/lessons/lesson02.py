"""Grids of lessons 02 and 03: training from scratch, and ways to transfer.

Training from scratch and fine-tuning were given the same three learning rates at 500
labels; the one that the validation images prefer is used everywhere (a test compares).
What does not touch the bundled weights is a grid of its own, `from_scratch`.
"""

import math
from functools import lru_cache
from itertools import combinations
from textwrap import fill

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes, statistics
from course_lib.lessons import results, solar
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    RATES,
    STEPS,
    TARGET,
    adapted,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import SEEDS, Grid, experiment
from course_lib.models import features, zoo
from course_lib.pretraining import patterns, recipes
from course_lib.show import plots

TRIED = (1e-3, 3e-3, 1e-2)  # learning rates of scratch and full at 500 labels


def frozen_cell(strategy, data, seed, fraction=1.0):
    """Feature extraction: cached features, a linear or a two-layer head."""
    backbone = zoo.load(BACKBONE)
    validation, test = (datasets.load(TARGET, s) for s in ("validation", "test"))
    X, V, T = (features.extract(backbone, d) for d in (data, validation, test))
    if strategy == "frozen":
        probe = probes.linear_probe(
            X, data.labels, T, test.labels, val=(V, validation.labels), seed=seed
        )
        return {"accuracy": probe.accuracy}
    head, _ = training.fit_head(
        X,
        data.labels,
        (V, validation.labels),
        head=training.Head(num_classes=5, hidden=256, dropout=0.5),
        steps=results.updates(STEPS[len(data)], fraction),
        lr=RATES[strategy],
        seed=seed,
    )
    return {"accuracy": training.evaluate(head, (T, test.labels))["accuracy"]}


def cells(strategies):
    """The grid: each strategy at its rate, and three rates where rates are compared."""
    grid = []
    for strategy in strategies:
        few = strategy == "last_stage"
        for labels in (100, 500) if few else STEPS:
            for seed in SEEDS + ((3, 4) if labels == 500 else ()):
                rates = [RATES[strategy]]
                if strategy in ("scratch", "full") and labels == 500 and seed in SEEDS:
                    rates = TRIED
                grid += [
                    dict(strategy=strategy, labels=labels, lr=lr, seed=seed)
                    for lr in rates
                ]
    return grid


def trained_cell(strategy, labels, lr, seed, fraction=1.0):
    """Train one network; its accuracy on test and validation images, and itself."""
    backbone = adapted(strategy, seed)
    options = dict(lr=lr, steps=STEPS[labels], seed=seed, fraction=fraction)
    train(backbone, labelled(labels, seed), **options)
    return scored(backbone, fraction), backbone


@experiment(
    "from_scratch",
    grid=cells(["scratch"]),
    sample=[dict(strategy="scratch", labels=25, lr=RATES["scratch"], seed=0)],
    short=[
        dict(strategy="scratch", labels=25, lr=RATES["scratch"], seed=0, fraction=0.007)
    ],
    tolerance={"accuracy": 0.04},
    data=FILES,
)
def from_scratch(strategy, labels, lr, seed, fraction=1.0):
    """Test accuracy of the same network without pre-training."""
    numbers, _ = trained_cell(strategy, labels, lr, seed, fraction)
    return numbers


@experiment(
    "strategies",
    grid=cells(["frozen", "frozen_mlp", "last_stage", "full"]),
    sample=[
        dict(strategy="frozen", labels=500, lr=None, seed=0),
        dict(strategy="full", labels=100, lr=RATES["full"], seed=1),
    ],
    short=[
        dict(strategy="frozen", labels=500, lr=None, seed=0),
        dict(
            strategy="frozen_mlp",
            labels=500,
            lr=RATES["frozen_mlp"],
            seed=0,
            fraction=0.01,
        ),
        dict(strategy="full", labels=100, lr=RATES["full"], seed=1, fraction=0.01),
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def strategies(strategy, labels, lr, seed, fraction=1.0):
    """Test accuracy of one way to transfer at one label count."""
    if strategy.startswith("frozen"):
        return frozen_cell(strategy, labelled(labels, seed), seed, fraction)
    numbers, backbone = trained_cell(strategy, labels, lr, seed, fraction)
    return numbers | forgetting(backbone)


def represented(strategy, data):
    """What a logistic regression sees of wafers, (N, F)."""
    if strategy == "pixels":  # 32 x 32 of the 64 x 64, in colour
        return data.images[:, 1::2, 1::2].reshape(len(data), -1) / 255.0
    backbone = zoo.load(BACKBONE, pretrained=strategy == "frozen")
    return features.extract(backbone, data)


@lru_cache(maxsize=3)
def held_out(strategy):
    """The same of the validation and of the test wafers, with their labels."""
    parts = (datasets.load(TARGET, split) for split in ("validation", "test"))
    return [(represented(strategy, part), part.labels) for part in parts]


@experiment(
    "wafer_frozen",
    grid=[
        dict(strategy=strategy, labels=n, seed=seed)
        for strategy in solar.FROZEN
        for n in (25, 50, 100, 200, 400)
        for seed in range(5)
    ],
    sample=[dict(strategy="pixels", labels=25, seed=0)],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def wafer_frozen(strategy, labels, seed):
    """Accuracy of a logistic regression on fixed features, as `solar_frozen` has it."""
    data = labelled(labels, seed)
    val, test = held_out(strategy)
    fit = represented(strategy, data), data.labels
    found = probes.linear_probe(*fit, *test, val=val)
    return {"accuracy": found.accuracy}


def compared():
    """The rows of both grids, each strategy at its own rate."""
    every = results.load("from_scratch") + results.load("strategies")
    return Grid(row for row in every if row["lr"] == RATES[row["strategy"]])


# -- figures and measurements of lesson 02 ----------------------------------------

WAYS = {"scratch": "from scratch", "frozen": "frozen features", "full": "fine-tuned"}
STARTS = {"random": "random start", "short": "live run", "full": "full recipe"}
SOLAR = {"pixels": "raw pixels", "frozen_random": "random Lite0", "frozen": "ImageNet"}


def label_curves(seeds=range(3)):
    """Label counts (5,) and {way: accuracies (3 seeds, 5)} of the small world."""
    rows = compared().select(strategy=list(WAYS), seed=seeds)
    counts, curves = rows.curves("accuracy", x="labels", series="strategy")
    return counts, {name: curves[key] for key, name in WAYS.items()}


def solar_curves():
    """Labels a class (5,) and {features: balanced accuracies (10 draws, 5)}."""
    rows = results.load("solar_frozen")
    counts, curves = rows.curves("accuracy", x="labels", series="strategy")
    return counts, {name: curves[key] for key, name in SOLAR.items()}


def cells_by_way():
    """All labels (5,) and {way: balanced accuracies (10 draws, 5)} of solar cells.

    The ways of the small world and raw pixels; NaN where a way was not run.
    """
    counts, fixed = solar_curves()
    rows, at = results.load("solar_strategies"), list(counts).index(solar.TUNED_AT)
    ways = {}
    for strategy in ("scratch", "full"):
        reached = rows.best(strategy=strategy, labels=solar.TUNED_AT).values("accuracy")
        ways[strategy] = np.full(fixed["ImageNet"].shape, np.nan)
        ways[strategy][: len(reached), at] = reached
    ways["frozen"] = fixed["ImageNet"]
    curves = {name: ways[key] for key, name in WAYS.items()}
    return 2 * counts, curves | {"raw pixels": fixed["raw pixels"]}


def leads_alike():
    """Fine-tuning minus scratch at 100 labels a class, each at its own rate.

    {world: statistics.Interval}: 500 wafers, 200 solar cells, five seeds each.
    """
    cells = results.load("solar_strategies").select(labels=solar.TUNED_AT)
    wafers = compared().select(labels=500)
    rows = {
        "wafers": [wafers.select(strategy=s) for s in ("full", "scratch")],
        "cells": [cells.best(strategy=s) for s in ("full", "scratch")],
    }
    return {world: full.minus(scratch) for world, (full, scratch) in rows.items()}


def validated(features_of, labels, val):
    """Validation accuracy of frozen features, (3 seeds,); its penalty chosen there."""
    X, y = val
    found = []
    for seed in range(3):
        data = labelled(labels, seed)
        fit = features_of(data), data.labels
        found.append(probes.linear_probe(*fit, X, y, val=val).accuracy)
    return np.array(found)


def show_source(pool):
    """Twelve pictures of the source task with what is asked of them."""
    labels = zip(*(pool.labels[key][:12] for key in ("texture", "shape", "fill")))
    fig = plots.image_grid(
        pool.images[:12],
        titles=[fill(patterns.caption(*row), 22) for row in labels],
        columns=4,
        size=1.5,
        title="The source task: name the texture of the ground and what is on it",
    )
    plots.show(
        fig,
        alt="Twelve drawn pictures in three rows, each a textured ground in random "
        "colours with a shape on it or a fault in it, and a caption.",
    )


def show_road(losses, card, batch):
    """Source loss against pictures seen, of the live run and of the full recipe."""
    steps, full = np.array(card["history"]).T
    steps = steps * recipes.RECIPES["resnet10-patterns"].batch_size
    live = np.convolve(losses, np.ones(8) / 8, "valid")  # means of 8 updates
    chance = np.mean([math.log(len(names)) for names in card["heads"].values()])
    fig, ax = plots.new()
    seen = batch * np.arange(8, len(losses) + 1)
    ax.plot(seen, live, "--", color="#D55E00", label="live run")
    ax.plot(steps, full, "o-", markersize=3, label="full recipe (card)")
    ax.axhline(chance, color="black", linestyle=":", label="guessing")
    share = len(losses) * batch / (card["pictures"] * card["passes"])
    ax.set(
        xscale="log",
        xlabel="pictures seen",
        ylabel="loss (nats, mean of three heads)",
        title=f"The live run sees {share:.1%} of the pictures of the full recipe",
    )
    ax.legend()
    plots.show(
        fig,
        alt="Source loss against pictures seen, logarithmic. The live run hardly "
        "leaves the level of guessing, the full recipe falls for long.",
    )


def show_starts(correct):
    """Test accuracy from three starts; {a key of STARTS: (3 runs,)}."""
    ahead = statistics.paired_difference(correct["full"], correct["random"]).mean
    title = f"100 labels, 24 updates: the full recipe leads by {100 * ahead:.0f} points"
    options = dict(ylabel="test accuracy", title=title, spread="range")
    plots.show(
        plots.bars_with_spread({STARTS[k]: v for k, v in correct.items()}, **options),
        alt="Bars of test accuracy from three starts, each with three runs as dots: "
        "random, the live pretraining run, and the full recipe.",
    )


def show_label_curves(small, real):
    """Accuracy against labels in both worlds; each (counts, {way: (seeds, counts)})."""
    fig, axes = plots.new(10.4, 4.0, 1, 2)
    worlds = "wafers", "solar cells (mind the other axis)"
    for ax, (counts, curves), name in zip(axes, (small, real), worlds):
        look = dict(xlabel="labels in all", title=name, log_x=True, spread="range")
        measure = "test accuracy" if ax is axes[0] else "balanced accuracy"
        plots.line_with_spread(counts, curves, ylabel=measure, ax=ax, **look)
        note = ax.get_legend().get_title().get_text()
        ax.get_legend().remove()
        for line in ax.get_lines():  # a way with one label count: its seeds as dots
            values = curves.get(line.get_label(), np.empty((0, 0)))
            there = np.isfinite(values).any(0)
            if there.sum() == 1:
                at = np.full(len(values), counts[there][0])
                dots = dict(s=16, facecolor="none", linewidth=0.8, zorder=3)
                ax.scatter(at, values[:, there], edgecolor=line.get_color(), **dots)
        place = dict(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        ax.legend(title=note, fontsize="small", **place)
    leads = [100 * lead.mean for lead in leads_alike().values()]
    title = (
        f"100 labels a class: fine-tuning leads scratch by {leads[0]:.0f} points on "
        f"wafers\n(500 labels, 5 classes), by {leads[1]:.0f} on solar cells (200, 2 "
        "classes); the two are not on one scale"
    )
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt="Test accuracy against labels with the range over seeds, for training from "
        "scratch, frozen features and fine-tuning, on solar cells raw pixels besides; "
        f"there scratch and fine-tuning have one label count. {title}.",
    )


def show_efficiency(efficiency):
    """Data efficiency; {(way, labels): [(ratio, whether scratch got there)]}."""
    fig, ax = plots.new(height=3.6)
    ax.axhspan(10, 1000, color="#dddddd", zorder=0)
    colours = {"frozen features": "#D55E00", "fine-tuned": "#000000"}
    for way, colour in colours.items():
        ax.plot([], [], "o", color=colour, label=way)
    ax.plot([], [], "o", color="grey", fillstyle="none", label="hollow: a lower bound")
    aside = dict(zip(colours, (0.93, 1.03)))  # so that no dot covers another
    for (way, n), ratios in efficiency.items():
        for seed, (ratio, is_found) in enumerate(ratios):
            filled = dict(fillstyle="full" if is_found else "none")
            place = n * aside[way] * 1.04**seed
            ax.plot(place, ratio, "o", color=colours[way], **filled)
    least = {way: [r for r, _ in efficiency[way, 25]] for way in colours}
    kept, tuned = least.values()
    title = (
        f"With 25 labels: frozen features {min(kept):.0f} to {max(kept):.0f} times, "
    )
    title += f"fine-tuning {min(tuned):.0f} to {max(tuned):.0f}"
    counts = sorted({n for _, n in efficiency})
    ax.set(
        xscale="log",
        yscale="log",
        ylim=(0.8, 1200),
        xlabel="labels used by transfer",
        ylabel="labels of scratch / labels",
        title=title,
    )
    ax.set_xticks(counts, [f"{n:,}" for n in counts])
    ax.minorticks_off()
    ax.text(counts[-1], 700, "grey: claimed, 10 to 1,000", ha="right", fontsize="small")
    ax.legend(loc="lower left", fontsize="small")
    plots.show(
        fig,
        alt="Data efficiency against the number of labels, one marker for each seed, "
        "hollow for a lower bound. Frozen features lie far above fine-tuning at 25 "
        "labels; the claimed band from 10 to 1,000 is shaded.",
    )


def show_pairs(binary, claimed=0.9):
    """Accuracy of tasks of two classes; {task: (draws,)}."""
    binary = dict(sorted(binary.items(), key=lambda item: np.mean(item[1])))
    above = sum(np.mean(values) > claimed for values in binary.values())
    title = f"{above} of {len(binary)} tasks exceed {claimed:.0%}"
    bars = {}
    for task, values in binary.items():
        is_defect = task[0] == task[0].lower() and " / " in task and "digit" not in task
        seen = "pixels" if "digit" in task else "frozen"
        bars[f"{'defects ' * is_defect}{task} ({seen})"] = values
    options = dict(ylabel="accuracy", spread="range", title=title)
    fig = plots.bars_with_spread(bars, **options)
    fig.axes[0].axvline(claimed, color="black", linestyle="--")
    fig.axes[0].set_xlim(0.5, 1.07)
    plots.show(
        fig,
        alt="Bars of test accuracy for tasks of two classes with 100 labels a class: "
        f"ten pairs of wafer defects, two pairs of digits, solar cells. {title}.",
    )


def show_walks(inward, across, barrier):
    """Training loss along lines in weight space; {start: (3 lines, points)} each."""
    fig, axes = plots.new(width=8.8, height=3.6, columns=2)
    for ax, paths in zip(axes, (inward, across)):
        alphas = np.linspace(0, 1, len(next(iter(paths.values()))[0]))
        look = dict(xlabel="α", ylabel="training loss (nats)", spread="range", ax=ax)
        plots.line_with_spread(alphas, paths, title="From start to solution", **look)
        ax.get_legend().remove()
        place = dict(loc="upper center", bbox_to_anchor=(0.5, -0.2))
        ax.legend(fontsize="small", **place)
    hills = [np.mean([barrier(path) for path in paths]) for paths in across.values()]
    axes[1].set_title("Between two solutions")
    heights = ", ".join(f"{n} {h:.2f}" for n, h in zip(across, hills))
    title = f"Mean hill between two solutions (nats):\n{heights}"
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt="Training loss along straight lines in weight space, three lines a start. "
        "Left: from start to solution. Right: between two solutions, with a high "
        "barrier from different random starts and low ones from a start that is "
        f"shared, random or pretrained. Mean barrier: {heights}.",
    )


def defect_pairs(known, tested, classes, n=100, draws=3):
    """Accuracy on each pair of classes with n labels a class: {pair: [draws]}.

    known, tested: (features, labels); what is not fitted on chooses the penalty.
    """
    (F, labels), (F_test, truth) = known, tested
    found = {}
    for pair in combinations(range(len(classes)), 2):
        asked = np.isin(truth, pair)
        runs = []
        for seed in range(draws):
            order = np.random.default_rng(seed).permutation(len(labels))
            rows = [order[labels[order] == c] for c in pair]
            fit = np.concatenate([r[:n] for r in rows])
            rest = np.concatenate([r[n:] for r in rows])
            one = (F[fit], labels[fit], F_test[asked], truth[asked])
            val = (F[rest], labels[rest])
            runs.append(probes.linear_probe(*one, val=val, C=(1e-3, 1e-2)).accuracy)
        found[" / ".join(classes[c] for c in pair)] = runs
    return found


def digit_pairs(pairs, n=100, draws=5):
    """The same for pairs of scikit-learn's digits, with their 8 x 8 raw pixels."""
    splits = ("train", "validation", "test")
    parts = [datasets.load("digits", split) for split in splits]
    pixels = np.concatenate([part.images[:, 4::8, 4::8, 0] for part in parts])
    X = pixels.reshape(len(pixels), -1) / 255.0  # (1797, 64)
    y = np.concatenate([part.labels for part in parts])
    found = {}
    for pair in pairs:
        runs = []
        for seed in range(draws):
            order = np.random.default_rng(seed).permutation(len(y))
            rows = [order[y[order] == c] for c in pair]
            fit = np.concatenate([r[:n] for r in rows])
            rest = np.concatenate([r[n:] for r in rows])
            one = (X[fit], y[fit], X[rest], y[rest])
            runs.append(probes.linear_probe(*one, C=(1e-3, 1e-2), seed=seed).accuracy)
        found["digits " + " / ".join(map(str, pair))] = runs
    return found
