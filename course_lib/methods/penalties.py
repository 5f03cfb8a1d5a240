"""Penalties on weights: staying near the start of fine-tuning."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import network


def l2_sp(model, start, strength: float, beta: float = 0.01) -> Callable:
    """The penalty strength/2 ||w - w_0||^2 + beta/2 ||v||^2, as f() -> scalar.

        penalty = l2_sp(backbone, backbone, strength=0.1)  # before training
        recipe = training.Recipe(
            objective=training.Objective(penalty=penalty),
            optimization=training.Optimization(weight_decay=0.0),
        )
        training.fit(backbone, data, steps=200, recipe=recipe)

    w: parameters that ``start`` (Backbone, module or state dict) has too, by name and
    shape; w_0: their values there, copied now.  v: the new ones, a Backbone's head
    always among them.  Only parameters that learn count.  Weight decay pulls towards
    0 instead of w_0, so it is turned off.  AdamW rescales the penalty's gradient with
    that of the loss; optimizer="sgd" is the paper's setting.  Raises CourseError when
    nothing is shared, or a factor is negative.  Li et al. 2018.
    """
    if strength < 0 or beta < 0:
        raise CourseError(
            f"l2_sp: strength={strength}, beta={beta}; expected numbers >= 0."
        )
    origin = start if isinstance(start, Mapping) else network(start).state_dict()
    head = getattr(model, "head", None)
    own = () if isinstance(model, nn.Module) or not head else (head + ".",)
    shared, new = [], []
    for name, parameter in network(model).named_parameters():
        value = origin.get(name)
        known = value is not None and value.shape == parameter.shape
        if known and not name.startswith(own):
            shared.append((parameter, value.detach().clone()))
        else:
            new.append(parameter)
    if not shared:
        raise CourseError(
            "l2_sp: no parameter of the model is in the start by name and shape.\n"
            "Expected: a start of the same architecture.\nDo: take the backbone's own "
            "copy from before training."
        )

    def penalty() -> torch.Tensor:
        away = sum(
            ((p - p0.to(p.device)) ** 2).sum() for p, p0 in shared if p.requires_grad
        )
        size = sum((p**2).sum() for p in new if p.requires_grad)
        return strength / 2 * away + beta / 2 * size

    return penalty
