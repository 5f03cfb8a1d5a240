"""Learning rates over time: warm-up and decay, slanted triangles, gradual unfreezing.

A schedule is a function of (step, steps) that gives the factor of all rates, for
``training.Optimization(schedule=)``; gradual unfreezing is a list of first parameter
groups and a plan {epoch: what happens}.
"""

import math

from course_lib.errors import CourseError
from course_lib.models.features import network
from course_lib.training import layer_groups as groups_of

DECAYS = {  # factor by the share of the steps after the warm-up
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * min(1.0, done))),
    "linear": lambda done: max(0.0, 1 - done),
    "constant": lambda done: 1.0,
}


def lr_factor(step: int, steps: int, schedule="cosine", warmup: float = 0.1) -> float:
    """Learning rate at ``step`` of ``steps`` as a multiple of the base rate.

    Linear warm-up over the first ``warmup`` share of the steps, then "cosine" to zero
    (Loshchilov & Hutter 2017), "linear" to zero, or "constant".  A callable(step,
    steps) is used as it is, without ``warmup``.  Raises CourseError on an unknown name.
    """
    if callable(schedule):
        return float(schedule(step, steps))
    if schedule not in DECAYS:
        known = ", ".join(map(repr, DECAYS))
        raise CourseError(
            f"schedule={schedule!r} is unknown. Expected {known} or a function "
            "of (step, steps) that returns a factor.\n"
            "Do: correct the name, or pass a function."
        )
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return DECAYS[schedule]((step - rise) / max(1, steps - rise))


def slanted_triangular(cut: float = 0.1, ratio: float = 32.0):
    """ULMFiT's schedule: a short linear rise over ``cut`` of the steps, a long fall.

    Returns f(step, steps) -> factor for ``Optimization(schedule=)``; the
    smallest factor is 1 / ratio.  Raises CourseError unless 0 < cut < 1, ratio >= 1.
    Howard & Ruder 2018, equation 3.
    """
    if not (0 < cut < 1 and ratio >= 1):
        raise CourseError(
            f"slanted_triangular: cut={cut}, ratio={ratio}. Expected 0 < cut < 1 and "
            "ratio >= 1.\nDo: slanted_triangular() has those of the paper."
        )

    def factor(step: int, steps: int) -> float:
        top = max(1, math.floor(steps * cut))
        if step < top:
            p = step / top
        else:
            p = 1 - (step - top) / max(1, steps - top)
        return (1 + p * (ratio - 1)) / ratio

    return factor


def gradual_unfreezing(
    model,
    lr: float,
    alpha: float = 1 / 2.6,
    every: int = 1,
    weight_decay: float = 0.01,
    head_factor: float = 1.0,
    groups: dict[str, list[str]] | None = None,
    plan: dict[int, list[str]] | None = None,
):
    """Open one layer group after the other from the head down.

    Freezes all but the head at once and returns (first parameter groups, plan), for
    ``Recipe(optimization=Optimization(param_groups=first), on_epoch=plan)``: before
    epoch ``every``, 2 ``every`` ... the next group below is unfrozen and given to the
    optimizer at its own rate (:func:`layer_groups.layer_rates`); or, with ``plan``
    {epoch: names of groups}, those before that epoch.  Raises CourseError for a model
    without a head, and for a plan that names an unknown group or one twice.
    Howard & Ruder 2018.
    """
    net = network(model)
    groups = groups_of.layer_groups(model) if groups is None else groups
    if groups_of.HEAD not in groups or every < 1:
        raise CourseError(
            "gradual_unfreezing: expected a model with a head to begin with, and "
            f"every >= 1 (every={every}).\nDo: backbone.to_classes(n)."
        )
    parameters = dict(net.named_parameters())

    def opened(name):
        for member in groups[name]:
            parameters[member].requires_grad_(True)
        every_group = groups_of.decayed_groups(
            model, lr, alpha, weight_decay, head_factor, groups
        )
        return [group for group in every_group if group["name"] == name]

    def opening(names):
        def hook(model, optimizer):
            for name in names:
                for group in opened(name):
                    optimizer.add_param_group(group)

        return hook

    body = [name for name in reversed(groups) if name != groups_of.HEAD]
    if plan is None:
        plan = {every * (i + 1): [name] for i, name in enumerate(body)}
    named = [name for names in plan.values() for name in names]
    wrong = [n for n in named if n not in body or named.count(n) > 1]
    if wrong:
        raise CourseError(
            f"gradual_unfreezing: the plan names {wrong[0]!r}, which is "
            f"{'named twice' if wrong[0] in body else 'no layer group'}.\nExpected: "
            f"each of {', '.join(body)} at most once."
        )
    net.requires_grad_(False)
    first = opened(groups_of.HEAD)
    return first, {epoch: opening(names) for epoch, names in plan.items()}
