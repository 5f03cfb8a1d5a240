"""The `course` command.

:mod:`.command_options` says what can be typed, `COMMANDS` which function does it.  The
file of that function is loaded when the command runs, not for its help or completion.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import Annotated

import typer

from course_lib import __version__, files
from course_lib.course.cli import command_options, tasks
from course_lib.course.cli.typed_command import TypedCommand
from course_lib.errors import CourseError


@dataclass(frozen=True)
class Command:
    """One command: what can be typed, what it does, and what its help adds."""

    options: type
    task: str  # see tasks.run
    epilog: str | None = None
    settings: dict = field(default_factory=dict)  # of click's context


COMMANDS = {
    "doctor": Command(command_options.Doctor, "doctor_commands.examine"),
    "lab": Command(
        command_options.Lab,
        "lesson_commands.lab",
        epilog="Further options go to JupyterLab: course lab --no-browser --port 8890",
        settings={"ignore_unknown_options": True, "allow_extra_args": True},
    ),
    "copy": Command(command_options.Copy, "lesson_commands.copy"),
    "run": Command(command_options.Run, "lesson_commands.run"),
    "data list": Command(command_options.DataList, "data_commands.list_assets"),
    "data fetch": Command(command_options.DataFetch, "data_commands.fetch"),
    "data verify": Command(command_options.DataVerify, "data_commands.verify"),
    "data rebuild": Command(command_options.DataRebuild, "data_commands.rebuild"),
    "pretrain": Command(
        command_options.Pretrain,
        "job_checks.pretrain",
        epilog="Interrupted at any moment, the same command with --on goes on and ends "
        "with the same weights. The objective is SimCLR unless a configuration says "
        "otherwise: lesson 14 measured no other on real pictures, and there going on "
        "from ImageNet's weights gained nothing on solar cells and lost on speech "
        "(`course claims C72`). Compare with the plain weights before you rely on it.",
    ),
    "memory": Command(command_options.Memory, "model_commands.plan_memory"),
    "diagnose": Command(command_options.Diagnose, "job_commands.diagnose"),
    "train": Command(
        command_options.Train,
        "job_checks.train",
        epilog="Interrupted at any moment, the same command goes on after the last "
        "whole epoch and ends with the same weights. Several GPUs or machines: "
        "accelerate launch --multi_gpu -m course_lib.course.cli train --config FILE "
        "--data PATH (for large models --use_fsdp --fsdp_version 2); batch_size counts "
        "all processes.",
    ),
    "predict": Command(
        command_options.Predict,
        "job_checks.predict",
        epilog="Exit code: 0 when every picture or text has an answer; 3 when pictures "
        "or rows were left out, which are named on standard error; 1 for an error, "
        "without answers.",
    ),
    "claims": Command(command_options.Claims, "result_commands.claims"),
    "web": Command(command_options.Web, "result_commands.web"),
    "links": Command(command_options.Links, "lesson_commands.show_links"),
    "check": Command(command_options.Check, "lesson_commands.check"),
    "score": Command(command_options.Score, "lesson_commands.score"),
    "solution": Command(command_options.Solution, "lesson_commands.solution"),
    "release": Command(command_options.Release, "grading_commands.release"),
    "collect": Command(command_options.Collect, "grading_commands.collect"),
    "grade": Command(command_options.Grade, "grading_commands.grade"),
    "feedback": Command(command_options.Feedback, "grading_commands.feedback"),
    "export": Command(command_options.Export, "grading_commands.export"),
    "validate": Command(command_options.Validate, "grading_commands.validate"),
}
NAMES = {command.options: name for name, command in COMMANDS.items()}


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


def _course(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Show it and exit."
        ),
    ] = False,
) -> None:
    """The transfer-learning course on the command line."""


def application() -> typer.Typer:
    """The commands as typer knows them; a command returns what was typed, no more."""
    # plain help: rich would take longer to load than all the rest
    plain = {"rich_markup_mode": None}
    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, **plain)
    app.callback()(_course)
    data = typer.Typer(help="Fetch, check or rebuild weights and data.", **plain)
    app.add_typer(data, name="data")
    for name, command in COMMANDS.items():
        group, _, action = name.rpartition(" ")
        added = {"": app, "data": data}[group].command(
            action,
            cls=TypedCommand,
            epilog=command.epilog,
            context_settings=command.settings,
        )
        added(command.options)
    return app


def parse(argv: list[str] | None = None):
    """What was typed, as one of the classes of :mod:`.command_options`.

    Raises SystemExit: with 0 after help, completion and --version; with 2, and three
    lines on standard error, for what is no command of the course.
    """
    try:
        typed = typer.main.get_command(application()).main(
            argv, prog_name="course", standalone_mode=False
        )
    except typer.TyperException as error:
        print(_refused(error), file=sys.stderr)
        raise SystemExit(2) from None
    if type(typed) not in NAMES:  # an exit code: help was shown
        raise SystemExit(typed or 0)
    return typed


def _refused(error: typer.TyperException) -> str:
    """What was wrong with the words, what was expected, what to do."""
    path, command = error.ctx.command_path, error.ctx.command
    if names := getattr(command, "commands", None):  # a group
        expected = f"{path} COMMAND, one of {', '.join(names)}"
    elif option := getattr(error, "param", None):
        flag = [name for name in option.opts[:1] if name.startswith("-")]
        expected = f"{' '.join([*flag, option.metavar])}: {option.help}"
    else:
        expected = " ".join([path, *command.collect_usage_pieces(error.ctx)])
    return (
        f"{path}: {error.format_message()}\nExpected: {expected}\n"
        f"Do: `{path} --help` shows what can be given."
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 a CourseError, 2 unknown command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without the sign: print "?"
            stream.reconfigure(errors="replace")
    typed = parse(argv)
    name = NAMES[type(typed)]
    try:
        code = tasks.run(COMMANDS[name].task, typed)
        sys.stdout.flush()
        return code
    except CourseError as error:
        said = str(error)
    except ModuleNotFoundError as error:
        said = (
            f"{error}.\nExpected: a complete installation of the course.\n"
            "Do: `make lab` in the course's folder, or see README.md for Windows."
        )
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `course claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        said = str(files.fault(error))
    print(f"course {name.partition(' ')[0]}: {said}", file=sys.stderr)
    return 1
