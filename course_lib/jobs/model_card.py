"""A model card from the numbers of a training job.

What the model is for, what it was trained and tested on, how good it is and for whom
it is worse, what its weights descend from and under which licence.  Mitchell et al.
2019 (Model cards for model reporting); lesson 13.
"""

from __future__ import annotations

from course_lib.show.pages import percent

__all__ = ["model_card", "source_licence"]

FEW = 30  # examples of a group below which its accuracy says little


def source_licence(backbone) -> str:
    """The licence of the source weights, as far as their card states one."""
    card = backbone.card or {}
    stated = card.get("licence") or card.get("license")
    if stated:
        return str(stated)
    return (
        f"not stated by {backbone.name.split('/')[0]}; look it up before you pass the "
        "model on"
    )


def model_card(result) -> str:
    """The card as Markdown; every number is one of ``result``."""
    config, test = result.config, result.transfer["test"]
    what = "pictures" if config["task"] == "images" else "texts"
    sizes, export = result.data["sizes"], result.export
    lines = [
        f"# {config['model']} for {result.data['name']}",
        "",
        result.verdict,
        "",
        "## Intended use",
        "",
        f"Puts {what} like those of {result.data['name']!r} into one of "
        f"{len(result.classes)} classes: {', '.join(result.classes)}.  Meant for "
        f"{what} that are made, chosen and labelled as these were.",
        "",
        "## Data",
        "",
        f"{sum(sizes.values()):,} {what}: {sizes['train']:,} to train on, "
        f"{sizes['validation']:,} to choose by, {sizes['test']:,} to test on; "
        "splits.csv says which is in which part.  Licence of data and model: "
        f"{config['licence']}.",
        "",
        *_table(
            ("class", *result.data["counts"]),
            [
                (c, *(part[c] for part in result.data["counts"].values()))
                for c in result.classes
            ],
        ),
        "",
        *(f"- {note}" for note in result.notes),
        "",
        "## How it was trained",
        "",
        f"Source weights: {config['model']} ({config['weights']}), licence: "
        f"{source_licence(result.backbone)}.  Strategy: {config['strategy']}; the "
        "whole configuration is in config.yaml.",
        "",
        "## Measures on the test part",
        "",
        *_table(
            ("measure", "value"),
            [
                ("accuracy", percent(test["accuracy"])),
                (
                    "95 % interval",
                    f"{percent(test['low'])} to {percent(test['high'])}",
                ),
                ("balanced accuracy", percent(test["balanced_accuracy"])),
                ("cross-entropy, nats", f"{test['loss']:.3f}"),
                (
                    "expected calibration error, points",
                    f"{100 * test['calibration_error']:.1f}",
                ),
            ],
        ),
        "",
        *_table(
            ("group", "test " + what, "right", "95 % interval"),
            [
                (
                    f"{row['column']} {row['group']}",
                    row["n"],
                    percent(row["accuracy"]),
                    f"{percent(row['low'])} to {percent(row['high'])}",
                )
                for row in result.subgroups
            ],
        ),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in _limits(result, what)),
        "",
        "## Files",
        "",
        *(f"- {line}" for line in export.get("said", [])),
        f"- sha256 of model.safetensors: `{export.get('sha256', 'not exported')}`",
        "",
    ]
    return "\n".join(lines)


def _limits(result, what) -> list[str]:
    said = [
        "One training run, one split: the interval counts the draw of the test "
        f"{what}, not that of seeds and splits.",
        f"It always answers with one of its classes, also for {what} of none of them.",
        f"{what.capitalize()} from another source, machine or time may be answered "
        "worse; check again there (lesson 11).",
    ]
    worst = result.subgroups[0]
    said.append(
        f"Weakest in {worst['column']} {worst['group']!r}: "
        f"{percent(worst['accuracy'])} of {worst['n']}."
    )
    small = [r for r in result.subgroups if r["n"] < FEW]
    if small:
        said.append(
            f"Groups with fewer than {FEW} test {what}: {len(small)}; their shares are "
            "uncertain, see the intervals."
        )
    if not result.config["groups"]:
        said.append("No groups were named, so that unequal errors may be unseen.")
    return said


def _table(heads, rows) -> list[str]:
    def line(cells):
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)]
