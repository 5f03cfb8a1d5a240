"""Labelled texts: tickets, reports, a learner's own CSV.

A :class:`TextDataset` is to strings what an ImageDataset is to pictures: same labels,
same samples and splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from course_lib.datasets import tables
from course_lib.datasets.labelled import Labelled, check_labels
from course_lib.datasets.messages import tell
from course_lib.errors import CourseError


@dataclass(frozen=True, eq=False)
class TextDataset(Labelled):
    """Texts of one split with their labels; behaves like a torch map-style dataset.

    texts: N strings.  labels: int64 (N,), indices into ``classes``.  metadata:
    optional columns of length N.  Raises CourseError when types or labels do not fit.
    """

    holds = "texts"
    texts: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "texts"
    split: str = "train"
    metadata: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        wrong = next((t for t in self.texts if not isinstance(t, str)), None)
        if isinstance(self.texts, str) or wrong is not None:
            raise CourseError(
                f"data set {self.name!r} ({self.split}): expected a sequence of "
                f"strings, one for each example, found {type(wrong).__name__}."
            )
        object.__setattr__(self, "texts", tuple(self.texts))
        check_labels(self)

    def __repr__(self) -> str:
        return (
            f"TextDataset({self.name!r}, {self.split!r}: {len(self)} texts, "
            f"{len(self.classes)} classes)"
        )


def texts_from_csv(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    split: str = "train",
    reading: tables.Reading | None = None,
) -> TextDataset:
    """Texts and labels from a table with a header line; other columns are metadata.

    path: CSV and its relatives, Excel, Parquet or JSON lines.  text_column,
    label_column: None looks for "text", "label" and other usual names.  What was left
    out or merged on the way is a warning.  Raises CourseError naming the rows or
    columns at fault, and for fewer than two classes.
    """
    found = tables.examples(path, "text", text_column, label_column, classes, reading)
    tell(found.notes)
    return from_examples(found, split)


def from_examples(found: tables.Examples, split: str = "train") -> TextDataset:
    """The data set of what :func:`tables.examples` read."""
    name = found.table.path.stem
    return TextDataset(
        found.inputs, found.labels, tuple(found.classes), name, split, found.metadata()
    )
