"""A submitted notebook, read without trusting any of it, and put back into shape.

The released notebook says which cells there are and what they are worth; the
submission gives nothing but the text of the answers and of cells that were added.
"""

from __future__ import annotations

import copy
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.errors import CourseError

MAX_BYTES = 20_000_000
MAX_CELLS = 300
MAX_SOURCE = 100_000  # characters of one cell
ADDED = "added-"  # ids of the learner's own cells


class Unreadable(CourseError):
    """The submission is no notebook; the message says what it is instead."""


def read(path: str | os.PathLike, dir_fd: int | None = None) -> bytes:
    """The bytes of a submitted file.  Raises Unreadable for links, devices and giants.

    The file is opened once, without following a link, and measured after opening.
    ``dir_fd``: an open folder that the path starts from.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0), dir_fd=dir_fd)
    except FileNotFoundError:
        raise Unreadable("the notebook is missing") from None
    except OSError:
        raise Unreadable("the notebook is a link, or cannot be opened") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable("the notebook is no regular file")
    with os.fdopen(handle, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unreadable(f"the notebook is larger than {MAX_BYTES / 1e6:.0f} MB")
    return content


def cells(content: bytes) -> list[dict]:
    """The cells as plain dictionaries: kind, source, id, grade_id.

    Raises Unreadable for whatever is no notebook of format 4.
    """
    if not content.strip():
        raise Unreadable("the file is empty")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("the file is no text") from None
    except (ValueError, RecursionError, MemoryError):
        raise Unreadable("the file is no valid JSON") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise Unreadable("the file is JSON, but no notebook of format 4")
    found = notebook["cells"]
    if len(found) > MAX_CELLS:
        raise Unreadable(f"the notebook has more than {MAX_CELLS} cells")
    return [_cell(cell) for cell in found if isinstance(cell, dict)]


def _cell(cell: dict) -> dict:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source = ""
    source = source.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    metadata = cell.get("metadata")
    ours = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = ours.get("grade_id") if isinstance(ours, dict) else None
    return {
        "kind": "code" if cell.get("cell_type") == "code" else "markdown",
        "source": source if len(source) <= MAX_SOURCE else "",
        "too_long": len(source) > MAX_SOURCE,
        "id": _name(cell.get("id")),
        "grade_id": _name(grade_id),
    }


def _name(value) -> str | None:
    return value if isinstance(value, str) and len(value) <= 100 else None


# -- the released notebook -------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One graded question of a released notebook."""

    name: str  # grade_id of the cell with the answer
    points: float
    by_hand: bool
    answer: int  # index of the answer's cell
    scored: int  # index of the cell that carries the points; the same when by hand


def _ours(cell) -> dict:
    return cell.get("metadata", {}).get("nbgrader", {})


def questions(release: dict) -> list[Question]:
    """The graded questions of a released notebook, in order.

    An answer NAME is scored by the locked cell NAME-test, or by hand in its own cell.
    Raises CourseError when the two do not belong together.
    """
    where = {_ours(c).get("grade_id"): i for i, c in enumerate(release["cells"])}
    found = []
    for index, cell in enumerate(release["cells"]):
        ours = _ours(cell)
        if not ours.get("solution"):
            continue
        name = ours["grade_id"]
        scored = index if ours.get("grade") else where.get(f"{name}-test")
        if scored is None:
            raise CourseError(
                f"The answer {name!r} is not scored.\nExpected: a locked cell "
                f"{name}-test with points after it.\nDo: add it to solutions/."
            )
        points = float(_ours(release["cells"][scored])["points"])
        by_hand = bool(ours.get("grade"))
        found.append(Question(name, points, by_hand, index, scored))
    return found


QUIZ = "quiz"  # a cell that only a browser has a use for


def bare(source: str) -> str:
    """Source without blank lines, comments of their own line and outer space."""
    lines = [line.rstrip() for line in source.splitlines()]
    return "\n".join(x for x in lines if x.strip() and not x.lstrip().startswith("#"))


def defined(source: str) -> frozenset[str]:
    """Names of the functions and classes that stand at the left margin."""
    return frozenset(re.findall(r"^(?:def|class)\s+(\w+)", source, re.MULTILINE))


# -- putting it together ---------------------------------------------------------------


@dataclass
class Rebuilt:
    """A submission in the shape of the release: what is run, shown and scored."""

    cells: list[dict]  # nbformat cells, outputs empty
    origin: list[int | None]  # index in the release; None for cells that were added
    untouched: set[str] = field(default_factory=set)  # answers as they were released
    reasons: dict[str, str] = field(default_factory=dict)  # by question


def rebuild(content: bytes, release: dict) -> Rebuilt:
    """Answers from the submission, everything else from the release.

    A submitted cell belongs to an answer by its grade_id, else by its cell id, else
    because it defines the same names; of several the last counts.  Locked cells are
    the released ones whatever was submitted.  Raises Unreadable.
    """
    submitted = cells(content)
    asked = questions(release)
    by_name = {q.name: q for q in asked}
    ids = {c.get("id"): i for i, c in enumerate(release["cells"])}
    names = {_ours(c).get("grade_id"): i for i, c in enumerate(release["cells"])}
    names.pop(None, None)
    matched: dict[int, dict] = {}
    places = []
    for cell in submitted:
        place = names.get(cell["grade_id"], ids.get(cell["id"]))
        places.append(place)
        if place is not None:
            matched[place] = cell
    for q in asked:  # metadata and ids are gone: look for the same definitions
        wanted = defined(_source(release["cells"][q.answer]))
        if q.answer in matched or not wanted:
            continue
        for i, cell in enumerate(submitted):
            if places[i] is None and wanted <= defined(cell["source"]):
                matched[q.answer], places[i] = cell, q.answer
    added: dict[int, list[dict]] = {}
    last = -1
    for cell, place in zip(submitted, places):
        if place is None:
            added.setdefault(last, []).append(cell)
        else:
            last = place
    built = Rebuilt([], [])
    count = 0
    for index in range(-1, len(release["cells"])):
        if index >= 0:
            cell = copy.deepcopy(release["cells"][index])
            name = _ours(cell).get("grade_id")
            if name in by_name and index == by_name[name].answer:
                _answer(built, cell, name, matched.get(index))
            built.cells.append(_clean(cell))
            built.origin.append(index)
        for cell in added.get(index, []):
            count += 1
            built.cells.append(_own(cell, count))
            built.origin.append(None)
    return built


def _source(cell) -> str:
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else source


def _answer(built: Rebuilt, cell: dict, name: str, submitted: dict | None) -> None:
    """Put the submitted text into the released cell and note what was found."""
    stub = _source(cell)
    if submitted is None:
        built.reasons[name] = "its cell is missing from the submission"
    elif submitted["too_long"]:
        built.reasons[name] = f"its cell has more than {MAX_SOURCE:,} characters"
    else:
        source = submitted["source"]
        cell["source"] = source if cell["cell_type"] == "code" else harmless(source)
        if bare(source) != bare(stub):
            return
    built.untouched.add(name)


def _clean(cell: dict) -> dict:
    cell["source"] = _source(cell)
    if cell["cell_type"] == "code":
        cell["outputs"], cell["execution_count"] = [], None
    cell.pop("attachments", None)
    return cell


def _own(cell: dict, number: int) -> dict:
    made = {"cell_type": cell["kind"], "id": f"{ADDED}{number}", "metadata": {}}
    if cell["kind"] == "code":
        return {
            **made,
            "source": cell["source"],
            "outputs": [],
            "execution_count": None,
        }
    return {**made, "source": harmless(cell["source"])}


def harmless(markdown: str) -> str:
    """Markdown of a learner without HTML, pictures and links to anything but pages.

    The instructor's browser shows it: no tag, no script, nothing fetched from afar.
    """
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", markdown)
    text = text.replace("![", "[")
    text = re.sub(r"(?im)^(\s*\[[^\]]*\]:)", r"\\\1", text)  # definitions of links
    return re.sub(r"(?i)\]\(\s*<?(?!\s*https?://)[^)]*\)?", "](removed)", text)


def load_release(path: str | os.PathLike) -> dict:
    """The released notebook as plain data, its sources as single texts."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = _source(cell)
    return notebook
