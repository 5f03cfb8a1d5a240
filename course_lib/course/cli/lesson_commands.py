"""`course lab`, `run`, `check` and `links`: lessons and exercises of a learner."""

from course_lib import paths
from course_lib.course import exercises, learner_copy, links, runner, scoring
from course_lib.course.cli import command_options, tasks


def lab(typed: command_options.Lab) -> int:
    """JupyterLab's own exit code."""
    (page,) = runner.lessons([typed.lesson])
    if typed.author:
        return runner.open_lab(page, paths.ROOT, typed.passed_on)
    _renew(typed.outputs)
    return runner.open_lab(
        learner_copy.own(page), learner_copy.folder(), typed.passed_on
    )


def copy(typed: command_options.Copy) -> int:
    """0 when the learner's copy is as new as the course, 1 where one is damaged."""
    return _renew(typed.outputs)


def _renew(outputs: bool) -> int:
    done = learner_copy.renew(outputs)
    said = done.lines() or [f"Your copy is up to date: {learner_copy.folder()}."]
    print("\n".join(said))
    return 1 if done.problems else 0


def run(typed: command_options.Run) -> int:
    """0 when every lesson ran through, else 1."""
    recompute = command_options.many(typed.recompute)
    if recompute is not None:
        tasks.run("result_commands.recompute", recompute, typed.short)
        if not typed.lessons:
            return 0
    return runner.run(
        runner.lessons(typed.lessons),
        to=typed.to,
        timeout=typed.timeout,
        write=typed.write,
    )


def check(typed: command_options.Check) -> int:
    """0 when every visible test of the lessons named passes, else 1."""
    return exercises.check(typed.lessons, as_json=typed.json)


def score(typed: command_options.Score) -> int:
    """0 when the hidden checks find every answer correct, else 1."""
    return scoring.score(typed.lessons, as_json=typed.json)


def solution(typed: command_options.Solution) -> int:
    """0 always: what may not be seen yet is said."""
    return scoring.solution(typed.lesson, typed.question)


def show_links(typed: command_options.Links) -> int:
    """One line a lesson and place, or the cell that installs."""
    where = links.settings()
    if typed.repository:
        where["repository"] = typed.repository.rstrip("/")
        links.check_address(where["repository"])
    where = where if where["repository"] else links.required()
    if typed.install_cell:
        print(links.install_cell(where))
        return 0
    for lesson, place, link in links.rows(where, typed.hub):
        print(f"{lesson} {place:10} {link}")
    return 0
