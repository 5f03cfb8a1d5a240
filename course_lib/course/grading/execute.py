"""nbgrader's Execute step, replaced: the notebook is graded in the sandbox.

With `nbgrader_settings.configuration` nbgrader's own `autograde`, and the button of
formgrader, take this way.  What comes out is the notebook rebuilt from the release,
with hints and scores in it.
"""

import nbformat
from nbgrader.preprocessors import Execute

from course_lib.course.grading import classroom, grade, gradebook, release, worker
from course_lib.course.grading.journal import Journal
from course_lib.course.grading.sandbox import BrokenEnvironment


class SandboxExecute(Execute):
    """Rebuild a submission, run it in the sandbox, write hints and scores into it."""

    def preprocess(self, nb, resources, retries=None):
        """The graded notebook; raises BrokenEnvironment rather than give 0 points.

        A worker process of its own does it, as for a class: with its limits, and
        without harm to nbgrader when it dies.
        """
        name = resources["nbgrader"]["assignment"]
        student = resources["nbgrader"]["student"]
        (lesson,) = release.lessons([name])
        content = nbformat.writes(nb).encode("utf-8")
        work = [classroom.Submission(student, content)]
        (job,) = classroom.jobs(lesson, work, Journal(name).secret())
        record = worker.apart(job)
        if record["outcome"] == grade.BROKEN:
            record = worker.apart(job)
        if record["outcome"] == grade.BROKEN:
            raise BrokenEnvironment(record["reason"])
        return nbformat.from_dict(gradebook.settled(record["notebook"])), resources
