"""Files that can be trusted: atomic writes, and sha256 against a manifest.

``data/manifest.json`` lists each committed data file with its sha256, its size in
bytes and the command that made it.
"""

import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError

MANIFEST = "manifest.json"  # inside data/; keys are relative to data/

_verified: dict[Path, tuple[int, int, str]] = {}  # path -> mtime_ns, bytes, sha256


def sha256(path: str | os.PathLike) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def atomic_write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Write a whole file or nothing: to a temporary name first, then renamed.

    A reader, or a run interrupted half-way, never sees half a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part"
    )
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner reads
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def atomic_write_json(path: str | os.PathLike, obj, sort_keys: bool = True) -> Path:
    """Write JSON that git compares well: sorted keys, one item a line, UTF-8.

    ``sort_keys=False`` keeps the order of ``obj`` where it means something.
    """
    text = json.dumps(obj, indent=1, sort_keys=sort_keys, ensure_ascii=False)
    return atomic_write_bytes(path, (text + "\n").encode("utf-8"))


def csv_bytes(rows: Iterable[Iterable]) -> bytes:
    """Rows as CSV in UTF-8, the heads first; lines end alike on every system."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue().encode("utf-8")


def fault(error: OSError) -> CourseError:
    """What a fault of the disk means, in the words of this course."""
    where = f" ({_shown(error.filename)})" if error.filename else ""
    wrong, expected, advice = {
        errno.ENOSPC: ("the disk is full", "room for it", "free some space"),
        errno.EDQUOT: ("your quota is used up", "room for it", "free some space"),
        errno.EROFS: ("the disk is read-only", "a disk that can be written to", ""),
        errno.EACCES: ("you have no right to it", "the right to read and write", ""),
        errno.EPERM: ("you have no right to it", "the right to read and write", ""),
        errno.EIO: ("the disk has a fault", "a sound disk", "look at its health"),
    }.get(error.errno, (error.strerror or str(error), "it to work", ""))
    advice = advice or "choose another place, or change the rights"
    return CourseError(
        f"A file cannot be used{where}: {wrong}.\nExpected: {expected}.\nDo: {advice}, "
        "then the same command again; no file was left half written."
    )


def read_json(path: str | os.PathLike):
    """The content of a JSON file; CourseError when it is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "is missing"
    except ValueError as error:
        problem = f"is no valid JSON ({error})"
    raise CourseError(f"{_shown(path)} {problem}.\n{_repair(path)}") from None


def stored_json(path: str | os.PathLike, kind: type = dict):
    """The content of a JSON file, where it is of that kind; else an empty one.

    For what can be made again: a missing or damaged file counts as none.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()


def manifest() -> dict[str, dict]:
    """{path relative to data/: {"sha256", "bytes", "made_by"}} as committed."""
    return read_json(paths.DATA / MANIFEST)


def data_key(path: str | os.PathLike) -> str:
    """A file's name in the manifest: relative to data/, with forward slashes.

    Accepts absolute paths, paths relative to data/, and the same with the prefix
    ``data/``.  Raises CourseError for a path outside data/.
    """
    path = Path(path)
    if path.is_absolute():
        try:
            return path.resolve().relative_to(paths.DATA.resolve()).as_posix()
        except ValueError:
            raise CourseError(
                f"{path} does not lie in {paths.DATA}.\n"
                "Expected: a file of the course's data folder.\n"
                "Do: give its path relative to data/."
            ) from None
    return path.as_posix().removeprefix("data/")


def verified(rel_path: str | os.PathLike) -> Path:
    """The path of a data file whose bytes are those that the manifest lists.

    ``rel_path`` is relative to data/.  Hashed once per process and again when its
    size or modification time changes.  Raises CourseError that names a missing,
    damaged or unlisted file and the command that repairs it.
    """
    key = data_key(rel_path)
    entry = manifest().get(key)
    if entry is None:
        raise CourseError(
            f"data/{key} is not listed in data/{MANIFEST}.\n"
            "Expected: one of the course's data files.\n"
            "Do: check the name (course data verify lists the known files)."
        )
    problem = check(key, entry)
    if problem:
        raise CourseError(f"{problem}\n{_repair(paths.DATA / key, entry)}")
    return paths.DATA / key


def check(key: str, entry: dict) -> str | None:
    """What is wrong with one data file, in one sentence; None when it is sound."""
    path = paths.DATA / key
    try:
        stat = path.stat()
    except FileNotFoundError:
        return f"data/{key} is missing."
    if stat.st_size != entry["bytes"]:
        return (
            f"data/{key} is damaged: it has {stat.st_size:,} bytes, "
            f"expected {entry['bytes']:,}."
        )
    found = sha256_once(path)
    if found != entry["sha256"]:
        return (
            f"data/{key} is damaged: its sha256 begins {found[:12]}, "
            f"expected {entry['sha256'][:12]}."
        )
    return None


def sha256_once(path: Path) -> str:
    """The file's sha256, computed once a process and again when it has changed."""
    stat = path.stat()
    cached = _verified.get(path)
    if cached is None or cached[:2] != (stat.st_mtime_ns, stat.st_size):
        cached = (stat.st_mtime_ns, stat.st_size, sha256(path))
        _verified[path] = cached
    return cached[2]


def update_manifest(rel_paths: Iterable[str | os.PathLike], made_by: str) -> None:
    """List these data files with their present sha256 and size.

    ``made_by`` is the command that makes them again.
    """
    path = paths.DATA / MANIFEST
    entries = manifest() if path.exists() else {}
    for rel_path in rel_paths:
        key = data_key(rel_path)
        file = paths.DATA / key
        entries[key] = {
            "sha256": sha256(file),
            "bytes": file.stat().st_size,
            "made_by": made_by,
        }
    atomic_write_json(path, entries)


def _shown(path: str | os.PathLike) -> str:
    """A path as the reader knows it: relative to the repository where possible."""
    try:
        return Path(path).resolve().relative_to(paths.ROOT.resolve()).as_posix()
    except (ValueError, CourseError):
        return str(path)


def _repair(path: str | os.PathLike, entry: dict | None = None) -> str:
    steps = [f"git checkout -- {_shown(path)}"]
    made_by = (entry or {}).get("made_by", "")
    if made_by.startswith("course data rebuild"):
        steps.append(made_by)
    return (
        "Expected: the file as the course ships it.\n"
        f"Do: restore it with `{'` or `'.join(steps)}`."
    )
