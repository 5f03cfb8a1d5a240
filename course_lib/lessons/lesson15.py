"""Lesson 15: the figures, and what they take from the grids."""

import numpy as np
import torch

from course_lib.analysis import statistics
from course_lib.lessons import lesson15_keeping as keeping
from course_lib.lessons import lesson15_opinions as opinions
from course_lib.lessons import lesson15_solar, results
from course_lib.show import plots

CELLS = {"in": "same kind", "camera": "imitated camera", "out": "other kind"}
TEXTS = {"in": "products", "tweets": "tweets", "films": "films"}
TEXTS |= {"editorials": "editorials"}
SHIFTED = ("tweets", "films", "editorials")
FITTED = ("films", "products")  # domains of adapters whose head does not guess
MERGES = {
    "mean": "mean of updates",
    "sum": "task arithmetic",
    "ties": "TIES",
    "dare": "DARE",
    "factors": "sum of factors",
}


def gain(grid, way, other, number, seeds=None):
    """Difference of two columns, paired by seed, in points, with its interval."""
    a, b = (100 * grid.values(number.format(name)) for name in (way, other))
    return statistics.paired_difference(a, b)


def said(interval):
    """An interval of points in words."""
    return f"{interval.mean:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"


def worlds():
    """[(trained on, grid, {place: its name}, a column's name of way and place)]."""
    cells, texts = results.load("solar_merging"), results.load("opinions_merging")
    found = [
        (f"{kind} cells", cells.select(kind=kind), CELLS, "{} %s auroc")
        for kind in lesson15_solar.SEEDS
    ]
    return [*found, ("products", texts, TEXTS, "{} %s")]


def at_chosen(grid):
    """The grid with WiSE-FT at each seed's own alpha, as `chosen PLACE ...`."""
    rows = []
    for row in grid:
        prefix = f"alpha {row['alpha']:g} "
        own = {f"chosen {k[len(prefix):]}": v for k, v in row.items()
               if k.startswith(prefix)}  # fmt: skip
        rows.append(row | own)
    return results.Grid(rows)


def shifted(grid):
    """The grid of texts with the mean over the other domains, as `WAY out`."""
    return _with_means(grid, SHIFTED, "out")


def mean_of(grid):
    """The grid of adapters with the mean over their domains, as `WAY mean`."""
    return _with_means(grid, opinions.MERGED, "mean")


def _with_means(grid, places, name):
    first, rows = f" {places[0]}", []
    ways = [k.removesuffix(first) for k in grid[0] if k.endswith(first)]
    for row in grid:
        mean = {f"{w} {name}": np.mean([row[f"{w} {p}"] for p in places]) for w in ways
                if all(f"{w} {p}" in row for p in places)}  # fmt: skip
        rows.append(row | mean)
    return results.Grid(rows)


def dots(ax, lines, labels):
    """Intervals of several names at each label, side by side, about a line at 0."""
    width = 0.7 / len(lines)
    for i, (name, found) in enumerate(lines.items()):
        middle = (i - (len(lines) - 1) / 2) * width
        ax.errorbar(
            np.arange(len(labels)) + middle,
            [one.mean for one in found],
            [one.half_width for one in found],
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            linestyle="none",
            capsize=3,
            label=name,
        )
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(labels)), labels, rotation=20, ha="right")


def against(ways, other, title, alt):
    """Panels of gains in points over one way, by place, in each world."""
    found = worlds()
    fig, axes = plots.new(width=8.0, height=3.4, columns=len(found))
    for ax, (name, grid, places, column) in zip(axes, found, strict=True):
        grid, known = at_chosen(grid), {}
        for way, label in ways.items():
            if (column % "in").format(way) in grid[0]:
                known[label] = [gain(grid, way, other, column % p) for p in places]
        dots(ax, known, list(places.values()))
        ax.set_title(f"trained on {name}")
    axes[0].set_ylabel(f"points over {other}, 95 %")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5))
    fig.suptitle(title, x=0.01, ha="left")
    plots.show(fig, alt=alt)


def show_starts():
    """What a fitted head before fine-tuning changes, in each place."""
    _, grid, _, column = worlds()[0]
    found = gain(grid, "LP-FT", "FT", column % "out")
    against(
        {"LP": "head only (LP)", "LP-FT": "LP-FT"},
        "FT",
        f"LP-FT minus FT, other kind of cells: {said(found)} points",
        "Gains of the linear probe and of LP-FT over plain fine-tuning, by place of "
        "the test, for solar cells and for product reviews, with intervals.",
    )


def show_alphas():
    """From LP-FT back to the probe: in domain against each shift, a line each."""
    (_, cells, _, auroc), (_, texts, _, accuracy) = worlds()
    lines = {
        "other kind of cells": (cells, auroc, "out"),
        "imitated camera": (cells, auroc, "camera"),
        "other domains of text": (shifted(texts), accuracy, "out"),
    }
    fig, ax = plots.new(height=3.8)
    worst = {}
    for i, (name, (grid, column, place)) in enumerate(lines.items()):
        alphas = sorted(
            float(k.split()[1]) for k in grid[0] if k.startswith("alpha ") and
            k.endswith(" in")
        )  # fmt: skip
        x, y = (
            [
                gain(grid, f"alpha {alpha:g}", "LP-FT", column % p).mean
                for alpha in alphas
            ]
            for p in ("in", place)
        )
        ax.plot(x, y, color=plots.COLOURS[i], marker=plots.MARKERS[i],
                linestyle=plots.DASHES[i], label=name)  # fmt: skip
        ax.annotate("start", (x[0], y[0]), xytext=(4, 4),
                    textcoords="offset points", fontsize=8)  # fmt: skip
        worst[name] = -min(y)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axvline(0, color="black", linewidth=0.8)
    name = max(worst, key=worst.get)
    ax.set(
        xlabel="points in domain, against LP-FT (right is better)",
        ylabel="points under shift, against LP-FT",
        title=f"Back towards the start, {name}: up to {worst[name]:.0f} points lower",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="shift, mean")
    plots.show(
        fig,
        alt="Mean change under shift against the change in domain for weights between "
        "LP-FT, at 0, and the probe, for two shifts of solar cells and one of texts.",
    )


def show_soups():
    """Soups and the ensemble against the best member by validation."""
    _, grid, _, column = worlds()[0]
    found = gain(grid, "uniform", "best member", column % "in")
    ways = {"greedy": "greedy soup", "uniform": "uniform soup"}
    lines = {
        label: [gain(grid, way, "best member", column % p) for p in CELLS]
        for way, label in (ways | {"ensemble": "ensemble"}).items()
    }
    fig, ax = plots.new(height=3.4)
    dots(ax, lines, list(CELLS.values()))
    ax.set(
        ylabel="AUROC, points over the run chosen",
        title=f"Uniform soup minus the run chosen, same kind: {said(found)} points",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="mean, 95 %")
    plots.show(
        fig,
        alt="Differences in AUROC of two soups and an ensemble to the run chosen by "
        "validation, in domain, by an imitated camera and on the other kind of cells.",
    )


# -- adapters ----------------------------------------------------------------------


def show_merged(grid):
    """Accuracy of each domain by way of merging."""
    rows = {"frozen encoder": "base", "its own adapter": "own"}
    rows |= {label: way for way, label in MERGES.items()}
    matrix = [
        [grid.values(f"{way} {d}").mean() for d in opinions.MERGED]
        for way in rows.values()
    ]
    near = max(
        abs(np.mean(grid.values(f"{way} {d}") - grid.values(f"own {d}")))
        for way in MERGES for d in FITTED
    )  # fmt: skip
    fig = plots.heatmap(
        matrix,
        list(rows),
        list(opinions.MERGED),
        title=f"Films, products: merged within {100 * near:.1f} points of own (means)",
    )
    plots.show(
        fig,
        alt="Balanced accuracy on three domains of the frozen encoder, of each "
        "domain's own adapter, and of five ways to merge the three adapters.",
    )


# -- one after the other ------------------------------------------------------------


def show_remembering(found):
    """Accuracy on both halves of the digits at the end, by way."""
    fig, ax = plots.new(height=3.6)
    for i, way in enumerate(keeping.WAYS):
        values = 100 * found[way]
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        spread = np.stack([mean - low, high - mean])
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], capsize=2)
        ax.errorbar(mean[1], mean[0], spread[:, :1], spread[:, 1:], label=way, **look)
    before = 100 * found["before"][:, 0].mean()
    ax.axhline(before, color="black", linewidth=0.8, linestyle=":",
               label="before 5 to 9")  # fmt: skip
    lost = before - 100 * found["in turn"][:, 0].mean()
    ax.set(
        xlabel="accuracy on 5 to 9, per cent",
        ylabel="accuracy on 0 to 4, per cent",
        title=f"Learning in turn costs the first half {lost:.0f} points",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="mean, range of 3")
    plots.show(
        fig,
        alt="Accuracy on the digits 0 to 4 against that on 5 to 9 after both tasks for "
        "five ways; a dotted line is the first half before the second was learned.",
    )


def distilled(labels, student, shrunk):
    """{who: accuracy (S,), one a draw} with so many labels a class of the digits.

    student(x, logits, T) gives a network of shrunk(x).  "sure" is the mean largest
    probability of the teacher, no accuracy.
    """
    X, every, test, t = keeping.digits()
    found = {}
    for seed in keeping.DISTILLED:
        x, y = keeping.drawn(X, every, labels, seed)
        teacher = keeping.Tasks(seed).network()
        keeping.learn(teacher, (x, y), seed)
        with torch.no_grad():
            answers, tested = teacher(X), teacher(test)
        nets = {
            "alone": student(x, _certain(y), 1),
            "distilled": student(X, answers, 1),
            "T = 4": student(X, answers, 4),
            "hard answers": student(X, _certain(answers.argmax(1)), 1),
        }
        with torch.no_grad():
            logits = {name: net(shrunk(test)) for name, net in nets.items()}
        for name, z in ({"teacher": tested} | logits).items():
            right = float((z.argmax(1) == t).float().mean())
            found.setdefault(name, []).append(right)
        sure = float(answers.softmax(1).amax(1).mean())
        found.setdefault("sure", []).append(sure)
    return {name: np.array(values) for name, values in found.items()}


def over_alone(found):
    """What `distilled` found in words: two means, and points over the student alone."""
    alone, sure = (round(float(found[name].mean()), 2) for name in ("alone", "sure"))
    words = {"accuracy alone": alone, "teacher's largest probability": sure}
    for name in ("teacher", "distilled", "T = 4", "hard answers"):
        words[name] = said(gained(found, name))
    return words


def gained(found, name):
    """Points of a student over the one alone, paired by draw, with the interval."""
    return statistics.paired_difference(100 * found[name], 100 * found["alone"])


def _certain(y):
    """Logits of labels that leave no doubt."""
    return 60.0 * torch.nn.functional.one_hot(y, 10)
