"""What an exercise notebook says to its learner: not attempted, incorrect, correct.

The visible tests of the exercises run inside ``visible``; ``course check`` collects
what they say over the course.  Scores are given elsewhere, with other inputs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from course_lib import files, paths
from course_lib.errors import CourseError

NOT_ATTEMPTED, INCORRECT, CORRECT = "not attempted", "incorrect", "correct"
SIGNS = {NOT_ATTEMPTED: "-", INCORRECT: "x", CORRECT: "+"}


class visible:
    """The visible test of one question: says what came of it and raises nothing.

    ``with visible("08", "lora_forward"): assert ..., "hint"``.  NotImplementedError
    means not attempted; a failed assertion shows its hint.
    """

    def __init__(self, lesson: str, question: str):
        self.lesson, self.question = lesson, question

    def __enter__(self) -> visible:
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if kind is None:
            outcome, hint = CORRECT, "the visible test passes"
        elif issubclass(kind, NotImplementedError):
            outcome, hint = NOT_ATTEMPTED, "write your answer in the cell above"
        elif issubclass(kind, AssertionError):
            outcome, hint = INCORRECT, str(error) or "the visible test fails"
        elif issubclass(kind, Exception):
            outcome = INCORRECT
            hint = f"your code raises {kind.__name__}: {error}"
        else:
            return False  # an interruption
        print(f"{SIGNS[outcome]} {self.question}: {outcome}: {hint}")
        remember(self.lesson, self.question, outcome)
        return True


def progress_file() -> Path:
    """Where progress is kept: COURSE_PROGRESS, else in the course's cache folder."""
    named = os.environ.get("COURSE_PROGRESS")
    return Path(named) if named else paths.CACHE / "progress.json"


def progress() -> dict[str, dict[str, str]]:
    """{lesson: {question: outcome}} so far; empty when there is none."""
    try:
        found = json.loads(progress_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(lesson: str, question: str, outcome: str) -> None:
    """Note one outcome; a folder that cannot be written to is no error."""
    found = progress()
    found.setdefault(lesson, {})[question] = outcome
    try:
        files.atomic_write_json(progress_file(), found)
    except OSError:
        pass


def largest_difference(value, expected) -> float:
    """Largest absolute difference of two tensors; infinite when the shapes differ."""
    import torch

    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return float("inf")
    return (value - expected).abs().max().item() if value.numel() else 0.0


# -- course check ----------------------------------------------------------------------


def notebooks(names: list[str] | None = None) -> list[Path]:
    """Exercise notebooks of lessons named ``8``, ``08`` or ``08_lora``; none: all.

    Raises CourseError for one that does not exist.
    """
    folder = paths.ROOT / "exercises"
    known = sorted(folder.glob("[0-9][0-9]_*/[0-9][0-9]_*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        number = stem.zfill(2) if stem.isdigit() else None
        match = [p for p in known if p.stem == stem or p.stem[:2] == number]
        if not match:
            raise CourseError(
                f"There is no exercise {name!r}.\nExpected: one of "
                f"{', '.join(p.stem for p in known) or '(none)'}.\nDo: give its "
                "number, for example `course check 08`."
            )
        found += match
    return found


def questions(path: Path) -> list[str]:
    """Names of the questions of an exercise that have a visible test."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [c.get("metadata", {}).get("nbgrader", {}) for c in cells]
    return [
        o["grade_id"].removesuffix("-test")
        for o in found
        if o.get("grade") and not o.get("solution")
    ]


def check(names: list[str]) -> int:
    """Run the visible tests of exercises and show what they say; 0 when all pass.

    No names: only show the progress over the course.  The notebooks stay as they are.
    """
    import nbformat

    from course_lib import runner

    passed = True
    for path in notebooks(names) if names else []:
        try:
            notebook = nbformat.read(path, as_version=4)
        except Exception as error:
            raise CourseError(
                f"{path.name} cannot be read ({type(error).__name__}).\nExpected: your "
                f"exercise notebook.\nDo: `git checkout -- exercises/{path.stem}` "
                "brings the empty one back."
            ) from None
        for cell in notebook.cells:  # a failing cell of yours does not hide the next
            cell.metadata["tags"] = ["raises-exception"]
        before = progress().get(path.stem[:2], {})
        for name in questions(path):
            remember(path.stem[:2], name, NOT_ATTEMPTED)
        result = runner.execute(notebook, path.stem)
        found = progress().get(path.stem[:2], {})
        said = [
            line
            for cell in notebook.cells
            if cell.metadata.get("nbgrader", {}).get("grade")
            for output in cell.get("outputs", [])
            for line in output.get("text", "").splitlines()
        ]
        print("\n".join([f"{path.stem}:", *(f"  {line}" for line in said)]))
        if result.failure:
            print(f"  {result.failure}")
            for name, outcome in before.items():
                remember(path.stem[:2], name, outcome)
        passed &= not result.failure and set(found.values()) <= {CORRECT}
    dashboard()
    return 0 if passed else 1


def dashboard() -> None:
    """Print the progress over the course: a line for each exercise."""
    from course_lib.cli import print_table

    found, rows = progress(), []
    for path in notebooks():
        asked, own = questions(path), found.get(path.stem[:2], {})
        outcomes = [own.get(name, NOT_ATTEMPTED) for name in asked]
        marks = "".join(SIGNS[o] for o in outcomes)
        right = sum(o == CORRECT for o in outcomes)
        rows.append((path.stem, marks, f"{right} of {len(asked)}"))
    print_table(
        "Your exercises: + correct, x incorrect, - not attempted",
        ("exercise", "questions", "correct"),
        rows,
    )
