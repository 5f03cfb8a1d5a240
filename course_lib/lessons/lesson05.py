"""Grid of lesson 05: what each silent failure costs, beside the same run without it.

Every row is one set-up with one seed on 100 labelled wafer pictures; a failure and its
correct counterpart share pictures, batches and the start of the head, so that their
difference can be taken seed by seed.
"""

import copy
import tempfile
from functools import partial
from statistics import median

import torch
from torch import nn

from course_lib import datasets, training
from course_lib.analysis import probes, statistics
from course_lib.lessons import results
from course_lib.lessons.protocol import (
    AUGMENT,
    BACKBONE,
    FILES,
    STEPS,
    TARGET,
    forgetting,
    labelled,
    scored,
    train,
)
from course_lib.lessons.results import experiment
from course_lib.models import features, zoo
from course_lib.models.preprocessing import Preprocess
from course_lib.show import plots
from course_lib.training import freezing

LABELS, LR = 100, 1e-3
VIT = "bundled/vit-patterns"
OWN = dict(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))  # as both cards say
WRONG = {  # what a training script may feed the network instead
    "no mean": Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "ImageNet": Preprocess(),  # another model's mean and deviation
    "0 to 255": Preprocess(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3),
    "BGR": Preprocess(**OWN, channels="BGR"),
    "half size": Preprocess(**OWN, size=32),
}


def backbone_for(seed):
    """The backbone with a head of five classes."""
    return zoo.load(BACKBONE, 5, seed=seed)


def served(backbone, preprocess, fraction=1.0):
    """Test accuracy when the pictures are prepared in this way."""
    test = results.part(datasets.load(TARGET, "test"), fraction)
    return training.evaluate(backbone, test, preprocess=preprocess)["accuracy"]


def correct(seed, fraction=1.0):
    """The protocol as it is, served rightly and with each wrong preprocessing."""
    backbone = backbone_for(seed)
    options = dict(lr=LR, steps=STEPS[LABELS], seed=seed, fraction=fraction)
    train(backbone, labelled(LABELS, seed), **options)
    wrong = {
        f"served {name}": served(backbone, p, fraction) for name, p in WRONG.items()
    }
    return scored(backbone, fraction) | forgetting(backbone) | wrong


def throughout(name, seed, fraction=1.0):
    """Trained, validated and served with one and the same wrong preprocessing."""
    backbone = backbone_for(seed)
    backbone.preprocess = WRONG[name]
    options = dict(lr=LR, steps=STEPS[LABELS], seed=seed, fraction=fraction)
    train(backbone, labelled(LABELS, seed), **options)
    return scored(backbone, fraction)


def frozen(seed, fraction=1.0):
    """Feature extraction: right, served wrongly, and wrong from the start."""
    backbone = zoo.load(BACKBONE)
    data = labelled(LABELS, seed)
    others = (datasets.load(TARGET, split) for split in ("validation", "test"))
    parts = data, *(results.part(other, fraction) for other in others)
    right = [features.extract(backbone, part) for part in parts]

    def accuracy(X, V, T):
        labels = [part.labels for part in parts]
        val = (V, labels[1])
        probe = probes.linear_probe(X, labels[0], T, labels[2], val=val, seed=seed)
        return probe.accuracy

    numbers = {"accuracy": accuracy(*right)}
    for name, preprocess in WRONG.items():
        X, V, T = (features.extract(backbone, p, preprocess=preprocess) for p in parts)
        numbers[f"served {name}"] = accuracy(*right[:2], T)
        numbers[f"throughout {name}"] = accuracy(X, V, T)
    return numbers


def hand_written_loop(mode, batch_size, seed, fraction=1.0, pictures=9600):
    """The tutorial's loop: backbone frozen, only the head in the optimizer.

    mode "train" calls model.train(), "eval" model.eval().
    """
    backbone = freezing.freeze_backbone(backbone_for(seed))
    data = labelled(LABELS, seed)
    model, before = backbone.model, copy.deepcopy(backbone.model.state_dict())
    x, y = backbone.preprocess(data.images), torch.as_tensor(data.labels)
    x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.fc.parameters(), lr=10 * LR)
    generator = torch.Generator().manual_seed(seed)
    model.train(mode == "train")
    for _ in range(results.updates(pictures // batch_size, fraction)):
        rows = torch.randperm(len(x), generator=generator)[:batch_size]
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = [
        ((value - before[name]).norm() / before[name].norm()).item()
        for name, value in model.state_dict().items()
        if name.endswith("running_mean")
    ]
    return scored(backbone, fraction) | {"drift": median(moved)}


def small_batches(batch_size, frozen_norms, seed, fraction=1.0, passes=33):
    """33 passes over 96 pictures, all batches full, the rate in step with the batch.

    Frozen norms keep the source's statistics, and their scale and shift do not learn.
    """
    backbone = backbone_for(seed)
    if frozen_norms:
        for layer in backbone.model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                freezing.freeze(layer)
    options = dict(lr=LR * batch_size / 32, batch_size=batch_size, evaluations=5)
    options["fraction"] = fraction
    steps = passes * 96 // batch_size
    train(backbone, labelled(96, seed), steps=steps, seed=seed, **options)
    return scored(backbone, fraction)


def stale_head(seed, fraction=1.0):
    """The optimizer is built first, the head replaced afterwards."""
    backbone = zoo.load(BACKBONE)
    optimizer = training.make_optimizer(backbone, lr=LR)
    backbone.to_classes(5, seed=seed)
    optimization = training.Optimization(optimizer=optimizer)
    options = dict(steps=STEPS[LABELS], seed=seed, optimization=optimization)
    train(backbone, labelled(LABELS, seed), fraction=fraction, **options)
    return scored(backbone, fraction)


def source_head(seed, fraction=1.0):
    """The head is forgotten: 76 outputs of the source for 5 classes."""
    backbone = zoo.load(BACKBONE)
    data = labelled(LABELS, seed)
    options = dict(lr=LR, steps=STEPS[LABELS], seed=seed, fraction=fraction)
    train(backbone, (data.images, data.labels), **options)
    return scored(backbone, fraction)


def not_added(seed, fraction=1.0):
    """All is unfrozen, but the optimizer was built when only the head learned."""
    backbone = freezing.freeze_backbone(backbone_for(seed))
    groups = training.param_groups(backbone, LR)
    freezing.unfreeze(backbone)
    optimization = training.Optimization(param_groups=groups)
    options = dict(steps=STEPS[LABELS], seed=seed, optimization=optimization)
    train(backbone, labelled(LABELS, seed), fraction=fraction, **options)
    return scored(backbone, fraction)


def high_rate(seed, fraction=1.0):
    """Thirty times the rate."""
    backbone = backbone_for(seed)
    data = labelled(LABELS, seed)
    options = dict(lr=30 * LR, steps=STEPS[LABELS], seed=seed, fraction=fraction)
    train(backbone, data, **options)
    return scored(backbone, fraction) | forgetting(backbone)


def long_run(augmented, seed, fraction=1.0, steps=600):
    """Twice as long: weights of the lowest validation loss, and the last ones."""
    backbone = backbone_for(seed)
    every = results.interval(steps, 20, fraction)
    validation, test = (
        results.part(datasets.load(TARGET, split), fraction)
        for split in ("validation", "test")
    )
    losses, best = [], None

    def look(*_):
        nonlocal best
        losses.append(training.evaluate(backbone, validation)["loss"])
        if losses[-1] == min(losses):
            best = copy.deepcopy(backbone.model.state_dict())

    training.fit(
        backbone,
        labelled(LABELS, seed),
        steps=results.updates(steps, fraction),
        lr=LR,
        seed=seed,
        recipe=training.Recipe(
            eval_every=every,
            augment=AUGMENT if augmented else None,
            on_epoch=lambda epoch, *_: look() if epoch else None,
            optimization=training.Optimization(
                schedule="cosine" if augmented else "constant"
            ),
        ),
    )
    look()
    last = training.evaluate(backbone, test)
    backbone.model.load_state_dict(best)
    lowest = training.evaluate(backbone, test)
    return {
        "accuracy": lowest["accuracy"],
        "loss": lowest["loss"],
        "last accuracy": last["accuracy"],
        "last loss": last["loss"],
        "best step": every * (losses.index(min(losses)) + 1),
    } | {f"val_loss {every * (i + 1)}": loss for i, loss in enumerate(losses)}


def adapter(seed, fraction=1.0):
    """LoRA on the ViT: its head saved with the adapter, or trained and left behind."""
    from peft import LoraConfig, PeftModel, get_peft_model

    def trained(**options):
        backbone = zoo.load(VIT, 5, seed=seed)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["qkv"], **options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone.model = get_peft_model(backbone.model, config)
        for name, parameter in backbone.model.named_parameters():
            if "head" in name and "original_module" not in name:
                parameter.requires_grad_(True)  # what learners do by hand
        options = dict(lr=3e-3, steps=150, seed=seed, evaluations=3)
        options["fraction"] = fraction
        train(backbone, labelled(LABELS, seed), **options)
        return backbone

    def reloaded(backbone, folder):
        backbone.model.save_pretrained(folder)
        fresh = zoo.load(VIT, 5, seed=1000 + seed)
        fresh.model = PeftModel.from_pretrained(fresh.model, folder).eval()
        return accuracy(fresh)

    def accuracy(backbone):
        test = results.part(datasets.load(TARGET, "test"), fraction)
        return training.evaluate(backbone, test)["accuracy"]

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        kept, lost = trained(modules_to_save=["head"]), trained()
        return {
            "accuracy": reloaded(kept, one),
            "before saving": accuracy(lost),
            "reloaded": reloaded(lost, two),
        }


SETUPS = {
    "correct": correct,
    "frozen": frozen,
    **{
        f"throughout {name}": partial(throughout, name)
        for name in ("no mean", "0 to 255", "half size")
    },
    "head, eval mode": partial(hand_written_loop, "eval", 32),
    "head, train mode": partial(hand_written_loop, "train", 32),
    "head, eval mode, batch 4": partial(hand_written_loop, "eval", 4),
    "head, train mode, batch 4": partial(hand_written_loop, "train", 4),
    **{
        f"batch {size}{', frozen norms' * still}": partial(small_batches, size, still)
        for size in (2, 8, 32)
        for still in (False, True)
    },
    "stale head": stale_head,
    "source head": source_head,
    "not added": not_added,
    "high rate": high_rate,
    "long run": partial(long_run, True),
    "long run, plain": partial(long_run, False),
    "adapter": adapter,
}


@experiment(
    "silent_failures",
    grid=[dict(setup=setup, seed=seed) for seed in range(5) for setup in SETUPS],
    sample=[dict(setup=s, seed=0) for s in ("frozen", "head, train mode")],
    short=[
        dict(setup=setup, seed=0, fraction=0.05)
        for setup in ("frozen", "head, train mode", "stale head")
    ],
    tolerance={"accuracy": 0.04, "drift": 0.02}
    | {f"{when} {name}": 0.04 for when in ("served", "throughout") for name in WRONG},
    models=(BACKBONE, VIT),
    data=FILES,
)
def silent_failures(setup, seed, fraction=1.0):
    """One set-up, right or wrong, trained with one seed."""
    return SETUPS[setup](seed, fraction)


def cost_figure(costs):
    """Bars of {failure: points lost, one a seed (5,)}, the dearest first."""
    order = sorted(costs, key=lambda name: -costs[name].mean())
    found = {name: statistics.mean_and_interval(costs[name]) for name in order}
    fig, ax = plots.new(width=7.2, height=0.26 * len(order) + 1)
    for i, one in enumerate(found.values()):
        half_width = one.high - one.mean
        colour = plots.COLOURS[0 if one.low > 0 else 6]  # light: no cost shows
        ax.barh(i, one.mean, xerr=half_width, color=colour, capsize=2)
    ax.set_yticks(range(len(order)), order, fontsize=8)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(xlabel="points lost (*: claimed too much), 95 % interval, 5 seeds")
    free = sum(one.low <= 0 for one in found.values())
    fig.suptitle(
        f"{len(costs)} measurements; no cost shows in {free}, the dearest costs "
        f"{max(v.mean() for v in costs.values()):.0f} points",
        fontsize=11,
    )
    return fig
