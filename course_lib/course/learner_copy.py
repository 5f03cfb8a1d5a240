"""A learner's own copy of the lessons and exercises, which git does not see.

`course lab` opens notebooks in ``my_course/``; nothing that git tracks is written.
What the course changed since is merged by the ids of cells (three ways: the version
that was copied, the course's, the learner's), and no cell of the learner is lost.
"""

import copy
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes

BASE = ".base"  # in the copy: each notebook as the course had it when it was copied
OLDER = ".older"  # in the copy: the learner's notebooks before each merge
COURSE_NOTE, OWN_NOTE = "from-the-course-", "from-you-"  # ids of what `_note` makes
RELEASED = ".released.ipynb"  # beside an exercise that learners may write into
CARDS = "data/cards"  # what lessons link to beside notebooks


def folder() -> Path:
    """Where the copy lies: COURSE_COPY, else ``my_course/`` in the course.

    Raises CourseError for the course's own folder: its notebooks would be written into.
    """
    named = os.environ.get("COURSE_COPY")
    if not named:
        return paths.ROOT / "my_course"
    place = Path(named).expanduser().resolve()
    if place == paths.ROOT.resolve():
        raise CourseError(
            f"COURSE_COPY is the course itself, {place}.\nExpected: a folder of your "
            "own, in which no file of the course is overwritten.\nDo: name another "
            "folder, or leave COURSE_COPY unset."
        )
    return place


def own(shipped: Path) -> Path:
    """The learner's notebook of a lesson or exercise, made or not."""
    return folder() / shipped.relative_to(paths.ROOT)


def as_released(path: Path) -> Path:
    """An exercise as the course ships it, whoever has written into the notebook."""
    kept = paths.ROOT / "exercises" / path.stem / RELEASED
    return kept if kept.exists() else path


def shipped() -> list[Path]:
    """Every lesson and exercise of the course."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    exercises = paths.ROOT / "exercises"
    return found + sorted(exercises.glob("[0-9][0-9]_*/[0-9][0-9]_*.ipynb"))


# -- notebooks as plain data -----------------------------------------------------------


def text(cell: dict) -> str:
    """The source of a cell."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def emptied(notebook: dict) -> dict:
    """The same notebook without outputs and numbers of cells."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def _read(path: Path) -> dict:
    """A notebook with its cells; CourseError where there is none."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(cell["cell_type"], str) for cell in notebook["cells"]):
            return notebook
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise CourseError(
        f"{path.name} in your copy is damaged.\nExpected: a notebook.\nDo: move "
        f"{path} to another place; `course lab` then makes a new one."
    )


def _write(path: Path, notebook: dict) -> None:
    content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    atomic_write_bytes(path, content.encode("utf-8"))


# -- the merge -------------------------------------------------------------------------


def _named(cells: list[dict], known: list[dict]) -> list[dict]:
    """Cells that have one id each: that of a known cell of the same text, or a new one.

    Colab keeps the id in the metadata; old programs drop it.
    """
    texts = {(cell["cell_type"], text(cell)): cell["id"] for cell in known}
    seen, found = set(), []
    for number, cell in enumerate(cells):
        name = cell.get("id") or cell.get("metadata", {}).get("id")
        name = name or texts.get((cell["cell_type"], text(cell)))
        if not isinstance(name, str) or name in seen:
            name = f"own-{time.time_ns():x}-{number}"[-60:]
        seen.add(name)
        found.append({**cell, "id": name})
    return found


def _same(one: dict, other: dict | None) -> bool:
    return other is not None and (one["cell_type"], text(one)) == (
        other["cell_type"],
        text(other),
    )


TITLES = {
    COURSE_NOTE: "**The course has changed this cell, and so have you.** Yours stands "
    "below; the course's is now:",
    OWN_NOTE: "**The course has changed the cell above.** You had written there:",
}


def _note(kind: str, cell: dict) -> dict:
    """A text cell that shows the version of a cell that is not in its place."""
    source = text(cell)
    if cell["cell_type"] == "code":
        source = f"```python\n{source}\n```"
    return {
        "cell_type": "markdown",
        "id": f"{kind}{cell['id']}"[:64],
        "metadata": {},
        "source": f"{TITLES[kind]}\n\n{source}",
    }


def _is_locked(cell: dict) -> bool:
    ours = cell.get("metadata", {}).get("nbgrader", {})
    return bool(ours.get("locked")) and not ours.get("solution")


def _both(mine: dict, base: dict | None, theirs: dict) -> list[dict]:
    """The cells that stand for one that the learner and the course both have."""
    if _same(mine, theirs):  # with the outputs of the learner's run
        run = {k: mine[k] for k in ("outputs", "execution_count") if k in mine}
        return [{**theirs, **run}]
    if _same(mine, base):
        return [theirs]
    if _is_locked(theirs):
        return [theirs, _note(OWN_NOTE, mine)]
    yours = {**mine, "metadata": {**mine.get("metadata", {}), **theirs["metadata"]}}
    return [yours] if _same(theirs, base) else [_note(COURSE_NOTE, theirs), yours]


def merged(base: dict, theirs: dict, mine: dict) -> dict:
    """A learner's notebook brought up to the course's.

    base: as the course had it when it was copied.  Cells that the learner has not
    changed become the course's; changed ones stay, with the course's new text above;
    cells of the learner's own stay behind the cell that they stood behind.  A cell that
    the learner deleted comes back only if the course has changed it.
    """
    new = emptied(theirs)["cells"]
    was = {cell["id"]: cell for cell in base["cells"]}
    cells = _named(mine["cells"], [*base["cells"], *new])
    seen = TITLES[COURSE_NOTE]  # what the course had is shown until its next change
    cells = [cell for cell in cells if not text(cell).startswith(seen)]
    yours = {cell["id"]: cell for cell in cells}
    result, names = [], {cell["id"] for cell in new}
    for cell in new:
        if cell["id"] in yours:
            result += _both(yours[cell["id"]], was.get(cell["id"]), cell)
        elif not _same(cell, was.get(cell["id"])):
            result.append(cell)
    before = None
    for cell in cells:
        if cell["id"] in names:
            before = cell["id"]
        elif not _same(cell, was.get(cell["id"])):  # own, or changed and then dropped
            place = [c["id"] for c in result].index(before) + 1 if before else 0
            result.insert(place, cell)
            before = cell["id"]
    return {**theirs, "metadata": mine.get("metadata", {}), "cells": result}


def with_outputs(mine: dict, theirs: dict) -> dict:
    """The learner's notebook; stored outputs where a cell is the course's and unrun."""
    stored = {cell.get("id"): cell for cell in theirs["cells"]}
    cells = []
    for cell in mine["cells"]:
        of_course = stored.get(cell.get("id"))
        if cell["cell_type"] == "code" and not cell.get("outputs"):
            cell = of_course if _same(cell, of_course) else cell
        cells.append(cell)
    return {**mine, "cells": cells}


# -- making and renewing ---------------------------------------------------------------


@dataclass
class Renewed:
    """What became of the copy: names of notebooks that are new, merged or damaged."""

    new: list[str]
    merged: list[str]
    problems: list[str]

    def lines(self) -> list[str]:
        """What a learner is told; nothing when nothing has changed."""
        found = []
        if self.new:
            count = len(self.new)
            found.append(f"{count} notebooks copied to {folder()}: they are yours.")
        if self.merged:
            found.append(
                f"The course has changed: {', '.join(self.merged)}. Your cells are "
                f"kept; your notebooks as they were are in {folder() / OLDER}."
            )
        return found + self.problems


def renew(outputs: bool = False) -> Renewed:
    """Make the copy, or bring it up to the course.

    outputs: show the stored outputs in cells that were not run; else they are empty
    until run.  Notebooks that are as the course has them are not touched.  The cards of
    the data sets, which lessons link to, come along: the course's, as it has them.
    """
    done = Renewed([], [], [])
    for card in (paths.ROOT / CARDS).glob("*.*"):
        if not own(card).exists() or own(card).read_bytes() != card.read_bytes():
            atomic_write_bytes(own(card), card.read_bytes())
    for source in shipped():
        try:
            _renew(source, outputs, done)
        except CourseError as error:
            done.problems.append(str(error))
    return done


def _renew(source: Path, outputs: bool, done: Renewed) -> None:
    path = own(source)
    kept = folder() / BASE / source.relative_to(paths.ROOT)
    is_lesson = source.parent == paths.NOTEBOOKS
    stored = _read(source if is_lesson else as_released(source))
    theirs = emptied(stored)
    if not path.exists():
        first = stored if outputs else theirs
        _write(path, first if is_lesson else _read(source))  # answers that stand there
        _write(kept, theirs)
        done.new.append(source.stem)
        return
    base = _read(kept) if kept.exists() else {"cells": []}
    is_changed = base["cells"] != theirs["cells"]
    if not is_changed and not outputs:
        return
    mine = _read(path)
    result = merged(base, theirs, mine) if is_changed else mine
    result = with_outputs(result, stored) if outputs else result
    if is_changed:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        older = folder() / OLDER / f"{source.stem}-{stamp}.ipynb"
        atomic_write_bytes(older, path.read_bytes())
        done.merged.append(source.stem)
    if result != mine:
        _write(path, result)
    _write(kept, theirs)
