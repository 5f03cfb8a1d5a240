"""Grade one submission: bytes in, a record of plain data out.

The record tells outcomes apart and is all that the gradebook is written from.  Nothing
that a submission does ends the grader, and nothing it says becomes a score.
"""

import hashlib
import os
import time
from dataclasses import dataclass

import numpy as np

from course_lib.course.grading import notices, sandbox, submission
from course_lib.course.grading.checks import Checks, Learner, NotAttempted, Wrong
from course_lib.course.grading.outputs import Room
from course_lib.course.grading.sandbox import (
    BrokenEnvironment,
    Kernel,
    KernelDied,
    Limits,
    OutOfTime,
)

CORRECT, WRONG, NOT_ATTEMPTED = "correct", "wrong", "not attempted"
TIMEOUT, DIED, UNREADABLE = "timeout", "kernel died", "unreadable"
BROKEN, BY_HAND = "environment broken", "to be graded by hand"
OUTCOMES = (CORRECT, WRONG, NOT_ATTEMPTED, TIMEOUT, DIED, UNREADABLE, BROKEN, BY_HAND)
CELL_SECONDS, CALL_SECONDS = 60.0, 20.0
START_SECONDS = 1.0  # what a kernel's start counts, whatever it takes


@dataclass
class Answer:
    """What became of one question."""

    outcome: str
    points: float = 0.0
    max_points: float = 0.0
    hint: str | None = None  # a key of the lesson's hints
    reason: str = ""  # for the instructor


def rng_of(seed: int, question: str):
    """The generator of hidden inputs: the same for one seed and question."""
    digest = hashlib.sha256(f"{seed} {question}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


class _Budget:
    """The time of one submission, over all its cells, calls and restarts.

    What counts is the time of its own code (`Kernel.spent`) and START_SECONDS for each
    kernel: a machine that is busy with something else takes nothing of it.
    """

    def __init__(self, seconds: float):
        self.seconds, self.before, self.kernel = seconds, 0.0, None
        self.patience = time.monotonic() + sandbox.PATIENCE * (seconds + 10)

    def begin(self, kernel: Kernel) -> None:
        """From now on this kernel runs."""
        self.before += START_SECONDS + (self.kernel.spent if self.kernel else 0.0)
        self.kernel = kernel

    def left(self, most: float) -> float:
        """Seconds for the next piece, at most ``most``; raises OutOfTime, or BROKEN."""
        spent = self.before + (self.kernel.spent if self.kernel else 0.0)
        if spent >= self.seconds:
            raise OutOfTime
        if time.monotonic() > self.patience:
            raise BrokenEnvironment(
                f"The machine was too busy: {spent:.0f} s of a submission's own time "
                f"took {sandbox.PATIENCE:g} times {self.seconds:.0f} s.\nExpected: a "
                "machine with free processors.\nDo: grade again, with fewer workers."
            )
        return min(most, self.seconds - spent)


def grade(
    content: bytes,
    release: dict,
    checks: str,
    seed: int,
    isolated: bool = True,
    limits: Limits | None = None,
    seconds: float | None = None,
) -> dict:
    """The record of one submission.

    content: bytes of the submitted notebook.  release: the released notebook.  checks:
    text of the lesson's checks.py.  seed: of the hidden inputs.  seconds: for the whole
    submission (default: the lesson's).  The record holds outcome, reason, notice (what
    was unusual, which accuses nobody), seconds, seed, answers by question, and the
    notebook with hints for the feedback.  Two runs differ in the seconds alone.  Never
    raises because of the submission.
    """
    started = time.monotonic()
    known = Checks(checks)
    asked = submission.questions(release)
    answers = {q.name: Answer(UNREADABLE, max_points=q.points) for q in asked}
    outcome, reason, room = "graded", "", Room()
    try:
        built = submission.rebuild(content, release)
    except submission.Unreadable as error:
        built = submission.rebuild(b'{"cells": []}', release)
        outcome, reason, content = UNREADABLE, str(error), b""
        for answer in answers.values():
            answer.reason = reason
    else:
        try:
            budget = _Budget(seconds or known.seconds)
            bounds = _Bounds(isolated, limits or Limits(), budget, room)
            _Run(built, asked, answers, known, seed, bounds).all()
        except BrokenEnvironment as error:
            outcome, reason = BROKEN, str(error).partition("\n")[0]
            for answer in answers.values():
                answer.outcome, answer.points, answer.reason = BROKEN, 0.0, reason
                answer.hint = None
    return {
        "outcome": outcome,
        "reason": reason,
        "notice": "; ".join(sorted(room.notices | notices.found(content, release))),
        "seconds": round(time.monotonic() - started, 2),
        "seed": seed,
        "points": sum(a.points for a in answers.values()),
        "max_points": sum(a.max_points for a in answers.values()),
        "answers": {name: vars(a) for name, a in answers.items()},
        "notebook": _filled(built, release, asked, answers, known),
    }


@dataclass(frozen=True)
class _Bounds:
    """Where a submission runs, and what it may take."""

    isolated: bool
    limits: Limits
    budget: _Budget
    room: Room


class _Run:
    """The kernels of one submission: cells, then checks, again without what ended."""

    def __init__(self, built, asked, answers, known, seed, bounds: _Bounds):
        self.built, self.answers, self.known, self.seed = built, answers, known, seed
        self.isolated, self.limits = bounds.isolated, bounds.limits
        self.budget, self.room = bounds.budget, bounds.room
        self.traffic = bounds.limits.traffic()
        self.by_cell = {q.answer: q.name for q in asked}
        ids = [cell.get("id") for cell in built.cells]
        quiz = {o for o, i in zip(built.origin, ids) if i == submission.QUIZ}
        self.tests = {q.scored for q in asked} | quiz - {None}
        self.skip: dict[int, str] = {}  # learners' cells that ended a kernel
        self.failed: dict[int, str] = {}  # released cells that did, and how
        self.asked = False  # has a check run?  Then no output goes back any more
        self.pending = []
        for q in asked:
            answer = answers[q.name]
            answer.reason = built.reasons.get(q.name, "")
            if q.name in built.untouched:
                answer.outcome = NOT_ATTEMPTED
            elif q.by_hand:
                answer.outcome = BY_HAND
            else:
                self.pending.append(q.name)

    def all(self) -> None:
        """Until every question has its outcome, or the time is over.

        Raises BrokenEnvironment when this machine, and not the submission, is to blame.
        """
        try:
            while self.pending:
                with self._kernel() as kernel:
                    if self._cells(kernel):
                        self._checks(kernel)
        except OutOfTime:
            for name in self.pending:
                self._set(name, TIMEOUT, "timeout", "no time was left for it")
        except KernelDied as problem:  # there is no other kernel for this submission
            for name in self.pending:
                self._set(name, DIED, "died", str(problem))

    def _kernel(self) -> Kernel:
        self.budget.left(60)
        if min(self.traffic.bytes, self.traffic.messages) <= 0:
            raise KernelDied("more output than a submission may send")
        kernel = Kernel(
            self.limits, self.isolated, room=self.room, traffic=self.traffic
        )
        self.budget.begin(kernel)
        return kernel

    def _set(self, name, outcome, hint=None, reason="", points=0.0) -> None:
        answer = self.answers[name]
        answer.outcome, answer.hint, answer.points = outcome, hint, points
        answer.reason = "; ".join(filter(None, (answer.reason, reason)))

    def _is_released(self, i: int) -> bool:
        """Is cell ``i`` the instructor's, as it was handed out?"""
        origin = self.built.origin[i]
        return origin is not None and origin not in self.by_cell

    def _runs(self, i: int) -> bool:
        """Is there something to run in cell ``i``?"""
        cell = self.built.cells[i]
        skipped = self.built.origin[i] in self.tests or i in self.skip
        is_code = cell["cell_type"] == "code" and bool(cell["source"].strip())
        return is_code and not skipped

    def _cells(self, kernel) -> bool:
        """Run the code cells; False when one of them ended the kernel.

        Outputs are kept of what ran before any check: code that has seen hidden inputs
        would get them into the notebook that goes back.
        """
        for i, cell in enumerate(self.built.cells):
            if not self._runs(i):
                continue
            try:
                ran = kernel.run(cell["source"], self.budget.left(CELL_SECONDS))
                if self._is_released(i):
                    kernel.seed(CALL_SECONDS)
            except (OutOfTime, KernelDied) as problem:
                self._cell_failed(i, problem)
                return False
            if not self.asked:
                cell["outputs"] = ran.outputs
        return True

    def _cell_failed(self, i: int, problem: Exception) -> None:
        """Skip a learner's cell from now on; look for the cause of a released one's."""
        late = isinstance(problem, OutOfTime)
        how, hint = (TIMEOUT, "timeout") if late else (DIED, "died")
        if self._is_released(i):
            self._released_failed(i, how, hint)
            return
        self.skip[i] = how
        name = self.by_cell.get(self.built.origin[i])
        if name in self.pending:
            self.pending.remove(name)
            why = "its cell did not end in time" if late else str(problem)
            self._set(name, how, hint, why)

    def _released_failed(self, i: int, how: str, hint: str) -> None:
        """A released cell did not end: try again; then the machine is broken.

        Unless it ends when no cell of the learner runs before it: then what is left is
        without points, because of the learner's own cells.
        """
        if i not in self.failed:
            self.failed[i] = how
            return
        label = f"the released cell {self.built.cells[i].get('id')!r}: {how}"
        before = [k for k in range(i) if self._runs(k) and not self._is_released(k)]
        if not before or not self._ends_alone(i):
            raise BrokenEnvironment(f"{label}, twice; nothing of the learner's did it")
        self.room.notices.add(f"hidden changes: {label} after the learner's cells")
        for name in self.pending:
            self._set(name, how, hint, f"{label}, after the learner's own cells")
        self.pending.clear()

    def _ends_alone(self, last: int) -> bool:
        """Do the released cells up to ``last`` end, when nothing else runs?"""
        with self._kernel() as kernel:
            for i in range(last + 1):
                if self._runs(i) and self._is_released(i):
                    source = self.built.cells[i]["source"]
                    try:
                        kernel.run(source, self.budget.left(CELL_SECONDS))
                    except (OutOfTime, KernelDied):
                        return False
        return True

    def _checks(self, kernel) -> None:
        learner = Learner(kernel, lambda: self.budget.left(CALL_SECONDS))
        self.asked = True
        for name in list(self.pending):
            most = self.answers[name].max_points
            self.budget.left(CALL_SECONDS)
            try:
                self.known.ask(name, learner, rng_of(self.seed, name))
                self._set(name, CORRECT, points=most)
            except Wrong as wrong:
                points = round(most * min(max(wrong.credit, 0.0), 1.0), 2)
                self._set(name, WRONG, wrong.hint, points=points)
            except NotAttempted:
                self._set(name, NOT_ATTEMPTED)
            except OutOfTime:
                self._set(name, TIMEOUT, "timeout", "a call did not end in time")
            except KernelDied as problem:
                self._set(name, DIED, "died", str(problem))
            except BrokenEnvironment:
                raise
            except Exception as problem:  # plain data of a kind nobody thought of
                why = f"the check could not use the answer ({type(problem).__name__})"
                self.room.notices.add("odd packing: an answer that no check could use")
                self._set(name, WRONG, "no plain data", why)
            self.pending.remove(name)
            if kernel.ended:
                return


def _filled(built, release, asked, answers, known) -> dict:
    """The rebuilt notebook, its test cells holding a hint and a score each."""
    shown = {q.scored: q for q in asked if not q.by_hand}
    for cell, origin in zip(built.cells, built.origin):
        q = shown.get(origin)
        if q is None:
            continue
        answer = answers[q.name]
        text = said(answer, known.hints) + "\n"
        score = dict(output_type="execute_result", execution_count=1, metadata={})
        score["data"] = {"text/plain": repr(float(answer.points))}
        said_first = dict(output_type="stream", name="stdout", text=text)
        cell["outputs"], cell["execution_count"] = [said_first, score], 1
    about = {key: release[key] for key in ("metadata", "nbformat", "nbformat_minor")}
    return {"cells": built.cells} | about


def said(answer: Answer, hints: dict[str, str]) -> str:
    """The line that a learner reads: the outcome and an authored hint."""
    line = f"{answer.outcome}: {answer.points:g} of {answer.max_points:g} points"
    if answer.hint:
        line += f". {hints[answer.hint]}"
    return line


def own_seed(secret: str, student: str, lesson: str) -> int:
    """The seed of one submission in a class: fixed by the class's secret."""
    text = f"{secret}\0{lesson}\0{student}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "little")


def new_secret() -> str:
    """A secret for the hidden inputs of a class."""
    return os.urandom(16).hex()
