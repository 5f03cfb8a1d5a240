"""What `course train` says before torch is loaded: most mistakes are of this kind."""

from course_lib.course.cli import command_options, tasks
from course_lib.errors import CourseError
from course_lib.jobs import configuration, language_configuration
from course_lib.show.console import print_json


def train(typed: command_options.Train) -> int:
    """Print an example or the schema, or read the configuration and train."""
    if typed.example == "language":
        print(language_configuration.example())
        return 0
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
    values = configuration.read(typed.config)
    if values.get("task") == "language":
        config = language_configuration.from_dict(values, typed.config)
        return tasks.run("language_commands.train", typed, config)
    config = configuration.from_dict(values, typed.config)
    return tasks.run("job_commands.train", typed, config)
