"""Alignment: source and target features made alike while source labels are learned.

No labels of the target are needed, and none are read: so nothing here can see whether
the *labels* differ between the domains.  Under label shift, alignment maps wrong
classes onto each other.  Adversarial (DANN), by mean embeddings (MMD) or covariances
(CORAL).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods.unlabelled import (
    check_vision,
    checked_pair,
    features_and_logits,
    unlabelled,
)
from course_lib.models.features import preprocess_of, to_device

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
    Ganin et al. 2016.
    """
    return _Reversal.apply(x, strength)


def reversal_strength(step: int, steps: int, gamma: float = 10.0) -> float:
    """``2 / (1 + exp(-gamma p)) - 1`` with p = step / steps: from 0 towards 1.

    The domain classifier learns before the features start to deceive it.
    Ganin et al. 2016.
    """
    return 2 / (1 + math.exp(-gamma * step / steps)) - 1


class DomainClassifier(nn.Module):
    """DANN's adversary: tells source from target features behind a reversed gradient.

    Called with source (N, F), target (M, F), step and steps; gives the cross-entropy
    in nats of a two-layer network, log 2 = 0.69 when it is fooled.  Minimising that
    trains the classifier, and, reversed, makes the features alike.
    Ganin et al. 2016.
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


def gaussian_kernel(X, Y, bandwidths: Sequence[float] | None = None) -> torch.Tensor:
    """Similarities (N + M, N + M) of the pooled rows, without those to themselves.

    Mean over ``bandwidths`` sigma of exp(-d^2 / (2 sigma^2)); by default 1/4, 1/2, 1, 2
    and 4 times the median distance in the pooled batch (of an even number of distances
    the lower middle one), taken as a constant.  Zeros on the diagonal.
    """
    Z = torch.cat([X, Y])
    Z = Z - Z.detach().mean(dim=0)  # distances stay, rounding errors shrink
    square = (Z * Z).sum(dim=1)
    D = (square[:, None] + square[None, :] - 2 * Z @ Z.T).clamp(min=0)  # d^2
    if bandwidths is None:
        median = torch.pdist(Z.detach()).median().clamp(min=1e-12)
        bandwidths = [factor * median for factor in BANDWIDTHS]
    K = sum(torch.exp(-D / (2 * sigma**2)) for sigma in bandwidths) / len(bandwidths)
    return K - torch.diag(K.diagonal())


def mmd(X, Y, bandwidths: Sequence[float] | None = None) -> torch.Tensor:
    """Squared maximum mean discrepancy of X (N, F) and Y (M, F), differentiable.

    Convention of this course: the *unbiased* estimate with a Gaussian kernel
    (:func:`gaussian_kernel`), mean similarity within X, plus within Y, minus twice
    between them, no row paired with itself (Gretton et al. 2012).  It is 0 on average
    for equal distributions and may be negative: the gradient of the biased one never
    rests, it draws even aligned features together.  bandwidths: as a loss the default,
    five widths around the median (Long et al. 2015); as a distance to report, one.
    Raises CourseError on shapes that do not fit.
    """
    checked_pair(X, Y, "mmd")
    n, m = len(X), len(Y)
    K = gaussian_kernel(X, Y, bandwidths)
    within = K[:n, :n].sum() / (n * (n - 1)) + K[n:, n:].sum() / (m * (m - 1))
    return within - 2 * K[:n, n:].mean()


def coral(X, Y) -> torch.Tensor:
    """``||C_S - C_T||_F^2 / (4 F^2)`` of the covariances of X (N, F) and Y (M, F).

    Blind to a difference of the means.  In units of features to the fourth power and
    divided by F^2, so its weight has to be found for each network.  Raises
    CourseError on shapes that do not fit.  Sun & Saenko 2016.
    """
    checked_pair(X, Y, "coral")
    difference = torch.cov(X.T) - torch.cov(Y.T)  # (F, F)
    return (difference**2).sum() / (4 * X.shape[1] ** 2)


# -- training with alignment ------------------------------------------------------


@dataclass
class AlignedHistory(training.History):
    """A History with the mean alignment loss, unweighted, of each evaluation.

    train_loss is the cross-entropy on the source alone; val_loss and val_accuracy are
    those of the *source* validation set.
    """

    alignment: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Alignment:
    """What features are drawn towards, and how.

    method: "dann", "mmd", "coral", or f(source (N, F), target (N, F), step, steps) ->
    scalar tensor; a torch module learns along, as DomainClassifier does.
    target: an ImageDataset or images (N, H, W, 3), whose labels are never read.
    weight: of the alignment, beside a cross-entropy of weight 1.
    augment: f(x, generator) for the target's batches.
    """

    method: str | Callable
    target: object
    weight: float = 1.0
    augment: Callable | None = None


def fit_aligned(
    backbone,
    source,
    validation,
    alignment: Alignment,
    *,
    steps: int,
    lr: float = 1e-3,
    seed: int = 0,
    recipe: training.Recipe = training.STANDARD,
) -> AlignedHistory:
    """Learn the source labels while source and target features are drawn together.

    Each step minimises the cross-entropy of a labelled source batch plus the weighted
    :class:`Alignment` of its features with those of an unlabelled target batch.
    source, validation: labelled, validation may be None.  recipe: of
    :func:`course_lib.training.fit`, which runs the loop; its parameter groups,
    penalty and hooks are those of this function.
    Both batches go through the network as one, so BatchNorm mixes their statistics,
    in training and in the running ones.  The *last* weights stay: source validation
    cannot choose between strengths of alignment, and target labels are not to be had.
    Raises CourseError as fit does, on an unknown method, and when everything before
    the head is frozen.  Ganin et al. 2016; Long et al. 2015.
    """
    check_vision(backbone)
    decay = recipe.optimization.weight_decay
    joint = _Joint(backbone, alignment, recipe.batch_size, steps, seed)
    groups = training.param_groups(backbone, lr, decay)
    if isinstance(joint.align, nn.Module):
        groups += training.param_groups(joint.align, lr, decay)
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


class _Joint(nn.Module):
    """In train mode: one pass over source and target together; gives source logits."""

    def __init__(self, backbone, alignment, batch_size, steps, seed):
        super().__init__()
        self.backbone, self.net = backbone, backbone.model
        self.align = _loss_of(alignment.method, backbone.num_features, seed)
        self.weight, self.steps, self.losses = alignment.weight, steps, []
        images = unlabelled(alignment.target, preprocess_of(backbone), batch_size)
        generator = torch.Generator().manual_seed(seed + 1)
        batches = (x for x, _ in images.endless(batch_size, generator))
        augment = alignment.augment or (lambda x, generator: x)
        self.targets = (augment(x, generator) for x in batches)

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


def _loss_of(method, num_features: int, seed: int) -> Callable:
    if callable(method):
        return method
    if method == "dann":
        return DomainClassifier(num_features, seed=seed)
    losses = {"mmd": mmd, "coral": coral}
    if method not in losses:
        raise CourseError(
            f"method={method!r} is unknown.\nExpected: 'dann', 'mmd', 'coral', or "
            "f(source_features, target_features, step, steps) -> scalar tensor."
        )
    return lambda source, target, step, steps: losses[method](source, target)
