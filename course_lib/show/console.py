"""Tables and JSON on a terminal, in a file, or in a pipe."""

import json


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


def print_json(data) -> None:
    """Plain data for another program, on standard output."""
    print(json.dumps(data, indent=1))
