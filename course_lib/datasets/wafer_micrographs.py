"""Wafer-inspection micrographs: the running example of the course.

A renderer of 64x64 RGB pictures as a bright-field inspection microscope would show
them: a patterned film stack, one defect, and the harmless things that every real
picture has.  The five categories are defined by their shape and physics, never by
colour, background or place:

========  =========================================================================
scratch   mechanical: one long, thin, gently curved groove, sometimes interrupted
particle  a compact opaque body lying on the surface, with shading and a halo
residue   a thin semi-transparent film left by a wet step, with soft lobed edges
bridge    lithography: the pattern itself is wrong, material missing or too much
crack     brittle fracture: a thin jagged path that turns sharply and branches
========  =========================================================================

Lengths are in pixels of the final picture (64 pixels a side) and angles in radians.
Geometry is drawn on a grid of twice that resolution and averaged by the optics, so
edges are anti-aliased.  Image i depends only on (seed, split, i) and the difficulty.
"""

from functools import partial

import numpy as np

from course_lib.datasets.images import ImageDataset, drawn

CLASSES = ("scratch", "particle", "residue", "bridge", "crack")
BACKGROUNDS = ("lines", "contacts", "pads", "crossbars", "film", "cells")
SPLITS = {"train": 1, "validation": 2, "test": 3, "pool": 4}
SIZES = {"train": 500, "validation": 1000, "test": 1000}
SEED = 20_240_500
DIFFICULTY = 0.7
SIDE = 64
FINE = 2 * SIDE
LEVELS = 64  # grey levels a channel that the camera delivers
WAVELENGTHS = np.array([610.0, 545.0, 465.0])  # nm: red, green, blue

_AXIS = (np.arange(FINE) + 0.5) / 2.0
_COARSE_AXIS = np.arange(SIDE) + 0.5


# -- numerical tools --------------------------------------------------------------


def _between(easy: float, hard: float, difficulty: float) -> float:
    return easy + (hard - easy) * difficulty


def _bump_weights(points: np.ndarray, n_knots: int) -> np.ndarray:
    """Cubic B-spline weights (len(points), n_knots) over the picture's side."""
    place = points / SIDE * (n_knots - 3)
    distance = np.abs(place[:, None] - (np.arange(n_knots)[None, :] - 1.0))
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = (2.0 - distance) ** 3 / 6.0
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


_KNOTS = {n: _bump_weights(_AXIS, n) for n in (5, 7, 11, 19)}
_COARSE_KNOTS = {n: _bump_weights(_COARSE_AXIS, n) for n in (5, 7, 11, 19)}


def smooth_field(rng, n_knots: int, fine: bool = True) -> np.ndarray:
    """A smooth random field of unit order; larger ``n_knots`` means finer structure."""
    weights = (_KNOTS if fine else _COARSE_KNOTS)[n_knots]
    return weights @ (1.9 * rng.standard_normal((n_knots, n_knots))) @ weights.T


def _blur_and_halve(sigma: float) -> np.ndarray:
    """Matrix (SIDE, FINE): focus blur of ``sigma`` px (Gaussian), then every 2nd px."""
    sigma = max(sigma, 0.3)
    weights = np.exp(-0.5 * ((_COARSE_AXIS[:, None] - _AXIS[None, :]) / sigma) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


_OPTICS = {step: _blur_and_halve(0.05 * step) for step in range(6, 41)}


def _coverage(signed_distance: np.ndarray) -> np.ndarray:
    """Area covered by a shape, 0..1, from the signed distance to its edge in px."""
    area = 2.0 * signed_distance
    area += 0.5
    return np.clip(area, 0.0, 1.0, out=area)


def _fraction(x: np.ndarray) -> np.ndarray:
    return x - np.floor(x)


# -- the patterned film: signed distances, positive inside the upper material ------


class Layout:
    """A pattern in its own axes: ``u`` across, ``v`` along, both (FINE, FINE) in px."""

    def __init__(self, rng, kind: str, difficulty: float):
        quarter = rng.integers(0, 4) * (np.pi / 2)
        tilt = rng.normal(0.0, 0.06) if rng.random() < 0.75 else rng.uniform(-0.8, 0.8)
        sparse = kind == "film"
        self.kind, self.angle = kind, quarter + tilt
        self.p = rng.uniform(20, 30) if sparse else rng.uniform(6.5, 15.0)  # pitch in u
        self.q = self.p * rng.uniform(1.0, 1.5)  # pitch in v
        self.w = self.p * rng.uniform(0.38, 0.62) * (0.4 if sparse else 1.0)  # width
        self.origin = rng.uniform(0.0, 64.0, 2)
        self._cos, self._sin = np.cos(self.angle), np.sin(self.angle)
        roughness = rng.uniform(0.05, _between(0.15, 0.4, difficulty))
        u, v = self.at(_AXIS[None, :], _AXIS[:, None])
        self.u = u + roughness * smooth_field(rng, 19)
        self.v = v + roughness * smooth_field(rng, 19)

    def at(self, x, y):
        """Pattern coordinates (u, v) of points (x, y) of the picture, px."""
        u = x * self._cos + y * self._sin + self.origin[0]
        return u, y * self._cos - x * self._sin + self.origin[1]

    def shows(self, u: float, v: float, margin: float = 6.0) -> bool:
        """Whether the point (u, v) lies inside the picture, ``margin`` px from it."""
        u, v = u - self.origin[0], v - self.origin[1]
        x, y = u * self._cos - v * self._sin, u * self._sin + v * self._cos
        return margin < x < SIDE - margin and margin < y < SIDE - margin

    def box(self, centre, half_u: float, half_v: float) -> np.ndarray:
        """Signed distance (FINE, FINE) to a rectangle aligned with the pattern."""
        outside_u = np.abs(self.u - centre[0]) - half_u
        return -np.maximum(outside_u, np.abs(self.v - centre[1]) - half_v)


def _bars(coordinate: np.ndarray, pitch: float, width: float) -> np.ndarray:
    """Signed distance to parallel bars centred on (k + 1/2) pitch."""
    return width / 2 - np.abs(_fraction(coordinate / pitch) - 0.5) * pitch


def draw_pattern(layout: Layout) -> np.ndarray:
    """Signed distance (FINE, FINE) to the edge of the upper material."""
    p, q, w = layout.p, layout.q, layout.w
    u, v = layout.u, layout.v
    if layout.kind in ("lines", "film"):
        return _bars(u, p, w)
    if layout.kind == "contacts":
        du = (_fraction(u / p) - 0.5) * p
        dv = (_fraction(v / q) - 0.5) * q
        return 0.55 * w + 0.3 - np.sqrt(du * du + dv * dv)
    if layout.kind == "pads":
        return np.minimum(_bars(u, p, w * 1.25), _bars(v, q, q - p + w * 1.25))
    if layout.kind == "crossbars":
        return np.maximum(_bars(u, p, w * 0.8), _bars(v, q, w * 0.8))
    # cells: bars with cross-links that are staggered from column to column
    odd = 2 * _fraction(np.floor(u / p) / 2)  # 0 or 1
    links = _bars(v + q * odd, 2 * q, 0.7 * w)
    return np.maximum(_bars(u - p / 2, p, 0.55 * w), links)


def _plan_fault(rng, layout: Layout, missing: bool, size: float):
    """Where the pattern fails: centre (u, v) and half extents of a rectangle, px."""
    p, q, w = layout.p, layout.q, layout.w
    u, v = layout.at(*rng.uniform(12, 52, 2))
    u_on, v_on = (np.floor(u / p) + 0.5) * p, (np.floor(v / q) + 0.5) * q
    u_off, v_off = u_on + 0.5 * p, v_on + 0.5 * q
    sideways = rng.random() < 0.5
    if layout.kind in ("lines", "film"):  # a cut line, or two lines joined
        return (u_on if missing else u_off, v), p / 2, 0.5 * size * min(p, 9.0)
    if layout.kind == "contacts":  # a closed hole, or two holes merged
        neck = 0.8 * (0.55 * w + 0.3)
        if missing:
            return (u_on, v_on), p / 2, q / 2
        return (
            ((u_off, v_on), p / 2, neck) if sideways else ((u_on, v_off), neck, q / 2)
        )
    if layout.kind == "pads":  # a lost pad, a slit through one, or two pads joined
        neck = (0.15 + 0.13 * size) * p
        if missing:
            return (u_on, v_on), p / 2, q / 2 if sideways else max(0.9, 0.18 * size * p)
        return (
            ((u_off, v_on), p / 2, neck) if sideways else ((u_on, v_off), neck, q / 2)
        )
    if layout.kind == "crossbars":  # an open bar between crossings, or a filled window
        if not missing:
            return (u_off, v_off), p / 2, q / 2
        if sideways:
            return (u_on, v_off), 0.4 * w + 0.2, 0.45 * (q - 0.8 * w)
        return (u_off, v_on), 0.45 * (p - 0.8 * w), 0.4 * w + 0.2
    if missing:  # cells: a cut bar, or a link where there should be none
        return (u_off, v), 0.3 * w + 0.4, max(0.4 * size * p, 1.0)
    return (u_on, v), p / 2, max(0.14 * size * p, 0.7)


def disturb_pattern(rng, layout: Layout, distance: np.ndarray, size: float):
    """The bridge category: material of the pattern itself is missing or too much.

    Returns the new signed distance (FINE, FINE) and the extent of the fault in px;
    ``size`` is its length in pitches, where the pattern leaves it free.
    """
    missing = rng.random() < 0.5
    for _ in range(10):
        centre, half_u, half_v = _plan_fault(rng, layout, missing, size)
        if layout.shows(*centre):
            break
    fault = layout.box(centre, half_u, half_v)
    extent = 2 * max(half_u, half_v)
    if missing:
        return np.minimum(distance, -fault), extent
    return np.maximum(distance, fault), extent


# -- defects on top of the pattern: layers (rows, columns) of a window of the grid ---

WHOLE = (slice(0, FINE), slice(0, FINE))


def _window(x: float, y: float, reach: float):
    """The part of the fine grid within ``reach`` px of a point, and offsets in px."""
    left, right = (int(np.clip(2 * (x + s * reach), 0, FINE)) for s in (-1, 1))
    top, bottom = (int(np.clip(2 * (y + s * reach), 0, FINE)) for s in (-1, 1))
    window = (slice(top, bottom), slice(left, right))
    return window, _AXIS[None, left:right] - x, _AXIS[top:bottom, None] - y


def scratch(rng, x: float, y: float, length: float):
    """A gently curved groove, and the material displaced along one of its sides."""
    window, dx, dy = _window(x, y, length / 2 + 2)
    angle = rng.uniform(0.0, 2 * np.pi)
    width = rng.uniform(0.55, 1.0)
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    across = across - 0.5 * rng.normal(0.0, 0.25) / length * along * along
    knots = rng.uniform(0.35, 1.3, 12)
    if rng.random() < 0.5:  # the tool skipped: an interrupted groove
        knots[rng.integers(2, 10)] = -0.6
    places = np.linspace(-length / 2, length / 2, 12)
    depth = np.interp(along.ravel(), places, knots, left=0.0, right=0.0)
    depth = np.clip(depth, 0.0, 1.0).reshape(along.shape)
    depth *= np.clip(length / 2 - np.abs(along) + 0.5, 0.0, 1.0)
    groove = _coverage(width / 2 - np.abs(across)) * depth
    rim = _coverage(0.45 - np.abs(across - width / 2 - 0.4)) * depth
    return window, groove, rim


def _jagged_path(rng, x, y, heading, length):
    """Corners (K, 2) of a path that turns sharply but keeps its heading on average."""
    corners, travelled = [(x, y)], 0.0
    while travelled < length:
        step = rng.uniform(1.8, 4.5)
        turn = heading + rng.choice((-1.0, 1.0)) * rng.uniform(0.25, 1.15)
        x, y = x + step * np.cos(turn), y + step * np.sin(turn)
        corners.append((x, y))
        travelled += step
    return np.array(corners)


def _strokes(starts, ends, half_widths) -> np.ndarray:
    """Union of short straight strokes with round ends: coverage (FINE, FINE).

    starts, ends: (S, 2) px, at most 4.5 px apart; each is drawn in its own window.
    """
    side = 16
    canvas = np.zeros((FINE + 2 * side, FINE + 2 * side))
    centre, half = (starts + ends) / 2, (ends - starts) / 2
    corner = np.clip(np.floor(2 * centre).astype(int) - side // 2, -side, FINE)
    offset = (corner[..., None] + np.arange(side) + 0.5) / 2 - centre[..., None]
    dx, dy = offset[:, 0, None, :], offset[:, 1, :, None]
    tx, ty = half[:, 0, None, None], half[:, 1, None, None]
    place = np.clip((dx * tx + dy * ty) / (tx * tx + ty * ty), -1.0, 1.0)
    distance = np.sqrt((dx - place * tx) ** 2 + (dy - place * ty) ** 2)
    drawn = _coverage(half_widths[:, None, None] - distance)  # (S, side, side)
    for (left, top), stroke in zip(corner + side, drawn):
        part = canvas[top : top + side, left : left + side]
        np.maximum(part, stroke, out=part)
    return canvas[side:-side, side:-side]


def crack(rng, x: float, y: float, length: float):
    """A jagged path that turns sharply and has one to three branches."""
    heading = rng.uniform(0.0, 2 * np.pi)
    half_width = rng.uniform(0.35, 0.6)
    forth = _jagged_path(rng, x, y, heading, length / 2)
    back = _jagged_path(rng, x, y, heading + np.pi, length / 2)
    trunk = np.concatenate([back[::-1], forth[1:]])
    paths = [(trunk, half_width)]
    for _ in range(rng.integers(1, 4)):
        root = trunk[rng.integers(1, len(trunk) - 1)]
        side = heading + rng.choice((-1.0, 1.0)) * rng.uniform(0.6, 1.3)
        branch = _jagged_path(rng, *root, side, length * rng.uniform(0.15, 0.35))
        paths.append((branch, 0.8 * half_width))
    starts = np.concatenate([path[:-1] for path, _ in paths])
    ends = np.concatenate([path[1:] for path, _ in paths])
    halves = np.concatenate([np.full(len(path) - 1, half) for path, half in paths])
    return WHOLE, _strokes(starts, ends, halves)


def particle(rng, x: float, y: float, diameter: float):
    """An opaque body of irregular outline, its lit flank, and the halo around it."""
    radius = diameter / 2
    window, dx, dy = _window(x, y, 2.6 * radius + 3)
    turn, stretch = rng.uniform(0.0, np.pi), rng.uniform(0.75, 1.0)
    a = dx * np.cos(turn) + dy * np.sin(turn)
    b = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    distance, phase = np.sqrt(a * a + b * b), np.arctan2(b, a)
    outline = np.full_like(distance, radius)
    for k, lobe in enumerate(rng.normal(0.0, 0.07 * radius, 3)):
        outline += lobe * np.cos((k + 2) * phase + 1.7 * k)
    body = _coverage(outline - distance)
    sun = rng.uniform(0.0, 2 * np.pi)
    hx, hy = dx + 0.35 * radius * np.cos(sun), dy + 0.35 * radius * np.sin(sun)
    light = body * np.exp(-(hx * hx + hy * hy) / (0.30 * radius**2 + 0.1))
    ring = (distance - outline - 0.9) / (0.5 + 0.12 * radius)
    halo = np.exp(-ring * ring) * (1 - body)
    return window, body, light, halo


def residue(rng, x: float, y: float, extent: float):
    """Thickness 0..1 of a film with lobed edges, and of the rim where it dried."""
    window, dx, dy = _window(x, y, 1.1 * extent)
    turn, stretch = rng.uniform(0.0, np.pi), rng.uniform(0.55, 1.0)
    a = (dx * np.cos(turn) + dy * np.sin(turn)) / (extent / 2)
    b = (dy * np.cos(turn) - dx * np.sin(turn)) / (extent / 2 * stretch)
    height = 1.0 - np.sqrt(a * a + b * b) + 0.42 * smooth_field(rng, 11)[window]
    softness = rng.uniform(0.15, 0.4)
    level = np.clip(height / softness, 0.0, 1.0)
    ring = (height - 0.5 * softness) / (0.55 * softness)
    return window, level * level * (3 - 2 * level), np.exp(-ring * ring)


# -- optics and camera -------------------------------------------------------------


def film_colour(thickness, index, low, high):
    """RGB reflectance (3,) of a transparent film by two-beam interference.

    thickness in nm, index of refraction; reflectance runs between low and high.
    """
    phase = 4 * np.pi * index * thickness / WAVELENGTHS
    return low + (high - low) * (0.5 + 0.5 * np.cos(phase))


def stack_colours(rng, contrast, difficulty):
    """Colours of lower and upper material, (3,) each, with mean grey distance
    ``contrast``."""
    colourful = rng.uniform(0.05, _between(0.2, 0.5, difficulty))
    level = rng.uniform(0.28, 0.62)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    colours = []
    for side in (-0.5, 0.5):
        tint = film_colour(rng.uniform(60, 420), rng.uniform(1.45, 2.1), -0.5, 0.5)
        tint = tint - tint.mean()
        colours.append(level + sign * side * contrast + colourful * 0.6 * tint)
    return np.clip(colours[0], 0.04, 0.96), np.clip(colours[1], 0.04, 0.96)


TOOLS = {  # noise, line banding, colour gain of red and blue, vignetting
    0: (0.016, 0.000, 1.00, 1.00, 0.10),
    1: (0.024, 0.006, 1.08, 0.94, 0.20),
    2: (0.020, 0.000, 0.95, 1.06, 0.30),
    3: (0.032, 0.012, 1.00, 1.02, 0.15),
}


def _illumination(rng, vignetting, difficulty):
    """Brightness factor (SIDE, SIDE): a gradient, vignetting and unevenness."""
    x, y = (_COARSE_AXIS[None, :] - 32) / 32, (_COARSE_AXIS[:, None] - 32) / 32
    strength = _between(0.10, 0.25, difficulty)
    gx, gy = rng.uniform(-strength, strength, 2)
    cx, cy = rng.uniform(-0.4, 0.4, 2)
    dark = vignetting * rng.uniform(0.3, 1.0)
    return (1 + gx * x + gy * y) * (1 - dark * ((x - cx) ** 2 + (y - cy) ** 2) / 2)


def _stripes(rng) -> np.ndarray:
    """Faint parallel polishing marks of unit order all over the picture."""
    angle = rng.uniform(0.0, np.pi)
    stripes = np.zeros((SIDE, SIDE))
    for rate in rng.uniform(0.35, 1.3, 2):
        row = rate * np.cos(angle) * _COARSE_AXIS + rng.uniform(0.0, 6.0)
        column = rate * np.sin(angle) * _COARSE_AXIS
        stripes += np.sin(row)[:, None] * np.cos(column)[None, :]  # sin(row + column)
        stripes += np.cos(row)[:, None] * np.sin(column)[None, :]
    return stripes


def _add_dust(rng, grey: np.ndarray, count: int) -> None:
    """Specks far smaller than a particle, bright or dark, added in place."""
    for x, y, size, strength in rng.uniform(size=(int(count), 4)):
        x, y, sigma = 1 + 62 * x, 1 + 62 * y, 0.4 + 0.3 * size
        left, top = max(int(x) - 2, 0), max(int(y) - 2, 0)
        dx = _COARSE_AXIS[None, left : left + 5] - x
        dy = _COARSE_AXIS[top : top + 5, None] - y
        spot = np.exp(-(dx * dx + dy * dy) / (2 * sigma**2))
        sign = 1.0 if strength > 0.5 else -1.0
        grey[top : top + 5, left : left + 5] += sign * (0.03 + 0.08 * strength) * spot


class Camera:
    """The tool that takes a picture and its focus, both drawn before what it sees."""

    def __init__(self, rng, difficulty: float):
        self.tool = int(rng.integers(0, len(TOOLS)))
        noise, self.banding, *gains, self.vignetting = TOOLS[self.tool]
        self.gains = np.array([gains[0], 1.0, gains[1]])
        noise *= _between(0.6, 1.2, difficulty) * rng.uniform(0.7, 1.3)
        self.noise = noise
        step = int(rng.integers(9, int(_between(14, 21, difficulty))))
        self.blur, self._optics = 0.05 * step, _OPTICS[step]

    def seen(self, layer, window=WHOLE) -> np.ndarray:
        """A layer of the fine grid as the optics give it: (64, 64)."""
        return self._optics[:, window[0]] @ layer @ self._optics[:, window[1]].T

    def expose(self, rng, image, difficulty: float) -> np.ndarray:
        """Light, colour gains and noise on reflectances (64, 64, 3), as uint8."""
        light = _illumination(rng, self.vignetting, difficulty)
        light *= rng.uniform(0.85, 1.15)
        grain = self.noise * rng.standard_normal((SIDE, SIDE))
        grain += self.banding * rng.standard_normal((SIDE, 1))
        image *= light[..., None] * self.gains
        image += grain[..., None]
        level = np.floor(np.clip(image, 0.0, 1.0) * (LEVELS - 1) + 0.5)
        return np.floor(level * (255.0 / (LEVELS - 1)) + 0.5).astype(np.uint8)


def _defect_size(rng, name: str, difficulty: float) -> float:
    """Length or diameter in px; of a bridge, in pitches of the pattern."""
    scale = rng.uniform(_between(0.8, 0.5, difficulty), 1.0)
    return {
        "scratch": 26 + 34 * scale,
        "crack": 18 + 22 * scale,
        "particle": 3.5 + 7.5 * scale * rng.uniform(0.5, 1.0),  # drawn for every class
        "residue": 14 + 18 * scale,
        "bridge": 0.5 + 0.9 * scale,
    }[name]


def _surroundings(rng, camera: Camera, layout: Layout, upper, difficulty) -> np.ndarray:
    """Grey (64, 64) of what is harmless: stains, polish, edges, lower layer, dust."""
    grey = 0.03 * smooth_field(rng, 7, fine=False)  # faint stains
    grey += rng.uniform(0.0, _between(0.004, 0.012, difficulty)) * _stripes(rng)
    grey += rng.uniform(-0.4, 0.4) * upper * (1 - upper)  # light caught by the edges
    if rng.random() < _between(0.1, 0.4, difficulty):
        strength, centre = rng.uniform(-0.10, 0.10), layout.at(*rng.uniform(0, 64, 2))
        block = layout.box(centre, *rng.uniform(10, 40, 2))  # of a lower layer
        grey += strength * camera.seen(np.clip(0.5 + 0.5 * block, 0.0, 1.0))
    _add_dust(rng, grey, rng.poisson(_between(1.0, 4.0, difficulty)))
    return grey


def _add_defect(rng, name, size, strength, camera: Camera, image, grey, sign) -> None:
    """Put a defect that lies on the pattern into image and grey, in place.

    ``size`` is (x, y, length) in px; ``sign`` +1 for bright, -1 for dark.
    """
    seen, brightness = camera.seen, image.mean()
    if name == "scratch":
        window, groove, rim = scratch(rng, *size)
        profile = groove - rng.uniform(0.0, 0.7) * rim
        grey += sign * 1.5 * strength * seen(profile, window)
    elif name == "crack":
        window, path = crack(rng, *size)
        grey += sign * 1.5 * strength * seen(path, window)
    elif name == "particle":
        window, body, light, halo = particle(rng, *size)
        shade = 0.45 + sign * (0.15 + 0.5 * strength) + rng.normal(0.0, 0.04, 3)
        opacity = min(0.6 + strength, 1.0) * seen(body, window)
        image += opacity[..., None] * (shade - image)
        grey *= 1 - opacity
        grey += strength * seen(light - 0.45 * sign * halo, window)
    elif name == "residue":
        window, film, rim = residue(rng, *size)
        tint = film_colour(rng.uniform(60, 500), 1.5, -0.25, 0.25) + 0.45 * sign
        film = strength * seen(film, window)
        image += film[..., None] * (tint - 0.5 * (image - brightness))
        grey -= sign * rng.uniform(0.0, 0.5) * strength * seen(rim, window)


def render_one(rng, label: int, difficulty: float = DIFFICULTY):
    """One micrograph: uint8 (64, 64, 3), and its settings as a dict.

    The order of the draws from ``rng`` is part of the data set: another order gives
    other pictures, and the manifest knows the bytes of these.
    """

    def drawn(low: tuple[float, float], high: tuple[float, float]) -> float:
        return rng.uniform(_between(*low, difficulty), _between(*high, difficulty))

    name = CLASSES[label]
    kind = BACKGROUNDS[rng.integers(0, len(BACKGROUNDS))]
    layout, camera = Layout(rng, kind, difficulty), Camera(rng, difficulty)
    pattern_contrast = drawn((0.10, 0.16), (0.20, 0.44))
    strength = drawn((0.50, 0.22), (0.80, 0.42))
    size = _defect_size(rng, name, difficulty)
    x, y = rng.uniform(14, 50, 2)

    distance = draw_pattern(layout)
    upper = _coverage(distance)
    if name == "bridge":
        faulty, size = disturb_pattern(rng, layout, distance, size)
        height = np.clip(strength / 0.25, 0.6, 1.0)  # of the pattern, at the fault
        upper += height * (_coverage(faulty) - upper)
    upper = camera.seen(upper)
    lower_colour, upper_colour = stack_colours(rng, pattern_contrast, difficulty)
    image = lower_colour + upper[..., None] * (upper_colour - lower_colour)
    bright = np.clip(2.0 - 3.0 * image.mean(), 0.1, 0.9)  # dark ground, bright defect
    sign = 1.0 if rng.random() < bright else -1.0
    grey = _surroundings(rng, camera, layout, upper, difficulty)
    _add_defect(rng, name, (x, y, size), strength, camera, image, grey, sign)
    image += grey[..., None]
    settings = {
        "background": kind,
        "pitch": layout.p,
        "angle": layout.angle,
        "defect_size": float(size),
        "contrast": strength,
        "blur": camera.blur,
        "noise": camera.noise,
        "tool": camera.tool,
    }
    return camera.expose(rng, image, difficulty), settings


def render(
    n: int,
    seed: int = SEED,
    split: str = "pool",
    difficulty: float = DIFFICULTY,
    first: int = 0,
) -> ImageDataset:
    """``n`` micrographs, uint8 (n, 64, 64, 3); image i has the label i mod 5.

    Image i depends only on (seed, split, i, difficulty), so that any part can be made
    alone (``first``) and splits never share an image.
    """
    about = CLASSES, "wafer_micrographs", split
    draw = partial(render_one, difficulty=difficulty)
    return drawn(n, first, (seed, SPLITS[split]), draw, about)
