"""The pages of executed solutions, for instructors."""

import nbformat
import pytest

from course_lib.course.cli import main
from course_lib.course.grading import release

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
        nbformat.v4.new_markdown_cell("# 03 Small"),
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
    assert (lesson / "03_small.ipynb").read_bytes() == before


def test_pages_and_the_course_for_learners_are_two_calls(capsys):
    assert main(["release", "--solutions", "a", "--to", "b"]) == 1
    assert "Expected: one of them" in capsys.readouterr().err
