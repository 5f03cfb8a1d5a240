"""Grid of lesson 05: what each silent failure costs, beside the same run without it.

Every row is one set-up with one seed on 100 labelled wafer pictures; a failure and its
correct counterpart share pictures, batches and the start of the head, so that their
difference can be taken seed by seed.
"""

import copy
import tempfile
from dataclasses import replace
from functools import lru_cache, partial
from statistics import median

import numpy as np
import torch
from timm.layers import Conv2dSame
from torch import nn

from course_lib import datasets, training
from course_lib.analysis import probes, statistics
from course_lib.lessons import lesson05_solar, results
from course_lib.lessons.protocol import (
    AUGMENT,
    BACKBONE,
    FILES,
    STEPS,
    TARGET,
    forgetting,
    labelled,
    last_and_lowest,
    scored,
    train,
    watched,
)
from course_lib.lessons.results import experiment
from course_lib.models import features, language_models, zoo
from course_lib.models.preprocessing import Preprocess
from course_lib.pretraining import patterns
from course_lib.show import plots
from course_lib.training import freezing

LABELS, LR = 100, 1e-3
VIT = "bundled/vit-patterns"
WORLDS = {"small world: wafers": "silent_failures", "solar cells": "solar_failures"}
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
    recipe = training.Recipe(
        eval_every=every,
        augment=AUGMENT if augmented else None,
        optimization=training.Optimization(
            schedule="cosine" if augmented else "constant"
        ),
    )
    options = dict(steps=results.updates(steps, fraction), lr=LR, seed=seed)
    losses, best = watched(
        backbone, labelled(LABELS, seed), validation, recipe, **options
    )
    found = last_and_lowest(backbone, losses, best, test)
    found["best step"] *= every
    return found | {f"val_loss {every * (i + 1)}": x for i, x in enumerate(losses)}


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
        dict(setup=setup, seed=0, fraction=0.01)
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


# -- what the lesson measures live ------------------------------------------------


def points(wrong, sound):
    """Points lost, paired by seed: mean and 95 % interval; positive hurts."""
    return statistics.mean_and_interval(100 * (np.asarray(sound) - np.asarray(wrong)))


def drifted(backbone, x, set_mode, passes=20):
    """Relative change of running variances, {layer: change}; nothing is trained.

    x (N, C, H, W), prepared pictures, goes through in batches of 32.
    """
    model = freezing.freeze_backbone(backbone).model
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: layer.running_var.clone() for name, layer in norms.items()}
    set_mode(model)
    with torch.no_grad():
        for i in range(passes):
            model(x.roll(-32 * i, 0)[:32])
    return {
        name: ((layer.running_var - before[name]).norm() / before[name].norm()).item()
        for name, layer in norms.items()
    }


def healed(backbone, images):
    """Correlation of the first BatchNorm's output for the right scale and 0 to 255."""
    stem = backbone.model.train()
    with torch.no_grad():
        maps = [
            stem.bn1(stem.conv1(p(images)))[:, :, 2:-2, 2:-2].flatten()
            for p in (backbone.preprocess, WRONG["0 to 255"])
        ]  # without the padded border
    return torch.corrcoef(torch.stack(maps))[0, 1].item()


def captions(n=300):
    """Texts with capital letters, and the shape that each names: (texts, labels)."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(410, n, replace=False)  # 41 textures x 10 shapes, each once
    shapes = 1 + pairs % 10
    named = zip(pairs // 10, shapes)
    return [patterns.caption(g, f).title() for g, f in named], shapes


def halves(X, served, labels, seeds=5):
    """Accuracy (seeds,) of a probe fitted on half of X, on the other half of served."""
    found = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(X))
        a, b = np.array_split(order, 2)
        probe = probes.linear_probe(X[a], labels[a], served[b], labels[b], C=1.0)
        found.append(probe.accuracy)
    return np.array(found)


def too_high(seed, pictures, draws=200):
    """Points by which the best of many candidates on test pictures is too high.

    Mean over draws of the pictures that choose; the other test pictures say what the
    chosen one is worth.
    """
    hits, rng, gaps = candidates(seed), np.random.default_rng(seed), []
    for _ in range(draws):
        order = rng.permutation(hits.shape[1])
        reported = hits[:, order[:pictures]].mean(1)
        honest = hits[:, order[pictures:]].mean(1)
        gaps.append(reported.max() - honest[reported.argmax()])
    return 100 * np.mean(gaps)


@lru_cache(maxsize=5)
def candidates(seed, n=50):
    """Right answers (n, 1000) of n heads, each on another 96 of the 256 features."""
    rng = np.random.default_rng(seed)
    train, test = labelled(LABELS, seed), datasets.load(TARGET, "test")
    Z, T, hits = represented(LABELS, seed), represented_test(), []
    for _ in range(n):
        some = rng.choice(Z.shape[1], 96, replace=False)
        X = Z[:, some], train.labels, T[:, some], test.labels
        hits.append(probes.linear_probe(*X, C=1.0).predictions == test.labels)
    return np.array(hits)


@lru_cache(maxsize=5)
def represented(n, seed):
    """Features (n, 256) of n labelled wafers."""
    return features.extract(zoo.load(BACKBONE), labelled(n, seed))


@lru_cache(maxsize=1)
def represented_test():
    """Features (1000, 256) of the test wafers."""
    return features.extract(zoo.load(BACKBONE), datasets.load(TARGET, "test"))


def leaked(seed):
    """(accuracy on a split made after copying, accuracy on the real test set)."""
    train, test = labelled(LABELS, seed), datasets.load(TARGET, "test")
    Z, y = represented(LABELS, seed), train.labels
    rng = np.random.default_rng(seed)
    copies = rng.permutation(np.repeat(np.arange(LABELS), 3))  # each picture 3 times
    learned, held = copies[:240], copies[240:]
    X, labels = Z[learned], y[learned]
    reported = probes.linear_probe(X, labels, Z[held], y[held], C=1.0)
    honest = probes.linear_probe(X, labels, represented_test(), test.labels, C=1.0)
    return reported.accuracy, honest.accuracy


def head_in(dtype, seed):
    """(test accuracy, first update after which a weight is not finite) of a head."""
    train, test = labelled(LABELS, seed), datasets.load(TARGET, "test")
    Z = represented(LABELS, seed)
    head = training.make_head(256, 5, seed=seed, standardise=Z).to(dtype)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    X, y, broken = torch.as_tensor(Z).to(dtype), torch.as_tensor(train.labels), None
    for step in range(1, 101):
        loss = nn.functional.cross_entropy(head(X).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if broken is None and not torch.isfinite(head[-1].weight).all():
            broken = step
    guess = head(torch.as_tensor(represented_test()).to(dtype)).float().argmax(1)
    return training.accuracy(guess.numpy(), test.labels), broken


def top(backbone, image, n=3):
    """The n likeliest source classes of one picture: {class: probability}."""
    names = next(iter(backbone.card["heads"].values()))
    prepare = replace(backbone.preprocess, size=224)
    with torch.no_grad():
        share = backbone.model(prepare(image[None].copy())).softmax(1)[0]
    return {names[i]: round(share[i].item(), 2) for i in share.argsort()[-n:].flip(0)}


def crops(images, size=128):
    """Squares of photographs, side by side without overlap: (N, size, size, 3)."""
    return np.stack(
        [
            image[y : y + size, x : x + size]
            for image in images
            for y in range(0, image.shape[0] - size + 1, size)
            for x in range(0, image.shape[1] - size + 1, size)
        ]
    )


def pad_as_tensorflow(model):
    """Convolutions of stride 2 pad by TensorFlow's rule SAME.  In place."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.__class__ = Conv2dSame


def one_step(backbone, optimizer, data):
    """One update on eight labelled pictures."""
    logits = backbone.model(backbone.preprocess(data.images[:8]))
    nn.functional.cross_entropy(logits, torch.as_tensor(data.labels[:8])).backward()
    optimizer.step()


def with_copies(train, test, n=3):
    """The training pictures and n of the test set among them."""
    images = np.concatenate([train.images, test.images[:n]])
    labels = np.concatenate([train.labels, test.labels[:n]])
    return datasets.from_arrays(images, labels, classes=train.classes)


def report_batch(tokenizer, n=4):
    """Tickets with their reports, padded: (batch, {rule: tokens that count (n, T)})."""
    data = datasets.load("reports", "validation")
    answers = data.metadata["report"][:n]
    rows = language_models.examples(tokenizer, data.texts[:n], answers)
    width = max(len(row["input_ids"]) for row in rows)
    ids = np.full((n, width), tokenizer.pad_token_id)
    real, answers = np.zeros((2, n, width), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row["input_ids"])] = row["input_ids"]
        real[i, : len(row["input_ids"])] = True
        answers[i, : len(row["labels"])] = np.array(row["labels"]) != -100
    end = ids == tokenizer.eos_token_id
    counts = {
        "answers": answers,
        "answers without their end": answers & ~end,
        "prompts as well": real,
        "with padding": np.ones_like(real),
    }
    batch = {"input_ids": torch.as_tensor(ids), "attention_mask": torch.as_tensor(real)}
    for mask in counts.values():
        mask[:, 0] = False  # nothing predicts the first token
    return batch, counts


def token_losses(model, batch):
    """Loss of each token given those before it, (N, T) nats; 0 for the first."""
    ids = batch["input_ids"]
    with torch.no_grad():
        logits = model(ids, attention_mask=batch["attention_mask"].long()).logits
    losses = nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none"
    )
    return nn.functional.pad(losses, (1, 0)).numpy()


# -- costs of all set-ups ---------------------------------------------------------

NAMES = {  # a set-up of the small world, and what it is called in figures
    "stale head": "optimizer before the new head",
    "not added": "unfrozen, not in the optimizer",
    "source head": "source head kept (76 outputs)",
    "high rate": "rate times 30",
}


def small_costs():
    """{failure: points lost, one a seed} of the stored set-ups with wafers."""
    rows = results.load("silent_failures")

    def lost(setup, number="accuracy", sound="correct", of="accuracy"):
        wrong = rows.values(number, setup=setup)
        return 100 * (rows.values(of, setup=sound) - wrong)

    costs = {f"served {name}": lost("correct", f"served {name}") for name in WRONG}
    for name in ("no mean", "0 to 255", "half size"):
        costs[f"throughout {name}"] = lost(f"throughout {name}")
    for size in ("", ", batch 4"):
        costs[f"frozen backbone in train mode{size}"] = lost(
            f"head, train mode{size}", sound=f"head, eval mode{size}"
        )
    for size in (2, 8, 32):
        costs[f"batch {size}, BatchNorm trained"] = lost(
            f"batch {size}", sound=f"batch {size}, frozen norms"
        )
    for run in ("long run", "long run, plain"):
        costs[f"{run}: last weights"] = lost(run, "last accuracy", sound=run)
    costs |= {name: lost(setup) for setup, name in NAMES.items()}
    costs["head left out of a saved adapter"] = lost(
        "adapter", "reloaded", sound="adapter", of="before saving"
    )
    return costs


def solar_costs():
    """{failure: points lost, one a seed} of the stored set-ups with solar cells."""
    rows = results.load("solar_failures")

    def lost(setup, wrong, sound="accuracy", other=None):
        right = rows.values(sound, setup=other or setup)
        return 100 * (right - rows.values(wrong, setup=setup))

    costs = {}
    for mistake in lesson05_solar.MISTAKES:
        for when in ("served", "throughout"):
            costs[f"{when} {mistake}"] = lost("inputs", f"{when} {mistake}")
    costs["near-duplicates in the test set*"] = -lost(
        "duplicates", "random split", "by group"
    )
    costs["frozen backbone in train mode"] = lost(
        "frozen loop", "train mode", "eval mode"
    )
    costs["momentum 0.01, 40 updates"] = lost("momentum", "momentum 0.01", "renewed")
    costs["statistics of ordered batches"] = lost("momentum", "batch", "renewed")
    for size in (2, 8, 32):
        costs[f"batch {size}, BatchNorm trained"] = lost(
            f"batch {size}", "accuracy", other=f"batch {size}, frozen norms"
        )
    for run in ("long run", "long run, plain"):
        costs[f"{run}: last weights"] = lost(run, "last accuracy")
    return costs


# -- figures ----------------------------------------------------------------------


def show_scripts(backbone, images):
    """One picture as the network receives it from six scripts."""
    own = backbone.preprocess
    scripts = {"right": own, **WRONG}
    seen = [own.to_images(p(images[:1]))[0] for p in scripts.values()]
    fig = plots.image_grid(
        seen, titles=list(scripts), size=1.0, columns=6, title="One wafer, six scripts"
    )
    plots.show(
        fig,
        alt="The same wafer picture as the network sees it under right preprocessing "
        "and five wrong ones: washed out, nearly right, white, recoloured, blurred.",
    )


def show_inputs(small, real):
    """Points lost by wrong inputs, served and throughout, a panel for each world.

    The wrong twin is a network and no input, so it is left out.
    """
    fig, axes = plots.new(width=8.4, height=3.0, columns=2)
    dearest = []
    titles = "wafers, the whole network learns", "solar cells, frozen features"
    scripts = WRONG, lesson05_solar.WRONG
    for ax, costs, title, names in zip(axes, (small, real), titles, scripts):
        names = list(names)
        for i, (when, shift) in enumerate((("served", -0.2), ("throughout", 0.2))):
            there = [k for k, n in enumerate(names) if f"{when} {n}" in costs]
            found = [
                statistics.mean_and_interval(costs[f"{when} {names[k]}"]) for k in there
            ]
            ax.barh(
                np.array(there) + shift,
                [one.mean for one in found],
                0.38,
                xerr=[one.high - one.mean for one in found],
                color=plots.COLOURS[i],
                capsize=2,
                label=when,
            )
            dearest.append(max(one.mean for one in found))
            for k in set(range(len(names))) - set(there):
                ax.text(1, k + shift, "not run", va="center", fontsize="small")
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set(xlabel="points lost, 95 % interval", title=title)
    lows, highs = zip(*(ax.get_xlim() for ax in axes))
    for ax in axes:
        ax.set_xlim(min(lows), max(highs))
    plots.clear_legend(axes[-1])
    fig.suptitle(
        f"Served wrongly costs up to {max(dearest[::2]):.0f} points, wrong throughout "
        f"up to {max(dearest[1::2]):.0f}",
        fontsize=11,
    )
    plots.show(
        fig,
        alt="Two panels of bars, wafers and solar cells: points lost by each wrong "
        "preprocessing when it only serves and when it is used throughout. Serving "
        "wrongly costs more almost everywhere.",
    )


def show_batches():
    """Accuracy against batch size with BatchNorm trained and frozen, two panels."""
    sizes, fig_axes = (2, 8, 32), plots.new(width=8.4, height=3.2, columns=2)
    fig, axes = fig_axes
    lost = []
    for ax, (world, name) in zip(axes, WORLDS.items()):
        rows = results.load(name)
        lines = {}
        for label, more in (("trained", ""), ("frozen", ", frozen norms")):
            setups = [f"batch {size}{more}" for size in sizes]
            found = [rows.values("accuracy", setup=setup) for setup in setups]
            lines[f"BatchNorm {label}"] = np.stack(found, 1)
        gap = lines["BatchNorm frozen"] - lines["BatchNorm trained"]
        lost.append(f"{100 * gap[:, 0].mean():.0f}")
        real = name.startswith("solar")
        kind = "stand-in: one BatchNorm layer on Lite0's features\n" * real
        kind = f"{kind}({world})" if real else world
        measure = "balanced test accuracy" if real else "test accuracy"
        axes_text = dict(xlabel="batch size", ylabel=measure, title=kind)
        plots.line_with_spread(sizes, lines, log_x=True, ax=ax, **axes_text)
    fig.suptitle(
        f"Two pictures a batch: training BatchNorm costs {lost[0]} points (wafers), "
        f"{lost[1]} (stand-in, solar cells)",
        fontsize=11,
    )
    plots.show(
        fig,
        alt="Two panels of test accuracy against batch size 2, 8 and 32, with "
        "BatchNorm trained and frozen: wafers on the left, solar cells on the right.",
    )


def show_losses():
    """Validation loss of the long runs with wafers."""
    rows, steps = results.load("silent_failures"), np.arange(30, 601, 30)
    lines = {}
    for name, setup in (
        ("plain", "long run, plain"),
        ("falling rate, turns and shifts", "long run"),
    ):
        found = [rows.values(f"val_loss {t}", setup=setup) for t in steps]
        lines[name] = np.stack(found, 1)
    means = [values.mean(0) for values in lines.values()]
    plain, gentle = (steps[mean.argmin()] for mean in means)
    when = f"after {plain} updates" if plain == gentle else f"at {plain}, {gentle}"
    climbs = [mean[-1] - mean.min() for mean in means]
    fig = plots.line_with_spread(
        steps,
        lines,
        spread="range",
        xlabel="updates (4 make an epoch of 100 wafers)",
        ylabel="validation loss (nats)",
        title=f"Both lowest {when}; until the end\nplain climbs by {climbs[0]:.2f}, "
        f"the other by {climbs[1]:.2f}",
    )
    plots.show(
        fig,
        alt="Validation loss against updates: plain training reaches its minimum "
        "early and climbs steadily; with augmentation and a falling rate it climbs "
        "little.",
    )


def show_costs(costs, world):
    """The figure of all costs of one world."""
    dearest = max(costs, key=lambda name: costs[name].mean())
    plots.show(
        cost_figure(costs, world),
        alt=f"Horizontal bars: points lost by each silent failure on {world} with "
        f"intervals, from the costliest, {dearest}, to those that cost nothing.",
    )


def cost_figure(costs, world):
    """Bars of {failure: points lost, one a seed (5,)}, the costliest first."""
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
    seeds = sorted({len(values) for values in costs.values()})
    over = f"{' or '.join(map(str, seeds))} seeds"
    ax.set(
        xlabel=f"points lost (*: claimed too much), 95 % interval, {over};\n"
        "pale: the interval holds zero"
    )
    free = sum(one.low <= 0 for one in found.values())
    fig.suptitle(
        f"{world}: {len(costs)} measurements; no cost shows in {free}, the largest is "
        f"{max(v.mean() for v in costs.values()):.0f} points",
        fontsize=11,
    )
    return fig
