"""Freezing: which parameters learn, and why BatchNorm needs a second thought.

A frozen parameter has ``requires_grad = False``.  That alone does not freeze a
BatchNorm layer: its running mean and variance are no parameters, and they move with
every batch that passes in train mode.
"""

from contextlib import contextmanager
from types import MethodType

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib.errors import CourseError
from course_lib.models import heads
from course_lib.models.features import network, resolve


def freeze(module):
    """No parameter of ``module`` learns any more.  Returns it."""
    network(module).requires_grad_(False)
    return module


def unfreeze(module):
    """Every parameter of ``module`` learns (again), BatchNorm statistics included."""
    network(module).requires_grad_(True)
    for layer in network(module).modules():
        layer.__dict__.pop("train", None)  # undoes freeze_batchnorm
    return module


def freeze_until(backbone, stage: str | None):
    """Freeze ``stage`` and all before it; all behind it learns.  Returns the backbone.

    ``stage`` is a stage name or a dotted module name; None leaves everything
    trainable.  "Before" means registered before it, which for the networks of the
    zoo is the order of the forward pass.  Raises CourseError on an unknown stage.
    Yosinski et al. 2014.
    """
    net = network(backbone)
    unfreeze(backbone)
    if stage is None:
        return backbone
    target = resolve(backbone, stage)
    names = [name for name, _ in net.named_modules()]
    last = max(i for i, n in enumerate(names) if (n + ".").startswith(target + "."))
    for name in names[: last + 1]:
        module = net.get_submodule(name)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return backbone


def freeze_backbone(backbone):
    """Freeze everything but the head: feature extraction.  Returns the backbone.

    Raises CourseError for a plain module, which does not say what its head is.
    """
    if isinstance(backbone, nn.Module):
        raise CourseError(
            "freeze_backbone: a plain torch module does not say which part is its "
            "head. Do: freeze(model), then unfreeze(model.fc) or whatever it is called."
        )
    freeze(backbone)
    for name in backbone.heads:
        unfreeze(backbone.model.get_submodule(name))
    return backbone


def total_parameters(model) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network(model).parameters())


def trainable_parameters(model) -> int:
    """Number of parameters that learn."""
    return sum(p.numel() for p in network(model).parameters() if p.requires_grad)


def parameter_table(backbone) -> list[dict]:
    """Rows {stage, parameters, trainable}, input to output, head last.

    A parameter belongs to the first stage whose modules end at or after it.
    """
    net = network(backbone)
    names = [name for name, _ in net.named_modules()]
    ends = {}  # stage -> index of its last module
    for stage in backbone.stages:
        target = resolve(backbone, stage)
        ends[stage] = max(i for i, n in enumerate(names) if heads.inside(n, [target]))
    # an encoder without a classifier has no head
    last = ", ".join(backbone.heads) or "rest"
    rows = {s: dict(stage=s, parameters=0, trainable=0) for s in [*ends, last]}
    for i, name in enumerate(names):
        stage = next((s for s, end in ends.items() if i <= end), last)
        stage = last if heads.inside(name, backbone.heads) else stage
        for p in net.get_submodule(name).parameters(recurse=False):
            rows[stage]["parameters"] += p.numel()
            rows[stage]["trainable"] += p.numel() * p.requires_grad
    return [row for row in rows.values() if row["parameters"]]


# -- BatchNorm --------------------------------------------------------------------


def _frozen_batchnorm(model) -> list[tuple[str, nn.Module]]:
    """BatchNorm layers that keep statistics and whose parameters are all frozen."""
    return [
        (name, layer)
        for name, layer in network(model).named_modules()
        if isinstance(layer, _BatchNorm)
        and layer.track_running_stats
        and (own := list(layer.parameters()))
        and not any(p.requires_grad for p in own)
    ]


def train_mode(model) -> None:
    """Train mode, except that BatchNorm layers with frozen parameters stay in eval.

    In train mode such a layer would normalise by the statistics of the current batch
    and let its running mean and variance drift, although ``requires_grad`` is False:
    the "frozen" features change from epoch to epoch.  :func:`course_lib.training.fit`
    calls this at the start of every epoch.
    """
    network(model).train()
    for _, layer in _frozen_batchnorm(model):
        layer.eval()


def freeze_batchnorm(model) -> list[str]:
    """Put frozen BatchNorm layers in eval mode for good; returns their names.

    ``model.train()`` no longer reaches these layers, so a hand-written loop keeps
    their statistics too; :func:`unfreeze` releases them.
    """
    names = []
    for name, layer in _frozen_batchnorm(model):
        layer.eval()
        layer.train = MethodType(lambda layer, mode=True: layer, layer)
        names.append(name)
    return names


@contextmanager
def statistics_frozen(model):
    """All BatchNorm layers keep running mean and variance meanwhile, and use them.

    Scale and shift learn as before.  `train` reaches the layers again afterwards.
    """
    layers = [one for one in network(model).modules() if isinstance(one, _BatchNorm)]
    for layer in layers:
        layer.eval()
        layer.train = MethodType(lambda layer, mode=True: layer, layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("train", None)


def frozen_in_train_mode(model) -> list[str]:
    """Names of frozen BatchNorm layers that are in train mode: they would drift.

    Empty when all is well.
    """
    return [name for name, layer in _frozen_batchnorm(model) if layer.training]
