"""Plans of the memory planner as stacked bars."""

from collections.abc import Iterable, Mapping

from course_lib.errors import CourseError
from course_lib.memory import GB, GIB, PARTS, Plan, capacity
from course_lib.show import plots


def picture(
    plans: Iterable[Plan] | Mapping[str, Plan],
    gigabytes: float | None = None,
    title: str = "Memory of one training step",
    reserve: float = 1.0,
):
    """Stacked bars of the plans by part, in GB, and a line at the size of the card.

    plans: several, or {label: plan}; gigabytes, reserve: as for `fits`; what is kept
    free is shaded, so that a bar that reaches it does not fit.  Returns the figure.
    """
    from matplotlib.colors import to_rgb

    if not isinstance(plans, Mapping):
        plans = {str(p).replace(", ", "\n", 1): p for p in plans}
    if not plans:
        raise CourseError("picture: no plan to show.\nExpected: one or more.")
    figure, ax = plots.new(width=8.4, height=1.2 + 0.6 * max(len(plans), 3))
    colours = [c for c in plots.COLOURS if c != "#000000"]
    hatches = ("", "///", "..", "\\\\\\", "xx", "--", "++", "oo", "||", "**", "OO")
    rows, left = range(len(plans)), [0.0] * len(plans)
    for i, (part, label) in enumerate(PARTS.items()):
        sizes = [p.parts[part] / GB for p in plans.values()]
        if any(sizes):
            face, edge = colours[i % len(colours)], "white"
            if i >= len(colours):  # the same colours once more, light
                face, edge = tuple(1 - 0.4 * (1 - x) for x in to_rgb(face)), face
            look = dict(facecolor=face, edgecolor=edge, hatch=hatches[i], linewidth=0)
            ax.barh(rows, sizes, left=left, label=label, height=0.6, **look)
        left = [a + b for a, b in zip(left, sizes)]
    for row, total in zip(rows, left):
        place = dict(xytext=(4, 0), textcoords="offset points", va="center")
        place |= dict(bbox=dict(color="white", pad=0.5), zorder=3)
        ax.annotate(f"{total:.1f}", (total, row), fontsize="small", **place)
    end = max(left)
    if gigabytes is not None:
        room, label = capacity(gigabytes) / GB, f"card of {gigabytes:g} GiB"
        end = max(end, room)
        ax.axvline(room, color="black", linestyle="--", linewidth=1.4, label=label)
        free = dict(color="#cccccc", zorder=0, label="of it, kept free")
        ax.axvspan(room - reserve * GIB / GB, room, linewidth=0, **free)
    ax.set_yticks(rows, list(plans))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="GB (10^9 bytes)", title=title, xlim=(0, 1.14 * end))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    return figure
