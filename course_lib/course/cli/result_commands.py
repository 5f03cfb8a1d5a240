"""What reads the stored results: `course run --recompute`, `claims` and `web`."""

import sys
import time
from pathlib import Path

from course_lib.course import runner
from course_lib.course.cli import command_options
from course_lib.course.web import website
from course_lib.errors import CourseError
from course_lib.lessons import claims as ledger
from course_lib.lessons import experiments
from course_lib.show.console import print_json, print_table


def recompute(names: list[str], short: bool = False) -> int:
    """Compute committed result files again: all of them, or those named.

    short: only what `make test` compares in them.  Raises CourseError for a name that
    is none.
    """
    known = list(experiments.names())
    for name in names:
        if name not in known:
            raise CourseError(
                f"There are no results called {name!r}.\n"
                f"Expected: among {', '.join(known) or '(none)'}.\n"
                "Do: `course run --recompute` computes all of them."
            )
    if short and not names:
        known = [name for name in known if experiments.get(name).short]
    for name in names or known:
        print(f"{name} ...", flush=True)
        started = time.perf_counter()
        experiments.recompute(name, short=short)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return 0


def claims(typed: command_options.Claims) -> int:
    """The ledger, the rows asked for, or one claim; as a table or as JSON."""
    if typed.id is not None:
        return _one_claim(typed)
    rows = ledger.ledger()
    verdicts = sorted({row["verdict"] for row in rows})
    if typed.verdict and typed.verdict not in verdicts:
        raise CourseError(
            f"No claim has the verdict {typed.verdict!r}.\n"
            f"Expected: one of {', '.join(verdicts)}.\n"
            "Do: choose one of these, or leave --verdict out."
        )
    if typed.verdict:
        rows = [row for row in rows if row["verdict"] == typed.verdict]
    if typed.lesson:
        lesson = typed.lesson.zfill(2)
        rows = [row for row in rows if row["lesson"].zfill(2) == lesson]
    if typed.json:
        print_json(rows)
        return 0
    fields = ("id", "lesson", "claim", "figure", "verdict", "finding")
    print_table(
        "What tutorials claim, and what this course found",
        fields,
        [[row[field] for field in fields] for row in rows],
    )
    totals = ", ".join(f"{count} {name}" for name, count in ledger.totals().items())
    print(f"{len(rows)} shown; in the whole ledger: {totals}.")
    return 0


def _one_claim(typed: command_options.Claims) -> int:
    """A claim with its cell, verdict and source."""
    if typed.lesson or typed.verdict:
        raise CourseError(
            f"{typed.id} is one claim, and --lesson or --verdict chooses among all.\n"
            "Expected: a claim, or these options.\nDo: leave one of them out."
        )
    row = ledger.claim("C" + typed.id.upper().removeprefix("C").zfill(2))
    if typed.json:
        print_json(row)
        return 0
    cell = "none yet"
    if row["cell"]:
        cell = (
            f"{row['cell']} of {row['notebook']} (course lab --lesson {row['lesson']})"
        )
    found = ledger.by_world(row["finding"] or "nothing yet")
    lines = {
        "Figure": row["figure"],
        "Source": row["source"],
        "Test": row["test"],
        "Verdict": row["verdict"],
        **{world or "Found": text for world, text in found.items()},
        "Second try": row["second_try"] or "none yet",
        "Cell": cell,
    }
    print(f"Claim {row['id']}: {row['claim']}.")
    for name, said in lines.items():
        print(f"{name}: {said}")
    return 0


def web(typed: command_options.Web) -> int:
    """0 for a site without a warning, else 1."""
    started = time.perf_counter()
    named = command_options.many(typed.lessons)
    lessons = runner.lessons(named) if named else None
    site = website.build(Path(typed.to), lessons)
    seconds = time.perf_counter() - started
    for line in site.warnings:
        print(line, file=sys.stderr)
    print(
        f"{site.pages} pages, {site.megabytes:.0f} MB in {typed.to}, {seconds:.0f} s."
    )
    print(f"To read them: {Path(sys.executable).name} -m http.server -d {typed.to}")
    return 1 if site.warnings else 0
