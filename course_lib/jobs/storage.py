"""The folder of a training job: state to go on from, and what is left at the end."""

import time
from pathlib import Path

from course_lib import files
from course_lib.errors import CourseError
from course_lib.jobs import exported, model_card
from course_lib.jobs.configuration import Config
from course_lib.jobs.head_choice import Choice
from course_lib.jobs.outcome import Result
from course_lib.models import continued
from course_lib.training import distributed


def check_apart(data: Path, out) -> None:
    """CourseError where a job would write into the folder that it reads."""
    if out is None or not data.is_dir():
        return
    inside, outside = Path(out).resolve(), data.resolve()
    if inside == outside or inside.is_relative_to(outside):
        raise CourseError(
            f"The output {out} lies in the data folder {data}.\nExpected: a folder "
            "elsewhere: the job would take its own output for data.\n"
            "Do: name another one with --out."
        )


class JobFolder:
    """Where a job writes; its state belongs to one configuration and one data set."""

    def __init__(self, out, key: str, again: bool):
        self.path = None if out is None else Path(out)
        self.key, self.again, self.choice = key, again, None
        if self.path is None or distributed.current().rank or again:
            return
        note = self.path / "state" / "job.json"
        stored = files.read_json(note) if note.exists() else {"key": key}
        if stored["key"] != key:
            raise CourseError(
                f"{self.path} holds another job: its configuration or its data were "
                "not these.\nExpected: a new folder, or the same job.\nDo: name "
                "another one with --out, or replace the old job with --again."
            )
        if "head_reads" in stored:
            stages, said = stored["head_reads"]
            self.choice = Choice(tuple(stages), said)

    def begin(self, choice: Choice | None = None) -> None:
        """Write down whose state it holds, and what the head reads."""
        if self.path is None or distributed.current().rank:
            return
        if self.again:
            for old in (self.path / "state").glob("*.safetensors"):
                old.unlink()
        note = {"key": self.key}
        if choice is not None:
            note["head_reads"] = [choice.stages, choice.said]
        files.atomic_write_json(self.path / "state" / "job.json", note)

    def state(self, name: str) -> Path | None:
        """The checkpoint of one training run."""
        if self.path is None:
            return None
        return self.path / "state" / f"{name}.safetensors"

    def write(self, result: Result, config: Config) -> None:
        """Everything that is left when the job is done; the page comes last."""
        if self.path is None or distributed.current().rank:
            return
        began = time.perf_counter()
        test = result.parts.test
        result.export = exported.export(
            result.backbone,
            result.classes,
            self.path / "model",
            getattr(test, test.holds),
            onnx=config.onnx,
            about={
                "model": continued.origin(result.backbone)
                if config.task == "images"
                else config.model,
                "task": config.task,
                "dropout": config.dropout,
                "head_reads": result.config["head_reads"],
                "image_size": result.data["size"],
                "columns": result.data["columns"],
                "pictures": result.data["pictures"],
            },
        )
        result.seconds["export"] = round(time.perf_counter() - began, 2)
        card = model_card.model_card(result).encode("utf-8")
        files.atomic_write_bytes(self.path / "model" / "README.md", card)
        table = files.csv_bytes([("part", "example", "label"), *result.parts.rows()])
        files.atomic_write_bytes(self.path / "splits.csv", table)
        files.atomic_write_bytes(
            self.path / "config.yaml", config.to_yaml().encode("utf-8")
        )
        files.atomic_write_json(self.path / "result.json", result.to_dict(), False)
        page = result.html().encode("utf-8")
        files.atomic_write_bytes(self.path / "report.html", page)
