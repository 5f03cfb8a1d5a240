"""Collect submissions from a folder, such as the one a learning platform exports.

``STUDENT.ipynb``, ``STUDENT_08_lora.ipynb``, ``STUDENT/anything.ipynb``, or a zip of
either become ``submitted/STUDENT/08_lora/08_lora.ipynb``.  Nothing else is unpacked: no
paths from archives are used, and nothing is read beyond the size of a notebook.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes
from course_lib.grading import submission
from course_lib.grading.classroom import STUDENT

MAX_MEMBERS = 2000


@dataclass(frozen=True)
class Collected:
    """What became of one file: the student, and why it was left out, if it was."""

    student: str
    source: str
    problem: str = ""


def student_of(name: str, lesson: str) -> str:
    """The student of a file or folder name: without suffix and without the lesson."""
    stem = name.removesuffix(".zip").removesuffix(".ipynb")
    for ending in (f"_{lesson}", f"-{lesson}"):
        stem = stem.removesuffix(ending)
    return stem


def collect(lesson: str, folder: Path, to: Path | None = None) -> list[Collected]:
    """Copy each student's notebook to ``submitted/``; what was found, by name.

    A file that cannot be read is kept as it is where it is a plain file, so that it
    gets its record; links, devices, giants and bombs leave an empty file in its place.
    Raises CourseError when there is no such folder.
    """
    if not folder.is_dir():
        raise CourseError(
            f"{folder} is no folder.\nExpected: a folder of notebooks or zip files, "
            "named by student.\nDo: give it with --from."
        )
    to = to or paths.ROOT / "submitted"
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        for student, content, problem in _contents(entry, lesson):
            if not STUDENT.fullmatch(student) or student in (".", ".."):
                found.append(Collected(student[:100], entry.name, "no plain name"))
                continue
            target = to / student / lesson / f"{lesson}.ipynb"
            atomic_write_bytes(target, content)
            found.append(Collected(student, entry.name, problem))
    return found


def _contents(entry: os.DirEntry, lesson: str):
    """Yield (student, bytes, problem) of one entry of the folder."""
    name = entry.name
    try:
        if entry.is_symlink():
            yield student_of(name, lesson), b"", "a link"
        elif entry.is_dir():
            pages = sorted(Path(entry.path).glob("*.ipynb"))
            exact = [p for p in pages if p.stem == lesson]
            content = submission.read((exact or pages)[0]) if pages else b""
            yield name, content, "" if pages else "no notebook in the folder"
        elif name.endswith(".ipynb"):
            yield student_of(name, lesson), submission.read(entry.path), ""
        elif name.endswith(".zip"):
            yield from _unpacked(Path(entry.path), lesson)
    except submission.Unreadable as error:
        yield student_of(name, lesson), b"", str(error)


def _unpacked(path: Path, lesson: str):
    """Notebooks of an archive: of one student, or of many named by file or folder."""
    own = student_of(path.name, lesson)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                yield own, b"", f"the archive has more than {MAX_MEMBERS} members"
                return
            pages = [m for m in members if m.filename.endswith(".ipynb")]
            pages = [m for m in pages if not (m.external_attr >> 28) == 0xA]  # links
            if not pages:
                yield own, b"", "no notebook in the archive"
            for member in pages:
                student = own
                if len(pages) > 1:  # many students: the folder's name, or the file's
                    parts = member.filename.split("/")
                    name = parts[-2] if len(parts) > 1 else parts[-1]
                    student = student_of(name, lesson)
                with archive.open(member) as stream:  # stops at the limit, whatever
                    content = stream.read(submission.MAX_BYTES + 1)  # the header says
                if len(content) > submission.MAX_BYTES:
                    yield student, b"", "the notebook unpacks to more than 20 MB"
                else:
                    yield student, content, ""
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        OSError,
        ValueError,
        NotImplementedError,
        EOFError,
    ) as error:
        yield own, b"", f"a damaged archive ({type(error).__name__})"
