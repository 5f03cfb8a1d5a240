"""`course doctor`, which must also run where packages of the course are missing."""

from course_lib.course import doctor
from course_lib.course.cli import command_options


def examine(typed: command_options.Doctor) -> int:
    """0 when the offline profile can run here, else 1."""
    report = doctor.examine()
    doctor.show(report, as_json=typed.json)
    return 0 if report["profiles"]["offline"]["can"] else 1
