"""Who bears the errors?  Accuracy by subgroup."""

from collections.abc import Mapping

import numpy as np

from course_lib.analysis import arguments
from course_lib.analysis.statistics import wilson_interval


def subgroup_table(labels, predictions, groups) -> list[dict]:
    """Accuracy of each subgroup with its 95 % Wilson interval, the worst first.

    labels, predictions (N,); groups: N hashable values, or a dict of such columns,
    each of which is then audited by itself, in its order.  Rows: {group, n, accuracy,
    low, high}, and first of all {column} for a dict.  A NaN is the group "missing".
    Raises CourseError on unequal lengths.  Wilson 1927.
    """
    labels, predictions = arguments.labelled(labels, predictions, "subgroup_table")
    if isinstance(groups, Mapping):
        return [
            {"column": column, **row}
            for column, values in groups.items()
            for row in _subgroups(labels == predictions, values)
        ]
    return _subgroups(labels == predictions, groups)


def _subgroups(right, values) -> list[dict]:
    arguments.same_length("subgroup_table", labels=right, groups=values)
    members: dict = {}
    for i, value in enumerate(values):
        value = value.item() if isinstance(value, np.generic) else value
        members.setdefault("missing" if value != value else value, []).append(i)
    rows = []
    for group, rows_of in members.items():
        n, k = len(rows_of), int(right[rows_of].sum())
        low, high = wilson_interval(k, n)
        row = {"group": group, "n": n, "accuracy": k / n, "low": low, "high": high}
        rows.append(row)
    return sorted(rows, key=lambda row: row["accuracy"])
