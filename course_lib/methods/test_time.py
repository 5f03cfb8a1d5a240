"""At test time: statistics of the target's own images, the mean of several views, and
entropy that is minimised while answering.

None reads a label; only the last one trains, and only scales and offsets of BatchNorm.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib.errors import CourseError
from course_lib.methods.unlabelled import unlabelled
from course_lib.models.features import (
    device_of,
    eval_mode,
    forward,
    network,
    preprocess_of,
    to_device,
)


def adapt_batchnorm(
    backbone, images, batch_size: int = 1024, momentum: float | None = None
):
    """A copy of the backbone whose BatchNorm layers know the target images: AdaBN.

    Running means and variances become those of each layer's inputs over all images,
    the layers before it being adapted already; they do not depend on ``batch_size``.
    Up to ``batch_size`` images take one pass; more take a pass for each layer on the
    longest path, in less memory.  With ``momentum`` instead, one pass in batches (64
    is usual) moves the source statistics by that share each, as train mode does.
    Weights stay as they are; labels are not read.  Raises CourseError when the
    network has no BatchNorm.  Li et al. 2017.
    """
    names = [
        name
        for name, layer in network(backbone).named_modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not names:
        raise CourseError(
            f"{getattr(backbone, 'name', 'This network')} has no BatchNorm layer, so "
            "there are no statistics to adapt.\nExpected: a network such as a ResNet; "
            "LayerNorm, in transformers, normalises each image by itself.\nDo: use "
            "fit_aligned."
        )
    adapted = copy.deepcopy(backbone)
    net = network(adapted)
    layers = [net.get_submodule(name) for name in names]
    examples = unlabelled(images, preprocess_of(backbone), batch_size)
    if examples.n < 2:
        raise CourseError("adapt_batchnorm: one image, expected two or more.")
    with torch.no_grad(), eval_mode(net):
        if momentum is not None:
            _move_statistics(net, layers, examples, batch_size, momentum)
        else:
            for _ in layers:  # each pass makes one layer more exact
                before = _statistics(layers)
                counts = _set_statistics(net, layers, examples, batch_size)
                unchanged = torch.equal(before, _statistics(layers))
                if unchanged or examples.n <= batch_size:
                    break
            for layer, n in counts.items():  # as torch stores it: unbiased
                layer.running_var *= n / max(1, n - 1)
    net.eval()
    return adapted


def _statistics(layers) -> torch.Tensor:
    return torch.cat([v for l in layers for v in (l.running_mean, l.running_var)])


def _set_statistics(net, layers, examples, batch_size) -> dict:
    """Set mean and variance of each layer's inputs; returns how many they were."""
    counts, sums = {}, {}  # layer -> number of values; (2, C): x and x^2

    def collect(layer, inputs):
        x = inputs[0]
        n, dims = x.numel() // x.shape[1], [d for d in range(x.ndim) if d != 1]
        variance, mean = torch.var_mean(x, dims, correction=0)
        mean, variance = mean.double(), variance.double()
        counts[layer] = counts.get(layer, 0) + n
        sums[layer] = sums.get(layer, 0) + n * torch.stack([mean, variance + mean**2])
        if examples.n <= batch_size:  # complete, before the layer itself runs
            store(layer)

    def store(layer):
        mean, square = sums[layer] / counts[layer]
        layer.running_mean.copy_(mean)
        layer.running_var.copy_((square - mean**2).clamp(min=0))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(collect))
        for x, _ in examples.once(batch_size):
            forward(net, to_device(x, device_of(net)))
    for layer in counts:
        store(layer)
    return counts


def _move_statistics(net, layers, examples, batch_size, momentum) -> None:
    if not 0 < momentum <= 1:
        raise CourseError(
            f"adapt_batchnorm: momentum={momentum}.\nExpected: None, or a share above "
            "0 and at most 1 that each batch moves the statistics by."
        )
    usual = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
    for layer in layers:
        layer.training, layer.momentum = True, momentum
    for x, _ in examples.once(batch_size):
        if len(x) > 1:  # one left over has no variance
            forward(net, to_device(x, device_of(net)))
    for layer, (value, count) in zip(layers, usual):
        layer.momentum, layer.num_batches_tracked = value, count


def dihedral_views() -> list[Callable]:
    """The eight turns and mirrorings of a batch of square pictures."""
    return [
        lambda x, k=k, mirror=mirror: torch.rot90(x.flip(3) if mirror else x, k, (2, 3))
        for mirror in (False, True)
        for k in range(4)
    ]


def predict_tta(
    backbone,
    images,
    views: Sequence[Callable] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """Log of the mean probability (N, K) over several views: test-time augmentation.

    views: f(x) -> x on preprocessed batches, without chance; by default
    dihedral_views().  Used like logits: argmax, or softmax for probabilities.
    Raises CourseError without a view.  Krizhevsky et al. 2012.
    """
    views = dihedral_views() if views is None else list(views)
    if not views:
        raise CourseError("predict_tta: no views, expected one function or more.")
    net = network(backbone)
    examples = unlabelled(images, preprocess_of(backbone), batch_size, cache=False)
    outputs = []
    with torch.no_grad(), eval_mode(net):
        for x, _ in examples.once(batch_size):
            x = to_device(x, device_of(net))
            logits = torch.stack([forward(net, view(x)) for view in views]).double()
            log_mean = logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(views))
            outputs.append(log_mean.float().cpu())
    return torch.cat(outputs).numpy()


def tent(
    net: nn.Module,
    x: torch.Tensor,
    *,
    batch_size: int = 64,
    lr: float = 1e-3,
    passes: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Logits (passes, N, K) of a network that minimises its entropy while it answers.

    net: a torch module, changed in place.  x (N, ...): its inputs, which come in
    batches, in another order in each pass.  BatchNorm normalises every batch by the
    batch's own statistics, and its scales and offsets take one step of Adam down the
    mean entropy of the batch's answers; these answers, made before the step, are
    returned.  Nothing else learns, no label is read.  lr=0: the batches' own
    statistics alone.  An entropy of 0 is also reached by giving all inputs one class.
    Raises CourseError when there is no BatchNorm.  Wang et al. 2021.
    """
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        raise CourseError(
            f"tent: {type(net).__name__} has no BatchNorm layer.\nExpected: a network "
            "such as a ResNet.\nDo: adapt another way; methods.alignment needs none."
        )
    net.eval().requires_grad_(False)
    for layer in layers:  # the batch's statistics, and the running ones left alone
        layer.train().requires_grad_(True)
        layer.track_running_stats = False
    learning = [p for layer in layers for p in (layer.weight, layer.bias)]
    optimizer = torch.optim.Adam(learning, lr=lr)
    generator, answers = torch.Generator().manual_seed(seed), []
    for _ in range(passes):
        given = None
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            logits = net(x[rows])
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)  # (n,)
            optimizer.zero_grad()
            entropy.mean().backward()
            optimizer.step()
            if given is None:
                given = torch.empty(len(x), logits.shape[1])
            given[rows] = logits.detach().float().cpu()
        answers.append(given)
    return torch.stack(answers).numpy()
