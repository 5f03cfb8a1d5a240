"""What an exercise tells its learner, and the progress that is kept."""

import json

import pytest

from course_lib.course import cli, exercises, learner_progress
from course_lib.errors import CourseError


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


def test_three_states_and_a_hint(capsys):
    with exercises.visible("08", "a"):
        raise NotImplementedError
    with exercises.visible("08", "b"):
        raise AssertionError("one is not two")
    with exercises.visible("08", "c"):
        {}["x"]
    with exercises.visible("08", "d"):
        assert True
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("- a: not attempted")
    assert said[1] == "x b: incorrect: one is not two"
    assert said[2] == "x c: incorrect: your code raises KeyError: 'x'"
    assert said[3].startswith("+ d: visible test passes: the score is for other inputs")
    assert "correct" not in said[3]
    states = ["not attempted", "incorrect", "incorrect", "visible test passes"]
    assert learner_progress.load() == {"08": dict(zip("abcd", states))}


def test_an_interruption_is_no_answer():
    with pytest.raises(KeyboardInterrupt):
        with exercises.visible("08", "a"):
            raise KeyboardInterrupt
    assert learner_progress.load() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_damaged_file_of_progress_is_none(content):
    learner_progress.file().write_text(content)
    assert learner_progress.load() == {}
    learner_progress.remember("01", "x", learner_progress.PASSES)
    assert learner_progress.load() == {"01": {"x": "visible test passes"}}


def test_the_dashboard_counts(capsys):
    learner_progress.remember("08", "lora_forward", "correct")
    learner_progress.remember("08", "merge_bug", "incorrect")
    assert cli.main(["check"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "08_lora" in x)
    assert "+-x---" in line and "1 of 6" in line


def test_the_dashboard_shows_points_quizzes_and_the_next_step(capsys):
    learner_progress.remember("08", "lora_forward", "correct")
    learner_progress.remember_quiz("08", 1, False)
    learner_progress.remember_quiz("08", 1, True)  # the first answer counts
    learner_progress.remember_quiz("08", 2, True)
    board = exercises.dashboard()
    (row,) = [row for row in board.rows if row.name == "08_lora"]
    assert (row.passing, row.score, row.by_hand) == (1, None, 2)
    assert (row.quiz, row.quiz_answered, row.quiz_total) == (1, 2, 4)
    assert board.next_step().startswith("Next: lora_layer in exercises/08_lora")
    board.show()
    assert "1 of 4, 2 open" in capsys.readouterr().out
    assert cli.main(["check", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [found["name"] for found in rows] == [one.name for one in board.rows]
    (found,) = [found for found in rows if found["name"] == "08_lora"]
    assert found["outcomes"] == row.outcomes and found["points"] == row.points
    assert (found["quiz"], found["quiz_answered"], found["quiz_total"]) == (1, 2, 4)
    html = board._repr_html_()
    assert html.count('<th scope="row"') == len(board.rows) + 1
    assert 'aria-label="08_lora: 17% pass"' in html


def test_progress_of_odd_kinds_is_none():
    odd = {"08": 3, "03": {"x": 4}, "quiz": {"08": 5, "03": {"1": []}}}
    learner_progress.file().write_text(json.dumps(odd))
    board = exercises.dashboard()
    assert sum(row.passing for row in board.rows) == 0
    learner_progress.remember_quiz("08", 1, True)
    assert learner_progress.load()["quiz"]["08"] == {"1": "correct"}


def test_unknown_exercises_and_broken_ones_say_what_to_do(small_course, capsys):
    assert cli.main(["check", "08"]) == 1
    assert "There is no exercise '08'" in capsys.readouterr().err
    folder = small_course / "exercises" / "08_lora"
    folder.mkdir(parents=True)
    (folder / "08_lora.ipynb").write_text("{")
    with pytest.raises(CourseError, match="git checkout"):
        exercises.check(["08"])
    cell = {"metadata": {"nbgrader": {"grade": True, "grade_id": "a-test"}}}
    (folder / "08_lora.ipynb").write_text(json.dumps({"cells": [cell]}))
    assert exercises.questions(folder / "08_lora.ipynb") == ["a"]
