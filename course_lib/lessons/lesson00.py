"""Figures of lesson 00."""

from course_lib.analysis import statistics
from course_lib.show import plots

FAB = {"scratch": "from scratch", "frozen": "frozen features", "full": "fine-tuned"}
SOLAR = {
    "pixels": "raw pixels",
    "frozen_random": "random Lite0",
    "frozen": "ImageNet's Lite0",
}
A_ROW = 8  # pictures


def show_rows(data):
    """Eight pictures of each class, a row a class."""
    classes = range(len(data.classes))
    rows = [i for c in classes for i in (data.labels == c).nonzero()[0][:A_ROW]]
    names = ", ".join(data.classes)
    fig = plots.image_grid(
        data.images[rows], columns=A_ROW, title=f"One row a class: {names}"
    )
    alt = f"Pictures of {data.name}, one row of {A_ROW} for each class: {names}."
    plots.show(fig, alt=alt.replace("_", " "))


def show_histories(histories):
    """Loss and validation accuracy of two runs."""
    first, second = (h.val_accuracy[-1] for h in histories.values())
    title = f"Validation accuracy ends {100 * (second - first):.0f} points apart"
    plots.show(
        plots.history(histories, title=title),
        alt="Loss and validation accuracy by epoch for the network from scratch and "
        "the pretrained one; the pretrained one ends higher.",
    )


def show_fab(grid):
    """Bars of the fab's grid at 100 and 500 labels."""
    bars = {}
    for labels in (100, 500):
        for strategy, name in FAB.items():
            values = grid.values("accuracy", labels=labels, strategy=strategy)
            bars[f"{name}\n{labels} labels"] = values
    gains = [
        statistics.paired_difference(
            bars[f"fine-tuned\n{labels} labels"],
            bars[f"from scratch\n{labels} labels"],
        )
        for labels in (100, 500)
    ]
    few, many = (f"{100 * gain.mean:.0f}" for gain in gains)
    fig = plots.bars_with_spread(
        bars,
        ylabel="test accuracy",
        title=f"Fab: transfer is worth {few} points at 100 labels, {many} at 500",
    )
    plots.show(
        fig,
        alt="Bars of test accuracy with their spread over seeds, for training from "
        "scratch, frozen features and fine-tuning, at 100 and at 500 labels. "
        "Fine-tuning is above training from scratch in both groups.",
    )


def show_solar(grid):
    """Lines of balanced accuracy over labels a class, one for each kind of features."""
    named = [dict(row, features=SOLAR[row["strategy"]]) for row in grid]
    labels, lines = type(grid)(named).curves("accuracy", "labels", "features")
    at = list(labels).index(100)
    lead = statistics.paired_difference(
        lines[SOLAR["frozen"]][:, at], lines[SOLAR["pixels"]][:, at]
    )
    points = 100 * lead.mean
    fig = plots.line_with_spread(
        labels,
        lines,
        xlabel="labels a class",
        ylabel="balanced test accuracy",
        title=f"Solar cells: at 100 labels ImageNet is worth {points:.0f} points",
        log_x=True,
    )
    fig.axes[0].set_ylim(top=0.85)  # room for the legend
    plots.show(
        fig,
        alt="Balanced accuracy on solar cells by number of labels a class, for raw "
        "pixels, a random network's features and ImageNet's. The three begin close "
        "together; ImageNet's features rise with the labels, the others hardly do.",
    )
