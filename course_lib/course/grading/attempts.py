"""The attempts of one learner at one exercise, as they lie in ``submitted/``.

``submitted/LEARNER/LESSON/LESSON.ipynb`` is the newest attempt, the one that is graded.
Older ones lie beside it in ``attempts/``, with ``attempts.json``, which says where each
came from.  Nothing is ever replaced that is not kept there.
"""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from course_lib.course.grading import submission
from course_lib.files import atomic_write_bytes, atomic_write_json, stored_json

FOLDER, LOG = "attempts", "attempts.json"
HERE_BEFORE = "(already there)"


@dataclass(frozen=True)
class Attempt:
    """One notebook that a learner handed in, or why there is none.

    ``time``: seconds since 1970.  ``number``: the platform's count, (platform, n, m).
    ``copy``: a browser's number of a download.  ``answers``: questions with an answer;
    None where that is not known.  ``foreign``: somebody else put it there.
    """

    source: str
    content: bytes = b""
    problem: str = ""
    time: float = 0.0
    number: tuple[str, int, int] | None = None
    copy: int = 0
    answers: int | None = None
    foreign: bool = False

    @property
    def digest(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


def problems_of(folder: Path) -> str:
    """Why nothing could be collected into a learner's folder; '' where nobody tried."""
    told = [e["problem"] for e in _log(folder) if isinstance(e.get("problem"), str)]
    return "; ".join(dict.fromkeys(filter(None, told)))


def newest(folder: Path, lesson: str) -> datetime | None:
    """When the attempt that counts was handed in (UTC); None where there is none."""
    try:
        changed = (folder / f"{lesson}.ipynb").stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(changed, UTC)


def time_of_newest(folder: Path, lesson: str) -> str:
    """The time of the attempt that counts, as nbgrader writes it; '' for none."""
    when = newest(folder, lesson)
    return f"{when:%Y-%m-%d %H:%M:%S.%f} UTC" if when else ""


def _log(folder: Path) -> list[dict]:
    return [e for e in stored_json(folder / FOLDER / LOG, list) if _is_sound(e)]


def _is_sound(entry) -> bool:
    """An entry as `keep` writes it, of an attempt or of a problem."""
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        return False
    number = entry.get("number")
    return isinstance(entry.get("problem"), str) or (
        isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("time"), int | float)
        and (number is None or isinstance(number, list) and len(number) == 3)
    )


def keep(folder: Path, lesson: str, new: list[Attempt], answered) -> list[str]:
    """Keep attempts in a learner's folder; what became of each, in words.

    The newest counts: by the platform's numbers where all have them, else by time.  An
    attempt without an answer never replaces one with answers, nor one that somebody
    else put there the learner's own.  ``answered``: a function from bytes to the
    number of answered questions, or None.  Attempts that are known already change
    nothing.  Raises Unreadable when something that is no file stands in the place.
    """
    current = folder / f"{lesson}.ipynb"
    log = _log(folder)
    entries = [e for e in log if "sha256" in e]
    known = {e["sha256"]: e for e in entries}
    before = submission.read(current) if os.path.lexists(current) else None
    if before is not None:
        digest = hashlib.sha256(before).hexdigest()
        if digest not in known:  # by hand, by nbgrader, or by an earlier version
            when, answers = current.stat().st_mtime, answered(before)
            there = Attempt(HERE_BEFORE, before, time=when, answers=answers)
            entries.append(_entry(there))
            known[digest] = entries[-1]
        before = digest
    contents: dict[str, bytes] = {}
    told, fresh = {}, []
    for i, attempt in enumerate(new):
        if not attempt.content:
            told[i] = _unread(log, attempt)
            continue
        entry = _entry(attempt)
        contents[attempt.digest] = attempt.content
        if any(_same(entry, e) for e in entries):
            told[i] = "as before"
            continue
        same = known.setdefault(attempt.digest, entry)
        if same in fresh:
            told[i] = f"the same as {same['source']}"
        entries.append(entry)
        fresh.append(entry)
    held = {*contents, before}
    there = [e for e in entries if e["sha256"] in held or _file_of(folder, e)]
    best = _best(there)
    if best is None:
        write_log(folder, log, entries)
        return [told[i] for i in range(len(new))]
    _put(folder, current, there, best, contents, before)
    write_log(folder, log, entries)
    for i, attempt in enumerate(new):
        if i not in told:
            told[i] = _told(attempt, best, before, known, folder)
    return [told[i] for i in range(len(new))]


def _entry(attempt: Attempt) -> dict:
    return {
        "source": attempt.source,
        "sha256": attempt.digest,
        "time": round(attempt.time, 3),
        "number": list(attempt.number) if attempt.number else None,
        "copy": attempt.copy,
        "answers": attempt.answers,
        "foreign": attempt.foreign,
    }


def _same(new: dict, old: dict) -> bool:
    """Is it the same hand-in, collected again?"""
    same = ("source", "sha256", "number")
    return all(new.get(k) == old.get(k) for k in same)


def _unread(log: list[dict], attempt: Attempt) -> str:
    """Note an attempt that cannot be read, so that the learner gets a record."""
    problem = attempt.problem or "the file is empty"
    entry = {"source": attempt.source, "problem": problem}
    if entry not in log:
        log.append(entry)
    return problem


def _best(entries: list[dict]) -> dict | None:
    """The attempt that counts."""
    if not entries:
        return None
    numbers = [e.get("number") for e in entries]
    by_number = all(numbers) and len({n[0] for n in numbers}) == 1

    def rank(numbered: tuple[int, dict]):
        place, entry = numbered
        number = tuple((entry.get("number") or [0, 0, 0])[1:])
        order = (number, entry["time"]) if by_number else (entry["time"], number)
        is_own = not entry.get("foreign")
        answers = entry.get("answers")
        has_answers = answers is None or answers > 0
        return is_own, has_answers, *order, entry.get("copy", 0), place

    return max(enumerate(entries), key=rank)[1]


def _kept(entry: dict) -> str:
    """The name of an older attempt in the folder of attempts."""
    when = datetime.fromtimestamp(max(entry["time"], 0), UTC)
    return f"{when:%Y-%m-%dT%H-%M-%S}Z-{entry['sha256'][:12]}.ipynb"


def _file_of(folder: Path, entry: dict) -> Path | None:
    """Where an older attempt lies; None where it does not."""
    found = sorted((folder / FOLDER).glob(f"*-{entry['sha256'][:12]}.ipynb"))
    return found[0] if found else None


def _put(folder, current, entries, best, contents, before) -> None:
    """Write the older attempts, then the one that counts."""
    for entry in entries:
        digest = entry["sha256"]
        if digest == best["sha256"] or _file_of(folder, entry):
            continue
        content = contents.get(digest) or submission.read(current)
        atomic_write_bytes(folder / FOLDER / _kept(entry), content)
    if best["sha256"] == before:
        return
    content = contents.get(best["sha256"])
    if content is None:  # an older one counts again, because a worse one came
        content = submission.read(_file_of(folder, best))
    atomic_write_bytes(current, content)
    os.utime(current, (best["time"], best["time"]))


def write_log(folder: Path, log: list[dict], entries: list[dict]) -> None:
    """Write the log when it has changed."""
    wanted = entries + [e for e in log if "problem" in e]
    if wanted != _log(folder):
        atomic_write_json(folder / FOLDER / LOG, wanted, sort_keys=False)


def _told(attempt: Attempt, best: dict, before: str | None, known, folder) -> str:
    """What became of a new attempt."""
    if attempt.digest == best["sha256"]:
        if before is None:
            return "collected"
        if before == best["sha256"]:
            return "collected: the same as before"
        return f"collected; the one before is kept as {FOLDER}/{_kept(known[before])}"
    where = f"kept as {FOLDER}/{_kept(known[attempt.digest])}"
    if attempt.foreign and not best.get("foreign"):
        return f"put there by somebody else, {where}"
    if attempt.answers is not None and attempt.answers <= 0:
        return f"without an answer that can be read, {where}; {best['source']} counts"
    return f"older than {best['source']}, {where}"
