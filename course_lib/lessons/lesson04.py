"""Lesson 04: a rate for each layer, gradual unfreezing, schedules.

Every way to train gets the same rates to choose from; the lesson chooses one for each
by validation accuracy and reports the test accuracy of that one.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd
import timm
import torch
import torchvision
from torch.nn.functional import kl_div
from transformers import AutoConfig, AutoModelForSequenceClassification

from course_lib import datasets, training
from course_lib.lessons import lesson02, lesson03, results, solar
from course_lib.lessons.protocol import (
    BACKBONE,
    FILES,
    STEPS,
    forgetting,
    labelled,
    scored,
    source_accuracy,
    train,
    watched,
)
from course_lib.lessons.results import SEEDS, experiment, interval, part, updates
from course_lib.models import features, zoo
from course_lib.pretraining import patterns
from course_lib.show import plots, widgets
from course_lib.training import freezing, layer_groups
from course_lib.training import schedules as over_time
from course_lib.training.frozen_stages import MIRRORED, FrozenStages

ULMFIT = 0.385  # 1 / 2.6, Howard & Ruder 2018
TRIED = (3e-4, 1e-3, 3e-3, 1e-2)  # lr: the rate of the last block
METHODS = {  # what differs from one flat rate for everything
    "flat": dict(alpha=1.0, gradual=False, head_factor=1.0),
    "head x 10": dict(alpha=1.0, gradual=False, head_factor=10.0),
    "by layer": dict(alpha=ULMFIT, gradual=False, head_factor=1.0),
    "by layer, head x 10": dict(alpha=ULMFIT, gradual=False, head_factor=10.0),
    "gradual": dict(alpha=1.0, gradual=True, head_factor=1.0),
    "gradual by layer": dict(alpha=ULMFIT, gradual=True, head_factor=1.0),
}
ALPHAS = (0.1, 0.3, ULMFIT, 0.5, 1.0)  # the last but two is ULMFiT's, 1 is flat


def rate_cells():
    """100 labels: everything; 25 and 500: the three ways that the sources recommend.

    Rates were added below and above wherever the best one lay at the edge.
    """
    grid = []

    def add(labels, seeds, tried, name, **changed):
        how = METHODS[name] | changed
        for seed in seeds:
            grid.extend(dict(labels=labels, **how, lr=lr, seed=seed) for lr in tried)

    for name in METHODS:
        fast_head = METHODS[name]["head_factor"] > 1
        both = name == "by layer, head x 10"
        tried = (TRIED[:2] if both else TRIED) + ((1e-4,) if fast_head else ())
        add(100, SEEDS, tried, name)
        if name in ("flat", "by layer", "gradual by layer"):
            add(100, (3, 4), TRIED[:3], name)
    for alpha in (0.1, 0.3, 0.5):
        add(100, SEEDS, TRIED[:3], "by layer", alpha=alpha)
    for name in ("flat", "by layer", "gradual by layer"):
        gradual = METHODS[name]["gradual"]
        add(25, SEEDS, (*TRIED[1:], 3e-2) if gradual else TRIED, name)
        at500 = {"flat": TRIED[:1], "by layer": TRIED[:3]}  # flat: see `strategies` too
        add(500, SEEDS, at500.get(name, TRIED[1:]), name)
    return grid


def opened(backbone, lr, alpha, gradual, head_factor=1.0, plan=None):
    """(parameter groups to begin with, plan that opens the others, or None)."""
    rates = dict(lr=lr, alpha=alpha, head_factor=head_factor)
    if gradual:
        return over_time.gradual_unfreezing(backbone, **rates, plan=plan)
    return layer_groups.decayed_groups(backbone, **rates), None


@experiment(
    "layer_rates",
    grid=rate_cells(),
    sample=[dict(labels=25, **METHODS["gradual by layer"], lr=3e-3, seed=0)],
    short=[
        dict(labels=25, **METHODS["gradual by layer"], lr=3e-3, seed=0, fraction=0.01)
    ],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def layer_rates(labels, alpha, gradual, head_factor, lr, seed, fraction=1.0):
    """Fine-tune with a rate a layer group, open from the start or group by group."""
    how = dict(alpha=alpha, gradual=gradual, head_factor=head_factor)
    backbone = fine_tuned(labels, lr, seed, fraction, how)
    return scored(backbone, fraction) | forgetting(backbone)


def fine_tuned(labels, lr, seed, fraction, how):
    """The fab's network trained in one way; how: a value of METHODS."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    # gradual: one group more after each tenth of the updates
    groups, plan = opened(backbone, lr, **how)
    data = labelled(labels, seed)
    optimization = training.Optimization(param_groups=groups)
    options = dict(optimization=optimization, on_epoch=plan, fraction=fraction)
    train(backbone, data, steps=STEPS[labels], seed=seed, **options)
    return backbone


# What is left of the source, with BatchNorm's statistics computed anew on source
# pictures in every arm.  Fixed before any of it was seen: two rates; 3e-4, at which the
# targets of the three ways are equal in `layer_rates`, and 1e-3, the better of the two
# for each way by validation there.
# - Gradual unfreezing protects if it keeps more than flat at both rates (paired by
#   seed, 95 % interval above zero) and its target is not lower by more than a point.
# - C28 is confirmed if it also keeps more than rates by layer at one of them; qualified
#   if it protects no better than these, or at one rate alone; refuted if at neither
#   rate the interval lies above zero.
# - C58 stays confirmed if flat keeps less at 1e-3 than at 3e-4 (interval below zero)
#   with a target that is at most two points apart.
# Flat turned out 3 points better at 1e-3 than at 3e-4, so that this pair, which keeps
# 24 points less, decides nothing about C58.
KEPT_WAYS = ("by layer", "gradual")  # flat is "full" of the grid `forgetting`


def kept_cells():
    """The cells of `kept_textures`."""
    return [
        dict(way=way, lr=lr, seed=seed)
        for seed in SEEDS
        for way in KEPT_WAYS
        for lr in TRIED[:2]
    ]


@experiment(
    "kept_textures",
    grid=kept_cells(),
    sample=[dict(way="gradual", lr=1e-3, seed=0)],
    short=[dict(way="gradual", lr=1e-3, seed=0, fraction=0.01)],
    tolerance={"accuracy": 0.04, "val_accuracy": 0.04} | lesson03.KEPT,
    models=(BACKBONE,),
    data=FILES,
)
def kept_textures(way, lr, seed, fraction=1.0):
    """Fine-tune on 100 labels; textures left, by kind of BatchNorm statistics."""
    backbone = fine_tuned(100, lr, seed, fraction, METHODS[way])
    original = zoo.load(BACKBONE)
    return scored(backbone, fraction) | lesson03.left(
        backbone, original, lesson03.textures
    )


CONSTANT = dict(schedule="constant", warmup=0.0)
SHAPES = {  # "warm-up, cosine" is the flat rate of the grid above
    "constant": training.Optimization(**CONSTANT),
    "slanted triangle": training.Optimization(
        schedule=over_time.slanted_triangular(), warmup=0.0
    ),
}


@experiment(
    "schedules",
    grid=[
        dict(schedule=schedule, lr=lr, seed=seed)
        for seed in SEEDS
        for schedule in SHAPES
        for lr in TRIED
    ],
    sample=[dict(schedule="slanted triangle", lr=3e-4, seed=0)],
    short=[dict(schedule=name, lr=3e-4, seed=0, fraction=0.01) for name in SHAPES],
    tolerance={"accuracy": 0.04},
    models=(BACKBONE,),
    data=FILES,
)
def schedules(schedule, lr, seed, fraction=1.0):
    """Fine-tune on 100 labels with one flat rate that follows a schedule."""
    backbone = zoo.load(BACKBONE, 5, seed=seed)
    data = labelled(100, seed)
    options = dict(steps=STEPS[100], seed=seed, lr=lr, fraction=fraction)
    train(backbone, data, **options, optimization=SHAPES[schedule])
    return scored(backbone, fraction) | forgetting(backbone)


OTHER_PICTURES = 4711  # the seed of source pictures that renew BatchNorm's statistics


def renewed(backbone, original):
    """A copy whose BatchNorm statistics are those of source pictures again."""
    own = backbone.copy()
    norms = [m for m in own.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
    pictures = patterns.render(512, OTHER_PICTURES).images
    own.model.train()
    with torch.no_grad():
        for batch in np.split(pictures, 4):
            own.model(original.preprocess(batch))
    own.model.eval()
    return own


# -- what the lesson reads and draws ------------------------------------------------


def fab():
    """The rows of `layer_rates` with the name of their way, and two kinds from others.

    Flat at 500 labels, and flat from a fitted head with frozen BatchNorm at 100.
    """
    rows = []
    for row in results.load("layer_rates"):
        how = {key: row[key] for key in METHODS["flat"]}
        name = f"alpha {row['alpha']:g}"
        for way, method in METHODS.items():
            name = way if method == how else name
        rows.append(dict(row, way=name))
    flat = results.load("strategies").select(strategy="full", labels=500)
    rows += [dict(row, way="flat") for row in flat.select(seed=SEEDS)]
    fitted = results.load("forgetting").select(strategy="full_from_probe", labels=100)
    rows += [
        dict(row, way="flat, fitted head", source_texture=row["source"])
        for row in fitted
    ]
    return results.Grid(rows)


def kept():
    """Rows with three kinds of BatchNorm statistics: flat, by layer and gradual."""
    same = dict(strategy="full", labels=100, lr=TRIED[:2], seed=SEEDS)
    flat = results.load("forgetting").select(**same)
    rows = [dict(row, way="flat") for row in flat]
    return results.load("kept_textures") + rows


def kept_table():
    """What each way keeps of the textures, by rate and by statistics."""
    rows, shown = kept(), []
    numbers = {"accuracy": "target", "source": "as left", "source_renewed": "anew"}
    for lr, way in product(TRIED[:2], ("flat", *KEPT_WAYS)):
        found = rows.select(way=way, lr=lr)
        means = {words: found.values(n).mean() for n, words in numbers.items()}
        shown.append(dict(rate=lr, way=way, **means))
    return pd.DataFrame(shown).set_index(["rate", "way"]).round(2)


def fab_frozen():
    """A linear head on the fab's frozen features, by labels and seed."""
    return lesson02.compared().select(strategy="frozen")


def gains_over_flat(grid):
    """A table of points over one flat rate, each at its best rate, by labels.

    With the number of seeds that a column's differences have.
    """
    columns = {}
    for labels in (25, 100, 500):
        flat = grid.best(way="flat", labels=labels)
        gains = {
            way: grid.best(way=way, labels=labels).minus(flat)
            for way in ("by layer", "gradual by layer")
        }
        (n,) = {gain.n for gain in gains.values()}
        columns[f"{labels} labels, {n} seeds"] = {w: told(g) for w, g in gains.items()}
    return pd.DataFrame(columns)


def fab_alphas():
    """{alpha: rows of its best rate} with 100 labels, over the same rates and seeds."""
    grid, found = results.load("layer_rates"), {}
    for alpha in ALPHAS:
        how = METHODS["by layer"] | dict(alpha=alpha)
        rows = grid.select(labels=100, **how, lr=TRIED[:3], seed=SEEDS)
        found[alpha] = rows.best()
    return found


def texture(backbone):
    """Accuracy on the source's 41 textures with the source's own head put back."""
    return source_accuracy(backbone, zoo.load(BACKBONE))["texture"]


def groupings():
    """{network: its layer groups}; no weights are made, only shapes."""
    made = {
        "resnet50": lambda: torchvision.models.get_model("resnet50"),
        "convnext_tiny": lambda: torchvision.models.get_model("convnext_tiny"),
        "swin_t": lambda: torchvision.models.get_model("swin_t"),
        "vit_base": lambda: timm.create_model("vit_base_patch16_224"),
        "bert-base": lambda: AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model("bert")
        ),
    }
    found = {
        "resnet10-patterns": layer_groups.layer_groups(zoo.load(BACKBONE, 5)),
        "efficientnet-lite0": layer_groups.layer_groups(zoo.load(solar.BACKBONE, 2)),
    }
    for name, make in made.items():
        with torch.device("meta"):
            net = make()
        found[name] = layer_groups.layer_groups(net)
        listed = [member for members in found[name].values() for member in members]
        assert sorted(listed) == sorted(dict(net.named_parameters()))
    return found


def solar_flat_rate():
    """The flat rate for Lite0's last stages that validation prefers."""
    return results.load("solar_layer_rates").best(way="flat")[0]["lr"]


def fab_schedules():
    """The rows of `schedules`, and the flat rate, which has warm-up and cosine."""
    flat = fab().select(way="flat", labels=100, seed=SEEDS)
    named = [dict(row, schedule="warm-up, cosine") for row in flat]
    return results.load("schedules") + named


def explore_rates(groupings):
    """A slider for base rate and alpha, and the rate of each group of a network."""

    def draw(name, base, alpha):
        rates = layer_groups.layer_rates(groupings[name], base, alpha)
        fig, ax = plots.new(height=3.0)
        ax.plot(range(len(rates)), list(rates.values()), "o", color=plots.COLOURS[0])
        ax.axhline(1e-8, color="black", linestyle=":")
        short = [group.split(".", 1)[-1] for group in rates]
        ax.set_xticks(range(len(rates)), short, rotation=60, fontsize=8)
        ax.set(yscale="log", ylim=(1e-13, 1), ylabel="learning rate")
        ax.set(xlabel="layer group, from the input to the head")
        ends = f"head {rates['head']:.0e}, stem {rates['stem']:.1e}"
        ax.set_title(f"{name}, alpha {alpha:.3f}: {ends}")
        return fig

    controls = dict(
        name=widgets.choice("network", groupings, "efficientnet-lite0"),
        base=widgets.log_slider("base rate", 1e-3, -6, -1),
        alpha=widgets.slider("alpha", ULMFIT, 0.05, 1.0, 0.005),
    )

    def alt(name, base, alpha):
        return (
            f"The learning rate of each layer group of {name}, on a logarithmic scale, "
            f"for a base rate of {base:.0e} and alpha {alpha:.2f}."
        )

    widgets.explore(draw, controls, alt=alt)


def show_factors(curves):
    """The factor of the rates over the updates, {schedule: [factor]}."""
    fig, ax = plots.new(height=2.6)
    for (name, factors), line in zip(curves.items(), ("-", "--"), strict=True):
        ax.plot(factors, line, label=name)
    ax.axhline(1, color="black", linestyle=":", label="constant")
    ax.set(xlabel="update t", ylabel="factor s(t)", title="Up within 10 %, then down")
    plots.clear_legend(ax)
    alt = "The factor of two schedules against updates. Both rise to one in a tenth of "
    plots.show(fig, alt=alt + "the updates and fall to about zero after it.")


def told(found):
    """An interval of shares, in points."""
    return f"{100 * found.mean:.1f} ± {100 * found.half_width:.1f}"


def show_schedules(grid):
    """Accuracy by rate for three schedules on the fab's pictures."""
    rates, lines = grid.curves("accuracy", x="lr", series="schedule")
    means = [values.mean(0) for values in lines.values()]
    falls = [100 * (mean.max() - mean[-1]) for mean in means]
    lost = f"{min(falls):.0f} to {max(falls):.0f} points"
    best = (grid.best(schedule=name) for name in ("warm-up, cosine", "constant"))
    gap = next(best).minus(next(best))
    fig = plots.line_with_spread(
        rates,
        lines,
        log_x=True,
        spread="range",
        xlabel="learning rate, one for all layers",
        ylabel="test accuracy",
        title=f"Fab: at {rates[-1]:g} each schedule loses {lost} to its best rate;\n"
        f"at the best rates warm-up and cosine lead a constant one by {told(gap)}",
    )
    alt = "Test accuracy against learning rate for three schedules, with the range "
    plots.show(fig, alt=alt + "over seeds. All of them fall from 0.001 on.")


def show_range_tests(tests, best):
    """Smoothed losses against the rate, {world: (rates, losses)}.

    best: the rate that validation prefers, where it is known, {world: rate}.
    Returns the rate of the steepest fall in each world.
    """
    fig, axes = plots.new(height=3.4, columns=len(tests))
    fastest = {}
    for ax, (world, (rates, losses)) in zip(axes, tests.items(), strict=True):
        steepest = rates[np.gradient(losses, np.log(rates)).argmin()]
        ax.plot(rates, losses, color=plots.COLOURS[0])
        ax.axvline(steepest, ls="--", color=plots.COLOURS[1], label="steepest fall")
        if world in best:
            ax.axvline(best[world], ls=":", color="black", label="best on validation")
        ax.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss (nats)")
        ax.set_title(f"{world}: fastest at {steepest:.1g}")
        fastest[world] = float(steepest)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
    alt = "Smoothed training loss against learning rate for two networks. It falls, "
    alt += (
        "reaches a minimum and rises. Lines mark the steepest fall and the best rate."
    )
    plots.show(fig, alt=alt)
    return fastest


def show_ways(grid, ways, frozen, world, xlabel):
    """Accuracy by rate for several ways; frozen: accuracy of a head on its own."""
    rows = grid.select(way=ways, seed=SEEDS if world == "Fab" else range(5))
    x, lines = rows.curves("accuracy", x="lr", series="way", partial=True)
    flat = grid.best(way="flat")
    leads = {way: grid.best(way=way).minus(flat) for way in ways if way != "flat"}
    first = max(leads, key=lambda way: leads[way].mean)
    title = f"{first} leads flat by {told(leads[first])} points"
    if leads[first].low <= 0:
        title = f"no way surely leads flat\n({first} minus flat {told(leads[first])})"
    fig = plots.line_with_spread(
        x,
        {way: lines[way] for way in ways},
        log_x=True,
        spread="range",
        xlabel=xlabel,
        ylabel="test accuracy" if world == "Fab" else "balanced test accuracy",
        title=f"{world}, best rate of each: {title}",
    )
    ax = fig.axes[0]
    ax.axhline(frozen, color="#333333", linestyle=":")
    beside = dict(transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.text(1.01, frozen, "frozen\nfeatures", **beside)
    alt = (
        f"{world}: test accuracy against learning rate for {len(ways)} ways to train, "
    )
    plots.show(fig, alt=alt + "with the range over seeds. Frozen features are dotted.")


def trade_off_figure(ways, still):
    """Accuracy left on the source against that on the target, by way to fine-tune.

    ways: {name: Grid of all its rates and seeds}.  still: the two accuracies, target
    and source, of frozen features.
    """
    fig, ax = plots.new(width=7.4, height=4.0)
    both = ("accuracy", "source_texture")
    for i, (name, rows) in enumerate(ways.items()):
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
        by_seed = sorted(rows, key=lambda row: row["seed"])
        points = ([row[number] for row in by_seed] for number in both)
        ax.scatter(*points, s=10, alpha=0.3, **look)
        means = (rows.best().values(number).mean() for number in both)
        ax.scatter(*means, s=90, edgecolor="black", label=name, **look)
    star = dict(marker="*", color="#777777", markersize=13, linestyle="")
    ax.plot(*still, **star, label="frozen features")
    ax.set(xlabel="target: test accuracy")
    ax.set_ylabel("source textures, BatchNorm statistics as left")
    kept = {name: rows.best().values(both[1]).mean() for name, rows in ways.items()}
    least = min(kept, key=kept.get)
    ax.set_title(f"Fab, best rate of each: {least} keeps least, {kept[least]:.2f}")
    title = "large: mean at the rate\nthat validation chose;\nsmall: one run"
    options = dict(fontsize="small", title_fontsize="small", title=title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), **options)
    return fig


def show_trade_off(grid, still):
    """:func:`trade_off_figure` of all ways with 100 labels."""
    ways = {way: grid.select(way=way, labels=100, seed=SEEDS) for way in METHODS}
    alt = "Scatter of source accuracy against target accuracy with 100 labels. Each "
    alt += "seed and rate is a faint mark, the chosen rates are large, frozen features "
    plots.show(trade_off_figure(ways, still), alt=alt + "a star.")


def show_alphas(curves):
    """Target and source accuracy by alpha, {number: (n_seeds, n_alphas)}."""
    within = np.ptp(curves["target"].mean(0)[:-1])
    fig = plots.line_with_spread(
        ALPHAS,
        curves,
        spread="range",
        xlabel="alpha (1 is flat; nothing was tried between 0.5 and 1)",
        ylabel="accuracy, each alpha at its best rate",
        title=f"Fab: alpha 0.1 to 0.5 moves the target by {100 * within:.1f} points",
    )
    alt = "Target and source accuracy against alpha, each alpha at the rate that "
    plots.show(fig, alt=alt + "validation prefers, with the range over three seeds.")


# -- the real world: solar cells and EfficientNet-Lite0 -----------------------------
# What lies behind stage 5 learns: five blocks and the head, four fifths of the weights.
# The stages below stay frozen and run once on each picture.

MILD = 0.7
SOLAR_WAYS = {  # each starts from the same head, which was fitted to frozen features
    "flat": dict(alpha=1.0, gradual=False),
    "by block": dict(alpha=ULMFIT, gradual=False),
    "by block, mild": dict(alpha=MILD, gradual=False),
    "gradual": dict(alpha=1.0, gradual=True),
    "constant": dict(alpha=1.0, gradual=False),  # flat, without warm-up and cosine
}
SOLAR_TRIED = (3e-4, 1e-3, 3e-3)  # lr: the rate of the last block
SOLAR_EVALUATIONS = 8  # an epoch of the plan is the ten updates between two of them
SOLAR_PLAN = {  # one block an epoch, as ULMFiT; all are open after 50 of 80 updates
    1: ["blocks.6.0"],
    2: ["blocks.5.3"],
    3: ["blocks.5.2"],
    4: ["blocks.5.1"],
    5: ["blocks.5.0"],
}


@lru_cache(maxsize=1)
def probe(seed):
    """A head fitted to Lite0's frozen features of 100 cells of each class."""
    backbone = zoo.load(solar.BACKBONE)
    train, held = solar.labelled(solar.TUNED_AT, seed), solar.validation()
    X, V = (features.extract(backbone, data) for data in (train, held))
    options = dict(head=training.Head(standardise=False), steps=200, seed=seed)
    return training.fit_head(X, train.labels, (V, held.labels), **options)[0]


@lru_cache(maxsize=1)
def crops(size=192):
    """32 crops of each of two photographs at 96 px, (64, 96, 96, 3)."""
    cut = []
    for photograph in datasets.photographs().values():
        height, width = (n - size for n in photograph.shape[:2])
        for y in np.linspace(0, height, 4).astype(int):
            for x in np.linspace(0, width, 8).astype(int):
                cut.append(photograph[y : y + size : 2, x : x + size : 2])
    return np.stack(cut)


@lru_cache(maxsize=1)
def untouched():
    """Lite0 as ImageNet left it, the crops prepared, and its answers, (64, 1000)."""
    original = zoo.load(solar.BACKBONE)
    pictures = original.preprocess(crops())
    with torch.no_grad():
        return original, pictures, original.model(pictures).log_softmax(1)


@torch.no_grad()
def imagenet_left(backbone):
    """How far Lite0 still answers as ImageNet taught it: agreement and nats.

    ImageNet's own head is put back on the adapted network.  Its answers to crops of two
    photographs are compared with those of the untouched network: share of equal first
    answers, and Kullback-Leibler divergence.
    """
    original, pictures, before = untouched()
    model = backbone.copy().model.eval()
    model.set_submodule(backbone.head, original.model.get_submodule(original.head))
    now = model(pictures).log_softmax(1)
    same = (now.argmax(1) == before.argmax(1)).float().mean()
    far = kl_div(now, before, reduction="batchmean", log_target=True)
    return {"imagenet_agreement": float(same), "imagenet_nats": float(far)}


def keep_statistics(net):
    """BatchNorm keeps its running statistics for good; scale and shift still learn.

    The probe's head was fitted to features by these statistics.
    """
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    learn = [layer.weight.requires_grad for layer in norms]
    for layer in norms:
        layer.requires_grad_(False)
    freezing.freeze_batchnorm(net)
    for layer, before in zip(norms, learn, strict=True):
        layer.requires_grad_(before)


def last_stages(seed):
    """Lite0 with a fitted head, and what of it learns: stages 6 and 7 and the head."""
    backbone = zoo.load(solar.BACKBONE, num_classes=2, seed=seed)
    training.attach_head(backbone, probe(seed))  # Kumar et al. 2022
    upper = FrozenStages(backbone, solar.BELOW, solar.validation().images).upper
    keep_statistics(upper)
    return backbone, upper


SOLAR_TOLERANCE = solar.TOLERANCE | {
    "imagenet_agreement": 0.1,
    "imagenet_nats": 0.2,
}


@lru_cache(maxsize=4)
def stored_below(split, seed=0, fraction=1.0):
    """What stage 5 gives for the cells of a split; of the training cells, two views."""
    backbone = zoo.load(solar.BACKBONE)
    data = {
        "train": lambda: solar.labelled(solar.TUNED_AT, seed),
        "validation": solar.validation,
        "test": lambda: solar.cells("test"),
    }[split]()
    lower = FrozenStages(backbone, solar.BELOW, data.images)
    if split == "train":
        return lower.run(data, MIRRORED)
    return lower.run(part(data, fraction))


@experiment(
    "solar_layer_rates",
    grid=[
        dict(way=way, lr=lr, seed=seed)
        for seed in range(5)
        for lr in SOLAR_TRIED
        for way in SOLAR_WAYS
    ],
    sample=[dict(way="gradual", lr=1e-3, seed=0)],
    short=[dict(way="gradual", lr=1e-3, seed=0, fraction=0.05)],
    tolerance=SOLAR_TOLERANCE | {"last_accuracy": 0.02, "val_last_accuracy": 0.02},
    data=solar.FILES,
)
def solar_layer_rates(way, lr, seed, fraction=1.0):
    """Train the last two stages of Lite0 on 100 cells of each class."""
    backbone, upper = last_stages(seed)
    groups, plan = opened(backbone, lr, **SOLAR_WAYS[way], plan=SOLAR_PLAN)
    options = CONSTANT if way == "constant" else {}
    optimization = training.Optimization(param_groups=groups, **options)
    steps = solar.STEPS[solar.TUNED_AT]
    every = interval(steps, SOLAR_EVALUATIONS, fraction)
    recipe = training.Recipe(eval_every=every, optimization=optimization)
    seen, held, test = (
        stored_below(split, seed if split == "train" else 0, fraction)
        for split in ("train", "validation", "test")
    )
    options = dict(steps=updates(steps, fraction), seed=seed, recipe=recipe)
    _, best = watched(upper, seen, held, plan=plan, **options)
    numbers = {}
    for name in ("last_", ""):
        if name == "":
            upper.load_state_dict(best)
        for prefix, data in (("", test), ("val_", held)):
            found = training.evaluate(upper, data)
            numbers[f"{prefix}{name}accuracy"] = found["balanced_accuracy"]
            numbers[f"{prefix}{name}loss"] = found["loss"]
    return numbers | imagenet_left(backbone)
