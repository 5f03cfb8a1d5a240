"""A learner's own data for a training job: read, split, and the split recorded.

A folder with a sub-folder for each class, a folder with train, validation and test
sub-folders, or a CSV file that names images or holds texts.  Equal examples, and those
that a column of the learner keeps together, stay on one side of every split: what is
tested on has not been trained on.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from course_lib import datasets
from course_lib.datasets import tables
from course_lib.datasets.grouped_split import dealt
from course_lib.datasets.labelled import Labelled, joined
from course_lib.datasets.messages import listed
from course_lib.datasets.near_duplicates import digests, merged
from course_lib.errors import CourseError

NAMES = ("train", "validation", "test")
LEAST = 3  # different examples of a class: one for each part
MOST_GROUPS = 20  # values of a column in the subgroup table


@dataclass(frozen=True)
class Parts:
    """Training, validation and test data, and what was done to get them.

    notes: sentences for the report.  key: sha256 of everything that was read.
    pictures: how pictures became 8 bits, as model.json holds it; None for texts.
    columns: {"text" or "image", "label": column of the table}, empty for a folder.
    size: pixels a side of pictures that were read from files.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    name: str
    notes: tuple[str, ...]
    key: str
    pictures: dict | None = None
    columns: dict[str, str] = field(default_factory=dict)
    size: int | None = None

    def __iter__(self):
        return iter((self.train, self.validation, self.test))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    def counts(self) -> dict[str, dict[str, int]]:
        """Examples of each class in each part."""
        named = zip(NAMES, self)
        return {name: part.counts() for name, part in named}

    def rows(self) -> list[tuple[str, str, str]]:
        """(part, example, label) of each example: where it is, under which name."""
        return [
            (part, str(name), data.classes[label])
            for part, data in zip(NAMES, self)
            for name, label in zip(data.metadata["example"], data.labels)
        ]


def task_of(path: str | Path) -> str:
    """ "images" for a folder, and "images" or "text" for a table by what it holds.

    Raises CourseError for data that do not exist and for a table of neither.
    """
    path = Path(path)
    _check_there(path)
    return "images" if path.is_dir() else tables.inputs_of(path)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise CourseError(
            f"The data {path} do not exist.\nExpected: a folder with a sub-folder for "
            "each class, or a table (CSV, Excel, Parquet, JSON lines).\nDo: check the "
            "path (--data)."
        )


def read(
    path: str | Path,
    config,
    size: int | Callable | None = None,
    skip_unreadable: bool = False,
) -> Parts:
    """The parts of a folder or table, as the configuration asks for.

    size: pixels a side of images, or a training.picture_size.SizeRule that is asked
    when the pictures' own sizes are known.  skip_unreadable: go on without pictures
    that cannot be read, and name them.  Raises CourseError that names the files, row,
    column or class at fault.
    """
    path = Path(path)
    _check_there(path)
    if config.task != "images":
        found = _texts(path, config)
        parts = _cut(found.parts["all"], None, path, config)
        notes = (*found.notes(), *parts.notes)
        return replace(parts, notes=notes, columns=found.columns)
    reader = datasets.Reader(
        size,
        skip_unreadable=skip_unreadable,
        value_range=config.value_range,
        option="--skip-unreadable",
    )
    columns = config.image_column, config.label_column
    found = datasets.read_own(path, reader, columns, reading(config))
    return _cut(found.parts.get("all"), found, path, config)


def _cut(whole, found, path: Path, config) -> Parts:
    """Data in three parts: split here, or as their folder gives them.

    whole: not split yet, or None.  found: datasets.image_files.Folder, None for texts.
    """
    given = None
    if whole is None:
        given = _given(found.parts, config)
        whole = joined(given)
    digest = digests(whole)
    notes = []
    if clash := _clashes(whole, digest):
        named = listed(whole.metadata["example"][clash])
        notes.append(
            f"Examples equal to another one with a different label: {len(clash)} "
            f"({named}). At least one label of each such pair is wrong."
        )
    if given is not None:
        cut = _without_shared(given, notes)
    else:
        groups = _kept_together(whole, digest, config, notes)
        _check_classes(whole, digest, found.reader.rule.told if found else ())
        cut = split(whole, config.split, groups, config.seed)
    if found is None:
        return _finished(cut, path.stem, notes, config)
    cut = found.rescaled(cut)
    parts = _finished(cut, path.stem, [*found.notes(), *notes], config)
    rule = found.reader.rule.to_dict()
    size = found.reader.size
    return replace(parts, pictures=rule, columns=found.columns, size=size)


def _finished(cut, name, notes, config) -> Parts:
    """Parts with their names and groups, none without a class."""
    cut = [_with_groups(part, config) for part in cut]
    cut = [replace(part, split=split) for part, split in zip(cut, NAMES)]
    for part in cut:
        _check_part(part, name)
    return Parts(*cut, name, tuple(notes), _key(cut))


def from_parts(train, validation, test, config) -> Parts:
    """Parts of three data sets that are at hand, checked as those of a folder.

    Raises CourseError on data sets of different classes or kinds.
    """
    parts = (train, validation, test)
    if len({(part.holds, part.classes) for part in parts}) > 1:
        raise CourseError(
            "The three data sets have different classes or kinds.\nExpected: the same "
            "classes, in the same order, in all.\nDo: load each with classes=..."
        )
    if (train.holds == "images") != (config.task == "images"):
        raise config.error(
            "task", f"is {config.task}, and the data are {train.holds}",
            "the task that belongs to the data", "change task",
        )  # fmt: skip
    named = []
    for name, part in zip(NAMES, parts):
        examples = part.metadata.get("example")
        if examples is None:
            examples = np.array([f"{name} {i}" for i in range(len(part))])
        columns = {**part.metadata, "example": examples}
        named.append(replace(part, split=name, metadata=columns))
    notes: list[str] = []
    return _finished(_without_shared(named, notes), train.name, notes, config)


def split(data, fractions: Sequence[float], groups, seed: int = 0) -> list:
    """Stratified parts of ``data``; rows of one group stay together.

    fractions: shares of the parts, which sum to 1.  groups (N,): equal numbers go to
    one part.  Groups are dealt in a random order, the largest first, to the part that
    lacks most of the group's classes, so that every class comes near to the fractions.
    Raises CourseError when a class would be missing in a part.
    """
    parts = dealt(data.labels, groups, fractions, seed)
    return [data.subset(np.flatnonzero(parts == k)) for k in range(len(fractions))]


# -- reading ----------------------------------------------------------------------


def _given(parts, config):
    """[train, validation, test] of a folder that is split already."""
    named = dict(parts)
    if "validation" not in named:
        train = named["train"]
        share = config.split[1] / (config.split[0] + config.split[1])
        same = np.unique(digests(train), return_inverse=True)[1]
        named["train"], named["validation"] = split(
            train, (1 - share, share), same, config.seed
        )
    if config.together is not None:
        _column(named["train"], config.together, config, "together")  # has none: raises
    return [replace(named[part], split=part) for part in NAMES]


def _texts(path: Path, config) -> datasets.OwnTexts:
    if path.is_dir():
        raise CourseError(
            f"{path} is a folder, and the task is text.\nExpected: a table with a "
            f"column {config.text_column or 'text'!r} and one "
            f"{config.label_column or 'label'!r}.\nDo: write the texts into a CSV "
            "file, name it with --data, or set task: images."
        )
    columns = config.text_column, config.label_column
    return datasets.read_own_texts(path, columns, reading(config))


def reading(config) -> tables.Reading:
    """How the configuration wants a table to be read, in words of its file."""

    def option(key, value):
        return f"`{key}: {value.lower() if value == 'True' else value}` in {where}"

    where = "the configuration" if config.where == "configuration" else config.where
    return tables.Reading(
        encoding=config.encoding,
        sheet=config.sheet,
        skip_empty=config.skip_empty,
        labels=config.labels,
        option=option,
    )


# -- equal examples and groups ----------------------------------------------------


def _clashes(data, digest) -> list[int]:
    """Rows of examples that are equal to one with another label."""
    labels: dict = {}
    for one, label in zip(digest, data.labels):
        labels.setdefault(one, set()).add(int(label))
    return [row for row, one in enumerate(digest) if len(labels[one]) > 1]


def _kept_together(data, digest, config, notes) -> np.ndarray:
    """A number for each example: equal ones go to one part of the split."""
    first = np.unique(digest, return_index=True)[1]
    copies = np.setdiff1d(np.arange(len(digest)), first)
    if len(copies):
        named = listed(data.metadata["example"][copies])
        notes.append(
            f"Examples that are exact copies of others: {len(copies)} ({named}). "
            "Copies were kept in one part, so that none is tested on that was trained "
            "on."
        )
    group = np.unique(digest, return_inverse=True)[1]
    if config.together is None:
        return group
    column = _column(data, config.together, config, "together")
    number = np.unique(column, return_inverse=True)[1]
    joined = merged(group, number)
    values = len(np.unique(column))
    notes.append(
        f"Examples of one value of {config.together!r} ({values} values) were kept in "
        "one part."
    )
    return joined


def _column(data, name, config, key):
    if name not in data.metadata or name == "example":
        columns = [c for c in data.metadata if c != "example"]
        raise config.error(
            key,
            f"names the column {name!r}, which the data do not have",
            f"one of {', '.join(columns)}"
            if columns
            else "columns of a table; a folder of images has none",
            "correct the name, or remove it",
        )
    return data.metadata[name]


def _with_groups(data, config):
    """Metadata: the names of the examples, and the columns that are compared."""
    columns = {name: _column(data, name, config, "groups") for name in config.groups}
    for name, values in columns.items():
        if len(np.unique(values)) > MOST_GROUPS:
            raise config.error(
                "groups",
                f"names {name!r}, which has {len(np.unique(values))} different values",
                f"a column of at most {MOST_GROUPS}",
                "leave it out, or write it in coarser steps",
            )
    return replace(data, metadata={"example": data.metadata["example"], **columns})


def _without_shared(parts, notes):
    """Given parts; what stands in a later part is taken out of the earlier ones."""
    kept, held_out = [], np.empty(0, dtype="U32")
    for part in reversed(parts):
        own = digests(part)
        shared = np.isin(own, held_out)
        if shared.any():
            notes.append(
                f"Examples of the {part.split} part that also stand in a later part, "
                f"and were left out: {shared.sum()} "
                f"({listed(part.metadata['example'][shared])})."
            )
        kept.append(part.subset(np.flatnonzero(~shared)))
        held_out = np.concatenate([held_out, own])
    return kept[::-1]


def _check_classes(data, digest, told=()) -> None:
    """CourseError for classes of too few examples.  told: how pictures were scaled,
    which may have made them equal."""
    pairs = set(zip(data.labels.tolist(), digest.tolist()))
    different = np.bincount([label for label, _ in pairs], minlength=len(data.classes))
    rare = [k for k, n in enumerate(different) if n < LEAST]
    if not rare:
        return
    first = rare[0]
    others = [f"{data.classes[k]!r} {different[k]}" for k in rare[1:]]
    also = f"; too few also of: {listed(others)}" if others else ""
    many = len(data.classes) > len(data) / LEAST
    hint = " Labels that are numbers or free text are no classes." if many else ""
    raise CourseError(
        f"Class {data.classes[first]!r} of {data.name!r} has {different[first]} "
        f"different {data.holds}{also} ({len(rare)} of {len(data.classes)} classes)."
        + "".join(f"\n{sentence}" for sentence in told)
        + f"\nExpected: {LEAST} or more, better 20: some to train on, to choose by and "
        f"to test on.{hint}\nDo: add examples, remove or join these classes, or "
        "correct their spelling."
    )


def _check_part(part, path) -> None:
    empty = [name for name, count in part.counts().items() if not count]
    if empty:
        raise CourseError(
            f"{path}: the {part.split} part has no example of class {empty[0]!r}.\n"
            "Expected: every class in training, validation and test.\nDo: add examples "
            "of it, change `split` or `seed`, or keep fewer together."
        )


def _key(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for one in digests_exact(part):
            digest.update(one)
        digest.update(part.labels.tobytes())
        columns = {k: v.tolist() for k, v in sorted(part.metadata.items())}
        digest.update(repr((part.classes, columns)).encode())
    return digest.hexdigest()


def digests_exact(data):
    """Hashes of the examples as they are."""
    for one in getattr(data, data.holds):
        content = one.encode() if isinstance(one, str) else one.tobytes()
        yield hashlib.blake2b(content, digest_size=16).digest()
