"""The report of an anomaly job: a verdict, scores, heat maps, a page, a card."""

from pathlib import Path

import numpy as np

from course_lib import files
from course_lib.jobs import anomaly_model
from course_lib.show import pages, plots
from course_lib.show.pages import Picture, Table, interval, percent

SHADE = np.array([255, 60, 0])  # of strange patches


def verdict(result) -> str:
    """What was reached on pictures that were neither remembered nor chosen by."""
    said = (
        f"Above {result.threshold:.2f} a picture raises an alarm: "
        f"{percent(result.test['alarms'])} of {result.test['n']:,} normal test "
        f"pictures (95 % interval {interval(result.test)})"
    )
    if not result.found:
        return f"{said}. Nothing says how many defects are found: none were given."
    ranked = result.auroc
    return (
        f"{said}, and {percent(result.found['alarms'])} of {result.found['n']:,} "
        f"defective ones ({interval(result.found)}); AUROC {ranked['mean']:.3f} "
        f"({ranked['low']:.3f} to {ranked['high']:.3f})."
    )


def text(result) -> str:
    """The report in short, as plain text."""
    return "\n".join([verdict(result), "", *(f"- {note}" for note in result.notes)])


def measures(result) -> Table:
    """Alarms by kind of picture."""
    kinds = {"normal, test": result.test, "defective": result.found}
    rows = [
        (name, f"{row['n']:,}", percent(row["alarms"]), interval(row))
        for name, row in kinds.items()
        if row
    ]
    heads = ("pictures", "number", "alarms", "95 % interval")
    return Table("Alarms on pictures that were not remembered", heads, rows)


def scores_figure(result):
    """(figure, alternative text): scores of normal and of defective pictures."""
    parts = {"normal, threshold": "threshold", "normal, test": "test"}
    if result.found:
        parts["defective"] = "defective"
    fig, ax = plots.new(height=0.8 + 0.6 * len(parts))
    rng = np.random.default_rng(0)
    for place, part in enumerate(parts.values()):
        scores = [score for where, _, score, _ in result.rows if where == part]
        spread = place + rng.uniform(-0.2, 0.2, len(scores))
        look = dict(color=plots.COLOURS[place], s=10, alpha=0.6)
        ax.scatter(scores, spread, **look, marker=plots.MARKERS[place])
    ax.axvline(result.threshold, color="#333333", linestyle=":")
    ax.set_yticks(range(len(parts)), list(parts))
    ax.invert_yaxis()
    ax.set(xlabel="score", title=f"Alarms are right of {result.threshold:.2f}")
    return fig, f"Scores of {', '.join(parts)} pictures, and the threshold as a line."


def heat_figure(result):
    """(figure, alternative text): the strangest pictures, strange places in red."""
    heat = np.stack([one[1] for one in result.shown])
    low, high = float(np.median(heat)), float(heat.max())
    glow = np.clip((heat - low) / max(high - low, 1e-9), 0, 1)[..., None]
    images = np.stack([one[0] for one in result.shown])
    laid = ((1 - 0.7 * glow) * images + 0.7 * glow * SHADE).astype(np.uint8)
    titles = [f"{pages.shortened(name, 18)} {s:.1f}" for _, _, name, s in result.shown]
    fig = plots.image_grid(
        [*images, *laid], [*titles, *[""] * len(laid)], columns=len(images), size=1.3
    )
    return fig, (
        "The strangest pictures that were not remembered, above the same with strange "
        f"places in red: {', '.join(name for _, _, name, _ in result.shown)}."
    )


def html(result) -> str:
    """One page without external resources; every text from outside is escaped."""
    settings = [
        (k, "nothing" if v is None else str(v)) for k, v in result.config.items()
    ]
    sections = {
        "": [measures(result)],
        "Scores": [Picture(*scores_figure(result))],
        "The strangest pictures": [Picture(*heat_figure(result))],
        "What was done": [list(result.notes)],
        "Configuration": [Table("All settings", ("key", "value"), settings)],
    }
    heading = f"What is not normal in {result.name}"
    kind = "helps" if result.auroc and result.auroc["low"] > 0.5 else "open"
    return pages.report(heading, heading, [verdict(result)], sections, kind)


def card(result) -> str:
    """The model card as Markdown; every number is one of ``result``."""
    return pages.render(
        "anomaly_card.md",
        config=result.config,
        about=result.about,
        name=result.name,
        verdict=verdict(result),
        measures=measures(result),
        notes=result.notes,
    )


def write(result, model, config, folder: Path) -> None:
    """Everything that is left when the job is done; the page comes last."""
    anomaly_model.save(model, folder / "model")
    files.atomic_write_bytes(folder / "model" / "README.md", card(result).encode())
    rows = [("part", "picture", "score", "alarm")]
    rows += [(part, name, f"{s:.4f}", alarm) for part, name, s, alarm in result.rows]
    files.atomic_write_bytes(folder / "scores.csv", files.csv_bytes(rows))
    files.atomic_write_bytes(folder / "config.yaml", config.to_yaml().encode())
    files.atomic_write_json(folder / "result.json", result.to_dict(), False)
    files.atomic_write_bytes(folder / "report.html", html(result).encode())
