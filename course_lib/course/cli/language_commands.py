"""`course train` and `course predict` for language models."""

import csv
import io
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from course_lib import files
from course_lib.course.cli import command_options
from course_lib.errors import CourseError
from course_lib.jobs import (
    language_configuration,
    language_data,
    language_job,
    language_prediction,
    language_report,
)
from course_lib.show.console import print_json


def train(typed: command_options.Train, config) -> int:
    """The verdict in words, report and model in a folder."""
    stream, told = sys.stderr if typed.json else sys.stdout, []
    if typed.skip_unreadable:
        raise CourseError(
            "--skip-unreadable is for pictures.\nExpected: conversations.\n"
            "Do: skip_bad: true in the configuration leaves out lines, and lists them."
        )

    def show(parts):
        told.extend(parts.notes)
        sizes = {name: len(some) for name, some in parts.named().items()}
        said = ", ".join(f"{n:,} {name}" for name, n in sizes.items())
        print(f"Conversations of {parts.name}: {said}.", file=stream)
        for note in parts.notes:
            print(f"- {note}", file=stream)
        print(file=stream, flush=True)

    with _bar() as progress:
        result = language_job.run(
            config,
            typed.data,
            typed.out,
            again=typed.again,
            progress=progress,
            on_data=show,
        )
    if typed.json:
        print_json(result.to_dict())
        return 0
    print(language_report.text(result, told))
    print(f"\nThe report with figures and tables: {result.folder / 'report.html'}")
    return 0


def predict(typed: command_options.Predict) -> int:
    """An answer to each prompt."""
    if (typed.prompt is None) == (typed.data is None):
        raise CourseError(
            "course predict needs either --prompt or --data.\nExpected: one prompt, or "
            "a file with prompts.\nDo: give one of the two."
        )
    if typed.prompt is not None:
        asked = [language_data.one_prompt(typed.prompt)]
    else:
        reading = language_configuration.from_dict(
            dict(
                prompt_column=typed.column,
                sheet=typed.sheet,
                encoding=typed.encoding,
                skip_bad=typed.skip_empty,
            ),
            "course predict",
        )
        asked, notes = language_data.prompts(typed.data, reading)
        for note in notes:
            print(note, file=sys.stderr)
    answers = language_prediction.answers(typed.model, asked)
    rows = [
        {"example": one.where, "prompt": one.asked, "answer": answer}
        for one, answer in zip(asked, answers)
    ]
    if typed.prompt is not None and not typed.json and not typed.to:
        print(answers[0])
        return 0
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    if not typed.json:
        table = io.StringIO()
        writer = csv.DictWriter(table, tuple(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = table.getvalue()
    if typed.to:
        path = files.atomic_write_bytes(Path(typed.to), text.encode())
        print(f"{len(rows)} answers in {path}")
    else:
        print(text, end="")
    return 0


@contextmanager
def _bar():
    """f(curve): a bar of rich over the updates; None where none is wanted."""
    if os.environ.get("CI") or os.environ.get("COURSE_PROGRESS") == "0":
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} updates"),
        TimeRemainingColumn(),
        TextColumn("validation loss {task.fields[said]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=1, said="")

        def advance(curve):
            said = f"{curve.validation[-1]:.3f}" if curve.validation else ""
            bars.update(task, total=curve.number, completed=len(curve.train), said=said)

        yield advance
