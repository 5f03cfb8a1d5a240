"""Figure of lesson 03; its grids are those of lesson02."""

import numpy as np

from course_lib.show import plots

PARTS = {"weights": "", "gradients, moments": "//", "activations": ".."}  # hatches


def depth_figure(names, learns, megabytes, depth, batch):
    """What a training step holds by depth of freezing; one depth is marked.

    names: of the depths (D,).  learns: parameters that learn (D,).  megabytes: of each
    part of PARTS (D, 3), with ``batch`` pictures.
    """
    fig, (left, right) = plots.new(width=7.4, height=3.4, columns=2)
    places, megabytes = np.arange(len(names)), np.asarray(megabytes)
    shades = np.where(places == depth, 1.0, 0.45)
    for at in places:
        left.barh(at, learns[at] / 1e6, color=plots.COLOURS[0], alpha=shades[at])
        for part, (label, hatch) in enumerate(PARTS.items()):
            right.barh(
                at,
                megabytes[at, part],
                left=megabytes[at, :part].sum(),
                hatch=hatch,
                color=plots.COLOURS[part * 2 - part // 2],
                alpha=shades[at],
                edgecolor="white",
                linewidth=0,
                label=label if at == depth else None,
            )
    for ax in (left, right):
        ax.invert_yaxis()
        ax.set_yticks(places, names if ax is left else [""] * len(names))
    left.set(xlabel="parameters that learn, millions", ylabel="frozen up to")
    left.set_title(f"{learns[depth]:,} learn")
    right.set(xlabel=f"MB of a step with {batch} pictures")
    right.set_title(f"{megabytes[depth].sum():,.0f} MB of {megabytes[0].sum():,.0f}")
    right.legend(fontsize="small", loc="lower right")
    return fig
