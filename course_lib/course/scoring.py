"""`course score` and `course solution`: the hidden verdict, for its learner.

The trusted checks ask the answers for other inputs than the visible tests do.  They and
the solutions are there only where the instructor handed them out (`release.bundle`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from course_lib import paths
from course_lib.course import exercises, learner_copy, learner_progress
from course_lib.course.grading import grade, sandbox, submission
from course_lib.course.grading.checks import Checks
from course_lib.errors import CourseError
from course_lib.show.console import print_json, print_table

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


@dataclass(frozen=True)
class Verdict:
    """What the hidden checks say of one question."""

    exercise: str
    question: str
    outcome: str
    points: float
    max_points: float
    hint: str  # an authored one; never an expected value
    by_hand: bool = False  # an open question, which has no check


def score(names: list[str], as_json: bool = False) -> int:
    """Show the hidden verdict on exercises; 0 when all of it is correct, else 1.

    Runs in the sandbox where there is one, else as `course check` does, and says so.
    Raises CourseError where the course was handed out without checks.
    """
    isolated = sandbox.probe() is None
    found = [
        row for path in exercises.notebooks(names) for row in verdicts(path, isolated)
    ]
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        print_table(
            "What the hidden checks say",
            ("exercise", "question", "verdict", "points", "hint"),
            [
                (
                    row.exercise[:2],
                    row.question,
                    row.outcome,
                    f"{row.points:g} of {row.max_points:g}",
                    row.hint,
                )
                for row in found
            ],
        )
        tested = [row for row in found if not row.by_hand]
        print(
            f"Score: {sum(r.points for r in tested):g} of "
            f"{sum(r.max_points for r in tested):g} points, without the open question."
        )
        if not isolated:
            print("There is no sandbox here: your code ran as in your notebook.")
    return 0 if {r.outcome for r in found} <= {grade.CORRECT, grade.BY_HAND} else 1


def verdicts(path: Path, isolated: bool) -> list[Verdict]:
    """The verdict on each question of one exercise; score and attempts are noted."""
    number = path.stem[:2]
    if not exercises.has_checks(path):
        raise CourseError(
            f"Exercise {number} was handed out without its checks.\nExpected: "
            f"solutions/{path.stem}/checks.py, where learners may see their score.\n"
            f"Do: `course check {number}` for the visible tests; the score comes from "
            f"your instructor, to whom you hand in {exercises.written(path)}."
        )
    built = exercises.rebuilt(path)
    checks = (paths.ROOT / "solutions" / path.stem / "checks.py").read_text("utf-8")
    public = submission.load_release(learner_copy.as_released(path))
    record = grade.grade(
        submission.read(exercises.written(path).resolve()),
        public,
        checks,
        grade.own_seed(grade.new_secret(), "", path.stem),
        isolated,
    )
    if record["outcome"] == grade.BROKEN:
        raise CourseError(
            f"This machine could not run the checks: {record['reason']}\nExpected: a "
            "machine that runs the released notebook.\nDo: `course doctor`."
        )
    hints = Checks(checks).hints
    by_hand = {q.name for q in submission.questions(public) if q.by_hand}
    found = [
        Verdict(
            path.stem,
            name,
            answer["outcome"],
            answer["points"],
            answer["max_points"],
            hints[answer["hint"]] if answer["hint"] else "",
            name in by_hand,
        )
        for name, answer in record["answers"].items()
    ]
    _remember(path, found, exercises.answers(path, built))
    return found


def _remember(path: Path, found: list[Verdict], digests: dict[str, str]) -> None:
    number = path.stem[:2]
    points = {v.question: v.points for v in found if not v.by_hand}
    learner_progress.remember_part(learner_progress.SCORE, number, points)
    done = (grade.CORRECT, grade.BY_HAND)  # an open question is answered
    learner_progress.remember_attempts(
        number,
        {
            v.question: (v.outcome in done, digests[v.question])
            for v in found
            if v.outcome != grade.NOT_ATTEMPTED
        },
    )


# -- solutions -------------------------------------------------------------------------


def solution(name: str, question: str | None = None) -> int:
    """Show the solutions that a learner may see, and what is missing for the others.

    A question's solution unfolds after an attempt that passes, or after three different
    ones that failed.  Raises CourseError where none were handed out, and for an unknown
    question.
    """
    (path,) = exercises.notebooks([name])
    number = path.stem[:2]
    known = _solutions(path)
    if question is not None and question not in known:
        raise CourseError(
            f"There is no question {question!r} in exercise {number}.\nExpected: "
            f"one of {', '.join(known)}.\nDo: `course solution {number}` shows all."
        )
    for one in [question] if question else known:
        left = learner_progress.attempts_left(number, one)
        command = "score" if exercises.has_checks(path) else "check"
        shown = f"-- {one}\n{known[one]}\n"
        wait = (
            f"-- {one}: not yet. It unfolds after an attempt that passes, or {left} "
            f"more that failed (`course {command} {number}` counts them).\n"
        )
        print(wait if left else shown)
    return 0


def _solutions(path: Path) -> dict[str, str]:
    """{question: its solution} of an exercise.  CourseError where there are none."""
    file = paths.ROOT / "solutions" / path.stem / path.name
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise CourseError(
            f"Exercise {path.stem[:2]} was handed out without solutions.\nExpected: "
            f"solutions/{path.stem}/{path.name}, if your instructor allows it.\nDo: "
            "ask your instructor."
        ) from None
    found = {}
    for cell in cells:
        ours = cell["metadata"].get("nbgrader", {})
        if ours.get("solution"):
            lines = learner_copy.text(cell).splitlines()
            kept = [line for line in lines if line.strip() not in (BEGIN, END)]
            found[ours["grade_id"]] = "\n".join(kept)
    return found
