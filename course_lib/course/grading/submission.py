"""A submitted notebook, read without trusting any of it, and put back into shape.

The released notebook says which cells there are and what they are worth; the
submission gives nothing but the text of the answers and of cells that were added.
"""

import copy
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.errors import CourseError

MAX_BYTES = 20_000_000
MAX_PARTS = 1_000_000  # lists and objects: each takes 60 bytes of memory and more
MAX_CELLS = 300
MAX_SOURCE = 100_000  # characters of one cell
MAX_TEXT = 2_000_000  # of all cells
ADDED = "added-"  # ids of the learner's own cells


class Unreadable(CourseError):
    """The submission is no notebook; the message says what it is instead."""


def opened(path: str | os.PathLike, dir_fd: int | None = None):
    """A submitted file, open for reading.  Raises Unreadable for links and devices.

    The file is opened once, without following a link and without waiting for a pipe.
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
    return os.fdopen(handle, "rb")


def read(path: str | os.PathLike, dir_fd: int | None = None) -> bytes:
    """The bytes of a submitted file.  Raises Unreadable for links, devices and giants.

    It is measured after opening (see `opened`).
    """
    with opened(path, dir_fd) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unreadable(f"the notebook is larger than {MAX_BYTES / 1e6:.0f} MB")
    return content


def cells(content: bytes) -> list[dict]:
    """The cells as plain dictionaries: kind, source, id, grade_id.

    Formats 2 and 3, whose cells lie in worksheets, are read as well.  Raises Unreadable
    for whatever is no notebook, and says what it is instead where that can be seen.
    """
    if not content.strip():
        raise Unreadable("the file is empty")
    parts = content.count(b"[") + content.count(b"{")
    if parts > MAX_PARTS:  # counted before they are made
        raise Unreadable(f"it has {parts:,} brackets; {MAX_PARTS:,} are read at most")
    try:
        text = content.decode(json.detect_encoding(content), "strict")
        notebook = json.loads(text.removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise Unreadable(_instead(content) or "the file is no text") from None
    except (ValueError, RecursionError, MemoryError):
        raise Unreadable(_instead(content) or "the file is no valid JSON") from None
    if isinstance(notebook, dict) and isinstance(notebook.get("content"), dict):
        notebook = notebook["content"]  # as Jupyter's server wraps one
    found = notebook.get("cells") if isinstance(notebook, dict) else None
    if isinstance(notebook, dict) and not isinstance(found, list):
        sheets = notebook.get("worksheets")
        sheets = [s for s in sheets if isinstance(s, dict)] if sheets else []
        lists = [s["cells"] for s in sheets if isinstance(s.get("cells"), list)]
        found = [cell for cells in lists for cell in cells] if lists else None
    if not isinstance(found, list):
        raise Unreadable("the file is JSON, but no notebook of format 4")
    if len(found) > MAX_CELLS:
        raise Unreadable(f"the notebook has more than {MAX_CELLS} cells")
    read = [_cell(cell) for cell in found if isinstance(cell, dict)]
    if sum(len(cell["source"]) for cell in read) > MAX_TEXT:
        raise Unreadable(f"its cells have more than {MAX_TEXT:,} characters")
    return read


KINDS = (  # (how a file begins, what it is); what an archive is, `archives` says
    (rb"PK\x03\x04", "a zip archive, or a document of an office program"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive"),
    (rb"%PDF", "a PDF page"),
    (rb"\s*<(?:!doctype|html|\?xml|head|!--)", "a page (HTML) made from a notebook"),
    (rb"(?s).{0,4000}?^# ?%%", "a script of cells"),
    (rb"\s*(?:import |from \w+ import |def |class |#!)", "a script"),
)


def _instead(content: bytes) -> str:
    """What a file is that is no notebook; empty where that cannot be seen."""
    for begin, what in KINDS:
        if re.match(begin, content[:5000], re.IGNORECASE | re.MULTILINE):
            return f"the file is {what}, no notebook: ask for the .ipynb itself"
    return ""


def _cell(cell: dict) -> dict:
    kind = "code" if cell.get("cell_type") == "code" else "markdown"
    source = cell.get("source", cell.get("input", ""))  # `input` until format 3
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source = ""
    source = source.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    ours = metadata.get("nbgrader")
    grade_id = ours.get("grade_id") if isinstance(ours, dict) else None
    return {
        "kind": kind,
        "source": source if len(source) <= MAX_SOURCE else "",
        "too_long": len(source) > MAX_SOURCE,
        "id": _name(cell.get("id")) or _name(metadata.get("id")),  # Colab's place
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


# -- whose answer a cell is ------------------------------------------------------------


def essence(source: str) -> str:
    """Source without what a stub may lose or gain unanswered.

    That is: comments, blank lines, doc strings, and the text of NotImplementedError.
    """
    source = re.sub(r"(\"\"\"|\'\'\').*?\1", "", source, flags=re.DOTALL)
    source = re.sub(
        r"raise NotImplementedError\b.*", "raise NotImplementedError", source
    )
    lines = [line.partition("  #")[0].rstrip() for line in bare(source).splitlines()]
    return "\n".join(filter(None, lines))


IDLE = re.compile(  # lines of a function that does nothing
    r"\s*(?:(?:async )?def .*:|class .*:|@.*|raise NotImplementedError|return|pass|"
    r"return None|\.\.\.|super\(\)\.__init__\(.*\)|'[^']*'|\"[^\"]*\")"
)


def is_idle(source: str) -> bool:
    """Code that answers nothing: empty, or definitions without a body."""
    lines = essence(source).splitlines()
    lines = [
        re.sub(r"^(\s*(?:async )?def .*\)\s*:)\s*(\S.*)", r"\1\n\2", x) for x in lines
    ]
    return all(IDLE.fullmatch(x) for line in lines for x in line.splitlines())


def is_blank(source: str, stub: str, kind: str) -> bool:
    """An answer as it was released, or an empty one."""
    if kind != "code":
        words = re.sub(r"\W+", " ", source).strip().casefold()
        return words in ("", re.sub(r"\W+", " ", stub).strip().casefold())
    return essence(source) in ("", essence(stub))


def defines(source: str, names: Iterable[str]) -> bool:
    """Does code define all of these names at the left margin, in whatever way?"""
    return all(
        re.search(
            rf"^(?:(?:async +)?def|class) +{name}\b|^{name}\s*(?::[^=\n]+)?=(?!=)",
            source,
            re.MULTILINE,
        )
        for name in names
    )


def is_unfinished(source: str) -> bool:
    """Code that answers nothing, or still says in some place that it does not."""
    return is_idle(source) or "raise NotImplementedError" in essence(source)


def goes_on(above: str, source: str) -> bool:
    """Is this the rest of the block above it: does it begin as deep as lines there?"""

    def depth(line: str) -> int:
        return len(line) - len(line.lstrip())

    upper = [x for x in above.expandtabs().splitlines() if x.strip()]
    lower = [x for x in source.expandtabs().splitlines() if x.strip()]
    if not upper or not lower or not depth(lower[0]):
        return False
    last, first = upper[-1], depth(lower[0])
    deeper = last.rstrip().endswith(":") and first > depth(last)
    return deeper or (depth(last) > 0 and first in {depth(line) for line in upper})


CODE = re.compile(  # lines that others may need
    r"^(?:(?:async +)?def|class) |^(?:import +\w+|from +[\w.]+ +import)\b|^@|"
    r"^[A-Za-z_][\w, .\[\]]*=[^=]",
    re.MULTILINE,
)


TESTED = re.compile(r"^with exercises\.visible\([^,]+, *[\"\'](\w+)", re.MULTILINE)


def unfenced(source: str) -> str:
    """Code that was turned into text, without the fence around it."""
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", source, re.DOTALL)
    return fenced[1] if fenced else source


class _Places:
    """The submitted cells, each with its place: an index in the release, or None.

    By grade_id, else by id, else by the text of a locked cell or the name in a visible
    test; an answer that is nowhere then is looked for by what it defines, and an open
    one among the learner's own cells beside its place.
    """

    def __init__(self, submitted: list[dict], release: dict):
        self.release = release["cells"]
        self.asked = {q.answer: q for q in questions(release)}
        self.wanted = {i: defined(self.text(i)) for i in self.asked}
        self.elsewhere: dict[int, int] = {}  # answers that stand in another's cell
        self.cells = self._whole(submitted)
        for cell in self.cells:
            self._by_definition_of_stub(cell)
        for place in self.asked:
            if self.kind(place) == "code":
                self._find_code(place)
            else:
                self._find_text(place)

    def text(self, place: int) -> str:
        """The released source of a place."""
        return _source(self.release[place])

    def kind(self, place: int) -> str:
        return "code" if self.release[place]["cell_type"] == "code" else "markdown"

    def blank(self, cell: dict, place: int) -> bool:
        """Is this no answer to the question of a place?"""
        return is_blank(cell["source"], self.text(place), self.kind(place))

    def at(self, place: int) -> list[dict]:
        """The cells of a place, in the order of the submission."""
        return [cell for cell in self.cells if cell["place"] == place]

    def _whole(self, submitted: list[dict]) -> list[dict]:
        """The cells with places; a function cut in two is one again.

        A cell that begins with an indented line goes on where the answer above it ends.
        """
        names = {_ours(c).get("grade_id"): i for i, c in enumerate(self.release)}
        ids = {c.get("id"): i for i, c in enumerate(self.release)}
        for known in (names, ids):
            known.pop(None, None)
        texts = {
            (self.kind(i), text): i
            for i in reversed(range(len(self.release)))
            if i not in self.asked and (text := bare(self.text(i)))
        }
        found = []
        for cell in submitted:
            place = names.get(cell["grade_id"], ids.get(cell["id"]))
            if place is None:
                place = texts.get((cell["kind"], bare(cell["source"])))
            if place is None and cell["kind"] == "code":
                tested = TESTED.search(cell["source"])
                place = names.get(f"{tested[1]}-test") if tested else None
            is_answer = place in self.asked and self.kind(place) == "code"
            if cell["kind"] != "code" and is_answer:
                cell = {**cell, "source": unfenced(cell["source"])}
            above = found[-1] if found else None
            if (
                above is not None
                and cell["kind"] == above["kind"] == "code"
                and above["place"] in self.asked
                and place in (None, above["place"])
                and len(above["source"]) + len(cell["source"]) < MAX_SOURCE
                and not self.blank(above, above["place"])
                and goes_on(above["source"], cell["source"])
            ):
                above["source"] = f"{above['source'].rstrip()}\n{cell['source']}"
            else:
                found.append({**cell, "place": place})
        return found

    def _by_definition_of_stub(self, cell: dict) -> None:
        """A copy of a stub that has lost its name, or a try, is its question's."""
        is_own = cell["place"] is None and cell["kind"] == "code"
        if is_own and is_unfinished(cell["source"]):
            for place, names in self.wanted.items():
                if names and defines(cell["source"], names):
                    cell["place"] = place

    def _find_code(self, place: int) -> None:
        """Where an answer in code stands that is not in its own cell."""
        names = self.wanted[place]
        there = [cell["source"] for cell in self.at(place)]
        if not names or any(not is_unfinished(source) for source in there):
            return
        right = [
            cell
            for cell in self.cells
            if cell["kind"] == "code"
            and cell["place"] != place
            and defines(cell["source"], names)
            and not is_idle(cell["source"])
        ]
        own = [
            cell
            for cell in right
            if cell["place"] not in self.asked
            and (cell["place"] is None or not defines(self.text(cell["place"]), names))
        ]
        for cell in own:  # of nobody, or typed into a locked cell
            cell["place"] = place
        right = [cell for cell in right if cell["place"] in self.asked]
        if right and not own:
            self.elsewhere[place] = right[-1]["place"]

    def _find_text(self, place: int) -> None:
        """An open answer goes on in the learner's own text beside its cell."""
        where = [i for i, cell in enumerate(self.cells) if cell["place"] == place]
        if not where:
            earlier = [c["place"] for c in self.cells if c["place"] is not None]
            earlier = [p for p in earlier if p < place]
            where = [
                i
                for i, cell in enumerate(self.cells)
                if earlier and cell["place"] == max(earlier)
            ]
        beside = []
        for start, step in ((where[0], -1), (where[-1], 1)) if where else ():
            i = start + step
            while 0 <= i < len(self.cells) and self.cells[i]["place"] in (None, place):
                beside.append(self.cells[i])
                i += step
        for cell in beside:
            if cell["kind"] == "markdown":
                cell["place"] = place
        if all(self.blank(cell, place) for cell in self.at(place)):
            for cell in beside:  # words that stand in a cell for code
                if not CODE.search(cell["source"]):
                    cell["place"] = place
        self._from_the_question(place)

    def _from_the_question(self, place: int) -> None:
        """Text that was typed into the locked cell above or below an open answer."""
        for beside in (place - 1, place + 1):
            if not 0 <= beside < len(self.release) or beside in self.asked:
                continue
            known = {line.strip() for line in self.text(beside).splitlines()}
            for i, cell in reversed(list(enumerate(self.cells))):
                lines = cell["source"].splitlines()
                rest = [x for x in lines if x.strip() not in known]
                if (
                    cell["place"] == beside
                    and cell["kind"] == "markdown"
                    and rest
                    and known <= {"", *(line.strip() for line in lines)}
                ):
                    own = {**cell, "source": "\n".join(rest), "place": place}
                    self.cells.insert(i + 1, own)


# -- putting it together ---------------------------------------------------------------


@dataclass
class Rebuilt:
    """A submission in the shape of the release: what is run, shown and scored."""

    cells: list[dict]  # nbformat cells, outputs empty
    origin: list[int | None]  # index in the release; None for cells that were added
    untouched: set[str] = field(default_factory=set)  # answers as they were released
    reasons: dict[str, str] = field(default_factory=dict)  # by question

    def add(self, cell: dict, origin: int | None = None) -> None:
        """One more cell: of the release, or one of the learner's own."""
        if origin is None:
            number = 1 + sum(known is None for known in self.origin)
            cell = _own(cell, number)
        self.cells.append(cell)
        self.origin.append(origin)


def rebuild(content: bytes, release: dict) -> Rebuilt:
    """Answers from the submission, everything else from the release.

    All cells of an answer count, in their order: the one that defines what is asked
    for stands in the released cell, the others before and after it as cells of the
    learner's own; the parts of an open answer are joined.  Copies of the untouched
    cell count only where there is nothing else.  Locked cells are the released ones
    whatever was submitted; what a learner has added to one stands below it.  Raises
    Unreadable.
    """
    places = _Places(cells(content), release)
    around = _around(places)
    built = Rebuilt([], [])
    for cell in around.get(-1, []):
        built.add(cell)
    for index in range(len(release["cells"])):
        cell = copy.deepcopy(release["cells"][index])
        before, after = [], around.get(index, [])
        if index in places.asked:
            before, after = _answer(built, cell, index, places, after)
        else:
            released = _source(cell)
            after = [x for x in after if x["place"] is None or _adds(x, released)]
        for own in before:
            built.add(own)
        built.add(_clean(cell), index)
        for own in after:
            built.add(own)
    return built


def _around(places: _Places) -> dict[int, list[dict]]:
    """{index in the release: cells of that place and own cells beside it, in order}.

    An own cell goes with the cell above it; in a notebook whose cells have been moved,
    one that stands above an answer goes with the answer.
    """
    around, waiting, last = {}, [], -1
    for cell in places.cells:
        place = cell["place"]
        if place is None:
            waiting.append(cell)
            continue
        is_moved = place in places.asked and (last > place or last == -1)
        around.setdefault(place if is_moved else last, []).extend(waiting)
        around.setdefault(place, []).append(cell)
        waiting, last = [], place
    around.setdefault(last, []).extend(waiting)
    return around


def _adds(cell: dict, released: str) -> bool:
    """Has the learner added code to a locked cell that others may need?"""
    known = {line.strip() for line in released.splitlines()}
    new = [x for x in cell["source"].splitlines() if x.strip() not in known]
    return cell["kind"] == "code" and any(CODE.match(line) for line in new)


def _source(cell) -> str:
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else source


def _answer(
    built: Rebuilt, cell: dict, index: int, places: _Places, found: list[dict]
) -> tuple[list[dict], list[dict]]:
    """Put an answer into its released cell; the cells that go before and after it."""
    name = places.asked[index].name
    parts = [x for x in found if x["place"] == index]
    real = [x for x in parts if not places.blank(x, index)]
    if any(x["too_long"] for x in parts):
        built.reasons[name] = f"its cell has more than {MAX_SOURCE:,} characters"
    elif not parts:
        built.reasons[name] = "its cell is missing from the submission"
    if places.kind(index) != "code":
        if real:
            cell["source"] = harmless(
                "\n\n".join(x["source"].strip("\n") for x in real)
            )
        else:
            built.untouched.add(name)
        return [], [x for x in found if x["place"] != index]
    defining = [x for x in real if defines(x["source"], places.wanted[index])]
    if any(not is_unfinished(x["source"]) for x in defining):  # a stub or a try beside
        real = [x for x in real if x not in defining or not is_unfinished(x["source"])]
    if index in places.elsewhere:
        other = places.asked[places.elsewhere[index]].name
        cell["source"] = f"# The answer stands in the cell of {other!r}."
        built.reasons[name] = f"its answer stands in the cell of {other}"
        real = []
    elif not real:
        built.untouched.add(name)
    kept = [x for x in found if x["place"] != index or any(x is y for y in real)]
    if not real:
        return [], kept
    right = [x for x in real if x in defining] or real
    main = next(i for i, x in enumerate(kept) if x is right[-1])
    cell["source"] = kept[main]["source"]
    if len(real) > 1:
        built.reasons.setdefault(name, f"put together from {len(real)} cells")
    return kept[:main], kept[main + 1 :]


def _clean(cell: dict) -> dict:
    cell["source"] = _source(cell)
    if cell["cell_type"] == "code":
        cell["outputs"], cell["execution_count"] = [], None
    cell.pop("attachments", None)
    return cell


def _own(cell: dict, number: int) -> dict:
    made = {"cell_type": cell["kind"], "id": f"{ADDED}{number}", "metadata": {}}
    if cell["kind"] == "code":
        return made | dict(source=cell["source"], outputs=[], execution_count=None)
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
