"""ROCKET: random convolution kernels for time series (Dempster et al. 2020).

Thousands of kernels that nobody trained, two numbers of each, and a ridge classifier.
arXiv:1910.13051; several channels as in Ruiz et al. 2021.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad

from course_lib.errors import CourseError

SIZES = (7, 9, 11)


@dataclass(frozen=True, eq=False)
class Kernel:
    """weights (channels, size), zero for channels that it does not read."""

    weights: np.ndarray
    bias: float
    dilation: int
    padding: int


def draw(n: int, channels: int, length: int, seed: int = 0) -> list[Kernel]:
    """n kernels for series of this length, from the paper's distribution.

    Size 7, 9 or 11; normal weights with mean 0; bias uniform in -1..1; dilation 2^u,
    so that the kernel may span up to the whole series; padding or none by a coin.
    Raises CourseError for series shorter than the longest kernel.
    """
    if length < max(SIZES):
        raise CourseError(
            f"draw: series of {length} steps.\nExpected: at least {max(SIZES)}.\n"
            "Do: pad them with zeros."
        )
    rng, kernels = np.random.default_rng(seed), []
    for _ in range(n):
        size = int(rng.choice(SIZES))
        most = np.log2(min(channels, size) + 1)
        read = rng.choice(channels, int(2 ** rng.uniform(0, most)), replace=False)
        weights = np.zeros((channels, size), np.float32)
        weights[read] = rng.standard_normal((len(read), size))
        weights[read] -= weights[read].mean(axis=1, keepdims=True)
        dilation = int(2 ** rng.uniform(0, np.log2((length - 1) / (size - 1))))
        padding = dilation * (size - 1) // 2 if rng.integers(2) else 0
        kernels.append(Kernel(weights, float(rng.uniform(-1, 1)), dilation, padding))
    return kernels


def transform(X, kernels: list[Kernel]) -> np.ndarray:
    """Two numbers a kernel, float32 (N, 2K), of series X (N, channels, time).

    First, of each kernel, the share of places where its output is positive, then its
    largest output.  Kernels that differ in their weights alone run together.
    """
    X = torch.as_tensor(X, dtype=torch.float32)
    alike: dict[tuple, list[int]] = {}
    for k, kernel in enumerate(kernels):
        key = kernel.weights.shape[1], kernel.dilation, kernel.padding
        alike.setdefault(key, []).append(k)
    out = torch.empty(len(X), 2, len(kernels))
    for (size, dilation, padding), rows in alike.items():
        W = torch.from_numpy(np.stack([kernels[k].weights for k in rows])).flatten(1)
        bias = torch.tensor([kernels[k].bias for k in rows])
        span = dilation * (size - 1) + 1
        windows = pad(X, (padding, padding)).unfold(2, span, 1)[..., ::dilation]
        windows = windows.transpose(2, 3).flatten(1, 2)  # (N, channels size, T')
        y = W @ windows + bias[:, None]  # (N, k, T')
        out[:, 0, rows] = (y > 0).float().mean(dim=2)
        out[:, 1, rows] = y.amax(dim=2)
    return out.flatten(1).numpy()
