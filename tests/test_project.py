"""The repository as a whole: what is in its files, and what must not be."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from course_lib.course import cli

ROOT = Path(__file__).parents[1]
TEXT = {".py", ".md", ".toml", ".txt", ".json", ".csv", ".ipynb", ".yml", ".cfg", ""}
MEGABYTE = 1e6


def project_files():
    """All files of the project: those git tracks, and new ones it would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive, without git
        hidden = re.compile(r"^(\.venv|executed|.*\.egg-info|.*__pycache__)(/|$)")
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
        names = [name for name in names if not hidden.match(name)]
    return [ROOT / name for name in sorted(set(names)) if (ROOT / name).is_file()]


FILES = project_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]


def short(path):
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern):
    """Where the pattern stands in the project's text files, as `file:line: text`."""
    found = []
    for path in FILES:
        if path.suffix not in TEXT:
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            match = re.search(pattern, line)
            if match:
                found.append(f"{short(path)}:{number}: {match.group()[:80]}")
    return found


def test_no_package_registry_is_named():
    """Written in halves here, so that this file does not find itself."""
    hosts = ["py" + "pi.org", "python" + "hosted", "registry.npm" + "js"]
    assert lines_with("|".join(map(re.escape, [*hosts, "deb.deb" + "ian"]))) == []


def test_no_path_of_a_machine_is_named():
    folders = "/(?:work|farm|root|home|Users)/"
    found = lines_with(rf"(?<![\w.:/-]){folders}[A-Za-z0-9_-][\w.-]*")
    assert found == []


def test_weights_and_data_are_in_formats_without_code():
    allowed = {".safetensors", ".npz", ".json", ".csv", ".md", ".png", ".txt"}
    other = [
        short(path)
        for path in FILES
        if ROOT / "data" in path.parents and path.suffix not in allowed
    ]
    assert other == []
    pickled = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib"}
    assert [short(path) for path in FILES if path.suffix in pickled] == []


def test_no_source_reads_or_writes_pickle():
    """But for the tensors of public weight files, and files made to look like them."""
    calls = r"^\s*(?:import|from) pickle|torch\.(?:load|save)\(|allow_pickle=True"
    public = "weights_only=True)"
    imitated = (
        ("tools/full_profile_check.py", "torch.save(state, path)"),
        ("benchmarks/mutated_files.py", 'torch.save(wrapped, folder / "w.pth")'),
    )
    found = [
        f"{short(path)}: {line.strip()}"
        for path in SOURCES
        if path != Path(__file__)
        for line in path.read_text("utf-8").splitlines()
        if re.search(calls, line)
        and not line.rstrip().endswith(public)
        and (short(path), line.strip()) not in imitated
    ]
    assert found == []


@pytest.mark.slow
def test_arrays_hold_no_objects():
    """An array of objects would be pickled; the header of each array tells."""
    import numpy as np

    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    for path in FILES:
        if path.suffix != ".npz":
            continue
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as array:
                    version = np.lib.format.read_magic(array)
                    _, _, dtype = read_header[version](array)
                assert not dtype.hasobject, f"{short(path)}: {name}"


def test_the_repository_stays_small():
    weights = [path for path in FILES if path.suffix == ".safetensors"]
    assert sum(path.stat().st_size for path in weights) <= 40 * MEGABYTE
    large = {short(p): p.stat().st_size for p in FILES if p.stat().st_size > 25e6}
    assert large == {}
    assert sum(path.stat().st_size for path in FILES) <= 100 * MEGABYTE


@pytest.mark.slow
def test_public_functions_and_classes_have_a_docstring():
    """Except drawing functions, one a pattern, which their name describes."""
    drawings = {"textures.py", "shapes.py"}
    silent = []
    for path in SOURCES:
        if ROOT / "course_lib" not in path.parents or path.name in drawings:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        if not ast.get_docstring(tree):
            silent.append(short(path))
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if node.name[0] != "_" and not ast.get_docstring(node):
                    silent.append(f"{short(path)}: {node.name}")
    assert silent == []


# -- versions -----------------------------------------------------------------------


def constraints():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_constraint_is_one_exact_version():
    for requirement in constraints():
        assert requirement.url is None
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


@pytest.mark.parametrize("python", ["3.11.7", "3.12.1", "3.13.0"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_every_dependency_is_pinned_once_for_each_python(python, system):
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": system,
        "os_name": "nt" if system == "win32" else "posix",
    }
    pinned = {}
    for requirement in constraints():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in pinned
            pinned[requirement.name] = str(requirement.specifier)[2:]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for line in project["dependencies"] + [
        line for extra in project["optional-dependencies"].values() for line in extra
    ]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:  # an extra that takes in another one
            assert wanted.extras <= set(project["optional-dependencies"])
        elif wanted.marker is None or wanted.marker.evaluate(environment):
            assert pinned[wanted.name] in wanted.specifier, line


# -- the README ---------------------------------------------------------------------


README = (
    (ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").exists() else ""
)


def readme_commands():
    """The commands in the README's fenced blocks, as lists of words."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for b in blocks for line in b.split("\n")]
    return [shlex.split(line.replace("\\", "/")) for line in lines if line]


def test_the_readmes_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {words[1] for words in readme_commands() if words[0] == "make"}
    assert {"lab", "test"} <= used <= targets


def test_the_readmes_course_commands_exist():
    used = [w for w in readme_commands() if Path(w[0]).name == "course"]
    assert len(used) >= 6
    for words in used:
        assert cli.parse(words[1:]), words


def test_the_readmes_links_and_files_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_costs_agree_with_the_installer():
    """The disk that the README asks for is the disk that the installer checks."""
    import importlib.util

    path = ROOT / "tools" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert f"{tool.LINUX_DISK_GB:.0f} GB" in README
    assert f"{tool.OTHER_DISK_GB:.0f} GB" in README


def test_ci_runs_the_readmes_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "run: make test" in workflow
    for line in README.splitlines():
        if line.startswith(".venv\\Scripts\\python -m pip"):
            assert line.strip() in workflow


def test_data_files_keep_their_bytes_on_every_system():
    rules = (ROOT / ".gitattributes").read_text("utf-8")
    assert re.search(r"^data/\*\* -text", rules, re.MULTILINE)


def test_the_manifest_lists_files_that_exist():
    manifest = json.loads((ROOT / "data" / "manifest.json").read_text("utf-8"))
    for name, entry in manifest.items():
        assert set(entry) == {"sha256", "bytes", "made_by"}, name
        assert (ROOT / "data" / name).is_file(), name
        assert not re.search(r"[\\:]", name), name
