"""The learning-rate range test: how the loss answers to a rising rate."""

import copy
import math
from dataclasses import dataclass

import numpy as np

from course_lib.errors import CourseError
from course_lib.models.features import device_of, forward, network, preprocess_of
from course_lib.training.batches import Examples, Feed
from course_lib.training.distributed import ALONE
from course_lib.training.freezing import train_mode
from course_lib.training.optimization import make_optimizer, param_groups
from course_lib.training.randomness import isolated
from course_lib.training.recipe import STANDARD, Recipe

SMOOTHING = 0.85  # of the running mean of the loss
DIVERGED = 4  # times its minimum: the smoothed loss has left all bounds


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
    seed: int = 0,
    recipe: Recipe = STANDARD,
) -> RangeTest:
    """Raise the rate from ``low`` to ``high`` geometrically, one step each.

    Works on a copy: ``model`` stays as it is.  Stops when the smoothed loss exceeds
    four times its minimum or is not finite.  ``steepest`` is the rate at the steepest
    fall of the smoothed loss: a suggestion for the *order of magnitude* of a base rate.
    data: an ImageDataset or (inputs, labels).  Of the recipe: batch size, augmentation,
    preprocessing, weight decay and objective.  Raises CourseError on a bad range.
    Smith 2017.
    """
    if not (0 < low < high and steps >= 10):
        raise CourseError(
            f"range_test: low={low}, high={high}, steps={steps}. Expected 0 < low < "
            "high and at least 10 steps.\nDo: the defaults span six powers of ten."
        )
    net = copy.deepcopy(network(model))
    prepare = preprocess_of(model, recipe.preprocess)
    examples = Examples(data, prepare, recipe.batch_size, "training")
    feed = Feed(examples, recipe, seed, device_of(net), ALONE)
    raw, smooth, diverged = [], [], False
    tried = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    with isolated(seed, None):
        for loss in _losses(net, feed, tried, recipe):
            average = loss
            if smooth:
                average = SMOOTHING * smooth[-1] + (1 - SMOOTHING) * loss
            if not math.isfinite(loss) or average > DIVERGED * min([*smooth, average]):
                diverged = True
                break
            raw.append(loss)
            smooth.append(average)
    if len(raw) < 3:
        raise CourseError(
            "range_test: the loss left all bounds at a rate of "
            f"{tried[len(raw)]:.1e} already.\n"
            "Expected: a start that does not diverge.\nDo: lower `low`."
        )
    rates = tried[: len(raw)]
    slope = np.gradient(np.array(smooth), np.log(rates))
    steepest = rates[int(slope.argmin())]
    return RangeTest(*map(np.array, (rates, raw, smooth)), steepest, diverged)


def _losses(net, feed, rates, recipe):
    """The loss at each rate in turn, each before its update; ``net`` learns."""
    groups = param_groups(net, rates[0], recipe.optimization.weight_decay)
    optimizer = make_optimizer(net, groups=groups)
    train_mode(net)
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = next(feed)
        loss = recipe.objective(forward(net, batch.inputs), batch.labels)
        yield float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
