"""Where learners run the course: links from one address, files of other tools."""

import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

from course_lib import paths
from course_lib.course import cli, links, runner
from course_lib.course.grading import release
from course_lib.errors import CourseError

GITHUB = {"repository": "https://github.com/fab/course", "branch": "main"}
LESSON = "notebooks/08_lora.ipynb"


@pytest.fixture
def published(monkeypatch):
    """The course with an address."""
    monkeypatch.setattr(links, "settings", lambda: dict(GITHUB))


# -- links ----------------------------------------------------------------------------


def test_without_an_address_there_are_no_links(monkeypatch):
    nowhere = {"repository": "", "branch": "main"}
    monkeypatch.setattr(links, "settings", lambda: nowhere)
    assert links.to_run(LESSON) == {} and links.in_repository("README.md") == ""
    with pytest.raises(CourseError, match=r"(?s)\[tool.course\].*--repository"):
        links.required()


def test_the_address_is_read_from_pyproject(small_course):
    assert links.settings() == {"repository": "", "branch": "main"}
    text = '[tool.course]\nrepository = "https://github.com/fab/course/"\nbranch = "v1"'
    (small_course / "pyproject.toml").write_text(text)
    assert links.settings() == GITHUB | {"branch": "v1"}
    (small_course / "pyproject.toml").write_text(text.replace("https://", ""))
    with pytest.raises(CourseError, match="no address"):
        links.settings()


def test_links_have_the_form_that_each_place_reads():
    found = links.to_run(LESSON, GITHUB)
    assert found == {
        "Open in Colab": "https://colab.research.google.com/github/fab/course/blob/main/"
        "notebooks/08_lora.ipynb",
        "Open in Binder": "https://mybinder.org/v2/gh/fab/course/main"
        "?urlpath=%2Flab%2Ftree%2Fnotebooks%2F08_lora.ipynb",
    }
    assert links.in_repository("LICENSE", GITHUB) == (
        "https://github.com/fab/course/blob/main/LICENSE"
    )
    elsewhere = {"repository": "https://gitlab.com/a/b/course", "branch": "main"}
    found = links.to_run(LESSON, elsewhere)
    assert list(found) == ["Open in Binder"]
    assert "/v2/gl/a%2Fb%2Fcourse/main" in found["Open in Binder"]
    assert links.in_repository("LICENSE", elsewhere).endswith("/-/blob/main/LICENSE")


def test_nbgitpuller_links_clone_and_open():
    assert links.nbgitpuller("https://hub.example.org/", LESSON, GITHUB) == (
        "https://hub.example.org/hub/user-redirect/git-pull"
        "?repo=https%3A%2F%2Fgithub.com%2Ffab%2Fcourse&branch=main"
        "&urlpath=lab%2Ftree%2Fcourse%2Fnotebooks%2F08_lora.ipynb"
    )
    with pytest.raises(CourseError, match="JupyterHub"):
        links.nbgitpuller("hub", LESSON, GITHUB)


def test_course_links_prints_one_line_a_lesson_and_place(capsys):
    options = ["--repository", GITHUB["repository"], "--hub", "https://hub.example.org"]
    assert cli.main(["links", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * len(runner.lessons())
    assert cli.main(["links", "--repository", "fab/course"]) == 1
    assert "Expected: for example https://" in capsys.readouterr().err


# -- the cell for Colab ----------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch):
    """Run the cell as on Colab: {commands, killed, folder}."""
    did = types.SimpleNamespace(commands=[], killed=[], folder=None)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda c, **how: did.commands.append(c))
    monkeypatch.setattr(os, "kill", lambda *a: did.killed.append(a))
    monkeypatch.setattr(os, "chdir", lambda folder: setattr(did, "folder", folder))
    return did


def run_cell():
    exec(compile(links.install_cell(GITHUB), "cell", "exec"), {})


def test_the_cell_installs_once_on_colab_and_restarts(colab, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run_cell()
    clone, pip, fetch = colab.commands
    assert clone[:2] == ["git", "clone"] and GITHUB["repository"] in clone
    assert clone[-1] == pip[-1] == "/content/course"
    assert "/content/course/constraints.txt" in pip
    assert fetch[1:] == ["-m", "course_lib.course.cli", "data", "fetch"]
    assert colab.killed and "once more" in capsys.readouterr().out


def test_the_cell_only_changes_the_folder_where_all_is_installed(colab):
    run_cell()
    assert colab.commands == [] and colab.killed == []
    assert colab.folder == "/content/course/notebooks"


def test_the_cell_does_nothing_elsewhere(colab, monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab")
    run_cell()
    assert colab == types.SimpleNamespace(commands=[], killed=[], folder=None)


@pytest.mark.slow
def test_what_learners_get_has_the_cell_when_there_is_an_address(published, tmp_path):
    if not release.solutions().is_dir():
        pytest.skip("only instructors make bundles")
    release.bundle(tmp_path / "learners")
    lessons = sorted((tmp_path / "learners" / "notebooks").glob("*.ipynb"))
    assert len(lessons) == len(runner.lessons())
    for path in lessons:
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[0].cell_type == "markdown"
        assert [c.id for c in notebook.cells].index(links.INSTALL_ID) == 1
        before = path.read_text("utf-8")
        assert before == nbformat.writes(runner.normalise(notebook)) + "\n"
        links.add_install_cell(path)
        assert path.read_text("utf-8") == before, "a second call changes nothing"


# -- files that other tools read ------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [".vscode/settings.json", ".vscode/extensions.json"]
    + [".devcontainer/devcontainer.json"],
)
def test_json_files_are_json(name):
    assert isinstance(json.loads((paths.ROOT / name).read_text("utf-8")), dict)


def test_workflows_are_yaml_and_name_files_that_exist():
    yaml = pytest.importorskip("yaml")
    for path in (paths.ROOT / ".github" / "workflows").glob("*.yml"):
        read = yaml.safe_load(path.read_text("utf-8"))
        assert {"name", "jobs"} <= set(read), path.name
        for job in read["jobs"].values():
            said = "\n".join(step.get("run", "") for step in job["steps"])
            for file in re.findall(r"\btools/\w+\.py", said):
                assert (paths.ROOT / file).is_file(), file


def test_the_dev_container_installs_as_make_does():
    text = (paths.ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8")
    settings = json.loads(text)
    (tool,) = re.findall(r"tools/\w+\.py", settings["postCreateCommand"])
    assert (paths.ROOT / tool).is_file()
    assert float(settings["hostRequirements"]["memory"].removesuffix("gb")) >= 4
    assert re.search(r"python:3\.1[123]-", settings["image"])


def test_binder_installs_the_pinned_versions():
    folder = paths.ROOT / ".binder"
    assert re.fullmatch(r"python-3\.1[123]\n", (folder / "runtime.txt").read_text())
    script = folder / "postBuild"
    assert "-c constraints.txt" in script.read_text()
    assert os.name == "nt" or os.access(script, os.X_OK)


needs_bash = pytest.mark.skipif(os.name == "nt", reason="needs a Unix shell")


@needs_bash
def test_shell_scripts_are_shell():
    for name in (".binder/postBuild", "deploy/jupyterhub/start-course"):
        checked = subprocess.run(["bash", "-n", paths.ROOT / name], capture_output=True)
        assert checked.returncode == 0, checked.stderr


def dockerfile():
    """[(instruction, rest)] of the Dockerfile, lines joined, comments gone."""
    text = (paths.ROOT / "deploy" / "jupyterhub" / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


@needs_bash
def test_the_dockerfile_uses_files_that_exist():
    steps = dockerfile()
    known = {"FROM", "ARG", "RUN", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE", "CMD"}
    assert {name for name, _ in steps} <= known and steps[0][0] == "FROM"
    said = " ".join(rest for _, rest in steps)
    for file in re.findall(r"deploy/[\w/.-]+", said):
        assert (paths.ROOT / file).is_file(), file
    assert "-c constraints.txt" in said and "test ! -e solutions" in said
    assert steps[-1] == ("CMD", '["start-course"]')
    users = [rest for name, rest in steps if name == "USER"]
    assert users == ["learner"], "learners are not root"
    for name, rest in steps:
        if name == "RUN":
            shell = subprocess.run(["bash", "-nc", rest], capture_output=True)
            assert shell.returncode == 0, rest
            assert shlex.split(rest)


def test_the_hub_gives_each_learner_what_a_lesson_needs(monkeypatch):
    from traitlets.config import Config

    monkeypatch.setenv("COURSE_LEARNERS", "ada bob")
    path = paths.ROOT / "deploy" / "jupyterhub" / "jupyterhub_config.py"
    c = Config()
    exec(compile(path.read_text("utf-8"), path.name, "exec"), {"get_config": lambda: c})
    assert float(c.Spawner.mem_limit.removesuffix("G")) * 2**30 > runner.MAX_MB * 1e6
    assert c.Spawner.cpu_limit == 2 == int(c.Spawner.environment["OMP_NUM_THREADS"])
    assert c.Authenticator.allowed_users == {"ada", "bob"}
    assert not c.Authenticator.get("allow_all", False)
    assert (paths.ROOT / c.Spawner.default_url.removeprefix("/lab/tree/")).is_file()
    assert f"docker build -t {c.DockerSpawner.image} " in (
        paths.ROOT / "deploy" / "jupyterhub" / "Dockerfile"
    ).read_text("utf-8")


@pytest.mark.slow
@needs_bash
def test_a_learners_server_starts_in_a_copy_that_keeps_their_work(tmp_path):
    source, home = tmp_path / "course", tmp_path / "home" / "course"
    (source / "notebooks").mkdir(parents=True)
    (source / "notebooks" / "a.ipynb").write_text("new")
    (source / "notebooks" / "b.ipynb").write_text("new")
    (home / "notebooks").mkdir(parents=True)
    (home / "notebooks" / "a.ipynb").write_text("mine")

    def start():
        return subprocess.run(
            [paths.ROOT / "deploy" / "jupyterhub" / "start-course", "--extra"],
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "COURSE_SOURCE": str(source),
                "COURSE_ROOT": str(home),
                "COURSE_SERVER": "echo",
            },
            capture_output=True,
            text=True,
            check=True,
        )

    started = start()
    assert (home / "notebooks" / "a.ipynb").read_text() == "mine"
    assert (home / "notebooks" / "b.ipynb").read_text() == "new"
    assert f"root_dir={home} " in started.stdout and "--extra" in started.stdout
    (source / "data").mkdir()  # now it is a course: the learner's copy is shown
    page = json.dumps({"cells": [], "metadata": {}})
    for folder, name in ((source, "a"), (source, "b"), (home, "a"), (home, "b")):
        (folder / "notebooks" / f"{name}.ipynb").unlink()
    (source / "notebooks" / "00_a.ipynb").write_text(page)
    started = start()
    assert f"root_dir={home}/my_course " in started.stdout, started.stderr
    own = home / "my_course" / "notebooks" / "00_a.ipynb"
    own.write_text(page.replace("[]", '[{"cell_type": "raw", "source": "mine"}]'))
    cell = '[{"cell_type": "raw", "id": "new", "metadata": {}, "source": "new"}]'
    (source / "notebooks" / "00_a.ipynb").write_text(page.replace("[]", cell))
    start()
    assert "mine" in own.read_text() and "new" in own.read_text()


# -- docs/ ----------------------------------------------------------------------------

DOCUMENTS = sorted((paths.ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_and_links_of_a_document_exist(path):
    text = path.read_text("utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [part.strip() for b in blocks for part in re.split(r"\n|&&", b)]
    lines = [line.partition("  #")[0] for line in lines]
    used = [line for line in lines if re.match(r"(\S+/)?course ", line)]
    assert used
    for line in used:
        words = shlex.split(line)[1:]
        assert cli.parse(words), line
    targets = re.findall(r"^(\w+):", (paths.ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"`make (\w+)`", text)) <= set(targets)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
    named = re.findall(r"`((?:course_lib|tests|tools|data|deploy)/[\w./-]+)`", text)
    patterns = [name.replace("NN", "*").replace("NAME", "*") for name in named]
    assert [name for name in patterns if not any(paths.ROOT.glob(name))] == []
