"""What `course train` says before torch is loaded: most mistakes are of this kind."""

from course_lib.course.cli import command_options, tasks
from course_lib.errors import CourseError
from course_lib.jobs import configuration, own_data
from course_lib.show.console import print_json


def train(typed: command_options.Train) -> int:
    """Print an example or the schema, or read the configuration and train."""
    if typed.example:
        print(configuration.example(typed.example))
        return 0
    if typed.schema:
        print_json(configuration.schema())
        return 0
    if typed.data is None:
        raise CourseError(
            "--data is missing.\nExpected: course train --data PATH, and --config FILE "
            "for settings of your own.\nDo: name a folder with a sub-folder of "
            "pictures for each class, or a table; `course train --example images > "
            "job.yaml` writes a configuration to begin with."
        )
    if typed.config is None:
        config = configuration.from_dict({"task": own_data.task_of(typed.data)})
    else:
        config = configuration.load(typed.config)
    return tasks.run("job_commands.train", typed, config)
