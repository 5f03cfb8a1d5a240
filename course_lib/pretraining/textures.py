"""Scalar texture fields drawn from formulas: backgrounds and fills of the source task.

Every function takes `(n, grid, gen)`, with `grid` a pair of (size, size) coordinate
tensors in units of the picture's width, centred at 0, and returns a (n, size, size)
float tensor with values in [0, 1].  Sources for the idea: Kataoka et al. 2020
("Pre-training without natural images"), Baradad et al. 2021 ("Learning to see by
looking at noise").
"""

import math

import torch


def coordinates(size):
    """Coordinates of pixel centres in picture widths: (y, x), each (size, size)."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    return torch.meshgrid(axis, axis, indexing="ij")


def between(gen, n, low, high, log=False):
    """n random numbers between low and high as (n, 1, 1); log-uniform if asked."""
    u = torch.rand(n, 1, 1, generator=gen)
    if log:
        return low * (high / low) ** u
    return low + (high - low) * u


def turned(n, grid, gen):
    """Coordinates turned by a random angle each: (v, u), (n, size, size)."""
    y, x = grid
    angle = between(gen, n, 0, math.pi)
    c, s = angle.cos(), angle.sin()
    return -s * x + c * y, c * x + s * y


def shifted(n, grid, gen, turn=True):
    """As `turned`, with a random origin as well."""
    v, u = turned(n, grid, gen) if turn else (g.expand(n, -1, -1) for g in grid)
    return v + between(gen, n, 0, 1), u + between(gen, n, 0, 1)


def cycle(t):
    """The fractional part, in [0, 1) for negative numbers too."""
    return torch.remainder(t, 1.0)


def soften(signed, width):
    """A smooth step from 0 to 1 across `signed` = 0, about `width` wide."""
    return torch.sigmoid(4 * signed / width)


def noise(n, grid, gen, exponent, low=0.0, high=1e9, stretch=None):
    """Random fields with spectrum 1 / f**exponent within [low, high] cycles a picture.

    `stretch` (n, 1, 1) >= 1 flattens the spectrum along one random direction.
    Returns (n, size, size), zero mean and unit variance a picture.
    """
    size = grid[0].shape[-1]
    fy = torch.fft.fftfreq(size, 1 / size)[:, None].expand(size, size)
    fx = torch.fft.fftfreq(size, 1 / size)[None, :].expand(size, size)
    if stretch is None:
        f = (fy**2 + fx**2).sqrt().expand(n, -1, -1)
    else:
        v, u = turned(n, (fy, fx), gen)
        f = ((v * stretch) ** 2 + (u / stretch) ** 2).sqrt()
    band = torch.sigmoid((f - low) * 2) * torch.sigmoid((high - f) * 2)
    amplitude = band / f.clamp(min=1.0) ** exponent
    white = torch.randn(n, size, size, generator=gen)
    field = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    field = field - field.mean((1, 2), keepdim=True)
    return field / field.std((1, 2), keepdim=True).clamp(min=1e-6)


def squash(field):
    """Unit-variance field to [0, 1]."""
    return torch.sigmoid(1.6 * field)


def warp(n, grid, gen, amount, coarse=6.0):
    """Coordinates displaced by smooth noise, `amount` in picture widths: (v, u)."""
    v, u = shifted(n, grid, gen)
    return (
        v + amount * noise(n, grid, gen, 2.0, 0, coarse),
        u + amount * noise(n, grid, gen, 2.0, 0, coarse),
    )


def nearest_points(n, grid, gen, low=8, high=48, jitter=1.0):
    """Distances to the nearest and second-nearest of random points, and which one.

    Returns (first, second, index), each (n, size, size).
    """
    y, x = grid
    count = int(torch.randint(low, high + 1, (1,), generator=gen))
    py = (torch.rand(n, count, 1, 1, generator=gen) - 0.5) * 1.3 * jitter
    px = (torch.rand(n, count, 1, 1, generator=gen) - 0.5) * 1.3 * jitter
    squared = (y - py) ** 2 + (x - px) ** 2  # (n, count, size, size)
    two, where = squared.topk(2, dim=1, largest=False)
    return two[:, 0].sqrt(), two[:, 1].sqrt(), where[:, 0], math.sqrt(1.7 / count)


def hashed(*integers):
    """A repeatable pseudo-random number in [0, 1) for each cell of a lattice."""
    total = sum(i * k for i, k in zip(integers, (127.1, 311.7, 74.7), strict=False))
    return cycle(torch.sin(total) * 43758.5453).abs()


# --- periodic -----------------------------------------------------------------


def stripes(n, grid, gen):
    _, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 18, log=True)
    duty = between(gen, n, -0.5, 0.5)
    return soften(torch.sin(2 * math.pi * f * u) - duty, 0.25 + f / 40)


def waves(n, grid, gen):
    _, u = warp(n, grid, gen, between(gen, n, 0.0, 0.04))
    f = between(gen, n, 2, 14, log=True)
    return 0.5 + 0.5 * torch.sin(2 * math.pi * f * u)


def plaid(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f, g = between(gen, n, 3, 12, log=True), between(gen, n, 3, 12, log=True)
    return 0.5 + 0.25 * (
        torch.sin(2 * math.pi * f * u) + torch.sin(2 * math.pi * g * v)
    )


def checkerboard(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 1.5, 8, log=True)
    product = torch.sin(2 * math.pi * f * u) * torch.sin(2 * math.pi * f * v)
    return soften(product, 0.15 + f / 20)


def zigzag(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f, g = between(gen, n, 3, 12, log=True), between(gen, n, 2, 6, log=True)
    fold = (cycle(u * g) - 0.5).abs() / g
    return soften(torch.sin(2 * math.pi * f * (v + 1.2 * fold)), 0.3 + f / 40)


def grid_lines(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 9, log=True)
    line = between(gen, n, 0.08, 0.18)
    near = torch.minimum((cycle(u * f) - 0.5).abs(), (cycle(v * f) - 0.5).abs())
    return soften(line - near, f / 25)


def bricks(n, grid, gen):
    v, u = shifted(n, grid, gen)
    rows = between(gen, n, 4, 10, log=True)
    ratio = between(gen, n, 1.6, 3.0)
    row = (v * rows).floor()
    column = u * rows / ratio + 0.5 * (row % 2)
    to_edge = torch.minimum(
        0.5 - (cycle(v * rows) - 0.5).abs(),
        (0.5 - (cycle(column) - 0.5).abs()) * ratio,
    )
    tone = 0.6 + 0.4 * hashed(row, column.floor())
    return tone * soften(to_edge - 0.08, rows / 30)


def weave(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 8, log=True)
    over = ((u * f).floor() + (v * f).floor()) % 2
    along = torch.where(over > 0, cycle(u * f), cycle(v * f))
    across = torch.where(over > 0, cycle(v * f), cycle(u * f))
    return (1 - (2 * along - 1) ** 2) * 0.5 + 0.5 * torch.sin(3 * math.pi * across) ** 2


def hexagons(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 9, log=True)
    a = torch.stack([u * f, v * f])
    step = torch.tensor([1.0, math.sqrt(3.0)]).view(2, 1, 1, 1)
    first = torch.remainder(a, step) - step / 2
    second = torch.remainder(a + step / 2, step) - step / 2
    nearer = (first**2).sum(0) < (second**2).sum(0)
    p = torch.where(nearer, first, second).abs()
    edge = 0.5 - torch.maximum(p[0], 0.5 * p[0] + 0.5 * math.sqrt(3.0) * p[1])
    return soften(edge - between(gen, n, 0.05, 0.12), f / 25)


def scales(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 8, log=True)
    row = (v * f * 2).floor()
    shade = torch.zeros_like(u)
    for back in (1, 0):
        r = row - back
        du = cycle(u * f + 0.5 * (r % 2)) - 0.5
        dv = v * f * 2 - r
        d = (du**2 + (dv / 2) ** 2).sqrt()
        shade = torch.where(d < 0.5, 2 * d, shade)
    return shade


def polka_dots(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 10, log=True)
    radius = between(gen, n, 0.18, 0.38)
    d = ((cycle(u * f) - 0.5) ** 2 + (cycle(v * f) - 0.5) ** 2).sqrt()
    return soften(radius - d, f / 20)


def halftone(n, grid, gen):
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 6, 14, log=True)
    slow = squash(noise(n, grid, gen, 2.0, 0, 3))
    d = ((cycle(u * f) - 0.5) ** 2 + (cycle(v * f) - 0.5) ** 2).sqrt()
    return soften(0.1 + 0.45 * slow - d, f / 20)


def crosshatch(n, grid, gen):
    dark = torch.ones(n, *grid[0].shape)
    for _ in range(2):
        _, u = shifted(n, grid, gen)
        f = between(gen, n, 5, 16, log=True)
        dark = dark * soften((cycle(u * f) - 0.5).abs() - 0.13, f / 40)
    return dark


def moire(n, grid, gen):
    y, x = grid
    total = 0
    for _ in range(2):
        cy, cx = between(gen, n, -0.7, 0.7), between(gen, n, -0.7, 0.7)
        f = between(gen, n, 6, 16)
        r = ((y - cy) ** 2 + (x - cx) ** 2).sqrt()
        total = total + torch.sin(2 * math.pi * f * r)
    return 0.5 + 0.25 * total


def ripples(n, grid, gen):
    y, x = grid
    cy, cx = between(gen, n, -0.4, 0.4), between(gen, n, -0.4, 0.4)
    r = ((y - cy) ** 2 + (x - cx) ** 2).sqrt()
    return 0.5 + 0.5 * torch.sin(2 * math.pi * between(gen, n, 3, 14, log=True) * r)


def spirals(n, grid, gen):
    y, x = grid
    dy, dx = y - between(gen, n, -0.3, 0.3), x - between(gen, n, -0.3, 0.3)
    arms = torch.randint(1, 5, (n, 1, 1), generator=gen)
    turn = torch.where(torch.rand(n, 1, 1, generator=gen) < 0.5, -1.0, 1.0)
    r = (dy**2 + dx**2).sqrt()
    f = between(gen, n, 3, 9, log=True)
    return 0.5 + 0.5 * torch.sin(
        2 * math.pi * f * r + turn * arms * torch.atan2(dy, dx)
    )


def rays(n, grid, gen):
    y, x = grid
    dy, dx = y - between(gen, n, -0.5, 0.5), x - between(gen, n, -0.5, 0.5)
    count = torch.randint(4, 16, (n, 1, 1), generator=gen)
    return soften(torch.sin(count * torch.atan2(dy, dx) + between(gen, n, 0, 6)), 0.4)


def tiles(n, grid, gen):
    """Quarter-circle (Truchet) tiles: a maze of arcs."""
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 3, 8, log=True)
    flip = hashed((u * f).floor(), (v * f).floor()) < 0.5
    a, b = cycle(u * f), cycle(v * f)
    a = torch.where(flip, 1 - a, a)
    near = (a**2 + b**2).sqrt()
    far = ((1 - a) ** 2 + (1 - b) ** 2).sqrt()
    d = torch.minimum((near - 0.5).abs(), (far - 0.5).abs())
    return soften(between(gen, n, 0.08, 0.2) - d, f / 20)


def carpet(n, grid, gen):
    """A self-similar carpet: squares cut out at three scales (Sierpinski)."""
    v, u = shifted(n, grid, gen)
    f = between(gen, n, 0.8, 2.0, log=True)
    cut = between(gen, n, 0.12, 0.2)
    value = torch.ones_like(u)
    for level in range(3):
        a, b = cycle(u * f * 3**level) - 0.5, cycle(v * f * 3**level) - 0.5
        hole = torch.maximum(a.abs(), b.abs()) - cut
        value = value * (0.3 + 0.7 * soften(hole, f * 3**level / 20))
    return value


# --- random -------------------------------------------------------------------


def clouds(n, grid, gen):
    return squash(noise(n, grid, gen, between(gen, n, 1.6, 2.4)))


def grain(n, grid, gen):
    return squash(noise(n, grid, gen, between(gen, n, 0.0, 0.7)))


def brushed(n, grid, gen):
    return squash(noise(n, grid, gen, 1.0, stretch=between(gen, n, 3, 7)))


def spots(n, grid, gen):
    centre = between(gen, n, 4, 11, log=True)
    field = noise(n, grid, gen, 0.0, centre * 0.8, centre * 1.2)
    return soften(field - between(gen, n, 0.5, 1.1), 0.6)


def labyrinth(n, grid, gen):
    centre = between(gen, n, 4, 12, log=True)
    return soften(noise(n, grid, gen, 0.0, centre * 0.9, centre * 1.1), 0.8)


def ridges(n, grid, gen):
    field = noise(n, grid, gen, 1.2, 0, 14).abs()
    return torch.exp(-between(gen, n, 2, 6) * field)


def marble(n, grid, gen):
    v, u = warp(n, grid, gen, between(gen, n, 0.06, 0.14), 8)
    f = between(gen, n, 2, 6, log=True)
    return (0.5 + 0.5 * torch.sin(2 * math.pi * f * u)) ** between(gen, n, 0.5, 2)


def wood(n, grid, gen):
    v, u = warp(n, grid, gen, between(gen, n, 0.01, 0.03))
    r = ((u - 0.5) ** 2 + (0.12 * v) ** 2).sqrt()
    return cycle(r * between(gen, n, 5, 14, log=True))


def fibres(n, grid, gen):
    field = noise(n, grid, gen, 2.0, 0, 5)
    f = between(gen, n, 2, 6, log=True)
    return soften(torch.sin(2 * math.pi * f * field).abs() - 0.35, 0.5)


def contours(n, grid, gen):
    field = noise(n, grid, gen, 2.2, 0, 6)
    levels = cycle(field * between(gen, n, 1.5, 4))
    return soften((levels - 0.5).abs() - between(gen, n, 0.2, 0.38), 0.2)


def terraces(n, grid, gen):
    field = squash(noise(n, grid, gen, 2.0, 0, 10))
    steps = torch.randint(3, 7, (n, 1, 1), generator=gen)
    return ((field * steps).floor() / (steps - 1)).clamp(0, 1)


def gradient(n, grid, gen):
    _, u = turned(n, grid, gen)
    return (0.5 + u * between(gen, n, 0.2, 1.0)).clamp(0, 1)


def cells(n, grid, gen):
    first, _, _, scale = nearest_points(n, grid, gen)
    return (first / scale).clamp(0, 1)


def cracks(n, grid, gen):
    y, x = grid
    bent = noise(2 * n, grid, gen, 1.6, 0, 16).view(2, n, 1, *y.shape) * 0.02
    count = int(torch.randint(5, 22, (1,), generator=gen))
    p = (torch.rand(2, n, count, 1, 1, generator=gen) - 0.5) * 1.3
    squared = (y + bent[0] - p[0]) ** 2 + (x + bent[1] - p[1]) ** 2
    two = squared.topk(2, dim=1, largest=False).values.sqrt()
    edge = (two[:, 1] - two[:, 0]) * grid[0].shape[-1]
    return 1 - torch.exp(-(edge**2) / between(gen, n, 1.0, 8.0))


def mosaic(n, grid, gen):
    _, _, where, _ = nearest_points(n, grid, gen)
    tones = torch.rand(n, 64, generator=gen)
    return tones.gather(1, where.flatten(1)).view_as(where)


def discs(n, grid, gen):
    """Dead leaves: discs of random radius and tone, each hiding those before it."""
    y, x = grid
    value = torch.rand(n, 1, 1, generator=gen).expand(n, *y.shape)
    for _ in range(36):
        cy, cx = between(gen, n, -0.6, 0.6), between(gen, n, -0.6, 0.6)
        radius = between(gen, n, 0.03, 0.25, log=True)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        value = torch.where(inside, torch.rand(n, 1, 1, generator=gen), value)
    return value


def shards(n, grid, gen):
    """Dead leaves of turned rectangles."""
    value = torch.rand(n, 1, 1, generator=gen).expand(n, *grid[0].shape)
    for _ in range(28):
        v, u = turned(n, grid, gen)
        v, u = v + between(gen, n, -0.6, 0.6), u + between(gen, n, -0.6, 0.6)
        a = between(gen, n, 0.03, 0.22, log=True)
        b = between(gen, n, 0.03, 0.22, log=True)
        inside = (v.abs() < a) & (u.abs() < b)
        value = torch.where(inside, torch.rand(n, 1, 1, generator=gen), value)
    return value


def needles(n, grid, gen):
    pixel = 1 / grid[0].shape[-1]
    value = torch.zeros(n, *grid[0].shape)
    for _ in range(22):
        v, u = turned(n, grid, gen)
        v, u = v + between(gen, n, -0.6, 0.6), u + between(gen, n, -0.6, 0.6)
        past_end = (u.abs() - between(gen, n, 0.05, 0.25)).clamp(min=0)
        d = (v**2 + past_end**2).sqrt() / pixel
        value = torch.maximum(value, torch.exp(-(d**2) / between(gen, n, 0.4, 1.5)))
    return value


def bubbles(n, grid, gen):
    y, x = grid
    pixel = 1 / y.shape[-1]
    value = torch.zeros(n, *y.shape)
    for _ in range(18):
        cy, cx = between(gen, n, -0.6, 0.6), between(gen, n, -0.6, 0.6)
        d = ((y - cy) ** 2 + (x - cx) ** 2).sqrt()
        d = (d - between(gen, n, 0.04, 0.18)) / pixel
        value = torch.maximum(value, torch.exp(-(d**2) / between(gen, n, 0.5, 2.0)))
    return value


def pebbles(n, grid, gen):
    first, second, where, scale = nearest_points(n, grid, gen, 12, 60)
    tones = 0.5 + 0.5 * torch.rand(n, 64, generator=gen)
    tone = tones.gather(1, where.flatten(1)).view_as(where)
    return tone * soften((second - first) / scale - 0.12, 0.2)


def dust(n, grid, gen):
    size = grid[0].shape[-1]
    sparse = torch.rand(n, size, size, generator=gen) < between(gen, n, 0.004, 0.04)
    points = sparse * torch.rand(n, size, size, generator=gen)
    wide = torch.nn.functional.avg_pool2d(points[:, None], 3, 1, 1)[:, 0]
    return (points + 3 * wide).clamp(0, 1)


def plain(n, grid, gen):
    return between(gen, n, 0, 1).expand(n, *grid[0].shape).clone()


TEXTURES = {
    "stripes": stripes,
    "waves": waves,
    "plaid": plaid,
    "a checkerboard": checkerboard,
    "zigzags": zigzag,
    "grid lines": grid_lines,
    "bricks": bricks,
    "a basket weave": weave,
    "hexagons": hexagons,
    "scales": scales,
    "polka dots": polka_dots,
    "a halftone": halftone,
    "crosshatching": crosshatch,
    "a moire pattern": moire,
    "ripples": ripples,
    "spirals": spirals,
    "rays": rays,
    "arc tiles": tiles,
    "a fractal carpet": carpet,
    "clouds": clouds,
    "grain": grain,
    "brushed metal": brushed,
    "spots": spots,
    "a labyrinth": labyrinth,
    "ridges": ridges,
    "marble": marble,
    "wood": wood,
    "fibres": fibres,
    "contour lines": contours,
    "terraces": terraces,
    "a smooth gradient": gradient,
    "cells": cells,
    "cracks": cracks,
    "a mosaic": mosaic,
    "overlapping discs": discs,
    "shards": shards,
    "needles": needles,
    "bubbles": bubbles,
    "pebbles": pebbles,
    "dust": dust,
    "a plain surface": plain,
}
