"""Tables and JSON on a terminal, in a file, or in a pipe."""

import json
import os
from contextlib import contextmanager


def console(stream=None):
    """A rich console on a stream: as wide as its terminal, or 100 columns without."""
    from rich.console import Console

    found = Console(file=stream)
    return found if found.is_terminal else Console(width=100, file=stream)


def print_table(title: str, fields, rows, stream=None) -> None:
    """A table with a head of ``fields``; long words are folded, never cut."""
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(str(field), overflow="fold") for field in fields)
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console(stream).print(table)


@contextmanager
def training_bars(wanted: bool = True):
    """bar(name) -> f(updates, of all, what is said): a bar for each training run.

    On standard error.  bar(name) is None where no bar is wanted, as in CI or with
    COURSE_PROGRESS=0.
    """
    if not wanted or os.environ.get("CI") or os.environ.get("COURSE_PROGRESS") == "0":
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} updates"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def bar(name):
            task = bars.add_task(name, total=1, said="")
            return lambda done, total, said: bars.update(
                task, total=total, completed=done, said=said
            )

        yield bar


def print_json(data) -> None:
    """Plain data for another program, on standard output."""
    print(json.dumps(data, indent=1))
