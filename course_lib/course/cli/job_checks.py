"""What `course train`, `predict` say before torch is loaded, as of most mistakes."""

from pathlib import Path

from course_lib.course.cli import command_options, tasks
from course_lib.errors import CourseError
from course_lib.jobs import configuration, language_configuration, own_data
from course_lib.show.console import print_json


def train(typed: command_options.Train) -> int:
    """Print an example or the schema, or read the configuration and train."""
    if typed.schema and typed.example == "language":
        print_json(configuration.schema(language_configuration.LanguageConfig))
        return 0
    if typed.example == "language":
        print(language_configuration.example())
        return 0
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
        values = {"task": own_data.task_of(typed.data)}
        return tasks.run("job_commands.train", typed, configuration.from_dict(values))
    values = configuration.read(typed.config)
    if values.get("task") == "language":
        config = language_configuration.from_dict(values, typed.config)
        return tasks.run("language_commands.train", typed, config)
    config = configuration.from_dict(values, typed.config)
    return tasks.run("job_commands.train", typed, config)


def predict(typed: command_options.Predict) -> int:
    """Answers of a language model, or of one for pictures or texts."""
    file = language_configuration.MODEL_FILE
    folder = Path(typed.model)
    if (folder / file).exists() or (folder / "model" / file).exists():
        return tasks.run("language_commands.predict", typed)
    if typed.data is None:
        raise CourseError(
            "--data is missing.\nExpected: course predict --model FOLDER --data PATH; "
            "--prompt is for language models alone.\nDo: name pictures or texts."
        )
    return tasks.run("job_commands.predict", typed)
