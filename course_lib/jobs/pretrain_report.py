"""The report of a job without labels: what changed, what is known, a page, a card.

Nothing here says that a later task gains: no label was looked at.
"""

import math
from pathlib import Path

import numpy as np

from course_lib import files
from course_lib.jobs import model_card
from course_lib.models import continued
from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table

OBJECTIVES = {
    "simclr": "SimCLR",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
}
SMALLEST = 270  # pictures: the smaller pool of lesson 14, which knows no less
COLLAPSED = 0.5  # of rank or spread before; below, it is told
SMOOTH = 20  # updates whose losses are averaged in the figure


def verdict(result) -> list[str]:
    """What was done and what changed; that it says nothing of a later task."""
    before, after = result.before, result.after
    fresh = result.config["weights"] == "random"
    went = "learned" if fresh else "went on learning"
    objective, n = OBJECTIVES[result.config["objective"]], result.sizes["learned from"]
    return [
        f"{result.origin} {went} from {n:,} pictures without labels: "
        f"{result.updates:,} updates of {objective}. Whether a task gains from it is "
        "not known: no label was looked at.",
        f"On {after['n']:,} held-out pictures the loss went from {before['loss']:.3f} "
        f"to {after['loss']:.3f}, RankMe (how many directions the features use) from "
        f"{before['rankme']:.1f} to {after['rankme']:.1f}, their spread from "
        f"{before['spread']:.2f} to {after['spread']:.2f}.",
    ]


def warnings(result) -> list[str]:
    """What should make one doubt, in sentences."""
    said, n = [], result.sizes["learned from"]
    if result.updates < result.planned:
        said.append(
            f"The time was over after {result.updates:,} of {result.planned:,} updates "
            f"(minutes: {result.config['minutes']:g}); the learning rate had not "
            "fallen to its end. Where epochs are given, the same command with more "
            "minutes goes on from there."
        )
    if n < SMALLEST:
        said.append(
            f"{n:,} pictures are few: the smallest pool that the course measured has "
            f"{SMALLEST}."
        )
    for sign, name in (("rankme", "RankMe"), ("spread", "the spread")):
        if result.after[sign] < COLLAPSED * result.before[sign]:
            said.append(
                f"A sign of collapse: {name} of the features is less than half of what "
                "it was. Take another objective or other views, or a lower rate."
            )
    if result.after["loss"] >= result.before["loss"]:
        said.append(
            "The loss on held-out pictures did not fall: what was learned does not "
            "carry over to other pictures of the folder."
        )
    return said


def use(result, folder: Path | str) -> list[str]:
    """What to do with it, in sentences."""
    return [
        f"To begin a task with it: course train --data LABELLED --backbone {folder}",
        "To see whether it helps, do the same without --backbone"
        f"{_plain(result)}, and compare the two on validation pictures, over a few "
        "seeds; take the plain one unless this one is ahead.",
        "Leave pictures that a task will be tested on out of the folder: even without "
        "their labels they make the test too good.",
    ]


def _plain(result) -> str:
    plain = result.config["model"]
    return "" if plain.startswith("imagenet/") else f" (model: {plain})"


def text(result, told=()) -> str:
    """The report in short, as plain text, without notes that were told before."""
    lines = [*verdict(result), "", *(f"- {n}" for n in result.notes if n not in told)]
    lines += ["", *result.evidence[:1]]
    return "\n".join(lines)


def measures(result) -> Table:
    """Signs before and after."""
    names = {
        "loss": ("loss of two views", "{:.3f}"),
        "rankme": ("RankMe of the features", "{:.1f}"),
        "spread": ("spread of the features, 0 to 1", "{:.3f}"),
    }
    rows = [
        (name, form.format(result.before[key]), form.format(result.after[key]))
        for key, (name, form) in names.items()
    ]
    n = result.after["n"]
    return Table(f"On {n:,} held-out pictures", ("measure", "before", "after"), rows)


def loss_figure(result):
    """(figure, alternative text): loss over the updates."""
    fig, ax = plots.new(height=3.2)
    losses = np.array(result.losses)
    width = min(SMOOTH, max(1, len(losses)))
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    steps = np.arange(1, len(losses) + 1)
    ax.plot(steps, losses, color=plots.COLOURS[0], alpha=0.25, linewidth=0.8)
    name = f"learned from, mean of {width} updates"
    ax.plot(steps[width - 1 :], smooth, color=plots.COLOURS[0], label=name)
    at, held = zip(*result.curve)
    look = dict(color=plots.COLOURS[1], marker=plots.MARKERS[1])
    ax.plot(at, held, label="held-out pictures", **look)
    if result.config["objective"] == "simclr":
        guess = math.log(2 * result.batch_size - 1)
        ax.axhline(guess, color="#555555", linestyle=":", label="a guess")
    ax.set(xlabel="updates", ylabel="loss")
    ax.set_title(f"Held-out loss: {held[0]:.2f} before, {held[-1]:.2f} after")
    plots.clear_legend(ax)
    return fig, (
        f"Loss over {result.updates:,} updates, of the pictures learned from and of "
        f"held-out ones; the latter goes from {held[0]:.2f} to {held[-1]:.2f}."
    )


def views_figure(result):
    """(figure, alternative text): pictures, and two views of each."""
    fig = plots.image_grid(
        [image for part in result.shown for image in part],
        columns=len(result.shown[0]),
        row_names=("picture", "one view", "other view"),
    )
    return fig, (
        f"{len(result.shown[0])} pictures in the first row; below each, two random "
        f"views of it by {', '.join(result.config['views'])}."
    )


def html(result, folder: Path | str) -> str:
    """One page without external resources; every text from outside is escaped."""
    settings = [
        (k, "nothing" if v is None else ", ".join(v) if isinstance(v, list) else str(v))
        for k, v in result.config.items()
    ]
    took = ", ".join(f"{k} {v:,.0f} s" for k, v in result.seconds.items())
    each = result.seconds["training"] / max(1, result.updates)
    plain, rows = result.evidence[:1], result.evidence[1:]
    sections = {
        "": [measures(result)],
        "Does it help?": [
            *plain,
            "A lower loss says that views are told apart, a higher rank that more "
            "directions are used. Neither knows your labels.",
            *([list(rows)] if rows else []),
        ],
        "How to use it": [use(result, folder)],
        "Training": [Picture(*loss_figure(result))],
        "Views": [
            "The network becomes blind to what differs between two views of a picture."
            " If that is what your labels tell, take other views.",
            Picture(*views_figure(result)),
        ],
        "What was done": [list(result.notes)],
        "Configuration": [
            Table("All settings", ("key", "value"), settings),
            f"Pictures of {result.image_size} pixels a side, {result.batch_size} an "
            f"update. Seconds: {took}; {each:.2f} s an update.",
        ],
    }
    heading = f"{result.origin} on {result.name}, without labels"
    worse = any(note.startswith("A sign of collapse") for note in result.notes)
    kind = "hurts" if worse else "open"
    return pages.report(heading, heading, verdict(result), sections, kind)


def card(result) -> str:
    """The model card as Markdown; every number is one of ``result``."""
    return pages.render(
        "pretrain_card.md",
        result=result,
        verdict=verdict(result),
        objective=OBJECTIVES[result.config["objective"]],
        measures=measures(result),
    )


def about(result, licence: str) -> dict:
    """What the folder says of the weights, for those who load them."""
    said = (
        f"These weights of {result.origin} went on learning without labels: "
        f"{result.updates:,} updates of {OBJECTIVES[result.config['objective']]} on "
        f"{result.sizes['learned from']:,} pictures of {result.name!r}. Whether that "
        f"helps is known only against the plain weights (model: "
        f"{result.config['model']}); a test picture that was among these makes the "
        "result too good."
    )
    if result.config["weights"] == "random":
        said = said.replace("went on learning", "learned from a random start", 1)
    return {
        "said": said,
        "licence": f"{licence}; of the pictures that it went on with: "
        f"{result.config['licence']}",
        "pictures": {"name": result.name, **result.sizes, "size": result.image_size},
        "updates": result.updates,
        "config": result.config,
        "before": result.before,
        "after": result.after,
        "versions": result.versions,
    }


def write(result, backbone, pool, config, folder: Path) -> None:
    """Everything that is left when the job is done; the page comes last."""
    said = about(result, model_card.source_licence(backbone))
    result.backbone = continued.save(backbone, folder / "model", said)
    files.atomic_write_bytes(folder / "model" / "README.md", card(result).encode())
    rows = [("part", "picture"), *pool.rows()]
    files.atomic_write_bytes(folder / "pictures.csv", files.csv_bytes(rows))
    files.atomic_write_bytes(folder / "config.yaml", config.to_yaml().encode())
    files.atomic_write_json(folder / "result.json", result.to_dict(), False)
    files.atomic_write_bytes(folder / "report.html", html(result, folder).encode())
