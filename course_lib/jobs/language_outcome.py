"""What a language job reached: its numbers, and the files that are left of them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from course_lib import files
from course_lib.analysis import statistics
from course_lib.jobs import language_report
from course_lib.jobs.outcome import versions


@dataclass
class LanguageResult:
    """What a job reached, as plain numbers, strings, lists and dicts.

    curve: losses of training, as `instruction_tuning.Curve` has them.  before, after:
    {loss, answers, right, exact, low, high} on the test part, exact None where answers
    are long.  gain: {mean, low, high} of the difference in exact answers.  tested: the
    prompts with their expected answers.  plan: of memory.
    """

    config: dict
    data: dict
    curve: dict
    before: dict
    after: dict
    gain: dict | None
    tested: list[dict]
    notes: list[str]
    verdict: str = ""
    plan: dict = field(default_factory=dict)
    export: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    folder: Path | None = None

    def to_dict(self) -> dict:
        """What result.json holds."""
        return {k: v for k, v in vars(self).items() if k != "folder"}

    def answered(self) -> list[dict]:
        """The test prompts with what was expected, and answered before, after."""
        rows = zip(self.tested, self.before["answers"], self.after["answers"])
        return [row | {"before": a, "after": b} for row, a, b in rows]

    def save(self, folder: Path) -> None:
        """Write the report and the numbers; the page comes last."""
        self.folder = folder
        rows = [one.values() for one in self.answered()]
        table = files.csv_bytes([language_report.COLUMNS, *rows])
        files.atomic_write_bytes(folder / "answers.csv", table)
        files.atomic_write_json(folder / "result.json", self.to_dict(), False)
        page = language_report.html(self).encode()
        files.atomic_write_bytes(folder / "report.html", page)

    def __str__(self) -> str:
        return language_report.text(self)


def concluded(config, parts, tokens, curve, before, after) -> LanguageResult:
    """The result of a job without its exported files."""
    gain = None
    if after["right"] is not None:
        gain = statistics.paired_accuracies(after["right"], before["right"])
    tested = [
        {"example": one.where, "prompt": one.asked, "expected": one.answer}
        for one in tokens.kept["test"][: config.test_answers]
    ]
    result = LanguageResult(
        config=config.to_dict() | {"rate": config.peak_rate},
        data={
            "name": parts.name,
            "sizes": {part: len(some) for part, some in tokens.kept.items()},
            "key": parts.key,
            "tokens": tokens.about,
            "source_licence": language_report.licence(config.model),
        },
        curve=asdict(curve),
        before=before,
        after=after,
        gain=gain,
        tested=tested,
        notes=list(parts.notes),
        seconds={"training": round(curve.seconds, 1)},
        versions=versions(),
    )
    if curve.shortened:
        result.notes.append(
            f"Only {curve.number} updates fitted into {config.minutes:g} minutes."
        )
    result.verdict = language_report.verdict(result)
    return result
