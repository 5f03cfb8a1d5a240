"""Lesson 09: the family of parameter-efficient fine-tuning.

The methods and the protocol of lesson08, on wafer pictures with 500 labels.
"""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

from course_lib.analysis import statistics, usage
from course_lib.lessons import lesson08_opinions as opinions
from course_lib.lessons import results
from course_lib.lessons.lesson08 import ALL, LABELS, METHODS, cells, put
from course_lib.lessons.protocol import FILES, labelled, scored, train
from course_lib.lessons.results import experiment
from course_lib.methods import peft_family
from course_lib.models import zoo
from course_lib.show import plots
from course_lib.training import freezing

TRIED = {
    "full": (1.5e-4, 5e-4, 1.5e-3),
    "lora": (1.5e-3, 5e-3, 1.5e-2),
    "adapters": (1.5e-3, 5e-3, 1.5e-2),
    "bitfit": (5e-3, 1.5e-2, 5e-2),
    "prefix": (5e-3, 1.5e-2, 5e-2, 1.5e-1),
    "prompt": (5e-3, 1.5e-2, 5e-2, 1.5e-1),
    "ia3": (1.5e-2, 5e-2, 1.5e-1),
    "probe": (1.5e-3, 5e-3, 1.5e-2, 5e-2),
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
        dict(method=method, lr=CHOSEN[method], seed=0, fraction=0.02)
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


# -- what the lesson reads and draws --------------------------------------------------


def fab():
    """{kind: rows of the small world}: tickets and wafer pictures."""
    text = results.load("peft_text").select(r=8, targets=ALL)
    return {"tickets": text, "pictures": results.load("peft_images")}


def share_of(gain, whole):
    """Mean gain over mean whole gain, one of each a seed: (ratio, low, high).

    A ratio of two means has Fieller's interval (1954): the shares c for which gain -
    c whole is not told from 0.  Looked for between -1 and 3.
    """
    kept = []
    for c in np.linspace(-1, 3, 4001):
        found = statistics.mean_and_interval(gain - c * whole)
        if found.low <= 0 <= found.high:
            kept.append(c)
    return float(gain.mean() / whole.mean()), float(min(kept)), float(max(kept))


LARGE = dict(  # BERT-large; what is not said is as in BERT-base
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
)


def bert_sizes():
    """Parameters of BERT-base and BERT-large, counted without numbers."""
    found = {}
    for name, changed in {"BERT-base": {}, "BERT-large": LARGE}.items():
        with torch.device("meta"):
            bert = AutoModel.from_config(AutoConfig.for_model("bert", **changed))
        found[name] = freezing.total_parameters(bert)
    return found


def step_cost(backbone, tokens, labels):
    """What one update costs: numbers that learn, bytes by part, operations."""
    state = peft_family.trained_state(backbone)
    memory = usage.training_step_bytes(backbone, tokens, labels)
    with FlopCounterMode(display=False) as counter:
        backbone.model.train()(**tokens, labels=labels).loss.backward()
    return dict(
        learn=sum(value.numel() for value in state.values()),
        store=sum(value.nbytes for value in state.values()),
        state=memory["gradients"] + memory["optimizer"],
        saved=memory["activations"],
        total=memory["total"],
        work=counter.get_total_flops(),
    )


def show_costs(cost):
    """A table of what a training step costs, {method: {what: number}}."""
    print(
        f"{'':9}{'learn':>11}{'store':>11}{'state':>8}{'saved':>8}{'all':>8}{'work':>7}"
    )
    for method, row in cost.items():
        print(
            f"{method:9}{row['learn']:11,}{row['store'] / 1e3:8,.0f} kB"
            f"{row['state'] / 1e6:5.0f} MB{row['saved'] / 1e6:5.0f} MB"
            f"{row['total'] / 1e6:5.0f} MB{row['work'] / cost['full']['work']:7.2f}"
        )


def behind(rows, full):
    """Methods whose whole interval lies below full fine-tuning, of {method: rows}."""
    return [m for m, found in rows.items() if found.minus(full).high < 0]


def at_edge(rows):
    """Methods whose chosen rate is the lowest or the highest of several tried."""
    found = []
    for method in METHODS:
        tried = {row["lr"] for row in rows.select(method=method)}
        chosen = rows.best(method=method)[0]["lr"]
        if len(tried) > 1 and chosen in (min(tried), max(tried)):
            found.append(method)
    return found


def accuracy_figure(stored):
    """Accuracy of each method against what it trains; stored: {kind: Grid}, two."""
    fig, axes = plots.new(width=7.6, height=4.2, columns=2)
    low = []
    for ax, (kind, rows) in zip(axes, stored.items()):
        every = {method: rows.best(method=method) for method in METHODS}
        low.append(behind(every, every["full"]))
        for i, (method, best) in enumerate(every.items()):
            y, learn = best.values("accuracy"), best.values("trainable")[0]
            spread = [[y.mean() - y.min()], [y.max() - y.mean()]]
            look = dict(color=plots.COLOURS[i % 7], marker=plots.MARKERS[i % 7])
            look["markerfacecolor"] = "white" if i >= 7 else look["color"]
            ax.errorbar(learn, y.mean(), yerr=spread, capsize=3, label=method, **look)
        ax.set(xscale="log", xlabel="parameters that learn", title=kind)
    axes[0].set_ylabel("test accuracy, range of 3 seeds")
    first = next(iter(stored))
    fig.suptitle(f"Behind full fine-tuning on {first}: {', '.join(low[0])}")
    axes[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def show_fab(stored):
    """:func:`accuracy_figure` with its alternative text."""
    alt = "Test accuracy of each method against the parameters that learn, for tickets "
    alt += "and for pictures, mean and range over three seeds."
    plots.show(accuracy_figure(stored), alt=alt)


def show_rates(rows, methods):
    """Validation accuracy by rate with the first seed; the chosen rates are ringed."""
    fig, ax = plots.new(height=3.2)
    best = {}
    for i, method in enumerate(methods):
        own = sorted(rows.select(method=method, seed=0), key=lambda row: row["lr"])
        x, y = ([row[k] for row in own] for k in ("lr", "val_accuracy"))
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
        ax.plot(x, y, linestyle=plots.DASHES[i], label=method, **look)
        best[method] = rows.best(method=method)[0]["lr"]
        chosen = y[x.index(best[method])]
        ax.plot(best[method], chosen, "o", ms=13, mfc="none", color=plots.COLOURS[i])
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy, one seed")
    ax.set_title(
        f"Tickets: full fine-tuning chose {best['full']:g}, a prefix {best['prefix']:g}"
    )
    plots.clear_legend(ax)
    alt = "Validation accuracy on tickets against the learning rate for "
    plots.show(fig, alt=alt + f"{', '.join(methods)}, one seed; chosen rates ringed.")


BESIDE = {  # labels of two points that lie close together: (offset, alignment)
    ("lora", 3e-4): ((0, 6), "center"),
    ("lora", 1e-3): ((-6, -11), "right"),
}


def show_real(grid):
    """What is left of the source task against the accuracy on film reviews, by rate."""
    fig, ax = plots.new(height=3.8)
    for i, (label, method) in enumerate({"full": "full", "LoRA": "lora"}.items()):
        points = {}
        for number in ("accuracy", "source"):
            rates, lines = grid.select(method=method).curves(number, "lr", "method")
            points[number] = 100 * lines[method].mean(0)
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], ls=plots.DASHES[i])
        ax.plot(points["accuracy"], points["source"], label=label, **look)
        for rate, x, y in zip(rates, *points.values()):
            at, align = BESIDE.get((method, rate), ((5, 4 - 14 * i), "left"))
            where = dict(textcoords="offset points", xytext=at, ha=align)
            look = dict(color=plots.COLOURS[i], fontsize="small")
            ax.annotate(f"{rate:g}", (x, y), **where, **look)
    probe = opinions.best("probe")
    start = (100 * probe.values(n).mean() for n in ("accuracy", "source"))
    ax.plot(*start, "k*", markersize=13, label="frozen")
    kept = opinions.best("lora").minus(opinions.best("full"), "source")
    ax.set(xlabel="target: balanced test accuracy on film reviews (%)")
    ax.set(ylabel="source: nearest sentence is\nof the same review (%)")
    ax.margins(y=0.1)
    ax.set_title(
        f"At the best rates LoRA minus full: source {100 * kept.mean:+.1f} ± "
        f"{100 * kept.half_width:.1f} points"
    )
    plots.clear_legend(ax, title="mean of 5 draws, by rate", title_fontsize="small")
    alt = "What is left of the source task against the accuracy on film reviews, for "
    plots.show(fig, alt=alt + "full fine-tuning and LoRA at several rates, and frozen.")
