"""`course diagnose`, `train` and `predict`: one's own pictures, tables and texts."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from course_lib import datasets, files
from course_lib.course.cli import command_options
from course_lib.datasets import tables
from course_lib.diagnose import diagnosis, explained, own_samples, training_runs
from course_lib.diagnose import modality as modalities
from course_lib.errors import CourseError
from course_lib.jobs import pipeline, prediction, reporting
from course_lib.models import zoo
from course_lib.show.console import print_json, print_table
from course_lib.training import distributed
from course_lib.training.picture_size import reads_any_size

MOST_CLASSES = 50  # of which the counts are printed one by one


def diagnose(typed: command_options.Diagnose) -> int:
    """The verdict in words, the report as a page."""
    reading = _reading(typed, labels=typed.labels)
    columns = {"text": typed.text_column, "image": typed.image_column}
    settings = diagnosis.Settings(
        labels_per_class=typed.labels_per_class,
        minutes=typed.minutes,
        augment=typed.augment,
        matters=typed.matters / 100,
        seed=typed.seed,
    )
    found = datasets.held(typed.data, columns, reading)
    modality = next(one for one in modalities.ALL if one.holds == found)
    backbone = _backbone(typed, modality)
    if found == "texts":
        columns = typed.text_column, typed.label_column
        examples = datasets.read_own_texts(typed.data, columns, reading)
    else:
        backbone, examples = _own_pictures(typed, backbone, reading, settings)
    samples = own_samples.joined_parts(examples)
    counts = {modality.inputs: samples.examples.counts()}
    if samples.test:
        counts["test"] = samples.test.counts()
    _show_data(counts, samples.notes, typed.json)
    found = diagnosis.diagnose(
        backbone,
        samples,
        settings,
        groups=[name for name in typed.group_columns.split(",") if name],
        folder=Path(typed.out) / "state",
        again=typed.again,
    )
    page = found.save(typed.out)
    if typed.json:
        print_json(found.to_dict())
        return 0
    print(explained.text(found, told=samples.notes))
    print(f"\nThe report with figures and tables: {page}")
    return 0


def _backbone(typed: command_options.Diagnose, modality):
    """The backbone that was named, else the usual one of such inputs."""
    try:
        backbone = zoo.load(typed.backbone or modality.backbone)
    except CourseError as error:
        if typed.backbone or modality.instead is None:
            raise
        raise CourseError(
            f"{error} Without it: --backbone {modality.instead}, weights that come "
            "with the course."
        ) from None
    modalities.check_backbone(backbone, modality)
    return backbone


def _own_pictures(typed: command_options.Diagnose, backbone, reading, settings):
    """(backbone, pictures), both at the size that was typed or that suits them.

    The pictures' notes say why, where the size follows from them and the time.
    """
    if typed.size is not None and not 8 <= typed.size <= 1024:
        raise CourseError(
            f"--size {typed.size} is no side of a picture.\nExpected: 8 to 1024 pixels."
            "\nDo: leave it out, or give 64 or 96."
        )
    rule = None
    if typed.size is None and reads_any_size(backbone):
        rule = training_runs.size_rule(settings)
    else:
        backbone, size = modalities.sized(backbone, typed.size)
    reader = datasets.Reader(
        rule or size,
        skip_unreadable=typed.skip_unreadable,
        value_range=_value_range(typed.value_range),
        option="--skip-unreadable",
    )
    columns = typed.image_column, typed.label_column
    examples = datasets.read_own(typed.data, reader, columns, reading)
    if rule:
        examples = replace(examples, told=[rule.why, *examples.told])
    return backbone, examples


def train(typed: command_options.Train, config) -> int:
    """The verdict in words, report and model in a folder."""
    result = pipeline.run(
        config,
        typed.data,
        typed.out,
        again=typed.again,
        skip_unreadable=typed.skip_unreadable,
        on_data=lambda p: _show_data(p.counts(), p.notes, typed.json),
    )
    if distributed.current().rank:
        return 0
    if typed.json:
        print_json(result.to_dict())
        return 0
    print(reporting.text(result, told=result.parts.notes))
    print(f"\nThe report with figures and tables: {result.folder / 'report.html'}")
    return 0


def predict(typed: command_options.Predict) -> int:
    """An answer an example; 3 where some were left out, else 0."""
    found = prediction.answers(
        typed.model,
        typed.data,
        typed.column,
        typed.skip_unreadable,
        _reading(typed, {"text_column": "column", "image_column": "column"}),
    )
    for note in found.notes:
        print(note, file=sys.stderr)
    text = _as_json(found) if typed.json else _as_csv(found)
    if typed.to:
        path = files.atomic_write_bytes(Path(typed.to), text.encode())
        print(f"{len(found.names)} answers in {path}")
    else:
        print(text, end="")
    return 3 if found.left_out else 0


def _rows(found: prediction.Answers):
    """(example, answer, its probability, all probabilities), to four digits."""
    for name, row in zip(found.names, found.probabilities):
        best = int(row.argmax())
        numbers = [f"{value:.4f}" for value in row]
        yield name, found.classes[best], numbers[best], numbers


def _as_csv(found: prediction.Answers) -> str:
    heads = ("example", "answer", "probability", *found.classes)
    return files.csv_bytes([heads, *([*r, *ps] for *r, ps in _rows(found))]).decode()


def _as_json(found: prediction.Answers) -> str:
    """The same numbers; a class may have the name of another column here."""
    rows = [
        {
            "example": str(name),
            "answer": answer,
            "probability": float(probability),
            "probabilities": dict(zip(found.classes, map(float, numbers))),
        }
        for name, answer, probability, numbers in _rows(found)
    ]
    return json.dumps(rows, indent=1) + "\n"


def _reading(typed: command_options.Table, flags=None, labels="auto") -> tables.Reading:
    """How a table is to be read; messages name the options of this command.

    flags: {option of Python: its name here, where it differs}.
    """

    def option(key, value):
        flag = "--" + (flags or {}).get(key, key).replace("_", "-")
        return flag if value == "True" else f"{flag} {value}"

    return tables.Reading(
        encoding=typed.encoding,
        sheet=typed.sheet,
        skip_empty=typed.skip_empty,
        labels=labels,
        option=option,
    )


def _value_range(span) -> list[float] | None:
    if span is not None and not span[0] < span[1]:
        raise CourseError(
            f"--value-range {span[0]:g} {span[1]:g} is no range.\nExpected: two "
            "numbers, the smaller first.\nDo: --value-range 0 4095, for example."
        )
    return span and list(span)


def _show_data(counts: dict, notes, as_json: bool) -> None:
    """What was read, before anything is trained: classes, counts, what is special.

    counts: {part: {class: examples}}.  as_json: on standard error.
    """
    stream = sys.stderr if as_json else sys.stdout
    classes = list(next(iter(counts.values())))
    shown = classes if len(classes) <= MOST_CLASSES else classes[: MOST_CLASSES - 1]
    rows = [(name, *(part[name] for part in counts.values())) for name in shown]
    if rest := classes[len(shown) :]:
        sums = [sum(part[name] for name in rest) for part in counts.values()]
        rows.append((f"{len(rest):,} more classes", *sums))
    rows.append(("all", *(sum(part.values()) for part in counts.values())))
    print_table("The data", ("class", *counts), rows, stream)
    for note in notes:
        print(f"- {note}", file=stream)
    print(file=stream, flush=True)
