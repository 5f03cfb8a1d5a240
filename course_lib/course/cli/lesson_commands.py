"""`course lab`, `run`, `check` and `links`: lessons and exercises of a learner."""

from course_lib.course import exercises, links, runner
from course_lib.course.cli import command_options, tasks


def lab(typed: command_options.Lab) -> int:
    """JupyterLab's own exit code."""
    return runner.open_lab(typed.lesson, typed.passed_on)


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
