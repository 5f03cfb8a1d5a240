"""What a trained model says of a learner's pictures and texts: `course predict`.

    found = prediction.answers("trained", "new_images")
    found.names, found.probabilities  # (N, K)

Pictures, tables and texts are read as for training (:mod:`course_lib.datasets`), and
pictures become 8 bits by the rule that the model was trained with.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from course_lib import datasets
from course_lib.datasets import delimited, layout, tables
from course_lib.datasets.image_files import named_file
from course_lib.datasets.layout import LeftOut
from course_lib.datasets.scaling import Rule
from course_lib.errors import CourseError
from course_lib.jobs.exported import load
from course_lib.models import text as text_models


@dataclass(frozen=True)
class Answers:
    """What a model says of a learner's examples.

    names (N,), probabilities (N, K).  notes: sentences on what was done to the examples
    and what was left out.  left_out: how many pictures have no answer.
    """

    names: list[str]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    notes: list[str]
    left_out: int = 0


def answers(
    folder: str | Path,
    data: str | Path,
    column: str | None = None,
    skip_unreadable: bool = False,
    reading: tables.Reading | None = None,
) -> Answers:
    """Answers for images or texts as people have them.

    data: an image file, a folder of images (with or without sub-folders), a table with
    a column of images or texts (``column``; by default the one that the model was
    trained on, else a usual name), or a .txt file with a text a line.  Pictures are
    scaled as in training.  reading: how a table is read.  Raises CourseError that names
    everything that cannot be read; with ``skip_unreadable`` such pictures are left out
    and named.
    """
    model, path = load(folder), Path(data)
    if not path.exists():
        raise CourseError(
            f"The data {path} do not exist.\nExpected: an image, a folder of images, a "
            "table or a .txt file.\nDo: check the path (--data)."
        )
    reading = reading or tables.Reading()
    kind = "text" if model.backbone.kind == "text" else "image"
    trained_on = (model.about.get("columns") or {}).get(kind)
    rows = partial(_rows, kind, column, trained_on, reading)
    if kind == "text":
        names, examples, notes, empty = _texts(path, rows, reading)
        notes = [*notes, *_cut(model.backbone, examples)]
        P = model.predict(examples)
        return Answers(names, P, model.classes, notes, empty)
    reader = datasets.Reader(
        model.about["image_size"],
        skip_unreadable=skip_unreadable,
        rule=Rule.from_dict(model.about.get("pictures")),
        option="--skip-unreadable",
    )
    names, images, left_out, said, empty = _images(path, rows, reader)
    notes = [*said, *reader.notes(), *left_out.sentences()]
    P = model.predict(images)
    return Answers(names, P, model.classes, notes, left_out.pictures + empty)


def _rows(kind, column, trained_on, reading, path) -> tuple[list, list, list, int]:
    """(names of the rows, texts or pictures, notes, rows left out) of a table."""
    usual = tables.TEXT if kind == "text" else tables.IMAGE
    usual = (trained_on, *usual) if trained_on else usual
    table = tables.read(path, [column] if column else usual, reading)
    found = table.column(f"{kind}_column", column, usual)
    table = table.complete([found])
    return table.names(), table[found], table.notes, table.left_out


def _texts(path: Path, rows, reading) -> tuple[list, list, list, int]:
    """(names, texts, notes, rows left out) of a table or a .txt file."""
    if path.is_dir() or path.suffix.lower() not in (*tables.ENDINGS, ".txt"):
        raise CourseError(
            f"{path} holds no texts.\nExpected: a table with a column of texts "
            f"({', '.join(tables.ENDINGS)}), or a .txt file with a text a line.\n"
            "Do: write the texts into one of these."
        )
    if path.suffix.lower() != ".txt":
        return rows(path)
    text, notes = delimited.decoded(
        path.read_bytes(), path, reading.encoding, reading.option
    )
    lines = delimited.split_lines(text)
    numbered = [(f"line {i + 1}", line) for i, line in enumerate(lines) if line.strip()]
    if not numbered:
        raise CourseError(
            f"{path} holds no text.\nExpected: a text a line.\nDo: check the file."
        )
    if len(numbered) < len(lines):
        notes.append(f"Empty lines passed over: {len(lines) - len(numbered)}.")
    names, texts = zip(*numbered)
    return list(names), list(texts), notes, 0


def _cut(backbone, texts) -> list[str]:
    """How many of these texts are longer than what the model reads, if any."""
    most = backbone.preprocess.max_length
    lengths = text_models.token_lengths(backbone, texts)
    cut, words = text_models.cut_share(lengths, most)
    if not cut:
        return []
    return [
        f"{words} are longer than the {most} tokens that this model reads: their end "
        "was cut."
    ]


def _images(path: Path, rows, reader):
    """(names, uint8 images (N, size, size, 3), left out, notes, rows without one)."""
    left_out, notes, empty, root = LeftOut(), [], 0, None
    if path.is_dir():
        files = layout.files_below(path, left_out)
        names = [layout.shown(file.relative_to(path).as_posix()) for file in files]
    elif path.suffix.lower() in tables.ENDINGS:
        _, names, notes, empty = rows(path)
        names = [name.strip() for name in names]
        files, root = [named_file(path.parent, name) for name in names], path.parent
    else:
        files, names = [path], [layout.shown(path.name)]
    reader.look(files, names)
    reader.fit(files)
    images, kept = reader.read(files, names)
    reader.check(path, root)
    reader.add_left_out(left_out)
    if not len(kept):
        said = "".join(f"\n{sentence}" for sentence in left_out.sentences())
        raise CourseError(
            f"{path} holds no image that can be read.{said}\nExpected: image files.\n"
            "Do: name another folder."
        )
    return [names[row] for row in kept], images, left_out, notes, empty
