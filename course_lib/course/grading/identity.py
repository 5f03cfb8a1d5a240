"""Whose work a file is, by its name: platforms, browsers, people, and a roster.

Learning platforms put a learner's name, numbers and times around the name of the file
that was handed in; browsers and Jupyter put copies' numbers after it.  What no rule
can know, a roster says: a CSV file with the columns ``name`` or ``pattern``, and
``learner``.
"""

import fnmatch
import hashlib
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.files import atomic_write_json

STUDENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
GAP = r"[\s_.–-]*"  # what people put between the words of a name
SUFFIXES = re.compile(
    r"\.(ipynb|txt|json|zip|tar|gz|tgz|bz2|tbz2?|xz|txz|7z|rar|html?|pdf|py|md|docx?|"
    r"zst|zipx|download)$",
    re.IGNORECASE,
)
COPY = r"(?:copy|kopie|copie|copia|cópia|kopia)"
COPIES = (  # marks of a copy; a number in brackets counts up with each download
    re.compile(r"\s*\((?P<n>\d{1,3})\)$"),
    re.compile(rf"\s*\((?:another |\d+\w\w )?{COPY}(?: \d+)?\)$", re.IGNORECASE),
    re.compile(rf"(?:\s+|\s*[-–_]\s*){COPY}\s*\(?\d*\)?$", re.IGNORECASE),
    re.compile(rf"^{COPY}\s*(?:\(\d+\)\s*)?(?:of|von|de)\s+", re.IGNORECASE),
    re.compile(r"-checkpoint$"),
    # by programs that keep folders alike: Dropbox, Nextcloud; Syncthing
    re.compile(r"\s*\([^()]*\bconflict(?:ed copy)?\b[^()]*\)$", re.IGNORECASE),
    re.compile(r"\.sync-conflict-\d{8}-\d{6}-\w{7}$"),
)
# by nbgitpuller, before it pulls anew
RENAMED = re.compile(r"(?<!_)_+(?P<when>20\d{12})$")
NOBODY = frozenset(  # words for things, not for people
    "my the all new old final draft last first latest backup version nb submission "
    "submissions submit submitted exercise exercises notebook notebooks untitled "
    "solution solutions answer answers homework homeworks hw assignment assignments "
    "archive archives download downloads work works course class inbox file files "
    "attachment attachments transfer learning main master export content copy jupyter "
    "python documents desktop home user users src colab drive mydrive data tests "
    "attempt attempts of for and to".split()
)


def nfc(text: str) -> str:
    """The text with its accents composed: `é` is one character, however typed."""
    return unicodedata.normalize("NFC", text)


def shown(text: str) -> str:
    """A name as it may be printed: no control characters, no turned direction."""
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in text)
    text = "".join(escaped)
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-150:]}"


@dataclass(frozen=True)
class Named:
    """What a name says.  ``learner`` is empty where it names none.

    ``user``: the platform's own number or name of the person.  ``number``: the
    platform's count of attempts, compared within one platform.  ``when``: the time of
    the attempt, seconds since 1970.  ``copy``: above 0 for a browser's later download,
    below for a copy.  ``other``: another exercise that the name is of.
    """

    learner: str
    user: str = ""
    number: tuple[str, int, int] | None = None
    when: float | None = None
    copy: int = 0
    other: str = ""
    is_lesson: bool = False
    is_sure: bool = False  # a platform wrote it


# -- one name --------------------------------------------------------------------------


def pattern_of(lesson: str) -> str:
    """A regular expression for a lesson's name as people type it."""
    number, *words = re.split(r"[_\s-]+", lesson)
    words = GAP.join(map(re.escape, words))
    kinds = "exercises?|ex|homework|hw|assignment|lesson|lab"
    first = f"0*{re.escape(number.lstrip('0') or '0')}"
    if not words:
        return first
    return f"(?:(?:{kinds}){GAP})?{first}{GAP}{words}|(?:{kinds}){GAP}{first}(?!\\d)"


def others_of(lesson: str) -> list[str]:
    """Names of the course's other exercises."""
    folder = paths.ROOT / "exercises"
    return [p.name for p in sorted(folder.glob("[0-9][0-9]_*")) if p.name != lesson]


def parse(name: str, lesson: str, others: tuple[str, ...] = ()) -> Named:
    """What the name of a file or folder says about its learner and its attempt."""
    stem, copy, when = _bare(nfc(name))
    platform = _platform(stem, lesson)
    if platform:
        return platform
    found, is_lesson, other = stem, False, ""
    for known in (lesson, *others):
        rest = _without(found, known)
        if rest is not None:
            found, is_lesson = rest, is_lesson or known == lesson
            other = other or ("" if known == lesson else known)
    found, more, later = _bare(found)
    canvas = is_lesson and re.fullmatch(r"(.+?)(_LATE)?_(\d{2,})_(\d{3,})", found)
    if canvas:
        return _canvas(canvas[1], canvas[3], canvas[4], stem, is_lesson)
    words = re.split(r"[\W_]+", found.casefold())
    if all(w in NOBODY or re.fullmatch(r"v?\d{0,2}", w) for w in words):
        found = ""
    return Named(
        found,
        copy=copy or more,
        when=when or later,
        other="" if is_lesson else other,
        is_lesson=is_lesson,
    )


def _bare(name: str) -> tuple[str, int, float | None]:
    """A name without endings and marks of copies; the copy's number and time."""
    copy, when, before = 0, None, None
    while name != before:
        before = name
        name = SUFFIXES.sub("", name).strip()
        renamed = RENAMED.search(name)
        if renamed:
            name = name[: renamed.start()]
            when = _seconds(renamed["when"], "%Y%m%d%H%M%S")
        for mark in COPIES:
            found = mark.search(name)
            if found and found[0] != name:
                number = found.groupdict().get("n")
                copy = int(number) if number else -1
                name = mark.sub("", name)
    return name, copy, when


def _without(name: str, lesson: str) -> str | None:
    """A name without the lesson's at its begin or end; None where there is none."""
    own = pattern_of(lesson)
    at_end = re.search(rf"(?:^|(?<=[\s_.–()-]))(?:{own})\)?$", name, re.IGNORECASE)
    at_begin = re.match(rf"(?:{own})(?=$|[\s_.–-])", name, re.IGNORECASE)
    if not at_end and not at_begin:
        return None
    rest = name[: at_end.start()] if at_end else name[at_begin.end() :]
    return (
        re.sub(r"^[\s_.–-]+(?=\w)|[\s_–(.-]+$", "", rest) if rest.strip(" _.–-") else ""
    )


def _seconds(text: str, form: str) -> float | None:
    try:
        return datetime.strptime(text, form).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _canvas(learner, user, file, rest, is_lesson=False) -> Named:
    """Canvas: the number of the file counts up, and so does the suffix of a retry."""
    again = re.search(r"-(\d{1,3})$", _bare(rest)[0])
    number = ("canvas", int(file), int(again[1]) if again else 0)
    learner = re.sub(r"_LATE$", "", learner)
    return Named(learner, user, number, is_lesson=is_lesson, is_sure=True)


def _platform(stem: str, lesson: str) -> Named | None:
    """A name in the form of nbgrader, Moodle, Blackboard, Canvas, and so on."""
    exchange = re.match(
        r"([^+]+)\+[^+]+\+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[^+]* UTC", stem
    )
    if exchange:
        when = _seconds(f"{exchange[2]} +0000", "%Y-%m-%d %H:%M:%S %z")
        return Named(exchange[1], when=when, is_sure=True)
    moodle = re.match(r"(.+?)_(\d+)_assignsubmission_[a-z]+(?:_|$)", stem)
    if moodle:
        return Named(moodle[1], moodle[2], is_sure=True)
    board = re.match(r"(.+)_attempt_(\d{4}(?:-\d\d){5})(?:_|$)", stem)
    if board:
        own = rf"(?:{pattern_of(lesson)})[\s_.–-]+"
        head = re.sub(rf"^{own}", "", board[1], count=1, flags=re.IGNORECASE)
        head = board[1].rpartition("_")[2] if head == board[1] else head
        when = _seconds(board[2], "%Y-%m-%d-%H-%M-%S")
        digits = int(board[2].replace("-", ""))
        return Named(head, number=("blackboard", digits, 0), when=when, is_sure=True)
    bright = re.match(r"(\d+-\d+)\s+-\s+(.+?)\s+-\s+(.+)$", stem)
    if bright:
        when = _brightspace_time(bright[3])
        return Named(bright[2], bright[1].partition("-")[0], when=when, is_sure=True)
    sakai = re.fullmatch(r"[^()]+,[^()]+\(([A-Za-z][\w.@-]*)\)", stem)
    if sakai:
        return Named(sakai[1], is_sure=True)
    canvas = re.match(r"(.+?)(?:_LATE)?_(\d{2,})_(\d{3,})_(?=.)", stem)
    own = re.search(rf"_(?:{pattern_of(lesson)})(?:-\d{{1,3}})?$", stem, re.IGNORECASE)
    if canvas and (not own or canvas.end() <= own.start() + 1):
        return _canvas(canvas[1], canvas[2], canvas[3], stem, bool(own))
    return None


def _brightspace_time(text: str) -> float | None:
    """`08_lora.ipynb - Nov 1, 2026 1030 AM`, or the time alone."""
    found = re.search(
        r"([A-Z][a-z]{2}) [a-z]* ?(\d+), (\d{4}) (\d{1,2}):?(\d\d) ([AP]M)", text
    )
    return _seconds(" ".join(found.groups()), "%b %d %Y %I %M %p") if found else None


# -- names of learners and their folders -----------------------------------------------


def is_plain(name: str) -> bool:
    """May a learner's folder have this name?"""
    return bool(STUDENT.fullmatch(name)) and not name.casefold().endswith(
        (".ipynb", ".zip", ".json")
    )


def folder_of(name: str, more: str = "") -> str:
    """A plain name for any name: itself, or readable letters and a check sum.

    Two names have two folders: what is left out of the letters is in the sum.
    """
    name = nfc(name)
    if is_plain(name) and not more:
        return name
    letters = unicodedata.normalize("NFKD", name)
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    letters = re.sub(r"[^A-Za-z0-9]+", "_", letters).strip("_")[:60] or "learner"
    if more and is_plain(f"{name}-{more}"):
        return f"{name}-{more}"
    digest = hashlib.sha256(os.fsencode(f"{name}\0{more}")).hexdigest()
    return f"{letters}-{digest[:8]}"


def likeness(name: str) -> str:
    """What names have in common that differ in case, accents and gaps alone."""
    letters = unicodedata.normalize("NFKD", nfc(name)).casefold()
    return "".join(c for c in letters if c.isalnum())


class Register:
    """``submitted/learners.json``: whose each folder is; no two people share one.

    {folder: {"name": as it was written, "users": {lesson: the platform's number}}}.
    """

    def __init__(self, to: Path, lesson: str, named: Iterable[Named] = ()):
        self.to, self.lesson = to, lesson
        self.path = to / "learners.json"
        self.known = self._read() if self.path.exists() else {}
        self.before = json.dumps(self.known)
        self.users: dict[str, set[str]] = {}
        for one in named:
            self.users.setdefault(nfc(one.learner), set()).add(one.user)

    def _read(self) -> dict:
        """The register as it was written; CourseError for anything else."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
            for one in found.values():
                if not isinstance(one["name"], str):
                    raise TypeError
                one["users"].keys()
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CourseError(
                f"{self.path} is damaged.\nExpected: whose each folder is, as `course "
                "collect` wrote it.\nDo: restore it, or delete it: folders keep their "
                "names, and are kept apart anew."
            ) from None

    def folder(self, named: Named) -> str:
        """The folder of a learner; two of one name are told apart by their numbers."""
        raw = nfc(named.learner)  # bytes that are no text are written as such
        name = os.fsencode(raw).decode("utf-8", "backslashreplace")
        several = len(self.users.get(raw, set()) - {""}) > 1
        tried = [folder_of(raw, named.user if several else "")]
        tried += [folder_of(raw, named.user or "other"), folder_of(raw, "another")]
        for folder in tried:
            known = self.known.get(folder, {"name": name, "users": {}})
            user = known["users"].get(self.lesson, named.user)
            is_free = known["name"] == name and named.user in (user, "")
            if is_free and self._is_apart(folder):
                known["users"] |= {self.lesson: user} if user else {}
                self.known[folder] = known
                return folder
        raise CourseError(
            f"There are too many learners called {shown(name)!r}.\nExpected: names "
            "that tell people apart.\nDo: give a line for each in a --roster."
        )

    def _is_apart(self, folder: str) -> bool:
        """Not where the disk takes it for another's: `Ana` and `ana` may be one."""
        exists = (self.to / folder).exists()
        return not exists or folder in os.listdir(self.to)

    def alike(self, folder: str) -> list[str]:
        """Other learners' folders whose names differ in case, accents or gaps alone."""

        def key(one: str) -> str:
            return likeness(self.known.get(one, {"name": one})["name"])

        there = os.listdir(self.to) if self.to.is_dir() else []
        there = [x for x in there if (self.to / x / self.lesson).is_dir()]
        own = key(folder)
        return sorted(x for x in {*there, *self.known} - {folder} if key(x) == own)

    def write(self) -> None:
        """Keep it, when it has changed."""
        if json.dumps(self.known) != self.before:
            atomic_write_json(self.path, self.known)


# -- the roster ------------------------------------------------------------------------


class Roster:
    """Lines that say whose a name is; ``unused`` are those that nothing has matched."""

    def __init__(self, path: Path | None = None):
        self.lines = _lines(path) if path else []
        self.unused = {line[0]: line for line in self.lines}

    def learner_of(self, *names: str) -> str:
        """The learner of a file that goes by these names; '' where none is listed.

        Raises CourseError when two lines say different learners.
        """
        names = [nfc(name) for name in names if name]
        found = {}
        for number, is_pattern, wanted, learner in self.lines:
            same = fnmatch.fnmatchcase if is_pattern else str.__eq__
            if any(same(name, wanted) for name in names):
                self.unused.pop(number, None)
                found.setdefault(learner, number)
        if len(found) > 1:
            told = ", ".join(f"{who} (line {line})" for who, line in found.items())
            raise CourseError(
                f"--roster: {shown(names[0])!r} belongs to several learners: {told}.\n"
                "Expected: one learner for each name.\nDo: make the patterns narrower."
            )
        return next(iter(found), "")


def _lines(path: Path) -> list[tuple[int, bool, str, str]]:
    """(line, is it a pattern, name or pattern, learner) of a roster."""
    import pandas as pd

    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(
            f"--roster {path}: {error.strerror}.\nExpected: a CSV file with the "
            "columns name (or pattern) and learner.\nDo: check the path."
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    expected = (
        "Expected: a line `name,learner` (or `pattern,learner`), then one line for "
        "each file, such as `Work (3).ipynb,ann` or `*_4711_*,ann`."
    )
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=None, engine="python", dtype=str, na_filter=False
        )
    except Exception as error:  # of pandas, which has many
        raise CourseError(
            f"--roster {path} cannot be read: {error}.\n{expected}\nDo: save it as CSV."
        ) from None
    table.columns = [str(c).strip().casefold() for c in table.columns]
    kinds = [c for c in ("file", "name", "pattern") if c in table.columns]
    if "learner" not in table.columns or not kinds:
        raise CourseError(
            f"--roster {path} has the columns {', '.join(table.columns)}.\n{expected}\n"
            "Do: name the columns in its first line."
        )
    found = []
    for row, line in enumerate(table.to_dict("records"), start=2):
        learner = nfc(line["learner"]).strip()
        wanted = [(c == "pattern", nfc(line[c]).strip()) for c in kinds]
        wanted = [one for one in wanted if one[1]]
        if not learner and not wanted:
            continue
        problem = "" if is_plain(learner) else f"{learner!r} is no learner's name"
        problem = problem if wanted else "no name and no pattern"
        if problem:
            raise CourseError(
                f"--roster {path}, line {row}: {problem}.\nExpected: a name or "
                "pattern, and a learner of letters, digits and _ . @ - alone (it names "
                "a folder).\nDo: correct this line."
            )
        found += [(row, is_pattern, name, learner) for is_pattern, name in wanted]
    return found
