"""The `course` command: quick, clear when something is wrong, and it runs lessons."""

import csv
import importlib
import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest

import course_lib
from course_lib import assets, errors
from course_lib.course import cli, runner
from course_lib.course.cli import command_options, job_commands, result_commands
from course_lib.jobs import prediction
from course_lib.lessons import claims

HEAVY = {"torch", "numpy", "scipy", "pandas", "matplotlib", "transformers", "sklearn"}
HEAVY |= {"nbgrader", "nbconvert", "sphinx", "timm", "yaml", "rich"}


def test_help_answers_in_less_than_half_a_second():
    """In processor time: what the clock shows when nothing else is running."""
    seconds = []
    for _ in range(3):
        started, before = time.perf_counter(), os.times()
        line = [sys.executable, "-m", cli.__name__, "--help"]
        subprocess.run(line, check=True, capture_output=True)
        after = os.times()
        spent = after.children_user - before.children_user
        spent += after.children_system - before.children_system
        # Windows does not count the time of child processes
        seconds.append(spent or time.perf_counter() - started)
    assert min(seconds) < 0.4


def test_no_help_and_no_wrong_option_loads_anything_heavy():
    code = """
import contextlib, io, sys
from course_lib.course import cli
for name in ["", "data", *cli.COMMANDS]:
    for option in ("--help", "--dance"):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            with contextlib.redirect_stderr(io.StringIO()):
                cli.main([*name.split(), option]) if name != "lab" else None
print(*{name.partition('.')[0] for name in sys.modules})
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "typer" in loaded and not HEAVY & set(loaded)


def test_reading_a_notebook_compiles_no_grammars():
    """nbformat's optional format of addresses takes longer than a small command."""
    code = "from course_lib import course; import nbformat, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "nbformat" in loaded and "lark" not in loaded


@pytest.mark.parametrize("command", ["data", *cli.COMMANDS])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert f"course {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_function(command):
    file, _, function = cli.COMMANDS[command].task.partition(".")
    found = importlib.import_module(f"course_lib.course.cli.{file}")
    assert inspect.signature(getattr(found, function)).parameters["typed"].annotation
    assert cli.COMMANDS[command].options.__doc__.endswith((".", "?"))


@pytest.mark.parametrize(
    "line, wrong, expected",
    [
        ("", "course: Missing command", "course COMMAND, one of doctor"),
        ("dance", "course: No such command 'dance'", "one of doctor"),
        ("run --dance", "course run: No such option: --dance", "course run"),
        ("data", "course data: Missing command", "list, fetch, verify"),
        ("data dance", "course data: No such command", "list, fetch, verify"),
        ("run --timeout x", "'--timeout'", "--timeout SECONDS: for one cell"),
        ("run --timeout", "'--timeout' requires an argument", "course run [OPTIONS]"),
        ("diagnose", "Missing option '--data'", "--data PATH: a folder"),
        ("diagnose --data x --value-range 1", "requires 2 arguments", "course diag"),
        ("grade", "Missing argument 'LESSON'", "LESSON: its number"),
        ("memory a b", "unexpected extra argument", "course memory [OPTIONS] [MODEL]"),
    ],
)
def test_wrong_words_exit_with_2_and_say_what_to_do(line, wrong, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    said, meant, do = capsys.readouterr().err.splitlines()
    assert said.startswith("course") and wrong in said
    assert meant.startswith("Expected: ") and expected in meant
    assert do.startswith("Do: `course") and do.endswith("shows what can be given.")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out == f"{course_lib.__version__}\n"


@pytest.mark.parametrize(
    "words, lessons, recompute",
    [
        ([], None, None),
        (["01", "2"], ["01", "2"], None),
        (["--recompute"], None, []),
        (["01", "--recompute"], ["01"], []),
        (["01", "--recompute", "a", "b"], ["01"], ["a", "b"]),
        (["--recompute", "a", "--write"], None, ["a"]),
        (["--recompute=a", "01"], ["01"], ["a"]),
        (["--recompute", "--write", "01"], ["01"], []),
    ],
)
def test_an_option_takes_many_words_or_none(words, lessons, recompute):
    typed = cli.parse(["run", *words])
    assert typed.lessons == lessons
    assert command_options.many(typed.recompute) == recompute
    assert typed.write == ("--write" in words)


def test_what_is_not_the_courses_goes_to_jupyterlab():
    words = ["--no-browser", "--port", "8890", "--lesson", "3", "--x=y"]
    typed = cli.parse(["lab", *words])
    assert typed.lesson == "3"
    assert typed.passed_on == ["--no-browser", "--port", "8890", "--x=y"]


# -- completion -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "line, found",
    [
        ("course tra", {"train"}),
        ("course data ", {"list", "fetch", "verify", "rebuild"}),
        ("course train --ex", {"--example"}),
        ("course train --example ", {"images", "text", "language", "anomaly"}),
        ("course run 0", {f"0{n}" for n in range(10)}),
    ],
)
def test_words_are_completed(line, found, shell, course):
    words = line.split(" ")
    told = course(
        _COURSE_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert told.returncode == 0
    patterns = {
        "bash": r"^(\S+)$",
        "zsh": r'(?:^|\(\()"([^"]+)"',
        "fish": r"^([^\t\n]+)",
    }
    assert set(re.findall(patterns[shell], told.stdout, re.MULTILINE)) == found


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_and_installed(shell, course, tmp_path):
    """For the shell that is named; without a name typer asks which one is running."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    shown = course("--show-completion", shell, **named)
    assert shown.returncode == 0 and "_COURSE_COMPLETE" in shown.stdout
    assert course("--install-completion", shell, **named).returncode == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_COURSE_COMPLETE" in path.read_text() for path in files)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_what_was_installed(tmp_path):
    """bash, told to install completion and started again, completes a command."""
    command = tmp_path / "course"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {cli.__name__} "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    where = {**os.environ, "HOME": str(tmp_path), "PATH": path}
    where["PYTHONPATH"] = str(Path(course_lib.__file__).parents[1])
    install = ["bash", "-c", "course --install-completion; true"]
    told = subprocess.run(install, env=where, capture_output=True, text=True)
    assert "bash completion installed" in told.stdout, told.stderr
    ask = """
    . ~/.bashrc; COMP_WORDS=(course diag); COMP_CWORD=1; found=$(complete -p course)
    function="${found##* -F }"; "${function%% *}" course; echo "${COMPREPLY[@]}"
    """
    told = subprocess.run(
        ["bash", "-c", ask], env=where, capture_output=True, text=True
    )
    assert told.stdout == "diagnose\n", told.stderr


# -- what goes wrong, and what comes out ----------------------------------------------


def test_a_course_error_is_a_message_and_not_a_traceback(monkeypatch, capsys):
    def refuse(typed):
        raise errors.CourseError("The lamp is off.\nExpected: on.\nDo: switch it on.")

    monkeypatch.setattr(result_commands, "claims", refuse)
    assert cli.main(["claims"]) == 1
    assert capsys.readouterr().err.startswith("course claims: The lamp is off.")


def test_a_missing_package_is_a_message_too(monkeypatch, capsys):
    def refuse(typed):
        import no_such_package  # noqa: F401

    monkeypatch.setattr(result_commands, "claims", refuse)
    assert cli.main(["claims"]) == 1
    said = capsys.readouterr().err
    assert "no_such_package" in said and "make lab" in said


def test_a_fault_of_the_disk_is_a_message_too(monkeypatch, capsys):
    def refuse(typed):
        raise PermissionError(13, "no", "a.csv")

    monkeypatch.setattr(result_commands, "claims", refuse)
    assert cli.main(["claims"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("course claims: A file cannot be used (a.csv)")


def test_interrupting_is_no_traceback(monkeypatch, capsys):
    def interrupted(typed):
        raise KeyboardInterrupt

    monkeypatch.setattr(result_commands, "claims", interrupted)
    assert cli.main(["claims"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def json_of(line, capsys, code=0):
    """What a command prints for programs: JSON, and nothing else."""
    assert cli.main([*line.split(), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_claims_for_programs_are_the_rows_of_the_ledger(capsys):
    rows = claims.ledger()
    found = json_of("claims --lesson 1", capsys)
    assert found == [row for row in rows if row["lesson"] == "01"]
    assert found and set(found[0]) == set(claims.FIELDS)
    found = json_of("claims --verdict refuted", capsys)
    assert found and found == [row for row in rows if row["verdict"] == "refuted"]


def test_public_data_for_programs(capsys):
    found = json_of("data list", capsys)
    known = assets.known()
    assert list(found) == list(known)
    for name, one in found.items():
        assert one["state"] == (assets.problem(name, thorough=False) or "here")
        assert one["sha256"] == known[name].sha256
        assert one["bytes"] == known[name].bytes


def test_answers_for_programs_are_those_of_the_csv(monkeypatch, capsys, tmp_path):
    found = prediction.Answers(
        ["a.png", "b.png"], np.array([[0.25, 0.75], [0.9, 0.1]]), ("x", "example"), []
    )
    monkeypatch.setattr(job_commands.prediction, "answers", lambda *given: found)
    line = "predict --model m --data d"
    rows = json_of(line, capsys)
    assert rows[0] == {
        "example": "a.png",
        "answer": "example",
        "probability": 0.75,
        "probabilities": {"x": 0.25, "example": 0.75},
    }
    assert cli.main(line.split()) == 0
    table = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert table[0] == ["example", "answer", "probability", "x", "example"]
    for row, cells in zip(rows, table[1:], strict=True):
        assert cells[:2] == [row["example"], row["answer"]]
        assert list(map(float, cells[3:])) == list(row["probabilities"].values())
    to = tmp_path / "answers.json"
    assert cli.main([*line.split(), "--json", "--to", str(to)]) == 0
    assert json.loads(to.read_text()) == rows


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_the_process_of_a_kernel_prints_stays_out_of_the_terminal(
    write_lesson, capfd
):
    """Its messaging may log an error with a traceback while it shuts down."""
    source = (
        "import atexit, faulthandler, sys\n"
        "def last(): faulthandler.dump_traceback(sys.__stderr__)\n"
        "atexit.register(last)"
    )
    notebook = nbformat.read(write_lesson("00_loud", source, "1 / 0"), as_version=4)
    result = runner.execute(notebook, "00_loud")
    assert "ZeroDivisionError" in result.failure
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_kernel_that_does_not_start_says_why(write_lesson, tmp_path, monkeypatch):
    (tmp_path / "ipykernel_launcher.py").write_text("raise ImportError('no zmq')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notebook = nbformat.read(write_lesson("00_any", "a = 1"), as_version=4)
    result = runner.execute(notebook, "00_any")
    assert result.failure == "the kernel did not start: ImportError: no zmq"


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


def test_lab_opens_lesson_00_and_asks_nobody_outside(write_lesson, tmp_path):
    page = write_lesson("00_start_here", "")
    command = runner.lab_command(page, tmp_path, ["--no-browser"])
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command
    assert f"--ServerApp.root_dir={tmp_path}" in command
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
