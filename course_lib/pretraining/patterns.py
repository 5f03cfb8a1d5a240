"""The source task of the bundled weights: what shape on what texture?

A picture is a textured background, a shape or stroke filled with a second texture,
random colours, and the accidents of a camera (shading, blur, noise).  Everything is
drawn from formulas, so there are no licence questions and anyone can repeat it.
Sources for the idea: Kataoka et al. 2020, Baradad et al. 2021.  Taught in lesson 02.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, pad

from course_lib.pretraining.shapes import SHAPES, STROKES
from course_lib.pretraining.textures import TEXTURES, between, coordinates

__all__ = ["HEADS", "Patterns", "caption", "render", "silhouettes"]

TEXTURE_NAMES = tuple(TEXTURES)
SHAPE_NAMES = tuple(SHAPES)
HEADS = {"texture": TEXTURE_NAMES, "shape": SHAPE_NAMES}
IGNORED = -100  # the label of what cannot be seen: the fill of a thin line


@dataclass(frozen=True)
class Patterns:
    """Rendered pictures: images uint8 (N, size, size, 3), one label column a head."""

    images: torch.Tensor
    labels: dict[str, torch.Tensor]

    def __len__(self):
        return len(self.images)


def draw_textures(kinds, grid, gen):
    """Texture fields for a vector of texture numbers (n,): (n, size, size)."""
    fields = torch.empty(len(kinds), *grid[0].shape)
    for kind in kinds.unique().tolist():
        where = (kinds == kind).nonzero()[:, 0]
        draw = TEXTURES[TEXTURE_NAMES[kind]]
        fields[where] = draw(len(where), grid, gen).float()
    return fields.clamp(0, 1)


def draw_masks(kinds, grid, gen):
    """Soft masks of shapes at random places, angles and sizes: (n, size, size)."""
    y, x = grid
    size = y.shape[-1]
    masks = torch.empty(len(kinds), size, size)
    for kind in kinds.unique().tolist():
        where = (kinds == kind).nonzero()[:, 0]
        n, name = len(where), SHAPE_NAMES[kind]
        angle = between(gen, n, 0, 2 * math.pi)
        low = 0.22 if name in STROKES else 0.18
        radius = between(gen, n, low, 0.45, log=True)
        squeeze = between(gen, n, 0.75, 1.0)
        cy, cx = between(gen, n, -0.28, 0.28), between(gen, n, -0.28, 0.28)
        c, s = angle.cos(), angle.sin()
        u = (c * (x - cx) + s * (y - cy)) / radius
        v = (-s * (x - cx) + c * (y - cy)) / (radius * squeeze)
        masks[where] = SHAPES[name](n, v, u, 1 / (size * radius), gen)
    return masks


def paint(fields, gen, contrast_low=0.45):
    """Give scalar fields (n, H, W) random colours: (n, 3, H, W) in [0, 1].

    Colours run through three random anchors; the anchors are pulled together at random
    so that low-contrast pictures occur, and a third of the pictures are grey.
    """
    n = len(fields)
    anchors = torch.rand(n, 3, 3, generator=gen)  # (n, anchor, channel)
    grey = torch.rand(n, 1, 1, generator=gen) < 0.33
    anchors = torch.where(grey, anchors.mean(2, keepdim=True), anchors)
    middle = anchors.mean(1, keepdim=True)
    anchors = middle + (anchors - middle) * between(gen, n, contrast_low, 1.6)
    position = fields[:, None] * 2  # (n, 1, H, W) in [0, 2]
    low = anchors[:, 0, :, None, None]
    mid = anchors[:, 1, :, None, None]
    high = anchors[:, 2, :, None, None]
    rising = low + (mid - low) * position.clamp(max=1)
    return rising + (high - mid) * (position - 1).clamp(min=0)


def blur(images, gen):
    """Gaussian blur with one random width for each picture, 0 to 1 pixel."""
    n, channels, _, _ = images.shape
    sigma = between(gen, n, 0.0, 1.0) * (torch.rand(n, 1, 1, generator=gen) < 0.4)
    offsets = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.clamp(min=0.05) ** 2))[:, 0]
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = images.reshape(1, n * channels, *images.shape[2:])
    flat = pad(flat, (3, 3, 3, 3), mode="reflect")
    flat = conv2d(flat, kernel[:, None, :, None], groups=n * channels)
    flat = conv2d(flat, kernel[:, None, None, :], groups=n * channels)
    return flat.view_as(images)


def photograph(images, grid, gen):
    """Uneven light, blur, noise: (n, 3, H, W) in [0, 1] to uint8 (n, H, W, 3)."""
    n = len(images)
    y, x = grid
    angle = between(gen, n, 0, 2 * math.pi)
    slope = between(gen, n, 0, 0.7) * (torch.rand(n, 1, 1, generator=gen) < 0.5)
    light = 1 + slope * (angle.cos() * x + angle.sin() * y)
    images = blur(images * light[:, None], gen)
    strength = between(gen, n, 0.0, 0.06) * (torch.rand(n, 1, 1, generator=gen) < 0.5)
    noise = torch.randn(images.shape, generator=gen) * strength[:, None]
    return ((images + noise).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)


def render(n, seed, size=64, chunk=512):
    """Render n labelled pictures; the same seed gives the same pictures.

    Returns Patterns: images uint8 (n, size, size, 3); labels `texture`, `shape` (the
    two heads) and `fill` (for captions), each int64 (n,), `fill` being -100 where it
    cannot be seen.
    """
    gen = torch.Generator().manual_seed(seed)
    grid = coordinates(size)
    images, labels = [], {"texture": [], "shape": [], "fill": []}
    for start in range(0, n, chunk):
        m = min(chunk, n - start)
        texture = torch.randint(len(TEXTURE_NAMES), (m,), generator=gen)
        shape = torch.randint(len(SHAPE_NAMES), (m,), generator=gen)
        other = torch.randint(len(TEXTURE_NAMES) - 1, (m,), generator=gen)
        other = other + (other >= texture)  # never the background's own texture
        mask = draw_masks(shape, grid, gen)
        opacity = between(gen, m, 0.75, 1.0)
        mask = (mask * opacity)[:, None]
        back = paint(draw_textures(texture, grid, gen), gen)
        front = paint(draw_textures(other, grid, gen), gen)
        picture = back * (1 - mask) + front * mask
        images.append(photograph(picture, grid, gen))
        strokes = torch.tensor([SHAPE_NAMES.index(s) for s in ("nothing", *STROKES)])
        hidden = torch.isin(shape, strokes) | (mask.sum((1, 2, 3)) < 0.02 * size**2)
        labels["texture"].append(texture)
        labels["shape"].append(shape)
        labels["fill"].append(torch.where(hidden, IGNORED, other))
    columns = {head: torch.cat(parts) for head, parts in labels.items()}
    return Patterns(torch.cat(images), columns)


def silhouettes(n, seed, size=64):
    """White shapes on black: the deliberately different source task.

    No texture, no colour, no grey: images uint8 (n, size, size, 3), one label, `shape`.
    """
    gen = torch.Generator().manual_seed(seed)
    shape = torch.randint(len(SHAPE_NAMES), (n,), generator=gen)
    mask = torch.cat([draw_masks(s, coordinates(size), gen) for s in shape.split(512)])
    images = ((mask > 0.5) * 255).byte()[..., None].expand(-1, -1, -1, 3).contiguous()
    return Patterns(images, {"shape": shape})


def caption(texture, shape, fill=IGNORED):
    """An English sentence for the labels of one picture."""
    what = SHAPE_NAMES[int(shape)]
    ground = TEXTURE_NAMES[int(texture)]
    if what == "nothing":
        return f"{ground} and nothing else"
    filled = "" if int(fill) == IGNORED else f" filled with {TEXTURE_NAMES[int(fill)]}"
    return f"{what}{filled} on {ground}"
