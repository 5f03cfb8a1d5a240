"""How gradients become updates: parameter groups and the optimizer over them."""

import inspect

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import network


def _uncompiled(optimizer: type) -> type:
    """The optimizer without torch's wrappers that keep the compiler off its methods.

    They do nothing else where nothing is compiled, but import the compiler: a second
    of processor time and 150 MB, when an optimizer is made.
    """

    def method(name):
        return inspect.unwrap(getattr(optimizer, name))

    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: method(name) for name in names}
    methods |= {"step": torch.no_grad()(method("step")), "__doc__": optimizer.__doc__}
    return type(optimizer.__name__, (optimizer,), methods)


AdamW, SGD = map(_uncompiled, (torch.optim.AdamW, torch.optim.SGD))


def exempt_from_decay(net: nn.Module) -> set[str]:
    """Names of norms, biases and what the model itself exempts."""
    own = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()
    return own | {name for name, p in net.named_parameters() if p.ndim < 2}


def param_groups(model, lr: float, weight_decay: float = 0.01) -> list[dict]:
    """Trainable parameters in two groups: weights with decay; norms, biases without.

    Ready for an optimizer, or for ``optimizer.add_param_group`` when a part is
    unfrozen later.  Parameters that the model itself exempts (timm's
    ``no_weight_decay``: position embeddings, class token) get no decay either.
    """
    net = network(model)
    exempt = exempt_from_decay(net)
    decay, no_decay = [], []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            (no_decay if name in exempt else decay).append(parameter)
    groups = [(decay, weight_decay), (no_decay, 0.0)]
    return [
        dict(params=params, lr=lr, weight_decay=wd) for params, wd in groups if params
    ]


def make_optimizer(
    model,
    optimizer="adamw",
    groups: list[dict] | None = None,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters, or over ``groups``.

    A ready optimizer is returned as it is.  Raises CourseError when everything is
    frozen.  Loshchilov & Hutter 2019 (AdamW).
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    if groups is None:
        groups = param_groups(model, lr, weight_decay)
    if not groups:
        raise CourseError(
            "Nothing to train: every parameter is frozen.\nExpected: at least the "
            "head learns.\nDo: freezing.unfreeze(model.fc), or freeze_until(backbone, "
            "stage)."
        )
    if optimizer == "adamw":
        return AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
    if optimizer == "sgd":
        options = dict(lr=lr, weight_decay=weight_decay, momentum=momentum)
        return SGD(groups, **options)
    raise CourseError(
        f"optimizer={optimizer!r} is unknown. Expected 'adamw', 'sgd' or a "
        "torch.optim.Optimizer.\nDo: correct the name, or pass a ready optimizer."
    )


def check_covered(net: nn.Module, optimizer) -> None:
    """Raise if an on_epoch hook unfroze a parameter that the optimizer lacks."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and id(parameter) not in known:
            raise CourseError(
                f"{name} was unfrozen during training, but the optimizer does not hold "
                "it, so it would never learn.\nExpected: each newly unfrozen part is "
                "added.\nDo: for group in training.param_groups(part, lr): "
                "optimizer.add_param_group(group)."
            )
