"""The `course` command: quick, clear when something is wrong, and it runs lessons."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from course_lib import errors
from course_lib.course import cli, runner

COMMANDS = ["doctor", "lab", "run", "data", "pretrain", "claims", "check", "release"]
COMMANDS += ["collect", "grade", "feedback", "export", "validate", "web", "links"]


def test_help_answers_in_half_a_second():
    """In processor time: what the clock shows when nothing else is running."""
    script = Path(sys.executable).parent / "course"
    start = [str(script)] if script.exists() else [sys.executable, "-m", cli.__name__]
    seconds = []
    for _ in range(3):
        started, before = time.perf_counter(), os.times()
        subprocess.run([*start, "--help"], check=True, capture_output=True)
        after = os.times()
        spent = after.children_user - before.children_user
        spent += after.children_system - before.children_system
        # Windows does not count the time of child processes
        seconds.append(spent or time.perf_counter() - started)
    assert min(seconds) < 0.5


def test_nothing_heavy_is_imported_early():
    code = (
        "import sys; from course_lib.course import cli; cli.build_parser();"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"torch", "numpy", "matplotlib", "transformers", "sklearn", "rich"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("line", ["", "dance", "run --dance", "data", "data dance"])
def test_unknown_commands_and_options_exit_with_2(line, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_course_error_is_a_message_and_not_a_traceback(monkeypatch, capsys):
    def refuse(arguments):
        raise errors.CourseError("The lamp is off.\nExpected: on.\nDo: switch it on.")

    monkeypatch.setattr(cli, "run_claims", refuse)
    assert cli.main(["claims"]) == 1
    assert capsys.readouterr().err.startswith("course claims: The lamp is off.")


def test_a_missing_package_is_a_message_too(monkeypatch, capsys):
    def refuse(arguments):
        import no_such_package  # noqa: F401

    monkeypatch.setattr(cli, "run_claims", refuse)
    assert cli.main(["claims"]) == 1
    said = capsys.readouterr().err
    assert "no_such_package" in said and "make lab" in said


def test_interrupting_is_no_traceback(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_claims", interrupted)
    assert cli.main(["claims"]) == 130
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["claims", "pretrain", "data verify"])
def test_commands_that_look_things_up_work(line, capsys):
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "line",
    [
        "run 99",
        "run --recompute no_such_results",
        "pretrain no_such_recipe",
        "claims --verdict perhaps",
        "lab --lesson 99",
    ],
)
def test_unknown_names_say_what_there_is(line, capsys):
    assert cli.main(line.split()) == 1
    said = capsys.readouterr().err
    assert "Expected:" in said and "Do:" in said and "Traceback" not in said


def test_claims_can_be_chosen_by_lesson(capsys):
    assert cli.main(["claims", "--lesson", "1"]) == 0
    lessons = re.findall(r"│ C\d+ +│ (\S+)", capsys.readouterr().out)
    assert set(lessons) <= {"1", "01"}


# -- running lessons ----------------------------------------------------------------


@pytest.mark.slow
def test_run_names_the_failing_cell_and_goes_on(course, write_lesson, tmp_path):
    broken = write_lesson("01_broken", "x = 1", "# divide\nx / 0", "never = 1")
    write_lesson("02_sound", "x = 2")
    before = broken.read_bytes()
    done = course("run", "--to", tmp_path / "pages")
    assert done.returncode == 1
    assert re.search(
        r"01_broken: cell 1 \(id \w+\), `# divide`: ZeroDivisionError", done.stderr
    )
    assert "Traceback" not in done.stderr
    assert "failed in cell 1" in done.stdout
    assert re.search(r"02_sound .* ok", done.stdout)
    assert (tmp_path / "pages" / "01_broken.html").stat().st_size > 10_000
    assert (tmp_path / "pages" / "02_sound.html").exists()
    assert broken.read_bytes() == before


def test_a_lesson_runs_in_this_python_and_in_its_own_folder(write_lesson):
    path = write_lesson(
        "00_where", "import os, sys; print(sys.executable)", "print(os.getcwd())"
    )
    notebook = nbformat.read(path, as_version=4)
    result = runner.execute(notebook, "00_where")
    assert result.failure is None
    python, folder = (cell.outputs[0].text.strip() for cell in notebook.cells)
    assert Path(python).samefile(sys.executable)
    assert Path(folder).exists() and Path(folder).name == "notebooks"


@pytest.mark.slow
def test_memory_and_time_of_a_lesson_are_measured(write_lesson):
    source = "import time; held = b'x' * 300_000_000; time.sleep(1)"
    notebook = nbformat.read(write_lesson("00_big", source), as_version=4)
    result = runner.execute(notebook, "00_big")
    assert 300 < result.peak_mb < 900
    assert 1 < result.seconds < 60


@pytest.mark.parametrize(
    "source, reason",
    [
        ("import time; time.sleep(60)", "ran longer than 2 s"),
        ("import os; os._exit(1)", "the kernel died"),
    ],
)
def test_a_cell_that_hangs_or_dies_is_named(write_lesson, source, reason):
    notebook = nbformat.read(write_lesson("00_bad", "a = 1", source), as_version=4)
    result = runner.execute(notebook, "00_bad", timeout=2)
    assert result.failure.startswith("cell 1 ") and reason in result.failure


NOISY = """\
import sys
from IPython.display import display
import ipywidgets
print("one")
print("progress 50 %", file=sys.stderr)
print("two")
display(ipywidgets.IntSlider())
6 * 7
"""


@pytest.mark.slow
def test_write_stores_the_same_bytes_each_time(write_lesson, tmp_path):
    path = write_lesson("00_noisy", "1 + 1", NOISY)
    arguments = ["run", "00", "--write", "--to", str(tmp_path / "pages")]
    assert cli.main(arguments) == 0
    first = path.read_bytes()
    assert cli.main(arguments) == 0
    assert path.read_bytes() == first
    notebook = json.loads(first)
    assert [cell["execution_count"] for cell in notebook["cells"]] == [1, 2]
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    stream, result = notebook["cells"][1]["outputs"]
    assert "".join(stream["text"]) == "one\ntwo\n"
    assert result["data"]["text/plain"] == ["42"]


@pytest.mark.slow
def test_a_failing_lesson_is_never_written(write_lesson, tmp_path):
    path = write_lesson("00_broken", "1 / 0")
    before = path.read_bytes()
    assert cli.main(["run", "--write", "--to", str(tmp_path / "pages")]) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["1", "01", "01_second", "notebooks/01_second.ipynb"])
def test_a_lesson_has_several_names(name, write_lesson):
    write_lesson("00_first", "")
    second = write_lesson("01_second", "")
    assert runner.lessons([name]) == [second]


# -- JupyterLab -----------------------------------------------------------------------


def test_lab_opens_lesson_00_and_asks_nobody_outside(write_lesson):
    write_lesson("00_start_here", "")
    command = runner.lab_command("00", ["--no-browser"])
    assert command[3].endswith("00_start_here.ipynb")
    assert "--LabApp.news_url=None" in command
    assert "--LabApp.extension_manager=readonly" in command
    (settings,) = (c.split("=")[1] for c in command if "app_settings_dir" in c)
    overrides = json.loads((Path(settings) / "overrides.json").read_text("utf-8"))
    notification = overrides["@jupyterlab/apputils-extension:notification"]
    assert notification == {"fetchNews": "false", "checkForUpdates": False}
    assert command[-1] == "--no-browser"
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    assert ("--allow-root" in command) == is_root


@pytest.mark.slow
def test_lab_serves_the_lesson(write_lesson, small_course):
    """Starts JupyterLab for real, without a browser, and fetches its page."""
    write_lesson("00_start_here", "1 + 1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=test"]
    server = subprocess.Popen(
        [sys.executable, "-m", "course_lib.course.cli", "lab", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        page = fetched(f"{address}/lab/tree/notebooks/00_start_here.ipynb?token=test")
        assert b"JupyterLab" in page
        found = json.loads(fetched(f"{address}/api/contents/notebooks?token=test"))
        assert found["content"][0]["name"] == "00_start_here.ipynb"
    finally:
        server.terminate()
        server.wait(30)


def fetched(address, seconds=60):
    """The page at this address, as soon as the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
