"""Collecting from nbgrader's exchange folder, into which every learner can write.

nbgrader's own step copies whole folders and follows the links in them: a link to the
solution would be collected as an answer.  One folder with an odd name would stop it for
the whole class.  This one takes notebooks alone, names all that it leaves out, and
keeps every attempt as `collect` does.
"""

import os
from pathlib import Path

from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import parse_utc

from course_lib.course.grading import attempts, identity, submission
from course_lib.course.grading.attempts import Attempt
from course_lib.course.grading.collect import Collected
from course_lib.course.grading.identity import STUDENT, shown
from course_lib.course.grading.recognise import Exercises, as_shipped, is_notebook
from course_lib.files import atomic_write_bytes

NBGRADERS = ("timestamp.txt", "submission_secret.txt")  # its own files
MAX_FILES = 2000  # of one folder of the exchange


class SafeCollect(ExchangeCollect):
    """nbgrader's Collect, for folders that may be hostile.

    Of several submissions of one student the newest counts, but one that the student
    owns comes before any that somebody else put there under that name.  The others are
    kept beside it.
    """

    def init_src(self):
        """Find one folder for each student; `collected` says what was left out."""
        if not self.coursedir.course_id:
            self.fail("No course id specified. Re-run with --course flag.")
        self.inbound_path = os.path.join(self.root, self.coursedir.course_id, "inbound")
        if not os.path.isdir(self.inbound_path):
            self.fail(f"Course not found: {self.inbound_path}")
        self.collected: list[Collected] = []
        self.src_records = []
        for entry in sorted(os.scandir(self.inbound_path), key=lambda e: e.name):
            student, *rest = entry.name.split("+")
            if not rest or rest[0] != self.coursedir.assignment_id:
                continue
            record = self._record(entry, student, rest)
            if record is None:
                problem = "no folder of the form STUDENT+EXERCISE+TIME"
                self._row(student[:100], entry.name, problem)
            else:
                self.src_records.append(record)

    def _row(self, student, source, problem="", result="", is_ignored=False) -> None:
        """What became of one file; a problem goes to nbgrader's log as well."""
        row = Collected(shown(student), shown(source), problem, result, is_ignored)
        self.collected.append(row)
        if problem:
            self.log.warning("%s: %s", row.source, row.told)

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

    def owner_of(self, filename: str) -> str | None:
        """Name of the folder's owner; None where it is not known or not asked for."""
        if not self.check_owner:
            return None
        try:
            import pwd

            status = os.lstat(os.path.join(self.inbound_path, filename))
            return pwd.getpwuid(status.st_uid).pw_name
        except (ImportError, KeyError, OSError):
            return None

    def copy_files(self):
        """Keep the notebooks of all folders, learner by learner."""
        self.exercises = Exercises(self.coursedir.assignment_id)
        of: dict[str, list[dict]] = {}
        for record in self.src_records:
            of.setdefault(record["username"], []).append(record)
        for student, records in of.items():
            self._keep(student, [self._attempt(record) for record in records])

    def _attempt(self, record: dict) -> Attempt:
        """The notebook of a folder; rows for its other files."""
        student, filename = record["username"], record["filename"]
        lesson = self.coursedir.assignment_id
        is_foreign = self.owner_of(filename) not in (student, None)
        content, problem, source = b"", "", filename
        try:
            names, content, chosen = _notebook(
                os.path.join(self.inbound_path, filename), lesson, self.exercises
            )
            source = f"{filename}/{chosen}"
            for name in names:
                self._other(student, filename, name, lesson)
        except submission.Unreadable as error:
            problem = str(error)
        if content and is_foreign:
            owner = self.owner_of(filename)
            problem = f"put there by {owner}: look before you grade"
        return Attempt(
            shown(source),
            content,
            problem,
            record["timestamp"].timestamp(),
            answers=self.exercises.answered(content),
            foreign=is_foreign,
        )

    def _other(self, student: str, filename: str, name: str, lesson: str) -> None:
        """The row of a file that is not the notebook."""
        source = f"{filename}/{name}"
        if name in NBGRADERS or as_shipped((lesson, name)):
            told = "ignored: of nbgrader or of the course"
            self._row(student, source, result=told, is_ignored=True)
        else:
            self._row(student, source, f"the exchange takes {lesson}.ipynb alone")

    def _keep(self, student: str, new: list[Attempt]) -> None:
        """Keep a learner's attempts, and the time of the one that counts."""
        lesson = self.coursedir.assignment_id
        folder = Path(
            self.coursedir.format_path(
                self.coursedir.submitted_directory, student, lesson
            )
        )
        try:
            told = attempts.keep(folder, lesson, new, self.exercises.answered)
        except (submission.Unreadable, NotADirectoryError, FileExistsError) as error:
            told = ["left out"] * len(new)
            new = [
                Attempt(one.source, problem=f"{folder} cannot be used: {error}")
                for one in new
            ]
        when = attempts.time_of_newest(folder, lesson)
        path = folder / "timestamp.txt"
        if when and not (path.exists() and path.read_text("utf-8") == when):
            atomic_write_bytes(path, when.encode())
        for one, result in zip(new, told):
            self._row(student, one.source, one.problem, result)


def _notebook(folder: str, lesson: str, exercises) -> tuple[list[str], bytes, str]:
    """Names of the other files, bytes and name of the notebook of a folder.

    The folder may be swapped for a link at any time: it is opened once.  The notebook
    is the one with the exercise's name, else the only one that is of this exercise.
    Raises Unreadable when there is none.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        inside = os.open(folder, flags)
    except OSError:
        raise submission.Unreadable("its folder is a link, or is gone") from None
    try:
        names = sorted(os.listdir(inside))
        if len(names) > MAX_FILES:
            raise submission.Unreadable(f"its folder has more than {MAX_FILES} files")
        chosen = f"{lesson}.ipynb"
        if chosen not in names:
            other = [n for n in names if is_notebook(n) and not n.startswith(".")]
            right = [n for n in other if _is_this(n, inside, exercises)]
            if len(right) == 1:
                chosen = right[0]
        content = submission.read(chosen, dir_fd=inside)
        return [n for n in names if n != chosen], content, chosen
    finally:
        os.close(inside)


def _is_this(name: str, inside: int, exercises) -> bool:
    """Is a notebook of an open folder one of this exercise?"""
    try:
        content = submission.read(name, dir_fd=inside)
    except submission.Unreadable:
        return False
    named = identity.parse(name, exercises.lesson, exercises.others)
    return exercises.of(content, named)[0] == "this"
