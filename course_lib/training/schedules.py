"""Learning rates over time: slanted triangles, the range test, gradual unfreezing.

The warm-up and cosine that `training.fit` uses by default are in `training.lr_factor`;
here is what lesson 04 compares them with.  Everything plugs into `training.fit`: a
schedule is a function of (step, steps), gradual unfreezing a list of first parameter
groups and a plan {epoch: what happens}.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from course_lib.errors import CourseError
from course_lib.models.features import network, preprocess_of
from course_lib.training import layer_groups as groups_of
from course_lib.training.freezing import train_mode

__all__ = ["RangeTest", "gradual_unfreezing", "range_test", "slanted_triangular"]


def slanted_triangular(cut: float = 0.1, ratio: float = 32.0):
    """ULMFiT's schedule: a short linear rise over ``cut`` of the steps, a long fall.

    Returns f(step, steps) -> factor for ``training.fit(schedule=, warmup=0)``; the
    smallest factor is 1 / ratio.  Raises CourseError unless 0 < cut < 1, ratio >= 1.
    Howard & Ruder 2018, equation 3; lesson 04.
    """
    if not (0 < cut < 1 and ratio >= 1):
        raise CourseError(
            f"slanted_triangular: cut={cut}, ratio={ratio}. Expected 0 < cut < 1 and "
            "ratio >= 1."
        )

    def factor(step: int, steps: int) -> float:
        top = max(1, math.floor(steps * cut))
        if step < top:
            p = step / top
        else:
            p = 1 - (step - top) / max(1, steps - top)
        return (1 + p * (ratio - 1)) / ratio

    return factor


@dataclass(frozen=True)
class RangeTest:
    """Rates tried, raw and smoothed losses (nats), and where the loss fell fastest."""

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    steepest: float
    diverged: bool


def range_test(
    model,
    data,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 80,
    batch_size: int = 32,
    weight_decay: float = 0.01,
    smoothing: float = 0.85,
    preprocess=None,
    augment=None,
    seed: int = 0,
) -> RangeTest:
    """Raise the rate from ``low`` to ``high`` geometrically, one step each.

    Works on a copy: ``model`` stays as it is.  Stops when the smoothed loss exceeds
    four times its minimum or is not finite.  ``steepest`` is the rate at the steepest
    fall of the smoothed loss: a suggestion for the *order of magnitude* of a base rate.
    data: an ImageDataset or (inputs, labels).  Raises CourseError on a bad range.
    Smith 2017; lesson 04.
    """
    from course_lib import training

    if not (0 < low < high and steps >= 10):
        raise CourseError(
            f"range_test: low={low}, high={high}, steps={steps}. Expected 0 < low < "
            "high and at least 10 steps."
        )
    net = copy.deepcopy(network(model))
    prepare = preprocess_of(model, preprocess)
    examples = training.Examples(data, prepare, batch_size, "training")
    groups = training.param_groups(net, low, weight_decay)
    optimizer = training.make_optimizer(net, groups=groups)
    generator = torch.Generator().manual_seed(seed)
    batches = examples.endless(batch_size, generator)
    rates, losses, smooth, average = [], [], [], None
    diverged = False
    with training.isolated(seed, None):
        train_mode(net)
        for step in range(steps):
            rate = low * (high / low) ** (step / (steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, y = next(batches)
            x = augment(x, generator) if augment is not None else x
            loss = cross_entropy(training.forward(net, x), y)
            value = float(loss.detach())
            average = (
                value
                if average is None
                else smoothing * average + (1 - smoothing) * value
            )
            if not math.isfinite(value) or average > 4 * min([*smooth, average]):
                diverged = True
                break
            rates.append(rate)
            losses.append(value)
            smooth.append(average)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if len(rates) < 3:
        raise CourseError(
            f"range_test: the loss left all bounds at a rate of {rate:.1e} already.\n"
            "Expected: a start that does not diverge.\nDo: lower `low`."
        )
    slope = np.gradient(np.array(smooth), np.log(rates))
    steepest = rates[int(slope.argmin())]
    return RangeTest(*map(np.array, (rates, losses, smooth)), steepest, diverged)


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
    ``training.fit(param_groups=first, on_epoch=plan)``: before epoch ``every``, 2
    ``every`` ... the next group below is unfrozen and given to the optimizer at its own
    rate (:func:`layer_groups.layer_rates`); or, with ``plan`` {epoch: names
    of groups}, those before that epoch.  Raises CourseError for a model without a
    head, and for a plan that names an unknown group or one twice.
    Howard & Ruder 2018; lesson 04.
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
