"""What `course train` says before torch is loaded: most mistakes are of this kind."""

from course_lib.course.cli import command_options, tasks
from course_lib.errors import CourseError
from course_lib.jobs import configuration
from course_lib.show.console import print_json


def train(typed: command_options.Train) -> int:
    """Print an example, or read the configuration and go on with the job."""
    if typed.example:
        print(configuration.example(typed.example))
        return 0
    if typed.schema:
        print_json(configuration.schema())
        return 0
    for option in ("config", "data"):
        if getattr(typed, option) is None:
            raise CourseError(
                f"--{option} is missing.\nExpected: course train --config FILE --data "
                "PATH.\nDo: `course train --example images > job.yaml` writes a "
                "configuration to begin with."
            )
    return tasks.run("job_commands.train", typed, configuration.load(typed.config))
