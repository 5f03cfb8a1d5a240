"""Collecting from nbgrader's exchange folder, into which every learner can write.

nbgrader's own step copies whole folders and follows the links in them: a link to the
solution would be collected as an answer.  One folder with an odd name would stop it for
the whole class.  This one takes the notebook alone, and leaves odd names out.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import parse_utc

from course_lib.files import atomic_write_bytes
from course_lib.grading import submission
from course_lib.grading.collect import Collected
from course_lib.grading.identity import STUDENT


class SafeCollect(ExchangeCollect):
    """nbgrader's Collect, for folders that may be hostile.

    Of several submissions of one student the newest counts, but one that the student
    owns comes before any that somebody else put there under that name.
    """

    def init_src(self):
        """Find one folder for each student; `collected` says what was left out."""
        if not self.coursedir.course_id:
            self.fail("No course id specified. Re-run with --course flag.")
        self.inbound_path = os.path.join(self.root, self.coursedir.course_id, "inbound")
        if not os.path.isdir(self.inbound_path):
            self.fail(f"Course not found: {self.inbound_path}")
        self.collected: list[Collected] = []
        best = {}
        for entry in sorted(os.scandir(self.inbound_path), key=lambda e: e.name):
            student, *rest = entry.name.split("+")
            if not rest or rest[0] != self.coursedir.assignment_id:
                continue
            record = self._record(entry, student, rest)
            if record is None:
                problem = "no folder of the form STUDENT+EXERCISE+TIME"
                self.collected.append(Collected(student[:100], entry.name, problem))
                continue
            known = best.get(student)
            if known is None or self._rank(record) > self._rank(known):
                best[student] = record
        self.src_records = list(best.values())

    def _record(self, entry: os.DirEntry, student: str, rest: list[str]):
        """What is known of a folder by its name; None when it is none of ours."""
        wanted = self.coursedir.student_id
        if wanted not in ("", "*", student) or not STUDENT.fullmatch(student):
            return None
        try:
            when = parse_utc(rest[1])
            if not entry.is_dir(follow_symlinks=False):
                return None
        except (IndexError, ValueError, OverflowError, OSError):
            return None
        return {"username": student, "filename": entry.name, "timestamp": when}

    def _rank(self, record: dict):
        """Own work before foreign, newer before older."""
        is_own = self._owner(record["filename"]) in (record["username"], None)
        return is_own, record["timestamp"]

    def _owner(self, filename: str) -> str | None:
        """Name of the folder's owner; None where it is not known or not asked for."""
        if not self.check_owner:
            return None
        try:
            import pwd

            status = os.lstat(os.path.join(self.inbound_path, filename))
            return pwd.getpwuid(status.st_uid).pw_name
        except (ImportError, KeyError, OSError):
            return None

    def do_copy(self, src, dest, log=None):
        """Take the notebook and the time: no links, no other files."""
        name = self.coursedir.assignment_id
        filename = os.path.basename(src)
        student, _, when, *_ = filename.split("+")
        problem = ""
        try:
            content = _notebook(src, f"{name}.ipynb")
        except submission.Unreadable as error:
            content, problem = b"", str(error)
        owner = self._owner(filename)
        if not problem and owner not in (student, None):
            problem = f"put there by {owner}: look before you grade"
        shutil.rmtree(dest, ignore_errors=True)
        atomic_write_bytes(Path(dest) / f"{name}.ipynb", content)
        atomic_write_bytes(Path(dest) / "timestamp.txt", when.encode())
        self.collected.append(Collected(student, filename, problem))


def _notebook(folder: str, name: str) -> bytes:
    """A file of a folder that may be swapped for a link at any time."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        inside = os.open(folder, flags)
    except OSError:
        raise submission.Unreadable("its folder is a link, or is gone") from None
    try:
        return submission.read(name, dir_fd=inside)
    finally:
        os.close(inside)
