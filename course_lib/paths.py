"""Where the course keeps its files.

``ROOT`` is the folder of the repository (it holds ``data/`` and ``notebooks/``).
All paths are looked up when they are used, so that importing this never fails.
"""

import os
import sys
from pathlib import Path

from course_lib.errors import CourseError

ROOT: Path  # the repository
DATA: Path  # ROOT/data: committed data sets, models and results
RESULTS: Path  # ROOT/data/results: committed grids over many seeds
MODELS: Path  # ROOT/data/models: bundled pretrained weights
NOTEBOOKS: Path  # ROOT/notebooks: the lessons
CACHE: Path  # a folder for what may be deleted at any time
ASSETS: Path  # public weights and data, as `course data fetch` stored them

_BELOW_ROOT = {
    "DATA": ("data",),
    "RESULTS": ("data", "results"),
    "MODELS": ("data", "models"),
    "NOTEBOOKS": ("notebooks",),
}


def find_root(start: Path | None = None) -> Path:
    """Folder of the repository: COURSE_ROOT, else beside this package, else upwards.

    Raises CourseError when no such folder holds ``data/``.  ``start`` (default:
    the working directory) is where the search upwards begins.
    """
    named = os.environ.get("COURSE_ROOT")
    if named:
        root = Path(named).expanduser().resolve()
        if (root / "data").is_dir():
            return root
        raise CourseError(
            f"COURSE_ROOT names {root}, which holds no data/ folder.\n"
            "Expected: the folder into which the course was cloned.\n"
            "Do: set COURSE_ROOT to that folder, or unset it."
        )
    start = (start or Path.cwd()).resolve()
    package_parent = Path(__file__).resolve().parents[1]
    for folder in (package_parent, start, *start.parents):
        if (folder / "data").is_dir() and (folder / "course_lib").is_dir():
            return folder
    raise CourseError(
        f"The course's data/ folder is neither beside the package ({package_parent}) "
        f"nor above the working directory ({start}).\n"
        "Expected: a clone of the course, which holds data/ and course_lib/.\n"
        "Do: change into the clone, or set COURSE_ROOT to it."
    )


def cache_folder() -> Path:
    """The user's cache folder for this course (COURSE_CACHE overrides it)."""
    named = os.environ.get("COURSE_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "transfer-learning-course"


def assets_folder() -> Path:
    """Where public weights and data are kept (COURSE_ASSETS overrides it)."""
    named = os.environ.get("COURSE_ASSETS")
    return Path(named).expanduser() if named else cache_folder() / "assets"


def _located(name: str) -> Path:
    if name == "CACHE":
        return cache_folder()
    if name == "ASSETS":
        return assets_folder()
    return find_root().joinpath(*_BELOW_ROOT.get(name, ()))


def __getattr__(name: str) -> Path:
    if name in {"ROOT", "CACHE", "ASSETS", *_BELOW_ROOT}:
        return _located(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
