"""Files in archives and folders, read within limits: nothing there is trusted.

No name from an archive becomes a path: what is wanted is copied to numbered files in a
scratch folder.  Links, devices and pipes are named, never opened.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import stat
import tarfile
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from course_lib.course.grading import submission
from course_lib.errors import CourseError

MAX_MEMBERS = 20_000  # of an archive or a folder, those of archives inside included
MAX_UNPACKED = 200_000_000  # bytes of an archive, the same
MAX_INBOX_MEMBERS = 500_000
MAX_INBOX = 4_000_000_000  # bytes of all archives together
MAX_RATIO = 200  # bytes unpacked for one byte, beyond the first FREE
FREE = 5_000_000
MAX_DEPTH = 3  # archives in archives
MAX_READ = 8_000_000  # bytes that a library may ask for at once
CHUNK = 1 << 18
UNREAD = {  # endings of archives that no library here reads
    ".rar": "RAR",
    ".7z": "7-Zip",
    ".xz": "xz",
    ".txz": "xz",
    ".zst": "Zstandard",
    ".lz": "lzip",
    ".lzma": "LZMA",
    ".z": "compress",
    ".dmg": "disk image",
    ".iso": "disk image",
    ".zipx": "WinZip's own",
    ".sitx": "StuffIt",
    ".cab": "cabinet",
    ".arj": "ARJ",
    ".lha": "LHA",
    ".ace": "ACE",
}
ENDINGS = (".zip", ".tar", ".tgz", ".gz", ".tbz", ".tbz2", ".bz2")
OFFICE = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".epub", ".apk")


class TooMuch(CourseError):
    """A limit is reached; the message says which."""


class DiskFull(CourseError):
    """There is no room to unpack anything."""


@dataclass(frozen=True)
class Found:
    """One file: its path in the inbox as parts, and where its bytes are, if anywhere.

    ``time``: of its last change, in seconds since 1970; None where it is not known.
    ``problem``: why it cannot be read.
    """

    parts: tuple[str, ...]
    file: Path | None = None
    time: float | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1]


class Budget:
    """What may still be unpacked: members and bytes, here and in the whole inbox."""

    def __init__(self, members: int, size: int, of: str, within: Budget | None = None):
        self.members, self.size, self.of, self.within = members, size, of, within
        self.most = members, size

    def take(self, size: int = 0, members: int = 0) -> None:
        """Use some of it up.  Raises TooMuch when there is no more."""
        if self.within:
            self.within.take(size, members)
        self.members, self.size = self.members - members, self.size - size
        if self.members < 0:
            raise TooMuch(f"{self.of} has more than {self.most[0]} members")
        if self.size < 0:
            raise TooMuch(f"{self.of} unpacks to more than {self.most[1] / 1e6:.0f} MB")

    def of_one(self) -> Budget:
        """That of one archive or folder of the inbox."""
        return Budget(MAX_MEMBERS, MAX_UNPACKED, "the archive", self)


def of_inbox() -> Budget:
    """The budget of one collection."""
    return Budget(
        MAX_INBOX_MEMBERS, MAX_INBOX, "the inbox (collect the rest from another folder)"
    )


# -- what a file is --------------------------------------------------------------------


def format_of(path: Path) -> str:
    """zip, gz, bz2 or tar by the file's first bytes; the name of another format; ''."""
    with submission.opened(path) as stream:
        head = stream.read(512)
    for begin, kind in (
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (b"\x1f\x8b", "gz"),
        (b"BZh", "bz2"),
        (b"Rar!", "RAR"),
        (b"7z\xbc\xaf", "7-Zip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ):
        if head.startswith(begin):
            return kind
    return "tar" if head[257:262] == b"ustar" else ""


READ = ("zip", "tar", "gz", "bz2")


# -- folders ---------------------------------------------------------------------------


def in_folder(folder: Path, parts: tuple[str, ...], budget: Budget) -> Iterator[Found]:
    """All files of a folder, at every depth, in the order of names.

    Links, devices and folders that cannot be listed are found with their problem.
    """
    waiting = [(folder, parts)]
    while waiting:
        here, inside = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield Found(inside, problem=f"cannot be listed ({error.strerror})")
            continue
        deeper = []
        for entry in entries:
            name = (*inside, entry.name)
            try:
                budget.take(members=1)
            except TooMuch as error:
                yield Found(inside, problem=str(error))
                return
            if entry.is_dir(follow_symlinks=False):
                if len(name) > 60:
                    yield Found(name, problem="more than 60 folders deep")
                else:
                    deeper.append((Path(entry.path), name))
                continue
            yield at(Path(entry.path), name)
        waiting += reversed(deeper)


def at(path: Path, parts: tuple[str, ...]) -> Found:
    """A file of the disk; links, devices and pipes with their problem."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return Found(parts, problem=f"cannot be read ({error.strerror})")
    problem = special(status.st_mode)
    file = None if problem else path
    return Found(parts, file, None if problem else status.st_mtime, problem)


def special(mode: int) -> str:
    """What a file is that is no regular one; empty for a regular one."""
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFDIR: "a folder",
    }
    kind = kinds.get(stat.S_IFMT(mode), "")
    return f"{kind}, no regular file" if kind else ""


# -- archives --------------------------------------------------------------------------


class _Careful(io.BufferedReader):
    """A file of which no library reads more at once than is reasonable."""

    def read(self, size=-1):
        if size is None or size < 0 or size > MAX_READ:
            content = super().read(MAX_READ + 1)
            if len(content) > MAX_READ:
                raise TooMuch("the archive's list of members is too long")
            return content
        return super().read(size)


def in_archive(
    path: Path,
    parts: tuple[str, ...],
    wanted: Callable[[str], bool],
    scratch: Path,
    budget: Budget,
    depth: int = 1,
    is_flat: bool = False,
) -> Iterator[Found]:
    """The files of an archive, and of the archives in it, in their order.

    Those whose name is ``wanted`` are copied to ``scratch``; a damaged member is found
    with its problem, and the rest goes on.  The last one found may be the archive
    itself, with what ended it.  ``is_flat``: archives in it are left as they are.
    """
    try:
        kind = format_of(path)
        members = _zip if kind == "zip" else _stream
        for found in members(path, kind, parts, wanted, scratch, budget):
            if is_flat:
                yield found
            else:
                yield from _nested(found, wanted, scratch, budget, depth)
    except DiskFull:
        raise
    except (TooMuch, submission.Unreadable) as error:
        yield Found(parts, problem=str(error))
    except Exception as error:  # of a library, on bytes that may be anything
        yield Found(parts, problem=f"a damaged archive ({type(error).__name__})")


def _nested(found: Found, wanted, scratch, budget, depth) -> Iterator[Found]:
    """A member, or the members of a member that is an archive."""
    kind = format_of(found.file) if found.file else ""
    if not kind or found.name.casefold().endswith(OFFICE):
        yield found
    elif kind not in READ:
        yield replace(found, problem=told(kind))
    elif depth >= MAX_DEPTH:
        yield replace(found, problem=f"archives in archives, more than {MAX_DEPTH}")
    else:
        inner = in_archive(found.file, found.parts, wanted, scratch, budget, depth + 1)
        for one in inner:
            known = [t for t in (one.time, found.time) if t is not None]
            yield replace(one, time=min(known) if known else None)
        found.file.unlink(missing_ok=True)


def told(kind: str) -> str:
    """What to do with an archive of a format that is not read."""
    return (
        f"a {kind} archive, which is not read: unpack it by hand into a folder of this "
        "name, or ask for a zip"
    )


def _zip(path, kind, parts, wanted, scratch, budget) -> Iterator[Found]:
    """The regular files of a zip archive."""
    changed = os.stat(path).st_mtime
    with _Careful(submission.opened(path).detach()) as stream:
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                budget.take(members=1)
                name = _name_of(member)
                one = Found((*parts, *_split(name)), time=_time_of(member, changed))
                yield _member(one, archive, member, wanted, scratch, budget)


def _member(one: Found, archive, member, wanted, scratch, budget) -> Found:
    """A member of a zip archive, copied where it is wanted."""
    problem = special(member.external_attr >> 16)
    if problem:
        return replace(one, problem=problem)
    if not wanted(one.name):
        return one
    if member.flag_bits & 1:
        return replace(one, problem="locked with a password: ask for one without")
    usual = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    if member.compress_type not in usual:
        return replace(one, problem="packed by a method that is not read: ask for zip")
    try:
        with archive.open(member) as stream:
            return _copied(one, stream, member.compress_size, scratch, budget)
    except (TooMuch, DiskFull):
        raise
    except Exception as error:  # of a library, on bytes that may be anything
        return replace(one, problem=f"damaged ({type(error).__name__})")


def _copied(one: Found, stream, packed: int, scratch: Path, budget: Budget) -> Found:
    """The member in a numbered file of the scratch folder, if it is not too large."""
    is_archive = one.name.casefold().endswith(ENDINGS)
    most = MAX_UNPACKED if is_archive else submission.MAX_BYTES
    target = scratch / f"{len(os.listdir(scratch))}-{time.monotonic_ns()}"
    size, problem = 0, ""
    with _room(target):
        out = open(target, "wb")
    with out:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            budget.take(len(chunk))
            if size > most:
                problem = f"unpacks to more than {most / 1e6:.0f} MB"
            elif size > FREE + MAX_RATIO * packed:
                problem = f"unpacks to more than {MAX_RATIO} times its size"
            if problem:
                break
            with _room(target):
                out.write(chunk)
    if problem:
        target.unlink()
        return replace(one, problem=problem)
    return replace(one, file=target)


@contextlib.contextmanager
def _room(path: Path) -> Iterator[None]:
    """A full disk is no fault of an archive."""
    try:
        yield
    except OSError as error:
        raise DiskFull(
            f"An archive cannot be unpacked: {error.strerror}.\nExpected: room in "
            f"{path.parent.parent}.\nDo: make room, or set TMPDIR to another folder; "
            "then collect again, nothing is lost."
        ) from None


class _Counted(io.RawIOBase):
    """An unpacked stream, within the budget and the ratio."""

    def __init__(self, stream, packed: int, budget: Budget):
        self.stream, self.budget, self.done = stream, budget, 0
        self.most = FREE + MAX_RATIO * packed
        self.ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, which the next `read` gives again."""
        while len(self.ahead) < size and (more := self._more(size)):
            self.ahead += more
        return self.ahead[:size]

    def read(self, size=-1) -> bytes:
        if self.ahead:
            given, self.ahead = self.ahead[:size], self.ahead[size:]
            return given
        return self._more(min(size, CHUNK) if size >= 0 else CHUNK)

    def _more(self, size: int) -> bytes:
        chunk = self.stream.read(size)
        self.done += len(chunk)
        self.budget.take(len(chunk))
        if self.done > self.most:
            raise TooMuch(
                f"the archive unpacks to more than {MAX_RATIO} times its size"
            )
        return chunk


def _stream(path, kind, parts, wanted, scratch, budget) -> Iterator[Found]:
    """The files of a tar archive, compressed or not, or the one file in a gz or bz2."""
    status = os.stat(path)
    unpack = {"gz": gzip.open, "bz2": bz2.open}.get(kind)
    with submission.opened(path) as raw:
        inner = unpack(raw) if unpack else raw
        stream = _Counted(inner, status.st_size, budget)
        if unpack and stream.peek(512)[257:262] != b"ustar":
            name = Path(parts[-1]).stem
            one = Found((*parts, name), time=status.st_mtime)
            budget.take(members=1)
            yield _copied(one, stream, status.st_size, scratch, budget)
            return
        free = Budget(MAX_MEMBERS, MAX_UNPACKED, "the archive")  # counted by the stream
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                budget.take(members=1)
                changed = min(float(member.mtime), status.st_mtime)
                changed = changed if changed > 0 else status.st_mtime
                one = Found((*parts, *_split(member.name)), time=changed)
                if not member.isreg():
                    links = member.issym() or member.islnk()
                    kind = "a link" if links else "a device or pipe"
                    yield replace(one, problem=f"{kind}, no regular file")
                elif wanted(one.name):
                    content = archive.extractfile(member)
                    yield _copied(one, content, member.size, scratch, free)
                else:
                    yield one


def _split(name: str) -> tuple[str, ...]:
    """The parts of a member's name: none empty, and none that leads up."""
    parts = [p for p in name.split("/") if p not in ("", ".", "..")]
    parts = [p if len(p) <= 255 else f"{p[:120]} ... {p[-120:]}" for p in parts]
    return tuple(parts[-60:]) or ("(no name)",)


def _name_of(member: zipfile.ZipInfo) -> str:
    """The member's name; UTF-8 that is not marked as such is read as UTF-8."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _time_of(member: zipfile.ZipInfo, changed: float) -> float:
    """When a member was changed: never later than its archive.

    Unix archivers note seconds of UTC in an extra field; else it is local time.
    """
    extra = member.extra
    while len(extra) >= 4:
        kind, size = (int.from_bytes(extra[i : i + 2], "little") for i in (0, 2))
        if kind == 0x5455 and size >= 5 and extra[4] & 1:
            return min(float(int.from_bytes(extra[5:9], "little")), changed)
        extra = extra[4 + size :]
    try:
        if member.date_time[0] <= 1980:  # not noted
            return changed
        return min(time.mktime((*member.date_time, 0, 0, -1)), changed)
    except (OverflowError, ValueError):
        return changed
