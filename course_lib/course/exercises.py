"""What an exercise notebook says to its learner: not attempted, incorrect, it passes.

The visible tests of the exercises run inside ``visible``; ``course check`` collects
what they say over the course.  A visible test that passes is no verdict: scores are
given elsewhere, with other inputs (`scoring`).
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from course_lib import paths
from course_lib.course import learner_copy, learner_progress, runner
from course_lib.course.grading import submission
from course_lib.course.learner_progress import CORRECT, INCORRECT, NOT_ATTEMPTED, PASSES
from course_lib.errors import CourseError
from course_lib.show.console import print_json, print_table

SIGNS = {NOT_ATTEMPTED: "-", INCORRECT: "x", PASSES: "+"}


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
            outcome, hint = PASSES, "the score is for other inputs"
            if any((paths.ROOT / "solutions").glob(f"{self.lesson}_*/checks.py")):
                hint += f": `course score {self.lesson}`"
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
        learner_progress.remember(self.lesson, self.question, outcome)
        return True


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
    return runner.named(names, known, "There is no exercise {!r}", "course check 08")


def questions(path: Path) -> list[str]:
    """Names of the questions of an exercise that have a visible test."""
    return list(worth(path)[0])


def worth(path: Path) -> tuple[dict[str, float], float]:
    """Points of an exercise: by question with a visible test, and those by hand.

    As it was released, whatever its learner has done to the notebook; one that cannot
    be read counts as one without questions.
    """
    try:
        text = learner_copy.as_released(path).read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
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

    The notebook of the learner's copy, where there is one, is put together as `course
    grade` does it, so both see the same answers.  No names: only show the progress over
    the course.  The notebooks stay as they are.  ``as_json``: the rows of the dashboard
    as JSON, what the tests say on standard error.  Raises CourseError for one that is
    no notebook.
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


def written(path: Path) -> Path:
    """The notebook that a learner of an exercise writes into."""
    own = learner_copy.own(path)
    return own if own.exists() else path


def _check(path: Path, stream) -> bool:
    """Run one exercise and show what its visible tests say; do all of them pass?"""
    built = rebuilt(path)
    notebook, notes, number = runnable(path, built), built.reasons, path.stem[:2]
    before = learner_progress.load().get(number, {})
    for name in questions(path):
        learner_progress.remember(number, name, NOT_ATTEMPTED)
    result = runner.execute(notebook, path.stem)
    found = learner_progress.load().get(number, {})
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
            learner_progress.remember(number, name, outcome)
    elif not has_checks(path):  # with checks, what counts is their verdict
        tried = answers(path, built)
        tested = [name for name in tried if found.get(name) in (PASSES, INCORRECT)]
        learner_progress.remember_attempts(
            number, {name: (found[name] == PASSES, tried[name]) for name in tested}
        )
    return not result.failure and set(found.values()) <= {PASSES}


def has_checks(path: Path) -> bool:
    """Was the exercise handed out with the checks that give its score?"""
    return (paths.ROOT / "solutions" / path.stem / "checks.py").exists()


def rebuilt(path: Path) -> submission.Rebuilt:
    """A learner's notebook as it is graded.  Raises CourseError when it is none."""
    own = written(path)
    try:
        content = submission.read(own.resolve())
        public = submission.load_release(learner_copy.as_released(path))
        return submission.rebuild(content, public)
    except (submission.Unreadable, ValueError, KeyError) as error:
        brief = error if isinstance(error, submission.Unreadable) else "it is damaged"
        again = (
            f"`git checkout -- exercises/{path.stem}`"
            if own == path
            else f"delete {own}; then `course copy`"
        )
        raise CourseError(
            f"{path.name} cannot be read: {brief}.\nExpected: your exercise notebook."
            f"\nDo: keep a copy of it; {again} brings the empty one back."
        ) from None


def runnable(path: Path, built: submission.Rebuilt):
    """A rebuilt notebook to execute, in which any cell may fail and hide no other."""
    import nbformat

    public = submission.load_release(learner_copy.as_released(path))
    made = {k: public.get(k) for k in ("metadata", "nbformat", "nbformat_minor")}
    notebook = nbformat.from_dict({"cells": built.cells, **made})
    for cell in notebook.cells:
        cell.metadata["tags"] = ["raises-exception"]
    return notebook


def answers(path: Path, built: submission.Rebuilt) -> dict[str, str]:
    """{question: digest of the answer's text} of a learner's notebook."""
    public = submission.load_release(learner_copy.as_released(path))
    found = {}
    for asked in submission.questions(public):
        cells = [c for c, o in zip(built.cells, built.origin) if o == asked.answer]
        text = "\n".join(cell["source"] for cell in cells)
        found[asked.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


# -- the dashboard ---------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One exercise: what tests, score, quiz and predictions have said so far."""

    name: str
    outcomes: dict[str, str]  # by question
    points: dict[str, float]  # of the same questions
    by_hand: float  # points of the open question
    score: float | None  # of `course score`; None: not asked for yet
    quiz: int | None  # questions of the quiz right at the first choice; None: no quiz
    quiz_answered: int = 0
    quiz_total: int = 0
    predicted: int = 0  # predictions of the lesson that had a result
    predicted_well: int = 0  # of them close, or the right choice

    @property
    def passing(self) -> int:
        """Questions whose visible test passes."""
        return sum(o == PASSES for o in self.outcomes.values())

    @property
    def total(self) -> float:
        """Points of the questions with a visible test."""
        return sum(self.points.values())

    @property
    def marks(self) -> str:
        """A sign for each question, in order."""
        return "".join(SIGNS[o] for o in self.outcomes.values())

    def cells(self) -> tuple[str, ...]:
        """The row as texts, one for each of `FIELDS`."""
        quiz = "" if self.quiz is None else f"{self.quiz} of {self.quiz_total}"
        if self.quiz is not None and self.quiz_answered < self.quiz_total:
            left = self.quiz_total - self.quiz_answered
            quiz = f"{quiz}, {left} open" if self.quiz_answered else "-"
        return (
            self.name,
            self.marks,
            f"{self.passing} of {len(self.outcomes)}",
            "-" if self.score is None else f"{self.score:g} of {self.total:g}",
            f"{self.by_hand:g}" if self.by_hand else "",
            quiz,
            f"{self.predicted_well} of {self.predicted}" if self.predicted else "-",
        )


class Dashboard:
    """The progress over the course, as text in a terminal, as a table in a notebook."""

    def __init__(self, rows: list[Row], predicted: tuple[int, int] = (0, 0)):
        self.rows, self.predicted = rows, predicted  # (good, all) of all lessons

    def next_step(self) -> str:
        """Where to go on: the first question whose visible test does not pass yet."""
        begun = [r for r in self.rows if set(r.outcomes.values()) != {NOT_ATTEMPTED}]
        for row in begun + [row for row in self.rows if row not in begun]:
            for name, outcome in row.outcomes.items():
                if outcome != PASSES:
                    return f"Next: {name} in exercises/{row.name} ({outcome})."
        for row in self.rows:
            if row.score is None:
                return f"All visible tests pass. Next: `course score {row.name[:2]}`."
        return "All visible tests pass." if self.rows else "There are no exercises."

    def _cells(self) -> list[tuple[str, ...]]:
        rows = self.rows
        asked = sum(len(r.outcomes) for r in rows)
        scores = [r.score for r in rows if r.score is not None]
        good, predicted = self.predicted
        course = (
            "the course",
            "",
            f"{sum(r.passing for r in rows)} of {asked}",
            f"{sum(scores):g} of {sum(r.total for r in rows):g}" if scores else "-",
            f"{sum(r.by_hand for r in rows):g}",
            f"{sum(r.quiz or 0 for r in rows)} of {sum(r.quiz_total for r in rows)}",
            f"{good} of {predicted}" if predicted else "-",
        )
        return [*(row.cells() for row in rows), course]

    def show(self) -> None:
        """Print it."""
        print_table(TITLE, FIELDS, self._cells())
        print("\n".join([*NOTE, self.next_step()]))

    def _repr_html_(self) -> str:
        left = 'style="text-align: left; padding: 0.2em 0.8em; white-space: nowrap"'
        heads = "".join(f'<th scope="col" {left}>{f}</th>' for f in (*FIELDS, "share"))
        lines = []
        done = [r.passing / max(len(r.outcomes), 1) for r in self.rows]
        done.append(sum(r.passing for r in self.rows) / self._questions())
        for cells, share in zip(self._cells(), done):
            name, *rest = map(escape, cells)
            bar = (
                f'<progress max="1" value="{share:.3f}" aria-label="{name}: '
                f'{share:.0%} pass">{share:.0%}</progress>'
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


TITLE = "Your exercises: + visible test passes, x incorrect, - not attempted"
FIELDS = (
    "exercise",
    "questions",
    "visible tests",
    "score",
    "by hand",
    "quiz",
    "predictions",
)
NOTE = (
    "Score: of `course score`, for other inputs than those of the visible tests.",
    "By hand: an instructor marks the open question. Quiz: right at the first choice.",
    "Predictions: of those in the lesson with a result, how many were close or right.",
)


def _known(outcome) -> str:
    outcome = PASSES if outcome == CORRECT else outcome  # as older versions had it
    return outcome if outcome in (PASSES, INCORRECT) else NOT_ATTEMPTED


def _predicted(found: dict, number: str = "") -> tuple[int, int]:
    """(good, all) of the predictions of a lesson, or of all, that were judged."""
    entries = found.get(learner_progress.PREDICTIONS, {}).items()
    said = [
        entry.get("verdict")
        for name, entry in entries
        if name.startswith(number) and isinstance(entry, dict)
    ]
    good = sum(verdict == learner_progress.GOOD for verdict in said)
    return good, good + sum(verdict == learner_progress.OFF for verdict in said)


def dashboard() -> Dashboard:
    """The progress over the course; the last line of a cell shows it as a table."""
    found, rows = learner_progress.load(), []
    for path in notebooks():
        number = path.stem[:2]
        own = found.get(number, {})
        first = learner_progress.part(learner_progress.QUIZ, number)
        asked, by_hand = worth(path)
        page = path.with_name("quiz.json")
        total = len(json.loads(page.read_text("utf-8"))) if page.exists() else 0
        right = sum(outcome == CORRECT for outcome in first.values())
        points = learner_progress.part(learner_progress.SCORE, number)
        found_points = (points.get(name) for name in asked)
        scored = [float(n) for n in found_points if isinstance(n, int | float)]
        good, predicted = _predicted(found, f"{number}-")
        rows.append(
            Row(
                path.stem,
                {name: _known(own.get(name)) for name in asked},
                asked,
                by_hand,
                sum(scored) if scored else None,
                min(right, total) if total else None,
                min(len(first), total),
                total,
                predicted,
                good,
            )
        )
    return Dashboard(rows, _predicted(found))
