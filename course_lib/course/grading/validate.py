"""`course validate`: the whole course, for continuous integration.

Lessons, references, banks, leaks, links and budgets; each check gives lines of what is
wrong, and none stops the next.
"""

import json
import re

from course_lib import paths
from course_lib.course import exercises, runner
from course_lib.course.grading import bank, release, submission
from course_lib.errors import CourseError
from course_lib.show.console import print_table


def check_exercises(isolated: bool = True) -> list[str]:
    """Exercises that differ from what their solutions make."""
    found = []
    for lesson in release.lessons():
        path, made = release.released(lesson), release.generate(lesson)
        copies = (path, path.with_name(exercises.RELEASED))
        if any(not p.exists() or p.read_bytes() != made for p in copies):
            found.append(f"{lesson.name}: run `course release {lesson.name[:2]}`")
    return found


def check_references(isolated: bool = True) -> list[str]:
    """References without full marks, untouched exercises with points."""
    return [
        f"{lesson.name}: {line}"
        for lesson in release.lessons()
        for line in release.refusals(release.scores(lesson, isolated))
    ]


def check_bank(isolated: bool = True) -> list[str]:
    """Right answers that are rejected, wrong ones that miss their hint."""
    found = []
    for lesson in release.lessons():
        public = submission.load_release(release.released(lesson))
        checks = (lesson / "checks.py").read_text("utf-8")
        answers = bank.entries(lesson)
        lines = bank.try_all(public, checks, answers, seed=0, isolated=isolated)
        found += [f"{lesson.name}: {line}" for line in lines]
    return found


def check_links(isolated: bool = True) -> list[str]:
    """Links of lessons, exercises and README to files that do not exist."""
    pages = [paths.ROOT / "README.md", *paths.NOTEBOOKS.glob("*.ipynb")]
    pages += (paths.ROOT / "exercises").glob("*/*.ipynb")
    found = []
    for page in pages:
        text = page.read_text("utf-8")
        if page.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join(
                "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"
            )
        for link in re.findall(r"\]\((?!https?:|#|attachment:)([^)#\s]+)", text):
            if not (page.parent / link).exists():
                found.append(f"{page.relative_to(paths.ROOT).as_posix()}: {link}")
    return found


def check_lessons(isolated: bool = True) -> list[str]:
    """Lessons that fail, or take more time or memory than they may."""
    import nbformat

    found = []
    for path in runner.lessons():
        done = runner.execute(nbformat.read(path, as_version=4), path.stem)
        if done.failure:
            found.append(f"{path.stem}: {done.failure}")
        elif done.seconds > runner.max_seconds(path) * runner.time_factor():
            found.append(f"{path.stem}: {done.seconds:.0f} s")
        elif done.peak_mb > runner.MAX_MB:
            found.append(f"{path.stem}: {done.peak_mb:.0f} MB")
    return found


CHECKS = {
    "exercises are those of the solutions": check_exercises,
    "references and untouched exercises": check_references,
    "the bank": check_bank,
    "nothing given away": lambda isolated: release.leaks(paths.ROOT / "exercises"),
    "links": check_links,
    "lessons, times and memory": check_lessons,
}
SLOW = ("lessons, times and memory",)


def report(quick: bool = False, isolated: bool = True) -> int:
    """Run the checks and print a table; the exit code, 0 or 1."""
    rows, failed = [], False
    for name, check in CHECKS.items():
        if quick and name in SLOW:
            continue
        print(f"{name} ...", flush=True)
        try:
            lines = check(isolated)
        except CourseError as error:
            lines = [str(error)]
        failed |= bool(lines)
        rows.append((name, "\n".join(lines) or "ok"))
    print_table("The course", ("what", "found"), rows)
    return 1 if failed else 0
