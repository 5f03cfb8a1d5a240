"""A plan as plain values for JSON, and in sentences."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from course_lib.memory.fitting import fits, largest
from course_lib.memory.planning import GB, Plan


def report(
    planned: Plan, gigabytes: float | None = None, what: str | None = None
) -> dict[str, Any]:
    """A plan as plain values for JSON, with the verdict of `fits` for that card.

    ``what``: "batch" or "sequence", the largest of which is then added.
    """
    found: dict[str, Any] = {
        "model": planned.model.name,
        "parameters": planned.model.parameters,
        "options": asdict(planned.options),
        "bytes": planned.parts,
        "total": planned.total,
        "transient": planned.transient,
        "paged": planned.paged,
        "trainable": planned.trainable,
        "notes": planned.notes,
    }
    if gigabytes is not None:
        verdict = fits(planned, gigabytes)
        found["card"] = {
            "gigabytes": gigabytes,
            "fits": verdict.fits,
            "capacity": verdict.capacity,
            "reserve": verdict.reserve,
            "spare": verdict.spare,
            "verdict": str(verdict),
            "changes": [
                {"change": c.text, "saving": c.saving, "spare": c.spare}
                for c in verdict.changes
            ],
        }
    if what is not None:
        found["largest"] = {what: largest(planned, gigabytes, what)}
    return found


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What a `report` says in words, a line each."""
    lines = list(found["notes"])
    card = found.get("card")
    if card:
        size = f"{card['gigabytes']:g} GB"
        lines.append(f"Fits in {size}: {card['verdict']}.")
        for i, change in enumerate(card["changes"], start=1):
            end = f"saves {change['saving'] / GB:.2f} GB"
            if change["spare"] >= 0:
                end += f", then it fits with {change['spare'] / GB:.1f} GB to spare"
            lines.append(f"  {i}. {change['change']}: {end}")
        if not card["fits"] and not any(c["spare"] >= 0 for c in card["changes"]):
            lines.append("  Even all of this does not make it fit.")
        lines.append(
            f"A card of {size} has {card['capacity'] / GB:.1f} x 10^9 bytes; "
            f"{card['reserve'] / GB:.1f} are kept free for CUDA and fragmentation."
        )
    for what, value in found.get("largest", {}).items():
        lines.append(f"Largest {what} that fits: {value}.")
    return lines
