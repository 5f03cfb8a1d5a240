"""Mixup: inputs and labels in the same shares."""

import pytest
import tiny
import torch
from tiny import generator
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.training import Objective, Recipe
from course_lib.training.mixup import Mixup


def test_mixup_mixes_inputs_and_labels_in_the_same_shares():
    y = torch.arange(50) % 5
    x = nn.functional.one_hot(y, 5).double()
    mix = Mixup(0.8)
    mixed = mix(x, generator())
    torch.testing.assert_close(mix.soft_labels(y, 5), mixed)
    shares = mixed.max(dim=1).values
    assert shares.min() >= 0.5 and (shares < 0.9).sum() > 10
    assert torch.equal(mixed.argmax(dim=1)[shares > 0.501], y[shares > 0.501])
    logits = torch.randn(50, 5, generator=generator(), dtype=torch.double)
    expected = -(mixed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(mix.loss(logits, y), expected)


def test_mixup_trains_with_accuracy_defined():
    data, mix = tiny.blobs(), Mixup(0.3)
    net = tiny.mlp()
    history = training.fit(
        net,
        data,
        tiny.blobs(30, seed=1),
        steps=60,
        lr=1e-2,
        recipe=Recipe(augment=mix, objective=Objective(loss=mix.loss)),
    )
    assert history.val_accuracy[history.best_epoch] == 1.0
    assert 0.8 < history.train_accuracy[-1] <= 1.0
    with pytest.raises(CourseError, match="(?s)3 labels.*loss=mix.loss"):
        mix.loss(torch.zeros(3, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(CourseError, match="alpha"):
        Mixup(0.0)
