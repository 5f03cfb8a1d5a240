"""Self-training: a model's own confident predictions as labels."""

import numpy as np
import torch

from course_lib import training
from course_lib.datasets import ImageDataset
from course_lib.errors import CourseError


def pseudo_labelled(
    backbone, images, threshold: float = 0.9, batch_size: int = 64
) -> tuple[ImageDataset, float]:
    """The images that the model is sure of, with its own predictions as labels.

    Kept are those whose largest probability reaches ``threshold``.  Returns (an
    ImageDataset with metadata "row" and "confidence", share kept); the labels that
    ``images`` may have are not read.  Raises CourseError for a threshold outside 0..1
    and for classes that do not fit the head.  Lee 2013.
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
