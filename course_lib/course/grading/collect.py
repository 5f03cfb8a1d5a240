"""Collect submissions from a folder, such as the one a learning platform exports.

Every file of the inbox is accounted for, at every depth: collected as whose, kept as an
older attempt, left out and why, or of no weight.  What a name says is `identity`'s,
what a file is `recognise`'s, what lies in an archive `archives`', what becomes of an
attempt `attempts`'.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import archives, attempts, identity, submission
from course_lib.course.grading.archives import Found
from course_lib.course.grading.identity import Named, shown
from course_lib.course.grading.recognise import (
    COURSE,
    OTHER,
    Exercises,
    archive_kind,
    as_shipped,
    is_notebook,
    suffix_of,
    system_of,
    wanted,
)
from course_lib.course.learner_copy import RELEASED
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes, csv_bytes
from course_lib.show.console import print_json, print_table

FIELDS = ("learner", "file", "result")  # of the list of all files


@dataclass(frozen=True)
class Collected:
    """What became of one file.

    ``student``: whose it is; empty where nobody knows.  ``problem``: why it was left
    out; empty when nothing is lost.  ``result``: what became of it otherwise.
    """

    student: str
    source: str
    problem: str = ""
    result: str = "collected"
    is_ignored: bool = False  # nobody's work

    @property
    def told(self) -> str:
        """The problem or the result, in words."""
        if self.problem and self.result.startswith("collected"):
            return f"{self.result}, but {self.problem}"
        return f"left out: {self.problem}" if self.problem else self.result


@dataclass(frozen=True)
class Unit:
    """What a name of the inbox stands for: a file, a folder, a share of an archive."""

    label: str
    named: Named
    files: tuple[Found, ...] = ()
    folder: Path | None = None
    is_known: bool = False  # by the roster
    is_archive: bool = False


def collect(
    lesson: str,
    folder: Path,
    to: Path | None = None,
    roster: Path | None = None,
    class_archives: list[str] | None = None,
) -> list[Collected]:
    """Copy each learner's notebook to ``submitted/``; what became of every file.

    ``roster``: a CSV file that says whose a name is.  ``class_archives``: names of
    archives that hold the work of many learners; an empty list means all archives of
    the inbox; None, none of them: each is one learner's.  A learner of whom nothing
    can be read is noted in ``submitted/``, to get a record.  Raises CourseError when
    there is no such folder, and for a roster that cannot be used.
    """
    try:
        inbox = _Inbox(lesson, folder, to, roster, class_archives)
        with tempfile.TemporaryDirectory() as scratch:
            units = list(inbox.units(Path(scratch)))
            inbox.take(units)
    except OSError as error:
        raise CourseError(
            f"Collecting was interrupted: {error}.\nExpected: an inbox that can be "
            "read, room in submitted/ and the right to write there.\nDo: put that "
            "right and collect again: what was collected stays, nothing is lost."
        ) from None
    return inbox.rows


def report(
    lesson: str, rows: list[Collected], to: str | None = None, as_json: bool = False
) -> int:
    """Print a table of what became of every file; the exit code, 0 or 1.

    ``as_json``: all rows as JSON instead, with the names of the CSV file ``to``.
    """
    left = sum(bool(one.problem) for one in rows)
    if as_json:
        print_json([dict(zip(FIELDS, _cells(one))) for one in rows])
        if rows and to:
            write_list(rows, Path(to))
        return 1 if left or not rows else 0
    if not rows:
        print(f"Nothing has been handed in for {lesson}: there is no file.")
        return 1
    fields = ("learner", "from", "result")
    print_table(f"Submissions of {lesson}", fields, grouped(rows))
    if to:
        print(f"{len(rows)} files in {write_list(rows, Path(to))}")
    ignored = sum(one.is_ignored for one in rows)
    new = sum(one.result.startswith("collected") for one in rows if not one.problem)
    told = f"{len(rows)} files: {new} collected, {left} left out, {ignored} ignored"
    print(f"{told}, {len(rows) - new - left - ignored} as before or older attempts.")
    if rows and not new and not left:
        print("Nothing is new.")
    return 1 if left else 0


def _cells(one: Collected) -> tuple[str, str, str]:
    return one.student, one.source, one.told


def write_list(rows: list[Collected], path: Path) -> Path:
    """All rows as CSV, for a table that shows large folders in one line."""
    cells = ([f"'{c}" if c[:1] in "=+-@" and c else c for c in _cells(r)] for r in rows)
    return atomic_write_bytes(path, csv_bytes([FIELDS, *cells]))


def grouped(rows: list[Collected], most: int = 10) -> list[tuple[str, str, str]]:
    """(learner, file or files, result) to be shown: many alike are one row."""
    groups: dict[tuple, list[Collected]] = {}
    for one in rows:
        first = one.source.partition("/")[0]
        groups.setdefault((one.student, one.told, first), []).append(one)
    shown_rows = []
    for (student, told, first), alike in groups.items():
        if len(alike) <= (4 if alike[0].is_ignored else most):
            shown_rows += [(student, one.source, told) for one in alike]
            continue
        names = ", ".join(one.source.rpartition("/")[2] for one in alike[:2])
        shown_rows.append((student, f"{first}: {len(alike)} files ({names} ...)", told))
    return shown_rows


@dataclass(frozen=True)
class _Notebook:
    """A notebook of a unit: its bytes, what its name says, and what it is."""

    found: Found
    content: bytes
    named: Named
    verdict: str
    why: str

    @property
    def source(self) -> str:
        return _label(self.found.parts)


def _label(parts: tuple[str, ...]) -> str:
    return shown("/".join(parts))


# -- an inbox --------------------------------------------------------------------------


class _Inbox:
    """One collection: from names to units, from units to learners, to their folders."""

    def __init__(self, lesson, folder, to, roster, class_archives):
        self.lesson, self.folder = lesson, folder
        self.to = to or paths.ROOT / "submitted"
        self.roster = identity.Roster(roster)
        self.classes = class_archives
        if class_archives:
            self.classes = [Path(name).name for name in class_archives]
        self.rows: list[Collected] = []
        self.roots: list[tuple[str, ...]] = []  # copies of the course, in a unit
        self.exercises = Exercises(lesson)
        self.budget = archives.of_inbox()
        self._require()

    def _require(self) -> None:
        """Raise CourseError for an inbox that is none, or lies in the wrong place."""
        is_archive = self.folder.is_file() and self.classes is not None
        if not self.folder.is_dir() and not is_archive:
            more = (
                " An archive with the work of a class: add --class-archive."
                if self.folder.is_file()
                else ""
            )
            raise CourseError(
                f"{self.folder} is no folder.\nExpected: a folder of notebooks or "
                f"archives, named by learner.\nDo: give it with --from.{more}"
            )
        if self.to.exists() and self.folder.resolve() == self.to.resolve():
            raise CourseError(
                f"{self.folder} is where collected work lies.\nExpected: the folder "
                "that work comes from.\nDo: give that one with --from."
            )
        there = (
            {e.name for e in os.scandir(self.folder)} if self.folder.is_dir() else ()
        )
        missing = [n for n in self.classes or () if n not in there and not is_archive]
        if missing:
            raise CourseError(
                f"--class-archive: {missing[0]!r} is not in {self.folder}.\nExpected: "
                f"the name of an archive there.\nDo: choose one of "
                f"{', '.join(sorted(there)[:10]) or '(none: the folder is empty)'}."
            )

    def left(self, student: str, parts, problem: str) -> None:
        """One file that was left out."""
        self.rows.append(Collected(student, _label(parts), problem, result=""))

    def ignored(self, student: str, parts, why: str) -> None:
        """One file that is nobody's work."""
        told = f"ignored: {why}"
        self.rows.append(
            Collected(student, _label(parts), result=told, is_ignored=True)
        )

    def parse(self, name: str) -> Named:
        """What a name says."""
        return identity.parse(name, self.lesson, self.exercises.others)

    def owner(self, named: Named, *names: str) -> tuple[Named, bool]:
        """The name with the roster's learner, and whether the roster has one."""
        learner = self.roster.learner_of(*names, named.learner, named.user)
        if not learner:
            return named, False
        return replace(named, learner=learner, user=""), True

    # units --------------------------------------------------------------------------

    def units(self, scratch: Path) -> Iterator[Unit]:
        """What the names of the inbox stand for, in the order of names."""
        if self.folder.is_file():
            whole = archives.at(self.folder, (self.folder.name,))
            yield from self._class(whole, scratch)
            return
        for entry in sorted(os.scandir(self.folder), key=lambda e: e.name):
            parts = (entry.name,)
            named, is_known = self.owner(
                self.parse(entry.name), entry.name, Path(entry.name).stem
            )
            system = system_of(parts)
            if system and entry.is_dir(follow_symlinks=False):
                budget = self.budget.of_one()
                for found in archives.in_folder(Path(entry.path), parts, budget):
                    self.ignored("", found.parts, system)
            elif system:
                self.ignored("", parts, system)
            elif entry.is_dir(follow_symlinks=False):
                yield Unit(
                    entry.name, named, folder=Path(entry.path), is_known=is_known
                )
            else:
                found = archives.at(Path(entry.path), parts)
                kind = self._kind(found)
                of_class = self.classes is not None and (
                    entry.name in self.classes or not self.classes
                )
                if of_class and kind in archives.READ:
                    yield from self._class(found, scratch)
                else:
                    yield Unit(entry.name, named, (found,), None, is_known, kind != "")

    def _kind(self, found: Found) -> str:
        try:
            is_file = found.file and wanted(found.name)
            return archive_kind(found) if is_file else ""
        except submission.Unreadable:
            return ""

    def _class(self, archive: Found, scratch: Path) -> Iterator[Unit]:
        """The learners of an archive that holds the work of a class."""
        files = []
        for found in archives.in_archive(
            archive.file,
            archive.parts,
            wanted,
            scratch,
            self.budget.of_one(),
            is_flat=True,
        ):
            system = system_of(found.parts[1:])
            if system:
                self.ignored("", found.parts, system)
            elif len(found.parts) == 1:
                self.left("", found.parts, found.problem)
            else:
                files.append(found)
        groups: dict[str, list[tuple[Found, Named, bool]]] = {}
        owners = self._owners([f.parts[1:] for f in files], files)
        for found, owner in zip(files, owners):
            if owner is None:
                if as_shipped(found.parts):
                    self.ignored("", found.parts, "a file of the course")
                else:
                    self.left("", found.parts, found.problem or NO_NAME)
                continue
            part, named = owner
            named, is_known = self.owner(
                named, part, Path(part).stem, "/".join(found.parts)
            )
            key = f"{named.learner}\0{named.user}\0{part}"
            groups.setdefault(key, []).append((found, named, is_known))
        for members in groups.values():
            found, named, is_known = members[0]
            files = tuple(f for f, _, _ in members)
            is_archive = len(files) == 1 and self._kind(found) != ""
            label = "/".join(found.parts)
            yield Unit(label, named, files, None, is_known, is_archive)

    def _owners(self, chains, files=None) -> list[tuple[str, Named] | None]:
        """For each path the part that names its learner, and what it says.

        That is a platform's name, else the first part that may be a person's.  A
        folder that all works have in common names nobody.
        """
        works = [
            i
            for i, chain in enumerate(chains)
            if files is None or files[i].file or is_notebook(chain[-1])
        ]
        common: set[str] = set()
        while True:
            found = [self._owner_in(chain, common) for chain in chains]
            said = {found[i][0] if found[i] else None for i in works}
            first = next(iter(said)) if len(said) == 1 and len(works) > 1 else None
            if first is None or all(chains[i][-1] == first for i in works):
                return found
            deeper = [self._owner_in(chains[i], common | {first}) for i in works]
            if not all(deeper):
                return found
            common.add(first)

    def _owner_in(self, chain, common) -> tuple[str, Named] | None:
        named = [(part, self.parse(part)) for part in chain if part not in common]
        for part, one in named:
            if one.is_sure:
                return part, one
        for part, one in named:
            is_file = part == chain[-1]
            if one.learner and not (is_file and not wanted(part)):
                return part, one
        for part, one in named:
            if self.roster.learner_of(part, Path(part).stem, "/".join(chain)):
                return part, one
        return None

    # learners -----------------------------------------------------------------------

    def take(self, units: list[Unit]) -> None:
        """Read the units, learner by learner, and keep what they hand in."""
        register = identity.Register(
            self.to, self.lesson, [u.named for u in units if not u.is_known]
        )
        of: dict[str, list[Unit]] = {}
        for unit in units:
            student = unit.named.learner
            if student and not unit.is_known:
                student = register.folder(unit.named)
            of.setdefault(student, []).append(unit)
        for student, own in of.items():
            new: list[attempts.Attempt] = []
            for unit in own:
                with tempfile.TemporaryDirectory() as scratch:
                    new += self._read(unit, student, Path(scratch))
            if new and student:
                self._keep(student, new, register)
        register.write()
        for number, _, name, learner in self.roster.unused.values():
            told = f"line {number}, {shown(name)}"
            problem = "nothing in the inbox has this name"
            told = f"--roster: {told}"
            self.rows.append(Collected(learner, told, problem, result=""))

    def _keep(self, student: str, new: list, register) -> None:
        """Keep a learner's attempts, with a row for each."""
        folder = self.to / student / self.lesson
        try:
            if folder.is_symlink() or folder.parent.is_symlink():
                raise submission.Unreadable("its folder in submitted/ is a link")
            told = attempts.keep(folder, self.lesson, new, self.exercises.answered)
        except (submission.Unreadable, NotADirectoryError, FileExistsError) as error:
            for one in new:
                problem = f"submitted/{student}/{self.lesson} cannot be used: {error}"
                self.rows.append(Collected(student, one.source, problem, result=""))
            return
        name = register.known.get(student, {}).get("name", student)
        notes = [f"the name {shown(name)!r}"] if name != student else []
        alike = register.alike(student)
        if alike:
            others = ", ".join(alike[:3])
            notes.append(f"kept apart from {others}; a --roster joins them")
        for one, result in zip(new, told):
            full = "; ".join([result, *notes]) if one.content else ""
            self.rows.append(Collected(student, one.source, one.problem, full))

    def _read(self, unit: Unit, student: str, scratch: Path) -> list:
        """The attempts of a unit; rows for all that is no attempt."""
        books, troubles = [], []
        files = list(self._files(unit, scratch))
        self.roots = [f.parts[:-2] for f in files if f.parts[-2:] == COURSE]
        for found in files:
            if len(books) >= MAX_NOTEBOOKS and is_notebook(found.name):
                self.left(student, found.parts, f"{TOO_MANY} {MAX_NOTEBOOKS}")
                continue
            book = self._book(found, student, troubles, unit)
            if book:
                books.append(book)
        chosen = self._chosen(books, unit, student)
        if not student:
            for book in chosen:
                self.left("", book.found.parts, NO_NAME)
            for found, problem in troubles:
                self.left("", found.parts, problem)
            return []
        if not chosen and books:  # their rows say why
            for found, problem in troubles:
                self.left(student, found.parts, problem)
            return []
        made = [self._attempt(book, unit) for book in chosen]
        for found, problem in troubles:
            if made:
                self.left(student, found.parts, problem)
            else:
                made.append(attempts.Attempt(_label(found.parts), problem=problem))
        if not made and (unit.folder or unit.is_archive):
            what = "folder" if unit.folder else "archive"
            problem = f"no notebook of this exercise in the {what}"
            made.append(attempts.Attempt(shown(unit.label), problem=problem))
        return made

    def _files(self, unit: Unit, scratch: Path) -> Iterator[Found]:
        """All files of a unit, those of its archives included."""
        budget = self.budget.of_one()
        files = unit.files
        if unit.folder:
            files = archives.in_folder(unit.folder, (unit.label,), budget)
        for found in files:
            if found.problem or not wanted(found.name) or system_of(found.parts[1:]):
                yield found
                continue
            try:
                kind = archive_kind(found)
            except submission.Unreadable as error:
                yield replace(found, problem=str(error))
                continue
            if kind in archives.READ:
                yield from archives.in_archive(
                    found.file, found.parts, wanted, scratch, budget
                )
            else:
                yield replace(found, problem=archives.told(kind)) if kind else found

    def _book(self, found: Found, student, troubles, unit) -> _Notebook | None:
        """A file as a notebook; None, with a row or a trouble, when it is none."""
        system = system_of(found.parts[1:])
        if system:
            return self.ignored(student, found.parts, system)
        if found.name == RELEASED:
            return self.ignored(student, found.parts, "the exercise as released")
        is_file = not found.problem and not is_notebook(found.name)
        if is_file and as_shipped(found.parts, None, self.roots):
            return self.ignored(student, found.parts, "a file of the course")
        is_sure = is_notebook(found.name)
        if found.problem or not found.file:
            self._not_read(found, student, troubles, is_sure)
            return None
        if not wanted(found.name):
            return self._no_notebook(found, student, unit)
        try:
            content = submission.read(found.file)
        except submission.Unreadable as error:
            troubles.append((found, str(error)))
            return None
        named = self.parse(found.name)
        verdict, why = self.exercises.of(content, named)
        if suffix_of(found.name) in archives.ENDINGS and verdict == "unreadable":
            troubles.append((found, "damaged, or no archive: ask for another"))
            return None
        if verdict == "unreadable" and not is_sure:
            return self._no_notebook(found, student, unit)
        if verdict != "this" and as_shipped(found.parts, content):
            return self.ignored(student, found.parts, "a file of the course, unchanged")
        if found.name.startswith(".") and len(found.parts) > 1:
            self.left(student, found.parts, "a hidden file")
            return None
        return _Notebook(found, content, named, verdict, why)

    def _not_read(self, found: Found, student, troubles, is_sure) -> None:
        """A file that cannot be read, or need not be."""
        is_work = is_sure or wanted(found.name)
        if found.problem and is_work:
            troubles.append((found, found.problem))
        elif found.problem:
            self.left(student, found.parts, found.problem)
        else:
            self._no_notebook(found, student, None)

    def _no_notebook(self, found: Found, student, unit) -> None:
        """A file that is no notebook of whatever kind."""
        kind = OTHER.get(suffix_of(found.name), "no notebook")
        if re.search(r"_attempt_\d{4}-[\d-]+\.txt$", found.name):
            return self.ignored(student, found.parts, "a receipt of the platform")
        if any("_onlinetext" in part for part in found.parts):
            kind = "text typed on the platform: look at it by hand"
        elif kind != "no notebook":
            kind += ": ask for the .ipynb itself"
        self.left(student, found.parts, kind)

    # which of several ---------------------------------------------------------------

    def _chosen(self, books: list[_Notebook], unit: Unit, student: str) -> list:
        """The notebooks of a unit that are attempts at this exercise."""
        this = [b for b in books if b.verdict == "this"]
        maybe = [b for b in books if b.verdict in ("none", "unreadable")]
        if not this and len(maybe) > 1:
            named = [b for b in maybe if b.named.is_lesson]
            maybe = named if len(named) == 1 else maybe
        if not this and len(maybe) == 1 and (maybe[0].named.other == ""):
            this = maybe
        for book in books:
            if book not in this:
                many = "one of several notebooks without a question of this exercise"
                why = book.why if this or book.verdict == "other" else many
                self.left(student, book.found.parts, why)
        if len(this) < 2:
            return this
        return self._of_one(this, unit, student)

    def _of_one(self, this: list[_Notebook], unit: Unit, student: str) -> list:
        """Of several notebooks of this exercise those of one learner."""
        groups: dict[str, list[_Notebook]] = {}
        depth = 1 if len(this[0].found.parts) > 1 else 0
        is_file = not unit.folder and not unit.is_archive
        owners = self._owners([b.found.parts[depth:] for b in this])
        for book, owner in zip(this, owners):
            hint = owner[1].learner if owner else ""
            own = unit.named.is_sure or unit.is_known or is_file
            same = identity.likeness(hint) == identity.likeness(unit.named.learner)
            groups.setdefault("" if own or same else hint, []).append(book)
        if "" not in groups and len(groups) > 1:
            why = self._many(sorted(groups), unit)
            for book in this:
                self.left(student, book.found.parts, why)
                why = f"as {this[0].source}"
            return []
        mine = groups.get("") or next(iter(groups.values()))
        named = [b for b in mine if b.named.is_lesson]
        chosen = named if named and not unit.named.is_sure else mine
        for hint, others in groups.items():
            for book in others:
                if book in chosen:
                    continue
                why = (
                    f"named {shown(hint)}: an archive or folder is one learner's"
                    if hint
                    else f"another notebook beside {chosen[0].source}"
                )
                self.left(student, book.found.parts, why)
        return chosen

    def _many(self, names: list[str], unit: Unit) -> str:
        """What to do with the work of several learners under one name."""
        told = ", ".join(map(shown, names[:5])) + (" ..." if len(names) > 5 else "")
        number = self.lesson[:2]
        here = shlex.quote(str(self.folder))
        option = f"--from {here} --class-archive {shlex.quote(shown(unit.label))}"
        if unit.folder:
            option = f"--from {shlex.quote(str(unit.folder))}"
        return (
            f"seems to hold the work of {len(names)} learners ({told}). Do: `course "
            f"collect {number} {option}` if a platform made it; if one learner did, "
            "ask which notebook counts"
        )

    def _attempt(self, book: _Notebook, unit: Unit) -> attempts.Attempt:
        """A notebook as an attempt of its unit's learner."""
        unread = book.verdict == "unreadable" or (
            book.verdict == "none" and self.exercises.public is not None
        )
        when = unit.named.when or book.named.when
        return attempts.Attempt(
            book.source,
            book.content,
            book.why if unread else "",
            when if when is not None else book.found.time or 0.0,
            unit.named.number or book.named.number,
            unit.named.copy or book.named.copy,
            self.exercises.answered(book.content),
        )


MAX_NOTEBOOKS = 60  # that are looked into, of one folder or archive of a learner
TOO_MANY = "one hand-in of too many notebooks: ask which one counts. Looked into:"
NO_NAME = (
    "no learner's name in it. Do: rename it, or add a line `name,learner` to a CSV "
    "file given with --roster"
)
