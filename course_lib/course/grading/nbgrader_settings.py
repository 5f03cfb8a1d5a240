"""nbgrader's own commands and its exchange, set up for this course."""

import os
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import formgrader, gradebook, release
from course_lib.errors import CourseError

COURSE_ID = "transfer-learning"  # the folder of this course in nbgrader's exchange


def configuration(db: str | None = None):
    """nbgrader's settings for this course, as a traitlets Config.

    ``nbgrader_config.py`` uses the same, so that the buttons of formgrader run the
    sandbox too.
    """
    from traitlets.config import Config

    gradebook.find_commands()
    formgrader.protect()
    c = Config()
    c.CourseDirectory.root = str(paths.ROOT)
    c.CourseDirectory.source_directory = "solutions"
    c.CourseDirectory.release_directory = "exercises"
    c.CourseDirectory.db_url = gradebook.url(db)
    ignored = ".ipynb_checkpoints *.pyc __pycache__ checks.py bank attempts .*"
    c.CourseDirectory.ignore = ignored.split()
    ours = "course_lib.course.grading"  # by name: nbgrader loads what it needs
    c.Autograde.sanitize_preprocessors = [f"{ours}.execute.SandboxExecute"]
    c.Autograde.autograde_preprocessors = [
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
    ]
    c.OverwriteCells.add_missing_cells = True
    c.GenerateFeedback.exporter_class = f"{ours}.formgrader.FeedbackExporter"
    c.CourseDirectory.course_id = COURSE_ID
    c.ExchangeFactory.collect = f"{ours}.exchange.SafeCollect"
    if os.environ.get("COURSE_EXCHANGE"):
        c.Exchange.root = os.environ["COURSE_EXCHANGE"]
    return c


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
