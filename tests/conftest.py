"""What several test files share."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

import course_lib.course  # noqa: F401  first: with it nbformat compiles no grammars
from course_lib import paths

# pytest puts tests/ on the path, and there tests/datasets must not pass for the package
# of that name that transformers looks for
sys.modules["datasets"] = None


def pytest_collection_modifyitems(items):
    """Files with long tests first, so that no process waits for another at the end.

    A file stays whole: what its tests share is made once.
    """
    long = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item):
        return item.path not in long, item.path.stem != "test_results"

    items.sort(key=turn)


BRINGS = {  # what a skipped test lacked: how to get it
    "sandbox|bubblewrap|bwrap": "pip install -c constraints.txt -e '.[instructor]'",
    "nbgrader|nh3|libseccomp": "pip install -c constraints.txt -e '.[instructor]'",
    "extra `web`": "pip install -c constraints.txt -e '.[web]'",
    "pixeltable": "pip install -c constraints.txt -e '.[test]'",
    "Chromium": "the browser chromium, of this system's packages",
    "GPU": "a machine with an NVIDIA GPU",
    "other programs": "a machine with less to do",
}


def pytest_terminal_summary(terminalreporter):
    """One line for each reason why tests were skipped, and what would bring them."""
    reasons = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else "?"
        reasons[text.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("not tested here")
    for reason, count in reasons.most_common():
        found = (how for what, how in BRINGS.items() if re.search(what, reason))
        how = next(found, "nothing to install: this system has no such thing")
        terminalreporter.write_line(f"{count} skipped: {reason}. To run them: {how}")


@pytest.fixture(autouse=True)
def paths_follow_the_environment():
    """Forget the paths that a test has replaced: all else comes from COURSE_ROOT."""
    yield
    for name in ("ROOT", "DATA", "RESULTS", "MODELS", "NOTEBOOKS", "CACHE", "ASSETS"):
        vars(paths).pop(name, None)


@pytest.fixture
def undrawn(request, monkeypatch):
    """Reports have their figures, but these are not drawn.

    Drawing takes most of the time of a tiny job.  A test that looks at a report has
    the mark `drawn` and gets the real pictures.
    """
    from course_lib.show import plots

    if request.node.get_closest_marker("drawn"):
        return
    monkeypatch.setattr(plots, "png_bytes", lambda figure: b"undrawn")
    monkeypatch.setattr(plots, "clear_legend", lambda ax, *_, **__: ax.legend())


@pytest.fixture
def one_thread():
    """As the processes compute that a test starts, so that both can be compared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """An empty course elsewhere: a folder with data/ and notebooks/."""
    (tmp_path / "data").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def write_lesson(small_course):
    """write_lesson("00_start", "code of cell 0", ...) makes a notebook there."""

    import nbformat

    def write(stem, *sources):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        path = small_course / "notebooks" / f"{stem}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def course():
    """course("run", "00") -> the finished process, with its output as text."""

    def call(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "course_lib.course.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1", **environment},
            timeout=300,
        )

    return call
