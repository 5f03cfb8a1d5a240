"""Real photographs of solar cells by electroluminescence, with and without defects.

2,624 cells cut out of pictures of 44 modules (ELPV; Deitsch et al. 2019,
doi:10.1016/j.solener.2019.02.067), each with the probability of a defect as experts
gave it: 0, 1/3, 2/3 or 1, and the kind of silicon: mono- or polycrystalline.  The
pictures are licensed CC BY-NC-SA 4.0: not for commercial use.

Cells of one module look alike, many are nearly the same picture, and the set does not
say which module a cell is from.  The splits keep groups of near-duplicates on one side
(:mod:`course_lib.datasets.near_duplicates`; the groups are stored in
data/near_duplicates.npz).  What is known to go wrong: data/cards/solar_cells.md.
"""

import contextlib
import zipfile
from functools import lru_cache
from io import BytesIO

import numpy as np
import PIL
from PIL import Image

from course_lib import assets, files, paths
from course_lib.datasets.grouped_split import grouped_split
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.near_duplicates import picture_groups, stored_groups
from course_lib.errors import CourseError

BINARY = ("functional", "defective")
LEVELS = ("functional", "possibly defective", "likely defective", "defective")
KINDS = ("mono", "poly")
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
SIZE = 96  # pixels a side
FULL_SIDE = 300  # of the stored pictures
SPLIT_SEED = 2624


def load(
    split: str = "train",
    *,
    labels: str = "binary",
    kind: str | None = None,
    size: int = SIZE,
) -> ImageDataset:
    """Solar cells of one split: uint8 (N, size, size, 3), grey in three channels.

    labels: "binary" takes the cells of which the experts were sure (probability 0 or
    1), "levels" all four.  kind: "mono" or "poly" alone.  metadata: kind, probability,
    group (of near-duplicates) and file.  Raises CourseError for other options, and
    when the pictures have not been fetched.
    """
    if split not in SHARES or labels not in ("binary", "levels"):
        raise CourseError(
            f"solar_cells: split={split!r}, labels={labels!r}.\nExpected: one of "
            f"{', '.join(SHARES)}, and labels 'binary' or 'levels'."
        )
    if kind is not None and kind not in KINDS:
        raise CourseError(
            f"solar_cells: kind={kind!r}.\nExpected: 'mono', 'poly', or None for both."
        )
    rows = table()
    keep = splits()[split].copy()
    if labels == "binary":
        keep &= np.isin(rows["level"], (0, 3))
    if kind:
        keep &= rows["kind"] == kind
    level = rows["level"][keep]
    columns = {k: rows[k][keep] for k in ("kind", "probability", "file")}
    columns["group"] = groups()[keep]
    return ImageDataset(
        np.stack([_pictures(size)[keep]] * 3, axis=-1),
        (level // 3 if labels == "binary" else level).astype(np.int64),
        BINARY if labels == "binary" else LEVELS,
        "solar_cells",
        split,
        columns,
    )


@lru_cache(maxsize=1)
def table() -> dict[str, np.ndarray]:
    """Columns of labels.csv: file, probability, kind, and the level 0 to 3."""
    text = (assets.folder("solar-cells") / "labels.csv").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line.strip()]
    probability = np.array([float(row[1]) for row in rows])
    return {
        "file": np.array([row[0].rpartition("/")[2] for row in rows]),
        "probability": probability,
        "kind": np.array([row[2] for row in rows]),
        "level": np.rint(3 * probability).astype(np.int64),
    }


@lru_cache(maxsize=3)
def _pictures(size: int) -> np.ndarray:
    """All pictures in the order of the table, grey: uint8 (2624, size, size)."""
    grey = _decoded(FULL_SIDE) if size == FULL_SIDE else _kept(size)
    grey.flags.writeable = False
    return grey


def _kept(size: int) -> np.ndarray:
    """The decoded pictures from the user's cache: reading 2,624 files takes seconds."""
    source = files.read_json(assets.place("solar-cells") / assets.RECORD)["sha256"]
    key = f"solar_cells-{source[:12]}-{size}-pillow{PIL.__version__}.npy"
    path = paths.CACHE / "pictures" / key
    shape = (len(table()["file"]), size, size)
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.uint8:
            return kept
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: decode again
    grey, content = _decoded(size), BytesIO()
    np.save(content, grey)
    with contextlib.suppress(OSError):  # a full disk costs time later, not the lesson
        files.atomic_write_bytes(path, content.getvalue())
    return grey


def _decoded(size: int) -> np.ndarray:
    """uint8 (2624, size, size) from the PNG files, resized by Lanczos' filter."""
    grey = np.empty((len(table()["file"]), size, size), dtype=np.uint8)
    with zipfile.ZipFile(assets.folder("solar-cells") / "pictures.zip") as archive:
        for i, name in enumerate(table()["file"]):
            image = Image.open(BytesIO(archive.read(str(name)))).convert("L")
            if size != FULL_SIDE:
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            grey[i] = np.asarray(image)
    return grey


def find_groups() -> np.ndarray:
    """The groups of near-duplicates (2624,), found anew from the pictures."""
    return picture_groups(_pictures(FULL_SIDE))


def groups() -> np.ndarray:
    """The stored groups of near-duplicates (2624,)."""
    return stored_groups("solar_cells", len(table()["file"]))


@lru_cache(maxsize=1)
def splits() -> dict[str, np.ndarray]:
    """{split: boolean (2624,)}: whole groups, stratified by kind and level."""
    rows = table()
    strata = np.char.add(rows["kind"], rows["level"].astype(str))
    return grouped_split(strata, groups(), SHARES, SPLIT_SEED)
