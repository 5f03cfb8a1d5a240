"""A model card from the numbers of a training job.

What the model is for, what it was trained and tested on, how good it is and for whom
it is worse, what its weights descend from and under which licence.  Mitchell et al.
2019 (Model cards for model reporting).  Its text is show/templates/model_card.md.
"""

from dataclasses import replace

from course_lib.jobs.reporting import counts_table, inputs
from course_lib.show import pages

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
    what = inputs(result)
    groups = [
        (f"{table.heads[0]} {group}", *cells)
        for table in pages.group_tables(result.subgroups, what)
        for group, *cells in table.rows
    ]
    counts = counts_table(result)
    heads = ("group", "test " + what, "right", "95 % interval")
    return pages.render(
        "model_card.md",
        config=result.config,
        combined=result.combined,
        data=result.data,
        inputs=what,
        verdict=result.verdict,
        counts=replace(counts, rows=counts.rows[:-1]),  # without the sums
        notes=result.notes,
        source_licence=source_licence(result.backbone),
        test=result.transfer["test"],
        groups=pages.Table("Right answers by group", heads, groups),
        limits=_limits(result, what),
        export={"said": []} | result.export,
    )


def _limits(result, what) -> list[str]:
    worst = result.subgroups[0]
    runs = "One training run"
    if soup := result.config["soup"]:
        runs = f"One soup of {soup} runs"
    said = [
        f"{runs}, one split: the interval counts the draw of the test "
        f"{what}, not that of seeds and splits.",
        f"It always answers with one of its classes, also for {what} of none of them.",
        f"{what.capitalize()} from another source, machine or time may be answered "
        "worse; check again there (lesson 11).",
        f"Weakest in {worst['column']} {worst['group']!r}: "
        f"{pages.percent(worst['accuracy'])} of {worst['n']}.",
    ]
    small = [r for r in result.subgroups if r["n"] < FEW]
    if small:
        said.append(
            f"Groups with fewer than {FEW} test {what}: {len(small)}; their shares are "
            "uncertain, see the intervals."
        )
    if not result.config["groups"]:
        said.append("No groups were named, so that unequal errors may be unseen.")
    return said
