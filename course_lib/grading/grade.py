"""Grade one submission: bytes in, a record of plain data out.

The record tells outcomes apart and is all that the gradebook is written from.  Nothing
that a submission does ends the grader, and nothing it says becomes a score.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

from course_lib.grading import submission
from course_lib.grading.checks import Checks, Learner, NotAttempted, Wrong
from course_lib.grading.sandbox import (
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
    import numpy as np

    digest = hashlib.sha256(f"{seed} {question}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


class _Budget:
    """The time of one submission, over all its cells, calls and restarts."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds

    def left(self, most: float) -> float:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise OutOfTime
        return min(most, remaining)


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
    submission (default: the lesson's).  The record holds outcome, reason, seconds,
    seed, answers by question, and the notebook with hints for the feedback.  Never
    raises because of the submission.
    """
    started = time.monotonic()
    known = Checks(checks)
    asked = submission.questions(release)
    answers = {q.name: Answer(UNREADABLE, max_points=q.points) for q in asked}
    outcome, reason = "graded", ""
    try:
        built = submission.rebuild(content, release)
    except submission.Unreadable as error:
        built = submission.rebuild(b'{"cells": []}', release)
        outcome, reason = UNREADABLE, str(error)
        for answer in answers.values():
            answer.reason = reason
    else:
        try:
            _Run(
                built,
                asked,
                answers,
                known,
                seed,
                isolated,
                limits or Limits(),
                _Budget(seconds or known.seconds),
            ).all()
        except BrokenEnvironment as error:
            outcome, reason = BROKEN, str(error).partition("\n")[0]
            for answer in answers.values():
                answer.outcome, answer.points, answer.reason = BROKEN, 0.0, reason
    return {
        "outcome": outcome,
        "reason": reason,
        "seconds": round(time.monotonic() - started, 2),
        "seed": seed,
        "points": sum(a.points for a in answers.values()),
        "max_points": sum(a.max_points for a in answers.values()),
        "answers": {name: vars(a) for name, a in answers.items()},
        "notebook": _filled(built, release, asked, answers, known),
    }


class _Run:
    """The kernels of one submission: cells, then checks, again without what ended."""

    def __init__(self, built, asked, answers, known, seed, isolated, limits, budget):
        self.built, self.answers, self.known, self.seed = built, answers, known, seed
        self.isolated, self.limits, self.budget = isolated, limits, budget
        self.by_cell = {q.answer: q.name for q in asked}
        ids = [cell.get("id") for cell in built.cells]
        quiz = {o for o, i in zip(built.origin, ids) if i == submission.QUIZ}
        self.tests = {q.scored for q in asked} | quiz - {None}
        self.skip: dict[int, str] = {}  # cells that ended a kernel
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
        """Until every question has its outcome, or the time is over."""
        try:
            while self.pending:
                self.budget.left(60)
                with Kernel(self.limits, self.isolated) as kernel:
                    if self._cells(kernel):
                        self._checks(kernel)
        except OutOfTime:
            for name in self.pending:
                self._set(name, TIMEOUT, "timeout", "no time was left for it")

    def _set(self, name, outcome, hint=None, reason="", points=0.0) -> None:
        answer = self.answers[name]
        answer.outcome, answer.hint, answer.points = outcome, hint, points
        answer.reason = "; ".join(filter(None, (answer.reason, reason)))

    def _cells(self, kernel) -> bool:
        """Run the code cells; False when one of them ended the kernel."""
        for i, cell in enumerate(self.built.cells):
            origin = self.built.origin[i]
            if cell["cell_type"] != "code" or origin in self.tests or i in self.skip:
                continue
            if not cell["source"].strip():
                continue
            try:
                cell["outputs"] = kernel.run(
                    cell["source"], self.budget.left(CELL_SECONDS)
                ).outputs
            except (OutOfTime, KernelDied) as problem:
                late = isinstance(problem, OutOfTime)
                self.skip[i] = TIMEOUT if late else DIED
                why = "its cell did not end in time" if late else str(problem)
                name = self.by_cell.get(origin)
                if name in self.pending:
                    self.pending.remove(name)
                    hint = "timeout" if late else "died"
                    self._set(name, self.skip[i], hint, why)
                return False
        return True

    def _checks(self, kernel) -> None:
        learner = Learner(kernel, lambda: self.budget.left(CALL_SECONDS))
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
            except Exception as problem:  # plain data of a kind nobody thought of
                why = f"the check could not use the answer ({type(problem).__name__})"
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
        score = {
            "output_type": "execute_result",
            "execution_count": 1,
            "metadata": {},
            "data": {"text/plain": repr(float(answer.points))},
        }
        cell["outputs"] = [
            {"output_type": "stream", "name": "stdout", "text": text},
            score,
        ]
        cell["execution_count"] = 1
    return {
        "cells": built.cells,
        "metadata": release["metadata"],
        "nbformat": release["nbformat"],
        "nbformat_minor": release["nbformat_minor"],
    }


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
