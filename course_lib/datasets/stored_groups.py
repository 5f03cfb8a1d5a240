"""Finds the groups of near-duplicates of the public data sets, to be committed.

They are stored in data/near_duplicates.npz, so that every machine has the same splits;
`python -m course_lib.datasets.stored_groups` finds them anew.
"""

import numpy as np

from course_lib import files, paths
from course_lib.datasets import opinions, solar_cells
from course_lib.datasets.committed import npz_bytes
from course_lib.datasets.near_duplicates import FILE, MADE_BY

SETS = {"solar_cells": solar_cells.find_groups, "opinions": opinions.find_groups}


def write() -> None:
    """Find the groups of all sets anew and store them."""
    arrays = {name: find().astype(np.uint16) for name, find in SETS.items()}
    files.atomic_write_bytes(paths.DATA / FILE, npz_bytes(arrays))
    files.update_manifest([FILE], MADE_BY)


if __name__ == "__main__":
    write()
