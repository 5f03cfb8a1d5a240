"""Measuring: spread over seeds, bytes and seconds.

A result without its spread is an anecdote, and a memory figure without its parts
explains nothing.  Lessons 02 and 03.
"""

from __future__ import annotations

import copy
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from course_lib.errors import CourseError

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution

# -- spread -----------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean with its confidence interval; prints as "0.912 ± 0.013"."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half_width:.3f}"


def mean_and_interval(values, confidence: float = 0.95) -> Interval:
    """Mean of one value a seed, with Student's t-interval (95 % by default).

    The interval says where the mean over all seeds probably lies, assuming that seeds
    scatter about normally.  Raises CourseError with fewer than two finite values.
    Student 1908; lesson 02.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64).ravel()
    if len(values) < 2 or not np.isfinite(values).all():
        raise CourseError(
            f"mean_and_interval: {values.tolist()} has no spread. Expected two or more "
            "finite numbers, one for each seed."
        )
    mean = values.mean()
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    return Interval(float(mean), float(mean - half), float(mean + half), len(values))


def paired_difference(a, b, confidence: float = 0.95) -> Interval:
    """Interval of mean(a - b) where entry i of both used the same seed and data.

    Pairing removes what the two share, so that a small difference can be seen.  For two
    rows of right and wrong answers see :func:`paired_accuracies`.
    Raises CourseError on unequal lengths.  Lesson 02.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise CourseError(
            f"paired_difference: shapes {a.shape} and {b.shape}. Expected one value a "
            "seed on both sides, in the same order of seeds."
        )
    return mean_and_interval(a - b, confidence)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, right of n: of one accuracy, over the test examples.

    Never outside 0..1, and no point at 0 or n right.  Wilson 1927; lesson 11.
    """
    if not 0 <= right <= n or n < 1:
        raise CourseError(
            f"wilson_interval: {right} of {n}. Expected 0 <= right <= n and n >= 1."
        )
    centre = (right + Z95**2 / 2) / (n + Z95**2)
    half = Z95 / (n + Z95**2) * np.sqrt(right * (n - right) / n + Z95**2 / 4)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def paired_accuracies(ours, theirs) -> dict:
    """Interval of the difference of two accuracies on the same n test examples.

    ours, theirs (n,): was each answer right?  95 %, from the examples on which exactly
    one of the two is right, with half an example added to each cell, so that it never
    shrinks to a point.  Returns {mean, low, high, ours_only, theirs_only}.  It counts
    the draw of the test examples alone; :func:`paired_difference` counts seeds and
    training sets alone, and ``gains.crossed_interval`` counts both.  Raises CourseError
    on unequal lengths.  Agresti & Min 2005; lesson 13.
    """
    ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise CourseError(
            f"paired_accuracies: shapes {ours.shape} and {theirs.shape}. Expected two "
            "rows of right and wrong of the same examples."
        )
    n = len(ours) + 2
    b, c = (ours & ~theirs).sum() + 0.5, (theirs & ~ours).sum() + 0.5
    centre = (b - c) / n
    half = Z95 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    return {
        "mean": float(ours.mean() - theirs.mean()),
        "low": float(max(-1, centre - half)),
        "high": float(min(1, centre + half)),
        "ours_only": int(b),
        "theirs_only": int(c),
    }


def labels_needed(labels, accuracies, target: float) -> float:
    """Labels at which a curve first reaches ``target``, linear in log(labels).

    labels (n,) increasing, accuracies (n,).  NaN when the curve never gets there; the
    first label count when it starts above.  The ratio of two such numbers is the data
    efficiency of transfer.  Lesson 02.
    """
    labels = np.asarray(labels, dtype=np.float64)
    accuracies = np.asarray(accuracies, dtype=np.float64)
    if labels.shape != accuracies.shape or (np.diff(labels) <= 0).any():
        raise CourseError(
            f"labels_needed: labels {labels.tolist()} and {len(accuracies)} accuracies."
            " Expected increasing label counts and one accuracy for each."
        )
    reached = np.flatnonzero(accuracies >= target)
    if not len(reached):
        return float("nan")
    i = reached[0]
    if i == 0:
        return float(labels[0])
    below, above = accuracies[i - 1], accuracies[i]
    share = (target - below) / (above - below)
    return float(np.exp(np.interp(share, [0, 1], np.log(labels[i - 1 : i + 1]))))


# -- seconds and resident memory --------------------------------------------------


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall-clock seconds of ``function()`` over ``repeats`` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@dataclass(frozen=True)
class Peak:
    """What a function returned, the bytes it needed at most, and its seconds."""

    result: Any
    bytes: int  # growth of resident memory over its value at the start
    seconds: float


def peak_memory(function: Callable[[], Any], interval: float = 0.005) -> Peak:
    """Run ``function()`` while a thread samples the process's resident memory.

    Bytes are the highest sample minus the value before the call.  This is what the
    operating system sees: it includes allocator caches, misses peaks shorter than
    ``interval`` seconds, and reads low when memory freed earlier is used again.
    ``training_step_bytes`` counts exactly.  Lesson 03.
    """
    import psutil

    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def sample():
        nonlocal highest
        while not done.wait(interval):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    start = time.perf_counter()
    try:
        result = function()
    finally:
        elapsed = time.perf_counter() - start
        done.set()
        watcher.join()
    highest = max(highest, process.memory_info().rss)
    return Peak(result, highest - before, elapsed)


# -- exact bytes ------------------------------------------------------------------


def tensor_bytes(model, optimizer=None) -> dict[str, int]:
    """Bytes of {parameters, buffers, gradients, optimizer} as they are now.

    Gradients count once they exist (after backward), optimizer state once a step was
    made.  Lesson 03.
    """
    from course_lib.models.features import network

    net = network(model)
    parameters = list(net.parameters())
    state = optimizer.state.values() if optimizer is not None else []
    tensors = [v for entry in state for v in entry.values() if hasattr(v, "nbytes")]
    return {
        "parameters": sum(p.nbytes for p in parameters),
        "buffers": sum(b.nbytes for b in net.buffers()),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "optimizer": sum(t.nbytes for t in tensors),
    }


def saved_activation_bytes(model, x) -> int:
    """Bytes that a forward pass in train mode keeps for the backward pass.

    Every tensor that autograd saves, counted once by its storage; parameters and
    buffers are not counted, they exist anyway.  Zero behind a fully frozen network.
    BatchNorm statistics of ``model`` are left as they were.  Lesson 03.
    """
    from course_lib.models.features import network

    return _forward_bytes(copy.deepcopy(network(model)), x)[1]


def _forward_bytes(net, x):
    """(output, bytes saved for backward) of one forward pass in train mode."""
    import torch

    from course_lib.models.features import forward
    from course_lib.training.freezing import train_mode

    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    saved: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    train_mode(net)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(net, x)
    return output, sum(saved.values())


def training_step_bytes(model, x, y, optimizer: str = "adamw") -> dict[str, int]:
    """Exact bytes of one training step, by what they are for; the model is not changed.

    x: preprocessed batch, y: labels (N,).  Runs forward, backward and one update on a
    copy.  Returns {parameters, buffers, gradients, optimizer, activations, total}.
    Frozen parameters have neither gradients nor optimizer state, and a network that
    is frozen up to its head saves next to no activations.  Lesson 03.
    """
    import torch

    from course_lib import training
    from course_lib.models.features import network

    net = copy.deepcopy(network(model))
    net.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output, activations = _forward_bytes(net, x)
    updater = training.make_optimizer(net, optimizer)
    torch.nn.functional.cross_entropy(output, y).backward()
    updater.step()
    parts = tensor_bytes(net, updater) | {"activations": activations}
    return parts | {"total": sum(parts.values())}
