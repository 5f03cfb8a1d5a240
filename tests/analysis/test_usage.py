"""Seconds and bytes against values worked out by hand."""

import subprocess
import sys
import time

import pytest
import tiny
import torch
from torch import nn

from course_lib.analysis import usage
from course_lib.training import freezing

FRESH = """
import time, numpy as np
from course_lib.analysis import usage

def allocate():
    block = np.ones(8_000_000)  # 64 MB
    time.sleep(0.2)
    return block[:3].sum()

peak = usage.peak_memory(allocate)
assert peak.result == 3 and peak.seconds >= 0.2
print(peak.bytes)
"""


@pytest.mark.slow
def test_peak_memory_sees_what_is_freed_again():
    """In a process of its own: here, memory that other tests freed would be reused."""
    run = [sys.executable, "-c", FRESH]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert 50e6 < int(out) < 120e6


def test_tensor_bytes_appear_when_tensors_do():
    net = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    parameters = 4 * (10 * 4 + 4 + 4 + 4)
    got = usage.tensor_bytes(net, optimizer)
    assert got["parameters"] == parameters and got["buffers"] == 4 * (4 + 4) + 8
    assert got["gradients"] == got["optimizer"] == 0
    net(torch.randn(3, 10)).sum().backward()
    optimizer.step()
    got = usage.tensor_bytes(net, optimizer)
    assert got["gradients"] == parameters
    assert got["optimizer"] == 2 * parameters + 4 * 4  # two moments, four step counts


def test_saved_activations_by_hand():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.randn(5, 8)
    # the input, for the first weight; the ReLU's output, used twice, counted once
    assert usage.saved_activation_bytes(net, x) == 4 * 5 * (8 + 16)


def test_freezing_saves_gradients_state_and_activations():
    backbone, y = tiny.resnet(), torch.tensor([0, 1, 2, 0])
    x = torch.randn(4, 3, 32, 32)
    weights = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    full = usage.training_step_bytes(backbone, x, y)
    frozen = usage.training_step_bytes(freezing.freeze_backbone(backbone), x, y)
    head = 4 * (16 * 3 + 3)
    assert full["gradients"] == full["parameters"] == frozen["parameters"]
    assert frozen["gradients"] == head
    assert frozen["optimizer"] == 2 * head + 2 * 4
    assert frozen["activations"] < full["activations"] / 20
    assert full["total"] == sum(v for k, v in full.items() if k != "total")
    sgd = usage.training_step_bytes(backbone, x, y, optimizer="sgd")
    assert sgd["optimizer"] == head
    after = backbone.model.state_dict()
    assert all(torch.equal(weights[k], after[k]) for k in weights)
    assert all(p.grad is None for p in backbone.model.parameters())


def test_seconds_is_a_median():
    waits = iter([0.0, 0.2, 0.01])
    assert 0.005 < usage.seconds(lambda: time.sleep(next(waits))) < 0.15
