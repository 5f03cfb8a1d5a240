"""What can go wrong with the gradebook and with the disk: one message a fault."""

import contextlib
import logging
import subprocess
import tomllib
from pathlib import Path

from course_lib import files
from course_lib.errors import CourseError

OTHER = "check --db; after a change of questions, start a new gradebook"
FAULTS = tomllib.loads(Path(__file__).with_name("faults.toml").read_text("utf-8"))


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
    other = dict(wrong=f"{type(error).__name__}: {said[:300]}", advice=OTHER)
    found = next((told for part, told in FAULTS.items() if part in said), other)
    wrong, advice = found["wrong"], found["advice"]
    return CourseError(
        f"{task}: the gradebook cannot be used, {wrong}.\nExpected: a database that "
        "can be read and written, with this exercise's questions.\nDo: "
        f"{advice}. What was graded is kept in grading/."
    )
