"""From records to nbgrader's gradebook, feedback and export.

nbgrader keeps the scores, shows the form for marking by hand, writes feedback pages and
exports; nothing that a submission wrote is run by it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

from course_lib import files, paths
from course_lib.errors import CourseError
from course_lib.grading import grade, release

COURSE_ID = "transfer-learning"  # the folder of this course in nbgrader's exchange


def url(db: str | None = None) -> str:
    """The gradebook's address: SQLite beside the course, unless one is given."""
    return db or f"sqlite:///{paths.ROOT / 'gradebook.db'}"


def find_commands() -> None:
    """Put this Python's commands on the PATH: nbgrader starts `alembic` by name."""
    own = str(Path(sys.executable).parent)
    known = os.environ.get("PATH", "").split(os.pathsep)
    if own not in known:
        os.environ["PATH"] = os.pathsep.join([own, *known])


class Book:
    """The gradebook, open for one lesson; as a context that is closed at the end.

    ``with Book(lesson) as book: book.write("ann", record)``.  Raises CourseError when
    the database cannot be reached, or holds submissions to another set of questions.
    """

    def __init__(self, lesson: Path, db: str | None = None):
        self.lesson, self.url = lesson, url(db)

    def __enter__(self) -> Book:
        import nbformat
        from nbgrader.api import Gradebook
        from nbgrader.preprocessors import SaveCells

        name = self.lesson.name
        find_commands()
        public = nbformat.read(release.released(self.lesson), as_version=4)
        try:
            self.book = Gradebook(self.url)
            self.book.update_or_create_assignment(name)
            SaveCells().preprocess(public, self._resources())
        except Exception as error:
            brief = " ".join(str(error).split())[:300]
            raise CourseError(
                f"The gradebook cannot be used: {type(error).__name__}: {brief}\n"
                "Expected: a database that can be reached, with this exercise's "
                "questions.\nDo: check --db; after a change of questions, start a new "
                "gradebook."
            ) from None
        return self

    def __exit__(self, *exception) -> None:
        self.book.close()

    def _resources(self, **more) -> dict:
        name = self.lesson.name
        return {
            "nbgrader": {
                "assignment": name,
                "notebook": name,
                "db_url": self.url,
                **more,
            },
            "unique_key": name,
        }

    def autograded(self, student: str) -> Path:
        """Where a student's graded notebook lies."""
        name = self.lesson.name
        return paths.ROOT / "autograded" / student / name / f"{name}.ipynb"

    def _mark(self, student: str) -> Path:
        where = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        folder = paths.ROOT / "grading" / self.lesson.name / f"written-{where}"
        return folder / f"{student}.json"

    def write(self, student: str, record: dict) -> bool:
        """Enter a record: scores, comments, the notebook; True when it was new.

        A record that is in the book already is left alone, marks by hand included.
        One of a broken environment is never entered.
        """
        import nbformat
        from nbgrader.preprocessors import SaveAutoGrades

        if record["outcome"] == grade.BROKEN:
            return False
        mark = self._mark(student)
        try:
            if json.loads(mark.read_text("utf-8")) == {"digest": record["digest"]}:
                return False
        except (OSError, ValueError):
            pass
        self.book.update_or_create_student(student)
        with warnings.catch_warnings():  # of nbgrader's own use of its database
            warnings.simplefilter("ignore")
            self.book.update_or_create_submission(self.lesson.name, student)
        text = json.dumps(record["notebook"], indent=1, ensure_ascii=False)
        files.atomic_write_bytes(self.autograded(student), text.encode("utf-8"))
        notebook = nbformat.reads(text, as_version=4)
        SaveAutoGrades().preprocess(notebook, self._resources(student=student))
        files.atomic_write_json(mark, {"digest": record["digest"]})
        return True

    def scores(self) -> dict[str, float]:
        """{student: score} of the lesson as the gradebook has it."""
        self.book.db.expire_all()
        found = self.book.find_assignment(self.lesson.name).submissions
        return {one.student.id: one.score for one in found}


def opened(lesson: Path, db: str | None = None) -> Book:
    """The gradebook of a lesson's exercise."""
    release.require_nbgrader()
    return Book(lesson, db)


def configuration(db: str | None = None):
    """nbgrader's settings for this course, as a traitlets Config.

    ``nbgrader_config.py`` uses the same, so that the buttons of formgrader run the
    sandbox too.
    """
    from traitlets.config import Config

    from course_lib.grading.execute import SandboxExecute

    find_commands()
    c = Config()
    c.CourseDirectory.root = str(paths.ROOT)
    c.CourseDirectory.source_directory = "solutions"
    c.CourseDirectory.release_directory = "exercises"
    c.CourseDirectory.db_url = url(db)
    c.CourseDirectory.ignore = [
        ".ipynb_checkpoints",
        "*.pyc",
        "__pycache__",
        "checks.py",
        "bank",
        "attempts",
        ".*",
    ]
    c.Autograde.sanitize_preprocessors = [SandboxExecute]
    c.Autograde.autograde_preprocessors = [
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
    ]
    c.OverwriteCells.add_missing_cells = True
    c.CourseDirectory.course_id = COURSE_ID
    c.ExchangeFactory.collect = "course_lib.grading.exchange.SafeCollect"
    if os.environ.get("COURSE_EXCHANGE"):
        c.Exchange.root = os.environ["COURSE_EXCHANGE"]
    return c


def feedback(lesson: Path, students: list[str] | None = None, db=None) -> list[Path]:
    """Write the feedback pages of a lesson with nbgrader; their paths.

    Raises CourseError when nothing has been graded, or nbgrader fails for a student.
    """
    release.require_nbgrader()
    from nbgrader.apps import NbGraderAPI

    graded = sorted((paths.ROOT / "autograded").glob(f"*/{lesson.name}"))
    find_commands()
    names = students or [path.parent.name for path in graded]
    if not names:
        raise CourseError(
            f"No feedback for {lesson.name}: nothing has been graded.\nExpected: "
            f"work in autograded/.\nDo: `course grade {lesson.name[:2]}` first."
        )
    api, written = NbGraderAPI(config=configuration(db)), []
    for student in names:
        done = api.generate_feedback(lesson.name, student, force=True)
        page = paths.ROOT / "feedback" / student / lesson.name / f"{lesson.name}.html"
        if not done["success"] or not page.exists():
            said = (done.get("error") or done.get("log") or "").strip().splitlines()
            raise CourseError(
                f"nbgrader wrote no feedback for {student}: {said[-1:] or ''}.\nDo: "
                f"grade this submission again, then `course feedback` once more."
            )
        written.append(page)
    return written


def export(to: Path, db: str | None = None) -> Path:
    """Write all scores as CSV, by nbgrader's exporter; the path."""
    release.require_nbgrader()
    from nbgrader.api import Gradebook
    from nbgrader.plugins import CsvExportPlugin

    find_commands()
    to.parent.mkdir(parents=True, exist_ok=True)
    with Gradebook(url(db)) as book:
        CsvExportPlugin(to=str(to)).export(book)
    return to


def from_exchange(lesson: Path) -> list:
    """Collect from nbgrader's exchange folder; what came of each (`Collected`).

    A student's newer submission replaces the one collected before.  Raises CourseError
    with what nbgrader says when there is no exchange.
    """
    release.require_nbgrader()
    from nbgrader.apps import NbGraderAPI

    api = NbGraderAPI(config=configuration())
    api.coursedir.assignment_id = lesson.name
    step = api.exchange.Collect(
        coursedir=api.coursedir, authenticator=api.authenticator, parent=api
    )
    step.update = True
    try:
        step.start()
    except Exception as error:
        said = " ".join(str(error).split())
        raise CourseError(
            f"Nothing was collected from the exchange: {said[-300:]}\nExpected: a "
            f"folder {step.root} that all can write to, with the exercise released "
            f"to it.\nDo: `nbgrader release_assignment {lesson.name}` (another folder: "
            "COURSE_EXCHANGE), or give a folder with --from."
        ) from None
    return step.collected
