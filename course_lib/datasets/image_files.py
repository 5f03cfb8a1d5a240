"""Picture files as labelled images: one file, the files of a folder, those of a table.

:class:`Reader` reads all files of a set by one rule and counts what it meets; `course
train`, `diagnose` and `predict` use it.  :func:`from_folder` and :func:`from_csv` are
the short ways in Python.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from course_lib.datasets import layout, pictures, tables
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.layout import LeftOut
from course_lib.datasets.messages import INSTALL, SHOWN, listed, shown, tell
from course_lib.datasets.pictures import EIGHT, MissingReader, Unreadable
from course_lib.datasets.scaling import Rule, rgb
from course_lib.errors import CourseError

MAX_BYTES = 2 * 1024**3

# -- one file ---------------------------------------------------------------------


def read_image(path: str | Path, size: int | None = 64, rule: Rule | None = None):
    """One image file as uint8 (size, size, 3), of any format that is read.

    Turned upright by its EXIF tag; transparency is laid over white; the first frame of
    an animation is taken.  ``rule``: how deeper pictures become 8 bits, for files of
    one set; without it by the full scale of the depth, so that brightness stays
    comparable between files: 16-bit values are divided by 257, floats run to 1, 255 or
    65535, 32-bit values to 255 or 65535.
    The longer side is cut centrally.  Resized with Pillow's Lanczos filter;
    ``size=None`` keeps the image as it is.  Raises CourseError naming the file.
    """
    path = Path(path)
    try:
        if rule is None:
            rule = Rule.of_one(pictures.look(path))
        return _pixels(path, size, rule)[0]
    except FileNotFoundError:
        raise CourseError(f"image file {path} does not exist.") from None
    except Unreadable as reason:
        raise CourseError(
            f"image file {path} cannot be read: {reason}. Expected an undamaged image "
            "in a format that is read (PNG, JPEG, TIFF, BMP ...); repair or remove the "
            "file."
        ) from None


def _pixels(path: Path, size, rule: Rule):
    """(uint8 (size, size, 3), was anything beyond the rule's range?)."""
    image, beyond = rgb(pictures.decode(path, size), rule)
    if size is not None:
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8), beyond


# -- the files of a set -----------------------------------------------------------

TOLD = {  # what a first look finds, in words; the number stands before
    "frames": "with more than one frame or page, of which the first was used",
    "channels": "with channels beyond grey or red, green and blue, which were left out",
    "fourth": "with a fourth channel that is no transparency (it is hardly ever fully "
    "opaque or clear), which was left out; the colours are kept as they are",
    "alpha": "with transparent parts, which were laid over white",
    "cut": "with more than 8 bits a channel, of which their reader keeps the upper 8",
    "long": "more than five times as long as wide, of which only the middle square "
    "counts",
    "beyond": "with values beyond the range, which were cut to black or white",
}


class Reader:
    """Reads the picture files of one set by one rule, and counts what it meets.

    :meth:`look` at all files, :meth:`fit` the rule to those of the training part (a
    given ``rule`` is only extended), :meth:`read`.  Files that cannot be read are an
    error that lists all of them, or with ``skip_unreadable`` are left out by name.
    size: as for :func:`read_image`; a function of (median shorter side of the
    training pictures, their number, that of all) gives the size when these are known.
    max_bytes: of all arrays of the set.
    option: how the caller's user asks for skip_unreadable, for messages.
    """

    def __init__(
        self,
        size: int | Callable[[float, int, int], int],
        skip_unreadable: bool = False,
        value_range: Sequence[float] | None = None,
        rule: Rule | None = None,
        option: str = "skip_unreadable=True",
        max_bytes: int = MAX_BYTES,
    ):
        self.chosen = size if callable(size) else None
        self.size = None if callable(size) else size
        self.skip, self.value_range, self.rule = skip_unreadable, value_range, rule
        self.given, self.option, self.max_bytes = rule, option, max_bytes
        self.looks: dict[Path, object] = {}
        self.names: dict[Path, str] = {}
        self.named: set[str] = set()
        self.bad: dict[str, str] = {}  # {name: why}
        self.missing: dict[str, tuple[str, str]] = {}  # {name: (kind, library)}
        self.beyond: list[str] = []

    def check_memory(self, path, count: int) -> None:
        """CourseError where ``count`` pictures would exceed ``max_bytes``."""
        needed = count * (self.size or 0) ** 2 * 3
        if needed > self.max_bytes:
            raise CourseError(
                f"{path}: {count} images of {self.size}x{self.size} need "
                f"{needed / 1e9:.1f} GB of memory, the limit is "
                f"{self.max_bytes / 1e9:.1f} GB. Use a smaller size, or raise "
                "max_bytes."
            )

    def look(self, files: Sequence[Path], names: Sequence[str]) -> None:
        """Open every file; what cannot be opened is remembered, not raised."""
        for file, name in zip(files, names):
            self.names.setdefault(file, name)
            self.named.add(name)
            if file in self.looks:
                continue
            try:
                self.looks[file] = pictures.look(file)
            except (FileNotFoundError, Unreadable, MissingReader) as error:
                self._remember(name, error)

    def _remember(self, name: str, error: Exception) -> None:
        if isinstance(error, MissingReader):
            self.missing[name] = error.what, error.library
        elif isinstance(error, FileNotFoundError):
            self.bad[name] = "does not exist"
        else:
            self.bad[name] = f"cannot be read: {error}"

    def fit(self, files: Sequence[Path], where: str = "the training part") -> bool:
        """Find the rule on these files; is it another one than before?"""
        looks = [self.looks[file] for file in files if file in self.looks]
        if self.size is None:
            side = np.median([one.side for one in looks]) if looks else 0.0
            self.size = self.chosen(float(side), len(looks), len(self.looks))
        before = self.rule
        if self.given is not None:
            self.rule = self.given.extended(looks)
            return self.rule != before
        self.rule = Rule.found(looks, self.value_range, where)
        others = list(self.looks.values())
        kinds = {one.kind for one in others} - {EIGHT, *self.rule.ranges}
        if kinds or {one.container for one in others if one.fourth is not None} - set(
            self.rule.transparent
        ):
            more = self.rule.extended(others)
            told = (*self.rule.told, *more.told)
            self.rule = replace(more, told=told)
        return self.rule != before

    def read(self, files: Sequence[Path], names: Sequence[str]):
        """(uint8 (n, size, size, 3), rows of ``files`` that these are).

        Raises CourseError that lists every file that cannot be read, unless they are to
        be skipped.
        """
        images = np.empty((len(files), self.size, self.size, 3), dtype=np.uint8)
        kept = []
        for row, (file, name) in enumerate(zip(files, names)):
            if file not in self.looks:
                continue
            try:
                pixels, beyond = _pixels(file, self.size, self.rule)
            except (FileNotFoundError, Unreadable, MissingReader) as error:
                self._remember(name, error)
                continue
            images[len(kept)] = pixels
            kept.append(row)
            if beyond and name not in self.beyond:
                self.beyond.append(name)
        return images[: len(kept)], np.array(kept, dtype=np.int64)

    def check(self, where, root: Path | None = None) -> None:
        """CourseError that lists what could not be read, unless it is to be skipped.

        root: where relative names of a table start.
        """
        if not self.bad or self.skip:
            return
        count, of = len(self.bad), len(self.named)
        gone = all(why == "does not exist" for why in self.bad.values())
        what = "do not exist" if gone else "cannot be read"
        what = what if count > 1 else "does not exist" if gone else "cannot be read"
        lines = [f"  {name} {why}" for name, why in self.bad.items()]
        more = [f"  and {count - SHOWN:,} more"] * (count > SHOWN)
        expected = "undamaged pictures in a format that is read (PNG, JPEG, TIFF ...)"
        do = "repair or remove the files"
        if gone and root is not None:
            expected = f"names of files; a relative one starts at {root}"
            name = next(iter(self.bad))
            file = next(file for file, own in self.names.items() if own == name)
            do = _elsewhere(file, root) or "correct the names, or move table or files"
        raise CourseError(
            f"{where}: {count:,} of {of:,} pictures {what}:\n"
            + "\n".join(lines[:SHOWN] + more)
            + f"\nExpected: {expected}.\nDo: {do}, or go on without them with "
            f"{self.option}."
        )

    def facts(self) -> dict[str, list[str]]:
        """{sort: names of the files}, of all files that were looked at."""
        found: dict[str, list[str]] = {sort: [] for sort in TOLD}
        transparent = self.rule.transparent if self.rule else {}
        for file, one in self.looks.items():
            name = self.names[file]
            if name in self.bad or name in self.missing:
                continue
            for sort in one.facts:
                found[sort].append(name)
            if one.fourth is not None:
                if not transparent.get(one.container, True):
                    found["fourth"].append(name)
                elif one.fourth[0] < one.fourth[2]:
                    found["alpha"].append(name)
        found["beyond"] = [name for name in self.beyond if name not in self.bad]
        return {sort: names for sort, names in found.items() if names}

    def add_left_out(self, left_out: LeftOut) -> None:
        """What was looked at and could not be read, by reason."""
        for name, why in self.bad.items():
            reason = why.removeprefix("cannot be read: ")
            left_out.add(f"unreadable: {reason}", name, True)
        for name, (what, library) in self.missing.items():
            left_out.add(f"{what}, which needs {library} ({INSTALL})", name, True)

    def notes(self) -> list[str]:
        """Sentences: the rule, and what was special about which files."""
        said = list(self.rule.told) if self.rule else []
        for sort, names in self.facts().items():
            said.append(f"Pictures {TOLD[sort]}: {len(names):,} ({listed(names)}).")
        return said


def named_file(root: Path, name: str) -> Path:
    """The file that a table names, also with the backslashes of Windows."""
    file = root / name
    plain = root / name.replace("\\", "/")
    return plain if plain != file and not file.exists() and plain.exists() else file


def _elsewhere(file: Path, root: Path) -> str:
    """What to do where a missing picture lies in a folder below, or has an ending."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir()] if root.is_dir() else []
    for place in dict.fromkeys((file.parent, root, *folders)):
        alike = [place / file.name] if (place / file.name).is_file() else []
        if not file.suffix and place.is_dir():
            alike += [p for p in sorted(place.iterdir()) if p.stem == file.name]
        if alike and alike[0] != file:
            return (
                f"write the names as the files have them ({file.name} may be "
                f"{shown(Path(relpath(alike[0], root)).as_posix())})"
            )
    return ""


# -- folders ----------------------------------------------------------------------


@dataclass
class Folder:
    """A folder of pictures, read: what :func:`read_folder` returns.

    parts: {"train", "test" and perhaps "validation", or "all": ImageDataset}, whose
    metadata ``example`` names each file.  files: {name: path}.  columns: those of a
    table, {"image", "label": name}.
    """

    parts: Mapping[str, ImageDataset]
    files: dict[str, Path]
    reader: Reader
    left_out: LeftOut
    told: list[str]
    columns: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Sentences for terminal, report and model card."""
        return [*self.told, *self.reader.notes(), *self.left_out.sentences()]

    def rescaled(self, cut: Sequence[ImageDataset]) -> list[ImageDataset]:
        """Parts of a split, scaled by the rule that fits the first, the training part.

        Read again only where that is another rule than before.
        """
        where = [[self.files[n] for n in part.metadata["example"]] for part in cut]
        if not self.reader.fit(where[0]):
            return list(cut)
        self.reader.beyond = []
        return [
            replace(part, images=self.reader.read(files, part.metadata["example"])[0])
            for part, files in zip(cut, where)
        ]


def read_own(
    path: str | Path,
    reader: Reader,
    columns: tuple[str | None, str | None] = (None, None),
    reading: tables.Reading | None = None,
) -> Folder:
    """A learner's pictures: a folder, or a table that names them.

    columns: of pictures and labels in a table, None for a usual name.  Errors as
    :func:`read_folder` and :func:`read_table`.
    """
    path = Path(path)
    if path.is_file() or path.suffix.lower() in tables.ENDINGS and not path.is_dir():
        return read_table(path, reader, *columns, reading=reading)
    return read_folder(path, reader, reading=reading)


def read_folder(
    path: str | Path, reader: Reader, reading: tables.Reading | None = None
) -> Folder:
    """A folder with a sub-folder for each class, or with parts of such, read.

    The rule is found on the part "train", or on the whole.  reading: its rule
    settles class folders of near-equal names.  Raises CourseError naming folder or
    files at fault, or when the arrays would exceed the reader's ``max_bytes``.
    """
    found = layout.scan(path, reading=reading)
    root = Path(path)
    name = shown(root.name or root.resolve().name)
    start = f"{name}/" if "all" in found.parts else ""
    entries = {
        part: [(f, label) for label, c in enumerate(classes.values()) for f in c]
        for part, classes in found.parts.items()
    }
    named = {
        part: ([f for f, _ in rows], [start + found.name(f) for f, _ in rows])
        for part, rows in entries.items()
    }
    count = sum(map(len, entries.values()))
    reader.check_memory(path, count)
    for files, names in named.values():
        reader.look(files, names)
    first = next(iter(named))
    where = "the training part" if first == "train" else "the set"
    reader.fit(named[first][0], where)
    classes, data = tuple(found.parts[first]), {}
    for part, (files, names) in named.items():
        images, kept = reader.read(files, names)
        labels = np.array([label for _, label in entries[part]], dtype=np.int64)[kept]
        columns = {"example": np.array(names)[kept]}
        split = "train" if part == "all" else part
        data[part] = ImageDataset(images, labels, classes, name, split, columns)
    reader.check(path)
    _check_classes(data, path)
    reader.add_left_out(found.left_out)
    paths = {n: f for files, names in named.values() for f, n in zip(files, names)}
    return Folder(data, paths, reader, found.left_out, found.notes)


def _check_classes(data: Mapping[str, ImageDataset], path) -> None:
    """CourseError where unreadable files left nothing of a class."""
    for part in data.values():
        empty = [name for name, count in part.counts().items() if not count]
        if empty:
            raise CourseError(
                f"{path}: none of the pictures of {listed(empty)} in the {part.split} "
                "part can be read.\nExpected: some of every class.\nDo: repair the "
                "files, convert them, or remove the class."
            )


def from_folder(
    path: str | Path,
    size: int = 64,
    classes: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    skip_unreadable: bool = False,
    rule: Rule | None = None,
    labels: str = "auto",
) -> ImageDataset:
    """All images of a folder that holds one sub-folder for each class.

    Sub-folder names, sorted, become ``classes`` (give ``classes`` to fix their order,
    for instance for a validation folder).  Images become uint8 (N, size, size, 3);
    pictures of more than 8 bits by one rule that is found on all of them, or by
    ``rule``.  labels: a rule for sub-folders of near-equal names, as "Leak" and "leak"
    (datasets.labels).  Hidden and system files are never data; what is left out is told
    in a warning, with count and names.  Raises CourseError that names the files or
    folder at fault (``skip_unreadable`` goes on without damaged files), or when the
    arrays would exceed ``max_bytes``.
    """
    reading = tables.Reading(labels=labels, option="{}={!r}".format)
    found = layout.scan(path, split=False, reading=reading)
    members = found.parts["all"]
    classes = tuple(members) if classes is None else tuple(map(str, classes))
    for name in classes:
        if name not in members:
            raise CourseError(
                f"{Path(path)} has no sub-folder {name!r}; it has {sorted(members)}."
            )
    for name in sorted(set(members) - set(classes)):
        text = f"{name} ({len(members[name]):,} pictures)"
        found.left_out.add("folders that are not among the classes asked for", text)
    files = [file for name in classes for file in members[name]]
    numbers = np.repeat(range(len(classes)), [len(members[name]) for name in classes])
    reader = Reader(size, skip_unreadable, rule=rule, max_bytes=max_bytes)
    reader.check_memory(path, len(files))
    names = [found.name(file) for file in files]
    reader.look(files, names)
    reader.fit(files, "the set")
    images, kept = reader.read(files, names)
    reader.check(path)
    reader.add_left_out(found.left_out)
    metadata = {"file": np.array([files[row].name for row in kept], dtype=str)}
    tell([*found.notes, *reader.notes(), *found.left_out.sentences()])
    name = Path(path).name
    data = ImageDataset(images, numbers[kept], classes, name, metadata=metadata)
    _check_classes({"train": data}, path)
    return data


@dataclass(frozen=True)
class Unlabelled:
    """Pictures of which no label was read: what :func:`read_unlabelled` returns.

    names (N,): below the folder; images: uint8 (N, size, size, 3); notes: sentences on
    what is special and what was left out; skipped: pictures that could not be read.
    """

    names: list[str]
    images: np.ndarray
    notes: list[str]
    skipped: int


def read_unlabelled(path: str | Path, reader: Reader) -> Unlabelled:
    """All pictures of a folder and the folders below it, or a single picture.

    The rule is found on these pictures, unless the reader has one already.  Raises
    CourseError for a path that does not exist, pictures that cannot be read and are not
    to be skipped, and a folder without a picture.
    """
    path, left_out = Path(path), LeftOut()
    if not path.exists():
        raise CourseError(
            f"The data {path} do not exist.\nExpected: a picture, or a folder of "
            "pictures.\nDo: check the path."
        )
    files = layout.files_below(path, left_out) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    names = [shown(file.relative_to(root).as_posix()) for file in files]
    reader.look(files, names)
    reader.fit(files, "the set")
    reader.check_memory(path, len(files))
    images, kept = reader.read(files, names)
    reader.check(path)
    reader.add_left_out(left_out)
    if not len(kept):
        said = "".join(f"\n{sentence}" for sentence in left_out.sentences())
        raise CourseError(
            f"{path} holds no picture that can be read.{said}\nExpected: image files.\n"
            "Do: name another folder."
        )
    notes = [*reader.notes(), *left_out.sentences()]
    return Unlabelled([names[i] for i in kept], images, notes, len(files) - len(kept))


# -- tables -----------------------------------------------------------------------


def from_csv(
    path: str | Path,
    image_column: str | None = "image",
    label_column: str | None = "label",
    root: str | Path | None = None,
    size: int = 64,
    classes: Sequence[str] | None = None,
    skip_unreadable: bool = False,
    reading: tables.Reading | None = None,
) -> ImageDataset:
    """Images named by a table: one row an image, with its file and its label.

    path: CSV and its relatives, Excel, Parquet or JSON lines.  Image paths are relative
    to ``root`` (default: the folder of the table); the other columns become metadata
    (text).  A column that is None is looked for under usual names.  Files are read as
    by :func:`from_folder`; for other squares or more memory see :func:`read_table`.
    What was merged or left out is a warning.  Raises CourseError naming the rows,
    column or files at fault.
    """
    reader = Reader(size, skip_unreadable=skip_unreadable)
    found = read_table(path, reader, image_column, label_column, root, classes, reading)
    tell(found.notes())
    data = found.parts["all"]
    columns = {k: v for k, v in data.metadata.items() if k != "example"}
    return replace(data, metadata=columns)


def read_table(
    path: str | Path,
    reader: Reader,
    image_column: str | None = None,
    label_column: str | None = None,
    root: str | Path | None = None,
    classes: Sequence[str] | None = None,
    reading: tables.Reading | None = None,
) -> Folder:
    """Images named by a table, read as a :class:`Folder` with the part "all".

    Options and errors as :func:`from_csv`; metadata: the other columns, and ``example``
    with what the image column holds.
    """
    found = tables.examples(path, "image", image_column, label_column, classes, reading)
    path, examples = found.table.path, found.inputs
    root = path.parent if root is None else Path(root)
    reader.check_memory(path, len(examples))
    files = [named_file(root, example) for example in examples]
    rows = zip(found.table.names(), examples)
    names = [f"{row}: {example}" for row, example in rows]
    reader.look(files, names)
    reader.fit(files, "the set")
    images, kept = reader.read(files, names)
    reader.check(path, root)
    columns = {found.columns["image"]: np.array(examples)} | found.metadata()
    columns = {name: values[kept] for name, values in columns.items()}
    columns["example"] = np.array(examples)[kept]
    classes = tuple(found.classes)
    data = ImageDataset(
        images, found.labels[kept], classes, path.stem, "train", columns
    )
    _check_classes({"all": data}, path)
    left_out = LeftOut()
    reader.add_left_out(left_out)
    paths = dict(zip(examples, files))
    told = found.notes
    return Folder({"all": data}, paths, reader, left_out, told, found.columns)
