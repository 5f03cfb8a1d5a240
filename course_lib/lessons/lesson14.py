"""Lesson 14: figures of views, collapse, labels saved, effective rank and tables."""

import numpy as np
import pandas as pd
import torch

from course_lib.analysis import statistics
from course_lib.analysis.effective_rank import rankme
from course_lib.lessons import lesson14_drawn, lesson14_pictures
from course_lib.lessons.lesson14_pictures import COUNTS, MIDDLE
from course_lib.lessons.lesson14_tables import LABELS
from course_lib.show import plots

WHERE = {"solar": "near: solar cells", "speech": "far: speech"}
ARMS = {  # {name: (start, way)}; of several rates the one that validation prefers
    "ImageNet, frozen": ("imagenet", "frozen"),
    "ImageNet, continued": ("imagenet", "simclr"),
    "Lite0, random": ("lite0", "frozen"),
    "ResNet-10, random": ("resnet10", "frozen"),
    "ResNet-10, without labels": ("resnet10", "simclr"),
}
LOOKS = (0, 0, 1, 3, 3)  # places in COLOURS: as it is and after, in one colour


# -- views and collapse ------------------------------------------------------------


def as_pictures(x):
    """Values about 0 (N, 3, H, W) as pictures (N, H, W, 3) between 0 and 1."""
    return np.clip(x.permute(0, 2, 3, 1).numpy() / 4 + 0.5, 0, 1)


def show_views(x, first, second):
    """Pictures above two views of each."""
    fig = plots.image_grid(
        [image for part in (x, first, second) for image in as_pictures(part)],
        columns=len(x),
        row_names=("picture", "one view", "other view"),
        title="Both views show the same stripes, colour and brightness",
    )
    plots.show(
        fig,
        alt=f"{len(x)} pictures of stripes in the first row; below each, two views: "
        "parts of it, enlarged, with noise.",
    )


def show_collapse(traces):
    """Signs of collapse; traces {name: [(update, deviation, rank)]}."""
    fig, axes = plots.new(height=3.0, columns=2)
    for ax, column, what in zip(axes, (1, 2), ("deviation", "RankMe")):
        for i, (name, rows) in enumerate(traces.items()):
            rows = np.array(rows)
            ax.plot(
                rows[:, 0],
                rows[:, column],
                color=plots.COLOURS[i],
                marker=plots.MARKERS[i],
                markersize=4,
                label=name,
            )
        ax.set(xlabel="updates", title=f"{what} of the projections", yscale="log")
    ends = {name: rows[-1][1] / rows[0][1] for name, rows in traces.items()}
    low = min(ends, key=ends.get)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
    )
    fig.suptitle(f'With "{low}" the deviation falls to {ends[low]:.0%} of its start')
    plots.show(
        fig,
        alt="Deviation and effective rank of the projections of one network against "
        f"updates, for {', '.join(traces)}.",
    )


def show_erased(found):
    """Mean accuracy of 20 labels, by view and by label, of lesson14_drawn.erased."""
    matrix = [[values.mean() for values in row.values()] for row in found.values()]
    turned = found["crop, turns"]["orientation"].mean()
    fig = plots.heatmap(
        matrix,
        list(found),
        list(lesson14_drawn.LABELS),
        title=f"After turned views orientation is read at {turned:.2f}",
        limits=(0.5, 1),
    )
    plots.show(
        fig,
        alt="Accuracy of a linear probe with 20 labels on orientation, brightness and "
        "colour, by the views that the network learned from.",
    )


# -- the real world ----------------------------------------------------------------


def arm(grid, target, name):
    """The rows of an arm, one a seed, at the rate that validation prefers."""
    start, way = ARMS[name]
    return grid.best(target=target, start=start, way=way)


def curve(rows, target):
    """(labels, accuracy (seeds, labels)) of the rows of an arm."""
    labels = [n for n in COUNTS[target] if f"accuracy_{n}" in rows[0]]
    values = [rows.values(f"accuracy_{n}") for n in labels]
    return np.array(labels), np.stack(values, axis=1)


def show_curves(grid, tuned):
    """Balanced accuracy over labels a class, near and far, an arm a line.

    tuned: the grid `solar_strategies`, for what labels alone give.
    """
    fig, axes = plots.new(height=4.4, columns=2)
    for ax, (target, where) in zip(axes, WHERE.items()):
        for i, (look, name) in enumerate(zip(LOOKS, ARMS)):
            start, way = ARMS[name]
            if not len(grid.select(target=target, start=start, way=way)):
                continue
            labels, values = curve(arm(grid, target, name), target)
            found = [statistics.mean_and_interval(column) for column in values.T]
            plain = ARMS[name][1] == "frozen"
            ax.errorbar(
                labels * 1.03 ** (i - 2),
                [interval.mean for interval in found],
                [interval.half_width for interval in found],
                color=plots.COLOURS[look],
                marker=plots.MARKERS[look],
                markerfacecolor="white" if plain else None,
                linestyle="--" if plain else "-",
                capsize=2,
                label=name,
            )
        if target == "solar":
            rows = tuned.select(strategy="last_stage", lr=3e-4)
            labels = sorted({row["labels"] for row in rows})
            means = [rows.values("accuracy", labels=n).mean() for n in labels]
            name = "ImageNet, last stage tuned, 96 pixels"
            ax.plot(labels, means, color="#555555", linestyle=":", label=name)
        ax.set_xscale("log")
        ax.set_xticks(COUNTS[target], COUNTS[target])
        ax.minorticks_off()
        ax.set(xlabel="labels a class", title=where)
    axes[0].set(ylabel="balanced test accuracy")
    handles = {}
    for ax in axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    gains = [gain(grid, t, "ImageNet, continued", "ImageNet, frozen") for t in WHERE]
    near, far = (100 * one.mean for one in gains)
    fig.suptitle(f"ImageNet continued without labels: near {near:+.1f}, far {far:+.1f}")
    plots.show(
        fig,
        alt="Balanced accuracy of linear probes over labels a class, on solar cells "
        "and on speech, for networks as they are and after pre-training without "
        "labels; 95 % intervals.",
    )


def gain(grid, target, name, other, labels=None):
    """Difference of two arms at a number of labels, with its interval."""
    number = f"accuracy_{labels or MIDDLE[target]}"
    return arm(grid, target, name).minus(arm(grid, target, other), number)


def said(interval):
    """A difference in points, with its ends."""
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.mean:+.1f} ({low:+.1f} to {high:+.1f})"


def saved(grid, target, name, other):
    """Labels a class that ``other`` needs for what ``name`` reaches, by its labels.

    NaN where its curve does not get there, or starts above.
    """
    labels, plain = curve(arm(grid, target, other), target)
    means = plain.mean(axis=0)
    there, reached = curve(arm(grid, target, name), target)
    return {
        n: statistics.labels_needed(labels, means, v) if v >= means[0] else np.nan
        for n, v in zip(there.tolist(), reached.mean(axis=0))
    }


# -- effective rank ----------------------------------------------------------------

SAME_SIZE = {"Lite0": ("imagenet", "lite0"), "ResNet-10": ("resnet10",)}
KINDS = {  # {(start, way): kind of network}
    ("imagenet", "simclr"): "ImageNet, continued",
    ("lite0", "frozen"): "random weights",
    ("resnet10", "frozen"): "random weights",
    ("resnet10", "simclr"): "without labels, from random",
}


def networks(grid, target, starts):
    """(kind of each network, its RankMe, its accuracy), a network a run.

    ImageNet's weights as they are, are one network: the mean of its draws of labels.
    """
    rows = [row for row in grid.select(target=target) if row["start"] in starts]
    number, found = f"accuracy_{MIDDLE[target]}", []
    same = [r for r in rows if (r["start"], r["way"]) == ("imagenet", "frozen")]
    if same:
        mean = float(np.mean([row[number] for row in same]))
        found.append(("ImageNet, frozen", same[0]["rankme"], mean))
    for row in rows:
        if row not in same and row["seed"] in lesson14_pictures.LIVE:
            kind = KINDS[row["start"], row["way"]]
            found.append((kind, row["rankme"], row[number]))
    return tuple(zip(*found))


def correlation(ranks, accuracies, draws=2000):
    """Spearman's correlation and its 95 % interval from draws of the networks."""
    from scipy.stats import spearmanr

    ranks, accuracies = np.array(ranks), np.array(accuracies)
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        rows = rng.integers(0, len(ranks), len(ranks))
        if len(set(rows)) > 2 and np.ptp(accuracies[rows]) > 0:
            found.append(spearmanr(ranks[rows], accuracies[rows]).statistic)
    low, high = np.quantile(found, (0.025, 0.975))
    mean = float(spearmanr(ranks, accuracies).statistic)
    return statistics.Interval(mean, float(low), float(high), len(ranks))


def show_ranks(grid):
    """Accuracy over RankMe, a dot a network: Lite0 above, ResNet-10 below."""
    fig, axes = plots.new(height=5.2, rows=2, columns=2)
    names = ["ImageNet, frozen", *dict.fromkeys(KINDS.values())]
    for row, starts in zip(axes, SAME_SIZE.values()):
        for ax, (target, where) in zip(row, WHERE.items()):
            kinds, ranks, accuracies = map(np.array, networks(grid, target, starts))
            for i, kind in enumerate(names):
                own = kinds == kind
                if own.any():
                    look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], s=28)
                    ax.scatter(ranks[own], accuracies[own], label=kind, **look)
            size = "Lite0" if "lite0" in starts else "ResNet-10"
            r = correlation(ranks, accuracies).mean
            ax.set(title=f"{size}, {where.split(':')[0]}: {r:+.2f}", xlabel="RankMe")
        row[0].set(ylabel="balanced test accuracy")
    handles = {}
    for ax in axes.flat:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    fig.suptitle("Rank correlation of RankMe with accuracy, by network and target")
    plots.show(
        fig,
        alt="Four scatter plots of linear accuracy against RankMe: Lite0 above "
        "and ResNet-10 below, on solar cells and on speech; a dot for each network.",
    )


def widths(seed=0, n=1000):
    """{width: RankMe} of random numbers: what the width alone does."""
    rng = np.random.default_rng(seed)
    return {f: rankme(rng.standard_normal((n, f))) for f in (64, 256, 1280)}


# -- tables ------------------------------------------------------------------------


def show_tables(grid):
    """Average precision over labelled rows, by way, of both tables."""
    fig, axes = plots.new(height=4.0, columns=2)
    for ax, name in zip(axes, LABELS):
        labels, lines = grid.select(table=name).curves("precision", "labels", "way")
        for i, (way, values) in enumerate(lines.items()):
            found = [statistics.mean_and_interval(column) for column in values.T]
            ax.errorbar(
                labels * 1.02 ** (i - 2),
                [interval.mean for interval in found],
                [interval.half_width for interval in found],
                color=plots.COLOURS[i],
                marker=plots.MARKERS[i],
                markersize=4,
                capsize=2,
                label=way,
            )
        ax.set_xscale("log")
        ax.set_xticks(labels, labels)
        ax.minorticks_off()
        what = "rare eights" if name == "digits" else "cancer"
        ax.set(xlabel="labelled rows", title=what)
    axes[0].set(ylabel="average precision, test rows")
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    few = min(LABELS["digits"])
    first = 100 * table_gain(grid, "digits", few).mean
    fig.suptitle(f"Pre-training on rare eights: {first:+.1f} points with {few} rows")
    plots.show(
        fig,
        alt="Average precision over labelled rows for five ways, on digits with rare "
        "eights and on cancer.",
    )


def table_gain(grid, name, labels, other="from scratch"):
    """Gain of pre-training over another way, paired by seed."""
    rows = grid.select(table=name, labels=labels)
    return rows.select(way="pre-trained").minus(rows.select(way=other), "precision")


# -- what it is worth --------------------------------------------------------------


def show_real_views(seed=2):
    """Cells and utterances, each above two views of it."""
    images = []
    parts = {"solar": [0, 3, 6, 905, 908], "speech": [0, 60, 120, 180, 240]}
    for target, rows in parts.items():
        x = torch.tensor(lesson14_pictures.pictures(target, "train").images[rows])
        x = x.permute(0, 3, 1, 2).float() / 64 - 2  # values about 0, as for a network
        generator = torch.Generator().manual_seed(seed)
        change = lesson14_pictures.views(target)
        rows = [x, change(x, generator), change(x, generator)]
        images.append([one for row in rows for one in as_pictures(row)])
    both = [
        picture
        for k in range(3)
        for half in images
        for picture in half[5 * k : 5 * k + 5]
    ]
    fig = plots.image_grid(
        both,
        columns=10,
        size=0.6,
        row_names=("picture", "one view", "other view"),
        title="Cells turn and keep their brightness; speech moves in time alone",
    )
    plots.show(
        fig,
        alt="Five solar cells and five pictures of speech in the first row; below each "
        "two views: cells turned and cut, speech cut along time, both with noise.",
    )


def worth(grid, tables):
    """A table: what pre-training adds, and how many labels would have added it."""
    rows = []
    pairs = {
        "cells, ImageNet continued": ("solar", "ImageNet, continued", 0),
        "speech, ImageNet continued": ("speech", "ImageNet, continued", 0),
        "speech, ResNet-10 from random": ("speech", "ResNet-10, without labels", 3),
    }
    names = list(ARMS)
    for what, (target, name, plain) in pairs.items():
        n, other = MIDDLE[target], names[plain]
        needed = saved(grid, target, name, other)[n]
        rows.append((what, n, gain(grid, target, name, other), needed - n))
    rows += [("rare eights, SCARF", *table_worth(tables, "digits"))]
    return pd.DataFrame(
        [(what, n, said(one), worded(more)) for what, n, one, more in rows],
        columns=["pre-training", "labels", "gain in points", "worth in labels"],
    ).set_index("pre-training")


def worded(more):
    """A number of labels, or that the tried numbers cannot tell."""
    return f"{more:+.0f}" if np.isfinite(more) else "outside the curve"


def table_worth(tables, name):
    """(rows, gain there, rows that it is worth) at the fewest labelled rows."""
    labels = LABELS[name]
    own = tables.select(table=name)
    plain, better = (
        [own.values("precision", labels=n, way=way).mean() for n in labels]
        for way in ("from scratch", "pre-trained")
    )
    needed = statistics.labels_needed(labels, plain, better[0])
    return labels[0], table_gain(tables, name, labels[0]), needed - labels[0]
