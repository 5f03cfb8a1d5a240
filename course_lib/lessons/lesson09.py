"""Lesson 09: the family of parameter-efficient fine-tuning.

The small world has the methods and the protocol of lesson08 on wafer pictures with 500
labels, the real one those of lesson08_opinions on film reviews.
"""

from course_lib.lessons import lesson08_opinions as opinions
from course_lib.lessons.lesson08 import LABELS, METHODS, SEEDED, cells, put
from course_lib.lessons.protocol import FILES, labelled, scored, train
from course_lib.lessons.results import experiment
from course_lib.methods import peft_family
from course_lib.models import zoo
from course_lib.show import plots

TRIED = {
    "full": (1.5e-4, 5e-4, 1.5e-3),
    "lora": (1.5e-3, 5e-3, 1.5e-2),
    "adapters": (1.5e-3, 5e-3, 1.5e-2),
    "bitfit": (5e-3, 1.5e-2, 5e-2),
    "prefix": (1.5e-2, 5e-2, 1.5e-1),
    "prompt": (1.5e-2, 5e-2, 1.5e-1),
    "ia3": (1.5e-2, 5e-2, 1.5e-1),
    "probe": (5e-3, 1.5e-2, 5e-2),
}
CHOSEN = {
    "full": 5e-4,
    "lora": 5e-3,
    "adapters": 5e-3,
    "bitfit": 1.5e-2,
    "prefix": 1.5e-2,
    "prompt": 1.5e-2,
    "ia3": 5e-2,
    "probe": 5e-3,
}
VIT = "bundled/vit-patterns"
STEPS = 160


@experiment(
    "peft_images",
    grid=cells(TRIED, CHOSEN),
    sample=[dict(method="lora", lr=5e-3, seed=0)],
    short=[
        dict(method=method, lr=CHOSEN[method], seed=0, fraction=0.05)
        for method in ("lora", "ia3")
    ],
    tolerance={"accuracy": 0.04},
    models=(VIT,),
    data=FILES,
)
def peft_images(method, lr, seed, fraction=1.0):
    """One method on 500 wafer pictures and the vision transformer."""
    backbone = put(zoo.load(VIT, 5, seed=seed), method, seed)
    learning = sum(v.numel() for v in peft_family.trained_state(backbone).values())
    data = labelled(LABELS, seed)
    options = dict(lr=lr, evaluations=1, fraction=fraction)
    train(backbone, data, steps=STEPS, seed=seed, **options)
    return scored(backbone, fraction) | {"trainable": learning}


# -- the real world -------------------------------------------------------------------

REAL_TRIED = {  # rates compared with seeds 0 and 1
    "adapters": (1e-3, 3e-3, 1e-2),
    "bitfit": (1e-3, 3e-3, 1e-2),
    "ia3": (1e-2, 3e-2, 1e-1),
    "dora": (3e-4, 1e-3, 3e-3),
    "prefix": (1e-2, 3e-2, 1e-1),
    "prompt": (3e-3, 1e-2, 3e-2),
}
REAL_CHOSEN: dict[str, float] = {}  # of these, by validation loss; seeds 2 to 4


def real_cells():
    """Each method of the family at its rates; full, LoRA, probe: see opinions_lora."""
    return opinions.tuning_cells({}, REAL_TRIED, REAL_CHOSEN)


@experiment(
    "opinions_peft",
    grid=real_cells(),
    sample=[dict(method="ia3", lr=3e-2, seed=0)],
    short=[
        dict(method=method, lr=1e-2, seed=0, fraction=opinions.SHORTER)
        for method in ("prefix", "prompt")
    ],
    tolerance={
        "accuracy": 0.02,
        "val_accuracy": 0.02,
        "loss": 0.02,
        "val_loss": 0.02,
        "source": 0.02,
        "similarity": 0.01,
    },
    data=opinions.FILES,
)
def opinions_peft(method, lr, seed, fraction=1.0):
    """One method on short film reviews: what it gains there, and what it forgets."""
    options = dict(seed=seed) if method in SEEDED else {}
    backbone = METHODS[method](opinions.started(seed), **options)
    learning = peft_family.trained_state(backbone).values()
    opinions.tuned(backbone, seed, opinions.groups(backbone, lr), fraction)
    numbers = opinions.scored(backbone, seed, fraction) | opinions.remembered(backbone)
    return numbers | {"trainable": sum(value.numel() for value in learning)}


def accuracy_figure(stored):
    """Accuracy of each method against what it trains; stored: {kind: Grid}, two."""
    fig, axes = plots.new(width=7.6, height=4.2, columns=2)
    for ax, (kind, rows) in zip(axes, stored.items()):
        for i, method in enumerate(METHODS):
            best = rows.best(method=method)
            y, learn = best.values("accuracy"), best.values("trainable")[0]
            spread = [[y.mean() - y.min()], [y.max() - y.mean()]]
            look = dict(color=plots.COLOURS[i % 7], marker=plots.MARKERS[i % 7])
            look["markerfacecolor"] = "white" if i >= 7 else look["color"]
            ax.errorbar(learn, y.mean(), yerr=spread, capsize=3, label=method, **look)
        ax.set(xscale="log", xlabel="parameters that learn", title=kind)
    axes[0].set_ylabel("test accuracy, range of 3 seeds")
    fig.suptitle(
        "LoRA, DoRA and IA3 keep up with full fine-tuning; prompt and probe do not"
    )
    axes[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
