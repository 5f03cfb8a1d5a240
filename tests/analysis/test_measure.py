"""Spread, bytes and seconds against values worked out by hand."""

import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from course_lib.analysis import measure
from course_lib.errors import CourseError
from course_lib.training import freezing


def test_interval_of_known_values():
    # Student's t for 4 degrees of freedom at 97.5 % is 2.776445.
    got = measure.mean_and_interval([1, 2, 3, 4, 5])
    assert got.mean == 3 and got.n == 5
    assert got.half_width == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)
    assert str(measure.mean_and_interval([0.9, 0.9])) == "0.900 ± 0.000"
    with pytest.raises(CourseError, match="spread"):
        measure.mean_and_interval([1.0])


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [
        (i := measure.mean_and_interval(rng.normal(0, 1, 4))).low <= 0 <= i.high
        for _ in range(1000)
    ]
    assert 0.93 < np.mean(inside) < 0.97


def test_pairing_removes_what_both_share():
    shared = np.array([0.0, 5.0, 10.0, 15.0])
    got = measure.paired_difference(shared + [1.1, 0.9, 1.0, 1.0], shared)
    assert got.low > 0.8 and got.mean == pytest.approx(1.0)
    with pytest.raises(CourseError, match="seed"):
        measure.paired_difference([1, 2], [1, 2, 3])


def test_the_interval_of_paired_accuracies_covers_what_it_says():
    rng = np.random.default_rng(0)
    n, truth, covered = 60, 0.10, 0
    for _ in range(1000):
        kind = rng.choice(4, n, p=[0.6, 0.2, 0.1, 0.1])  # both, ours, theirs, none
        found = measure.paired_accuracies(
            (kind == 0) | (kind == 1), (kind == 0) | (kind == 2)
        )
        covered += found["low"] <= truth <= found["high"]
    assert 0.93 <= covered / 1000 <= 0.985


def test_equal_answers_give_no_difference_and_still_an_interval():
    right = np.arange(40) % 2 == 0
    found = measure.paired_accuracies(right, right)
    assert found["mean"] == 0 and found["low"] < 0 < found["high"]
    assert found["ours_only"] == found["theirs_only"] == 0
    with pytest.raises(CourseError, match="paired_accuracies"):
        measure.paired_accuracies(right, right[:3])


def test_the_interval_of_a_share_needs_a_share():
    assert measure.wilson_interval(270, 270)[1] == 1.0
    for right, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(CourseError, match="wilson_interval"):
            measure.wilson_interval(right, n)


def test_labels_needed_interpolates_in_the_logarithm():
    labels, curve = [10, 100, 1000], [0.5, 0.7, 0.9]
    assert measure.labels_needed(labels, curve, 0.8) == pytest.approx(10**2.5)
    assert measure.labels_needed(labels, curve, 0.7) == pytest.approx(100)
    assert measure.labels_needed(labels, curve, 0.4) == 10
    assert np.isnan(measure.labels_needed(labels, curve, 0.95))
    with pytest.raises(CourseError, match="increasing"):
        measure.labels_needed([10, 5], [0.1, 0.2], 0.15)


FRESH = """
import time, numpy as np
from course_lib.analysis import measure

def allocate():
    block = np.ones(8_000_000)  # 64 MB
    time.sleep(0.2)
    return block[:3].sum()

peak = measure.peak_memory(allocate)
assert peak.result == 3 and peak.seconds >= 0.2
print(peak.bytes)
"""


def test_peak_memory_sees_what_is_freed_again():
    """In a process of its own: here, memory that other tests freed would be reused."""
    run = [sys.executable, "-c", FRESH]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert 50e6 < int(out) < 120e6


def test_tensor_bytes_appear_when_tensors_do():
    net = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    parameters = 4 * (10 * 4 + 4 + 4 + 4)
    got = measure.tensor_bytes(net, optimizer)
    assert got["parameters"] == parameters and got["buffers"] == 4 * (4 + 4) + 8
    assert got["gradients"] == got["optimizer"] == 0
    net(torch.randn(3, 10)).sum().backward()
    optimizer.step()
    got = measure.tensor_bytes(net, optimizer)
    assert got["gradients"] == parameters
    assert got["optimizer"] == 2 * parameters + 4 * 4  # two moments, four step counts


def test_saved_activations_by_hand():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.randn(5, 8)
    # the input, for the first weight; the ReLU's output, used twice, counted once
    assert measure.saved_activation_bytes(net, x) == 4 * 5 * (8 + 16)


def test_freezing_saves_gradients_state_and_activations():
    backbone, y = tiny.resnet(), torch.tensor([0, 1, 2, 0])
    x = torch.randn(4, 3, 32, 32)
    weights = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    full = measure.training_step_bytes(backbone, x, y)
    frozen = measure.training_step_bytes(freezing.freeze_backbone(backbone), x, y)
    head = 4 * (16 * 3 + 3)
    assert full["gradients"] == full["parameters"] == frozen["parameters"]
    assert frozen["gradients"] == head
    assert frozen["optimizer"] == 2 * head + 2 * 4
    assert frozen["activations"] < full["activations"] / 20
    assert full["total"] == sum(v for k, v in full.items() if k != "total")
    sgd = measure.training_step_bytes(backbone, x, y, optimizer="sgd")
    assert sgd["optimizer"] == head
    after = backbone.model.state_dict()
    assert all(torch.equal(weights[k], after[k]) for k in weights)
    assert all(p.grad is None for p in backbone.model.parameters())


def test_seconds_is_a_median():
    waits = iter([0.0, 0.2, 0.01])
    assert 0.005 < measure.seconds(lambda: time.sleep(next(waits))) < 0.15
