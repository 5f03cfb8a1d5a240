"""Answers without content to every question of every exercise: no points for any.

What the learner's side of a check sends is the learner's choice.  Each question gets
empty, constant, echoed, truncated and forged answers in place of what its check asks
for; none of them may earn a share of the points, nor end the check in an error.
"""

import forging
import numpy as np
import pytest
from forging import FORGED, checks_of, credit, recorded, solved, untouched

from course_lib.grading import release

LESSONS = release.lessons()
QUESTIONS = [(one, name) for one in LESSONS for name in checks_of(one).functions]
every_question = pytest.mark.parametrize(
    "lesson, question", QUESTIONS, ids=[f"{one.name[:2]}-{q}" for one, q in QUESTIONS]
)
# The answer is one constant, whatever is drawn: there is no other to it.
WITHOUT_ARGUMENTS = {"nf4_levels": {"another draw", "a third draw"}}


def test_there_are_enough_attacks():
    assert len(FORGED) >= 40 and len(QUESTIONS) >= 60


@every_question
def test_no_answer_without_content_earns_points(lesson, question):
    record = recorded(lesson, question)
    others = [recorded(lesson, question, seed) for seed in (5, 8)]
    earned = {}
    with np.errstate(all="ignore"):
        for name, attack in FORGED.items():
            if name in WITHOUT_ARGUMENTS.get(question, ()):
                continue
            learner = forging.Forged(solved(lesson), attack, record, others)
            try:
                share = credit(lesson, question, learner)
            except Exception as problem:
                share = f"{type(problem).__name__}: {problem}"
            if share != 0:
                earned[name] = share
    assert not earned


@every_question
def test_the_released_stub_earns_nothing(lesson, question):
    assert credit(lesson, question, forging.Played(untouched(lesson))) == 0
