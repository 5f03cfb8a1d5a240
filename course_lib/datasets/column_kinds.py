"""Which column of a table is the text, the picture or the label, by what it holds.

Used where no column has a usual name.  Each function gives the columns that it may be;
more than one is for the learner to decide.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from course_lib.datasets.layout import part_of
from course_lib.datasets.pictures import named_as_picture

SAMPLE = 2000  # rows looked at
MOST_CLASSES = 100
LEAST_ROWS = 3  # of a class, on average
WORDS = 3  # of a text, on average
NAMED = 0.9  # share of the values that must end as a picture's name does
DISTINCT = 0.5  # share of different values among texts


def images(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns of names of picture files."""
    return [
        name
        for name, values in _filled(columns).items()
        if fmean(map(named_as_picture, values)) >= NAMED
    ]


def texts(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The column of the longest texts, if any holds texts that differ."""
    words = {
        name: fmean(len(v.split()) for v in values)
        for name, values in _filled(columns).items()
        if len(set(values)) >= DISTINCT * len(values)
    }
    longest = max(words, key=words.get, default=None)
    return [longest] if longest is not None and words[longest] >= WORDS else []


def labels(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns of few values that repeat; of words, if there are such, else of numbers.

    None is a column with the same value in every row, and one that names parts (train,
    test).
    """
    found = [
        name
        for name, values in _filled(columns).items()
        if 2 <= len(set(values)) <= min(MOST_CLASSES, len(values) / LEAST_ROWS)
        and not all(part_of(value)[0] for value in set(values))
    ]
    named = [name for name in found if not all(map(_is_number, columns[name]))]
    return named or found


def _filled(columns) -> dict[str, list[str]]:
    """The first SAMPLE values without empty ones; columns with none are left out."""
    some = {
        name: [v.strip() for v in values[:SAMPLE] if v.strip()]
        for name, values in columns.items()
    }
    return {name: values for name, values in some.items() if values}


def _is_number(value: str) -> bool:
    try:
        float(value or 0)
    except ValueError:
        return False
    return True
