"""From a configuration to a model that is ready to train, and the options of training.

The source model with a new head, what of it is frozen, which part opens when, and the
rate of every layer group; used by :mod:`course_lib.jobs.pipeline`.
"""

import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.jobs.configuration import Config
from course_lib.jobs.stored_stages import COPIES
from course_lib.models import features, stage_head, text, zoo
from course_lib.models.features import forward, to_device
from course_lib.models.heads import inside
from course_lib.training import freezing, layer_groups, schedules
from course_lib.training.picture_size import SizeRule, Work, reads_any_size

LEAST_TOKENS = 128  # max_length is not set below, for new texts may be longer
FEW_LABELS = 100  # a class to train on; fewer train the head alone with strategy: auto
EPOCHS, UPDATES = 20, 200  # where the configuration does not say how long: the longer
MOST_TOKENS = 512  # nor above unasked: attention takes memory by the square of it


def loaded(config):
    """The model that a configuration names; CourseError when there is no such one."""
    try:
        return zoo.load(
            config.model, seed=config.seed, pretrained=config.weights == "pretrained"
        )
    except CourseError as error:
        without = ""
        if config.model.startswith("imagenet/"):
            without = (
                " Until then `model: bundled/resnet10-patterns` in a configuration "
                "works without it; its answers to photographs are worse."
            )
        raise CourseError(f"{config.where}: model: {error}{without}") from None


def start(config: Config):
    """The source model that a configuration names, with its preprocessing.

    Raises CourseError when there is no such model, or when it is for the other task.
    """
    backbone = loaded(config)
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
    reads = config.head_reads
    return headed(backbone, num_classes, reads, config.dropout, config.seed)


def before_choice(config: Config, parts, backbone):
    """The same with a head on the last layer, whatever it is to read in the end."""
    last = config.model_copy(update={"head_reads": "last"})
    return model(last, len(parts.classes), backbone)


def headed(backbone, num_classes: int, reads, dropout: float, seed: int = 0):
    """The backbone with a new head, in place.

    reads: names of stages; anything else for the last layer.
    """
    if isinstance(reads, (tuple, list)):
        stage_head.read_stages(backbone, reads, num_classes, seed)
    else:
        backbone.to_classes(num_classes, seed)
    return with_dropout(backbone, dropout)


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


def size_rule(config, backbone) -> SizeRule | None:
    """How the picture size follows from the data; None where it is settled already.

    Settled by the configuration, or by a model that has a size of its own.
    """
    if config.task != "images" or config.image_size or not reads_any_size(backbone):
        return None

    def work(train: int, total: int) -> Work:
        """The most that a job of so many pictures lets through the network."""
        trained, validated, tested = (share * total for share in config.split)
        if train < total:  # split already
            trained, validated, tested = train, config.split[1] * train, total - train
        epochs = length(config, trained)[0]
        full = epochs * trained
        once = config.strategy in ("auto", "frozen", "last_stage")
        learning = 0.0 if config.strategy == "frozen" else full * (0.25 if once else 1)
        forward = COPIES * trained if once else 0.0
        learning *= config.soup or 1
        if config.combines:
            asked = 2 * (config.soup or 0) + len(config.alphas)
            forward += COPIES * trained + asked * validated
        runs = 1
        if config.baseline and config.weights == "pretrained":
            runs += len(config.baseline_rates)
            learning += full * len(config.baseline_rates)
            forward += epochs * validated * len(config.baseline_rates)
        return Work(forward + runs * (validated + tested), learning)

    return SizeRule(work, config.minutes, ", set image_size, or train no baseline")


def length(config, pictures: float) -> tuple[int, int | None]:
    """(epochs, patience) of a training part of so many examples.

    Where the configuration leaves the epochs open: EPOCHS, or as many as give UPDATES,
    and a patience of the same share of them.
    """
    if config.epochs:
        return config.epochs, config.patience
    least = math.ceil(UPDATES / math.ceil(pictures / config.batch_size))
    epochs = max(EPOCHS, least)
    patience = config.patience
    return epochs, patience and math.ceil(patience * epochs / EPOCHS)


def strategy(config, parts) -> tuple[Config, str]:
    """(the configuration with its strategy settled, a sentence on why).

    `auto` goes by the labels that a class has in the training part; what the borders
    rest on is said in docs/pictures.md.
    """
    if config.strategy != "auto":
        return config, ""
    if config.weights == "random" or config.task == "text":
        return config.model_copy(update={"strategy": "full"}), ""
    if config.combines:
        said = (
            "Strategy last_stage, for `robust` and `soup` combine weights that were "
            "fine-tuned; `strategy` in a configuration decides otherwise."
        )
        return config.model_copy(update={"strategy": "last_stage"}), said
    if config.head_reads not in ("auto", "last"):
        said = "Strategy frozen, for `head_reads` names stages."
        return config.model_copy(update={"strategy": "frozen"}), said
    labels = len(parts.train) / len(parts.classes)
    chosen = "frozen" if labels < FEW_LABELS else "last_stage"
    said = (
        f"Strategy {chosen}, for the training part has {labels:.0f} labels a class: "
        f"below {FEW_LABELS} only the new head learns, from there on the last stage "
        "too; `strategy` in a configuration decides otherwise."
    )
    return config.model_copy(update={"strategy": chosen}), said


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
    groups = _groups(config, backbone)
    rates = dict(
        lr=config.backbone_rate,
        alpha=config.layer_decay,
        weight_decay=config.weight_decay,
        head_factor=config.head_rate / config.backbone_rate,
        groups=groups,
    )
    plan = None
    if config.strategy in ("gradual", "head_then_full"):
        wanted = _plan(config, backbone, groups)
        first, plan = schedules.gradual_unfreezing(backbone, plan=wanted, **rates)
    else:
        freezing.unfreeze(backbone)
        learning = opened(config, backbone)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in learning)
        first = layer_groups.decayed_groups(backbone, **rates)
    shared = common(config, backbone, parts)
    optimization = replace(shared.optimization, param_groups=first)
    return replace(shared, optimization=optimization, on_epoch=plan)


def _groups(config, backbone) -> dict[str, list[str]]:
    """{group: parameter names}; one below the head where nothing of it learns."""
    if config.strategy != "frozen":
        return layer_groups.layer_groups(backbone)
    names = [name for name, _ in backbone.model.named_parameters()]
    head = [name for name in names if inside(name, backbone.heads)]
    body = [name for name in names if name not in set(head)]
    return {layer_groups.STEM: body, layer_groups.HEAD: head}


def opened(config, backbone) -> set[str]:
    """Names of the parameters that the strategy trains, now or in a later epoch."""
    groups = _groups(config, backbone)
    body = [name for name in groups if name != layer_groups.HEAD]
    learning = body
    if config.strategy == "frozen":
        learning = []
    elif config.strategy == "last_stage":
        count = config.last_blocks or _last_stage(backbone, body)
        if count >= len(body):
            raise config.error(
                "last_blocks",
                f"is {count}, and {config.model} has {len(body)} parts below its head",
                f"1 to {len(body) - 1}",
                "lower it, or set strategy: full",
            )
        learning = body[-count:]
    elif config.strategy in ("gradual", "head_then_full"):
        plan = _plan(config, backbone, groups)
        if plan is None:  # one before each epoch
            learning = body[::-1][: (config.epochs or EPOCHS) - 1]
        else:
            learning = [name for names in plan.values() for name in names]
    return {name for part in (*learning, layer_groups.HEAD) for name in groups[part]}


def _last_stage(backbone, body: list[str]) -> int:
    """How many blocks at the end have maps as small as the last one's; at least one.

    One where all are alike, as in a transformer.
    """
    if backbone.kind == "text":
        return 1
    net, sizes = features.network(backbone), {}
    modules = dict(net.named_modules())

    def note(name, _, __, output):
        sizes[name] = tuple(getattr(output, "shape", ())[2:])

    side = backbone.preprocess.size or 64
    try:
        with ExitStack() as hooks, torch.no_grad(), features.eval_mode(net):
            for name in set(body) & set(modules):
                hook = modules[name].register_forward_hook(partial(note, name))
                hooks.enter_context(hook)
            device = next(net.parameters()).device
            features.forward(net, torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, AssertionError):  # pictures of one other size alone
        return 1
    last = sizes.get(body[-1])
    alike = [name for name in body if sizes.get(name) == last]
    tail = body[-len(alike) :]
    return len(alike) if alike == tail and len(alike) < len(sizes) else 1


def head_epochs(config) -> int:
    """Epochs in which the head learns alone, with strategy: head_then_full.

    A quarter, and at most as many as the job waits for a lower loss: it must not stop
    before the rest has learned.  Kumar et al. 2022 (LP-FT).
    """
    quarter = max(1, (config.epochs or EPOCHS) // 4)
    return quarter if config.patience is None else min(quarter, config.patience)


def _plan(config, backbone, groups):
    """{epoch: names of layer groups} of the configuration; None: one after another."""
    body = [name for name in groups if name != layer_groups.HEAD]
    if config.strategy == "head_then_full":
        return {head_epochs(config): body}
    if not config.unfreeze:
        return None
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
        augment=augmentation(config, backbone),
        optimization=optimization,
        objective=training.Objective(loss, config.label_smoothing),
    )


def augmentation(config, backbone):
    """f(pictures (N, C, H, W), generator), or None."""
    if config.task != "images":
        return None
    return training.AUGMENTATIONS[config.augment](image_size(config, backbone))


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


def check_forward(config, backbone, examples) -> None:
    """CourseError unless the network can read these pictures or texts."""
    some, texts = examples[:2], backbone.kind == "text"
    try:
        x = backbone.preprocess(list(some) if texts else some)
        with torch.no_grad():
            forward(backbone.model, to_device(x, "cpu"))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        key = "max_length" if texts else "image_size"
        own = backbone.card.get("input_size")  # channels, height, width
        size = f", {own[-1]} pixels a side" if own else ""
        raise config.error(
            key,
            f"does not suit {config.model} ({reason[:160]})",
            f"the size that it was trained with{size}, or one that its layers divide",
            f"leave {key} out, or change it",
        ) from None


def device(config) -> str:
    """Where to compute, "cpu" or "cuda"; CourseError where that cannot be had."""
    there = torch.cuda.is_available()
    name = config.device if config.device != "auto" else "cuda" if there else "cpu"
    if name == "cuda" and not there:
        raise config.error(
            "device",
            "is cuda, and no CUDA device is seen",
            "a GPU with its driver, or device: cpu",
            "set device: auto; `course doctor` says what is there",
        )
    return name
