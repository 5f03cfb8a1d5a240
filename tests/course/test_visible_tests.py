"""What several visible tests share: one update, an error's text, parts of an answer."""

import pytest
import torch
from torch import nn

from course_lib.course.visible_tests import error_of, moved_by_training, several


def net():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def test_an_update_moves_what_learns_and_what_counts_batches():
    model = net()
    assert moved_by_training(model, torch.randn(8, 2)) == set(model.state_dict())


def test_a_frozen_norm_in_train_mode_moves_its_statistics():
    model = net()
    model[:2].requires_grad_(False)
    moved = moved_by_training(model, torch.randn(8, 2))
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert moved == {"2.weight", "2.bias"} | statistics
    model[1].eval()
    assert moved_by_training(model, torch.randn(8, 2)) == {"2.weight", "2.bias"}


def test_nothing_moves_where_all_is_frozen_and_in_eval_mode():
    model = net().requires_grad_(False).eval()
    assert moved_by_training(model, torch.randn(8, 2)) == set()


def test_the_text_of_an_error():
    assert error_of(lambda: int("x")).startswith("invalid literal")
    assert error_of(dict) == ""


def test_parts_of_an_answer():
    assert several((1, 2), 2, "a pair") == (1, 2)
    for wrong in (3, [1], "ab", None):
        with pytest.raises(AssertionError, match="return a pair, not"):
            several(wrong, 2, "a pair")
