"""What can go wrong with the gradebook and with the disk: one message a fault."""

import contextlib
import logging
import subprocess

from course_lib import files
from course_lib.errors import CourseError

NEW_BOOK = (
    "put a copy of it back, or move it away: `course grade` writes all scores into a "
    "new one, marks given by hand are lost"
)
OTHER = "check --db; after a change of questions, start a new gradebook"
FAULTS = {  # part of what the database says: what was wrong, what to do
    "database is locked": (
        "another program holds it locked",
        "close what writes to it (formgrader, another `course grade`, a database "
        "browser), then the same command again",
    ),
    "readonly database": (
        "it cannot be written to",
        "give yourself the right to write to the file and to its folder, or choose "
        "another gradebook with --db",
    ),
    "disk is full": (
        "the disk is full",
        "free some space, then the same command again",
    ),
    "disk I/O error": (
        "the disk has a fault or is full",
        "look at the disk's space and health, then the same command again",
    ),
    "unable to open database": (
        "its file cannot be opened",
        "make its folder, and give yourself the right to read and write there",
    ),
    "malformed": ("its file is damaged", NEW_BOOK),
    "not a database": ("its file is no gradebook", NEW_BOOK),
    "no such column": (
        "another version of nbgrader made it",
        "keep a copy of it, then `nbgrader db upgrade`",
    ),
    "authentication failed": (
        "its server does not know this user",
        "give the right name and password in --db",
    ),
    "permission denied": (
        "you have no right to it",
        "ask whoever keeps the database, or choose another one with --db",
    ),
    "connection": (
        "its server does not answer",
        "start the server, check --db, then the same command again",
    ),
    "could not translate host": (
        "its server is not known by this name",
        "check --db, then the same command again",
    ),
    "parse SQLAlchemy URL": (
        "its address is none",
        "give --db as sqlite:////FOLDER/gradebook.db or postgresql://USER@HOST/NAME",
    ),
}


@contextlib.contextmanager
def told(task: str):
    """Turn faults of the gradebook and of the disk into a CourseError each.

    ``task``: what was not done, the beginning of the message.  What nbgrader logs of
    these faults, with a traceback, is left out: the message says it.
    """
    from nbgrader.api import InvalidEntry, MissingEntry
    from sqlalchemy.exc import SQLAlchemyError

    of_nbgrader = InvalidEntry, MissingEntry
    log = logging.getLogger("tornado.application")  # nbgrader's database writes to it
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    except OSError as error:
        raise CourseError(f"{task}. {files.fault(error)}") from None
    except (*of_nbgrader, SQLAlchemyError, subprocess.SubprocessError) as error:
        raise _message(task, error) from None
    finally:
        log.disabled = was_disabled


def _message(task: str, error: Exception) -> CourseError:
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    other = f"{type(error).__name__}: {said[:300]}", OTHER
    found = next((told for part, told in FAULTS.items() if part in said), other)
    return CourseError(
        f"{task}: the gradebook cannot be used, {found[0]}.\nExpected: a database that "
        "can be read and written, with this exercise's questions.\nDo: "
        f"{found[1]}. What was graded is kept in grading/."
    )
