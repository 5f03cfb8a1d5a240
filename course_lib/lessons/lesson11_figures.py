"""Lesson 11: figures of shifts, of adaptation and of what a network knows of itself."""

import numpy as np

from course_lib.analysis import statistics
from course_lib.lessons import lesson11_cells, lesson11_real, lesson11_told
from course_lib.lessons.lesson11_real import CELLS, TEXTS
from course_lib.show import plots

METHODS = {
    "joint": "weight 0 (joint BatchNorm)",
    "dann": "DANN",
    "dann, weak": "DANN (weight 0.3)",
    "mmd": "MMD",
    "coral": "CORAL",
}
DISTANCES = {"opinions": "proxy A-distance", "small world": "Fréchet distance"}
GROUPS = {"four domains of opinions": TEXTS, "mono and poly cells": CELLS}


def show_fabs(fabs, cells):
    """A few pictures of each domain: {name: pictures} of the small and real world."""
    images, titles = [], []
    for name, pictures in (fabs | cells).items():
        images += list(pictures[:3])
        titles += [name, "", ""]
    fig = plots.image_grid(
        images, titles, columns=9, title="The same classes, seen in another world"
    )
    plots.show(
        fig,
        alt="Three micrographs each at home, from another tool and in other lighting; "
        "three mono- and three polycrystalline solar cells.",
    )


def said(interval, digits=1):
    """An interval in points: +1.2 (+0.3 to +2.1)."""
    return f"{interval.mean:+.{digits}f} ({interval.low:+.1f} to {interval.high:+.1f})"


def small_gain(grid, method, shift, number="accuracy", over=("source only", None)):
    """Points in the small world over another method, paired by the seeds of both.

    over: (method, its number); None: as trained.
    """
    rows = grid.select(shift=shift)
    ours, theirs = rows.select(method=method), rows.select(method=over[0])
    seeds = {row["seed"] for row in ours} & {row["seed"] for row in theirs}
    return statistics.paired_difference(
        100 * ours.values(number, seed=seeds),
        100 * theirs.values(over[1] or "accuracy", seed=seeds),
    )


# -- leaving home ----------------------------------------------------------------------


def crossed(grid, domains, number="accuracy"):
    """Mean over draws, (source, target)."""
    return np.array(
        [
            [grid.values(number, source=s, target=t).mean() for t in domains]
            for s in domains
        ]
    )


def points_lost(grid, domains):
    """Points that a pair of domains costs against training at home, one a draw."""
    lost = []
    for t in domains:
        home = grid.values("accuracy", source=t, target=t)
        lost += [
            100 * (home - grid.values("accuracy", source=s, target=t))
            for s in domains
            if s != t
        ]
    return np.array(lost)  # (pairs, draws)


def show_matrix(grid):
    """Accuracy of each source on each target."""
    matrix = crossed(grid, TEXTS)
    lost = points_lost(grid, TEXTS).mean()
    fig = plots.heatmap(
        matrix,
        [f"trained on {s}" for s in TEXTS],
        TEXTS,
        title=f"In another domain a probe loses {lost:.0f} points",
    )
    fig.axes[0].set_xlabel("tested on")
    plots.show(
        fig,
        alt="Balanced accuracy of a probe on frozen MiniLM features, trained on one "
        "domain of opinions and tested on each. The diagonal is highest.",
    )
    return lost


# -- distance and gain -----------------------------------------------------------------


def centred(values, targets):
    """Values minus the mean of their target."""
    values, targets = np.asarray(values, float), np.asarray(targets)
    return values - np.array([values[targets == t].mean() for t in targets])


def within_targets(distance, outcome, targets, permutations=9999, seed=0):
    """(correlation, p value) of two numbers a pair, both centred by target.

    The null: distances change places among the pairs of one target.
    """
    x, y = centred(distance, targets), centred(outcome, targets)
    targets, rng = np.asarray(targets), np.random.default_rng(seed)
    rows = [np.flatnonzero(targets == t) for t in dict.fromkeys(targets)]

    def correlation(z):
        return float(z @ y / np.sqrt((z @ z) * (y @ y)))

    found = [correlation(x)]
    for _ in range(permutations):
        z = x.copy()
        for at in rows:
            z[at] = x[rng.permutation(at)]
        found.append(correlation(z))
    return found[0], float((np.abs(found) >= abs(found[0]) - 1e-9).mean())


def opinion_pairs(grid):
    """(distance, accuracy, targets) of the twelve pairs of domains of opinions."""
    pairs = [(s, t) for s, t in lesson11_real.PAIRS if s in TEXTS]
    near = grid.select(seed=0)
    rows = [
        (
            near.values("distance", source=s, target=t).mean(),
            grid.values("accuracy", source=s, target=t).mean(),
            t,
        )
        for s, t in pairs
    ]
    return tuple(zip(*rows))


def fab_pairs(gains, apart, network, labels):
    """(distance, gain, targets) of the pairs of lesson 12's sources and targets."""
    rows = []
    for row in apart.select(network=network):
        pair = {key: row[key] for key in ("source", "target")}
        gain = gains.values("gain", labels=labels, **pair).mean()
        rows.append((row["frechet"], gain, row["target"]))
    return tuple(zip(*rows))


def show_distance(panels):
    """Gain against distance, both centred: {title: (distance, gain, targets)}."""
    fig, axes = plots.new(width=7.2, height=3.2, columns=len(panels))
    said = []
    for ax, (name, (distance, gain, targets)) in zip(axes, panels.items()):
        x, y = centred(distance, targets), 100 * centred(gain, targets)
        for i, target in enumerate(dict.fromkeys(targets)):
            own = np.array([t == target for t in targets])
            look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
            ax.plot(x[own], y[own], linestyle="none", label=target, **look)
        r, p = within_targets(distance, gain, targets)
        said.append(f"{r:+.2f}")
        ax.set(
            xlabel=f"{DISTANCES[name]}, centred by target",
            ylabel="points, centred by target" if ax is axes[0] else "",
            title=f"{name}: r = {r:+.2f}, p = {p:.3f}",
        )
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.2))
    plots.show(
        fig,
        alt="Points gained against distance of source and target, each minus the mean "
        f"of its target. Correlations {' and '.join(said)}.",
    )


# -- adaptation ------------------------------------------------------------------------


def gained(grid, domains, share, method, number="accuracy", over="source"):
    """Points over another method, mean over pairs: one a draw, as an Interval."""

    def reached(name, column):
        rows = [
            grid.values(column, source=s, target=t, share=share, method=name)
            for s in domains
            for t in domains
            if s != t
        ]
        return 100 * np.mean(rows, axis=0)  # (draws,)

    return statistics.paired_difference(
        reached(method, number), reached(over, "accuracy")
    )


def show_gains(grid, share):
    """Points over the source alone of every method, for texts and for cells."""
    rows = {
        name: (method, "accuracy")
        for method, name in METHODS.items()
        if grid.select(method=method, share=share)
    }
    rows["AdaBN"] = ("source", "renewed")
    rows["proportions corrected"] = ("source", "reweighted")
    fig, axes = plots.new(width=7.6, height=3.4, columns=2)
    shown = []
    for ax, (group, domains) in zip(axes, GROUPS.items()):
        found = {name: gained(grid, domains, share, *row) for name, row in rows.items()}
        for i, interval in enumerate(found.values()):
            ax.errorbar(
                interval.mean,
                i,
                xerr=interval.half_width,
                color=plots.COLOURS[0],
                marker="o",
                capsize=3,
            )
        ax.axvline(0, color="grey", linewidth=0.8)
        ax.set(title=group, xlabel="points over the source alone")
        ax.set_yticks(range(len(found)), list(found) if ax is axes[0] else [])
        ax.invert_yaxis()
        sure = [f"{n} {v.mean:+.0f}" for n, v in found.items() if v.low * v.high > 0]
        shown.append(", ".join(sure) or "nothing")
    what = "equal classes" if share == 0.5 else f"{share:.0%} of class 1"
    title = f"With {what}. Off zero on opinions: {shown[0]}\non cells: {shown[1]}"
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt=f"Points over a network of the source alone, with {what}, mean and 95 % "
        "interval of five draws, for alignment, AdaBN and corrected proportions.",
    )


SMALL = {  # rows of the figure of the small world: (method, number)
    "weight 0": ("joint", "accuracy"),
    "DANN": ("dann", "accuracy"),
    "MMD": ("mmd", "accuracy"),
    "CORAL": ("coral", "accuracy"),
    "AdaBN": ("source only", "batchnorm"),
    "weight 0, AdaBN": ("joint", "batchnorm"),
    "DANN, AdaBN": ("dann", "batchnorm"),
    "AdaBN, turned copies": ("source only", "both"),
    "weight 0, both": ("joint", "both"),
    "DANN, both": ("dann", "both"),
}


def show_small(grid):
    """Points over the source alone in the small world, of losses and of AdaBN."""
    looks = {"lighting": "other lighting", "tool": "another tool", "mix": "another mix"}
    fig, axes = plots.new(width=7.6, height=3.6, columns=len(looks))
    for ax, (kind, title) in zip(axes, looks.items()):
        for i, (method, number) in enumerate(SMALL.values()):
            interval = small_gain(grid, method, kind, number)
            look = dict(color=plots.COLOURS[i > 3], marker="o", capsize=3)
            ax.errorbar(interval.mean, i, xerr=interval.half_width, **look)
        ax.axvline(0, color="grey", linewidth=0.8)
        ax.set(title=title, xlabel="points over the source")
        ax.set_yticks(range(len(SMALL)), list(SMALL) if ax is axes[0] else [])
        ax.invert_yaxis()
    gains = [
        small_gain(grid, SMALL[n][0], "lighting", SMALL[n][1]).mean
        for n in ("weight 0", "DANN", "AdaBN")
    ]
    fig.suptitle(
        f"In other lighting weight 0 adds {gains[0]:+.1f}, DANN {gains[1]:+.1f} and "
        f"AdaBN {gains[2]:+.1f} points",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    plots.show(
        fig,
        alt="Points over the source alone in the small world, mean and 95 % of three "
        "seeds, of weight 0, DANN, MMD and CORAL, and of AdaBN and turned copies.",
    )


# -- which shift -----------------------------------------------------------------------

TOLD = {  # name: share of rows in which it says so
    "MMD sees": lambda row: row["p_mmd"] <= lesson11_told.LEVEL,
    "classifier sees": lambda row: row["p_apart"] <= lesson11_told.LEVEL,
    "predicted classes differ": lambda row: row["p_share"] <= lesson11_told.LEVEL,
    "kind told rightly": lambda row: row["right"] == 1,
}


def told_rows(grid, domains, case):
    """Rows of `told_apart` of one case among these domains."""
    return [
        row
        for row in grid
        if row["source"] in domains
        and lesson11_told.case(row["source"], row["target"], row["mix"]) == case
    ]


def show_told(grid):
    """Share of draws in which each test says so; returns {(group, case): shares}."""
    found = {}
    for group, domains in GROUPS.items():
        for case in lesson11_told.RIGHT:
            rows = told_rows(grid, domains, case)
            found[group, case] = [np.mean([f(r) for r in rows]) for f in TOLD.values()]
    right = [found[group, "elsewhere"][-1] for group in GROUPS]
    names = {"none": "same domain", "mix": "another mix", "elsewhere": "another domain"}
    fig = plots.heatmap(
        np.array(list(found.values())),
        [f"{names[case]}, {group.split()[-1]}" for group, case in found],
        list(TOLD),
        title=f"Told rightly: opinions {right[0]:.0%}, cells {right[1]:.0%}",
        limits=(0, 1),
    )
    plots.show(
        fig,
        alt="Share of draws in which MMD, a classifier of domains and the predicted "
        "classes reject, and in which the chain tells the kind of shift rightly.",
    )
    return found


# -- entropy at test time --------------------------------------------------------------


def passed(grid, number, **params):
    """One number after 1, 3 and 6 passes: (draws, 3)."""
    passes = lesson11_cells.PASSES
    return np.stack([grid.values(f"{number}_{k}", **params) for k in passes], axis=1)


def show_tent(grid, natural):
    """Accuracy and answers over the passes of TENT, beside batch statistics alone.

    natural: the share of defective cells in the natural mix.
    """
    passes = lesson11_cells.PASSES
    cases = {
        "natural mix": dict(way="tent", rare=False),
        "10 % defective": dict(way="tent", rare=True),
    }
    fig, axes = plots.new(width=7.6, height=3.2, columns=2)
    for ax, number, name in (
        (axes[0], "pass", "balanced accuracy"),
        (axes[1], "positive", "share called defective"),
    ):
        series = {}
        for label, case in cases.items():
            found = passed(grid, number, **case)
            before = case | {"way": "statistics"}
            start = grid.values(f"{number}_1", **before)[:, None]
            series[label] = np.concatenate([start, found], axis=1)
        plots.line_with_spread(
            np.array([0, *passes]),
            series,
            xlabel="passes (0: batch statistics alone)",
            ylabel=name,
            title="",
            ax=ax,
        )
        ax.set_xticks([0, *passes])
    for i, true in enumerate((natural, lesson11_cells.RARE)):
        axes[1].axhline(true, color=plots.COLOURS[i], linestyle=":")
        axes[1].text(6, true, f"true share {true:.2f}", ha="right", va="bottom")
    axes[0].get_legend().remove()
    change = 100 * (
        passed(grid, "pass", **cases["natural mix"])
        - grid.values("pass_1", way="statistics", rare=False)[:, None]
    ).mean(axis=0)
    fig.suptitle(
        f"TENT over batch statistics, mono to poly: {change[0]:+.1f} points after one "
        f"pass, {change[-1]:+.1f} after {passes[-1]}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    plots.show(
        fig,
        alt="Balanced accuracy and share of cells called defective over passes of "
        "entropy minimisation, for two streams of cells, five seeds.",
    )
    return change


# -- trust -----------------------------------------------------------------------------


def covered(grid, domains, number, away=True):
    """Mean over pairs of one number, one a draw."""
    rows = [
        grid.values(number, source=s, target=t)
        for s in domains
        for t in domains
        if (s != t) == away
    ]
    return np.mean(rows, axis=0)


def show_coverage(grid):
    """Coverage of 90 % sets at home and away, with what repairs it."""
    ways = {
        "at home": ("coverage", False),
        "away": ("coverage", True),
        "away, weighted": ("coverage_weighted", True),
        "away, calibrated there": ("coverage_own", True),
    }
    fig, ax = plots.new(height=3.2)
    for i, (group, domains) in enumerate(GROUPS.items()):
        found = [
            statistics.mean_and_interval(covered(grid, domains, number, away))
            for number, away in ways.values()
        ]
        ax.errorbar(
            np.arange(len(ways)) + 0.1 * (2 * i - 1),
            [interval.mean for interval in found],
            [interval.half_width for interval in found],
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            linestyle="none",
            capsize=3,
            label=group,
        )
    ax.axhline(1 - lesson11_real.ALPHA, color="grey", linestyle=":")
    ax.set_xticks(range(len(ways)), list(ways))
    away = [covered(grid, domains, "coverage").mean() for domains in GROUPS.values()]
    ax.set(
        ylabel="right class in the set",
        title=f"Promised 0.90, kept away from home {away[0]:.2f} and {away[1]:.2f}",
    )
    plots.clear_legend(ax, title="mean, 95 %, ten draws")
    plots.show(
        fig,
        alt="Coverage of conformal sets at 90 % at home, away, weighted by a density "
        "ratio, and calibrated on labelled examples there, for opinions and cells.",
    )


# -- imitation and bias ----------------------------------------------------------------


def show_imitation(cells, changed, reached):
    """Poly cells as they are and with mono's grey values; accuracies by way, in %."""
    fig, axes = plots.new(width=7.4, height=3.0, columns=2)
    for k, pictures in enumerate((cells, changed)):
        axes[0].imshow(
            np.concatenate(list(pictures[:3, :, :, 0]), axis=1),
            cmap="gray",
            extent=(0, 3, 1 - k, 2 - k),
            vmin=0,
            vmax=255,
        )
    axes[0].set(xlim=(0, 3), ylim=(0, 2), title="poly cells; below, matched to mono")
    axes[0].axis("off")
    found = [statistics.mean_and_interval(values) for values in reached.values()]
    axes[1].errorbar(
        [interval.mean for interval in found],
        range(len(found)),
        xerr=[interval.half_width for interval in found],
        color=plots.COLOURS[0],
        marker="o",
        linestyle="none",
        capsize=3,
    )
    rows = [
        name if name.startswith("poly") else f"micrographs: {name}" for name in reached
    ]
    axes[1].set_yticks(range(len(found)), rows)
    axes[1].invert_yaxis()
    gain, cells = reached["light"] - reached["nothing"], reached["poly, matched"]
    axes[1].set(
        xlabel="accuracy in %, mean and 95 %",
        title=f"Light {gain.mean():+.0f}; cells {cells.mean():.0f} %",
    )
    plots.show(
        fig,
        alt="Three polycrystalline cells, the same with the grey values of "
        "monocrystalline ones, and the accuracy that each way of imitation reaches.",
    )


def gap_of(rows):
    """Aligned minus conflicting accuracy in points, one a seed."""
    return 100 * (rows.values("aligned") - rows.values("conflicting"))


def show_bias(worlds):
    """What a biased source brings to a clean target, and how much more to a biased one.

    worlds: {name: grid}.  Returns {(name, strategy): {"brought": Interval, "amplified":
    Interval}} in points.
    """
    fig, axes = plots.new(width=7.6, height=2.8, columns=len(worlds))
    found = {}
    for ax, (name, grid) in zip(axes, worlds.items()):
        rows = []
        for strategy in ("frozen", "full"):
            parts = {
                "brought": brought(grid, strategy, gap_of),
                "amplified": interaction(grid, strategy, gap_of),
            }
            rows += [(f"{part}, {strategy}", v) for part, v in parts.items()]
            found[name, strategy] = {
                part: statistics.mean_and_interval(v) for part, v in parts.items()
            }
        for i, (_, points) in enumerate(rows):
            interval = statistics.mean_and_interval(points)
            ax.plot(points, np.full(len(points), i), ".", color="grey", alpha=0.5)
            look = dict(color=plots.COLOURS[i % 2], marker="o", capsize=3)
            ax.errorbar(interval.mean, i, xerr=interval.half_width, **look)
        ax.axvline(0, color="grey", linewidth=0.8)
        ax.set(title=name, xlabel="points of gap")
        ax.set_yticks(range(len(rows)), [r for r, _ in rows] if ax is axes[0] else [])
        ax.invert_yaxis()
    more = [found[name, way]["amplified"].mean for way in ("frozen", "full")]
    fig.suptitle(
        f"On {name}, amplified by {more[0]:.1f} (frozen) and {more[1]:.1f} points "
        "(full)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    plots.show(
        fig,
        alt="Points of gap that a biased source brings to a clean target, and how much "
        "more it brings to a biased one, frozen and with all layers, in both worlds.",
    )
    return found


def brought(grid, strategy, number):
    """Points that a biased source brings to a clean target, one a seed."""
    rows = grid.select(target="clean", strategy=strategy)
    return number(rows.select(source="biased")) - number(rows.select(source="clean"))


def interaction(grid, strategy, number):
    """Points by which a biased source widens what the biased target teaches.

    number: f(rows) -> one gap a seed.  (biased, biased) - (clean, biased) - (biased,
    clean) + (clean, clean), one a seed.
    """
    little = "biased a little"

    def gap(source, target):
        return number(grid.select(source=source, target=target, strategy=strategy))

    wider = gap("biased", little) - gap("clean", little)
    return wider - gap("biased", "clean") + gap("clean", "clean")
