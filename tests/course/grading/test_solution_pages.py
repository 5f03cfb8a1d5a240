"""The pages of executed solutions, for instructors."""

import subprocess

import nbformat
import pytest

from course_lib.course.cli import main
from course_lib.course.grading import release
from course_lib.errors import CourseError

ANSWER = """def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
twice(21)"""


@pytest.fixture
def lesson(tmp_path):
    folder = tmp_path / "03_small"
    folder.mkdir()
    cells = [
        nbformat.v4.new_markdown_cell("# 03 Small\n\nHere $a < b$ holds."),
        nbformat.v4.new_code_cell(ANSWER),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, folder / "03_small.ipynb")
    return folder


@pytest.mark.slow
def test_a_solution_is_shown_with_its_output_and_left_as_it_is(lesson, tmp_path):
    before = (lesson / "03_small.ipynb").read_bytes()
    run = release.rendered(lesson, tmp_path / "pages")
    page = (tmp_path / "pages" / "03_small.html").read_text("utf-8")
    assert run.failure is None and ">42<" in page.replace("\n", "")
    assert "BEGIN SOLUTION" not in page and "return" in page
    assert "<math " in page and 'src="http' not in page  # offline, too
    assert (lesson / "03_small.ipynb").read_bytes() == before


def test_the_pages_never_go_to_learners_and_replace_nothing(tmp_path):
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    release.folder_for_pages(tmp_path / "pages")
    release.folder_for_pages(tmp_path / "pages")  # an earlier call's
    (tmp_path / "pages" / "03_small.html").write_text("answers")
    listed = [*git, "ls-files", "--cached", "--others", "--exclude-standard"]
    assert subprocess.run(listed, capture_output=True).stdout == b""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "03_small.html").write_text("mine")
    with pytest.raises(CourseError, match="something else"):
        release.folder_for_pages(tmp_path / "notes")
    assert (tmp_path / "notes" / "03_small.html").read_text() == "mine"


def test_pages_and_the_course_for_learners_are_two_calls(capsys):
    assert main(["release", "--solutions", "a", "--to", "b"]) == 1
    assert "Expected: one of them" in capsys.readouterr().err
