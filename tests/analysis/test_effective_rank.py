"""Effective rank, and the spread of features."""

import numpy as np
import pytest
from scipy.stats import entropy

from course_lib.analysis.effective_rank import rankme, spread
from course_lib.errors import CourseError


def test_rankme_is_its_definition():
    Z = np.random.default_rng(0).normal(size=(30, 6)) * np.arange(1, 7)
    s = np.sqrt(np.linalg.eigvalsh(Z.T @ Z))
    assert rankme(Z) == pytest.approx(np.exp(entropy(s / s.sum())), rel=1e-4)
    assert rankme(7 * Z) == pytest.approx(rankme(Z))


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_equal_directions_count_one_each(rank):
    Z = np.zeros((20, 8))
    Z[np.arange(rank), np.arange(rank)] = 4.0
    assert rankme(Z) == pytest.approx(rank, rel=1e-3)


def test_spread_is_none_when_all_rows_point_one_way():
    Z = np.random.default_rng(1).normal(size=(50, 4))
    one = np.outer(np.arange(1, 51), [1.0, 2, 3, 4])
    assert spread(one) == pytest.approx(0, abs=1e-6)
    assert spread(np.concatenate([Z, -Z])) == pytest.approx(1)
    assert spread(one + 0.1 * Z) < 0.2 < spread(Z)


@pytest.mark.parametrize("Z", [np.zeros(3), np.zeros((1, 3)), np.full((3, 2), np.nan)])
def test_what_is_no_matrix_of_numbers_is_named(Z):
    for measure in (rankme, spread):
        with pytest.raises(CourseError, match=measure.__name__):
            measure(Z)
