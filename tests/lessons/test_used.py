"""The table of lessons and modules is that of the notebooks as they are."""

import nbformat
import pytest

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.lessons import used

CODE = """\
import numpy as np
from course_lib import files, datasets as d
from course_lib.models import zoo
import course_lib.training.freezing
def later():
    from course_lib.diagnose.decisions import decide
"""


def test_the_table_in_the_documents_is_up_to_date():
    stored = (paths.ROOT / used.PAGE).read_text("utf-8")
    assert stored == used.page(), "Do: python -m course_lib.lessons.used"


def test_modules_and_packages_are_told_from_what_is_in_them(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells += [nbformat.v4.new_code_cell(part) for part in (CODE, "x = 1")]
    notebook.cells.append(nbformat.v4.new_markdown_cell("from course_lib import jobs"))
    nbformat.write(notebook, tmp_path / "01.ipynb")
    assert used.modules(tmp_path / "01.ipynb", paths.ROOT) == {
        "files",
        "datasets",
        "models.zoo",
        "training.freezing",
        "diagnose.decisions",
    }


def test_a_page_without_markers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / used.PAGE).write_text(used.BEGIN, "utf-8")
    with pytest.raises(CourseError, match="lacks a marker"):
        used.page()
