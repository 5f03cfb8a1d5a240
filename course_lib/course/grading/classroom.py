"""Grade a class: in parallel, each submission by itself, resumable after any end.

``submitted/STUDENT/NN_name/NN_name.ipynb`` is nbgrader's folder of collected work.  A
record of each submission is kept (`journal`), and found again.
"""

import base64
import contextlib
import hashlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import (
    attempts,
    grade,
    gradebook,
    release,
    sandbox,
    submission,
    worker,
)
from course_lib.course.grading.identity import STUDENT
from course_lib.course.grading.journal import Journal
from course_lib.errors import CourseError
from course_lib.show.console import console, print_json, print_table

DASK_SECONDS = 20  # to reach a cluster


@dataclass(frozen=True)
class Submission:
    """One student's work: bytes, or why there are none."""

    student: str
    content: bytes
    problem: str = ""


def submissions(lesson: str, folder: Path | None = None) -> list[Submission]:
    """The collected work of a lesson, one for each student, in the order of names.

    Links are not followed, neither of files nor of folders; names that are no plain
    names are left out.
    """
    folder = folder or paths.ROOT / "submitted"
    found = []
    entries = os.scandir(folder) if folder.is_dir() else ()
    for entry in sorted(entries, key=lambda e: e.name):
        if not STUDENT.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
            continue
        own = Path(entry.path) / lesson
        if not own.exists() and not own.is_symlink():
            continue
        try:
            if own.is_symlink() or not own.is_dir():
                raise submission.Unreadable("its folder is a link or no folder")
            notebook = own / f"{lesson}.ipynb"
            if not os.path.lexists(notebook) and (why := attempts.problems_of(own)):
                raise submission.Unreadable(why)
            found.append(Submission(entry.name, submission.read(notebook)))
        except submission.Unreadable as error:
            found.append(Submission(entry.name, b"", str(error)))
    return found


def chosen(found: list[Submission], students: list[str] | None) -> list[Submission]:
    """Those of the students named; all without names.

    Raises CourseError for a student who has handed in nothing.
    """
    if not students:
        return found
    there = {one.student for one in found}
    missing = sorted(set(students) - there)
    if missing:
        shown = ", ".join(sorted(there)[:10]) or "(none)"
        raise CourseError(
            f"Nothing is submitted by {', '.join(map(repr, missing))}.\nExpected: one "
            f"of {shown}{' ...' if len(there) > 10 else ''}.\nDo: give the name of a "
            "folder in submitted/, or collect the work first."
        )
    return [one for one in found if one.student in students]


# -- running ---------------------------------------------------------------------------


def jobs(
    lesson: Path, found: Iterable[Submission], secret: str, isolated: bool = True
) -> list[dict]:
    """A job for `worker.work` for each submission, with the digest of its record."""
    public = submission.load_release(release.released(lesson))
    checks = (lesson / "checks.py").read_text(encoding="utf-8")
    made = []
    for one in found:
        seed = grade.own_seed(secret, one.student, lesson.name)
        digest, texts = hashlib.sha256(), (one.problem, json.dumps(public), checks)
        for part in (one.content, *map(str.encode, (*texts, str(seed)))):
            digest.update(hashlib.sha256(part).digest())
        made.append(
            {
                "student": one.student,
                "lesson": lesson.name,
                "content": base64.b64encode(one.content).decode(),
                "problem": one.problem,
                "release": public,
                "checks": checks,
                "seed": seed,
                "isolated": isolated,
                "digest": digest.hexdigest(),
            }
        )
    return made


def run(
    todo: list[dict],
    journal: Journal,
    parallel: int = 1,
    dask: str | None = None,
    done: Callable[[str, dict, bool], None] = lambda student, record, again: None,
    reference: list[dict] = (),
) -> dict[str, dict]:
    """{student: record} of all jobs; those with a record already are not run again.

    ``parallel`` worker processes, or the Dask cluster at ``dask``.  ``done`` is called
    after each, in this process, with whether the record was found.  ``reference``: jobs
    of `release.attempts`, run where the others run.  Nothing is kept before they have
    come out as they must; raises CourseError when they do not.  The records returned
    are without the notebooks, which a class would fill the memory with.
    """
    records, tried, held = {}, {}, []
    left = [job for job in todo if not journal.find(job["student"], job["digest"])]

    def keep(job: dict, record: dict) -> None:
        record = {**record, "digest": job["digest"], "student": job["student"]}
        journal.write(job["student"], record)
        records[job["student"]] = _brief(record)
        done(job["student"], record, False)

    def begin() -> None:
        """What needs no kernel: records found again, files that cannot be read."""
        for job in todo:
            record = journal.find(job["student"], job["digest"])
            if record:
                records[job["student"]] = _brief(record)
                done(job["student"], record, True)
            elif job["problem"]:
                keep(job, worker.empty(job, grade.UNREADABLE, job["problem"]))

    if not reference:
        begin()
    left = [*reference, *(job for job in left if not job["problem"])]
    for job, record in tried_again(left, parallel, dask):
        if any(job is one for one in reference):
            tried[job["student"]] = record
            if len(tried) == len(reference):
                release.require(job["lesson"], tried)
                begin()
                for earlier in held:
                    keep(*earlier)
        elif len(tried) < len(reference):
            held.append((job, record))
        else:
            keep(job, record)
    return records


def _brief(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "notebook"}


def tried_again(left: list[dict], parallel: int, dask: str | None):
    """Yield (job, record) as they come; what the environment broke is tried again.

    Once, after all the others, when a machine that was too busy has less to do.
    """

    def go(some, parallel):
        return on_dask(some, dask) if dask else here(some, parallel)

    again = []
    for job, record in go(left, parallel):
        if record["outcome"] == grade.BROKEN:
            again.append(job)
        else:
            yield job, record
    if again:
        yield from go(again, 1)


def here(left: list[dict], parallel: int):
    """Yield (job, record) as they come, from ``parallel`` workers."""
    waiting, finished = queue.SimpleQueue(), queue.SimpleQueue()
    for job in left:
        waiting.put(job)
    workers = [worker.Worker() for _ in range(min(max(parallel, 1), len(left)))]

    def serve(one):
        try:
            while True:
                job = waiting.get_nowait()
                finished.put((job, one.work(job)))
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001 - the caller's to raise
            finished.put((None, error))
        finally:
            one.close()

    threads = [
        threading.Thread(target=serve, args=[one], daemon=True) for one in workers
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in left:
            job, record = finished.get()
            if job is None:
                raise record
            yield job, record
    finally:  # also when the one who asked has stopped listening
        while not waiting.empty():
            waiting.get()
        for one in workers:
            one.stop()
        for thread in threads:
            thread.join()


def on_dask(left: list[dict], address: str):
    """Yield (job, record) as they come, from the workers of a Dask cluster."""
    try:
        from dask.distributed import Client, as_completed
    except ModuleNotFoundError:
        raise CourseError(
            "--dask needs the package `distributed`, which is not installed.\n"
            "Expected: the extra `instructor`.\nDo: `pip install -c constraints.txt -e "
            "'.[instructor]'` on every machine of the cluster."
        ) from None
    with Client(address, timeout=DASK_SECONDS) as client:
        futures = {
            client.submit(worker.apart, job, pure=False, retries=2): job for job in left
        }
        for future in as_completed(list(futures)):
            job = futures[future]
            if future.status == "finished":
                yield job, future.result()
            else:
                reason = f"the cluster's worker failed ({future.status})"
                yield job, worker.empty(job, grade.BROKEN, reason)


@dataclass(frozen=True)
class How:
    """How a class is graded, and who of it.

    ``parallel`` worker processes, or the Dask cluster at ``dask``.  ``isolated``: in
    the sandbox.  ``db``: the gradebook's address.  ``students``: only of these; None:
    all.  ``again``: whatever records there are.
    """

    parallel: int = 1
    isolated: bool = True
    dask: str | None = None
    db: str | None = None
    students: list[str] | None = None
    again: bool = False


def grade_class(
    lesson: Path,
    how: How = How(),  # noqa: B008 - frozen
    done: Callable[[str, dict, bool], None] = lambda student, record, again: None,
) -> tuple[dict[str, dict], float]:
    """Grade all collected work of a lesson into the gradebook; records and seconds.

    ``done`` as for `run`.  The reference must score full marks first.  Raises
    CourseError when it does not, and when there is nothing to grade.
    """
    release.require_nbgrader()
    found = chosen(submissions(lesson.name), how.students)
    if not found:
        raise CourseError(
            f"Nothing to grade: submitted/*/{lesson.name}/ is empty.\nExpected: "
            f"submitted/STUDENT/{lesson.name}/{lesson.name}.ipynb.\nDo: `course "
            f"collect {lesson.name[:2]} --from FOLDER`, or nbgrader's own collection."
        )
    if how.isolated and not how.dask:
        sandbox.require()
        sandbox.check_folders(files_of(how.db))
    started = time.perf_counter()
    ignored = [one.student for one in found] if how.again else ()
    journal = Journal(lesson.name, ignored=ignored)
    todo = jobs(lesson, found, journal.secret(), how.isolated)
    untouched = release.released(lesson).read_bytes()
    attempts = release.attempts(lesson, untouched).items()
    attempts = [Submission(name, content) for name, content in attempts]
    reference = jobs(lesson, attempts, grade.new_secret(), how.isolated)
    with contextlib.ExitStack() as stack:
        book = None

        def both(student: str, record: dict, again: bool) -> None:
            nonlocal book  # opened while the workers run, when there is one to write
            book = book or stack.enter_context(gradebook.opened(lesson, how.db))
            book.write(student, record)
            done(student, record, again)

        records = run(todo, journal, how.parallel, how.dask, both, reference)
    return records, time.perf_counter() - started


def files_of(db: str | None) -> list[Path]:
    """The file of a gradebook that is one (SQLite); none of another database."""
    kind, _, path = (db or "").partition(":///")
    return [Path(path)] if kind.startswith("sqlite") and path else []


def report(lesson: Path, how: How = How(), as_json: bool = False) -> int:  # noqa: B008
    """`grade_class` with a progress bar and a table with reasons; the exit code.

    ``as_json``: the records as JSON instead of the table; what tells of the progress
    goes to standard error.
    """
    stream = sys.stderr if as_json else sys.stdout
    if how.isolated and not how.dask:
        for sentence in sandbox.weaknesses():
            print(f"Note: {sentence}.", file=stream, flush=True)
    total = len(chosen(submissions(lesson.name), how.students))
    with _progress(f"{lesson.name}: {total} submissions", total, stream) as done:
        records, seconds = grade_class(lesson, how, done)
    broken = sum(r["outcome"] == grade.BROKEN for r in records.values())
    if as_json:
        print_json([record for _, record in sorted(records.items())])
        return 1 if broken else 0
    fields = ("student", "points", "questions", "reason", "notice", "seconds")
    print_table(f"Graded: {lesson.name}", fields, _rows(records))
    print(f"{len(records)} submissions in {seconds:.0f} s, {broken} not graded.")
    return 1 if broken else 0


def _rows(records: dict[str, dict]) -> list[tuple[str, ...]]:
    """Of each student points, outcomes, reasons, notice and seconds."""
    rows = []
    for student, record in sorted(records.items()):
        outcomes = [answer["outcome"] for answer in record["answers"].values()]
        counts = {name: outcomes.count(name) for name in grade.OUTCOMES}
        told = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        why = "; ".join(_reasons(record))
        points = f"{record['points']:g} of {record['max_points']:g}"
        notice, seconds_each = record.get("notice", ""), f"{record['seconds']:.1f}"
        rows.append((student, points, told, why, notice, seconds_each))
    return rows


def _reasons(record: dict) -> list[str]:
    """Why points are missing: of the whole submission, then of each question."""
    found = [record["reason"]] if record["reason"] else []
    for name, answer in record["answers"].items():
        if answer["points"] >= answer["max_points"]:
            continue
        hint = f"hint {answer['hint']!r}" if answer["hint"] else ""
        told = "; ".join(filter(None, (answer["reason"], hint))) or answer["outcome"]
        if answer["reason"] != record["reason"] or not found:
            found.append(f"{name}: {told}")
    return found


@contextlib.contextmanager
def _progress(title: str, total: int, stream):
    """A bar that moves with each submission; on a plain output, a line for each."""
    if not stream.isatty():
        print(f"{title} ...", file=stream, flush=True)

        def line(student: str, record: dict, again: bool) -> None:
            how = "as before" if again else f"{record['seconds']:.1f} s"
            said = f"{student}: {record['points']:g} points, {how}"
            print(said, file=stream, flush=True)

        yield line
        return
    from rich.progress import Progress

    with Progress(console=console(stream)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda student, record, again: bar.advance(task)
