"""The learner's copy: nothing tracked is written, and no cell is ever lost."""

import json
import re

import pytest

from course_lib import paths
from course_lib.course import cli, exercises, learner_copy
from course_lib.course.grading import release
from course_lib.errors import CourseError


def code(name, source, outputs=(), **metadata):
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "execution_count": 1 if outputs else None,
        "outputs": list(outputs),
    }


SAID = {"output_type": "stream", "name": "stdout", "text": "42"}


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def store(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook(*cells)), "utf-8")


def sources(path):
    return [cell["source"] for cell in json.loads(path.read_text("utf-8"))["cells"]]


@pytest.fixture
def lesson(small_course):
    path = small_course / "notebooks" / "00_start.ipynb"
    store(path, code("a", "a = 1", [SAID]), code("b", "b = 2", [SAID]))
    return path


def test_a_copy_is_empty_until_run_and_the_course_untouched(lesson, capsys):
    before = lesson.read_bytes()
    assert cli.main(["copy"]) == 0
    assert "1 notebooks copied" in capsys.readouterr().out
    own = learner_copy.own(lesson)
    assert own.relative_to(lesson.parents[1]).as_posix() == "my_course/" + (
        lesson.relative_to(lesson.parents[1]).as_posix()
    )
    cells = json.loads(own.read_text("utf-8"))["cells"]
    assert [cell["outputs"] for cell in cells] == [[], []]
    assert lesson.read_bytes() == before
    assert cli.main(["copy", "--outputs"]) == 0
    cells = json.loads(own.read_text("utf-8"))["cells"]
    assert [cell["outputs"] for cell in cells] == [[SAID], [SAID]]


def test_a_copy_that_is_up_to_date_is_not_written(lesson):
    learner_copy.renew()
    own = learner_copy.own(lesson)
    own.write_text(own.read_text("utf-8").replace("a = 1", "a = 5") + "\n\n")
    before = own.read_bytes()
    assert learner_copy.renew().lines() == []
    assert own.read_bytes() == before


def test_a_changed_lesson_keeps_what_the_learner_wrote(lesson):
    """Three ways: changed by one side, by both, by none; own cells; removed ones."""
    store(lesson, *(code(n, f"{n} = 1", [SAID]) for n in "abcdefg"))
    learner_copy.renew()
    own = learner_copy.own(lesson)
    store(
        own,
        code("a", "a = 1", [SAID]),  # as it was, and run
        code("mine", "print(a)", [SAID]),
        code("b", "b = 'me'"),
        code("c", "c = 'me'"),
        code("d", "d = 1", [SAID]),
        code("e", "e = 'me'"),  # the course will drop it
        code("f", "f = 1"),
        code("last", "the end"),
    )  # g is deleted
    new = [code("a", "a = 1"), code("b", "b = 1"), code("c", "c = 'course'")]
    new += [code("d", "d = 'course'"), code("new", "new = 1"), code("g", "g = 1")]
    store(lesson, *new)
    told = learner_copy.renew()
    assert told.merged == ["00_start"] and "kept" in told.lines()[0]
    note = f"{learner_copy.TITLES[learner_copy.COURSE_NOTE]}\n\n"
    wanted = ["a = 1", "print(a)", "b = 'me'", f"{note}```python\nc = 'course'\n```"]
    wanted += ["c = 'me'", "d = 'course'", "e = 'me'", "the end", "new = 1"]
    assert sources(own) == wanted
    cells = json.loads(own.read_text("utf-8"))["cells"]
    assert cells[0]["outputs"] == [SAID] and cells[5]["outputs"] == []
    (older,) = (learner_copy.folder() / learner_copy.OLDER).glob("00_start-*.ipynb")
    assert "f = 1" in sources(older) and "e = 'me'" in sources(older)
    store(lesson, *new, code("h", "h = 1"))  # the note has been seen
    learner_copy.renew()
    assert sources(own) == [s for s in wanted if not s.startswith(note)] + ["h = 1"]


def test_cells_without_ids_and_with_the_same_id_are_told_apart():
    base = notebook(code("a", "a = 1"), code("b", "b = 1"))
    first, second = code("a", "a = 1"), code("b", "b = 'me'")
    del first["id"]
    mine = notebook(first, second, code("b", "copied = 1"))
    result = learner_copy.merged(base, notebook(*base["cells"], code("c", "c")), mine)
    assert [c["source"] for c in result["cells"]] == [
        "a = 1",
        "b = 'me'",
        "copied = 1",
        "c",
    ]
    names = [c["id"] for c in result["cells"]]
    assert len(set(names)) == 4 and names[:2] == ["a", "b"] and names[3] == "c"


def test_code_that_becomes_text_is_text():
    base = notebook(code("a", "a = 1"))
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "A text."}
    mine = notebook(code("a", "a = 1", [SAID]))
    assert learner_copy.merged(base, notebook(text), mine)["cells"] == [text]


def test_a_locked_cell_is_the_course_s_and_what_stood_there_is_shown():
    locked = {"nbgrader": {"locked": True, "solution": False}}
    base = notebook(code("t", "assert 1", **locked))
    mine = notebook(code("t", "pass", **locked))
    result = learner_copy.merged(base, notebook(code("t", "assert 2", **locked)), mine)
    assert [c["source"] for c in result["cells"]][0] == "assert 2"
    assert "pass" in result["cells"][1]["source"]
    assert result["cells"][1]["cell_type"] == "markdown"


def test_a_damaged_copy_is_left_as_it_is_and_told(lesson, capsys):
    learner_copy.renew()
    learner_copy.own(lesson).write_text("{")
    store(lesson, code("a", "changed"))
    assert cli.main(["copy"]) == 1
    assert "is damaged" in capsys.readouterr().out
    assert learner_copy.own(lesson).read_text() == "{"


def test_exercises_are_checked_in_the_copy_and_released_as_shipped(small_course):
    """What a learner writes is never taken for the release, wherever it is written."""
    path = small_course / "exercises" / "03_x" / "03_x.ipynb"
    store(path, code("q", "stub"))
    store(path.with_name(learner_copy.RELEASED), code("q", "stub"))
    store(path, code("q", "answered before there were copies"))
    learner_copy.renew()
    assert sources(exercises.written(path)) == ["answered before there were copies"]
    assert exercises.written(path) == learner_copy.own(path)
    assert sources(release.handed_out(small_course / "solutions" / "03_x")) == ["stub"]


def test_the_course_itself_is_no_copy(monkeypatch):
    monkeypatch.setenv("COURSE_COPY", str(paths.ROOT))
    with pytest.raises(CourseError, match="overwritten"):
        learner_copy.folder()


# -- links -----------------------------------------------------------------------------

LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")  # to a file: an address has a colon


def test_every_link_of_the_notebooks_opens_in_the_copy(tmp_path, monkeypatch):
    """JupyterLab opens files below the copy only, and no folders from a link."""
    monkeypatch.setenv("COURSE_COPY", str(tmp_path / "mine"))
    learner_copy.renew()
    pages = [learner_copy.own(path) for path in learner_copy.shipped()]
    pages += (tmp_path / "mine" / "data" / "cards").glob("*.md")
    found, dead = 0, []
    for page in pages:
        if page.suffix == ".md":
            texts = [page.read_text("utf-8")]
        else:
            cells = json.loads(page.read_text("utf-8"))["cells"]
            texts = [learner_copy.text(c) for c in cells if c["cell_type"] != "code"]
        for target in LINK.findall("\n".join(texts)):
            there = (page.parent / target).resolve()
            found += 1
            if not there.is_file() or tmp_path / "mine" not in there.parents:
                dead.append(f"{page.name}: {target}")
    assert found > 10 and dead == []


def test_cards_come_along_and_follow_the_course(lesson, small_course):
    card = small_course / "data" / "cards" / "set.md"
    card.parent.mkdir()
    for content in (b"a card", b"a newer card"):
        card.write_bytes(content)
        learner_copy.renew()
        assert learner_copy.own(card).read_bytes() == content
