"""Exercises from their single source, and the folder that learners get.

``solutions/NN_name/NN_name.ipynb`` holds questions, answers and visible tests;
``exercises/NN_name/NN_name.ipynb`` is made from it by nbgrader's own steps.
"""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

from course_lib import paths
from course_lib.course import learner_copy, links, runner
from course_lib.course.grading import grade, submission
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes

MARK = re.compile(r"### (BEGIN|END) (SOLUTION|HIDDEN TESTS)")
IGNORED = "# pages of solutions: never for learners\n*\n"
STEPS = (
    "ClearSolutions",
    "LockCells",
    "ComputeChecksums",
    "ClearOutput",
    "CheckCellMetadata",
)


def solutions() -> Path:
    """The instructor's folder; learners have none."""
    return paths.ROOT / "solutions"


def lessons(names: list[str] | None = None) -> list[Path]:
    """Folders of the exercises named ``8``, ``08`` or ``08_lora``; none: all.

    Raises CourseError for one that does not exist, and without ``solutions/``.
    """
    known = sorted(p for p in solutions().glob("[0-9][0-9]_*") if p.is_dir())
    none = "(none: this is the course as learners get it)"
    wrong = "There is no exercise {!r} in solutions/"
    return runner.named(names, known, wrong, "course release 08", none)


def released(lesson: Path) -> Path:
    """Where the exercise of a lesson's solution lies."""
    return paths.ROOT / "exercises" / lesson.name / f"{lesson.name}.ipynb"


def handed_out(lesson: Path) -> Path:
    """The exercise as it was released, whoever has written into `released` since."""
    return learner_copy.as_released(released(lesson))


def require_nbgrader() -> None:
    """Raise CourseError unless nbgrader is installed."""
    if importlib.util.find_spec("nbgrader") is None:  # it takes a second to import
        raise CourseError(
            "nbgrader is not installed; only instructors need it.\nExpected: the extra "
            "`instructor`.\nDo: `pip install -c constraints.txt -e '.[instructor]'`."
        )


def generate(lesson: Path) -> bytes:
    """The exercise made from a solution, as bytes: the same solution, the same bytes.

    Raises CourseError when nbgrader is missing or refuses the solution.
    """
    require_nbgrader()
    import nbformat
    from nbgrader import preprocessors

    source = lesson / f"{lesson.name}.ipynb"
    try:
        notebook = nbformat.read(source, as_version=4)
        for name in STEPS:
            step = getattr(preprocessors, name)()
            notebook, _ = step.preprocess(notebook, {"nbgrader": {}})
    except FileNotFoundError:
        raise CourseError(
            f"solutions/{lesson.name}/{source.name} is missing."
        ) from None
    except Exception as error:
        raise CourseError(
            f"nbgrader refuses solutions/{lesson.name}: {error}\nDo: look at the "
            "cells' metadata and the markers ### BEGIN SOLUTION, ### END SOLUTION."
        ) from None
    for cell in notebook.cells:
        cell.metadata = {
            k: v
            for k, v in cell.metadata.items()
            if k in ("nbgrader", "deletable", "editable")
        }
    return (nbformat.writes(notebook) + "\n").encode("utf-8")


def attempts(lesson: Path, untouched: bytes | None = None) -> dict[str, bytes]:
    """The two submissions whose scores are known: the reference and the untouched.

    ``untouched``: the exercise as released; made from the solution when not given.
    """
    reference = (lesson / f"{lesson.name}.ipynb").read_bytes()
    return {"reference": reference, "untouched": untouched or generate(lesson)}


def scores(lesson: Path, isolated: bool = True, seed: int | None = None) -> dict:
    """Records of the reference and of the untouched exercise, graded as submissions."""
    tried = attempts(lesson)
    release = json.loads(tried["untouched"])
    checks = (lesson / "checks.py").read_text(encoding="utf-8")
    seed = grade.own_seed(grade.new_secret(), "", lesson.name) if seed is None else seed
    return {
        name: grade.grade(content, release, checks, seed, isolated)
        for name, content in tried.items()
    }


def refusals(found: dict) -> list[str]:
    """What speaks against a release: the reference not full, the untouched not zero."""
    problems = []
    for name, answer in found["reference"]["answers"].items():
        if answer["outcome"] not in (grade.CORRECT, grade.BY_HAND):
            why = answer["hint"] or answer["reason"]
            problems.append(f"reference, {name}: {answer['outcome']} ({why})")
    for name, answer in found["untouched"]["answers"].items():
        if answer["points"] or answer["outcome"] != grade.NOT_ATTEMPTED:
            problems.append(
                f"untouched, {name}: {answer['outcome']}, {answer['points']:g} points"
            )
    return problems


def check_reference(lesson: Path, isolated: bool = True) -> None:
    """Raise CourseError unless the reference scores full marks here and now."""
    require(lesson.name, scores(lesson, isolated))


def require(name: str, found: dict) -> None:
    """Raise CourseError unless these records of `attempts` are as they must be."""
    problems = refusals(found)
    if problems:
        raise CourseError(
            f"{name} is not graded: " + "; ".join(problems) + ".\nExpected: full "
            "marks for the reference and none for the untouched exercise.\nDo: `course "
            "doctor`; if this machine is sound, repair the solution or its checks."
        )


def release(lesson: Path, isolated: bool = True) -> Path:
    """Check the reference and the untouched exercise, then write the exercise.

    A second copy beside it stays as it is while the learner writes into the first:
    `course check` puts answers together with it.  Returns the path of the first.
    Raises CourseError when either scores what it should not.
    """
    content = generate(lesson)
    check_reference(lesson, isolated)
    path = released(lesson)
    atomic_write_bytes(path.with_name(learner_copy.RELEASED), content)
    return atomic_write_bytes(path, content)


# -- what learners get -----------------------------------------------------------------

WITHHELD = (
    "solutions/",
    "tests/course/test_solutions",
    "grading/",
    "submitted/",
    "autograded/",
    "feedback/",
    "gradebook.db",
)


def _is_for_learners(name: str, checks: bool, answers: bool) -> bool:
    """May learners have this file?  Never the bank, which holds wrong answers too."""
    if checks and re.fullmatch(r"solutions/[^/]+/checks\.py", name):
        return True
    if answers and re.fullmatch(r"solutions/([^/]+)/\1\.ipynb", name):
        return True
    return not name.startswith(WITHHELD)


def _listed(*which: str) -> set[str]:
    """Files of the course as git lists them; CourseError outside a repository."""
    command = ["git", "ls-files", "-z", *which]
    found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    if found.returncode:
        raise CourseError("bundle: this is no git repository.\nDo: clone the course.")
    return {name for name in found.stdout.split("\0") if name}


def untracked(names: list[str]) -> list[str]:
    """Those of these files that git does not track: to be looked at."""
    tracked = _listed("--cached")
    return [name for name in names if name not in tracked]


def bundle(folder: Path, checks: bool = False, answers: bool = False) -> list[str]:
    """Copy the course without solutions and checks to ``folder``; names of the files.

    checks: hand them out all the same, for `course score`.  answers: hand the solutions
    out, which `course solution` shows after attempts; who looks for the file finds them
    before.  What git tracks, or would, is copied; where the address of the learners'
    repository is set, each lesson gets the cell that installs the course on Colab.
    Raises CourseError when the folder holds something already, and when a line of a
    solution or a check would be where it was not to be.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CourseError(
            f"{folder} is not empty.\nExpected: a new folder.\nDo: choose another."
        )
    names = sorted(_listed("--cached") | _listed("--others", "--exclude-standard"))
    names = [name for name in names if _is_for_learners(name, checks, answers)]
    copied = []
    for name in names:
        source = paths.ROOT / name
        if source.is_file() and not source.is_symlink():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(name)
    if links.settings()["repository"]:
        for path in sorted((folder / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            links.add_install_cell(path)
    found = leaks(folder)
    if found:
        shutil.rmtree(folder)
        raise CourseError(
            "The bundle would give answers away: " + "; ".join(found[:5]) + "."
        )
    return copied


def secrets_of(lesson: Path) -> dict[str, str]:
    """{line: where it stands} of a lesson's answers, checks and bank.

    Lines that are telling: 25 characters or more without spaces at the ends, not in
    the released exercise.
    """
    texts = {}
    notebook = json.loads((lesson / f"{lesson.name}.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        for part in re.findall(
            r"### BEGIN SOLUTION(.*?)### END SOLUTION", source, re.DOTALL
        ):
            texts.setdefault("solution", []).append(part)
    texts["checks"] = [(lesson / "checks.py").read_text("utf-8")]
    texts["bank"] = [p.read_text("utf-8") for p in sorted(lesson.glob("bank/*.py"))]
    public = submission.load_release(handed_out(lesson))
    shown = {
        line.strip() for cell in public["cells"] for line in cell["source"].splitlines()
    }
    found = {}
    for where, parts in texts.items():
        for line in "\n".join(parts).splitlines():
            line = line.strip()
            plain_import = line.startswith(
                ("import ", "from ", "class ", "def ", "# %%")
            )
            if len(line) >= 25 and line not in shown and not plain_import:
                found[line] = f"{lesson.name}: {where}"
    return found


def leaks(folder: Path) -> list[str]:
    """Lines of solutions, checks and banks that stand in a folder's exercises or code.

    The library and the lessons teach the same techniques, so they are not looked at;
    in tests and tools three equal lines count, anywhere else one.
    """
    wanted = {}
    for lesson in lessons():
        wanted |= secrets_of(lesson)
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in (".py", ".ipynb", ".md", ".json"):
            continue
        name = path.relative_to(folder).as_posix()
        if name.startswith("solutions/"):  # handed out, as `bundle` was told
            continue
        if name.startswith(("course_lib/", "notebooks/", "data/", ".git/")):
            if "check_" not in path.name:
                continue
        text = path.read_text("utf-8", errors="replace")
        if path.suffix == ".ipynb":
            cells = submission.load_release(path)["cells"]
            text = "\n".join(cell["source"] for cell in cells)
        lines = {line.strip() for line in text.splitlines()}
        same = sorted(lines & wanted.keys())
        is_library = path.suffix == ".py"  # its own lines may be like one or two
        if len(same) > (2 if is_library else 0):
            found += [f"{name} holds {wanted[x]}: {x[:50]}" for x in same]
    return found


# -- the edition for instructors ----------------------------------------------------


def rendered(lesson: Path, folder: Path) -> runner.Run:
    """Execute a solution and write it to ``folder`` as a page, outputs included.

    The page shows questions, answers, visible tests and their output, without the
    marks that nbgrader cuts by; the solution itself is left as it is.  A cell that
    fails stands in the page and in `Run.failure`.  git ignores the folder, so no copy
    of the course takes the pages along.  Raises CourseError for a folder that holds
    something else.
    """
    import nbformat

    folder_for_pages(folder)
    source = lesson / f"{lesson.name}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    run = runner.execute(notebook, lesson.name)
    for cell in notebook.cells:
        lines = cell.source.splitlines()
        cell.source = "\n".join(x for x in lines if not MARK.fullmatch(x.strip()))
    runner.write_html(notebook, folder / f"{lesson.name}.html")
    return run


def folder_for_pages(folder: Path) -> None:
    """Make the folder of the pages, ignored by git; CourseError where it has others."""
    mark = folder / ".gitignore"
    there = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if there and not (mark.is_file() and mark.read_text("utf-8") == IGNORED):
        raise CourseError(
            f"{folder} holds something else than pages of solutions.\nExpected: a new "
            "or empty folder, or one of an earlier call.\nDo: choose another with "
            "--solutions."
        )
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(mark, IGNORED.encode("utf-8"))
