"""PatchCore: find defects with a memory of normal patches (Roth et al. 2022).

No picture of a defect and no training: the patches of normal pictures, as a frozen
network sees them, are remembered, and a patch that is far from all of them is strange.
arXiv:2106.08265.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.errors import CourseError
from course_lib.models import features

SHARE = 0.01  # of the patches that is remembered
NEIGHBOURHOOD = 3  # patches a side that are averaged
AROUND = 9  # remembered patches that say how usual the nearest one is
SIGMA = 4.0  # pixels by which a heat map is smoothed
CHUNK = 4096  # patches compared at once


def patches(backbone, images, stages, batch_size: int = 64) -> torch.Tensor:
    """Patch features float32 (N, h, w, F) of pictures uint8 (N, H, W, 3).

    The maps of the named stages are averaged over neighbourhoods of 3 x 3, brought to
    the grid of the first stage and put behind one another.  At the edge the mean is of
    the neighbours that there are.  Raises CourseError without pictures or stages.
    """
    if not len(images) or not len(stages):
        raise CourseError(
            f"patches: {len(images)} pictures and {len(stages)} stages.\nExpected: at "
            "least one of each.\nDo: name stages of backbone.stages."
        )
    parts = []
    for start in range(0, len(images), batch_size):
        x = backbone.preprocess(images[start : start + batch_size])
        maps = features.activations(backbone, x, stages)
        side = maps[stages[0]].shape[-2:]
        on_one_grid = [
            interpolate(averaged(maps[s]), side, mode="bilinear") for s in stages
        ]
        parts.append(torch.cat(on_one_grid, dim=1).permute(0, 2, 3, 1))
    return torch.cat(parts).float().contiguous().cpu()


def averaged(maps: torch.Tensor) -> torch.Tensor:
    """Each place of (N, C, h, w) becomes the mean of its neighbourhood."""
    pad = NEIGHBOURHOOD // 2
    return avg_pool2d(maps, NEIGHBOURHOOD, 1, pad, count_include_pad=False)


def coreset(X: torch.Tensor, n: int, seed: int = 0) -> torch.Tensor:
    """Rows (n,) of X (M, F) that cover it: the greedy k-center (Sener & Savarese 2018).

    The first is drawn; then always the row that is farthest from those chosen.  Raises
    CourseError where n is not between 1 and M.
    """
    if not 1 <= n <= len(X):
        raise CourseError(
            f"coreset: {n} of {len(X)} rows.\nExpected: between 1 and {len(X)}."
        )
    lengths = X.square().sum(dim=1)  # (M,)
    chosen = [int(np.random.default_rng(seed).integers(len(X)))]
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to those chosen
    for _ in range(n - 1):
        last = chosen[-1]
        squared = lengths - 2 * (X @ X[last]) + lengths[last]
        nearest = torch.minimum(nearest, squared)
        nearest[last] = -torch.inf  # never twice
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


@dataclass(frozen=True)
class PatchMemory:
    """Remembered patches (M, F) of normal pictures, and how strange others are."""

    bank: torch.Tensor

    @classmethod
    def of(cls, P: torch.Tensor, share: float = SHARE, seed: int = 0) -> "PatchMemory":
        """Remember a share of the patches P (N, h, w, F) of normal pictures."""
        X = P.flatten(0, 2)  # (N h w, F)
        n = max(1, round(share * len(X)))
        return cls(X[coreset(X, n, seed)])

    def nearest(self, P: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distance (N, h, w) to the nearest remembered patch, and which one it is."""
        found = [
            torch.cdist(part, self.bank).min(dim=1)
            for part in P.flatten(0, 2).split(CHUNK)
        ]
        distance = torch.cat([part.values for part in found])
        place = torch.cat([part.indices for part in found])
        return distance.view(P.shape[:3]), place.view(P.shape[:3])

    def distances(self, P: torch.Tensor) -> torch.Tensor:
        """How far each patch (N, h, w) is from the nearest remembered one."""
        return self.nearest(P)[0]

    def scores(self, P: torch.Tensor) -> np.ndarray:
        """How strange each picture is, (N,): its strangest patch, weighted.

        Let p be that patch, m the nearest remembered one.  The distance counts less
        where the ``AROUND`` remembered patches around m are much farther from p than m
        is: there m stands alone, a rare patch (equation 7 of the paper).
        """
        distance, place = self.nearest(P)
        rows = torch.arange(len(P))
        at = distance.flatten(1).argmax(dim=1)  # (N,)
        p = P.flatten(1, 2)[rows, at]  # (N, F)
        m = self.bank[place.flatten(1)[rows, at]]  # (N, F)
        k = min(AROUND, len(self.bank))
        around = torch.cdist(m, self.bank).topk(k, largest=False).indices  # (N, k)
        beside = (p[:, None] - self.bank[around]).norm(dim=2)  # (N, k)
        score = distance.flatten(1)[rows, at]
        weight = 1 - (score - beside.logsumexp(dim=1)).exp()
        return (weight * score).numpy()


def heat_map(distances: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Distances (N, h, w) as smooth maps of the pictures' size (N, H, W)."""
    from torchvision.transforms.functional import gaussian_blur

    large = interpolate(distances[:, None], size, mode="bilinear")
    width = 2 * round(2 * SIGMA) + 1
    return gaussian_blur(large, [width, width], [SIGMA, SIGMA])[:, 0]
