"""Images without labels: read in batches, through a backbone that knows its head."""

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.errors import CourseError


def unlabelled(data, preprocess, batch_size: int, cache=True) -> training.Examples:
    """Images (N, H, W, 3) as training.Examples; labels that they have are not read.

    data: an ImageDataset, an array or a tensor.  Raises CourseError on anything else,
    a pair with labels included.
    """
    images = getattr(data, "images", data)
    if not hasattr(images, "shape"):
        raise CourseError(
            f"The target data are of type {type(data).__name__}.\nExpected: an "
            "ImageDataset or images (N, H, W, 3); no labels are needed."
        )
    nothing = np.zeros(len(images), dtype=np.int64)
    return training.Examples((images, nothing), preprocess, batch_size, "target", cache)


def features_and_logits(backbone, x) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads (N, F) and what it says (N, K), from one pass.

    Raises CourseError when everything before the head is frozen in training: then no
    loss on features has any effect.
    """
    outputs = []
    with backbone.model.register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    ):
        features = backbone.features(x)
    if torch.is_grad_enabled() and not features.requires_grad:
        raise CourseError(
            "Every parameter before the head is frozen, so no loss can change the "
            "features.\nExpected: at least one stage learns.\nDo: "
            "freezing.freeze_until(backbone, stage) with an earlier stage or None."
        )
    return features, outputs[0]


def check_vision(backbone) -> None:
    """CourseError unless this is a Backbone for images."""
    if isinstance(backbone, nn.Module) or backbone.kind != "vision":
        raise CourseError(
            "Features are aligned, and pre-training continued, on images and through "
            "a backbone that knows its head; this is "
            f"{getattr(backbone, 'name', type(backbone).__name__)}.\n"
            "Expected: a vision Backbone.\nDo: load it by course_lib.models.zoo.load."
        )


def checked_pair(X, Y, who: str) -> None:
    """CourseError, in the name of ``who``, unless X (N, F) and Y (M, F) compare."""
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
