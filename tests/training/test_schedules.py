"""Slanted triangles, the range test and gradual unfreezing."""

import numpy as np
import pytest
import torch

from course_lib import datasets, training
from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.training import Optimization, Recipe, schedules


def test_the_triangle_rises_briefly_falls_long_and_keeps_its_floor():
    factor = schedules.slanted_triangular(cut=0.1, ratio=32)
    values = np.array([factor(step, 200) for step in range(200)])
    assert values.argmax() == 20 and values.max() == 1.0
    assert values[0] == pytest.approx(1 / 32) and values.min() >= 1 / 32
    assert np.allclose(np.diff(values[:21]), np.diff(values[:21])[0])
    assert np.allclose(np.diff(values[20:]), np.diff(values[20:])[0])
    # equation 3 of the paper, written out
    t, steps, cut, ratio = 77, 200, 20, 32
    p = 1 - (t - cut) / (cut * (1 / 0.1 - 1))
    assert factor(t, steps) == pytest.approx((1 + p * (ratio - 1)) / ratio)


@pytest.mark.slow
def test_the_range_test_finds_the_fall_and_leaves_the_model_alone():
    backbone = zoo.load(num_classes=5)
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    train = datasets.load("wafer_micrographs", "train")
    found = training.range_test(backbone, train, low=1e-5, high=3.0, steps=40)
    assert 1e-5 < found.steepest < 1.0
    assert len(found.rates) == len(found.losses) == len(found.smooth)
    assert np.all(np.diff(found.rates) > 0)
    again = training.range_test(backbone, train, low=1e-5, high=3.0, steps=40)
    assert np.array_equal(found.losses, again.losses)
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, before[key])


def test_groups_open_from_the_head_down_and_each_learns_from_then_on():
    backbone = zoo.load(num_classes=5)
    first, plan = schedules.gradual_unfreezing(backbone, lr=1e-3, alpha=0.5, every=1)
    assert {g["name"] for g in first} == {"head"} and sorted(plan) == [1, 2, 3, 4, 5]
    start = {n: p.detach().clone() for n, p in backbone.model.named_parameters()}
    still = []

    def watch(epoch, model, optimizer):
        if epoch in plan:
            plan[epoch](model, optimizer)
        names = {g["name"] for g in optimizer.param_groups}
        closed = [n for n, p in model.model.named_parameters() if not p.requires_grad]
        assert all(
            torch.equal(start[n], dict(model.model.named_parameters())[n])
            for n in closed
        )
        still.append(
            (
                names,
                {
                    g["name"]: g.get("initial_lr", g["lr"])
                    for g in optimizer.param_groups
                },
            )
        )

    train = datasets.load("wafer_micrographs", "train").take(50, seed=0)
    training.fit(
        backbone,
        train,
        steps=6,
        recipe=Recipe(
            eval_every=1, on_epoch=watch, optimization=Optimization(param_groups=first)
        ),
    )
    assert [len(names) for names, _ in still] == [1, 2, 3, 4, 5, 6]
    rates = still[-1][1]
    assert rates["layer3"] == pytest.approx(5e-4) and rates["stem"] == pytest.approx(
        1e-3 * 0.5**4
    )
    moved = {
        n for n, p in backbone.model.named_parameters() if not torch.equal(p, start[n])
    }
    assert "layer1.0.conv1.weight" in moved


def test_bad_settings_are_named():
    with pytest.raises(CourseError, match="cut"):
        schedules.slanted_triangular(cut=1.5)
    with pytest.raises(CourseError, match="low"):
        training.range_test(zoo.load(num_classes=5), None, low=1.0, high=0.1)
    with pytest.raises(CourseError, match="head"):
        schedules.gradual_unfreezing(zoo.load("minilm"), lr=1e-3)
