"""Mixup: examples of a batch mixed with each other, labels too."""

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.errors import CourseError


class Mixup:
    """Mix each example with another of its batch, inputs and labels alike.

        mix = Mixup(alpha=0.2)
        recipe = Recipe(augment=mix, objective=Objective(loss=mix.loss))
        training.fit(backbone, data, steps=200, recipe=recipe)

    x = s x_i + (1 - s) x_j with s from Beta(alpha, alpha), one for each example, and
    the larger share to the example itself: the same mixtures, and training accuracy
    keeps its meaning.  Comes last in training.compose.  Zhang et al. 2018.
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
        """Cross-entropy with the mixed labels, for ``Objective(loss=)``."""
        return F.cross_entropy(logits, self.soft_labels(y, logits.shape[1]))
