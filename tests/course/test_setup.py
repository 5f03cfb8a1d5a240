"""tools/setup_env.py: what makes the environment, and what it says when it cannot."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "setup_env.py"
ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="stands in shell scripts")


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """The tool, working in an empty folder."""
    spec = importlib.util.spec_from_file_location("setup_env", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("VENV", "STAMP", "IN_PROGRESS", "LOG", "SCRIPTS", "VENV_PYTHON"):
        moved = tmp_path / getattr(module, name).relative_to(TOOL.parents[1])
        monkeypatch.setattr(module, name, moved)
    monkeypatch.setattr(sys, "argv", ["setup_env.py"])
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("a==1\n")
    return module


def pretend_venv(setup, version="3.12.1"):
    setup.SCRIPTS.mkdir(parents=True, exist_ok=True)
    numbers = version.replace(".", " ")
    setup.VENV_PYTHON.write_text(f"#!/bin/sh\necho {numbers}\n")
    setup.VENV_PYTHON.chmod(0o755)
    (setup.VENV / "pyvenv.cfg").write_text(f"version = {version}\n")


def stand_in(folder, name, script):
    path = folder / name
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return str(path)


def test_an_old_python_can_still_read_the_tool():
    ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_a_ready_environment_is_recognised_in_no_time(setup):
    pretend_venv(setup)
    assert not setup.is_ready(None)
    setup.write_stamp()
    assert setup.is_ready(None)
    assert setup.is_ready((3, 12, 9))
    assert not setup.is_ready((3, 13, 0))


def test_extras_are_added_and_kept(setup, monkeypatch):
    """`make lab`, then `make test`, then `make lab` with other requirements."""
    pretend_venv(setup)
    asked = []
    monkeypatch.setattr(setup, "check_disk", lambda *_: None)
    monkeypatch.setattr(setup, "check_imports", lambda: None)
    monkeypatch.setattr(setup, "pip_install", lambda extras: asked.append(extras))

    def call(extras):
        monkeypatch.setattr(sys, "argv", ["setup_env.py", "--extras", extras])
        assert setup.main() == 0

    call("test")
    call("test,instructor")
    call("test")  # all is there
    assert asked == [{"test"}, {"test", "instructor"}]
    (setup.ROOT / "constraints.txt").write_text("a==2\n")
    call("test")
    assert asked[2:] == [{"test", "instructor"}]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_new_requirements_make_it_stale(setup, name):
    pretend_venv(setup)
    setup.write_stamp()
    (setup.ROOT / name).write_text("changed")
    assert not setup.is_ready(None)


def test_a_broken_environment_is_not_ready(setup, monkeypatch):
    pretend_venv(setup)
    setup.write_stamp()
    monkeypatch.setattr(setup, "VENV_PYTHON", setup.SCRIPTS / "gone")
    assert not setup.is_ready(None)


def test_an_unsupported_python_that_was_named_is_refused(setup, tmp_path):
    old = stand_in(tmp_path, "python3.9", "echo 3 9 18\n")
    if os.name != "nt":
        with pytest.raises(setup.SetupError, match=r"is Python 3\.9\.18"):
            setup.requested_python(old)
    with pytest.raises(setup.SetupError, match="No Python called python3.99"):
        setup.requested_python("python3.99")


@ON_UNIX
def test_an_unsupported_python_looks_for_a_better_one(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 18))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(setup.SetupError, match=r"This Python is 3\.9\.18"):
        setup.any_python()
    good = stand_in(tmp_path, "python3.12", "echo 3 12 1\n")
    assert setup.any_python() == (good, (3, 12, 1))


@ON_UNIX
def test_a_pyenv_name_that_only_complains_is_looked_up(setup, tmp_path, monkeypatch):
    shims, real = tmp_path / "shims", tmp_path / "versions/3.13.0/bin"
    shims.mkdir()
    real.mkdir(parents=True)
    stand_in(shims, "python3.13", "echo 'pyenv: not selected' >&2; exit 127\n")
    wanted = stand_in(real, "python3.13", "echo 3 13 0\n")
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert setup.requested_python("python3.13") == (wanted, (3, 13, 0))


@ON_UNIX
def test_a_python_without_venv_says_which_package_to_install(setup, tmp_path):
    bare = stand_in(tmp_path, "python3.12", "echo 'ensurepip is not available'; exit 1")
    with pytest.raises(setup.SetupError, match=r"sudo apt install python3\.12-venv"):
        setup.create_venv(bare, (3, 12, 1))
    assert not setup.VENV.exists()


def test_a_full_disk_is_noticed_before_anything_is_installed(setup, monkeypatch):
    monkeypatch.setattr(
        setup.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 1.5e9})
    )
    monkeypatch.setattr(setup.sys, "platform", "linux")
    for gigabytes, told in ((setup.LINUX_DISK_GB, True), (setup.OTHER_DISK_GB, False)):
        with pytest.raises(setup.SetupError, match=r"too full: 1\.5 GB are") as error:
            setup.check_disk(gigabytes)
        assert ("NVIDIA" in str(error.value)) is told


@pytest.mark.parametrize(
    "errors, reason",
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is too full"),
        (
            "WARNING: Retrying ... NewConnectionError('[Errno 111] Connection refused')"
            "\nERROR: No matching distribution found for setuptools>=77",
            "pip could not reach the package index",
        ),
        ("ERROR: Temporary failure in name resolution", "could not reach"),
        ("ERROR: No matching distribution found for a==9", "distribution found for a"),
        ("", "no reason given"),
    ],
)
def test_pips_errors_become_a_reason_and_advice(setup, errors, reason):
    said = setup.pip_message(errors)
    assert reason in said and "Expected:" in said and "Do:" in said


def test_half_installed_packages_are_forgotten(setup):
    site = setup.VENV / "lib/python3.12/site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info"):
        (site / name).mkdir(parents=True)
        (site / name / "METADATA").write_text("")
    (site / "whole-1.dist-info/RECORD").write_text("")
    setup.remove_half_installed()
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


@ON_UNIX
def test_an_interrupted_installation_is_carried_on(setup, monkeypatch, capsys):
    """The first call breaks off in pip; the second does not start from nothing."""
    steps = []
    python = (sys.executable, (3, 12, 1))

    def make(*_):
        steps.append("venv")
        pretend_venv(setup)

    def broken_off(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "any_python", lambda: python)
    monkeypatch.setattr(setup, "check_disk", lambda *_: None)
    monkeypatch.setattr(setup, "create_venv", make)
    monkeypatch.setattr(setup, "check_imports", lambda: steps.append("imports"))
    monkeypatch.setattr(setup, "pip_install", broken_off)
    assert setup.main() == 130
    assert "carries on" in capsys.readouterr().err
    assert not setup.is_ready(None)

    monkeypatch.setattr(setup, "pip_install", lambda _: steps.append("pip"))
    assert setup.main() == 0
    assert steps == ["venv", "pip", "imports"]
    assert "Carrying on" in capsys.readouterr().out

    assert setup.main() == 0  # the third has nothing to do
    assert steps == ["venv", "pip", "imports"]


@ON_UNIX
def test_a_broken_environment_is_made_again(setup, monkeypatch):
    pretend_venv(setup)
    setup.write_stamp()
    setup.VENV_PYTHON.unlink()
    made = []
    monkeypatch.setattr(setup, "check_disk", lambda *_: None)
    monkeypatch.setattr(
        setup, "create_venv", lambda *_: (made.append("venv"), pretend_venv(setup))
    )
    monkeypatch.setattr(setup, "pip_install", lambda _: made.append("pip"))
    monkeypatch.setattr(setup, "check_imports", lambda: None)
    assert setup.main() == 0
    assert made == ["venv", "pip"]
    assert setup.is_ready(None)


@pytest.mark.parametrize(
    "gpu, found, asked, wanted",
    [
        (False, True, "auto", ["cpu", "rest"]),
        (False, False, "auto", ["cpu", "room for NVIDIA's", "rest"]),
        (True, True, "auto", ["rest"]),
        (False, True, "index", ["rest"]),
    ],
)
def test_linux_without_a_gpu_gets_pytorch_for_cpus(
    setup, monkeypatch, capsys, gpu, found, asked, wanted
):
    steps = []
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup.sys, "argv", ["setup_env.py", "--torch", asked])
    monkeypatch.setattr(setup, "gpu_of_nvidia", lambda: gpu)
    monkeypatch.setattr(setup, "any_python", lambda: (sys.executable, (3, 12, 1)))
    monkeypatch.setattr(setup, "create_venv", lambda *_: pretend_venv(setup))
    monkeypatch.setattr(setup, "check_imports", lambda: None)
    monkeypatch.setattr(setup, "pip_install", lambda _: steps.append("rest"))
    monkeypatch.setattr(
        setup, "install_torch_for_cpus", lambda: (steps.append("cpu"), found)[1]
    )

    def room(gigabytes=None):
        if gigabytes is None:
            steps.append("room for NVIDIA's")

    monkeypatch.setattr(setup, "check_disk", room)
    assert setup.main() == 0
    assert steps == wanted
    assert ("taking the package index's" in capsys.readouterr().out) is (not found)


def test_a_pytorch_that_is_there_stays_whatever_its_build(setup):
    (setup.ROOT / "constraints.txt").write_text("a==1\ntorch==2.14.1\n")
    site = setup.VENV / "lib/python3.12/site-packages"
    assert not setup.has_torch()
    (site / "torch-2.13.0+cpu.dist-info").mkdir(parents=True)
    assert not setup.has_torch()
    (site / "torch-2.14.1+cpu.dist-info").mkdir()
    assert setup.has_torch()


@ON_UNIX
def test_pytorch_for_cpus_is_asked_of_uv_in_the_pinned_version(setup, monkeypatch):
    """pip brings uv, which installs; a failure of either is no error."""
    (setup.ROOT / "constraints.txt").write_text("torch==2.14.1\ntorchvision==0.29.1\n")
    pretend_venv(setup)
    calls, codes = [], []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, codes.pop(0))

    monkeypatch.setattr(setup.subprocess, "run", run)
    for answered, installed in (([0, 0], True), ([0, 2], False), ([1], False)):
        calls.clear()
        codes[:] = answered
        assert setup.install_torch_for_cpus() is installed
        assert not codes and not (setup.VENV / "tmp").exists()
        assert setup.UV in calls[0]
    codes[:] = [0, 0]
    setup.install_torch_for_cpus()
    assert not codes
    assert calls[-1][-2:] == ["torch==2.14.1", "torchvision==0.29.1"]
    assert "cpu" in calls[-1]

    def refused(*_, **__):
        raise PermissionError("no programs on this disk")

    monkeypatch.setattr(setup.subprocess, "run", refused)
    assert not setup.install_torch_for_cpus()


def test_errors_are_messages_with_exit_code_1():
    said = subprocess.run(
        [sys.executable, str(TOOL), "--python", "no-such-python"],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 1
    assert "No Python called no-such-python" in said.stderr
    assert "Traceback" not in said.stderr
