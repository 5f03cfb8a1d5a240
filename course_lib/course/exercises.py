"""What an exercise notebook says to its learner: not attempted, incorrect, correct.

The visible tests of the exercises run inside ``visible``; ``course check`` collects
what they say over the course.  Scores are given elsewhere, with other inputs.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from course_lib import files, paths
from course_lib.course import runner
from course_lib.course.grading import submission
from course_lib.errors import CourseError
from course_lib.show.console import print_json, print_table

NOT_ATTEMPTED, INCORRECT, CORRECT = "not attempted", "incorrect", "correct"
QUIZ = "quiz"  # where the quizzes' first answers stand in the file of progress
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
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, dict)}


def remember(lesson: str, question: str, outcome: str) -> None:
    """Note one outcome; a folder that cannot be written to is no error."""
    found = progress()
    found.setdefault(lesson, {})[question] = outcome
    try:
        files.atomic_write_json(progress_file(), found)
    except OSError:
        pass


def remember_quiz(lesson: str, number: int, is_right: bool) -> None:
    """Note the first answer to a question of a lesson's quiz; later ones do nothing."""
    found = progress()
    quizzes = found.setdefault(QUIZ, {})
    if not isinstance(quizzes.get(lesson), dict):
        quizzes[lesson] = {}
    own = quizzes[lesson]
    if str(number) not in own:
        own[str(number)] = CORRECT if is_right else INCORRECT
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


RELEASED = ".released.ipynb"  # beside the notebook that its learner writes into


def as_released(path: Path) -> Path:
    """The exercise as the course ships it; the notebook itself where that is all."""
    kept = paths.ROOT / "exercises" / path.stem / RELEASED
    return kept if kept.exists() else path


def questions(path: Path) -> list[str]:
    """Names of the questions of an exercise that have a visible test."""
    return list(worth(path)[0])


def worth(path: Path) -> tuple[dict[str, float], float]:
    """Points of an exercise: by question with a visible test, and those by hand.

    As it was released, whatever its learner has done to the notebook; one that cannot
    be read counts as one without questions.
    """
    try:
        cells = json.loads(as_released(path).read_text(encoding="utf-8"))["cells"]
        found = [c.get("metadata", {}).get("nbgrader", {}) for c in cells]
        graded = [o for o in found if o.get("grade")]
        asked = {
            o["grade_id"].removesuffix("-test"): float(o.get("points", 0))
            for o in graded
            if not o.get("solution")
        }
        return asked, sum(
            float(o.get("points", 0)) for o in graded if o.get("solution")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, 0.0


def check(names: list[str] | None, as_json: bool = False) -> int:
    """Run the visible tests of exercises and show what they say; 0 when all pass.

    The notebook is put together as `course grade` does it, so both see the same
    answers.  No names: only show the progress over the course.  The notebooks stay as
    they are.  ``as_json``: the rows of the dashboard as JSON, what the tests say on
    standard error.  Raises CourseError for one that is no notebook.
    """
    passed = True
    for path in notebooks(names) if names else []:
        passed &= _check(path, sys.stderr if as_json else sys.stdout)
    board = dashboard()
    if as_json:
        print_json([asdict(row) for row in board.rows])
    else:
        board.show()
    return 0 if passed else 1


def _check(path: Path, stream) -> bool:
    """Run one exercise and show what its visible tests say; do all of them pass?"""
    notebook, notes = rebuilt(path)
    number = path.stem[:2]
    before = progress().get(number, {})
    for name in questions(path):
        remember(number, name, NOT_ATTEMPTED)
    result = runner.execute(notebook, path.stem)
    found = progress().get(number, {})
    said = [
        line
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
        for output in cell.get("outputs", [])
        for line in output.get("text", "").splitlines()
    ]
    said += [f"note: {name}: {why}" for name, why in notes.items()]
    said += [result.failure] if result.failure else []
    print("\n".join([f"{path.stem}:", *(f"  {line}" for line in said)]), file=stream)
    if result.failure:
        for name, outcome in before.items():
            remember(number, name, outcome)
    return not result.failure and set(found.values()) <= {CORRECT}


def rebuilt(path: Path):
    """A learner's notebook as it is graded, to be run; and notes by question.

    Every cell may fail: none hides what the next one says.  Raises CourseError for a
    file that is no notebook.
    """
    import nbformat

    try:
        content = submission.read(path.resolve())
        public = submission.load_release(as_released(path))
        built = submission.rebuild(content, public)
    except (submission.Unreadable, ValueError, KeyError) as error:
        brief = error if isinstance(error, submission.Unreadable) else "it is damaged"
        raise CourseError(
            f"{path.name} cannot be read: {brief}.\nExpected: your exercise notebook."
            f"\nDo: make a copy of it first; `git checkout -- exercises/{path.stem}` "
            "brings the empty one back."
        ) from None
    made = {k: public.get(k) for k in ("metadata", "nbformat", "nbformat_minor")}
    notebook = nbformat.from_dict({"cells": built.cells, **made})
    for cell in notebook.cells:
        cell.metadata["tags"] = ["raises-exception"]
    return notebook, built.reasons


# -- the dashboard ---------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One exercise: what the visible tests and the quiz have said so far."""

    name: str
    outcomes: dict[str, str]  # by question
    points: dict[str, float]  # of the same questions
    by_hand: float  # points of the open question
    quiz: int | None  # questions of the quiz right at the first choice; None: no quiz
    quiz_answered: int = 0
    quiz_total: int = 0

    @property
    def right(self) -> int:
        """Questions whose visible test passes."""
        return sum(o == CORRECT for o in self.outcomes.values())

    @property
    def earned(self) -> float:
        """Points of these questions."""
        return sum(self.points[n] for n, o in self.outcomes.items() if o == CORRECT)

    @property
    def marks(self) -> str:
        """A sign for each question, in order."""
        return "".join(SIGNS[o] for o in self.outcomes.values())


class Dashboard:
    """The progress over the course, as text in a terminal, as a table in a notebook."""

    def __init__(self, rows: list[Row]):
        self.rows = rows

    def next_step(self) -> str:
        """Where to go on: the first question that is not correct yet."""
        begun = [r for r in self.rows if set(r.outcomes.values()) != {NOT_ATTEMPTED}]
        for row in begun + [row for row in self.rows if row not in begun]:
            for name, outcome in row.outcomes.items():
                if outcome != CORRECT:
                    return f"Next: {name} in exercises/{row.name} ({outcome})."
        return "All visible tests pass." if self.rows else "There are no exercises."

    def _cells(self) -> list[tuple[str, ...]]:
        made = []
        for row in self.rows:
            quiz = "" if row.quiz is None else f"{row.quiz} of {row.quiz_total}"
            if row.quiz is not None and row.quiz_answered < row.quiz_total:
                left = row.quiz_total - row.quiz_answered
                quiz = f"{quiz}, {left} open" if row.quiz_answered else "-"
            total = sum(row.points.values())
            made.append(
                (
                    row.name,
                    row.marks,
                    f"{row.right} of {len(row.outcomes)}",
                    f"{row.earned:g} of {total:g}",
                    f"{row.by_hand:g}" if row.by_hand else "",
                    quiz,
                )
            )
        rows = self.rows
        made.append(
            (
                "the course",
                "",
                f"{sum(r.right for r in rows)} of {sum(len(r.outcomes) for r in rows)}",
                f"{sum(r.earned for r in rows):g} of "
                f"{sum(sum(r.points.values()) for r in rows):g}",
                f"{sum(r.by_hand for r in rows):g}",
                f"{sum(r.quiz or 0 for r in rows)} of "
                f"{sum(r.quiz_total for r in rows)}",
            )
        )
        return made

    def show(self) -> None:
        """Print it."""
        print_table(TITLE, FIELDS, self._cells())
        print("\n".join([*NOTE, self.next_step()]))

    def _repr_html_(self) -> str:
        left = 'style="text-align: left; padding: 0.2em 0.8em"'
        heads = "".join(f'<th scope="col" {left}>{f}</th>' for f in (*FIELDS, "share"))
        lines = []
        done = [r.right / max(len(r.outcomes), 1) for r in self.rows]
        done.append(sum(r.right for r in self.rows) / self._questions())
        for cells, share in zip(self._cells(), done):
            name, *rest = map(escape, cells)
            bar = (
                f'<progress max="1" value="{share:.3f}" aria-label="{name}: '
                f'{share:.0%} correct">{share:.0%}</progress>'
            )
            row = "".join(f"<td {left}>{text}</td>" for text in (*rest, bar))
            lines.append(f'<tr><th scope="row" {left}>{name}</th>{row}</tr>')
        return (
            f"<table><caption>{escape(TITLE)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>"
            f"<p>{'<br>'.join(map(escape, (*NOTE, self.next_step())))}</p>"
        )

    def _questions(self) -> int:
        return max(sum(len(row.outcomes) for row in self.rows), 1)


TITLE = "Your exercises: + correct, x incorrect, - not attempted"
FIELDS = ("exercise", "questions", "correct", "points", "by hand", "quiz")
NOTE = (
    "Points: of the visible tests that pass; the score is given for other inputs.",
    "By hand: an instructor marks the open question. Quiz: right at the first choice.",
)


def _known(outcome) -> str:
    return outcome if outcome in (CORRECT, INCORRECT) else NOT_ATTEMPTED


def dashboard() -> Dashboard:
    """The progress over the course; the last line of a cell shows it as a table."""
    found, rows = progress(), []
    quizzes = found.get(QUIZ, {})
    for path in notebooks():
        number = path.stem[:2]
        own, first = found.get(number, {}), quizzes.get(number)
        first = first if isinstance(first, dict) else {}
        asked, by_hand = worth(path)
        page = path.with_name("quiz.json")
        total = len(json.loads(page.read_text("utf-8"))) if page.exists() else 0
        right = sum(outcome == CORRECT for outcome in first.values())
        rows.append(
            Row(
                path.stem,
                {name: _known(own.get(name)) for name in asked},
                asked,
                by_hand,
                min(right, total) if total else None,
                min(len(first), total),
                total,
            )
        )
    return Dashboard(rows)
