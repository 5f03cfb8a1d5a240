"""Lesson 12: what its grids say, in figures and tables."""

import numpy as np
import pandas as pd

from course_lib.analysis import statistics
from course_lib.lessons import lesson12_far, lesson12_pulls, lesson12_tuned, results
from course_lib.lessons.lesson12_far import PICK, REPORT
from course_lib.show import plots

RIVALS = {"random": "features of random weights", "pixels": "pixels"}


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
        f"Of {each} real pairs ImageNet's features hurt in {hurt['random']} "
        f"(random weights) and {hurt['pixels']} (pixels)",
    )


def shrinkage(pairs):
    """{"loses": (picked mean, reported mean), "wins": ...} over the picked pairs."""
    found = {}
    for said in ("loses", "wins"):
        chosen = [one for one in pairs if one["said"] == said]
        picked = np.mean([one["picked"] for one in chosen])
        found[said] = picked, np.mean([one["interval"].mean for one in chosen])
    return found


# -- warning signs -----------------------------------------------------------------


def signs():
    """A table of the three signs: in how many of five seeds each rang."""
    grid, rows = results.load("far_signs"), []
    for target in (*lesson12_tuned.LOSE, *lesson12_tuned.WIN):
        ours, random = (
            grid.select(target=target, start=start) for start in ("imagenet", "random")
        )
        below = ours.values("val_accuracy") < random.values("val_accuracy")
        follows = ours.values("follow") < lesson12_tuned.ALPHA
        rows.append(
            {
                "case": f"{target.replace('_', ' ')}, {lesson12_tuned.LABELS[target]}",
                "gain": points(ours.minus(random)),
                "1 below": below.sum(),
                "2 rises": int(ours.values("rises").sum()),
                "3 follows": follows.sum(),
                "of": len(below),
            }
        )
    return pd.DataFrame(rows).set_index("case")


# -- earlier layers ----------------------------------------------------------------


def show_stages(grid):
    """Last stage, earlier ones averaged, earlier ones with a grid; by target."""
    ways = {"last": "last", "earlier": "earlier, mean", "earlier_grid": "earlier, grid"}
    cells = dict.fromkeys((r["world"], r["target"], r["labels"]) for r in grid)
    rows, names = [], []
    for world, target, n in cells:
        part = grid.select(world=world, target=target, labels=n)
        rows.append([100 * part.values(way).mean() for way in ways])
        unit = f"{n} a class" if world == "real" else f"{n} in all"
        names.append(f"{target.replace('_', ' ')} ({world}), {unit}")
    better = sum(row[2] > row[0] for row in rows)
    fig = plots.heatmap(
        rows,
        names,
        list(ways.values()),
        title=f"Earlier layers with a grid beat the last stage in {better} of "
        f"{len(rows)}",
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


def show_remedies(values, title):
    """Bars of accuracy in per cent; values: {way: (n_seeds,)}."""
    fig = plots.bars_with_spread(
        {way: 100 * v for way, v in values.items()},
        ylabel="test accuracy (%)",
        title=title,
        digits=1,
    )
    plots.show(fig, alt=f"Bars of test accuracy of every way. {title}.")


def real_remedies():
    """{way: accuracies (5,)} on the hardest real target."""
    grid = results.load("far_remedies")
    return {way: grid.values("accuracy", way=way) for way in lesson12_tuned.REMEDIES}


# -- pulls -------------------------------------------------------------------------


def pulled(world):
    """{towards: accuracies (5,)}, the strength chosen by validation loss in each seed.

    No pull is among the choices of both.
    """
    grid = results.load("pulls").select(world=world)
    found = {"nothing": grid.values("accuracy", towards="nothing")}
    for towards in ("zero", "the start"):
        chosen = []
        for seed in lesson12_pulls.SEEDS:
            rows = grid.select(towards=("nothing", towards), seed=seed)
            chosen.append(min(rows, key=lambda row: row["val_loss"])["accuracy"])
        found[towards] = np.array(chosen)
    return found


def show_pulls():
    """Accuracy by pull in both worlds."""
    worlds = {world: pulled(world) for world in lesson12_pulls.WORLDS}
    gains = {
        world: statistics.paired_difference(found["the start"], found["zero"])
        for world, found in worlds.items()
    }
    said = ", ".join(f"{world} world {points(g)}" for world, g in gains.items())
    show_remedies(
        {
            f"{world}: towards {towards}": values
            for world, found in worlds.items()
            for towards, values in found.items()
        },
        f"Start minus zero: {said} points",
    )
