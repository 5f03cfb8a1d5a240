"""Losses of two views equal their closed forms."""

import math

import numpy as np
import pytest
import torch

from course_lib.errors import CourseError
from course_lib.methods.view_losses import LOSSES, nt_xent_loss, vicreg_loss


def two_views(n=7, width=5, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, width))
    return A, A + 0.5 * rng.normal(size=(n, width))


def tensors(A, B):
    return torch.tensor(A), torch.tensor(B)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_by_hand(temperature):
    A, B = two_views()
    Z = [z / np.linalg.norm(z) for z in (*A, *B)]
    terms = []
    for i in range(14):
        others = [math.exp(Z[i] @ Z[k] / temperature) for k in range(14) if k != i]
        right = math.exp(Z[i] @ Z[(i + 7) % 14] / temperature)
        terms.append(-math.log(right / sum(others)))
    found = nt_xent_loss(*tensors(A, B), temperature)
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-6)
    scaled = nt_xent_loss(*tensors(3 * A, 7 * B), temperature)
    assert float(scaled) == pytest.approx(float(found), rel=1e-6)


def test_nt_xent_has_closed_forms():
    same = torch.ones(8, 3)  # collapsed: each of 2 N - 1 others is as likely
    assert float(nt_xent_loss(same, same)) == pytest.approx(math.log(15), rel=1e-6)
    far = torch.eye(4)  # pairs equal, all others at right angles
    expected = math.log(math.e**2 + 6) - 2
    assert float(nt_xent_loss(far, far, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_vicreg_by_hand():
    A, B = two_views(seed=1)
    expected = 2.0 * ((A - B) ** 2).mean()
    for M in (A, B):
        C = np.cov(M.T)
        spread = np.sqrt(np.diag(C) + 1e-4)
        expected += 3.0 * np.maximum(0, 1 - spread).mean()
        expected += 0.5 * ((C**2).sum() - (np.diag(C) ** 2).sum()) / 5
    assert float(vicreg_loss(*tensors(A, B), 2.0, 3.0, 0.5)) == pytest.approx(expected)


def test_vicreg_sees_collapse_and_doubles():
    flat = torch.ones(6, 4)
    found = vicreg_loss(flat, flat, 25.0, 25.0, 1.0)
    assert float(found) == pytest.approx(2 * 25 * (1 - 0.01), rel=1e-5)
    column = torch.tensor(two_views(6, 1)[0])
    twice = torch.cat([column, column], dim=1)
    variance = float(column.var())
    found = vicreg_loss(twice, twice, 0.0, 0.0, 1.0)
    assert float(found) == pytest.approx(2 * variance**2, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_do_not_fit_are_named(name):
    loss, A = LOSSES[name], torch.zeros(4, 3)
    for B in (torch.zeros(3, 3), torch.zeros(4, 2), torch.zeros(4)):
        with pytest.raises(CourseError, match=loss.__name__):
            loss(A, B)


@pytest.mark.parametrize("name", LOSSES)
def test_agreeing_views_are_better_than_others(name):
    A, B = tensors(*two_views(60, 4))
    A, B = A - A.mean(0), B - B.mean(0)
    assert LOSSES[name](A, B) < LOSSES[name](A, B.flip(0))
