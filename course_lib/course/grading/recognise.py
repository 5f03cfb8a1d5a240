"""What a file of an inbox is: system, course, archive, notebook, and of which exercise.

A name alone does not say it: a notebook is known by its cells, an archive by its first
bytes, a file of the course by its place.
"""

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import archives, identity, submission
from course_lib.course.grading.archives import Found
from course_lib.course.grading.identity import Named

COURSE = ("course_lib", "__init__.py")  # a copy of the course has this file
# folders and files that people hand in without knowing, in small letters
SYSTEM = {
    name: whose
    for whose, names in {
        "of macOS": "__macosx .ds_store .localized icon\r .spotlight-v100 .trashes "
        ".fseventsd",
        "of Windows": "thumbs.db desktop.ini $recycle.bin",
        "Jupyter's own copy": ".ipynb_checkpoints",
        "of Jupyter": ".virtual_documents",
        "of Python": "__pycache__ .pytest_cache .ruff_cache .venv venv site-packages",
        "of JavaScript": "node_modules",
        "of git": ".git .gitignore .gitattributes",
        "of an editor": ".vscode .idea",
    }.items()
    for name in names.split(" ")
}
OTHER = {  # what people hand in instead of a notebook
    ending: what
    for what, endings in {
        "a page made from a notebook": ".html .htm .pdf",
        "a script": ".py",
        "a text": ".md",
        "a document": ".docx .doc .odt",
        "a picture": ".png .jpg .jpeg .heic",
    }.items()
    for ending in endings.split(" ")
}


# -- what lies there -------------------------------------------------------------------


def is_notebook(name: str) -> bool:
    """A notebook by its name, whatever was put behind it."""
    return ".ipynb" in name.casefold()


def suffix_of(name: str) -> str:
    """The ending in small letters, without a browser's number behind it."""
    return Path(re.sub(r"\s*\(\d+\)$", "", name.casefold())).suffix


def wanted(name: str) -> bool:
    """May this be a notebook, or an archive with one?"""
    if is_notebook(name):
        return True
    return not name.startswith(".") and (
        suffix_of(name) in ("", ".txt", ".json", ".download", ".nb", *archives.ENDINGS)
        or suffix_of(name) in archives.UNREAD
    )


def system_of(parts: tuple[str, ...]) -> str:
    """Whose file it is that no learner has written; '' for any other file."""
    for part in parts:
        if part.startswith("._"):
            return "of macOS"
        if part.startswith("~$") or part.casefold().endswith((".swp", ".pyc")):
            return "of another program"
        known = SYSTEM.get(part.casefold())
        if known:
            return known
    return ""


def as_shipped(
    parts: tuple[str, ...],
    content: bytes | None = None,
    roots: Iterable[tuple[str, ...]] = (),
) -> bool:
    """A file of the course itself, by its path, and by its bytes where these count.

    ``roots``: folders of the inbox that are copies of the course.
    """
    known = {paths.ROOT / Path(*parts[len(r) :]) for r in roots if parts[: len(r)] == r}
    tails = [parts[i:] for i in range(len(parts)) if len(parts) - i >= 2]
    for root in (paths.ROOT, paths.ROOT / "exercises"):
        known |= {root.joinpath(*tail) for tail in tails[:12]}
    for path in known:
        try:
            if path.is_file() and (content is None or path.read_bytes() == content):
                return True
        except (OSError, ValueError):
            continue
    return False


def archive_kind(found: Found) -> str:
    """zip, gz, bz2 or tar; the name of a format that is not read; '' for no archive."""
    if found.name.casefold().endswith(archives.OFFICE):
        return ""
    kind = archives.format_of(found.file)
    suffix = suffix_of(found.name)
    return kind or ("tar" if suffix == ".tar" else archives.UNREAD.get(suffix, ""))


# -- which exercise it is --------------------------------------------------------------


class Exercises:
    """What tells the notebooks of the course's exercises apart."""

    def __init__(self, lesson: str):
        self.lesson = lesson
        self.others = tuple(identity.others_of(lesson))
        self.public = self._public(lesson)
        self.cells: set[str] = set()  # names of all exercises' cells
        self.marks = {
            name: self._marks(public)
            for name in (lesson, *self.others)
            if (public := self._public(name))
        }

    @staticmethod
    def _public(name: str) -> dict | None:
        path = paths.ROOT / "exercises" / name / f"{name}.ipynb"
        return submission.load_release(path) if path.exists() else None

    def _marks(self, public: dict) -> tuple[set[str], set[str]]:
        """Names of the answers' cells, and of what they define."""
        self.cells |= {c["id"] for c in public["cells"] if "id" in c}
        asked = submission.questions(public)
        cells = [public["cells"][q.answer] for q in asked]
        names = {n for c in cells for n in submission.defined(c["source"])}
        return {q.name for q in asked}, names

    def answered(self, content: bytes) -> int | None:
        """How many questions have an answer; -1 where it cannot be read."""
        if self.public is None:
            return None
        try:
            built = submission.rebuild(content, self.public)
        except submission.Unreadable:
            return -1
        return len(submission.questions(self.public)) - len(built.untouched)

    def of(self, content: bytes, named: Named) -> tuple[str, str]:
        """("this", "other", "none" or "unreadable", and why) of a notebook."""
        try:
            cells = submission.cells(content)
        except submission.Unreadable as error:
            return "unreadable", str(error)
        if self._is_lesson(cells):
            return "other", "a lesson's notebook, not that of its exercise"
        points = {name: self._points(cells, name) for name in self.marks}
        own = points.pop(self.lesson, 0)
        best = max(points, key=points.get, default="")
        title = next((c["source"] for c in cells if c["kind"] == "markdown"), "")
        title = re.match(r"#+\s*(\d+)\b.*\bExercise", title)
        number = title[1].zfill(2) if title else ""
        if best and points[best] > own:
            return "other", f"a notebook of {best}"
        is_other = number not in ("", self.lesson.partition("_")[0])
        if own and not (is_other and not named.is_lesson):
            return "this", ""
        if is_other or named.other and not own:
            return "other", f"a notebook of {named.other or f'exercise {number}'}"
        return "none", "no question of this exercise is in it"

    @functools.cached_property
    def lessons(self) -> list[set[str]]:
        """Of each lesson the names of its cells, without those of exercises."""
        found = []
        for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
            cells = json.loads(path.read_text("utf-8"))["cells"]
            found.append({c["id"] for c in cells if "id" in c} - self.cells)
        return found

    def _is_lesson(self, cells: list[dict]) -> bool:
        """Has it cells of a lesson, and more of these than of exercises?"""
        own = {c["id"] for c in cells} - {None}
        graded = {c["grade_id"] for c in cells} & self.cells
        most = max((len(own & lesson) for lesson in self.lessons), default=0)
        return most >= 3 and most > len(graded)

    def _points(self, cells: list[dict], name: str) -> int:
        ids, names = self.marks[name]
        found = {c["grade_id"] for c in cells} | {c["id"] for c in cells}
        code = "\n".join(c["source"] for c in cells if c["kind"] == "code")
        return len(found & ids) + len(submission.defined(code) & names)
