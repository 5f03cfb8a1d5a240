"""Random changes of pictures that keep their class: augment(x, generator) -> x.

Each works on a preprocessed batch (N, C, H, W) and draws from the torch.Generator that
it is given, so that a seed repeats it.  Shorten & Khoshgoftaar 2019.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F


def random_flips(p: float = 0.5, vertical: bool = False) -> Callable:
    """Mirror each image left-right with probability p, and top-bottom if asked."""

    def augment(x, generator):
        for axis in (3, 2) if vertical else (3,):
            chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < p
            x = torch.where(chosen.to(x.device), x.flip(axis), x)
        return x

    return augment


def random_dihedral() -> Callable:
    """One of the eight turns and mirrorings of a square picture, each equally likely.

    For square pictures without an up and a down, such as wafers under a microscope.
    """
    mirrored = random_flips(0.5, vertical=True)

    def augment(x, generator):
        chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        x = torch.where(chosen.to(x.device), x.transpose(2, 3), x)
        return mirrored(x, generator)

    return augment


def random_crop(pad: int) -> Callable:
    """Shift each image by up to ``pad`` pixels; the border shows the mean colour."""

    def augment(x, generator):
        n, _, height, width = x.shape
        shift = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator)
        rows = (shift[0] + torch.arange(height)).to(x.device)  # (N, H)
        columns = (shift[1] + torch.arange(width)).to(x.device)  # (N, W)
        padded = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1)  # (N, H', W', C)
        image = torch.arange(n, device=x.device)[:, None, None]
        cropped = padded[image, rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2)

    return augment


def random_resized_crop(least: float = 0.4, rows: bool = True) -> Callable:
    """Cut a part of each image and enlarge it to the whole size.

    Its area is between ``least`` and 1 of the image's, of the same shape, its place
    anywhere inside.  rows=False: all rows stay, and the part is a stretch of columns,
    for pictures in which rows mean something and columns are time.  What contrastive
    pre-training gains most from (Chen et al. 2020).
    """

    def augment(x, generator):
        u = torch.rand(3, len(x), generator=generator).to(x)
        area = least + (1 - least) * u[0]  # of the cut, (N,)
        width = area.sqrt() if rows else area
        height = width if rows else torch.ones_like(area)
        theta = torch.zeros(len(x), 2, 3).to(x)
        for axis, side in enumerate((width, height)):
            theta[:, axis, axis] = side
            theta[:, axis, 2] = (2 * u[1 + axis] - 1) * (1 - side)  # its centre
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    return augment


def compose(*augmentations: Callable) -> Callable:
    """Several augmentations, one after the other."""

    def augment(x, generator):
        for one in augmentations:
            x = one(x, generator)
        return x

    return augment


AUGMENTATIONS = {  # {name: the augmentation for pictures of so many pixels a side}
    "none": lambda side: None,
    "shift": lambda side: random_crop(max(1, side // 16)),
    "flip": lambda side: compose(random_flips(), random_crop(max(1, side // 16))),
    "turn": lambda side: compose(random_dihedral(), random_crop(max(1, side // 16))),
}
