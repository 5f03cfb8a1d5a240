"""The groups of near-duplicates of the public data sets, as they are committed.

Found once by the rule of :mod:`course_lib.datasets.near_duplicates` and stored in
data/near_duplicates.npz, so that every machine has the same splits; `python -m
course_lib.datasets.stored_groups` finds them anew.
"""

from __future__ import annotations

import importlib

import numpy as np

from course_lib import files, paths
from course_lib.errors import CourseError

FILE = "near_duplicates.npz"
SETS = ("solar_cells", "opinions")  # modules of this package with find_groups()
MADE_BY = "python -m course_lib.datasets.stored_groups"


def stored_groups(name: str, n: int) -> np.ndarray:
    """Group numbers (n,) of one data set.  Raises CourseError for another length."""
    with np.load(files.verified(FILE), allow_pickle=False) as stored:
        found = stored[name].astype(np.int64)
    if len(found) != n:
        raise CourseError(
            f"data/{FILE} holds {len(found)} groups of {name}, and the set has {n} "
            f"examples.\nExpected: one for each.\nDo: `{MADE_BY}`."
        )
    return found


def write() -> None:
    """Find the groups of all sets anew and store them."""
    from course_lib.datasets.committed import npz_bytes

    arrays = {}
    for name in SETS:
        module = importlib.import_module(f"course_lib.datasets.{name}")
        arrays[name] = module.find_groups().astype(np.uint16)
    files.atomic_write_bytes(paths.DATA / FILE, npz_bytes(arrays))
    files.update_manifest([FILE], MADE_BY)


if __name__ == "__main__":
    write()
