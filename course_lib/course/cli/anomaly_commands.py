"""`course train` and `course predict` for memories of normal pictures."""

import json
import sys
from pathlib import Path

from course_lib import files
from course_lib.course.cli import command_options
from course_lib.jobs import anomaly_job, anomaly_model, anomaly_report
from course_lib.show.console import print_json


def train(typed: command_options.Train, config) -> int:
    """The verdict in words, report and memory in a folder."""
    result, _ = anomaly_job.run(
        config,
        typed.data,
        typed.out,
        again=typed.again,
        skip_unreadable=typed.skip_unreadable,
    )
    if typed.json:
        print_json(result.to_dict())
        return 0
    print(anomaly_report.text(result))
    print(f"\nThe report with heat maps: {result.folder / 'report.html'}")
    return 0


def predict(typed: command_options.Predict) -> int:
    """Score and alarm of each picture; 3 where some were left out, else 0."""
    model = anomaly_model.load(typed.model)
    found = anomaly_job.asked(typed.data, model, typed.skip_unreadable)
    for note in found.notes:
        print(note, file=sys.stderr)
    rows = [
        {
            "example": name,
            "score": f"{score:.4f}",
            "alarm": bool(score > model.threshold),
        }
        for name, score in zip(found.names, model.scores(found.images))
    ]
    if typed.json:
        text = json.dumps(
            [row | {"score": float(row["score"])} for row in rows], indent=1
        )
        text += "\n"
    else:
        text = files.csv_bytes([rows[0], *(row.values() for row in rows)]).decode()
    if typed.to:
        path = files.atomic_write_bytes(Path(typed.to), text.encode())
        print(f"{len(rows)} answers in {path}")
    else:
        print(text, end="")
    return 3 if found.skipped else 0
