"""The source task of the bundled weights: what shape, laid on what texture, and how?

A picture is a textured background and one thing that does not belong to it: a shape or
stroke that is filled with a second texture, painted flat, spread as a transparent film
or raised as a relief, or a fault of the background itself.  Colours are random, and so
are the accidents of a camera (shading, blur, noise).  Everything is drawn from
formulas, so there are no licence questions and anyone can repeat it.  Sources for the
idea: Kataoka et al. 2020, Baradad et al. 2021.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, pad

from course_lib.datasets import spectrograms as vibrations
from course_lib.datasets import wafer_maps as maps
from course_lib.pretraining.shapes import FAULTS, SHAPES, STROKES
from course_lib.pretraining.textures import TEXTURES, between, coordinates

TEXTURE_NAMES = tuple(TEXTURES)
SHAPE_NAMES = tuple(SHAPES)
SILHOUETTE_NAMES = tuple(name for name in SHAPES if name not in FAULTS)
FINISHES = ("filled", "painted", "transparent", "raised")
HEADS = {"texture": TEXTURE_NAMES, "shape": SHAPE_NAMES, "finish": FINISHES}
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


def painted(back, mask, gen):
    """An opaque coat of one colour, lighter or darker than what it hides."""
    n = len(back)
    middle = back.mean((1, 2, 3), keepdim=True)
    side = torch.where(between(gen, n, 0, 1) < middle[:, 0], -1.0, 1.0)[:, None]
    tint = 0.25 * (torch.rand(n, 3, 1, 1, generator=gen) - 0.5)
    coat = middle + side * between(gen, n, 0.15, 0.7)[:, None] + tint
    return back + between(gen, n, 0.6, 1.0)[:, None] * mask * (coat - back)


def transparent(back, mask, gen):
    """A film that tints the background and lets its texture shine through."""
    n = len(back)
    middle = back.mean((1, 2, 3), keepdim=True)
    tint = 0.7 * (torch.rand(n, 3, 1, 1, generator=gen) - 0.5)
    tint = tint + torch.where(between(gen, n, 0, 1) < 0.5, -0.15, 0.15)[:, None]
    fade = between(gen, n, 0.2, 0.6)[:, None]
    return back + mask * (tint - fade * (back - middle))


def raised(back, mask, gen):
    """A relief: one flank lit and one in the shade, the face a little off."""
    n = len(back)
    angle, strength = between(gen, n, 0, 2 * math.pi), between(gen, n, 0.4, 1.2)
    wide = pad(mask, (1, 1, 1, 1), mode="replicate")
    rise_y = wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]
    rise_x = wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]
    light = angle.sin()[:, None] * rise_y + angle.cos()[:, None] * rise_x
    face = between(gen, n, -0.25, 0.25)[:, None]
    return back + 0.5 * strength[:, None] * light + face * mask


def faulty(back, shape, mask, gen):
    """A part of the background displaced, missing (of one colour) or turned."""
    n, _, height, width = back.shape
    reach = torch.randint(2, 9, (2, n), generator=gen)
    side = 1 - 2 * torch.randint(0, 2, (2, n), generator=gen)
    dy, dx = reach * side
    rows = torch.remainder(torch.arange(height)[None] + dy[:, None], height)
    columns = torch.remainder(torch.arange(width)[None] + dx[:, None], width)
    every = torch.arange(n)[:, None, None]
    moved = back.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]]
    displaced = moved.permute(0, 3, 1, 2)
    centre = mask[:, 0].flatten(1).argmax(1)
    colour = back.flatten(2).gather(2, centre[:, None, None].expand(-1, 3, 1))
    missing = colour[..., None].expand_as(back)
    kinds = [(shape == SHAPE_NAMES.index(name)).view(-1, 1, 1, 1) for name in FAULTS]
    for where, other in zip(kinds, (displaced, missing, back.mT), strict=True):
        back = torch.where(where, back + mask * (other - back), back)
    return back


def render(n, seed, size=64, chunk=512):
    """Render n labelled pictures; the same seed gives the same pictures.

    Returns Patterns: images uint8 (n, size, size, 3); labels `texture`, `shape` and
    `finish` (the heads) and `fill` (for captions), each int64 (n,).  `finish` is -100
    for "nothing" and for faults of the background, `fill` where it cannot be seen.
    """
    gen = torch.Generator().manual_seed(seed)
    grid = coordinates(size)
    images, labels = [], {"texture": [], "shape": [], "finish": [], "fill": []}
    numbers = SHAPE_NAMES.index
    strokes = torch.tensor([numbers(name) for name in STROKES])
    alone = torch.tensor([numbers(name) for name in ("nothing", *FAULTS)])
    for start in range(0, n, chunk):
        m = min(chunk, n - start)
        texture = torch.randint(len(TEXTURE_NAMES), (m,), generator=gen)
        shape = torch.randint(len(SHAPE_NAMES), (m,), generator=gen)
        other = torch.randint(len(TEXTURE_NAMES) - 1, (m,), generator=gen)
        other = other + (other >= texture)  # never the background's own texture
        finish = torch.randint(len(FINISHES), (m,), generator=gen)
        thin = torch.isin(shape, strokes) & (finish == 0)
        finish = torch.where(thin, 1, finish)  # nothing is to be seen in a thin line
        mask = draw_masks(shape, grid, gen)[:, None]
        back = paint(draw_textures(texture, grid, gen), gen)
        front = paint(draw_textures(other, grid, gen), gen)
        filled = back + between(gen, m, 0.75, 1.0)[:, None] * mask * (front - back)
        finishes = (
            filled,
            painted(back, mask, gen),
            transparent(back, mask, gen),
            raised(back, mask, gen),
        )
        picture = faulty(back, shape, mask, gen)
        own = torch.isin(shape, alone)
        for number, finished in enumerate(finishes):
            where = (finish == number) & ~own
            picture = torch.where(where.view(-1, 1, 1, 1), finished, picture)
        images.append(photograph(picture, grid, gen))
        hidden = own | (finish > 0) | (mask.sum((1, 2, 3)) < 0.02 * size**2)
        labels["texture"].append(texture)
        labels["shape"].append(shape)
        labels["finish"].append(torch.where(own, IGNORED, finish))
        labels["fill"].append(torch.where(hidden, IGNORED, other))
    columns = {head: torch.cat(parts) for head, parts in labels.items()}
    return Patterns(torch.cat(images), columns)


def silhouettes(n, seed, size=64):
    """White shapes on black: the deliberately different source task.

    No texture, no colour, no grey: images uint8 (n, size, size, 3), one label, `shape`.
    """
    gen = torch.Generator().manual_seed(seed)
    shape = torch.randint(len(SILHOUETTE_NAMES), (n,), generator=gen)
    mask = torch.cat([draw_masks(s, coordinates(size), gen) for s in shape.split(512)])
    images = ((mask > 0.5) * 255).byte()[..., None].expand(-1, -1, -1, 3).contiguous()
    return Patterns(images, {"shape": shape})


def of_data_set(renderer, n, seed):
    """Pictures of one of the course's own target sets, as a source for the others.

    ``renderer``: a module of `datasets` with a function `render`.  One head, `class`.
    ``seed`` differs from the set's own, so that no picture of a committed split occurs.
    """
    data = renderer.render(n, seed)
    labels = torch.from_numpy(data.labels).long()
    return Patterns(torch.from_numpy(data.images), {"class": labels})


def wafer_maps(n, seed):
    """The wafer maps as a source task: coloured dies on a disc, nine classes."""
    return of_data_set(maps, n, seed)


def spectrograms(n, seed):
    """The vibration spectrograms as a source task: time, frequency, six classes."""
    return of_data_set(vibrations, n, seed)


def caption(texture, shape, fill=IGNORED):
    """An English sentence for the labels of one picture."""
    what = SHAPE_NAMES[int(shape)]
    ground = TEXTURE_NAMES[int(texture)]
    if what == "nothing":
        return f"{ground} and nothing else"
    filled = "" if int(fill) == IGNORED else f" filled with {TEXTURE_NAMES[int(fill)]}"
    return f"{what}{filled} on {ground}"
