"""From records to nbgrader's gradebook, feedback and export.

nbgrader keeps the scores, shows the form for marking by hand, writes feedback pages and
exports; nothing that a submission wrote is run by it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat

from course_lib import files, paths
from course_lib.course.grading import attempts, grade, release, rendering
from course_lib.course.grading.faults import told
from course_lib.course.grading.journal import Journal
from course_lib.errors import CourseError


def url(db: str | None = None) -> str:
    """The gradebook's address: SQLite beside the course, unless one is given."""
    return db or f"sqlite:///{paths.ROOT / 'gradebook.db'}"


def find_commands() -> None:
    """Put this Python's commands on the PATH: nbgrader starts `alembic` by name."""
    own = str(Path(sys.executable).parent)
    known = os.environ.get("PATH", "").split(os.pathsep)
    if own not in known:
        os.environ["PATH"] = os.pathsep.join([own, *known])


# -- writing it ------------------------------------------------------------------------

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,16}\b")


def settled(notebook: dict) -> dict:
    """A graded notebook without what differs from run to run of the same submission.

    Streams of one cell are joined, since how they interleave is a matter of
    milliseconds; addresses of objects are left out.
    """
    cells = [
        {**cell, "outputs": _settled(cell["outputs"])} if "outputs" in cell else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


def _settled(outputs: list[dict]) -> list[dict]:
    found, streams = [], {}
    for output in [*outputs, None]:
        if output and output["output_type"] == "stream":
            text = ADDRESS.sub("at 0x...", "".join(output["text"]))
            streams[output["name"]] = streams.get(output["name"], "") + text
            continue
        for name in sorted(streams, reverse=True):  # what is printed before errors
            found.append({"output_type": "stream", "name": name, "text": streams[name]})
        streams = {}
        if output:
            data = dict(output.get("data", {}))
            if isinstance(data.get("text/plain"), str):
                data["text/plain"] = ADDRESS.sub("at 0x...", data["text/plain"])
            found.append({**output, "data": data} if data else output)
    return found


class Book:
    """The gradebook, open for one lesson; as a context that is closed at the end.

    ``with Book(lesson) as book: book.write("ann", record)``.  Raises CourseError when
    the database cannot be reached, or holds submissions to another set of questions.
    """

    def __init__(self, lesson: Path, db: str | None = None):
        self.lesson, self.url = lesson, url(db)

    def __enter__(self) -> Book:
        from nbgrader.api import Gradebook
        from nbgrader.preprocessors import SaveCells

        name = self.lesson.name
        find_commands()
        public = nbformat.read(release.handed_out(self.lesson), as_version=4)
        with told(f"{name} is not entered"):
            self.book = Gradebook(self.url)
            self.book.update_or_create_assignment(name)
            try:
                SaveCells().preprocess(public, self._resources())
            except Exception as error:
                from sqlalchemy.exc import SQLAlchemyError

                self.book.close()
                if isinstance(error, SQLAlchemyError):
                    raise
                brief = " ".join(str(error).split())[:300]
                raise CourseError(
                    f"The gradebook cannot be used: {brief}\nExpected: one with this "
                    "exercise's questions.\nDo: after a change of questions, start a "
                    "new gradebook (--db)."
                ) from None
        return self

    def __exit__(self, *exception) -> None:
        self.book.close()

    def _resources(self, **more) -> dict:
        name = self.lesson.name
        about = dict(assignment=name, notebook=name, db_url=self.url, **more)
        return {"nbgrader": about, "unique_key": name}

    def autograded(self, student: str) -> Path:
        """Where a student's graded notebook lies."""
        name = self.lesson.name
        return paths.ROOT / "autograded" / student / name / f"{name}.ipynb"

    def _mark(self, student: str) -> Path:
        where = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        folder = paths.ROOT / "grading" / self.lesson.name / f"written-{where}"
        return folder / f"{student}.json"

    def write(self, student: str, record: dict) -> bool:
        """Enter a record: scores, comments, the notebook; True when something was new.

        What is in the book and in autograded/ is compared with the record, and left
        alone where it is the same, marks by hand included.  A mark by hand stays when
        the answer that it was given for has changed, but waits for a second look
        (`stale`).  A record of a broken environment is never entered.
        """
        if record["outcome"] == grade.BROKEN:
            return False
        notebook = nbformat.from_dict(settled(record["notebook"]))
        text = nbformat.writes(notebook).encode("utf-8") + b"\n"
        with told(f"The record of {student} is not entered"):
            known = files.stored_json(self._mark(student))  # what was entered last
            is_new = known.get("digest") != record["digest"]
            saved = {one.name: one.auto_score for one in self._grades(student)}
            if is_new or saved != _scores(notebook):
                self._save(student, notebook, known.get("answers", {}))
                is_new = True
            path = self.autograded(student)
            if not path.is_file() or path.read_bytes() != text:
                files.atomic_write_bytes(path, text)
                is_new = True
            if is_new:
                mark = {"digest": record["digest"], "answers": _answers(notebook)}
                files.atomic_write_json(self._mark(student), mark)
        return is_new

    def _grades(self, student: str) -> list:
        """The student's rows of grades in the book; none without a submission."""
        from nbgrader.api import MissingEntry

        name = self.lesson.name
        try:
            return self.book.find_submission_notebook(name, name, student).grades
        except MissingEntry:
            return []

    def _save(self, student: str, notebook, before: dict[str, str]) -> None:
        """Enter scores; nbgrader asks to look again at whatever was marked by hand.

        ``before``: answers that the marks in the book were given for, as `_answers`.
        Where they are the same, what was settled stays so.
        """
        from nbgrader.preprocessors import SaveAutoGrades

        grades = self._grades(student)
        done = {one.name for one in grades if not one.needs_manual_grade}
        self.book.update_or_create_student(student)
        with warnings.catch_warnings():  # of nbgrader's own use of its database
            warnings.simplefilter("ignore")
            name = self.lesson.name
            when = attempts.newest(paths.ROOT / "submitted" / student / name, name)
            self.book.update_or_create_submission(
                name, student, timestamp=when and when.replace(tzinfo=None)
            )
        SaveAutoGrades().preprocess(notebook, self._resources(student=student))
        self.book.db.expire_all()
        now = _answers(notebook)
        for one in self._grades(student):
            if _by_hand(one):
                same = before.get(one.name) == now.get(one.name) is not None
                one.needs_manual_grade = not (same and one.name in done)
        self.book.db.commit()

    def for_feedback(self, student: str) -> tuple[dict, str, dict]:
        """What `rendering.Renderer.page` needs for a student's feedback.

        Raises CourseError where the graded notebook or its scores are missing.
        """
        from nbgrader.preprocessors import GetGrades

        path, name = self.autograded(student), self.lesson.name
        again = f"Do: `course grade {name[:2]}`, then `course feedback` once more."
        try:
            notebook = nbformat.from_dict(json.loads(path.read_text("utf-8")))
            with told(f"The scores of {student} are not read"):
                if not self._grades(student):
                    raise CourseError(
                        f"{student} is not in the gradebook.\nExpected: scores of "
                        f"{name}.\n{again}"
                    )
                notebook, resources = GetGrades().preprocess(
                    notebook, self._resources(student=student)
                )
        except OSError:
            raise CourseError(
                f"autograded/{student}/{name} is missing.\nExpected: the graded "
                f"notebook.\n{again}"
            ) from None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CourseError(
                f"autograded/{student}/{name} is no graded notebook "
                f"({type(error).__name__}).\nExpected: what `course grade` wrote.\n"
                f"{again}"
            ) from None
        return notebook, rendering.FEEDBACK, rendering.shown(resources)

    def scores(self) -> dict[str, float]:
        """{student: score} of the lesson as the gradebook has it."""
        self.book.db.expire_all()
        found = self.book.find_assignment(self.lesson.name).submissions
        return {one.student.id: one.score for one in found}


def _scores(notebook) -> dict[str, float | None]:
    """{graded cell: score} as nbgrader reads it from a graded notebook."""
    from nbgrader import utils

    return {
        cell.metadata.nbgrader["grade_id"]: utils.determine_grade(cell)[0]
        for cell in notebook.cells
        if utils.is_grade(cell)
    }


def _answers(notebook) -> dict[str, str]:
    """{graded cell: digest of the answer that it is for and of its score}."""
    ours = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    texts = {cell.metadata.nbgrader["grade_id"]: cell.source for cell in ours}
    found = {}
    for name, score in _scores(notebook).items():
        answer = texts.get(name.removesuffix("-test"), texts[name])
        found[name] = hashlib.sha256(f"{score}\0{answer}".encode()).hexdigest()
    return found


def _by_hand(one) -> bool:
    """Has somebody given points by hand for this row of grades?"""
    return one.manual_score is not None or bool(one.extra_credit)


def stale(grades) -> list[str]:
    """Names of graded cells with points by hand that were given to another version."""
    waiting = (one for one in grades if one.needs_manual_grade)
    return sorted(one.name for one in waiting if _by_hand(one))


def to_mark(grades) -> list[str]:
    """Names of graded cells that nobody has given points for."""
    waiting = (one for one in grades if one.needs_manual_grade)
    return sorted(one.name for one in waiting if not _by_hand(one))


def opened(lesson: Path, db: str | None = None) -> Book:
    """The gradebook of a lesson's exercise."""
    release.require_nbgrader()
    return Book(lesson, db)


# -- feedback and export ---------------------------------------------------------------


def feedback(
    lesson: Path,
    students: list[str] | None = None,
    db: str | None = None,
    done: Callable[[str, str], None] = lambda student, problem: None,
) -> list[Path]:
    """Write the feedback pages of a lesson; the paths of those written.

    Each is made within a limit of time, memory and size (`rendering`), and a learner
    whose page cannot be made does not keep others from theirs.  ``done`` is called
    after each with what was wrong, or nothing; the problem is noted in the record too.
    Raises CourseError when nothing has been graded, or the gradebook cannot be used.
    """
    release.require_nbgrader()
    name, written = lesson.name, []
    with opened(lesson, db) as book, rendering.Renderer() as renderer:
        graded = (paths.ROOT / "autograded").glob(f"*/{name}")
        names = students or sorted({p.parent.name for p in graded} | {*book.scores()})
        if not names:
            raise CourseError(
                f"No feedback for {name}: nothing has been graded.\nExpected: work in "
                f"autograded/.\nDo: `course grade {name[:2]}` first."
            )
        for student in names:
            try:
                page = renderer.page(*book.for_feedback(student))
                problem, html = page.problem, page.html
            except CourseError as error:
                problem, html = f"no page: {error}", None
            target = paths.ROOT / "feedback" / student / name / f"{name}.html"
            with told(f"The feedback of {student} is not written"):
                if html is None:
                    target.unlink(missing_ok=True)  # a page of an older version
                else:
                    written.append(files.atomic_write_bytes(target, html.encode()))
                _note(name, student, problem)
            done(student, problem)
    return written


def _note(lesson: str, student: str, problem: str) -> None:
    """Say in a student's record what was wrong with the feedback, or no longer is."""
    journal = Journal(lesson)
    record = files.stored_json(journal.path(student))  # {}: it was graded elsewhere
    if record and record.get("feedback", "") != problem:
        journal.write(student, {**record, "feedback": problem})


COLUMNS = (
    "assignment duedate timestamp student_id last_name first_name email raw_score "
    "late_submission_penalty score max_score to_mark stale"
).split()


def export(to: Path, db: str | None = None) -> Path:
    """Write all scores as CSV, whole or not at all; the path.

    The columns of nbgrader's exporter, which does not quote, and two more, each with
    names of questions: ``to_mark`` waits for points by hand, ``stale`` has points that
    were given by hand to another version of the answer.
    """
    release.require_nbgrader()
    from nbgrader.api import Gradebook

    find_commands()
    lines = [COLUMNS]
    with told("No scores are exported"):
        with Gradebook(url(db)) as book:
            for assignment in book.assignments:
                for student in book.students:
                    row = _row(book, assignment, student)
                    lines.append([row.get(column, "") for column in COLUMNS])
        return files.atomic_write_bytes(to, files.csv_bytes(lines))


def _row(book, assignment, student) -> dict:
    """One line of the CSV; a student who handed in nothing has 0 points."""
    from nbgrader.api import MissingEntry

    row = {
        "assignment": assignment.name,
        "duedate": assignment.duedate,
        "student_id": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
        "max_score": assignment.max_score,
    }
    try:
        found = book.find_submission(assignment.name, student.id)
    except MissingEntry:
        return {**row, "raw_score": 0.0, "late_submission_penalty": 0.0, "score": 0.0}
    grades = [one for notebook in found.notebooks for one in notebook.grades]
    penalty = found.late_submission_penalty
    return {
        **row,
        "timestamp": found.timestamp,
        "raw_score": found.score,
        "late_submission_penalty": penalty,
        "score": max(0.0, found.score - (penalty or 0.0)),
        "to_mark": " ".join(to_mark(grades)),
        "stale": " ".join(stale(grades)),
    }
