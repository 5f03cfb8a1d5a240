"""`course train` and `course predict` for language models."""

import json
import sys
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
from course_lib.show.console import print_json, training_bars


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

    with training_bars() as bar:
        result = language_job.run(
            config,
            typed.data,
            typed.out,
            again=typed.again,
            progress=_progress(bar("training")),
            on_data=show,
        )
    if typed.json:
        print_json(result.to_dict())
        return 0
    print(language_report.text(result, told))
    print(f"\nThe report with figures and tables: {result.folder / 'report.html'}")
    return 0


def _progress(bar):
    """f(curve) that moves a bar over the updates; None without one."""

    def advance(curve):
        loss = curve.validation[-1:]
        said = f"validation loss {loss[0]:.3f}" if loss else ""
        bar(len(curve.train), curve.number, said)

    return advance if bar else None


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
    if typed.json:
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    else:
        text = files.csv_bytes([rows[0], *(row.values() for row in rows)]).decode()
    if typed.to:
        path = files.atomic_write_bytes(Path(typed.to), text.encode())
        print(f"{len(rows)} answers in {path}")
    else:
        print(text, end="")
    return 0
