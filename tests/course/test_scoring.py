"""`course score` and `course solution`: the hidden verdict, and when answers unfold."""

import json
import subprocess

import pytest
from grading_toy import needs_sandbox

from course_lib.course import cli, exercises, learner_progress, scoring
from course_lib.course.grading import grade, release
from course_lib.errors import CourseError


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("COURSE_COPY", str(tmp_path / "my_course"))


def test_a_solution_unfolds_after_a_pass_or_three_different_failures(capsys):
    def tried(passed, digest, question="speed_up"):
        learner_progress.remember_attempts("03", {question: (passed, digest)})

    for digest in ("a", "b", "b", "a"):  # the same again is no further attempt
        tried(False, digest)
    assert learner_progress.attempts_left("03", "speed_up") == 1
    assert cli.main(["solution", "03", "speed_up"]) == 0
    said = capsys.readouterr().out
    assert "not yet" in said and "return" not in said
    tried(False, "c")
    tried(True, "a", "choose_strategy")
    assert cli.main(["solution", "03"]) == 0
    said = capsys.readouterr().out.split("-- ")
    assert "return" in next(x for x in said if x.startswith("speed_up"))
    assert "return" in next(x for x in said if x.startswith("choose_strategy"))
    assert "not yet" in next(x for x in said if x.startswith("cached_features"))
    assert "SOLUTION" not in "".join(said)


def test_unknown_questions_and_courses_without_checks_say_so(small_course, capsys):
    path = small_course / "exercises" / "03_x" / "03_x.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cells": []}))
    for command, missing in (("score", "its checks"), ("solution", "solutions")):
        assert cli.main([command, "03"]) == 1
        said = capsys.readouterr().err
        assert f"was handed out without {missing}" in said and "\nDo: " in said
    with pytest.raises(SystemExit):
        cli.main(["score"])


def test_verdicts_hold_points_and_hints_and_are_kept(monkeypatch, capsys):
    """The record of the grader, as its learner sees it; the grading itself is cut."""
    (path,) = exercises.notebooks(["03"])

    def graded(content, release, checks, seed, isolated):
        wrong = grade.Answer(grade.WRONG, 1.0, 3.0, "raises")
        answers = {
            "freeze_backbone": grade.Answer(grade.CORRECT, 3.0, 3.0),
            "cached_features": wrong,
            "speed_up": grade.Answer(grade.NOT_ATTEMPTED, 0.0, 2.0),
            "own_data": grade.Answer(grade.BY_HAND, 0.0, 2.0),
        }
        return {
            "outcome": "graded",
            "answers": {name: vars(answer) for name, answer in answers.items()},
        }

    monkeypatch.setattr(scoring.grade, "grade", graded)
    assert cli.main(["score", "03", "--json"]) == 1
    found = {row["question"]: row for row in json.loads(capsys.readouterr().out)}
    assert "Your code raises an error" in found["cached_features"]["hint"]
    assert found["own_data"]["by_hand"] and not found["speed_up"]["by_hand"]
    assert learner_progress.part(learner_progress.SCORE, "03") == {
        "freeze_backbone": 3.0,
        "cached_features": 1.0,
        "speed_up": 0.0,
    }
    left = [learner_progress.attempts_left("03", name) for name in found]
    assert left == [0, 2, 3, 0]
    (row,) = [r for r in exercises.dashboard().rows if r.name == path.stem]
    assert (row.score, row.total) == (4.0, 14.0)
    assert cli.main(["score", "03"]) == 1
    assert "Score: 4 of 8 points" in capsys.readouterr().out


def test_a_machine_that_cannot_run_checks_is_no_verdict(monkeypatch):
    (path,) = exercises.notebooks(["03"])
    broken = {"outcome": grade.BROKEN, "reason": "no kernel.", "answers": {}}
    monkeypatch.setattr(scoring.grade, "grade", lambda *a: broken)
    with pytest.raises(CourseError, match="could not run the checks: no kernel"):
        scoring.verdicts(path, True)
    assert learner_progress.load() == {}


@pytest.mark.slow
@needs_sandbox
def test_the_score_is_that_of_the_checks_in_the_sandbox(monkeypatch, capsys):
    """A wrong answer that the visible test lets pass scores less; no answer is told."""
    (path,) = exercises.notebooks(["03"])
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] == "speed_up":
            cell["source"] = "def speed_up(b, h, e):\n    return 1.0 if e == 1 else 5.0"
    own = exercises.learner_copy.own(path)
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(notebook), "utf-8")
    (found,) = [v for v in scoring.verdicts(path, True) if v.question == "speed_up"]
    assert found.outcome == grade.WRONG and found.points < found.max_points
    assert found.hint


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("answers", [False, True])
def test_what_a_release_hands_out_is_its_setting(
    small_course, tmp_path_factory, checks, answers
):
    """Checks and solutions only where they were asked for, the bank never."""
    empty = json.dumps({"cells": [], "metadata": {}})
    for name in ("exercises/08_x/08_x.ipynb", "solutions/08_x/08_x.ipynb"):
        (small_course / name).parent.mkdir(parents=True)
        (small_course / name).write_text(empty)
    line = "HINTS = {'a hint that is long enough to tell': 1}\n"
    (small_course / "solutions" / "08_x" / "checks.py").write_text(line)
    (small_course / "solutions" / "08_x" / "bank").mkdir()
    (small_course / "solutions" / "08_x" / "bank" / "a.py").write_text(line * 2)
    subprocess.run(["git", "init", "--quiet"], cwd=small_course, check=True)
    folder = tmp_path_factory.mktemp("learners") / "course"
    copied = set(release.bundle(folder, checks, answers))
    wanted = {"exercises/08_x/08_x.ipynb"}
    wanted |= {"solutions/08_x/checks.py"} if checks else set()
    wanted |= {"solutions/08_x/08_x.ipynb"} if answers else set()
    assert copied == wanted
    assert {p for p in wanted if (folder / p).exists()} == wanted
