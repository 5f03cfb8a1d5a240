"""The one exception that this course raises on purpose."""


class CourseError(Exception):
    """A problem that the reader can solve.

    The message says what was wrong, what was expected and what to do.  The
    ``course`` command prints it and exits with 1; no traceback is shown.
    """
