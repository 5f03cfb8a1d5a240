"""Lesson 14: figures of views, collapse, labels saved, effective rank and tables."""

import numpy as np
import pandas as pd
import torch

from course_lib.analysis import statistics
from course_lib.analysis.effective_rank import rankme
from course_lib.lessons import lesson14_drawn, lesson14_pictures
from course_lib.lessons.lesson14_pictures import COUNTS, FIRST, MIDDLE
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
    """Signs of collapse; traces {name: [(update, deviation, rank, loss)]}."""
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
    """The rows of an arm, one a seed, at the rate validation prefers."""
    start, way = ARMS[name]
    return grid.best(target=target, start=start, way=way)


def curve(rows, target):
    """(labels, accuracy (seeds, labels)) of the rows of an arm."""
    labels = [n for n in COUNTS[target] if f"accuracy_{n}" in rows[0]]
    values = [rows.values(f"accuracy_{n}") for n in labels]
    return np.array(labels), np.stack(values, axis=1)


def show_curves(grid):
    """Balanced accuracy over labels a class, near and far, an arm a line."""
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
        ax.set_xscale("log")
        ax.set_xticks(COUNTS[target], COUNTS[target])
        ax.minorticks_off()
        ax.set(xlabel="labels a class", title=where)
    axes[0].set(ylabel="balanced test accuracy")
    handles = {}
    for ax in axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    free = 100 * gain(grid, "speech", "ResNet-10, random", "ImageNet, frozen").mean
    own = gain(grid, "speech", "ResNet-10, without labels", "ResNet-10, random")
    fig.suptitle(
        f"Speech, {MIDDLE['speech']} labels a class: random weights {free:+.0f} points "
        f"over ImageNet,\ntraining them without labels {100 * own.mean:+.1f}"
    )
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


def bought(labels, plain, n, gain):
    """How many labels more than ``n`` the plain curve needs for a gain, in words.

    labels (k,), plain (k,) its mean accuracies; gain: an Interval, both of whose ends
    are read from the curve too.
    """

    def more(step):
        target = plain[list(labels).index(n)] + step
        if target < plain[0]:
            return f"below {labels[0] - n:+.0f}"
        needed = statistics.labels_needed(labels, plain, target)
        if np.isnan(needed):
            return f"beyond {labels[-1] - n:+.0f}"
        return f"{needed - n:+.0f}".replace("-0", "0").replace("+0", "0")

    return f"{more(gain.mean)} ({more(gain.low)} to {more(gain.high)})"


# -- effective rank ----------------------------------------------------------------

SAME_SIZE = {"Lite0": ("imagenet", "lite0"), "ResNet-10": ("resnet10",)}
PANELS = (("Lite0", "solar"), ("Lite0", "speech"), ("ResNet-10", "speech"))
KINDS = {  # {(start, way): kind of network}
    ("imagenet", "simclr"): "ImageNet, continued",
    ("lite0", "frozen"): "random weights",
    ("resnet10", "frozen"): "random weights",
    ("resnet10", "simclr"): "without labels, from random",
}


def networks(grid, target, starts):
    """(kind of each network, its RankMe, its accuracy), a run of the first five seeds.

    ImageNet's weights as they are, are one network: the mean of its draws of labels.
    """
    rows = [row for row in grid.select(target=target) if row["start"] in starts]
    number, found = f"accuracy_{MIDDLE[target]}", []
    same = [r for r in rows if (r["start"], r["way"]) == ("imagenet", "frozen")]
    if same:
        mean = float(np.mean([row[number] for row in same]))
        found.append(("ImageNet, frozen", same[0]["rankme"], mean))
    for row in rows:
        if row not in same and row["seed"] in FIRST:
            kind = KINDS[row["start"], row["way"]]
            found.append((kind, row["rankme"], row[number]))
    return tuple(zip(*found))


def correlation(ranks, accuracies):
    """Spearman's correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(ranks, accuracies).statistic)


def within_method(grid, target):
    """Interval of the correlation among ImageNet's networks continued at one rate.

    By Fisher's transformation, with the error of Bonett & Wright 2000.
    """
    rows = arm(grid, target, "ImageNet, continued")
    ranks, n = rows.values("rankme"), len(rows)
    r = correlation(ranks, rows.values(f"accuracy_{MIDDLE[target]}"))
    half = statistics.Z95 * np.sqrt((1 + r**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return statistics.Interval(r, float(low), float(high), n)


def show_ranks(grid):
    """Accuracy over RankMe, a dot a network, a panel for each of PANELS."""
    fig, axes = plots.new(height=3.6, columns=len(PANELS))
    names = ["ImageNet, frozen", *dict.fromkeys(KINDS.values())]
    for ax, (size, target) in zip(axes, PANELS):
        found = networks(grid, target, SAME_SIZE[size])
        kinds, ranks, accuracies = map(np.array, found)
        for i, kind in enumerate(names):
            own = kinds == kind
            if own.any():
                look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], s=28)
                ax.scatter(ranks[own], accuracies[own], label=kind, **look)
        r = correlation(ranks, accuracies)
        where = WHERE[target].split(": ")[1]
        title = f"{size}, {where},\n{MIDDLE[target]} labels a class: {r:+.2f}"
        ax.set_title(title, fontsize="small")
        ax.set(xlabel="RankMe")
    axes[0].set(ylabel="balanced test accuracy")
    handles = {}
    for ax in axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    fig.suptitle("Rank correlation of RankMe with accuracy, by network and target")
    plots.show(
        fig,
        alt="Three scatter plots of linear accuracy against RankMe: Lite0 on solar "
        "cells and on speech, ResNet-10 on speech; a dot for each network.",
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
    parts = {"solar": [0, 3, 905, 908], "speech": [0, 60, 120, 180]}
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
        for picture in half[4 * k : 4 * k + 4]
    ]
    fig = plots.image_grid(
        both,
        columns=8,
        size=0.75,
        row_names=("picture", "one view", "other view"),
        title="Cells turn and keep their brightness; speech is cut in time alone",
    )
    fig.axes[0].set_title("solar cells", loc="left")
    fig.axes[4].set_title("speech", loc="left")
    plots.show(
        fig,
        alt="Four solar cells and four pictures of speech in the first row; below each "
        "two views: cells turned and cut, speech cut along time, both with noise.",
    )


def worth(grid, tables):
    """A table: what pre-training adds, and how many labels would have added it."""
    trained = "ResNet-10, without labels"
    pairs = [
        ("cells, ImageNet continued", "solar", 100, "ImageNet, continued", 0),
        ("speech, ImageNet continued", "speech", 10, "ImageNet, continued", 0),
        ("speech, ResNet-10 from random", "speech", 3, trained, 3),
        ("speech, ResNet-10 from random", "speech", 10, trained, 3),
    ]
    rows = []
    for what, target, n, name, plain in pairs:
        other = list(ARMS)[plain]
        labels, values = curve(arm(grid, target, other), target)
        one = gain(grid, target, name, other, n)
        worth = bought(labels, values.mean(axis=0), n, one)
        rows.append((what, f"{n} a class", said(one), f"{worth} a class"))
    labels, own = LABELS["digits"], tables.select(table="digits", way="from scratch")
    plain = [own.values("precision", labels=n).mean() for n in labels]
    n, one = labels[0], table_gain(tables, "digits", labels[0])
    worth = bought(labels, plain, n, one)
    rows.append(("rare eights, SCARF", f"{n} rows", said(one), f"{worth} rows"))
    columns = ["pre-training", "labels", "gain in points", "worth in labels"]
    return pd.DataFrame(rows, columns=columns).set_index("pre-training")
