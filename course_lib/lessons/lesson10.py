"""Measurements and figures of lesson 10: four bits, reports, merging, memory.

The runs of SmolLM2 and their grids are in `lesson10_reports`.
"""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bitsandbytes import functional
from scipy.stats import norm

from course_lib import memory
from course_lib.analysis import statistics, usage
from course_lib.datasets import reports
from course_lib.lessons import lesson10_reports as runs
from course_lib.memory import Options, large_models
from course_lib.models import language_models, quantization
from course_lib.show import memory_bars, plots, widgets

TEXTS = tomllib.loads(
    Path(__file__).with_name("lesson10_texts.toml").read_text("utf-8")
)
PRECISIONS = {  # of the weights in the blocks; products are in 32 bits
    "16 bits": None,
    "NF4": dict(quant_type="nf4", compress_statistics=True),
    "NF4, constants in 32 bits": dict(quant_type="nf4"),
    "FP4": dict(quant_type="fp4"),
}
FOUR_BITS = ("nf4", "fp4", "int4")
NAMES = {  # of methods, in figures
    "qlora": "QLoRA",
    "lora": "LoRA, 16 bits",
    "lora, 32 bits": "LoRA, 32 bits",
    "full": "full",
}
FIELDS = ("lot", "place", "step", "defect", "action")
PLANS = {
    "full": Options("full"),
    "LoRA": Options("lora"),
    "QLoRA, prepared": Options("qlora"),
    "QLoRA": Options("qlora", prepared=False),
    "without checkpoints": Options("qlora", prepared=False, checkpointing=False),
}


# -- sixteen levels ---------------------------------------------------------------


def matrices(net):
    """All weights of a network's matrices, one after the other, (n,)."""
    found = [p.detach().flatten().float() for p in net.parameters() if p.ndim == 2]
    return torch.cat(found)


def format_errors(data):
    """A table: the relative error of each format on each kind of numbers."""
    names = (*FOUR_BITS, "int8")
    rows = {
        kind: [quantization.error(x, name).rms for name in names]
        for kind, x in data.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def usage_of_levels(x):
    """(share of each code, (16,); mean largest weight of a block) of numbers x."""
    codes, largest = quantization.quantize(x)
    return np.bincount(codes.numpy(), minlength=16) / len(codes), largest.mean().item()


def show_levels(levels, used, outermost):
    """The levels under a normal density, and how often each is used."""
    fig, axes = plots.new(width=7.6, height=3.0, columns=2)
    at = np.linspace(-1, 1, 401)
    axes[0].plot(at, norm.pdf(at * outermost), color=plots.COLOURS[0])
    heights = norm.pdf(levels * outermost)
    axes[0].vlines(levels, 0, heights, color=plots.COLOURS[1], lw=1.2)
    axes[0].set(title="Levels are close where weights are many", xlabel="level")
    axes[0].set(ylabel="normal density", ylim=(0, 0.42))
    axes[1].bar(range(16), used, color=plots.BAR)
    axes[1].axhline(1 / 16, color=plots.COLOURS[1], ls="--")
    axes[1].set(title="The outer ones are used least", xlabel="code")
    axes[1].set(ylabel="share of the weights")
    axes[1].set_xticks(range(0, 16, 3))
    axes[1].annotate("equal use", (12.3, 1 / 16), (0, 3), textcoords="offset points")
    plots.show(
        fig,
        alt="Left: the sixteen NF4 levels under a normal density. Right: how often "
        f"each code is used on normal data, {used.min():.1%} to {used.max():.1%}; the "
        "outermost least, the dashed line is a sixteenth.",
    )


def with_outlier(size, name):
    """(the block, its values in four bits, a) with one weight at ``size``."""
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    x[0] = size
    codes, a = quantization.quantize(x, name)
    return x, quantization.dequantize(codes, a, name, x.shape), a.item()


def damage(size, name):
    """Of the other 63 weights: (relative error, share stored as zero)."""
    x, stored, _ = with_outlier(size, name)
    lost = (stored - x)[1:].norm() / x[1:].norm()
    return lost.item(), (stored[1:] == 0).float().mean().item()


# -- what four bits cost ----------------------------------------------------------


@torch.no_grad()
def text_loss(model, tokenizer, text):
    """Mean loss of a text, in nats a token."""
    ids = tokenizer(" ".join(text.split()), return_tensors="pt")["input_ids"]
    logits = model(input_ids=ids).logits.float()
    return torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).item()


def _rounded(weight, options):
    """A matrix after rounding, in float32."""
    if options is None:
        return weight.to(torch.bfloat16).float()
    codes, state = functional.quantize_4bit(weight, blocksize=64, **options)
    return functional.dequantize_4bit(codes, state)


@torch.no_grad()
def losses_by_precision(model, tokenizer):
    """A table of the loss of each text: one row a text, one column a precision.

    The matrices inside the blocks of a model in 32 bits are rounded and restored.
    """
    places = [(kind, i) for kind, some in TEXTS.items() for i in range(len(some))]
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    originals = [p.half() for p in matrices]  # exact: the file has 16 bits
    assert all(torch.equal(p, o.float()) for p, o in zip(matrices, originals))
    found = {}
    for name, options in {"32 bits": "as they are", **PRECISIONS}.items():
        for p, original in zip(matrices, originals):
            if name != "32 bits":
                p.copy_(_rounded(original.float(), options))
        found[name] = [text_loss(model, tokenizer, TEXTS[k][i]) for k, i in places]
    for p, original in zip(matrices, originals):
        p.copy_(original)
    index = pd.MultiIndex.from_tuples(places, names=["kind", "text"])
    return pd.DataFrame(found, index=index)


def rises(losses):
    """{(precision, kind): interval of the rise in nats} over the texts of a kind.

    The kind "all" has all of them.
    """
    base = losses["32 bits"]
    found = {}
    for name in losses.columns[1:]:
        change = losses[name] - base
        for kind in TEXTS:
            found[name, kind] = statistics.mean_and_interval(change[kind])
        found[name, "all"] = statistics.mean_and_interval(change)
    return found


def show_rises(found):
    """The rise of the loss by precision and kind of text, with 95 % intervals."""
    names = list(dict.fromkeys(name for name, _ in found))
    fig, ax = plots.new(height=3.2)
    for i, name in enumerate(names):
        for j, kind in enumerate(TEXTS):
            rise, at = found[name, kind], i + 0.22 * (j - 1)
            ax.errorbar(
                at,
                rise.mean,
                rise.half_width,
                color=plots.COLOURS[j],
                marker=plots.MARKERS[j],
                capsize=3,
                label=kind if i == 0 else None,
            )
    ax.axhline(0, color="#333333", lw=0.8)
    ax.set_xticks(range(len(names)), [name.replace(", ", ",\n", 1) for name in names])
    ax.set(ylabel="rise of the loss, nats a token")
    cost = found["NF4", "all"].mean
    ax.set_title(f"A second rounding, to NF4, costs {cost:.2f} nats a token")
    plots.clear_legend(ax)
    plots.show(
        fig,
        alt="The rise of SmolLM2's loss against 32 bits on three kinds of text, with "
        "95 % intervals over five texts each: "
        + ", ".join(f"{name} {found[name, 'all'].mean:.2f}" for name in names)
        + " nats a token.",
    )


# -- training ---------------------------------------------------------------------


def checkpointed_step(model, checkpointing, batch=1, length=128):
    """(bytes kept for the backward pass, gradient) of a step of adapters."""
    if checkpointing:
        options = dict(use_reentrant=False)
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.activation_checkpointing_disable()
    tokens = torch.arange(batch * length).view(batch, length)
    given = dict(input_ids=tokens, labels=tokens, use_cache=False)
    model.train()
    kept = usage.saved_activation_bytes(model, given)
    model(**given).loss.backward()
    learned = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return kept, torch.cat(learned)


def unread(wanted):
    """Scores of two kinds of reports that never read their ticket.

    The most frequent value of each field in the training reports, and the report of a
    training ticket drawn at random.
    """
    known = [str(report) for report in runs.tickets("train").metadata["report"]]
    facts = [reports.parse(report) for report in known]
    commonest = {}
    for field in reports.FIELDS:
        values = [fact[field] for fact in facts]
        commonest[field] = max(set(values), key=lambda v: (values.count(v), v))
    drawn = np.random.default_rng(0).permutation(len(known))[: len(wanted)]
    guesses = {
        "commonest values": [reports.report(commonest)] * len(wanted),
        "report of another ticket": [known[i] for i in drawn],
    }
    return {name: reports.score(guess, wanted) for name, guess in guesses.items()}


def served_wrong(model, tokenizer, data):
    """Exact reports of a model that is served with one mistake each time."""
    end = language_models.ends(tokenizer)
    wanted = [str(report) for report in data.metadata["report"]]
    right = [runs.chat(tokenizer, text)["input_ids"] for text in data.texts]
    bare = [tokenizer(f"{text}\n")["input_ids"] for text in data.texts]
    ways = {
        "padded on the right": (right, "right", end),
        "no chat template": (bare, "left", end),
        "no end of the turn": (right, "left", [0]),
    }
    found = {}
    runs.release()
    with language_models.expanded(model):
        for name, (starts, side, ends) in ways.items():
            written = _answered(model, tokenizer, starts, side, ends)
            found[name] = reports.score(written, wanted)["exact"]
    return found


@torch.no_grad()
def _answered(model, tokenizer, starts, side, ends):
    """Greedy answers to token lists, padded on one side."""
    batch = tokenizer.pad({"input_ids": starts}, padding_side=side, return_tensors="pt")
    out = model.generate(
        **batch,
        max_new_tokens=runs.LENGTH,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    new = out[:, batch["input_ids"].shape[1] :]
    return [t.strip() for t in tokenizer.batch_decode(new, skip_special_tokens=True)]


def show_fields(columns, title):
    """Shares of right fields, one group of bars a column."""
    names = ("format", *FIELDS, "exact")
    fig, ax = plots.new(width=7.2, height=3.2)
    width = 0.8 / len(columns)
    for i, (label, scores) in enumerate(columns.items()):
        at = np.arange(len(names)) + width * (i - (len(columns) - 1) / 2)
        shares = [100 * scores[name] for name in names]
        ax.bar(at, shares, width, color=plots.COLOURS[i], label=label)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="reports, %", ylim=(0, 119), title=title)
    ax.legend(loc="upper center", ncols=len(columns), fontsize="small")
    plots.show(
        fig,
        alt="Shares of reports that are right, by field: "
        + "; ".join(
            f"{label} "
            + ", ".join(f"{name} {100 * scores[name]:.0f} %" for name in names)
            for label, scores in columns.items()
        ),
    )


# -- the grid ---------------------------------------------------------------------


def rate_table(rates):
    """Validation losses by method and rate, and how much higher QLoRA's are."""
    rows = [row for row in rates if row["method"] in ("lora", "qlora")]
    found = pd.DataFrame(rows).pivot(index="method", columns="lr")["val_loss"]
    found = found.rename(index=NAMES)
    dearer = 100 * (found.loc["QLoRA"] / found.loc["LoRA, 16 bits"] - 1)
    found.loc["QLoRA above LoRA, %"] = dearer
    return found.rename_axis(index=None, columns="rate").round(3)


def show_seeds(grid):
    """Right fields by method and seed, and right defects by kind of ticket."""
    fig, axes = plots.new(width=7.6, height=4.6, columns=2)
    kinds = {"defect_familiar": "known words", "defect_new": "new words or author"}
    kinds |= {"defect_alone": "no other defect", "defect_denied": "others denied"}
    fields = {name: name for name in ("format", *FIELDS, "exact")}
    means = []
    for ax, names in zip(axes, (fields, kinds)):
        for i, method in enumerate(NAMES):
            rows = runs.whole_runs(grid, method)
            for at, key in enumerate(names):
                shares = 100 * rows.values(key)
                place = at + 0.2 * (i - (len(NAMES) - 1) / 2)
                ax.plot(
                    shares,
                    np.full(len(shares), place),
                    plots.MARKERS[i],
                    color=plots.COLOURS[i],
                    ms=5,
                    alpha=0.7,
                    label=NAMES[method] if at == 0 else None,
                )
                ax.vlines(shares.mean(), place - 0.09, place + 0.09, color="#333333")
                means.append(f"{NAMES[method]} {names[key]} {shares.mean():.0f} %")
        ax.set_yticks(range(len(names)), list(names.values()))
        ax.invert_yaxis()
        ax.set(xlim=(0, 104))
    exact = {m: 100 * runs.whole_runs(grid, m).values("exact").mean() for m in NAMES}
    axes[0].set(xlabel="right, % of 100 reports")
    axes[0].set_title(
        f"QLoRA writes {exact['qlora']:.0f} % exactly, LoRA {exact['lora']:.0f} %"
    )
    axes[0].legend(loc="lower left", fontsize="small")
    axes[1].set(xlabel="right defects, %", title="New words stay behind")
    plots.show(
        fig,
        alt="Each seed after 120 updates, share of reports that are right in means: "
        f"{', '.join(means)}.",
    )


def merge_table(grid):
    """Exact reports and loss of QLoRA beside 4 bits and merged in three ways."""
    places = {
        "beside": "beside the 4 bits, as it was trained",
        "rounded": "into the rounded weights, 16 bits",
        "original": "into the original weights, 16 bits",
        "again": "into 4 bits, by merge_and_unload",
    }
    found = {}
    some = runs.whole_runs(grid, "qlora")
    for key, label in places.items():
        found[label] = {"loss, nats": round(some.values(f"loss_{key}").mean(), 3)}
        if f"exact_{key}" in some[0]:
            share = 100 * some.values(f"exact_{key}").mean()
            found[label]["exact reports, %"] = f"{share:.0f}"
    return pd.DataFrame.from_dict(found, orient="index").fillna("")


def show_kept(size, kept):
    """The share of an update that four bits keep, by its size beside the weights.

    kept: {"rounded": shares where it is added to the rounded weights, "original"}.
    """
    labels = dict(rounded="added to the rounded weights, as peft does")
    labels |= dict(original="added to the original weights")
    fig, ax = plots.new(height=3.0)
    for i, (name, shares) in enumerate(kept.items()):
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i])
        ax.plot(100 * size, 100 * np.array(shares), label=labels[name], **look)
    ax.axhline(100, color="#333333", ls=":", lw=0.8)
    ax.set(xlabel="size of the update, % of the weights' norm", xscale="log")
    ax.set(ylabel="kept in four bits, %")
    ticks = [1, 3, 10, 30]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    least = kept["rounded"][0]
    ax.set_title(f"Of an update of {size[0]:.0%} peft's merge keeps {least:.0%}")
    ax.legend(loc="lower right", fontsize="small")
    plots.show(
        fig,
        alt="Share of an update that is kept when it is merged into four bits, by its "
        "size: "
        + "; ".join(
            f"{labels[name]} "
            + ", ".join(f"{s:.0%} {k:.0%}" for s, k in zip(size, shares))
            for name, shares in kept.items()
        ),
    )


# -- memory -----------------------------------------------------------------------


def planned_and_measured(name, options, stored, kept, kept_with_checkpoints):
    """A table in MB: what the planner says of a model, and what was measured.

    stored: bytes by `memory.measured`.  kept: bytes for the backward pass, which are
    the activations and the logits' logarithms in 32 bits.
    Raises AssertionError where they differ by more than 3 %.
    """
    found = {}
    for part in ("quantised", "constants", "weights"):
        plan = memory.plan(language_models.folder(name), options)
        found[memory.PARTS[part]] = plan.parts[part], stored[part]
    logits = 4 * options.batch * options.sequence * plan.model.vocabulary
    for checkpointing, bytes_ in ((False, kept), (True, kept_with_checkpoints)):
        one = replace(options, checkpointing=checkpointing)
        plan = memory.plan(language_models.folder(name), one)
        label = f"kept for the backward pass, {('no ', '')[checkpointing]}checkpoints"
        found[label] = plan.parts["activations"] + logits, bytes_
    table = pd.DataFrame.from_dict(found, orient="index", columns=["plan", "measured"])
    assert (table["measured"] / table["plan"] - 1).abs().max() < 0.03
    return (table / 1e6).round(1).add_suffix(", MB")


def longest_sequences(gb=24):
    """A table for Llama-3.1-8B: GB for 512 tokens, longest sequence, largest batch."""
    found = {}
    for name, options in PLANS.items():
        plan = memory.plan("Llama-3.1-8B", options)
        found[name] = {
            "GB, 512 tokens": round(plan.total / memory.GB, 1),
            "fits": memory.fits(plan, gb).fits,
            "longest sequence": memory.largest(plan, gb, "sequence"),
            "largest batch": memory.largest(plan, gb, "batch"),
        }
    return pd.DataFrame.from_dict(found, orient="index")


def _planned(model, sequence):
    plans = {
        name: memory.plan(model, replace(PLANS[name], sequence=int(sequence)))
        for name in ("LoRA", "QLoRA, prepared", "QLoRA")
    }
    fitting = [name for name, plan in plans.items() if memory.fits(plan, 24).fits]
    title = f"{sequence:,.0f} tokens: {len(fitting)} of 3 fit a card of 24 GB"
    return memory_bars.picture(plans, 24, title=f"{model}, {title}")


def explore_memory():
    """The parts of a training step of a large model, by length."""
    widgets.explore(
        _planned,
        {
            "model": widgets.choice("model", memory.MODELS, "Llama-3.1-8B"),
            "sequence": widgets.slider("tokens of a sequence", 4096, 512, 8192, 512),
        },
        alt=lambda model, sequence: (
            f"Memory of one training step of {model} by part for LoRA and for QLoRA "
            f"with and without the cast to 32 bits, {sequence:g} tokens; a line at 24 "
            "GiB."
        ),
    )


def peak(name, gb):
    """Measured on a GPU under a cap and beside the plan; without one, the plan alone.

    Returns a table.  Raises AssertionError where they differ by a tenth.
    """
    if not torch.cuda.is_available():
        plan = memory.plan(name, large_models.BARE)
        return pd.DataFrame({name: {"planned, GB": round(plan.total / memory.GB, 1)}})
    large_models.capped(gb)
    found = large_models.measure_step(name)
    assert abs(found["peak"] / found["planned"] - 1) < 0.1
    shown = {
        "planned, GB": round(found["planned"] / memory.GB, 1),
        "peak, GB": round(found["peak"] / memory.GB, 1),
        "tokens a second": round(found["tokens_per_second"]),
    }
    return pd.DataFrame({name: shown})
