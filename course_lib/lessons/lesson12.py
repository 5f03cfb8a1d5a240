"""Lesson 12: what its grids say, in figures and tables."""

import numpy as np
import pandas as pd

from course_lib import datasets
from course_lib.analysis import negative_transfer, statistics
from course_lib.datasets import from_arrays
from course_lib.lessons import (
    lesson06,
    lesson12_far,
    lesson12_gains,
    lesson12_planted,
    lesson12_remedies,
    lesson12_tuned,
    results,
)
from course_lib.lessons.lesson12_far import PICK, REPORT
from course_lib.models import zoo
from course_lib.show import plots

RIVALS = {"random": "random weights", "pixels": "pixels"}


def points(interval):
    """An interval in points, as "-9.5 ± 1.4"."""
    return f"{100 * interval.mean:+.1f} ± {100 * interval.half_width:.1f}"


# -- the search --------------------------------------------------------------------


def judged(rows, rivals, way="imagenet"):
    """One dict a pair and rival: what the picking seeds say, and the others' interval.

    rows: Grid of one number a way and seed, of one pair.
    """
    found = []
    for rival in rivals:
        ours, theirs = (rows.select(way=w) for w in (way, rival))
        picked, interval = (
            ours.select(seed=seeds).minus(theirs.select(seed=seeds))
            for seeds in (PICK, REPORT)
        )
        kind, _ = statistics.judge(interval._asdict())
        gain = picked.mean
        said = "loses" if gain < -lesson12_far.MARGIN else "wins"
        if abs(gain) <= lesson12_far.MARGIN:
            said = "neither"
        one = dict(rival=rival, picked=gain, said=said, interval=interval, kind=kind)
        found.append(one)
    return found


def search():
    """Every pair of pictures by the rule of the search, one dict a pair and rival."""
    grid, found = results.load("far_frozen"), []
    for target, counts in lesson12_far.LABELS.items():
        for n in counts:
            pair = dict(target=target, labels=n, real=target in lesson12_far.REAL)
            rows = grid.select(target=target, labels=n)
            found += [pair | one for one in judged(rows, RIVALS)]
    return found


def texts():
    """The same of texts: MiniLM's vectors against word counts."""
    tickets, opinions = results.load("far_tickets"), results.load("opinions_frozen")
    found = []
    for domain in dict.fromkeys(row["domain"] for row in opinions):
        for n in (8, 32, 100):
            pair = dict(target=f"opinions, {domain}", labels=n, real=True)
            rows = opinions.select(domain=domain, labels=n)
            found += [pair | one for one in judged(rows, ["word counts"], "frozen")]
    for n in lesson12_far.TICKETS:
        pair = dict(target="tickets", labels=n, real=False)
        rows = tickets.select(labels=n)
        found += [pair | one for one in judged(rows, ["word counts"], "frozen")]
    return found


def show_gains(pairs, title):
    """Gain of each pair on the reporting seeds, a panel a rival."""
    rivals = list(dict.fromkeys(one["rival"] for one in pairs))
    lines = [one for one in pairs if one["rival"] == rivals[0]]
    names = [f"{one['target'].replace('_', ' ')}, {one['labels']}" for one in lines]
    fig, axes = plots.new(height=0.9 + 0.2 * len(names), columns=len(rivals))
    for ax, rival in zip(np.ravel(axes), rivals):
        shown = [one for one in pairs if one["rival"] == rival]
        for y, one in enumerate(shown):
            gain = one["interval"]
            colour = plots.COLOURS[0] if one["kind"] == "hurts" else "#777777"
            colour = plots.COLOURS[2] if one["kind"] == "helps" else colour
            marker = {"hurts": "v", "helps": "^"}.get(one["kind"], "o")
            bar = dict(fmt=marker, color=colour, capsize=2, markersize=5)
            ax.errorbar(100 * gain.mean, y, xerr=100 * gain.half_width, **bar)
            ax.plot(100 * one["picked"], y, "|", color="black", markersize=8)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_title(f"against {RIVALS.get(rival, rival)}")
        ax.set_xlabel("gain (points)")
        ax.set_yticks(range(len(names)), names if ax is np.ravel(axes)[0] else [])
        ax.invert_yaxis()
    fig.suptitle(title)
    plots.show(
        fig,
        alt="Gain of pretrained features of every pair of target and labels a class "
        f"against {' and '.join(rivals)}, with intervals of the reporting seeds; a "
        "stroke is what the picking seeds said. Triangles down hurt, up help.",
    )


def show_search(pairs):
    """The pairs of pictures; the title counts those that hurt."""
    real = [one for one in pairs if one["real"]]
    hurt = {
        rival: sum(one["kind"] == "hurts" for one in real if one["rival"] == rival)
        for rival in RIVALS
    }
    each = len(real) // len(RIVALS)
    show_gains(
        pairs,
        f"{hurt['random']} of {each} real pairs lose to random weights, "
        f"{hurt['pixels']} to pixels",
    )


def real_gains(rival="random"):
    """Gains in points of the real pairs, (pairs, seeds)."""
    grid, rows = results.load("far_frozen"), []
    for target in lesson12_far.REAL:
        for n in lesson12_far.LABELS[target]:
            part = grid.select(target=target, labels=n)
            ours, theirs = (part.values("accuracy", way=w) for w in ("imagenet", rival))
            rows.append(100 * (ours - theirs))
    return np.array(rows)


def counted(pairs, kind):
    """{rival: number of real pairs that the reporting seeds call so}."""
    return {
        rival: sum(
            one["kind"] == kind and one["rival"] == rival and one["real"]
            for one in pairs
        )
        for rival in RIVALS
    }


def picked_again(pairs, rival="random"):
    """A table of the pairs that the even seeds picked, largest effect first."""
    chosen = [
        one for one in pairs if one["rival"] == rival and one["said"] != "neither"
    ]
    chosen.sort(key=lambda one: -abs(one["picked"]))
    rows = {
        f"{one['target'].replace('_', ' ')}, {one['labels']}": {
            "picked (points)": f"{100 * one['picked']:+.1f}",
            "reported": points(one["interval"]),
            "verdict": one["kind"],
        }
        for one in chosen
    }
    return pd.DataFrame(rows).T.rename_axis(f"over {RIVALS[rival]}")


def show_pictures(data, each=4):
    """A few pictures of three classes."""
    rows = [i for c in range(3) for i in np.flatnonzero(data.labels == c)[:each]]
    titles = [f"speaker {data.classes[data.labels[i]]}" for i in rows]
    fig = plots.image_grid(
        [data.images[i] for i in rows],
        titles,
        columns=2 * each,
        title=f"{len(rows)} recordings of three speakers, time to the right",
    )
    plots.show(fig, alt=f"{len(rows)} grey pictures of recordings of three speakers.")


def show_small(gains, strategy):
    """Gains of each bundled source on each target with 100 labels; their matrix."""
    names = [name for name in lesson12_gains.SOURCES if name != "random"]
    matrix = np.full((len(names), len(lesson06.TARGETS)), np.nan)
    for i, source in enumerate(names):
        for j, target in enumerate(lesson06.TARGETS):
            found = gains.select(
                strategy=strategy, source=source, target=target, labels=100
            )
            if found:
                matrix[i, j] = 100 * found.values("gain").mean()
    how = "All layers tuned"
    if strategy != "full":
        how = "Frozen, against all layers from scratch"
    fig = plots.heatmap(
        matrix,
        [name.removeprefix("bundled/resnet10-") for name in names],
        [target.replace("_", " ") for target in lesson06.TARGETS],
        title=f"{how}: {(matrix < 0).sum()} of {np.isfinite(matrix).sum()} lose",
        label="gain (points)",
        digits=1,
        limits=(-50, 50),
    )
    plots.show(fig, alt=f"Gains of each source on each target. {how}, 100 labels.")
    return matrix


def grey_targets(pairs, gains):
    """A table of grey far targets: what was done, and the gain in points."""
    rows = []
    for labels in (20, 100):
        for one in pairs:
            if (one["target"], one["labels"]) == ("solar 48 px", labels):
                rows.append(
                    {
                        "target": "solar cells, 48 px (real)",
                        "labels": f"{labels} a class",
                        "how": f"frozen, against {one['rival']}",
                        "gain": points(one["interval"]),
                    }
                )
    for how, labels in (("last stage", 100), ("full", 25), ("full", 500)):
        values = gains.select(
            strategy=how,
            source=lesson12_tuned.SMALL,
            target="spectrograms",
            labels=labels,
        ).values("gain")
        rows.append(
            {
                "target": "spectrograms (small)",
                "labels": f"{labels} in all",
                "how": "all layers" if how == "full" else "frozen",
                "gain": points(statistics.mean_and_interval(values)),
            }
        )
    return pd.DataFrame(rows).set_index("target")


# -- warning signs -----------------------------------------------------------------


def testable(confident, tested):
    """In how many runs the third sign could ring.

    confident: shares of the test pictures that are wrong and sure, one a seed; tested:
    number of test pictures.
    """
    counts = np.round(confident * tested)
    return int((counts >= negative_transfer.LEAST_ERRORS).sum())


def counted_signs():
    """A table of the real world: in how many seeds each sign rang.

    gain: accuracy from ImageNet's weights minus that from random ones.
    """
    grid, found = results.load("far_signs"), []
    for target, n in lesson12_tuned.LABELS.items():
        ours, random = (
            grid.select(target=target, start=start) for start in ("imagenet", "random")
        )
        below = ours.values("val_accuracy") < random.values("val_accuracy")
        found.append(
            {
                "case": f"{target.replace('_', ' ')}, {n} a class",
                "gain (points)": points(ours.minus(random)),
                "1 below": below.sum(),
                "2 rises": int(ours.values("rises").sum()),
                "3 follows": (ours.values("follow") < lesson12_tuned.ALPHA).sum(),
                "3 testable": testable(
                    ours.values("confident"), len(lesson12_tuned.test_pictures(target))
                ),
                "seeds": len(below),
            }
        )
    return pd.DataFrame(found).set_index("case")


def small_signs():
    """The same of the small world, where all layers were trained."""
    grid, found = results.load("warning_signs"), []
    for pair, (target, _) in lesson12_remedies.SEEN.items():
        one = grid.select(pair=pair)
        found.append(
            {
                "case": pair,
                "gain (points)": f"{100 * one.values('gain').mean():+.1f}",
                "1 below": (one.values("val_gain") < 0).sum(),
                "2 rises": int(one.values("rises_tuned").sum()),
                "3 follows": (one.values("follow_tuned") < 0.01).sum(),
                "3 testable": testable(
                    one.values("confident_tuned"), len(datasets.load(target, "test"))
                ),
                "seeds": len(one),
            }
        )
    return pd.DataFrame(found).set_index("case")


# -- earlier layers ----------------------------------------------------------------


def show_stages(grid):
    """Last stage, earlier ones averaged, earlier ones with a grid; by target."""
    ways = {"last": "last", "earlier": "earlier, mean", "earlier_grid": "earlier, grid"}
    cells = dict.fromkeys((r["world"], r["target"], r["labels"]) for r in grid)
    rows, names, gains = [], [], []
    for world, target, n in cells:
        part = grid.select(world=world, target=target, labels=n)
        rows.append([100 * part.values(way).mean() for way in ways])
        if world == "real":
            n = f"{min(n, lesson12_far.LABELS[target][1])} a class"
        names.append(f"{world}: {target.replace('_', ' ')}, {n}")
        gains.append(part.values("earlier_grid") - part.values("last"))
    better = sum(gain.mean() > 0 for gain in gains)
    clear = sum(statistics.mean_and_interval(gain).low > 0 for gain in gains)
    fig = plots.heatmap(
        rows,
        names,
        list(ways.values()),
        title=f"Grid over last:\n{better} of {len(rows)}, clearly in {clear}",
        label="test accuracy (%)",
        digits=1,
    )
    plots.show(
        fig,
        alt="Test accuracy of a linear classifier on the last stage, on an earlier "
        "stage averaged, and on an earlier stage averaged in a grid of places, for "
        "real and drawn targets.",
    )


# -- remedies ----------------------------------------------------------------------


def on_vowels():
    """{way: accuracies, one a seed} on vowels with 20 labels a class."""
    frozen = results.load("far_frozen").select(target="vowels", labels=20)
    stages = results.load("far_stages").select(world="real", target="vowels")
    tuned = results.load("real_sources").select(target="vowels", seed=range(5))
    learned = results.load("far_signs").select(target="vowels")
    lite0, random = "imagenet/efficientnet-lite0", "random Lite0"
    return {
        "as practised: frozen last stage": frozen.values("accuracy", way="imagenet"),
        "last stage tuned": tuned.values("accuracy", source=lite0),
        "last convolution tuned": learned.values("accuracy", start="imagenet"),
        "the same by way of leaves": learned.values("accuracy", start="leaves"),
        "earlier stage, mean": stages.values("earlier"),
        "earlier stage, 4 x 4 grid": stages.values("earlier_grid"),
        "random weights: frozen": frozen.values("accuracy", way="random"),
        "random weights: last stage tuned": tuned.values("accuracy", source=random),
        "pixels": frozen.values("accuracy", way="pixels"),
    }


def show_vowels():
    """The remedies on the hardest real target, and what needs none."""
    ways = on_vowels()
    ours = [way for way in ways if "random" not in way and way != "pixels"]
    best = max(ours, key=lambda way: ways[way].mean())
    title = f"Best from ImageNet: {best}"
    fig = plots.bars_with_spread(
        {way: 100 * v for way, v in ways.items()},
        ylabel="accuracy (%)",
        title=title,
        digits=1,
    )
    plots.show(fig, alt=f"Bars of test accuracy of every way. {title}.")


def small_remedies():
    """A table: points above a random start, of each remedy in both cases."""
    grid, columns = results.load("remedies"), {}
    for case in lesson12_remedies.CASES:
        scratch = grid.select(case=case, remedy="from scratch")
        columns[case] = {
            remedy: points(found.minus(scratch))
            for remedy in lesson12_remedies.REMEDIES
            if remedy != "from scratch"
            and (found := grid.select(case=case, remedy=remedy))
        }
    return pd.DataFrame(columns).fillna("")


# -- pulls -------------------------------------------------------------------------


def chosen(world, towards):
    """Accuracies (5,); in each seed validation loss chooses the strength of a pull."""
    grid = results.load("pulls").select(world=world, towards=("nothing", towards))
    best = []
    for seed in lesson12_tuned.PULL_SEEDS:
        tried = grid.select(seed=seed)
        best.append(min(tried, key=lambda row: row["val_loss"])["accuracy"])
    return np.array(best)


def nearer(world):
    """Interval of accuracy with a pull to the start minus one to zero."""
    ours, theirs = (chosen(world, towards) for towards in ("the start", "zero"))
    return statistics.paired_difference(ours, theirs)


def show_pulls():
    """Accuracy by strength and direction of the pull, a panel a world."""
    grid, strengths = results.load("pulls"), lesson12_tuned.STRENGTHS
    fig, axes = plots.new(height=3.2, columns=2)
    for ax, world in zip(axes, ("small", "real")):
        none = 100 * grid.select(world=world, towards="nothing").values("accuracy")
        for towards, style in (("zero", "s--"), ("the start", "o-")):
            pulled = [none] + [
                100
                * grid.select(world=world, towards=towards, strength=k).values(
                    "accuracy"
                )
                for k in strengths
            ]
            around = [statistics.mean_and_interval(values) for values in pulled]
            ax.errorbar(
                range(len(pulled)),
                [one.mean for one in around],
                yerr=[one.half_width for one in around],
                fmt=style,
                capsize=3,
                label=f"towards {towards}",
            )
        ax.set_xticks(range(len(pulled)), ["none", *map(str, strengths)])
        ax.set_xlabel("strength of the pull")
        ax.set_title(f"{world} world")
    axes[0].set_ylabel("accuracy (%)")
    axes[0].legend()
    fig.suptitle("At a strength of 1 the pull to zero erases the small network")
    plots.show(
        fig,
        alt="Test accuracy with intervals of five seeds by the strength of a pull "
        "towards zero and one towards the start, in the small and the real world.",
    )


# -- diagnosis -----------------------------------------------------------------------


def whole(target):
    """All pictures of a target, for a diagnosis that divides them by itself."""
    parts = [lesson12_far.pictures(target, split) for split in ("train", "test")]
    images, labels = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("images", "labels")
    )
    return from_arrays(images, labels, parts[0].classes)


def show_planted(cases):
    """What the diagnosis said of each planted case of the small world."""
    kinds = {1: "helps", -1: "hurts", 0: "neither"}
    fig, ax = plots.new(height=4.2)
    for y, row in enumerate(cases):
        middle, half = (row["low"] + row["high"]) / 2, (row["high"] - row["low"]) / 2
        colour = plots.COLOURS[{1: 2, -1: 0, 0: 4}[row["expected"]]]
        bar = dict(fmt="o", color=colour, capsize=3)
        ax.errorbar(100 * middle, y, xerr=100 * half, **bar)
    ax.axvspan(-5, 5, color="#dddddd", zorder=0)
    ax.axvline(0, color="black", linewidth=0.8)
    names = [f"{row['case']} ({kinds[row['expected']]})" for row in cases]
    ax.set_yticks(range(len(cases)), names)
    ax.invert_yaxis()
    ax.set_xlabel("gain (points), margin in grey")
    right = sum(row["code"] == row["expected"] for row in cases)
    ax.set_title(f"{right} of {len(cases)} right, with a margin set after the fact")
    plots.show(
        fig,
        alt="Diagnosed gain with its interval of fifteen planted cases, with what "
        "each was planted as.",
    )


def disguised():
    """Two planted starts that call themselves pretrained: of no use, and of harm."""
    broken = zoo.load(lesson12_tuned.SMALL)
    return {
        "random weights": zoo.load(lesson12_tuned.SMALL, seed=4321, pretrained=False),
        "dead stem": lesson12_planted.dead_stem(broken),
    }
