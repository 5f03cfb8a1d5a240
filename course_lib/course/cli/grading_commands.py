"""The instructor's commands: release, collect, grade, feedback, export, validate."""

import sys
from pathlib import Path

from course_lib.course.cli import command_options
from course_lib.course.grading import (
    classroom,
    gradebook,
    nbgrader_settings,
)
from course_lib.course.grading import collect as collecting
from course_lib.course.grading import release as releasing
from course_lib.course.grading import validate as validating
from course_lib.datasets.messages import listed
from course_lib.errors import CourseError
from course_lib.show.console import print_table


def release(typed: command_options.Release) -> int:
    """Exercises, the folder for learners, or the pages of solutions."""
    if typed.solutions:
        return _solutions(typed)
    for lesson in releasing.lessons(typed.lessons):
        print(f"{lesson.name}: reference and untouched exercise ...", flush=True)
        releasing.release(lesson, isolated=not typed.without_sandbox)
    if typed.to:
        copied = releasing.bundle(
            Path(typed.to), checks=typed.with_checks, answers=typed.with_solutions
        )
        given = [
            words
            for words, chosen in (
                ("the checks of `course score`", typed.with_checks),
                ("the solutions", typed.with_solutions),
            )
            if chosen
        ]
        among = " and ".join(given) or "no solution and no check"
        print(f"{len(copied)} files in {typed.to}, {among} among them.")
        if strange := releasing.untracked(copied):
            print(
                f"{len(strange)} of them are not tracked by git: "
                f"{listed(strange)}. Delete there what is not for learners."
            )
    return 0


def _solutions(typed: command_options.Release) -> int:
    """Pages of executed solutions; 1 where a cell failed."""
    if typed.to:
        raise CourseError(
            "--solutions and --to ask for two things.\nExpected: one of them: pages of "
            "solutions for instructors, or the course for learners.\nDo: call twice."
        )
    runs, folder = [], Path(typed.solutions)
    for lesson in releasing.lessons(typed.lessons):
        print(f"{lesson.name}: executing the solution ...", flush=True)
        runs.append(releasing.rendered(lesson, folder))
    failures = [run for run in runs if run.failure]
    for run in failures:
        print(f"{run.lesson}: {run.failure}", file=sys.stderr)
    print(
        f"{len(runs)} solutions in {folder}, {len(runs) - len(failures)} ran through. "
        "They are for instructors: keep the folder away from learners."
    )
    return 1 if failures else 0


def collect(typed: command_options.Collect) -> int:
    """0 when nothing was left out, else 1."""
    (lesson,) = releasing.lessons([typed.lesson])
    archives = command_options.many(typed.class_archive)
    if typed.source is None:
        if typed.roster or archives is not None:
            raise CourseError(
                "--roster and --class-archive are for a folder.\nExpected: --from as "
                "well.\nDo: add --from FOLDER; nbgrader's exchange knows its learners."
            )
        found = nbgrader_settings.from_exchange(lesson)
    else:
        found = collecting.collect(
            lesson.name,
            Path(typed.source),
            roster=Path(typed.roster) if typed.roster else None,
            class_archives=archives,
        )
    return collecting.report(lesson.name, found, typed.list_to, typed.json)


def grade(typed: command_options.Grade) -> int:
    """0 when every submission has its record, 1 for a broken one."""
    (lesson,) = releasing.lessons([typed.lesson])
    how = classroom.How(
        parallel=typed.parallel,
        isolated=not typed.without_sandbox,
        dask=typed.dask,
        db=typed.db,
        students=typed.student,
        again=typed.again,
    )
    return classroom.report(lesson, how, as_json=typed.json)


def feedback(typed: command_options.Feedback) -> int:
    """0 when each student's page is whole, else 1 and a table."""
    (lesson,) = releasing.lessons([typed.lesson])
    problems = []

    def done(student: str, problem: str) -> None:
        if problem:
            problems.append((student, problem))

    written = gradebook.feedback(lesson, db=typed.db, done=done)
    if problems:
        print_table(
            f"Feedback that is not whole: {lesson.name}", ("student", "why"), problems
        )
    print(f"{len(written)} pages in feedback/*/{lesson.name}/.")
    return 1 if problems else 0


def export(typed: command_options.Export) -> int:
    """The path of the CSV."""
    print(gradebook.export(Path(typed.to), typed.db))
    return 0


def validate(typed: command_options.Validate) -> int:
    """0 when nothing is wrong, else 1."""
    return validating.report(quick=typed.quick, isolated=not typed.without_sandbox)
