"""The signs of negative transfer are seen where they are, and only there."""

import numpy as np
import pytest

from course_lib.analysis import negative_transfer


def test_errors_that_follow_the_source_are_seen():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    s = rng.integers(0, 4, 120)
    follow = np.where(s % 2 == 0, (y + 1) % 3, (y + 2) % 3)
    seen = negative_transfer.errors_follow_source(s, y, follow)
    assert seen["p"] < 0.01 and seen["information"] > 2 * seen["expected"]
    assert seen["cramers_v"] > 0.1


def test_errors_that_follow_the_true_class_alone_are_not():
    """The source sees each class as something, and each class has its own mistake."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 90)
    s, wrong = 2 * y, (y + 1) % 3
    seen = negative_transfer.errors_follow_source(s, y, wrong)
    assert seen["cramers_v"] == pytest.approx(1) and seen["p"] == 1


def test_the_p_value_of_unrelated_errors_is_level():
    rng = np.random.default_rng(2)
    small = 0
    for k in range(100):
        y, s = rng.integers(0, 3, 60), rng.integers(0, 8, 60)
        wrong = (y + rng.integers(1, 3, 60)) % 3
        seen = negative_transfer.errors_follow_source(s, y, wrong, 99, seed=k)
        small += seen["p"] <= 0.05
    assert small <= 12


def test_a_few_errors_say_nothing():
    seen = negative_transfer.errors_follow_source([0] * 9, [0] * 9, [1] * 9)
    assert seen["pictures"] == 9 and seen["p"] is None


@pytest.mark.parametrize(
    "train, val, sign",
    [
        ((2, 1, 0.5, 0.2, 0.1), (1.0, 1.2, 1.4, 1.6, 1.8), True),
        ((2, 1, 0.5, 0.2, 0.1), (1.4, 1.2, 1.4, 1.6, 1.8), True),
        ((2, 1, 0.5, 0.2, 0.1), (1.6, 1.4, 1.0, 1.2, 1.4), False),
        ((2, 1, 0.5, 0.2, 0.1), (1.0, 1.0, 1.01, 1.02, 1.02), False),
        ((1, 1, 1.1, 1.1, 1.2), (1.0, 1.2, 1.4, 1.6, 1.8), False),
        ((2, 1), (1, 2), False),
    ],
)
def test_validation_loss_that_rises_from_the_start(train, val, sign):
    history = dict(train_loss=list(train), val_loss=list(val))
    assert negative_transfer.falls_and_rises(history) is sign


def test_a_run_that_diverged_has_no_such_sign():
    assert negative_transfer.falls_and_rises(None) is False
