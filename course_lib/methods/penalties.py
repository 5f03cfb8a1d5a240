"""Penalties on weights: staying near the start, or near the end of an earlier task.

`l2_sp` holds all weights alike, `ewc` each as firmly as the earlier task needs it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import eval_mode, network


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


def fisher_diagonal(model, inputs: torch.Tensor, batch_size: int = 32) -> dict:
    """{parameter: F} with F_i = E_x E_{y ~ p(y|x)} (d log p(y|x) / d w_i)^2.

    model: gives logits (N, K) of inputs (N, ...), in evaluation mode.  The expectation
    over y is the exact sum over the K classes, so no labels are read.  Of a parameter
    that does not learn there is no F.  Kirkpatrick et al. 2017, section 2.
    """
    net = network(model)
    learn = {n: p.detach() for n, p in net.named_parameters() if p.requires_grad}
    if not learn or not len(inputs):
        raise CourseError(
            "fisher_diagonal: nothing learns, or there are no inputs.\nExpected: a "
            "network with parameters that learn and one input or more."
        )

    def log_p(parameters, x):
        logits = torch.func.functional_call(net, parameters, (x[None],))
        return logits[0].log_softmax(dim=0)  # (K,)

    slopes = torch.func.vmap(torch.func.jacrev(log_p), in_dims=(None, 0))
    total = {name: torch.zeros_like(value) for name, value in learn.items()}
    with eval_mode(net):
        for x in inputs.split(batch_size):
            with torch.no_grad():
                p = net(x).softmax(dim=1)  # (n, K)
            for name, J in slopes(learn, x).items():  # (n, K, ...)
                total[name] += torch.einsum("nk,nk...->...", p, J**2)
    return {name: value / len(inputs) for name, value in total.items()}


def ewc(model, fisher: Mapping, strength: float) -> Callable:
    """Elastic weight consolidation: strength/2 sum_i F_i (w_i - w*_i)^2, as f().

    Made at the end of the earlier task, whose weights w* are the model's of now.
    fisher: of `fisher_diagonal`.  Kirkpatrick et al. 2017, eq. 3.
    """
    held = [
        (p, p.detach().clone(), fisher[name])
        for name, p in network(model).named_parameters()
        if name in fisher
    ]
    if not held:
        raise CourseError(
            "ewc: no parameter of the model is in the Fisher information.\nExpected: "
            "that of this network.\nDo: fisher_diagonal(model, inputs) before."
        )

    def penalty() -> torch.Tensor:
        away = sum((F * (p - p0) ** 2).sum() for p, p0, F in held)
        return strength / 2 * away

    return penalty
