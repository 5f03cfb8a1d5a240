"""Words that the messages of all readers share: lists of names, what to install."""

import unicodedata
import warnings
from collections.abc import Collection

from course_lib.errors import CourseError

INSTALL = 'python -m pip install -c constraints.txt -e ".[formats]"'
SHOWN = 12  # names in a message; all are counted


def listed(names: Collection, most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shown(name) -> str:
    """A file's name as it can be printed and stored: control characters and bytes that
    are no UTF-8 are escaped."""
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        else c
        for c in str(name)
    )


def missing_library(path, name: str) -> CourseError:
    """What brings the library that reads a kind of file."""
    return CourseError(
        f"{path} needs the library {name}, which is not installed here.\nExpected: "
        f"the extra `formats` of the course.\nDo: {INSTALL} (in the course's folder), "
        "or save the table as CSV."
    )


def tell(notes: Collection[str]) -> None:
    """Warn a caller in Python, two calls up, of what was left out or changed."""
    for note in notes:
        warnings.warn(note, stacklevel=3)
