"""Labelled images as plain arrays: the one form in which every lesson gets data.

An :class:`ImageDataset` holds all images of one split as a uint8 array
``(N, H, W, 3)``.  It can come from arrays, from a folder with one sub-folder a
class, or from a CSV file that names the images.  (Lessons 00, 03 and 13.)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from course_lib.datasets import tables
from course_lib.datasets.labelled import Labelled, check_labels
from course_lib.datasets.labels import indexed
from course_lib.errors import CourseError

SQUARE = ("crop", "pad", "stretch")
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test"}
MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True, eq=False)
class ImageDataset(Labelled):
    """Images of one split with their labels; behaves like a torch map-style dataset.

    images: uint8 (N, H, W, 3), RGB.  labels: int64 (N,), indices into ``classes``.
    metadata: optional columns of length N (pitch, tool ...) for slicing.
    Raises CourseError when shapes, types or labels do not fit.  Lesson 00.
    """

    holds = "images"
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "images"
    split: str = "train"
    metadata: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        _check_arrays(self)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Image uint8 (H, W, 3) and its label, as a torch DataLoader expects."""
        return self.images[index], int(self.labels[index])

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        return (
            f"ImageDataset({self.name!r}, {self.split!r}: {len(self)} images of "
            f"{height}x{width}, {len(self.classes)} classes)"
        )


def _check_arrays(data: ImageDataset) -> None:
    images = data.images
    where = f"data set {data.name!r} ({data.split})"
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
    check_labels(data)


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
    other shapes and ranges.  Lesson 13.
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
        for note in notes:
            warnings.warn(note, stacklevel=2)
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


# -- from files -------------------------------------------------------------------


def read_image(path: str | Path, size: int | None = 64, square: str = "crop"):
    """One image file of any Pillow format as uint8 (size, size, 3).

    Turned upright by its EXIF tag; transparency is laid over white; 16-bit values are
    divided by 257, so that brightness stays comparable between files; floats must lie
    in 0..1 or 0..255; the first frame of an animation is taken.
    ``square``: "crop" cuts the longer side centrally, "pad" adds black bars, "stretch"
    changes the proportions.  Resized with Pillow's Lanczos filter; ``size=None`` keeps
    the image as it is.  Raises CourseError naming the file.  Lesson 13.
    """
    from PIL import Image, ImageOps

    if square not in SQUARE:
        raise CourseError(f"square={square!r} is unknown, expected one of {SQUARE}.")
    path = Path(path)
    try:
        with Image.open(path) as opened:
            if size is not None:
                opened.draft("RGB", (4 * size, 4 * size))  # fast path for large JPEGs
            image = _to_rgb(ImageOps.exif_transpose(opened), path)
    except CourseError:
        raise
    except FileNotFoundError:
        raise CourseError(f"image file {path} does not exist.") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CourseError(
            f"image file {path} cannot be read: {reason}. Expected an undamaged image "
            "in a format that Pillow reads (PNG, JPEG, TIFF, BMP ...); repair or "
            "remove the file."
        ) from None
    if size is not None:
        image = _to_square(image, size, square)
    return np.asarray(image, dtype=np.uint8)


def _to_rgb(image, path):
    from PIL import Image

    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_levels(np.asarray(image), path)).convert("RGB")
    if "A" in image.getbands() or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey_levels(values: np.ndarray, path) -> np.ndarray:
    """16-bit, 32-bit or float grey values (H, W) to uint8."""
    sixteen_bits = values.dtype in (np.uint16, np.dtype(">u2"))
    values = values.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 65535:  # also false for NaN
        raise CourseError(
            f"image file {path} holds values from {low:g} to {high:g}; expected 0..1, "
            "0..255 or 16 bits (0..65535). Save it as an 8- or 16-bit image."
        )
    if sixteen_bits or high > 255:
        values = values / 257.0
    elif high <= 1:
        values = values * 255.0
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def _to_square(image, size, square):
    from PIL import Image, ImageOps

    lanczos = Image.Resampling.LANCZOS
    if square == "crop":
        return ImageOps.fit(image, (size, size), method=lanczos)
    if square == "pad":
        return ImageOps.pad(image, (size, size), method=lanczos, color=(0, 0, 0))
    return image.resize((size, size), lanczos)


def from_folder(
    path: str | Path,
    size: int = 64,
    square: str = "crop",
    classes: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    name: str | None = None,
    split: str = "train",
) -> ImageDataset:
    """All images of a folder that holds one sub-folder for each class.

    Sub-folder names, sorted, become ``classes`` (give ``classes`` to fix their order,
    for instance for a validation folder).  Images are read by :func:`read_image` to
    uint8 (N, size, size, 3).  Files that are no images by their extension, and hidden
    ones, are passed over.  Raises CourseError that names the file or folder at fault,
    or when the arrays would exceed ``max_bytes`` (use :class:`LazyImages`).  Lesson 13.
    """
    files, labels, classes = _scan_folder(path, classes)
    needed = len(files) * size * size * 3
    if needed > max_bytes:
        raise CourseError(
            f"{path}: {len(files)} images of {size}x{size} need {needed / 1e9:.1f} GB "
            f"of memory, the limit is {max_bytes / 1e9:.1f} GB. Use a smaller size, "
            "raise max_bytes, or read them one by one with LazyImages(path, size)."
        )
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for k, file in enumerate(files):
        images[k] = read_image(file, size, square)
    metadata = {"file": np.array([file.name for file in files])}
    return ImageDataset(
        images, labels, classes, name or Path(path).name, split, metadata
    )


class LazyImages:
    """A folder of images that are read one by one, for sets larger than memory.

    A map-style dataset for torch's DataLoader: item i is (uint8 (size, size, 3),
    label).  Same folder layout, options and errors as :func:`from_folder`; a damaged
    file is reported when it is reached.  Lesson 13.
    """

    def __init__(self, path, size: int = 64, square: str = "crop", classes=None):
        self.files, self.labels, self.classes = _scan_folder(path, classes)
        self.size, self.square, self.name = size, square, Path(path).name

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = read_image(self.files[index], self.size, self.square)
        return image, int(self.labels[index])


def _scan_folder(path, classes):
    """Image files, int64 labels and class names of a folder of sub-folders."""
    root = Path(path)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise CourseError(
            f"{root} {problem}; expected a folder with one sub-folder of images for "
            "each class."
        )
    found = sorted(
        sub.name for sub in root.iterdir() if sub.is_dir() and sub.name[0] not in "._"
    )
    wanted = found if classes is None else [str(label) for label in classes]
    hint = "Expected: folder/CLASS_NAME/image.png, with at least two classes."
    if SPLIT_NAMES.issuperset(name.lower() for name in found) and found:
        hint = f"These look like splits: load each alone, e.g. {root / found[0]}."
        raise CourseError(f"{root}: its sub-folders are {found}. {hint}")
    if len(wanted) < 2:
        what = f"has only one class, {found[0]!r}" if found else "has no sub-folders"
        raise CourseError(f"{root} {what}. {hint}")
    files, labels = [], []
    for label, name in enumerate(wanted):
        if name not in found:
            raise CourseError(f"{root} has no sub-folder {name!r}; it has {found}.")
        members = _image_files(root / name)
        if not members:
            raise CourseError(
                f"{root / name} holds no image. {hint} Add images or remove the folder."
            )
        files += members
        labels += [label] * len(members)
    return files, np.array(labels, dtype=np.int64), tuple(wanted)


def _image_files(folder: Path) -> list[Path]:
    from PIL import Image

    known = Image.registered_extensions()
    readable = {end for end, kind in known.items() if kind in Image.OPEN}
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in readable
        and not file.name.startswith(".")
        and file.is_file()
    )


def from_csv(
    path: str | Path,
    image_column: str | None = "image",
    label_column: str | None = "label",
    root: str | Path | None = None,
    size: int = 64,
    square: str = "crop",
    classes: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    reading: tables.Reading | None = None,
) -> ImageDataset:
    """Images named by a table: one row an image, with its file and its label.

    path: CSV and its relatives, Excel, Parquet or JSON lines.  Image paths are relative
    to ``root`` (default: the folder of the table); the other columns become metadata
    (text).  A column that is None is looked for under usual names.  What was merged or
    left out is a warning.  Raises CourseError naming the row, column or file at fault.
    Lesson 13.
    """
    found = tables.examples(path, "image", image_column, label_column, classes, reading)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return from_examples(found, root, size, square, max_bytes)


def from_examples(
    found: tables.Examples,
    root: str | Path | None = None,
    size: int = 64,
    square: str = "crop",
    max_bytes: int = MAX_BYTES,
) -> ImageDataset:
    """The images whose files :func:`tables.examples` read from a table."""
    path, n = found.table.path, len(found.inputs)
    root = path.parent if root is None else Path(root)
    needed = n * size * size * 3
    if needed > max_bytes:
        raise CourseError(
            f"{path}: {n} images of {size}x{size} need {needed / 1e9:.1f} GB "
            f"of memory, the limit is {max_bytes / 1e9:.1f} GB. Use a smaller size or "
            "raise max_bytes."
        )
    images = np.empty((n, size, size, 3), dtype=np.uint8)
    for k, name in enumerate(found.inputs):
        try:
            images[k] = read_image(root / name, size, square)
        except CourseError as error:
            raise CourseError(f"{path}, row {found.table.rows[k]}: {error}") from None
    columns = {found.columns["image"]: np.array(found.inputs)} | found.metadata()
    classes = tuple(found.classes)
    return ImageDataset(images, found.labels, classes, path.stem, "train", columns)
