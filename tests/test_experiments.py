"""Committed grids: recomputing a sample of their cells gives their numbers."""

import pytest

from course_lib import results


@pytest.mark.slow
@pytest.mark.parametrize("name", results.names())
def test_a_sample_of_each_grid_comes_out_again(name):
    assert results.check_sample(name) == []


@pytest.mark.parametrize("name", results.names())
def test_each_grid_is_committed_whole(name):
    rows = results.load(name)
    assert len(rows) == len(results.get(name).grid)
