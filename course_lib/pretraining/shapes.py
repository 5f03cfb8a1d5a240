"""Masks of shapes and strokes drawn from formulas: the objects of the source task.

Every function takes `(n, v, u, pixel, gen)`: coordinates in the shape's own frame
(turned, shifted and scaled so that the shape about fills [-1, 1]), each
(n, size, size), and the size of a pixel in those units, (n, 1, 1).  It returns a
soft mask (n, size, size) in [0, 1].  Sources for the idea: Takashima et al. 2023
("Visual atoms"), Kataoka et al. 2022 ("Replacing labeled real-image datasets with
auto-generated contours").
"""

import math

import torch

from course_lib.pretraining.textures import between


def fill(signed, pixel):
    """Soft mask of `signed` > 0, its edge about a pixel wide."""
    return torch.sigmoid(3 * signed / pixel)


def stroke(distance, pixel, gen, low=0.5, high=1.6):
    """Soft line at zero `distance`, `low` to `high` pixels in half-width."""
    half = between(gen, len(distance), low, high, log=True)
    return torch.sigmoid(3 * (half - distance.abs() / pixel))


def polar(v, u):
    return (v**2 + u**2).sqrt(), torch.atan2(v, u)


def polygon(sides):
    def draw(n, v, u, pixel, gen):
        r, theta = polar(v, u)
        wedge = 2 * math.pi / sides
        bent = torch.remainder(theta, wedge) - wedge / 2
        return fill(math.cos(wedge / 2) - r * bent.cos(), pixel)

    return draw


def star(points):
    def draw(n, v, u, pixel, gen):
        r, theta = polar(v, u)
        wedge = 2 * math.pi / points
        fold = (torch.remainder(theta, wedge) / wedge - 0.5).abs() * 2
        inner = between(gen, n, 0.3, 0.5)
        return fill(inner / (inner + (1 - inner) * (1 - fold)) - r, pixel)

    return draw


def disc(n, v, u, pixel, gen):
    return fill(0.9 - polar(v, u)[0], pixel)


def spot(n, v, u, pixel, gen):
    """A compact body a few pixels across, not quite round."""
    r, theta = polar(v, u)
    radius = pixel * between(gen, n, 1.5, 5.0, log=True)
    return fill(radius * bumpy(n, theta, gen, 0.08, (2, 3)) - r, pixel)


def ellipse(n, v, u, pixel, gen):
    return fill(1 - polar(v / between(gen, n, 0.3, 0.6), u)[0], pixel)


def ring(n, v, u, pixel, gen):
    width = between(gen, n, 0.1, 0.25)
    return fill(width - (polar(v, u)[0] - 0.8).abs(), pixel)


def bar(n, v, u, pixel, gen):
    half = between(gen, n, 0.1, 0.25)
    return fill(torch.minimum(1 - u.abs(), half - v.abs()), pixel)


def cross(n, v, u, pixel, gen):
    half = between(gen, n, 0.15, 0.3)
    one = torch.minimum(1 - u.abs(), half - v.abs())
    two = torch.minimum(1 - v.abs(), half - u.abs())
    return fill(torch.maximum(one, two), pixel)


def corner(n, v, u, pixel, gen):
    thick = between(gen, n, 0.4, 0.7)
    box = 1 - torch.maximum(v.abs(), u.abs())
    return fill(
        torch.minimum(box, torch.maximum(-1 + thick - v, -1 + thick - u)), pixel
    )


def crescent(n, v, u, pixel, gen):
    outer = 0.95 - polar(v, u)[0]
    inner = polar(v, u - between(gen, n, 0.35, 0.6))[0] - 0.85
    return fill(torch.minimum(outer, inner), pixel)


def heart(n, v, u, pixel, gen):
    y, x = -1.15 * v + 0.1, 1.2 * u
    curve = (x**2 + y**2 - 0.6) ** 3 - x**2 * y**3
    return fill(-curve.sign() * curve.abs() ** (1 / 3) * 0.6, pixel)


def gear(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    teeth = torch.randint(7, 13, (n, 1, 1), generator=gen)
    rim = 0.8 + 0.14 * torch.tanh(4 * torch.sin(teeth * theta))
    return fill(torch.minimum(rim - r, r - between(gen, n, 0.1, 0.35)), pixel)


def flower(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    petals = torch.randint(3, 8, (n, 1, 1), generator=gen)
    depth = between(gen, n, 0.2, 0.4)
    return fill(1 - depth + depth * torch.cos(petals * theta) - r, pixel)


def bumpy(n, theta, gen, amount, orders):
    """A closed outline's radius: random harmonics of the given orders."""
    radius = torch.ones_like(theta)
    for k in orders:
        a = amount * torch.randn(n, 1, 1, generator=gen) / math.sqrt(k)
        radius = radius + a * torch.sin(k * theta + between(gen, n, 0, 2 * math.pi))
    return radius


def blob(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    return fill(0.8 * bumpy(n, theta, gen, 0.2, (2, 3, 4)) - r, pixel)


def splash(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    return fill(0.75 * bumpy(n, theta, gen, 0.3, (5, 7, 9, 12)) - r, pixel)


def several(count, reach, smallest, largest):
    """Discs whose centres lie within ``reach``."""

    def draw(n, v, u, pixel, gen):
        signed = torch.full_like(v, -9.0)
        for _ in range(count):
            cy, cx = between(gen, n, -reach, reach), between(gen, n, -reach, reach)
            d = between(gen, n, smallest, largest) - polar(v - cy, u - cx)[0]
            signed = torch.maximum(signed, d)
        return fill(signed, pixel)

    return draw


patches = several(5, 0.65, 0.2, 0.45)  # touching lumps: an irregular cluster
dots = several(6, 0.9, 0.06, 0.18)  # apart from each other


def piece(n, v, u, pixel, gen):
    """A small rectangle or lump: the part of the ground that a fault changes."""
    size, ratio = between(gen, n, 0.25, 0.7, log=True), between(gen, n, 0.4, 1.0)
    box = torch.minimum(size - u.abs(), size * ratio - v.abs())
    lump = size - (v**2 / ratio**2 + u**2).sqrt()
    return fill(torch.where(torch.rand(n, 1, 1, generator=gen) < 0.5, box, lump), pixel)


def comb(n, v, u, pixel, gen):
    """Parallel bars."""
    f = between(gen, n, 1.2, 2.4)
    waves = torch.cos(2 * math.pi * f * v) * 0.15 / f
    return fill(torch.minimum(waves, 1 - torch.maximum(v.abs(), u.abs())), pixel)


# --- strokes: thin curves -----------------------------------------------------


def segment(v, u, a, b):
    """Distance to the segment from a to b, each a pair (y, x) of (n, 1, 1)."""
    dy, dx = b[0] - a[0], b[1] - a[1]
    t = ((v - a[0]) * dy + (u - a[1]) * dx) / (dy**2 + dx**2).clamp(min=1e-6)
    t = t.clamp(0, 1)
    return ((v - a[0] - t * dy) ** 2 + (u - a[1] - t * dx) ** 2).sqrt()


def path(v, u, points):
    """Distance to a polyline."""
    d = torch.full_like(v, 9.0)
    for a, b in zip(points[:-1], points[1:], strict=True):
        d = torch.minimum(d, segment(v, u, a, b))
    return d


def line(n, v, u, pixel, gen):
    past = (u.abs() - 1.3).clamp(min=0)
    return stroke((v**2 + past**2).sqrt(), pixel, gen)


def curve(n, v, u, pixel, gen):
    bend, phase = between(gen, n, 0.15, 0.4), between(gen, n, 0, 6.3)
    f = between(gen, n, 1.0, 3.0)
    slope = (1 + (bend * f) ** 2).sqrt()
    d = (v - bend * torch.sin(f * u * 1.5 + phase)) / slope
    past = (u.abs() - 1.3).clamp(min=0)
    return stroke((d**2 + past**2).sqrt(), pixel, gen)


def arc(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    open_side = (theta.abs() - between(gen, n, 1.2, 2.4)).clamp(min=0)
    return stroke(((r - 0.9) ** 2 + open_side**2).sqrt(), pixel, gen)


def wander(n, gen, steps, start, stride, jitter):
    """A jagged path from the left to the right: list of (y, x)."""
    y, x = start
    points = [(y, x)]
    for _ in range(steps):
        y = y + jitter * torch.randn(n, 1, 1, generator=gen)
        x = x + stride
        points.append((y, x))
    return points


def jagged(n, v, u, pixel, gen):
    zero = torch.zeros(n, 1, 1)
    points = wander(n, gen, 8, (zero, zero - 1.3), 0.32, 0.22)
    return stroke(path(v, u, points), pixel, gen)


def branches(n, v, u, pixel, gen):
    zero = torch.zeros(n, 1, 1)
    trunk = wander(n, gen, 7, (zero, zero - 1.3), 0.36, 0.14)
    d = path(v, u, trunk)
    for joint in (2, 4, 5):
        side = torch.where(torch.rand(n, 1, 1, generator=gen) < 0.5, -1.0, 1.0)
        y, x = trunk[joint]
        tip = [(y, x)]
        for _ in range(3):
            y = y + side * between(gen, n, 0.1, 0.35)
            x = x + between(gen, n, 0.05, 0.3)
            tip.append((y, x))
        d = torch.minimum(d, path(v, u, tip))
    return stroke(d, pixel, gen, 0.4, 1.2)


def coil(n, v, u, pixel, gen):
    r, theta = polar(v, u)
    turns = between(gen, n, 2.0, 3.5)
    phase = torch.remainder(r * turns - theta / (2 * math.pi), 1.0)
    d = (torch.minimum(phase, 1 - phase) / turns) + (r - 1).clamp(min=0)
    return stroke(d, pixel, gen, 0.5, 1.2)


def triangle_outline(n, v, u, pixel, gen):
    points = [
        (torch.full((n, 1, 1), math.sin(a)), torch.full((n, 1, 1), math.cos(a)))
        for a in (0.0, 2.1, 4.2, 0.0)
    ]
    return stroke(path(v, u, points), pixel, gen)


def box_outline(n, v, u, pixel, gen):
    tall = between(gen, n, 0.4, 1.0)
    return stroke(torch.maximum(v.abs() - tall, u.abs() - 1).abs(), pixel, gen)


def nothing(n, v, u, pixel, gen):
    return torch.zeros_like(v)


STROKES = {
    "a straight line": line,
    "a curved line": curve,
    "an arc": arc,
    "a jagged line": jagged,
    "a branching line": branches,
    "a coil": coil,
    "a triangle's outline": triangle_outline,
    "a box's outline": box_outline,
}
# faults of the ground itself: nothing lies on it, a part of it is not as it should be
FAULTS = {f"a {how} piece": piece for how in ("displaced", "missing", "turned")}
SHAPES = {
    "nothing": nothing,
    "a small spot": spot,
    "a disc": disc,
    "an ellipse": ellipse,
    "a ring": ring,
    "a triangle": polygon(3),
    "a square": polygon(4),
    "a five-pointed star": star(5),
    "a bar": bar,
    "a cross": cross,
    "a corner": corner,
    "a crescent": crescent,
    "a heart": heart,
    "a gear": gear,
    "a flower": flower,
    "a smooth blob": blob,
    "a splash": splash,
    "a cluster of lumps": patches,
    "separate dots": dots,
    "parallel bars": comb,
    **STROKES,
    **FAULTS,
}
