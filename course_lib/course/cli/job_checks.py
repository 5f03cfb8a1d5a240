"""What `course train`, `pretrain`, `predict` say before torch is loaded, as of most
mistakes."""

from pathlib import Path

from course_lib.course.cli import command_options, tasks
from course_lib.errors import CourseError
from course_lib.jobs import (
    anomaly_configuration,
    configuration,
    language_configuration,
    own_data,
    pretrain_configuration,
)
from course_lib.show.console import print_json

OTHERS = {  # tasks with a configuration of their own kind
    "language": (language_configuration.LanguageConfig, language_configuration.example),
    "anomaly": (anomaly_configuration.AnomalyConfig, anomaly_configuration.example),
}
MODEL_FILES = {
    language_configuration.MODEL_FILE: "language_commands",
    anomaly_configuration.MODEL_FILE: "anomaly_commands",
}


def train(typed: command_options.Train) -> int:
    """Print an example or the schema, or read the configuration and train."""
    kind, example = OTHERS.get(typed.example, (None, None))
    if kind and typed.schema:
        print_json(configuration.schema(kind))
        return 0
    if kind:
        print(example())
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
    values = configuration.read(typed.config) if typed.config else {}
    where = typed.config or "course train"
    if typed.task == "anomaly" or values.get("task") == "anomaly":
        config = _anomaly(typed, values, where)
        return tasks.run("anomaly_commands.train", typed, config)
    if typed.task or typed.defective:
        raise CourseError(
            f"--{'task ' + typed.task if typed.task else 'defective'} does not fit.\n"
            "Expected: --task anomaly, and --defective FOLDER with it alone.\n"
            "Do: leave it out; data or configuration tell the other tasks."
        )
    if typed.config is None:
        values = {"task": own_data.task_of(typed.data)}
    values = _with_typed(values, {"model": typed.backbone}, where)
    if values.get("task") == "language":
        config = language_configuration.from_dict(values, typed.config)
        return tasks.run("language_commands.train", typed, config)
    config = configuration.from_dict(values, where)
    return tasks.run("job_commands.train", typed, config)


def _anomaly(typed: command_options.Train, values, where):
    """The configuration of an anomaly job, with what was typed beside it."""
    named = {"task": typed.task, "defective": typed.defective, "model": typed.backbone}
    return anomaly_configuration.from_dict(_with_typed(values, named, where), where)


def _with_typed(values, typed: dict, where) -> dict:
    """Values of a configuration, and those that were typed beside it.

    Raises CourseError where both say something else.
    """
    for key, value in typed.items():
        if value is not None and values.get(key, value) != value:
            option = {"model": "backbone"}.get(key, key)
            raise CourseError(
                f"--{option} {value}, and {where} says {key}: {values[key]}.\n"
                "Expected: the same, or one of the two.\nDo: remove one."
            )
    return {**values, **{k: v for k, v in typed.items() if v is not None}}


def pretrain(typed: command_options.Pretrain) -> int:
    """Pictures without labels, a recipe, or what can be configured."""
    if typed.schema:
        print_json(configuration.schema(pretrain_configuration.PretrainConfig))
        return 0
    if typed.example:
        print(pretrain_configuration.example())
        return 0
    if typed.on is None:
        lost = ("backbone", "config", "epochs", "again", "skip_unreadable", "json")
        for name in lost:
            if getattr(typed, name):
                raise CourseError(
                    f"--{name.replace('_', '-')} belongs to --on.\nExpected: course "
                    "pretrain --on FOLDER, or the name of a recipe.\nDo: name the "
                    "folder of pictures with --on, or leave it out."
                )
        return tasks.run("model_commands.pretrain", typed)
    if typed.name is not None:
        raise CourseError(
            f"{typed.name!r} and --on {typed.on} were given.\nExpected: a recipe, or "
            "--on FOLDER with pictures.\nDo: name the network that goes on with "
            f"--backbone, for example bundled/{typed.name}; or leave out --on."
        )
    example = "course pretrain --example"
    values = configuration.read(typed.config, example) if typed.config else {}
    where = typed.config or "course pretrain"
    named = dict(model=typed.backbone, minutes=typed.minutes, epochs=typed.epochs)
    config = pretrain_configuration.from_dict(_with_typed(values, named, where), where)
    return tasks.run("pretrain_commands.go_on", typed, config)


def predict(typed: command_options.Predict) -> int:
    """Answers of a language model, a memory, or a model for pictures or texts."""
    folder = Path(typed.model)
    for file, group in MODEL_FILES.items():
        if (folder / file).exists() or (folder / "model" / file).exists():
            return tasks.run(f"{group}.predict", typed)
    if typed.data is None:
        raise CourseError(
            "--data is missing.\nExpected: course predict --model FOLDER --data PATH; "
            "--prompt is for language models alone.\nDo: name pictures or texts."
        )
    return tasks.run("job_commands.predict", typed)
