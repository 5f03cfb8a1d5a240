"""The exercises: made from solutions, proven by their bank, giving nothing away."""

import contextlib
import io
import json
import re
import warnings
from pathlib import Path

import forging
import pytest
from grading_toy import needs_sandbox

from course_lib import paths
from course_lib.course import exercises, learner_copy, learner_progress
from course_lib.course.grading import bank, release, submission
from course_lib.course.grading.checks import Checks

LESSONS = release.lessons()
by_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.name)


def test_there_are_exercises():
    there = {lesson.name[:2] for lesson in LESSONS}
    assert {"01", "02", "03", "04", "05", "08", "10"} <= there


@pytest.mark.slow
@by_lesson
def test_the_committed_exercise_is_what_the_solution_makes(lesson):
    pytest.importorskip("nbgrader")
    made = release.generate(lesson)
    path = release.released(lesson)
    for copy in (path, path.with_name(learner_copy.RELEASED)):
        assert copy.read_bytes() == made, "run `course release`"


@by_lesson
def test_questions_say_what_they_want(lesson):
    public = submission.load_release(release.released(lesson))
    asked = submission.questions(public)
    by_code = [q for q in asked if not q.by_hand]
    assert 3 <= len(by_code) <= 6 and len(asked) - len(by_code) == 1
    checks = Checks((lesson / "checks.py").read_text("utf-8"))
    assert set(checks.functions) == {q.name for q in by_code}
    texts = {c["id"]: c["source"] for c in public["cells"]}
    for q in asked:
        stated = re.search(
            r"difficulty [123] of 3, \d+ minutes, ([\d.]+) points",
            texts[f"{q.name}-text"],
        )
        assert float(stated.group(1)) == q.points
    for q in by_code:
        assert texts[f"{q.name}-help"].startswith("**When it does not work**")
        assert "exercises.visible(" in texts[f"{q.name}-test"]
        assert "raise NotImplementedError()" in texts[q.name]
    points = sum(q.points for q in asked)
    assert f"{len(asked)} questions, {points:g} points" in texts["title"]


@by_lesson
def test_the_bank_is_large_enough(lesson):
    checks = Checks((lesson / "checks.py").read_text("utf-8"))
    found = bank.entries(lesson)
    assert {e.question for e in found} == set(checks.functions)
    for question in checks.functions:
        own = [e for e in found if e.question == question]
        assert sum(e.hint is None for e in own) >= 2, question
        assert sum(e.hint is not None for e in own) >= 5, question
        assert len({e.name for e in own}) == len(own)
        assert {e.hint for e in own} - {None} <= set(checks.hints)


def said_visibly(release: dict, answers: list[bank.Entry]) -> list[str]:
    """The line that the visible test shows for each answer; empty where none is shown.

    All run in this process, one after the other and without a sandbox: answers of the
    bank are the instructor's own.  The caller sets COURSE_PROGRESS, or the instructor's
    own progress changes.
    """
    cells, asked = release["cells"], {q.name: q for q in submission.questions(release)}
    locked = {q.scored for q in asked.values()} | {q.answer for q in asked.values()}
    given = {}
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code" and i not in locked and cell["id"] != "quiz":
            exec(cell["source"], given)  # noqa: S102
    said = []
    for entry in answers:
        space, shown = dict(given), io.StringIO()
        with contextlib.redirect_stdout(shown), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wrong answer divides by what it likes
            exec(entry.source, space)  # noqa: S102
            exec(cells[asked[entry.question].scored]["source"], space)  # noqa: S102
        lines = shown.getvalue().splitlines()
        said.append(next((x for x in lines if f" {entry.question}: " in x), ""))
    return said


@pytest.mark.slow
@by_lesson
def test_the_visible_tests_see_each_answer_of_the_bank(lesson, tmp_path, monkeypatch):
    """A wrong answer fails with a hint of its own, a right one passes."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    public = submission.load_release(release.released(lesson))
    found = bank.entries(lesson)
    unseen = [
        f"{entry.question}, {entry.name}: {said}"
        for entry, said in zip(found, said_visibly(public, found), strict=True)
        if not said.startswith("x " if entry.hint else "+ ")
        or said.endswith("the visible test fails")
    ]
    assert unseen == []


@by_lesson
def test_visible_tests_are_short(lesson):
    public = submission.load_release(release.released(lesson))
    for asked in submission.questions(public):
        lines = public["cells"][asked.scored]["source"].splitlines()
        assert len([line for line in lines if line.strip()]) <= 20, asked.name


def surprises(lesson):
    """What the checks say of the lesson's bank and should not."""
    public = submission.load_release(release.released(lesson))
    checks = (lesson / "checks.py").read_text("utf-8")
    return bank.try_all(public, checks, bank.entries(lesson), seed=11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of wrong answers
@by_lesson
def test_the_bank_is_told_right_from_wrong(lesson, monkeypatch):
    """The requests of the checks, answered here: the sandbox is tried below."""
    monkeypatch.setattr(bank, "Kernel", forging.Here)
    assert surprises(lesson) == []


@pytest.mark.slow
@needs_sandbox
def test_the_bank_is_told_right_from_wrong_in_the_sandbox_too():
    (lesson,) = (one for one in LESSONS if one.name.startswith("08"))
    assert surprises(lesson) == []


@pytest.mark.slow
@needs_sandbox
@by_lesson
def test_the_reference_is_full_and_the_untouched_exercise_empty(lesson):
    pytest.importorskip("nbgrader")
    found = release.scores(lesson)
    assert release.refusals(found) == []
    by_hand = [
        a["max_points"]
        for a in found["reference"]["answers"].values()
        if a["outcome"] == "to be graded by hand"
    ]
    full = found["reference"]["max_points"] - sum(by_hand)
    assert found["reference"]["points"] == full and len(by_hand) == 1


def said_by(notebook, folder, monkeypatch, capsys):
    """{question: outcome} after the notebook's cells, failing ones included.

    The cells run in this process: a kernel of its own takes seconds to start.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COURSE_PROGRESS", str(folder / "progress.json"))
    learner_progress.file().unlink(missing_ok=True)
    space = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and cell["id"] != "quiz":
            with contextlib.suppress(Exception):
                exec(compile(source, cell["id"], "exec"), space)
    (found,) = learner_progress.load().values() or [{}]
    shown = [
        line[2:].split(": ")[:2]
        for line in capsys.readouterr().out.splitlines()
        if line[:2] in ("+ ", "x ", "- ")
    ]
    assert dict(shown) == found
    return found


@pytest.mark.slow
@by_lesson
def test_visible_tests_tell_the_three_states(lesson, tmp_path, monkeypatch, capsys):
    """On the exercise, on the solution, and on the solution with wrong returns."""
    asked = exercises.questions(release.released(lesson))

    def outcomes(notebook):
        return said_by(notebook, tmp_path, monkeypatch, capsys)

    untouched = json.loads(release.released(lesson).read_text("utf-8"))
    assert outcomes(untouched) == dict.fromkeys(asked, "not attempted")
    reference = json.loads((lesson / f"{lesson.name}.ipynb").read_text("utf-8"))
    assert outcomes(reference) == dict.fromkeys(asked, learner_progress.PASSES)
    silent = 0  # functions that return nothing: they stay right
    for cell in reference["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            source = "".join(cell["source"])
            cell["source"] = re.sub(r"return .+", "return 'nothing'", source)
            silent += cell["cell_type"] == "code" and cell["source"] == source
    incorrect = list(outcomes(reference).values()).count("incorrect")
    assert incorrect >= len(asked) - silent


@pytest.mark.slow
def test_course_check_runs_a_notebook_of_the_learner(tmp_path, monkeypatch, capsys):
    """The command, on the exercise and on the solution in its place."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("COURSE_COPY", str(tmp_path / "my_course"))
    lesson = LESSONS[-1]
    number = lesson.name[:2]
    asked = exercises.questions(release.released(lesson))
    assert exercises.check([number]) == 1
    assert capsys.readouterr().out.count(": not attempted: ") == len(asked)
    assert set(learner_progress.load()[number].values()) == {"not attempted"}
    reference = lesson / f"{lesson.name}.ipynb"
    monkeypatch.setattr(exercises, "notebooks", lambda names=None: [reference])
    assert exercises.check([number]) == 0
    assert capsys.readouterr().out.count(": visible test passes: ") == len(asked)
    assert learner_progress.load()[number] == dict.fromkeys(
        asked, learner_progress.PASSES
    )


# -- nothing given away ----------------------------------------------------------------


def test_exercises_hold_nothing_of_solutions_or_checks():
    assert release.leaks(paths.ROOT / "exercises") == []


def test_the_leak_test_finds_a_leak(tmp_path):
    lesson = LESSONS[0]
    line = max(release.secrets_of(lesson), key=len)
    folder = tmp_path / "exercises"
    folder.mkdir()
    (folder / "notes.md").write_text(f"look:\n{line}\n")
    assert release.leaks(tmp_path)


@pytest.mark.slow
def test_the_bundle_is_the_course_without_answers(tmp_path):
    copied = release.bundle(tmp_path / "course")
    assert "exercises/08_lora/08_lora.ipynb" in copied and "README.md" in copied
    assert not [
        n
        for n in copied
        if "solutions" in n
        or Path(n).name == "checks.py"
        and not n.startswith("course_lib/course/grading/")
    ]
    for lesson in LESSONS:
        for path in (tmp_path / "course").rglob("*"):
            assert path.name != "bank" and f"solutions/{lesson.name}" not in str(path)
    with pytest.raises(Exception, match="not empty"):
        release.bundle(tmp_path / "course")
