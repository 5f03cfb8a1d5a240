"""From a configuration to a model that is ready to train, and the options of training.

The source model with a new head, what of it is frozen, which part opens when, and the
rate of every layer group; used by :mod:`course_lib.jobs.pipeline`.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.jobs.configuration import Config
from course_lib.models import text, zoo
from course_lib.models.features import forward, to_device
from course_lib.training import freezing, layer_groups, schedules

LEAST_TOKENS = 128  # max_length is not set below, for new texts may be longer
MOST_TOKENS = 512  # nor above unasked: attention takes memory by the square of it


def start(config: Config):
    """The source model that a configuration names, with its preprocessing.

    Raises CourseError when there is no such model, or when it is for the other task.
    """
    try:
        backbone = zoo.load(
            config.model, seed=config.seed, pretrained=config.weights == "pretrained"
        )
    except CourseError as error:
        raise CourseError(f"{config.where}: model: {error}") from None
    kind = {"vision": "images", "text": "text"}[backbone.kind]
    if kind != config.task:
        others = "minilm" if config.task == "text" else ", ".join(zoo.bundled())
        raise config.error(
            "model",
            f"is {config.model}, a model for {kind}, and the task is {config.task}",
            f"for {config.task}, for example {others}",
            f"choose another model, or set task: {kind}",
        )
    if kind == "text" and config.max_length:
        backbone.preprocess = replace(backbone.preprocess, max_length=config.max_length)
    elif kind == "images" and config.image_size:
        backbone.preprocess = replace(backbone.preprocess, size=config.image_size)
    return backbone


def model(config: Config, num_classes: int, backbone=None):
    """The source model (or ``backbone``) with a new head for so many classes."""
    backbone = backbone or start(config)
    backbone.to_classes(num_classes, config.seed)
    return with_dropout(backbone, config.dropout)


def fitted_length(config: Config, backbone, texts) -> tuple[int, dict, str]:
    """(max_length, {longest, median, max_length, limit, cut, texts}, a sentence).

    The configuration's, else as long as the longest text, not below 128 (a limit costs
    nothing where no text reaches it) nor above what the model reads or MOST_TOKENS.
    Raises CourseError for more than the model reads.
    """
    lengths, limit = text.token_lengths(backbone, texts), text.token_limit(backbone)
    longest, wanted = int(lengths.max()), config.max_length
    if wanted and limit and wanted > limit:
        raise config.error(
            "max_length",
            f"is {wanted}, and {config.model} reads at most {limit} tokens",
            f"4 to {limit}",
            "lower it, or leave it out; texts that need more want another model",
        )
    most = min(limit or MOST_TOKENS, MOST_TOKENS)
    chosen = wanted or min(most, max(LEAST_TOKENS, 8 * -(-longest // 8)))
    cut, words = text.cut_share(lengths, chosen)
    about = dict(longest=longest, median=float(np.median(lengths)), max_length=chosen)
    about |= dict(limit=limit, cut=cut, texts=len(lengths))
    why = ""
    if wanted:
        why = ", as the configuration says"
    elif cut:
        why = f", the most that {config.model} reads"
        if chosen != limit:
            why = ", for the memory of a layer grows with its square"
    said = (
        f"Texts have up to {longest:,} tokens (median {about['median']:.0f}), "
        f"max_length is {chosen}{why}: "
    )
    if not cut:
        return chosen, about, said + "no text is cut."
    said += f"{words} are longer and lose their end."
    if limit == chosen:
        said += " Split them, put first what decides, or take a model that reads more."
    else:
        enough = min(limit or longest, longest)
        said += f" To read more, set max_length up to {enough}."
    return chosen, about, said


def image_size(config, backbone) -> int:
    """Pixels a side: the configuration's, else the model's own, else 64."""
    return config.image_size or getattr(backbone.preprocess, "size", None) or 64


def with_dropout(backbone, share: float):
    """Dropout before the head; returns the backbone.  Srivastava et al. 2014."""
    if backbone.kind == "text":
        backbone.model.dropout.p = share
    elif share:
        for name in backbone.heads:
            head = backbone.model.get_submodule(name)
            dropped = nn.Sequential(nn.Dropout(share), head)
            backbone.model.set_submodule(name, dropped.train(head.training))
    return backbone


def recipe(config: Config, backbone, parts) -> training.Recipe:
    """How the fine-tuned network is trained.

    Freezes what is to stay as it is, in place, and gives every layer group its rate.
    Raises CourseError for a part that the network does not have.
    """
    net = backbone.model
    groups = layer_groups.layer_groups(backbone)
    rates = dict(
        lr=config.backbone_rate,
        alpha=config.layer_decay,
        weight_decay=config.weight_decay,
        head_factor=config.head_rate / config.backbone_rate,
        groups=groups,
    )
    plan = None
    if config.strategy == "gradual":
        wanted = _plan(config, backbone, groups)
        first, plan = schedules.gradual_unfreezing(backbone, plan=wanted, **rates)
    else:
        freezing.unfreeze(backbone)
        body = [name for name in groups if name != layer_groups.HEAD]
        if config.strategy == "head":
            frozen = body
        elif config.strategy == "last":
            frozen = body[: -config.last_blocks]
            if not frozen:
                raise config.error(
                    "last_blocks",
                    f"is {config.last_blocks}, and {config.model} has {len(body)} "
                    "parts below its head",
                    f"1 to {len(body) - 1}",
                    "lower it, or set strategy: full",
                )
        else:
            frozen = []
        parameters = dict(net.named_parameters())
        for name in frozen:
            for member in groups[name]:
                parameters[member].requires_grad_(False)
        first = layer_groups.decayed_groups(backbone, **rates)
    shared = common(config, backbone, parts)
    optimization = replace(shared.optimization, param_groups=first)
    return replace(shared, optimization=optimization, on_epoch=plan)


def _plan(config, backbone, groups):
    """{epoch: names of layer groups} of the configuration; None: one after another."""
    if not config.unfreeze:
        return None
    body = [name for name in groups if name != layer_groups.HEAD]
    known = {name: name for name in body}
    for stage, module in backbone.stages.items():
        if module in groups:
            known.setdefault(stage, module)
    known.setdefault("embeddings", layer_groups.STEM)
    opened, plan = set(), {}
    for epoch in sorted(config.unfreeze):
        names = []
        for name in config.unfreeze[epoch]:
            if name != "all" and name not in known:
                raise config.error(
                    "unfreeze",
                    f"names {name!r}, which is no part of {config.model}",
                    f"one of {', '.join([*known, 'all'])}",
                    "correct the name",
                )
            names += body if name == "all" else [known[name]]
        plan[epoch] = [n for n in dict.fromkeys(names) if n not in opened]
        opened |= set(plan[epoch])
    return plan


def common(config, backbone, parts) -> training.Recipe:
    """What the fine-tuned network and the one from scratch have in common."""
    slanted = config.schedule == "slanted"
    augment = None
    if config.task == "images":
        augment = training.AUGMENTATIONS[config.augment](image_size(config, backbone))
    loss = None
    if config.class_weights == "balanced":
        loss = balanced_loss(parts.train, config.label_smoothing)
    optimization = training.Optimization(
        schedule=schedules.slanted_triangular() if slanted else config.schedule,
        warmup=0.0 if slanted else config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    return training.Recipe(
        batch_size=config.batch_size,
        patience=config.patience,
        augment=augment,
        optimization=optimization,
        objective=training.Objective(loss, config.label_smoothing),
    )


def balanced_loss(train, smoothing):
    """Cross-entropy in which each class has the same weight as a whole.

    The weights average to 1 over the training examples, so that a plain mean over a
    batch is the loss, in one process as in several.
    """
    counts = np.bincount(train.labels, minlength=len(train.classes))
    weights = torch.tensor(len(train) / (len(counts) * counts), dtype=torch.float32)

    def loss(logits, labels):
        each = nn.functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=smoothing
        )
        return (weights.to(labels.device)[labels] * each).mean()

    return loss


def check_forward(config, backbone, parts) -> None:
    """Can the network read these examples?"""
    some = getattr(parts.train, parts.train.holds)[:2]
    try:
        x = backbone.preprocess(list(some) if config.task == "text" else some)
        with torch.no_grad():
            forward(backbone.model, to_device(x, "cpu"))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        key = "image_size" if config.task == "images" else "max_length"
        own = backbone.card.get("input_size")  # channels, height, width
        size = f", {own[-1]} pixels a side" if own else ""
        raise config.error(
            key,
            f"does not suit {config.model} ({reason[:160]})",
            f"the size that it was trained with{size}, or one that its layers divide",
            f"leave {key} out, or change it",
        ) from None
