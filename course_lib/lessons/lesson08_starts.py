"""Where LoRA sits, how it starts, how fast B learns: five variants against plain LoRA.

All have as many numbers to learn (rank 8 beside every linear layer; beside the four of
attention alone that is rank 18), alpha 16, the same batches, and the same fitted head.

- attention: plain LoRA beside queries, keys, values and outputs only (C64).
- pissa, olora: other starts.  rslora: alpha / sqrt(r).  plus: LoRA+, B learns 16 times
  as fast as A (C66).

Under Adam a factor before B A is a faster B: of sBA with a rate for both, sB moves by s
times the rate.  So rsLoRA at rank r is LoRA+ with the ratio sqrt(r), here 2.8, as long
as B begins at zero, no gradient is clipped and no weight decays.

**Set before any run.**  Two targets, short sentences of product reviews and of film
reviews.  The last two layers of MiniLM learn, so that a run takes seconds: the state
behind the fourth layer is stored (`lesson15_opinions`).  Products: 150 labels a class,
40 updates of 16.  Films: 400 and 50, as in `lesson08_opinions`.  Labels, and 150 test
sentences a class, are drawn anew for each seed.  AdamW without weight decay, warm-up
over 10 % and linear decay; the last weights are scored.  The head goes on learning at
a rate of its own, 1e-3.

Rates are a factor of about three apart, three for each method to begin with (RATES).
The lowest mean validation loss over seeds 0 to 2 chooses one.  While it is the first or
the last, these seeds try the next one beyond.  At the chosen rates each method runs
with 20 seeds.

**Added when the gains were known**, at a reader's wish; neither decides a verdict.  On
products plain LoRA was nearly as good at 3e-3, the rate of PiSSA and of attention
(mean validation loss .389, and .387 at its own 1e-3), and ran with 20 seeds there, too:
NEAR.
What the fitted head reaches alone is a row of its own: HEAD.

(A first plan had all six layers learn on films.  No cell of it was ever run, for lack
of machine time.)

Ranks (C49), set before any run of theirs: on films plain LoRA of rank 1, 4 and 64 as
well, each at its own rate by the same rule, with ten seeds, so that the numbers to
learn differ and the rate does not decide.  Confirmed ("rank 4 to 8 suffices
for simple tasks") if the intervals of rank 4 and of rank 8 minus rank 64 lie above -2
points, refuted if both lie below, else qualified.

What is measured: balanced test accuracy of a variant minus that of plain LoRA, paired
by the seed, with Student's interval over seeds, at 95 % for C64 and at 98.75 % for each
of the four of C66 (Bonferroni).  `statistics.judge` reads it with MATTERS of 2 points:
all of it within 2 points is "no difference", else above 0 "helps", below 0 "hurts",
else "no evidence".

- C64 (all minus attention): confirmed if it helps on both targets; refuted if on both
  the interval ends below +2 points; else qualified.
- C66: confirmed if all four help on both targets; refuted if on both targets all four
  intervals end below +2 points; else qualified.
"""

import copy
from functools import lru_cache
from types import SimpleNamespace

from course_lib import training
from course_lib.analysis import statistics
from course_lib.lessons import (
    lesson08_heads,
    lesson08_opinions,
    lesson15_opinions,
    results,
)
from course_lib.lessons.results import experiment, updates
from course_lib.methods import lora, peft_family
from course_lib.show import plots

RANK, ALPHA, PLUS = 8, 16.0, 16.0
RANKS = {"rank 1": 1, "rank 4": 4, "rank 64": 64}  # plain LoRA, of C49
MATTERS = statistics.MATTERS  # of accuracy
HEAD = "fitted head"  # what all begin with, not trained on
ATTENTION, ATTENTION_RANK = ("query", "key", "value", "project"), 18
FACTORS = {"pissa": lora.pissa_factors, "olora": lora.olora_factors}
LABELS = {"products": 150, "films": 400}  # of each class
STEPS = {"products": 40, "films": 50}
TESTED = HELD = 150  # sentences of each class, fewer of HELD where there are fewer
RATES = {  # tried; three each to begin with, the same on both targets
    "products": {
        "lora": (3e-4, 1e-3, 3e-3, 1e-2),
        "attention": (1e-3, 3e-3, 1e-2),
        "pissa": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        "olora": (3e-4, 1e-3, 3e-3),
        "rslora": (3e-4, 1e-3, 3e-3),
        "plus": (1e-4, 3e-4, 1e-3, 3e-3),
    },
    "films": {
        "lora": (1e-3, 3e-3, 1e-2),
        "attention": (1e-3, 3e-3, 1e-2),
        "pissa": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        "olora": (3e-4, 1e-3, 3e-3, 1e-2),
        "rslora": (3e-4, 1e-3, 3e-3, 1e-2),
        "plus": (1e-4, 3e-4, 1e-3, 3e-3),
    }
    | {rank: (1e-3, 3e-3, 1e-2) for rank in RANKS},
}
BOTH = tuple(RATES)
CHOSEN = {  # of these by validation, then more seeds
    "products": {
        "lora": 1e-3,
        "attention": 3e-3,
        "pissa": 3e-3,
        "olora": 1e-3,
        "rslora": 1e-3,
        "plus": 1e-3,
    },
    "films": {
        "lora": 3e-3,
        "attention": 3e-3,
        "pissa": 3e-3,
        "olora": 3e-3,
        "rslora": 3e-3,
        "plus": 1e-3,
        "rank 1": 3e-3,
        "rank 4": 3e-3,
        "rank 64": 3e-3,
    },
}
NEAR = {("products", "lora"): 3e-3}  # nearly as good by validation, see above
CHOOSING = range(3)  # seeds that compare rates
SEEDS = {"products": 20, "films": 20}  # at the chosen rates
FEWER = 10  # seeds of other ranks


def cells():
    """Each method at its rates, three seeds, then at the chosen rate with more."""
    grid = []
    for target, seeds in SEEDS.items():
        for seed in range(seeds):
            for method, rates in RATES[target].items():
                if method in RANKS and seed >= FEWER:
                    continue
                if seed not in CHOOSING:
                    rates = {CHOSEN[target][method], NEAR.get((target, method))}
                    rates = sorted(rates - {None})
                one = dict(target=target, method=method, seed=seed)
                grid += [one | {"lr": lr} for lr in rates]
            grid.append(dict(target=target, method=HEAD, seed=seed, lr=0.0))
    return grid


# -- the variants ---------------------------------------------------------------------


def variant(model, method, layers, seed, train=()):
    """Put a method's LoRA into a model; layers: {part: names} of linear layers."""
    wanted = ATTENTION if method == "attention" else peft_family.LINEAR
    names = [name for part in wanted for name in layers.get(part, ())]
    lora.inject(
        model,
        names,
        RANKS.get(method, ATTENTION_RANK if method == "attention" else RANK),
        ALPHA,
        rank_stabilised=method == "rslora",
        train=train,
        seed=seed,
    )
    if method in FACTORS:
        lora.restart(model, FACTORS[method])
    return model


# -- a run ----------------------------------------------------------------------------


def stored(target, split, n, seed):
    """(state behind the frozen layers, labels) of n sentences of each class."""
    data = lesson15_opinions.short(target, split)
    places = lesson15_opinions.rows(data, n, seed)
    return lesson15_opinions.stored(data.subset(places))


@lru_cache(maxsize=2)
def validation(target, fraction=1.0):
    """The sentences that choose a rate, the same for every seed."""
    return stored(target, "validation", HELD if fraction == 1 else 10, 0)


@lru_cache(maxsize=2)
def started(target, seed, fraction=1.0):
    """(the last two layers and a head fitted on frozen features, data, test data).

    The weights of the head are those of the lowest validation loss.
    """
    upper = lesson15_opinions.Upper(seed)
    data = stored(target, "train", LABELS[target] if fraction == 1 else 20, seed)
    test = stored(target, "test", TESTED if fraction == 1 else 10, seed)
    held = validation(target, fraction)
    X, V = (upper.vectors(inputs) for inputs, _ in (data, held))
    head, _ = training.fit_head(
        X,
        data[1].numpy(),
        (V, held[1].numpy()),
        head=training.Head(standardise=False),
        steps=updates(200, fraction),
        seed=seed,
    )
    upper.head.load_state_dict(head.state_dict())
    return upper, data, test


@experiment(
    "lora_starts",
    grid=cells(),
    sample=[dict(target="films", method="lora", lr=3e-3, seed=0)],
    short=[dict(target="products", method="lora", lr=3e-3, seed=0, fraction=0.1)],
    tolerance={
        "accuracy": 0.03,
        "val_accuracy": 0.03,
        "loss": 0.02,
        "val_loss": 0.02,
    },
    data=lesson15_opinions.FILES,
)
def lora_starts(target, method, lr, seed, fraction=1.0):
    """Plain LoRA or a variant in the last two layers of MiniLM, or the head alone."""
    start, data, test = started(target, seed, fraction)
    upper, learns = copy.deepcopy(start), 0
    if method != HEAD:
        named = SimpleNamespace(model=upper, name="minilm")
        variant(upper, method, peft_family.parts(named), seed, train=("head",))
        plus = PLUS if method == "plus" else 1.0
        moves = training.Optimization(
            param_groups=lesson08_opinions.groups(named, lr, plus), schedule="linear"
        )
        recipe = training.Recipe(batch_size=16, optimization=moves)
        steps = updates(STEPS[target], fraction)
        training.fit(upper, data, steps=steps, seed=seed, recipe=recipe)
        learns = sum(p.numel() for p in upper.parameters() if p.requires_grad)
    numbers = {"trainable": learns}
    for prefix, part in (("", test), ("val_", validation(target, fraction))):
        found = training.evaluate(upper, part)
        numbers[f"{prefix}loss"] = found["loss"]
        numbers[f"{prefix}accuracy"] = found["balanced_accuracy"]
    return numbers


# -- what the lesson reads and draws --------------------------------------------------

NAMES = {
    "attention": "attention only",
    "pissa": "PiSSA",
    "olora": "OLoRA",
    "rslora": "rsLoRA",
    "plus": "LoRA+",
}
FOUR = tuple(NAMES)[1:]  # of C66


def rows(target, method):
    """The rows of a method on a target, at all of its rates."""
    return results.load("lora_starts").select(target=target, method=method)


def chosen_rate(target, method):
    """The rate of the lowest mean validation loss over the seeds that choose."""
    found = rows(target, method).select(seed=CHOOSING)
    means = {lr: found.values("val_loss", lr=lr).mean() for lr in RATES[target][method]}
    return min(means, key=means.get)


def gain(target, method, other="lora", confidence=0.95, number="accuracy", lr=None):
    """A test number of a method minus another's, each at its rate; paired by seed.

    lr: that of the other one, where it is not its own.
    """
    ours = rows(target, method).select(lr=chosen_rate(target, method))
    theirs = rows(target, other)
    if other != HEAD:
        theirs = theirs.select(lr=lr or chosen_rate(target, other))
    return ours.minus(theirs, number, confidence)


def gains(target):
    """{variant: its gain}, the four of C66 with 98.75 %, so that all hold at once."""
    sure = {method: 1 - 0.05 / len(FOUR) for method in FOUR}
    return {
        method: gain(target, method, confidence=sure.get(method, 0.95))
        for method in NAMES
    }


def said(found):
    """An interval in points: "+0.7 (-0.4 to +1.9)"."""
    mean, low, high = (100 * x for x in found[:3])
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def by_rank():
    """{rank: accuracy of plain LoRA minus that of rank 64} on films, paired by seed."""
    names = {1: "rank 1", 4: "rank 4", 8: "lora"}
    return {rank: gain("films", name, "rank 64") for rank, name in names.items()}


def suffices(found):
    """The verdict on C49, of `by_rank`, by the rule above."""
    return lesson08_heads.judged([found[rank] for rank in (4, 8)], MATTERS)


def verdict(intervals):
    """What the rule of C64 and C66 says of the gains on both targets."""
    kinds = {statistics.judge(one._asdict())[0] for one in intervals}
    if kinds == {"helps"}:
        return "confirmed"
    if all(one.high < MATTERS for one in intervals):
        return "refuted"
    return "qualified"


def show_gains(found):
    """Gains in points over plain LoRA, found: {target: {variant: interval}}."""
    fig, ax = plots.new(height=3.4)
    for i, (target, known) in enumerate(found.items()):
        at = [place + 0.2 * (i - 0.5) for place in range(len(known))]
        ax.errorbar(
            at,
            [100 * one.mean for one in known.values()],
            [100 * one.half_width for one in known.values()],
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            linestyle="none",
            capsize=3,
            label=f"{target}, {known['pissa'].n} seeds",
        )
    ax.axhline(0, color="black", linewidth=0.8)
    matters = 100 * MATTERS
    ax.axhspan(-matters, matters, color=plots.BAR, alpha=0.18, linewidth=0)
    ax.set_xticks(range(len(NAMES)), NAMES.values())
    ax.set_ylabel("points over plain LoRA")
    four = [known[method] for known in found.values() for method in FOUR]
    ahead = sum(one.low > 0 for one in four)
    ax.set_title(
        f"Each at its own rate, {ahead} of {len(four)} gains of the four variants are "
        f"above zero\n(98.75 %; attention only 95 %; grey: under {matters:.0f} points)"
    )
    plots.clear_legend(ax)
    plots.show(
        fig,
        alt="Gains of five variants over plain LoRA in points of test accuracy on "
        f"{' and '.join(found)}, with intervals, about a band of two points.",
    )
