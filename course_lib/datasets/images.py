"""Labelled images as plain arrays: the one form in which every lesson gets data.

An :class:`ImageDataset` holds all images of one split as a uint8 array
``(N, H, W, 3)``.  It comes from arrays (here), or from a folder with one sub-folder a
class, or a table that names the images (:mod:`course_lib.datasets.image_files`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from course_lib.datasets.labelled import Labelled, check_labels
from course_lib.datasets.labels import indexed
from course_lib.datasets.messages import tell
from course_lib.errors import CourseError


@dataclass(frozen=True, eq=False)
class ImageDataset(Labelled):
    """Images of one split with their labels; behaves like a torch map-style dataset.

    images: uint8 (N, H, W, 3), RGB.  labels: int64 (N,), indices into ``classes``.
    metadata: optional columns of length N (pitch, tool ...) for slicing.
    Raises CourseError when shapes, types or labels do not fit.
    """

    holds = "images"
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "images"
    split: str = "train"
    metadata: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        images = self.images
        where = f"data set {self.name!r} ({self.split})"
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            found = getattr(images, "dtype", type(images).__name__)
            raise CourseError(
                f"{where}: images are {found}, expected a uint8 array (0..255). "
                "from_arrays() converts floats in 0..1."
            )
        if images.ndim != 4 or images.shape[3] != 3:
            raise CourseError(
                f"{where}: images have shape {images.shape}, expected (N, H, W, 3). "
                "from_arrays() turns grey images into RGB."
            )
        check_labels(self)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        return (
            f"ImageDataset({self.name!r}, {self.split!r}: {len(self)} images of "
            f"{height}x{width}, {len(self.classes)} classes)"
        )


def drawn(
    n: int, first: int, seeds: tuple[int, int], draw: Callable, about: tuple
) -> ImageDataset:
    """``n`` pictures of draw(rng, label) -> (uint8 (side, side, 3), settings).

    about: (classes, name, split).  Picture i depends only on (*seeds, first + i), and
    has the label (first + i) mod K, so that any part of a set can be made alone.
    """
    labels = (first + np.arange(n, dtype=np.int64)) % len(about[0])
    images, rows = [], []
    for i, label in enumerate(labels):
        rng = np.random.default_rng((*seeds, first + i))
        image, settings = draw(rng, int(label))
        images.append(image)
        rows.append(settings)
    return ImageDataset(np.stack(images), labels, *about, columns(rows))


def columns(rows: list[dict]) -> dict[str, np.ndarray]:
    """Drawn settings as metadata, one array each; floats rounded to 3 decimals."""
    found = {}
    for key in rows[0] if rows else ():
        values = [row[key] for row in rows]
        if isinstance(values[0], float):
            found[key] = np.round(np.array(values), 3).astype(np.float32)
        elif isinstance(values[0], int):
            found[key] = np.array(values, dtype=np.int8)
        else:
            found[key] = np.array(values, dtype="<U12")
    return found


# -- from arrays ------------------------------------------------------------------


def from_arrays(
    images,
    labels,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    split: str = "train",
    metadata: dict | None = None,
) -> ImageDataset:
    """An ImageDataset from arrays you already have.

    images: uint8, or floats in 0..1, of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3).
    labels: integers (with ``classes`` naming them) or strings.  Raises CourseError on
    other shapes and ranges.
    """
    images = _as_uint8_rgb(np.asarray(images), name)
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise CourseError(
            f"{name}: labels have shape {labels.shape}, expected (N,): class indices "
            "or class names, not one-hot rows."
        )
    if labels.dtype.kind in "iub":
        labels = labels.astype(np.int64)
        if classes is None:
            classes = [str(k) for k in range(int(labels.max(initial=-1)) + 1)]
    else:
        names = [str(label) for label in labels]
        labels, classes, notes = indexed(names, classes, name, "as_written")
        tell(notes)
    columns = {key: np.asarray(values) for key, values in (metadata or {}).items()}
    return ImageDataset(images, labels, tuple(classes), name, split, columns)


def _as_uint8_rgb(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype != np.uint8:
        if images.dtype.kind != "f":
            raise CourseError(
                f"{name}: images are {images.dtype}, expected uint8 (0..255) or floats "
                "in 0..1. Scale 16-bit images first, e.g. (images // 257)."
            )
        low, high = float(np.min(images, initial=0)), float(np.max(images, initial=0))
        if not (low >= 0.0 and high <= 1.0):
            raise CourseError(
                f"{name}: float images run from {low:.3g} to {high:.3g}, expected 0..1 "
                "without NaN."
            )
        images = np.floor(images * 255.0 + 0.5).astype(np.uint8)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise CourseError(
            f"{name}: images have shape {images.shape}, expected (N, H, W), "
            "(N, H, W, 1) or (N, H, W, 3): channels last."
        )
    return np.ascontiguousarray(images)
