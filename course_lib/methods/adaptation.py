"""Adaptation to a target domain without its labels, and L2-SP.

Alignment makes source and target features alike while the source labels are learned
(:func:`fit_aligned`); :func:`adapt_batchnorm` replaces statistics only;
augmentations imitate the target.  None of them can see whether the *labels* differ
between the domains: under label shift, alignment maps wrong classes onto each other.
Lesson 11; :func:`l2_sp` in lesson 12.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib import training
from course_lib.datasets import ImageDataset
from course_lib.errors import CourseError
from course_lib.models.features import (
    eval_mode,
    forward,
    network,
    preprocess_of,
    to_device,
)
from course_lib.training.freezing import train_mode

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # multiples of the median distance


# -- adversarial alignment --------------------------------------------------------


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def gradient_reversal(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """``x`` itself; on the way back its gradient is multiplied by ``-strength``.

    What lies behind minimises the loss, what lies before maximises it.
    Ganin et al. 2016; lesson 11.
    """
    return _Reversal.apply(x, strength)


def reversal_strength(step: int, steps: int, gamma: float = 10.0) -> float:
    """``2 / (1 + exp(-gamma p)) - 1`` with p = step / steps: from 0 towards 1.

    The domain classifier learns before the features start to deceive it.
    Ganin et al. 2016; lesson 11.
    """
    return 2 / (1 + math.exp(-gamma * step / steps)) - 1


class DomainClassifier(nn.Module):
    """DANN's adversary: tells source from target features behind a reversed gradient.

    Called with source (N, F), target (M, F), step and steps; gives the cross-entropy
    in nats of a two-layer network, log 2 = 0.69 when it is fooled.  Minimising that
    trains the classifier, and, reversed, makes the features alike.
    Ganin et al. 2016; lesson 11.
    """

    def __init__(self, num_features: int, hidden: int = 256, gamma=10.0, seed=0):
        super().__init__()
        self.gamma = gamma
        self.net = training.make_head(num_features, 2, hidden, seed=seed)

    def forward(self, source, target, step, steps):
        strength = reversal_strength(step, steps, self.gamma)
        features = gradient_reversal(torch.cat([source, target]), strength)
        domain = torch.zeros(len(features), dtype=torch.long, device=features.device)
        domain[len(source) :] = 1
        return F.cross_entropy(self.net(features), domain)


# -- distances as losses ----------------------------------------------------------


def _checked_pair(X, Y, who: str) -> None:
    if (
        X.ndim != 2
        or Y.ndim != 2
        or X.shape[1] != Y.shape[1]
        or min(map(len, (X, Y))) < 2
    ):
        raise CourseError(
            f"{who}: features of shapes {tuple(X.shape)} and {tuple(Y.shape)}.\n"
            "Expected: (N, F) and (M, F) of the same width, two rows or more each.\n"
            "Do: pool maps over space first (backbone.features does), and take a "
            "larger batch."
        )


def mmd_loss(X, Y, bandwidths: Sequence[float] | None = None) -> torch.Tensor:
    """Squared maximum mean discrepancy of X (N, F) and Y (M, F), differentiable.

    Mean over ``bandwidths`` sigma of Gaussian kernels exp(-d^2 / (2 sigma^2)); by
    default 1/4, 1/2, 1, 2 and 4 times the median distance in the pooled batch, taken
    as a constant.  The unbiased estimate (Gretton et al. 2012), which is 0 on average
    for equal distributions and may be negative: the gradient of the biased one never
    rests, it draws even aligned features together.  Raises CourseError on shapes that
    do not fit.  Long et al. 2015; lesson 11.
    """
    _checked_pair(X, Y, "mmd_loss")
    n, m = len(X), len(Y)
    Z = torch.cat([X, Y])
    Z = Z - Z.detach().mean(dim=0)  # distances stay, rounding errors shrink
    square = (Z * Z).sum(dim=1)
    D = (square[:, None] + square[None, :] - 2 * Z @ Z.T).clamp(min=0)  # (n+m, n+m)
    if bandwidths is None:
        median = torch.pdist(Z.detach()).median().clamp(min=1e-12)
        bandwidths = [factor * median for factor in BANDWIDTHS]
    K = sum(torch.exp(-D / (2 * sigma**2)) for sigma in bandwidths) / len(bandwidths)
    K = K - torch.diag(K.diagonal())
    within = K[:n, :n].sum() / (n * (n - 1)) + K[n:, n:].sum() / (m * (m - 1))
    return within - 2 * K[:n, n:].mean()


def coral_loss(X, Y) -> torch.Tensor:
    """``||C_S - C_T||_F^2 / (4 F^2)`` of the covariances of X (N, F) and Y (M, F).

    Blind to a difference of the means.  In units of features to the fourth power and
    divided by F^2, so its weight has to be found for each network.  Raises
    CourseError on shapes that do not fit.  Sun & Saenko 2016; lesson 11.
    """
    _checked_pair(X, Y, "coral_loss")
    difference = torch.cov(X.T) - torch.cov(Y.T)  # (F, F)
    return (difference**2).sum() / (4 * X.shape[1] ** 2)


# -- training with alignment ------------------------------------------------------


@dataclass
class AlignedHistory(training.History):
    """A History with the mean alignment loss, unweighted, of each evaluation.

    train_loss is the cross-entropy on the source alone; val_loss and val_accuracy are
    those of the *source* validation set.  Lesson 11.
    """

    alignment: list[float] = field(default_factory=list)


class _Joint(nn.Module):
    """In train mode: one pass over source and target together; gives source logits."""

    def __init__(self, backbone, targets, align, weight, steps):
        super().__init__()
        self.backbone, self.targets = backbone, targets
        self.net, self.align = backbone.model, align
        self.weight, self.steps, self.losses = weight, steps, []

    def forward(self, x):
        if not self.training:
            return self.net(x)
        n = len(x)
        x = torch.cat([x, to_device(next(self.targets)[:n], x.device)])
        features, logits = features_and_logits(self.backbone, x)
        self.source, self.target = features[:n].float(), features[n:].float()
        return logits[:n]

    def alignment(self):
        loss = self.align(self.source, self.target, len(self.losses), self.steps)
        self.losses.append(float(loss.detach()))
        return self.weight * loss


def _check_vision(backbone) -> None:
    if isinstance(backbone, nn.Module) or backbone.kind != "vision":
        raise CourseError(
            "Features are aligned, and pre-training continued, on images and through "
            "a backbone that knows its head; this is "
            f"{getattr(backbone, 'name', type(backbone).__name__)}.\n"
            "Expected: a vision Backbone.\nDo: load it by course_lib.models.zoo.load."
        )


def features_and_logits(backbone, x) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads (N, F) and what it says (N, K), from one pass.  Lesson 11.

    Raises CourseError when everything before the head is frozen in training: then no
    loss on features has any effect.
    """
    outputs = []
    hook = backbone.model.register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    )
    try:
        features = backbone.features(x)
    finally:
        hook.remove()
    if torch.is_grad_enabled() and not features.requires_grad:
        raise CourseError(
            "Every parameter before the head is frozen, so no loss can change the "
            "features.\nExpected: at least one stage learns.\nDo: "
            "freezing.freeze_until(backbone, stage) with an earlier stage or None."
        )
    return features, outputs[0]


def unlabelled(data, preprocess, batch_size: int, cache=True) -> training.Examples:
    """Images (N, H, W, 3) as training.Examples; labels that they have are not read.

    data: an ImageDataset, an array or a tensor.  Raises CourseError on anything else,
    a pair with labels included.  Lesson 11.
    """
    images = getattr(data, "images", data)
    if not hasattr(images, "shape"):
        raise CourseError(
            f"The target data are of type {type(data).__name__}.\nExpected: an "
            "ImageDataset or images (N, H, W, 3); no labels are needed."
        )
    nothing = np.zeros(len(images), dtype=np.int64)
    return training.Examples((images, nothing), preprocess, batch_size, "target", cache)


def _endless_images(examples, batch_size, generator, augment):
    for x, _ in examples.endless(batch_size, generator):
        yield x if augment is None else augment(x, generator)


def _alignment_of(method, num_features: int, seed: int) -> Callable:
    if callable(method):
        return method
    if method == "dann":
        return DomainClassifier(num_features, seed=seed)
    losses = {"mmd": mmd_loss, "coral": coral_loss}
    if method not in losses:
        raise CourseError(
            f"method={method!r} is unknown.\nExpected: 'dann', 'mmd', 'coral', or "
            "f(source_features, target_features, step, steps) -> scalar tensor."
        )
    return lambda source, target, step, steps: losses[method](source, target)


def fit_aligned(
    backbone,
    source,
    validation,
    target,
    *,
    method,
    weight: float = 1.0,
    steps: int,
    lr: float = 1e-3,
    augment_target: Callable | None = None,
    seed: int = 0,
    recipe: training.Recipe = training.STANDARD,
) -> AlignedHistory:
    """Learn the source labels while source and target features are drawn together.

    Each step minimises the cross-entropy of a labelled source batch plus ``weight``
    times the alignment of its features with those of an unlabelled target batch.
    method: "dann", "mmd", "coral", or f(source (N, F), target (N, F), step, steps);
    a torch module learns along, as DomainClassifier does.
    source, validation: labelled, validation may be None; target: an ImageDataset or
    images, whose labels are never read.  augment_target: f(x, generator) for its
    batches.  recipe: of :func:`course_lib.training.fit`, which runs the loop; its
    parameter groups, penalty and hooks are those of this function.
    Both batches go through the network as one, so BatchNorm mixes their statistics,
    in training and in the running ones.  The *last* weights stay: source validation
    cannot choose between strengths of alignment, and target labels are not to be had.
    Raises CourseError as fit does, on an unknown method, and when everything before
    the head is frozen.  Ganin et al. 2016; Long et al. 2015; lesson 11.
    """
    _check_vision(backbone)
    align = _alignment_of(method, backbone.num_features, seed)
    examples = unlabelled(target, preprocess_of(backbone), recipe.batch_size)
    generator = torch.Generator().manual_seed(seed + 1)
    targets = _endless_images(examples, recipe.batch_size, generator, augment_target)
    joint = _Joint(backbone, targets, align, weight, steps)
    decay = recipe.optimization.weight_decay
    groups = training.param_groups(backbone, lr, decay)
    if isinstance(align, nn.Module):
        groups += training.param_groups(align, lr, decay)
    scores = []

    def look(epoch, *_):
        if epoch > 0 and validation is not None:
            scores.append(training.evaluate(backbone, validation))

    recipe = replace(
        recipe,
        preprocess=preprocess_of(backbone),
        on_epoch=look,
        optimization=replace(recipe.optimization, param_groups=groups),
        objective=replace(recipe.objective, penalty=joint.alignment),
    )
    history = training.fit(joint, source, steps=steps, lr=lr, seed=seed, recipe=recipe)
    look(len(history.step))
    history = AlignedHistory(**history.to_dict())
    history.val_loss = [score["loss"] for score in scores]
    history.val_accuracy = [score["accuracy"] for score in scores]
    parts = np.split(joint.losses, history.step[:-1])
    history.alignment = [float(part.mean()) for part in parts]
    return history


# -- BatchNorm statistics ---------------------------------------------------------


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
    network has no BatchNorm.  Li et al. 2017; lesson 11.
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

    hooks = [layer.register_forward_pre_hook(collect) for layer in layers]
    try:
        for x, _ in examples.once(batch_size):
            forward(net, to_device(x, _device(net)))
    finally:
        for hook in hooks:
            hook.remove()
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
            forward(net, to_device(x, _device(net)))
    for layer, (value, count) in zip(layers, usual):
        layer.momentum, layer.num_batches_tracked = value, count


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


# -- augmentations that imitate a target: augment(x, generator) -> x ---------------


def _drawn(x, low, high, generator, channels=1) -> torch.Tensor:
    """Uniform numbers (N, channels, 1, 1), one for each image."""
    u = torch.rand(len(x), channels, 1, 1, generator=generator)
    return (low + (high - low) * u).to(x)


def random_noise(max_std: float) -> Callable:
    """Add Gaussian noise of a strength between 0 and ``max_std``, image by image.

    A function of a preprocessed batch (N, C, H, W) and a torch.Generator, as all
    here; ``max_std`` is in preprocessed units, where pixels have a deviation of
    about 1.  Lesson 11.
    """

    def augment(x, generator):
        noise = torch.randn(x.shape, generator=generator).to(x)
        return x + _drawn(x, 0, max_std, generator) * noise

    return augment


def random_blur(max_sigma: float) -> Callable:
    """Gaussian blur of a width between 0 and ``max_sigma`` pixels, image by image.

    The border is continued by its last pixel.  Lesson 11.
    """
    reach = max(1, math.ceil(3 * max_sigma))
    offsets = torch.arange(-reach, reach + 1)

    def augment(x, generator):
        sigma = _drawn(x, 0, max_sigma, generator).clamp(min=1e-3)  # (N, 1, 1, 1)
        taps = torch.exp(-(offsets.to(x) ** 2) / (2 * sigma**2))  # (N, 1, 1, taps)
        taps = (taps / taps.sum(dim=3, keepdim=True)).unbind(dim=3)
        for axis in (2, 3):
            pad = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
            padded = F.pad(x, pad, mode="replicate")
            n = x.shape[axis]
            x = sum(
                tap[..., None] * padded.narrow(axis, k, n) for k, tap in enumerate(taps)
            )
        return x

    return augment


def random_grey(p: float = 0.2) -> Callable:
    """Replace the channels of an image by their mean with probability p.  Lesson 11."""

    def augment(x, generator):
        chosen = _drawn(x, 0, 1, generator) < p
        return torch.where(chosen, x.mean(dim=1, keepdim=True), x)

    return augment


def random_colour(strength: float) -> Callable:
    """Each channel of each image times 1 + a, plus b; a, b within +-``strength``.

    b is in preprocessed units.  Lesson 11.
    """

    def augment(x, generator):
        gain, offset = (
            _drawn(x, -strength, strength, generator, x.shape[1]) for _ in range(2)
        )
        return x * (1 + gain) + offset

    return augment


def random_contrast(strength: float) -> Callable:
    """Stretch each image about its own mean by 1 + a, a within +-``strength``."""

    def augment(x, generator):
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (x - mean) * (1 + _drawn(x, -strength, strength, generator))

    return augment


def random_brightness(strength: float) -> Callable:
    """Shift each image by up to ``strength`` preprocessed units.  Lesson 11."""

    def augment(x, generator):
        return x + _drawn(x, -strength, strength, generator)

    return augment


class Mixup:
    """Mix each example with another of its batch, inputs and labels alike.

        mix = Mixup(alpha=0.2)
        training.fit(backbone, data, augment=mix, loss=mix.loss, steps=200)

    x = s x_i + (1 - s) x_j with s from Beta(alpha, alpha), one for each example, and
    the larger share to the example itself: the same mixtures, and training accuracy
    keeps its meaning.  Comes last in training.compose.  Zhang et al. 2018; lesson 11.
    """

    def __init__(self, alpha: float = 0.2):
        if not alpha > 0:
            raise CourseError(f"Mixup: alpha={alpha}, expected a number above 0.")
        self.alpha, self.share, self.partner = alpha, None, None

    def __call__(self, x, generator):
        n = len(x)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        share = np.random.default_rng(seed).beta(self.alpha, self.alpha, n)
        self.share = torch.from_numpy(np.maximum(share, 1 - share)).to(x)  # (N,)
        self.partner = torch.randperm(n, generator=generator).to(x.device)
        s = self.share.view(-1, *[1] * (x.ndim - 1))
        return s * x + (1 - s) * x[self.partner]

    def soft_labels(self, y, num_classes: int) -> torch.Tensor:
        """Class shares (N, K) of the batch mixed last, from its labels y (N,)."""
        if self.share is None or len(self.share) != len(y):
            raise CourseError(
                f"Mixup: {len(y)} labels do not belong to the batch mixed last.\n"
                "Expected: the same Mixup mixes the inputs first.\nDo: pass both "
                "augment=mix and loss=mix.loss to training.fit."
            )
        one_hot = F.one_hot(y, num_classes).to(self.share)
        s = self.share[:, None]
        return s * one_hot + (1 - s) * one_hot[self.partner]

    def loss(self, logits, y) -> torch.Tensor:
        """Cross-entropy with the mixed labels, for ``training.fit(loss=)``."""
        return F.cross_entropy(logits, self.soft_labels(y, logits.shape[1]))


# -- at test time -----------------------------------------------------------------


def dihedral_views() -> list[Callable]:
    """The eight turns and mirrorings of a batch of square pictures.  Lesson 11."""
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
    Raises CourseError without a view.  Krizhevsky et al. 2012; lesson 11.
    """
    views = dihedral_views() if views is None else list(views)
    if not views:
        raise CourseError("predict_tta: no views, expected one function or more.")
    net = network(backbone)
    examples = unlabelled(images, preprocess_of(backbone), batch_size, cache=False)
    outputs = []
    with torch.no_grad(), eval_mode(net):
        for x, _ in examples.once(batch_size):
            x = to_device(x, _device(net))
            logits = torch.stack([forward(net, view(x)) for view in views]).double()
            log_mean = logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(views))
            outputs.append(log_mean.float().cpu())
    return torch.cat(outputs).numpy()


# -- pre-training continued on the target -----------------------------------------


def barlow_twins_loss(A, B, trade_off: float = 0.005) -> torch.Tensor:
    """``sum_i (1 - C_ii)^2 + trade_off sum_i sum_j!=i C_ij^2``, C the correlations.

    C (D, D) correlates the columns of A (N, D) and B (N, D), two views of the same N
    images: each feature should survive the change of view, and say something of its
    own.  Raises CourseError on shapes that do not fit.  Zbontar et al. 2021;
    lesson 11.
    """
    _checked_pair(A, B, "barlow_twins_loss")
    if len(A) != len(B):
        raise CourseError(
            f"barlow_twins_loss: {len(A)} and {len(B)} rows, expected two views of the "
            "same images."
        )
    A, B = ((M - M.mean(dim=0)) / (M.std(dim=0, correction=0) + 1e-6) for M in (A, B))
    C = A.T @ B / len(A)  # (D, D)
    on_diagonal = ((1 - C.diagonal()) ** 2).sum()
    off_diagonal = (C**2).sum() - (C.diagonal() ** 2).sum()
    return on_diagonal + trade_off * off_diagonal


def default_views() -> Callable:
    """The augmentation of continue_pretraining: mirrored, shifted, other colours."""
    return training.compose(
        training.random_flips(vertical=True),
        training.random_crop(8),
        random_colour(0.5),
        random_grey(0.2),
        random_blur(1.0),
        random_noise(0.2),
    )


def continue_pretraining(
    backbone,
    images,
    *,
    steps: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    augment: Callable | None = None,
    weight_decay: float = 0.01,
    trade_off: float = 0.005,
) -> list[float]:
    """Self-supervised training, in place, on images without labels: Barlow Twins.

    Two augmented views of each image go through the backbone and a projector
    (F -> 256 -> 128), which is thrown away; the head is not touched, so train or
    replace it afterwards.  augment: f(x, generator), by default default_views();
    features become blind to what it changes, so it must not change the class.
    Returns the loss of each step.  Raises CourseError as soon as the loss is not
    finite.  Zbontar et al. 2021; lesson 11.
    """
    from course_lib import profiles

    _check_vision(backbone)
    augment = augment or default_views()
    net, device = network(backbone), profiles.device()
    examples = unlabelled(images, preprocess_of(backbone), batch_size)
    generator = torch.Generator().manual_seed(seed)
    batches = examples.endless(batch_size, generator)
    losses = []
    with training.isolated(seed, None):
        projector = nn.Sequential(
            nn.Linear(backbone.num_features, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(),
            nn.Linear(256, 128, bias=False),
        ).to(device)
        net.to(device)
        groups = [
            group
            for part in (net, projector)
            for group in training.param_groups(part, lr, weight_decay)
        ]
        optimizer = training.make_optimizer(net, groups=groups, lr=lr)
        train_mode(backbone)
        for step in range(steps):
            x, _ = next(batches)
            views = [to_device(augment(x, generator), device) for _ in range(2)]
            features, _ = features_and_logits(backbone, torch.cat(views))
            loss = barlow_twins_loss(*projector(features.float()).chunk(2), trade_off)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise CourseError(
                    f"continue_pretraining: the loss is {losses[-1]} at step {step}.\n"
                    "Expected: a finite number.\nDo: lower lr by a factor of 3 to 10."
                )
            for group in optimizer.param_groups:
                group["lr"] = lr * training.lr_factor(step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    net.eval()
    return losses


# -- self-training ----------------------------------------------------------------


def pseudo_labelled(
    backbone, images, threshold: float = 0.9, batch_size: int = 64
) -> tuple[ImageDataset, float]:
    """The images that the model is sure of, with its own predictions as labels.

    Kept are those whose largest probability reaches ``threshold``.  Returns (an
    ImageDataset with metadata "row" and "confidence", share kept); the labels that
    ``images`` may have are not read.  Raises CourseError for a threshold outside 0..1
    and for classes that do not fit the head.  Lee 2013; lesson 11.
    """
    if not 0 <= threshold <= 1:
        raise CourseError(f"pseudo_labelled: threshold={threshold}, expected 0 to 1.")
    examples = getattr(images, "images", images)
    unread = np.zeros(len(examples), dtype=np.int64)
    logits = training.predict(backbone, (examples, unread), batch_size=batch_size)
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    classes = getattr(images, "classes", [str(k) for k in range(logits.shape[1])])
    if len(classes) != logits.shape[1]:
        raise CourseError(
            f"pseudo_labelled: the head has {logits.shape[1]} outputs, the data "
            f"{len(classes)} classes.\nExpected: one output for each class."
        )
    confidence = probabilities.max(axis=1)
    rows = np.flatnonzero(confidence >= threshold)
    data = ImageDataset(
        np.asarray(examples)[rows],
        probabilities[rows].argmax(axis=1),
        tuple(classes),
        getattr(images, "name", "images"),
        "pseudo-labelled",
        {"row": rows, "confidence": confidence[rows]},
    )
    return data, len(rows) / len(examples)


# -- staying near the start -------------------------------------------------------


def l2_sp(model, start, strength: float, beta: float = 0.01) -> Callable:
    """The penalty strength/2 ||w - w_0||^2 + beta/2 ||v||^2, as f() -> scalar.

        penalty = l2_sp(backbone, backbone, strength=0.1)  # before training
        training.fit(backbone, data, penalty=penalty, weight_decay=0, steps=200)

    w: parameters that ``start`` (Backbone, module or state dict) has too, by name and
    shape; w_0: their values there, copied now.  v: the new ones, a Backbone's head
    always among them.  Only parameters that learn count.  Weight decay pulls towards
    0 instead of w_0, so it is turned off.  AdamW rescales the penalty's gradient with
    that of the loss; optimizer="sgd" is the paper's setting.  Raises CourseError when
    nothing is shared, or a factor is negative.  Li et al. 2018; lesson 12.
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
