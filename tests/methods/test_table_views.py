"""Corrupted rows of a table."""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.methods.table_views import corrupted


def test_so_many_values_of_each_row_come_from_the_same_column_of_others():
    X = torch.arange(200.0).view(20, 10)  # every value once
    Z = corrupted(X, 0.3, torch.Generator().manual_seed(0))
    assert Z.shape == X.shape and (Z % 10 == X % 10).all()  # the column stays
    changed = (Z != X).sum(dim=1)
    assert changed.max() == 3 and changed.float().mean() > 2.5  # a row may draw itself
    columns = (Z != X).sum(dim=0)
    assert (columns > 0).all()
    again = corrupted(X, 0.3, torch.Generator().manual_seed(0))
    assert torch.equal(again, Z)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_shares_that_corrupt_nothing_or_all_are_named(share):
    with pytest.raises(CourseError, match="between 0 and 1"):
        corrupted(torch.zeros(3, 4), share)
    with pytest.raises(CourseError, match="matrix"):
        corrupted(torch.zeros(3), 0.5)
