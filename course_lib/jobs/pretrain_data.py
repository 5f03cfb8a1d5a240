"""Pictures for a job without labels: read, cleared of what teaches nothing, held out.

Copies and pictures of one colour teach nothing and are left out.  Near-duplicates of
held-out pictures are held out too, so that what is measured on was not learned from.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course_lib.datasets import image_files, layout, tables
from course_lib.datasets.grouped_split import grouped_split
from course_lib.datasets.messages import listed
from course_lib.datasets.near_duplicates import picture_groups
from course_lib.errors import CourseError

LEAST = 32  # different pictures
LEAST_HELD, MOST_HELD = 8, 500  # pictures that are measured on
MOST_COMPARED = 8_000  # pictures: pairs grow with the square of their number
FLAT = 2  # levels of 255 by which the pixels of a picture of one colour may differ
HELD = "held out"


@dataclass(frozen=True)
class Pool:
    """Pictures without labels.

    names and images (N, size, size, 3) of those to learn from, held_names and held of
    those to measure on.  notes: sentences on what was read and left out.
    """

    name: str
    names: list[str]
    images: np.ndarray
    held_names: list[str]
    held: np.ndarray
    notes: list[str]

    @property
    def key(self) -> str:
        """sha256 of names and pictures."""
        found = hashlib.sha256(repr((self.names, self.held_names)).encode())
        for images in (self.images, self.held):
            found.update(np.ascontiguousarray(images))
        return found.hexdigest()

    def rows(self) -> list[tuple[str, str]]:
        """(part, picture) of each picture."""
        parts = {"learned from": self.names, HELD: self.held_names}
        return [(part, name) for part, names in parts.items() for name in names]


def read(path: Path, reader: image_files.Reader, config) -> Pool:
    """The pool of a folder, with pictures at any depth.

    Raises CourseError for anything but a folder, for pictures that cannot be read, and
    for too few that differ.
    """
    _check_folder(path)
    found = image_files.read_unlabelled(path, reader)
    notes = [f"Pictures read: {len(found.names):,}.", *found.notes]
    notes += _folders(found.names)
    names, images = np.array(found.names), found.images
    kept = _kept(names, images, notes)
    names, images = names[kept], images[kept]
    if len(names) < LEAST:
        raise CourseError(
            f"{path} has {len(names)} different pictures that show something, of "
            f"{len(found.names):,}.\nExpected: at least {LEAST}, better a thousand or "
            "more: a picture is learned by telling it from others.\nDo: name a folder "
            "with more pictures; without labels any will do that are like those of "
            "the task." + "".join(f"\n{note}" for note in notes[1:])
        )
    rows = _held_out(images, config, notes)
    shown, some = layout.shown(path.resolve().name), np.flatnonzero(rows)[:MOST_HELD]
    parts = [names[~rows].tolist(), images[~rows], names[some].tolist(), images[some]]
    return Pool(shown, *parts, notes)


def _check_folder(path: Path) -> None:
    if path.is_dir():
        return
    what = "does not exist"
    if path.is_file():
        what = "is a file"
        if path.suffix.lower() in tables.ENDINGS:
            what = "is a table, and no labels are used here"
    raise CourseError(
        f"{path} {what}.\nExpected: a folder of pictures, at any depth and without "
        "labels.\nDo: name the folder in which the pictures lie (--on)."
    )


def _folders(names) -> list[str]:
    """That folders are no labels here, where there are several."""
    tops = sorted({name.partition("/")[0] for name in names if "/" in name})
    if not tops:
        return []
    return [
        f"Pictures of {len(tops):,} folder{'s' * (len(tops) > 1)} ({listed(tops)}) "
        "were read as one pool. Names of folders may be labels; none was used."
    ]


def _kept(names, images, notes) -> np.ndarray:
    """Rows of pictures that show something, each once; says what was left out."""
    low, high = images.min(axis=(1, 2)).astype(int), images.max(axis=(1, 2))
    flat = (high - low).max(axis=1) <= FLAT
    digests = [hashlib.blake2b(image.tobytes()).digest() for image in images]
    first = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    copies = np.array([first[d] != row for row, d in enumerate(digests)]) & ~flat
    for rows, what in ((flat, "of one colour"), (copies, "exact copies of others")):
        if rows.any():
            left = f"{int(rows.sum()):,} ({listed(names[rows])})"
            notes.append(
                f"Pictures {what}, which teach nothing and were left out: {left}."
            )
    return np.flatnonzero(~flat & ~copies)


def _held_out(images, config, notes) -> np.ndarray:
    """Which pictures (N,) are not learned from; says what is special about them."""
    n = len(images)
    groups = np.arange(n)
    if n <= MOST_COMPARED:
        found = picture_groups(images)
        sizes = np.bincount(found)
        different, alike = len(sizes), int(sizes[sizes > 1].sum())
        if alike:
            notes.append(
                f"Near-duplicates: {alike:,} pictures are nearly equal to another one, "
                f"so that {different:,} are different. They stay, and are told from "
                "one another like any others."
            )
        if different >= LEAST:
            groups = found
        else:
            notes.append(
                f"Fewer than {LEAST} pictures differ: held-out ones have near copies "
                "among those learned from, and what is measured on them is too good."
            )
    else:
        notes.append(
            f"Near-duplicates were not looked for: there are more than "
            f"{MOST_COMPARED:,} pictures."
        )
    share = min(max(config.held_out, LEAST_HELD / n), MOST_HELD / n)
    shares = {"learned from": 1 - share, HELD: share}
    return grouped_split(np.zeros(n, int), groups, shares, config.seed)[HELD]
