"""Settings for nbgrader's own commands and for formgrader, started in this folder.

They grade in the sandbox as `course grade` does.
"""

from course_lib.course.grading import nbgrader_settings

c = get_config()  # noqa: F821 - given by nbgrader
c.merge(nbgrader_settings.configuration())
