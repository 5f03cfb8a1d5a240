"""Distillation: a small network learns from the answers of a large one."""

import torch
from torch.nn.functional import cross_entropy, log_softmax, softmax

from course_lib.errors import CourseError


def distillation_loss(
    logits: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None = None,
    temperature: float = 2.0,
    share: float = 1.0,
) -> torch.Tensor:
    """share T^2 CE(softmax(teacher / T), softmax(logits / T)) + (1 - share) CE(labels).

    logits, teacher (N, K), labels (N,), needed where share < 1; a scalar in nats.  The
    factor T^2 keeps the size of the gradients as T grows.  Hinton, Vinyals & Dean 2015,
    section 2.  Raises CourseError for shapes that differ, and without the labels.
    """
    if logits.shape != teacher.shape or (labels is None and share < 1):
        there = "no labels" if labels is None else "labels"
        raise CourseError(
            f"distillation_loss: logits {tuple(logits.shape)}, teacher "
            f"{tuple(teacher.shape)}, {there}."
            "\nExpected: two of one shape (N, K), and labels where share is below 1."
        )
    T = temperature
    soft = -(softmax(teacher / T, 1) * log_softmax(logits / T, 1)).sum(1).mean()
    loss = share * T**2 * soft
    return loss if share == 1 else loss + (1 - share) * cross_entropy(logits, labels)
