"""Wafer maps: which dies of a wafer failed the electrical test, nine patterns.

The classes are those of the public WM-811K taxonomy (Wu, Jang and Chen, "Wafer map
failure pattern recognition and similarity ranking for large-scale data sets", IEEE
Trans. Semicond. Manuf. 28, 2015); the maps are simulated here.  Each die fails with a
probability: a background yield loss, plus the pattern of the class.

A map is a small grid of integers (0 outside the wafer, 1 pass, 2 fail), one entry a
die; it is also drawn as a 64x64 RGB picture in three fixed colours.  Positions are in
units of the wafer's radius.  Map i depends only on (seed, split, i).
"""

from dataclasses import replace

import numpy as np

from course_lib.datasets.images import ImageDataset, drawn

SPLITS = {"train": 1, "validation": 2, "test": 3, "pool": 4}
SIZES = {"train": 900, "validation": 900, "test": 900}
SEED = 20_240_811
SIDE = 64
MAX_DIES = 40
OUTSIDE, PASS, FAIL = 0, 1, 2
COLOURS = np.array([[26, 28, 38], [94, 150, 160], [250, 202, 72]], dtype=np.uint8)


def _blob(x, y, centre, width, stretch=1.0, turn=0.0):
    """Gaussian hill of height 1."""
    dx, dy = x - centre[0], y - centre[1]
    a = dx * np.cos(turn) + dy * np.sin(turn)
    b = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    return np.exp(-0.5 * (a * a + b * b) / width**2)


def _polar(radius, angle):
    return radius * np.cos(angle), radius * np.sin(angle)


def _center(rng, x, y):
    centre = _polar(rng.uniform(0, 0.12), rng.uniform(0, 2 * np.pi))
    return _blob(x, y, centre, rng.uniform(0.12, 0.28), rng.uniform(0.75, 1.0))


def _donut(rng, x, y):
    cx, cy = _polar(rng.uniform(0, 0.12), rng.uniform(0, 2 * np.pi))
    distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
    ring = (distance - rng.uniform(0.38, 0.6)) / rng.uniform(0.08, 0.16)
    return np.exp(-0.5 * ring**2)


def _edge_loc(rng, x, y):
    radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
    depth = (radius - 1.0) / rng.uniform(0.10, 0.22)
    apart = (angle - rng.uniform(-np.pi, np.pi) + np.pi) % (2 * np.pi) - np.pi
    spread = np.abs(apart) / rng.uniform(0.2, 0.5)
    return np.exp(-0.5 * (depth**2 + spread**2))


def _edge_ring(rng, x, y):
    radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
    depth = (radius - 1.0) / rng.uniform(0.06, 0.12)
    uneven = 1 - rng.uniform(0, 0.4) * (0.5 + 0.5 * np.cos(angle - rng.uniform(0, 6)))
    return np.exp(-0.5 * depth**2) * uneven


def _loc(rng, x, y):
    centre = _polar(rng.uniform(0.32, 0.68), rng.uniform(0, 2 * np.pi))
    turn = rng.uniform(0, np.pi)
    return _blob(x, y, centre, rng.uniform(0.08, 0.18), rng.uniform(0.5, 1.0), turn)


def _scratch(rng, x, y):
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.5, 1.3)
    cx, cy = _polar(rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi))
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    across = across - rng.normal(0, 0.5) * (along**2 - length**2 / 12)
    width = rng.uniform(0.035, 0.05)
    return np.exp(-0.5 * (across / width) ** 2) * (np.abs(along) < length / 2)


def _near_full(rng, x, y):
    tilt = rng.uniform(-0.15, 0.15, 2)
    return np.clip(0.97 + tilt[0] * x + tilt[1] * y, 0, 1)


def _random(rng, x, y):
    return np.full((y.shape[0], x.shape[1]), rng.uniform(0.28, 0.55))


def _none(rng, x, y):
    return np.zeros((y.shape[0], x.shape[1]))


_PATTERNS = {
    "center": _center,
    "donut": _donut,
    "edge-loc": _edge_loc,
    "edge-ring": _edge_ring,
    "loc": _loc,
    "scratch": _scratch,
    "near-full": _near_full,
    "random": _random,
    "none": _none,
}
CLASSES = tuple(_PATTERNS)


def map_one(rng, label: int) -> tuple[np.ndarray, dict]:
    """One wafer map: uint8 (rows, columns) of 0, 1, 2, and its settings."""
    rows, columns = (int(k) for k in rng.integers(22, MAX_DIES + 1, 2))
    x = ((np.arange(columns) + 0.5) / columns * 2 - 1)[None, :]  # in wafer radii
    y = ((np.arange(rows) + 0.5) / rows * 2 - 1)[:, None]
    notch = int(rng.integers(0, 4))
    severity = rng.uniform(0.65, 1.0)
    loss = rng.uniform(0.01, 0.09)
    pattern = severity * 0.95 * _PATTERNS[CLASSES[label]](rng, x, y)
    pattern = pattern * rng.uniform(0.85, 1.15, (rows, columns))
    # a reticle of several dies prints one of its dies a little worse each time
    step_y, step_x = rng.integers(2, 6, 2)
    repeater = np.zeros((rows, columns))
    row, column = rng.integers(0, step_y), rng.integers(0, step_x)
    repeater[row::step_y, column::step_x] = rng.uniform(0, 0.10)
    survives = (1 - loss) * (1 - repeater) * (1 - np.clip(pattern, 0, 0.99))
    grid = np.where(rng.random((rows, columns)) > survives, FAIL, PASS)
    grid[x * x + y * y > 1.0] = OUTSIDE
    nx, ny = _polar(0.97, notch * np.pi / 2)
    grid[(x - nx) ** 2 + (y - ny) ** 2 < 0.07**2] = OUTSIDE
    settings = {"rows": rows, "columns": columns, "notch": notch}
    settings |= {"severity": severity, "yield_loss": loss}
    return grid.astype(np.uint8), settings


def picture(grid: np.ndarray) -> np.ndarray:
    """A die grid (rows, columns) as RGB uint8 (64, 64, 3): nearest die, no blending."""
    rows, columns = grid.shape
    row = (2 * np.arange(SIDE) + 1) * rows // (2 * SIDE)
    column = (2 * np.arange(SIDE) + 1) * columns // (2 * SIDE)
    return COLOURS[grid[row[:, None], column[None, :]]]


def grid(dataset: ImageDataset, index: int) -> np.ndarray:
    """The die grid uint8 (rows, columns) behind one picture: 0 outside, 1 pass, 2 fail.

    The grid is kept in ``dataset.metadata``; it survives subset and take.
    """
    columns = dataset.metadata
    rows, width = int(columns["rows"][index]), int(columns["columns"][index])
    return columns["grid"][index, :rows, :width]


def render(
    n: int, seed: int = SEED, split: str = "pool", first: int = 0
) -> ImageDataset:
    """``n`` wafer maps, uint8 (n, 64, 64, 3); map i has the label i mod 9.

    metadata: ``grid`` uint8 (n, 40, 40) padded with 0, rows, columns, notch (quarter
    turns), severity and yield_loss.  Map i depends only on (seed, split, i).
    """
    grids = []

    def draw(rng, label):
        dies, settings = map_one(rng, label)
        room = [(0, MAX_DIES - side) for side in dies.shape]
        grids.append(np.pad(dies, room))
        return picture(dies), settings

    about = CLASSES, "wafer_maps", split
    data = drawn(n, first, (seed, SPLITS[split]), draw, about)
    return replace(data, metadata={"grid": np.stack(grids)} | data.metadata)
