"""Figures of lesson 00."""

import numpy as np

from course_lib.analysis import statistics
from course_lib.show import plots

FAB = {"scratch": "from scratch", "frozen": "frozen features", "full": "fine-tuned"}
FEATURES = {
    "pixels": "raw pixels",
    "frozen_random": "random network, frozen",
    "frozen": "pretrained network, frozen",
}
A_ROW = 8  # pictures


def show_rows(data):
    """Eight pictures of each class, a row a class; of cells four of each kind."""
    kinds = np.asarray(data.metadata.get("kind", np.zeros(len(data))))
    rows = []
    for c in range(len(data.classes)):
        places = [
            np.flatnonzero((data.labels == c) & (kinds == k)) for k in np.unique(kinds)
        ]
        rows += [i for found in places for i in found[: A_ROW // len(places)]]
    names = [name.replace("_", " ") for name in data.classes]
    fig = plots.image_grid(data.images[rows], columns=A_ROW, row_names=names)
    alt = f"Pictures of {data.name}, one row of {A_ROW} for each class: {names}."
    plots.show(fig, alt=alt.replace("_", " "))


def show_histories(histories):
    """Loss and validation accuracy of two runs."""
    first, second = (h.val_accuracy[-1] for h in histories.values())
    fig = plots.history(histories)
    legend = fig.axes[1].get_legend()
    handles, names = legend.legend_handles, [t.get_text() for t in legend.get_texts()]
    legend.remove()
    fig.set_figheight(fig.get_figheight() + 0.6)
    place = dict(loc="outside lower center", ncols=2, fontsize="small")
    fig.legend(handles, names, **place)
    title = (
        f"After five epochs the transfer is {100 * (second - first):.0f} points ahead "
        "on validation\n(ring: the weights that are kept)"
    )
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt="Loss and validation accuracy by epoch for the network from scratch and "
        f"the pretrained one. {title}.",
    )


def show_fab(grid):
    """Bars of the fab's grid at 100 and 500 labels."""
    bars, gains = {}, []
    for labels in (100, 500):
        reached = {
            name: grid.values("accuracy", labels=labels, strategy=strategy)
            for strategy, name in FAB.items()
        }
        for name, values in reached.items():
            bars[f"{labels} labels: {name} ({len(values)} seeds)"] = values
        pair = reached["fine-tuned"], reached["from scratch"]
        gains.append(statistics.paired_difference(*pair))
    few, many = (f"{100 * gain.mean:.0f}" for gain in gains)
    title = (
        f"Fab: fine-tuning leads scratch by {few} points at 100 labels, {many} at 500"
    )
    fig = plots.bars_with_spread(bars, ylabel="test accuracy", title="")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt="Bars of test accuracy with their spread over seeds, for training from "
        "scratch, frozen features and fine-tuning, at 100 and at 500 labels. "
        "Fine-tuning is above training from scratch in both groups.",
    )


def show_alike(wafers, cells):
    """The same three kinds of features in both worlds, by the number of all labels."""
    fig, axes = plots.new(8.4, 4.4, 1, 2)
    gains = []
    for ax, grid, classes, choosing, name in zip(
        axes,
        (wafers, cells),
        (1, 2),
        ("1,000", "200"),
        ("small world: wafers, 5 classes", "real world: solar cells, 2 classes"),
    ):
        named = [dict(row, features=FEATURES[row["strategy"]]) for row in grid]
        counts, lines = type(grid)(named).curves("accuracy", "labels", "features")
        look = dict(ylabel="test accuracy", title=name, log_x=True, ax=ax)
        lines = {label: lines[label] for label in FEATURES.values()}
        where = f"labels in all to fit on\n(and {choosing} to choose the penalty)"
        plots.line_with_spread(classes * counts, lines, xlabel=where, **look)
        note = ax.get_legend().get_title().get_text()
        ax.get_legend().remove()
        ax.legend(title=note, loc="upper center", bbox_to_anchor=(0.5, -0.3))
        first, _, last = lines.values()
        gains.append(100 * (last - first).mean(0))
    (low, high), (least, most) = ((gain.min(), gain.max()) for gain in gains)
    axes[1].set_ylabel("balanced test accuracy")
    title = (
        f"The pretrained network is worth {low:.0f} to {high:.0f} points over pixels "
        f"on wafers, {least:.0f} to {most:.0f} on cells"
    )
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    plots.show(
        fig,
        alt="Accuracy of a logistic regression by number of labels, on raw pixels, a "
        "random network's features and a pretrained network's, for wafers and for "
        f"solar cells. The pretrained line is highest in both. {title}.",
    )
