"""Grids of lessons 08 and 09: parameter-efficient fine-tuning under one protocol.

Tickets with 500 labels on the text encoder; lesson09 has the same methods on pictures.
Rates are compared with the first seed by validation accuracy,
until the best lies inside those tried; it runs with every seed.  The weights are those
after the last update.
"""

from functools import cache

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from course_lib import datasets
from course_lib.lessons import lesson07, results
from course_lib.lessons.lesson07 import FILES, STEPS, labelled, scored
from course_lib.lessons.results import SEEDS, experiment
from course_lib.methods import lora, peft_family
from course_lib.models import language_models, text, zoo
from course_lib.show import plots, widgets
from course_lib.training import hf_trainer

LABELS = 500
ALL = "every linear layer"
TARGETS = {  # what LoRA is put beside
    "query, value": ("query", "value"),
    ALL: peft_family.LINEAR,
}
ALPHA = 16.0  # s = alpha / r, whatever the rank
SHAPES = [  # (r, targets) of LoRA besides (8, ALL); the last trains as much as that
    *((r, ALL) for r in (1, 64)),
    (36, "query, value"),
]
METHODS = {
    "full": peft_family.full,
    "lora": peft_family.lora_everywhere,
    "dora": peft_family.dora,
    "adapters": peft_family.adapters,
    "prefix": peft_family.prefix,
    "prompt": peft_family.prompt,
    "ia3": peft_family.ia3,
    "bitfit": peft_family.bitfit,
    "probe": peft_family.probe,
}
SEEDED = ("lora", "dora", "adapters", "prefix", "prompt")  # they draw random numbers
TRIED_TEXT = {  # with the first seed; dora takes lora's
    "full": (1.5e-4, 5e-4, 1.5e-3),
    "lora": (5e-4, 1.5e-3, 5e-3),
    "adapters": (1.5e-3, 5e-3, 1.5e-2),
    "bitfit": (1.5e-3, 5e-3, 1.5e-2),
    "prefix": (5e-3, 1.5e-2, 5e-2, 1.5e-1, 5e-1),
    "prompt": (1.5e-2, 5e-2, 1.5e-1),
    "ia3": (5e-3, 1.5e-2, 5e-2, 1.5e-1),
    "probe": (5e-3, 1.5e-2, 5e-2, 1.5e-1, 5e-1),
}
CHOSEN_TEXT = {  # of these by validation accuracy; they run with every seed
    "full": 5e-4,
    "lora": 1.5e-3,
    "adapters": 5e-3,
    "bitfit": 5e-3,
    "prefix": 1.5e-1,
    "prompt": 5e-2,
    "ia3": 5e-2,
    "probe": 1.5e-1,
}


def cells(tried, chosen):
    """Each method at its rates with the first seed, at the chosen one with all."""
    grid = []
    for seed in SEEDS:
        for method in METHODS:
            best = chosen.get("lora" if method == "dora" else method)
            rates = tried.get(method, ()) if seed == SEEDS[0] else ()
            rates = dict.fromkeys([*rates, *([best] if best else [])])
            grid += [dict(method=method, lr=lr, seed=seed) for lr in rates]
    return grid


def text_cells():
    """The methods, then LoRA by rank and by what it is put beside, at rank 8's rate."""
    grid = [
        params | dict(r=8, targets=ALL) for params in cells(TRIED_TEXT, CHOSEN_TEXT)
    ]
    lr = CHOSEN_TEXT["lora"]
    for r, targets in SHAPES:
        one = dict(method="lora", lr=lr, r=r, targets=targets)
        grid += [one | dict(seed=seed) for seed in SEEDS]
    return grid


def put(backbone, method, seed, r=8, targets=ALL):
    """The method's parts in the backbone; LoRA by rank and targets."""
    if method != "lora":
        options = dict(seed=seed) if method in SEEDED else {}
        return METHODS[method](backbone, **options)
    names = peft_family.linear_layers(backbone, TARGETS[targets])
    return lora.inject(backbone, names, r, ALPHA, train=(backbone.head,), seed=seed)


@experiment(
    "peft_text",
    grid=text_cells(),
    sample=[dict(method="probe", lr=5e-3, seed=0, r=8, targets=ALL)],
    short=[
        dict(method="probe", lr=5e-3, seed=0, r=8, targets=ALL, fraction=0.02),
        dict(
            method="lora",
            lr=1.5e-3,
            seed=0,
            r=36,
            targets="query, value",
            fraction=0.02,
        ),
    ],
    tolerance={"accuracy": 0.03},
    data=FILES,
)
def peft_text(method, lr, seed, r, targets, fraction=1.0):
    """One method on 500 tickets: accuracies, and parameters that learn."""
    backbone = put(zoo.load("minilm", 5, seed=seed), method, seed, r, targets)
    learning = sum(v.numel() for v in peft_family.trained_state(backbone).values())
    data, steps = labelled(LABELS, seed), results.updates(STEPS[LABELS], fraction)
    hf_trainer.fit(backbone, data, steps=steps, lr=lr, seed=seed)
    numbers = scored(lambda part: text.predict(backbone, part.texts), fraction)
    return numbers | {"trainable": learning}


KEPT = (0, 1, 8, 64)  # ranks to which a full update is cut


@torch.no_grad()
def truncated(start, end, names, rank):
    """start + the best approximation of rank ``rank`` to end - start, by name.

    Eckart & Young 1936: the first singular directions.
    """
    cut = {}
    for name in names:
        U, S, Vh = torch.linalg.svd(end[name] - start[name], full_matrices=False)
        cut[name] = start[name] + (U[:, :rank] * S[:rank]) @ Vh[:rank]
    return cut


@experiment(
    "full_updates",
    grid=[dict(steps=STEPS[LABELS], seed=seed) for seed in SEEDS],
    sample=[dict(steps=STEPS[LABELS], seed=0)],
    short=[dict(steps=STEPS[LABELS], seed=0, fraction=0.02)],
    tolerance={f"energy_{r}": 0.02 for r in (1, 8, 64)}
    | {"relative_size": 0.002, "cut_8": 0.03},
    data=FILES,
)
def full_updates(steps, seed, fraction=1.0):
    """The update of full fine-tuning: its spectrum, and accuracy when it is cut.

    ``energy_r``: share of the squared singular values up to r, mean over the matrices.
    ``cut_r``: test accuracy with every matrix's update cut to rank r, all else as
    fine-tuned.  A short cell looks at the six matrices of the first layer.
    """
    backbone = zoo.load("minilm", 5, seed=seed)
    names = [f"{n}.weight" for n in peft_family.linear_layers(backbone)]
    names = names if fraction == 1 else names[:6]
    start = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    data = labelled(LABELS, seed)
    steps = results.updates(steps, fraction)
    hf_trainer.fit(backbone, data, steps=steps, lr=CHOSEN_TEXT["full"], seed=seed)
    end = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    energy = torch.stack(
        [torch.linalg.svdvals(end[n] - start[n]).square() for n in names]
    )
    energy = (energy.cumsum(1) / energy.sum(1, keepdim=True)).mean(0)
    numbers = {f"energy_{r}": float(energy[r - 1]) for r in (1, 8, 64)}
    largest = max((end[n] - start[n]).norm() / start[n].norm() for n in names)
    numbers["relative_size"] = float(largest)
    test = results.part(datasets.load("tickets", "test"), fraction, lesson07.SHORT)
    for rank in (*KEPT, None) if fraction == 1 else (8,):
        cut = {} if rank is None else truncated(start, end, names, rank)
        backbone.model.load_state_dict(end | cut)
        right = text.predict(backbone, test.texts).argmax(1) == test.labels
        numbers["accuracy" if rank is None else f"cut_{rank}"] = right.mean()
    return numbers


# -- what the lesson reads and draws --------------------------------------------------

CONFIGS = {  # of the models' papers: Touvron et al. 2023, Grattafiori et al. 2024
    "Llama-2-7B": dict(hidden_size=4096, intermediate_size=11008),
    "Llama-3.1-8B": dict(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_key_value_heads=8,
    ),
    "LLaMA-65B": dict(
        hidden_size=8192,
        intermediate_size=22016,
        num_hidden_layers=80,
        num_attention_heads=64,
    ),
}


@cache
def on_meta(name):
    """A large model's architecture: shapes and no numbers."""
    with torch.device("meta"):
        config = AutoConfig.for_model("llama", **CONFIGS[name])
        return AutoModelForCausalLM.from_config(config)


def shapes(name, targets):
    """(d, k) of each linear layer of a large model that has one of these names."""
    return [
        (layer.out_features, layer.in_features)
        for module, layer in on_meta(name).named_modules()
        if module.split(".")[-1] in targets
    ]


@torch.no_grad()
def smollm(layers, words):
    """The first layers of SmolLM2 and the first rows of its (tied) embedding."""
    name = "smollm2-135m-instruct"
    config = language_models.configuration(name)
    config.num_hidden_layers, config.vocab_size = layers, words
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    (path,) = language_models.folder(name).glob("*.safetensors")
    with safe_open(path, "pt") as stored:  # only what is needed is read
        for key, parameter in model.named_parameters():
            parameter.copy_(stored.get_slice(key)[: len(parameter)])
    return model


def fab_by_rank():
    """{rank: rows} of LoRA on tickets, beside every linear layer, at rank 8's rate."""
    rows = results.load("peft_text").select(method="lora", targets=ALL)
    return {r: rows.best(r=r) for r in sorted({row["r"] for row in rows})}


def fab_attention():
    """Rows of LoRA beside queries and values only, with as many parameters."""
    return results.load("peft_text").best(method="lora", targets="query, value")


def fab_full():
    """Rows of full fine-tuning on tickets, with its update cut to several ranks."""
    return results.load("full_updates").select(steps=STEPS[LABELS])


FIRST_STEP = ("norm of the update (Frobenius)", "loss taken off, nats")


def show_first_steps(ranks, steps):
    """Norm and effect of the first update by rank; steps: {scale: (draws, ranks, 2)}.

    Returns the slopes on logarithmic axes, {(scale, 0 norm or 1 effect): slope}.
    """
    slopes = {}
    fig, axes = plots.new(width=7.4, height=3.4, columns=2)
    for ax, column, what in zip(axes, (0, 1), FIRST_STEP):
        for i, (label, values) in enumerate(steps.items()):
            y = values[:, :, column].mean(0)
            slopes[label, column] = np.polyfit(np.log(ranks), np.log(y), 1)[0]
            look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
            name = f"{label}: slope {slopes[label, column]:.2f}"
            ax.loglog(ranks, y, label=name, **look)
            ends = (values[:, :, column].min(0), values[:, :, column].max(0))
            ax.fill_between(ranks, *ends, color=look["color"], alpha=0.18, linewidth=0)
        ax.set(xlabel="rank r", ylabel=what, xticks=ranks[::2], xticklabels=ranks[::2])
        low, high = ax.get_ylim()
        ticks = [m * 10.0**e for e in range(-5, 3) for m in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.legend(fontsize="small")
    flat = [min(steps, key=lambda s: abs(slopes[s, column])) for column in (0, 1)]
    fig.suptitle(f"Flat in norm: {flat[0]}. Flat in effect: {flat[1]}")
    alt = "Norm of the first update and the loss it takes off against the rank, for "
    plots.show(
        fig,
        alt=alt + "two scales, mean and range of three draws, both axes logarithmic.",
    )
    return slopes


def show_ranks(trained, cut, full, none):
    """Accuracy on tickets; trained, cut: {rank: accuracies}; full, none: accuracies.

    none: of full fine-tuning with the updates of all these matrices taken out.
    """
    fig, ax = plots.new(height=3.6)
    series = {"LoRA, trained at this rank": trained, "full update, cut": cut}
    for i, (label, values) in enumerate(series.items()):
        _points(ax, values, label, i)
    ax.axhline(full.mean(), color="black", ls=":", label="full fine-tuning")
    ax.axhline(none.mean(), color="black", ls="--", lw=0.8, label="cut to rank 0")
    ax.set(xscale="log", xlabel="rank", ylabel="test accuracy, 500 tickets")
    ax.set_xticks(list(trained), list(trained))
    ax.minorticks_off()
    lead = 100 * (trained[1].mean() - cut[1].mean())
    ax.set_title(
        f"Trained at rank 1, LoRA leads the cut to rank 1 by {lead:.0f} points"
    )
    plots.clear_legend(ax, title="mean and range of 3 seeds", title_fontsize="small")
    alt = "Test accuracy against the rank, for LoRA trained at that rank, for the full "
    plots.show(fig, alt=alt + "update cut to it, and as lines for all of it and none.")


def _points(ax, values, label, i):
    """Mean and range of accuracies by rank."""
    mean = np.array([v.mean() for v in values.values()])
    low, high = ([f(v) for v in values.values()] for f in (np.min, np.max))
    spread = [mean - low, high - mean]
    look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], ls=plots.DASHES[i])
    ax.errorbar(list(values), mean, yerr=spread, capsize=3, label=label, **look)


def show_spectra(kept):
    """Share of the squared norm by the rank kept, {what: (matrices, ranks)}."""
    fig, ax = plots.new(height=3.6)
    for i, (what, rows) in enumerate(kept.items()):
        ranks = range(1, rows.shape[1] + 1)
        colour, dashes = plots.COLOURS[i], plots.DASHES[i]
        ax.plot(ranks, rows.mean(0), color=colour, linestyle=dashes, label=what)
        band = dict(color=colour, alpha=0.18, linewidth=0)
        ax.fill_between(ranks, rows.min(0), rows.max(0), **band)
    half = [int(np.searchsorted(rows.mean(0), 0.5)) + 1 for rows in kept.values()]
    ax.set(xscale="log", xlabel="rank kept", ylabel="share of the squared norm")
    ax.set_title(
        f"Half of an update lies in {half[0]} directions,\nhalf of the pretrained "
        f"weights in {half[1]} (mean of {len(rows)} matrices)"
    )
    ax.legend(title="mean and range over matrices", title_fontsize="small")
    alt = "Share of the squared norm against the rank kept, for updates, pretrained "
    plots.show(fig, alt=alt + "weights and random matrices of the same shapes.")


def explore_cut(accuracy_at, shown, n):
    """A slider: accuracy when every matrix's update is cut to a rank.

    accuracy_at: function of the rank; shown: ranks drawn, with the standard error of
    an accuracy on n sentences.
    """

    def draw(rank):
        rank = int(rank)
        fig, ax = plots.new(height=3.2)
        y = np.array([accuracy_at(r) for r in shown])
        error = np.sqrt(y * (1 - y) / n)
        look = dict(color=plots.COLOURS[0], capsize=3)
        ax.errorbar(
            shown, y, error, fmt="o", label="one standard error of each", **look
        )
        reached = accuracy_at(rank)
        ax.plot(rank, reached, "*", color=plots.COLOURS[1], markersize=15)
        ax.set_xscale("symlog", base=2, linthresh=1)
        ax.set_xticks(shown, shown)
        ax.set(xlabel="rank to which every update is cut")
        ax.set(ylabel=f"accuracy, {n} validation sentences")
        ax.set_title(
            f"All updates cut to rank {rank}: {reached:.3f}; whole: {y[-1]:.3f}"
        )
        ax.legend(loc="lower right")
        return fig

    controls = dict(rank=widgets.slider("rank", 8, 0, 384, 1))

    def alt(rank):
        return (
            f"Accuracy against the rank to which all updates are cut, now {rank:.0f}, "
            "with standard errors."
        )

    widgets.explore(draw, controls, alt=alt)


def show_rates(grid, methods):
    """Validation loss by rate, {label: method}; the title has the best rates."""
    fig, ax = plots.new(height=3.6)
    lowest, by_seed = [], []
    for i, (label, method) in enumerate(methods.items()):
        rates, lines = grid.select(method=method).curves("val_loss", "lr", "method")
        mean, spread = lines[method].mean(0), lines[method]
        colour = plots.COLOURS[i]
        ax.plot(rates, mean, marker=plots.MARKERS[i], color=colour, label=label)
        band = dict(color=colour, alpha=0.18, linewidth=0)
        ax.fill_between(rates, spread.min(0), spread.max(0), **band)
        lowest.append(rates[mean.argmin()])
        by_seed.append(rates[spread.argmin(1)])
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats)")
    names = list(methods)
    times = by_seed[1] / by_seed[0]
    ax.set_title(
        f"Lowest mean loss: {names[1]} at {lowest[1]:g}, {names[0]} at {lowest[0]:g}.\n"
        f"Seed by seed the ratio runs from {times.min():.0f} to {times.max():.0f}"
    )
    note = f"mean and range of {len(spread)} seeds"
    plots.clear_legend(ax, title=note, title_fontsize="small")
    alt = f"Validation loss against learning rate for {names[0]} and {names[1]}, with "
    plots.show(fig, alt=alt + f"the range over {len(spread)} seeds.")
