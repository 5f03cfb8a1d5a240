"""Heads on cached features: train on a backbone's stored output, then put it back."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.stage_head import Standardise
from course_lib.training.loop import fit
from course_lib.training.progress import History


def make_head(
    num_features: int,
    num_classes: int,
    hidden: int | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    standardise=None,
) -> nn.Module:
    """A linear head, or an MLP with one hidden layer, ReLU and dropout.

    ``standardise``: training features (N, num_features) whose mean and deviation the
    head divides out first, so that it still takes raw features.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        if standardise is not None:
            layers.append(Standardise(standardise))
        if hidden is not None:
            layers += [nn.Linear(num_features, hidden), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(hidden or num_features, num_classes))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


@dataclass(frozen=True)
class Head:
    """The shape of a head on cached features: linear, or with one hidden layer.

    num_classes: the largest label and one when None.  hidden: width of the hidden
    layer.  standardise: divide mean and deviation of the training features out first.
    """

    num_classes: int | None = None
    hidden: int | None = None
    dropout: float = 0.0
    standardise: bool = True


def fit_head(
    features,
    labels,
    val=None,
    *,
    head: Head = Head(),
    epochs: int | None = None,
    steps: int | None = None,
    lr: float = 1e-3,
    seed: int = 0,
) -> tuple[nn.Module, History]:
    """Train a head on cached features (N, F); returns (head, History).

    The other half of :func:`models.features.extract`: an epoch costs a matrix
    product, not a pass through the backbone.  val: (features, labels).  Length, rate
    and seed are those of :func:`fit`, which also takes a head by :func:`make_head` and
    a recipe of your own.  Raises CourseError as fit does.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or not len(features):
        raise CourseError(
            f"fit_head: features of shape {features.shape}. Expected (N, F), N >= 1, "
            "as features.extract returns them.\nDo: features.extract(backbone, data)."
        )
    module = make_head(
        features.shape[1],
        head.num_classes or int(np.max(labels)) + 1,
        head.hidden,
        head.dropout,
        seed,
        standardise=features if head.standardise else None,
    )
    data, length = (features, labels), dict(epochs=epochs, steps=steps)
    return module, fit(module, data, val, lr=lr, seed=seed, **length)


def attach_head(backbone, head: nn.Module):
    """Put a head trained on cached features into its backbone; returns the backbone.

    A copy of the head goes in, so that training the whole leaves the original alone.
    Raises CourseError for a classifier of several modules.
    """
    backbone.model.set_submodule(backbone.head, copy.deepcopy(head))
    return backbone
