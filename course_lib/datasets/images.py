"""Labelled images as plain arrays: the one form in which every lesson gets data.

An :class:`ImageDataset` holds all images of one split as a uint8 array
``(N, H, W, 3)``.  It can come from arrays, from a folder with one sub-folder a
class, or from a CSV file that names the images.  (Lessons 00, 03 and 13.)
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from course_lib.errors import CourseError

SQUARE = ("crop", "pad", "stretch")
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test"}
MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one split with their labels; behaves like a torch map-style dataset.

    images: uint8 (N, H, W, 3), RGB.  labels: int64 (N,), indices into ``classes``.
    metadata: optional columns of length N (pitch, tool ...) for slicing.
    Raises CourseError when shapes, types or labels do not fit.  Lesson 00.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "images"
    split: str = "train"
    metadata: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        _check_arrays(self)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Image uint8 (H, W, 3) and its label, as a torch DataLoader expects."""
        return self.images[index], int(self.labels[index])

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        return (
            f"ImageDataset({self.name!r}, {self.split!r}: {len(self)} images of "
            f"{height}x{width}, {len(self.classes)} classes)"
        )

    def counts(self) -> dict[str, int]:
        """Number of images of each class, in the order of ``classes``."""
        per_class = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, per_class.tolist()))

    def subset(self, indices: Sequence[int] | np.ndarray) -> ImageDataset:
        """The images at ``indices`` (integers, or a boolean mask of length N)."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            if indices.shape != (len(self),):
                raise CourseError(
                    f"subset: the mask has shape {indices.shape}, expected "
                    f"({len(self)},), one entry for each image of {self.name!r}."
                )
            indices = np.flatnonzero(indices)
        if indices.size and indices.dtype.kind not in "iu":
            raise CourseError(
                f"subset: indices are {indices.dtype}, expected whole numbers, or a "
                "boolean mask."
            )
        indices = indices.astype(np.int64).reshape(-1)
        if len(indices) and not (
            -len(self) <= indices.min() <= indices.max() < len(self)
        ):
            raise CourseError(
                f"subset: indices run from {indices.min()} to {indices.max()}, but "
                f"{self.name!r} ({self.split}) has {len(self)} images."
            )
        columns = {key: values[indices] for key, values in self.metadata.items()}
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            metadata=columns,
        )

    def take(
        self,
        n: int | None = None,
        *,
        n_per_class: int | None = None,
        seed: int = 0,
        stratified: bool = True,
    ) -> ImageDataset:
        """A random sample of ``n`` images, or of ``n_per_class`` images of each class.

        Stratified (the default) keeps the class proportions of the data set; the same
        seed gives nested samples: take(25) is contained in take(50) when the classes
        are balanced.  Raises CourseError when there are too few images.  Lesson 02.
        """
        if (n is None) == (n_per_class is None):
            raise CourseError("take: give either n or n_per_class, and not both.")
        wanted = n if n is not None else n_per_class
        if int(wanted) != wanted or wanted < 1:
            raise CourseError(f"take: expected a whole number >= 1, got {wanted!r}.")
        if n is not None and n > len(self):
            raise CourseError(
                f"take: {n} images wanted, but {self.name!r} ({self.split}) has "
                f"{len(self)}. Ask for fewer, or load a larger pool."
            )
        rng = np.random.default_rng(seed)
        if n is not None and not stratified:
            return self.subset(rng.permutation(len(self))[:n])
        shuffled = _shuffled_by_class(self.labels, len(self.classes), rng)
        if n_per_class is not None:
            shares = [n_per_class] * len(self.classes)
        else:
            shares = _shares(n, [len(members) for members in shuffled])
        for share, members, label in zip(shares, shuffled, self.classes):
            if share > len(members):
                raise CourseError(
                    f"take: {share} images of class {label!r} wanted, but "
                    f"{self.name!r} ({self.split}) has {len(members)}."
                )
        chosen = [members[:share] for share, members in zip(shares, shuffled)]
        return self.subset(_interleaved(chosen))

    def split_into(
        self, fractions: Iterable[float], seed: int = 0
    ) -> tuple[ImageDataset, ...]:
        """Disjoint stratified parts, one for each fraction (they sum to at most 1).

        Every class is divided in the same proportions.  Raises CourseError when a part
        would be empty.  Lesson 13.
        """
        fractions = [float(fraction) for fraction in fractions]
        if not fractions or min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise CourseError(
                f"split_into: fractions {fractions} must each be > 0 and sum "
                "to at most 1, for example (0.7, 0.15, 0.15)."
            )
        rng = np.random.default_rng(seed)
        shuffled = _shuffled_by_class(self.labels, len(self.classes), rng)
        edges = np.concatenate([[0.0], np.cumsum(fractions)])
        parts = []
        for k in range(len(fractions)):
            chosen = []
            for members in shuffled:
                first, last = (int(round(e * len(members))) for e in edges[k : k + 2])
                chosen.append(members[first:last])
            indices = _interleaved(chosen)
            if not len(indices):
                raise CourseError(
                    f"split_into: fraction {fractions[k]} of the {len(self)} images of "
                    f"{self.name!r} leaves an empty part; use a larger fraction."
                )
            parts.append(self.subset(indices))
        return tuple(parts)


def _check_arrays(data: ImageDataset) -> None:
    images, labels = data.images, data.labels
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
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
        raise CourseError(f"{where}: labels must be an int64 array of shape (N,).")
    if labels.shape != (len(images),):
        raise CourseError(
            f"{where}: {len(images)} images but labels of shape {labels.shape}; "
            "expected one label for each image."
        )
    if len(labels) and not (0 <= labels.min() <= labels.max() < len(data.classes)):
        raise CourseError(
            f"{where}: labels run from {labels.min()} to {labels.max()}, expected "
            f"0..{len(data.classes) - 1} for {len(data.classes)} classes."
        )
    for key, column in data.metadata.items():
        if len(column) != len(labels):
            raise CourseError(
                f"{where}: metadata column {key!r} has {len(column)} entries for "
                f"{len(labels)} images."
            )


def _shuffled_by_class(labels, n_classes, rng) -> list[np.ndarray]:
    return [rng.permutation(np.flatnonzero(labels == c)) for c in range(n_classes)]


def _shares(n: int, counts: Sequence[int]) -> list[int]:
    """Largest-remainder division of ``n`` in proportion to ``counts``."""
    exact = np.asarray(counts, dtype=np.float64) * n / sum(counts)
    shares = np.floor(exact).astype(int)
    order = np.argsort(-(exact - shares), kind="stable")
    shares[order[: n - shares.sum()]] += 1
    return shares.tolist()


def _interleaved(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Members of all groups, evenly mixed, so that a prefix is nearly balanced."""
    rank = [(np.arange(len(group)) + 0.5) / max(len(group), 1) for group in groups]
    members = np.concatenate(groups).astype(np.int64)
    return members[np.argsort(np.concatenate(rank), kind="stable")]


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
        labels, classes = _index_names([str(label) for label in labels], classes, name)
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


def _index_names(names, classes, where) -> tuple[np.ndarray, list[str]]:
    classes = sorted(set(names)) if classes is None else [str(c) for c in classes]
    index = {label: k for k, label in enumerate(classes)}
    unknown = sorted(set(names) - set(index))
    if unknown:
        raise CourseError(
            f"{where}: label {unknown[0]!r} is not one of the classes {classes}."
        )
    return np.array([index[label] for label in names], dtype=np.int64), classes


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
    image_column: str = "image",
    label_column: str = "label",
    root: str | Path | None = None,
    size: int = 64,
    square: str = "crop",
    classes: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> ImageDataset:
    """Images named by a CSV file: one row an image, with its file and its label.

    Image paths are relative to ``root`` (default: the folder of the CSV file); the
    other columns become metadata (text).  Raises CourseError naming the row, column or
    file at fault.  Lesson 13.
    """
    path = Path(path)
    rows = _read_rows(path, (image_column, label_column))
    root = path.parent if root is None else Path(root)
    names = [row[label_column] for row in rows]
    labels, classes = _index_names(names, classes, str(path))
    if len(classes) < 2:
        raise CourseError(
            f"{path}: column {label_column!r} holds only the label {classes[0]!r}; "
            "expected at least two classes."
        )
    needed = len(rows) * size * size * 3
    if needed > max_bytes:
        raise CourseError(
            f"{path}: {len(rows)} images of {size}x{size} need {needed / 1e9:.1f} GB "
            f"of memory, the limit is {max_bytes / 1e9:.1f} GB. Use a smaller size or "
            "raise max_bytes."
        )
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for k, row in enumerate(rows):
        try:
            images[k] = read_image(root / row[image_column], size, square)
        except CourseError as error:
            raise CourseError(f"{path}, row {k + 2}: {error}") from None
    columns = {
        key: np.array([row[key] or "" for row in rows])
        for key in rows[0]
        if key and key != label_column
    }
    return ImageDataset(images, labels, tuple(classes), path.stem, "train", columns)


def _read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError:
        raise CourseError(f"CSV file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CourseError(
            f"CSV file {path} cannot be read ({error}); expected UTF-8 text with "
            "commas and a header line."
        ) from None
    if not rows:
        raise CourseError(f"CSV file {path} has no rows below its header line.")
    for column in needed:
        if column not in rows[0]:
            raise CourseError(
                f"CSV file {path} has no column {column!r}; its columns are "
                f"{list(rows[0])}. Name them with image_column= and label_column=."
            )
        for number, row in enumerate(rows, start=2):
            if not (row[column] or "").strip():
                raise CourseError(
                    f"CSV file {path}, row {number}: {column!r} is empty."
                )
    return rows
