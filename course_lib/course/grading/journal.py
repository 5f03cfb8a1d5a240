"""Records of what was graded, kept in ``grading/NN_name/`` and found again.

Each is written whole or not at all, and named by a digest of everything that it depends
on.
"""

from collections.abc import Iterable
from pathlib import Path

from course_lib import files, paths
from course_lib.course.grading import grade


class Journal:
    """The records of one lesson's class and the secret of its hidden inputs."""

    def __init__(
        self, lesson: str, folder: Path | None = None, ignored: Iterable[str] = ()
    ):
        """``ignored``: students whose records count as not there."""
        self.folder = (folder or paths.ROOT / "grading") / lesson
        self.lesson, self.ignored = lesson, frozenset(ignored)

    def secret(self) -> str:
        """The class's secret; drawn the first time, then kept."""
        path = self.folder / "secret.json"
        if not path.exists():
            files.atomic_write_json(path, {"secret": grade.new_secret()})
        return files.read_json(path)["secret"]

    def path(self, student: str) -> Path:
        """The file of one student's record."""
        return self.folder / "records" / f"{student}.json"

    def find(self, student: str, digest: str) -> dict | None:
        """The record made from exactly this; None when there is none."""
        if student in self.ignored:
            return None
        record = files.stored_json(self.path(student))
        same = record.get("digest") == digest
        return record if same and record["outcome"] != grade.BROKEN else None

    def write(self, student: str, record: dict) -> None:
        """Keep a record: whole, or as it was before."""
        files.atomic_write_json(self.path(student), record)
