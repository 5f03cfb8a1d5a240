"""nbgrader's Execute step, replaced: the notebook is graded in the sandbox.

With `gradebook.configuration` nbgrader's own `autograde`, and the button of formgrader,
take this way.  What comes out is the notebook rebuilt from the release, with hints and
scores in it.
"""

from __future__ import annotations

import nbformat
from nbgrader.preprocessors import Execute

from course_lib.grading import classroom, grade, gradebook, release, submission
from course_lib.grading.sandbox import BrokenEnvironment


class SandboxExecute(Execute):
    """Rebuild a submission, run it in the sandbox, write hints and scores into it."""

    def preprocess(self, nb, resources, retries=None):
        """The graded notebook; raises BrokenEnvironment rather than give 0 points."""
        name = resources["nbgrader"]["assignment"]
        student = resources["nbgrader"]["student"]
        (lesson,) = release.lessons([name])
        record = grade.grade(
            nbformat.writes(nb).encode("utf-8"),
            submission.load_release(release.released(lesson)),
            (lesson / "checks.py").read_text("utf-8"),
            grade.own_seed(classroom.Journal(name).secret(), student, name),
        )
        if record["outcome"] == grade.BROKEN:
            raise BrokenEnvironment(record["reason"])
        return nbformat.from_dict(gradebook.settled(record["notebook"])), resources
