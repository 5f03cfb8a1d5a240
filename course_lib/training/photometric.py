"""Augmentations of a picture's values: noise, blur, colours; they imitate a target.

Each gives f(x, generator) -> x for preprocessed batches (N, C, H, W); amounts are in
preprocessed units, where pixels have a deviation of about 1.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F


def _drawn(x, low, high, generator, channels=1) -> torch.Tensor:
    """Uniform numbers (N, channels, 1, 1), one for each image."""
    u = torch.rand(len(x), channels, 1, 1, generator=generator)
    return (low + (high - low) * u).to(x)


def random_noise(max_std: float) -> Callable:
    """Add Gaussian noise of a strength between 0 and ``max_std``, image by image.

    A function of a preprocessed batch (N, C, H, W) and a torch.Generator, as all
    here; ``max_std`` is in preprocessed units, where pixels have a deviation of
    about 1.
    """

    def augment(x, generator):
        noise = torch.randn(x.shape, generator=generator).to(x)
        return x + _drawn(x, 0, max_std, generator) * noise

    return augment


def random_blur(max_sigma: float) -> Callable:
    """Gaussian blur of a width between 0 and ``max_sigma`` pixels, image by image.

    The border is continued by its last pixel.
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
    """Replace the channels of an image by their mean with probability p."""

    def augment(x, generator):
        chosen = _drawn(x, 0, 1, generator) < p
        return torch.where(chosen, x.mean(dim=1, keepdim=True), x)

    return augment


def random_colour(strength: float) -> Callable:
    """Each channel of each image times 1 + a, plus b; a, b within +-``strength``.

    b is in preprocessed units.
    """

    def augment(x, generator):
        gain, offset = (
            _drawn(x, -strength, strength, generator, x.shape[1]) for _ in range(2)
        )
        return x * (1 + gain) + offset

    return augment
