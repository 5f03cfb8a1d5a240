"""The quizzes: sound, with a reason for each option, and not to be guessed."""

import numpy as np
import pytest

from course_lib import paths
from course_lib.course import exercises, quizzes
from course_lib.errors import CourseError

LESSONS = sorted(p.parent.name[:2] for p in paths.ROOT.glob("exercises/*/quiz.json"))
QUESTIONS = [q for lesson in LESSONS for q in quizzes.load(lesson)]


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


def test_each_exercise_has_a_quiz():
    pages = paths.ROOT.glob("exercises/*/[0-9]*.ipynb")
    found = sorted(path.parent.name[:2] for path in pages)
    assert found == LESSONS and len(QUESTIONS) >= 4 * len(LESSONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.text[:30])
def test_options_differ_and_each_has_a_reason(question):
    assert len(set(question.options)) == len(question.options) == 4
    assert len(set(question.reasons)) == 4
    right = [quizzes.answered(question, i).startswith("Right: ") for i in range(4)]
    assert right.count(True) == 1 and right[question.right]


def rank_of_right(question):
    """Share of the other options that are shorter, ties by half: 0.5 when unbiased."""
    sizes = [len(o) for o in question.options]
    own = sizes.pop(question.right)
    return float(np.mean([(s < own) + 0.5 * (s == own) for s in sizes]))


def test_positions_tell_nothing():
    """Every position is right about as often: chi-square below its 95 % quantile."""
    counts = np.bincount([q.right for q in QUESTIONS], minlength=4)
    expected = len(QUESTIONS) / 4
    assert ((counts - expected) ** 2 / expected).sum() < 7.81, counts


def test_lengths_tell_nothing():
    """Guessing the longest, or the shortest, wins no more than chance allows."""
    ranks = [rank_of_right(q) for q in QUESTIONS]
    error = 0.37 / np.sqrt(len(ranks))  # of a mean of uniform ranks 0, 1/3, 2/3, 1
    assert abs(np.mean(ranks) - 0.5) < 2 * error, np.mean(ranks)
    limit = len(ranks) / 4 + 2 * np.sqrt(len(ranks) * 3 / 16)
    assert sum(r == 1 for r in ranks) <= limit
    assert sum(r == 0 for r in ranks) <= limit


def test_a_choice_is_answered_at_once(capsys):
    import ipywidgets

    shown = []
    original = ipywidgets.VBox.__init__

    def spy(self, children=(), **settings):
        shown.append(children)
        original(self, children, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ipywidgets.VBox, "__init__", spy)
        quizzes.show(LESSONS[0])
    questions = quizzes.load(LESSONS[0])
    assert len(shown) == len(questions)
    _, choice, said = shown[0]
    assert choice.value is None and said.value == ""
    choice.value = questions[0].right
    assert said.value.startswith("Right: ")
    choice.value = (questions[0].right + 1) % 4
    assert said.value.startswith("Not quite: ")
    (row, *_) = exercises.dashboard().rows
    assert (row.quiz, row.quiz_answered) == (1, 1)  # the first choice is noted


def test_an_unknown_lesson_is_named():
    with pytest.raises(CourseError, match="no quiz for lesson '77'"):
        quizzes.show("77")
