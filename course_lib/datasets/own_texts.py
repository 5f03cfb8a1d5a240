"""A learner's own examples: are they pictures or texts, and the texts, read.

Pictures are read in :mod:`image_files`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from course_lib.datasets import delimited, layout, tables
from course_lib.datasets.messages import listed
from course_lib.datasets.texts import TextDataset, from_examples
from course_lib.errors import CourseError


@dataclass
class OwnTexts:
    """Texts, read: what :func:`read_own_texts` returns.

    parts: {"train", "test" and perhaps "validation", or "all": TextDataset}, whose
    metadata ``example`` names each text.  columns: those of a table.
    """

    parts: Mapping[str, TextDataset]
    told: list[str]
    columns: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Sentences for terminal and report."""
        return self.told


def read_own_texts(
    path: str | Path,
    columns: tuple[str | None, str | None] = (None, None),
    reading: tables.Reading | None = None,
) -> OwnTexts:
    """A learner's texts: a table, or a folder with a text file for each example.

    columns: of texts and labels in a table, None for a usual name.  Raises CourseError
    as :func:`tables.examples` and :func:`layout.scan`, and for a file that is no text.
    """
    path = Path(path)
    if not path.is_dir():
        found = tables.examples(path, "text", *columns, reading=reading)
        data = from_examples(found)
        names = {"example": np.array(found.table.names())}
        data = replace(data, metadata={**data.metadata, **names})
        return OwnTexts({"all": data}, found.notes, found.columns)
    return _folder(path, reading or tables.Reading())


def _folder(root: Path, reading: tables.Reading) -> OwnTexts:
    found = layout.scan(root, reading=reading, sort=layout.TEXTS)
    classes = tuple(found.classes)
    parts, doubtful, empty = {}, [], []
    for part, members in found.parts.items():
        texts, labels, names = [], [], []
        for label, files in enumerate(members.values()):
            for file in files:
                content, said = delimited.decoded(
                    file.read_bytes(), file, reading.encoding, reading.option
                )
                doubtful += [found.name(file)] * bool(said)
                if not content.strip(tables.HIDDEN):
                    empty.append(found.name(file))
                    continue
                texts.append(content)
                labels.append(label)
                names.append(found.name(file))
        split = "train" if part == "all" else part
        where = root.name or root.resolve().name
        parts[part] = TextDataset(
            texts,
            np.array(labels, dtype=np.int64),
            classes,
            where,
            split,
            {"example": np.array(names)},
        )
    if empty and not reading.skip_empty:
        raise CourseError(
            f"{root}: {len(empty)} text files hold nothing: {listed(empty)}.\n"
            "Expected: a text in every file.\nDo: fill or remove them, or leave them "
            f"out with {reading.option('skip_empty', 'True')}."
        )
    notes = [*found.notes, *found.left_out.sentences()]
    if doubtful:
        notes.append(
            f"Texts that are not UTF-8 and were read as cp1252 or with the encoding "
            f"that was given: {len(doubtful)} ({listed(doubtful)})."
        )
    if empty:
        notes.append(f"Text files that hold nothing, left out: {listed(empty)}.")
    return OwnTexts(parts, notes)


def held(
    path: str | Path,
    columns: Mapping[str, str | None],
    reading: tables.Reading | None = None,
) -> str:
    """Does a folder or table hold "images" or "texts"?  By names, else by content.

    columns: {"text", "image": column that was named, or None}.  A folder holds what
    most of its files are; a table, what :func:`tables.inputs_of` says, and texts where
    it finds neither.
    """
    path = Path(path)
    if path.is_dir():
        left_out = layout.LeftOut()
        pictures = len(layout.files_below(path, left_out, layout.PICTURES))
        texts = len(layout.files_below(path, left_out, layout.TEXTS))
        return "texts" if texts > pictures else "images"
    named = [kind for kind in ("text", "image") if columns.get(kind)]
    if named:
        return named[0] + "s"
    if not path.exists() and path.suffix.lower() not in tables.ENDINGS:
        return "images"  # whose reader says what is missing
    try:
        return "images" if tables.inputs_of(path, reading) == "images" else "texts"
    except CourseError:  # whose reader says it with the options of its command
        return "texts"
