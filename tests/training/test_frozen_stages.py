"""Frozen stages that run once: the same training as with stages that run each time."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.training import freezing, small_maps
from course_lib.training.frozen_stages import MIRRORED, FrozenStages
from tests import tiny

OPTIONS = dict(epochs=3, lr=1e-3, seed=1, recipe=training.Recipe(batch_size=8))


def pictures(net, data):
    """What plain training sees: every picture, then every picture mirrored."""
    x = net.preprocess(data.images)
    return torch.cat([view(x) for view in MIRRORED]), np.tile(data.labels, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, stage",
    [
        (tiny.resnet, "stem"),
        (tiny.resnet, "layer2"),
        (tiny.resnet, "layer4"),
        (tiny.resnet, "layer3.0"),
        (tiny.vit, "block1"),
    ],
)
def test_the_losses_are_those_of_plain_training(make, stage):
    data, plain, stored = tiny.images(), make(), make()
    freezing.freeze_until(plain, stage)
    expected = training.fit(plain, pictures(plain, data), **OPTIONS)
    frozen = FrozenStages(stored, stage, data.images)
    outputs, labels = frozen.run(data, MIRRORED, dtype=torch.float32)
    half, _ = frozen.run(data, MIRRORED)
    assert torch.equal(half, outputs.half())  # rounded, and nothing else
    found = training.fit(frozen.upper, (outputs, labels), **OPTIONS)
    assert found.train_loss == pytest.approx(expected.train_loss, abs=1e-5)
    assert found.train_loss[-1] < found.train_loss[0]
    # the backbone itself was trained, and answers as the plainly trained one does
    ours, theirs = (training.evaluate(net, data)["loss"] for net in (stored, plain))
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_half_precision_changes_the_loss_by_its_rounding_alone():
    data, losses = tiny.images(), []
    for dtype in (torch.float32, torch.float16):
        backbone = tiny.resnet()
        frozen = FrozenStages(backbone, "layer1", data.images)
        losses.append(training.evaluate(frozen.upper, frozen.run(data, dtype=dtype)))
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=1e-3)
    assert losses[1]["loss"] != losses[0]["loss"]


def test_bfloat16_changes_the_output_by_its_rounding_alone():
    data, backbone = tiny.images(), tiny.resnet()
    frozen = FrozenStages(backbone, "layer2", data.images)
    exact, _ = frozen.run(data)
    rounded, _ = frozen.run(data, amp="bf16")
    error = (rounded.float() - exact.float()).norm() / exact.float().norm()
    assert 1e-4 < error < 0.05
    native, _ = frozen.run(data, amp="native")  # one or the other, by the processor
    assert torch.equal(native, rounded) or torch.equal(native, exact)


def test_frozen_layers_stay_as_they_were():
    data, backbone = tiny.images(), tiny.resnet()
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    frozen = FrozenStages(backbone, "layer2", data.images)
    training.fit(frozen.upper, frozen.run(data), **OPTIONS)
    changed = {
        name.split(".")[0]
        for name, value in backbone.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"layer3", "layer4", "fc"}


def test_more_than_the_memory_goes_to_a_file_and_gives_the_same():
    data, backbone = tiny.images(), tiny.resnet()
    frozen = FrozenStages(backbone, "layer1", data.images)
    held, labels = frozen.run(data, MIRRORED)
    mapped, again = frozen.run(data, MIRRORED, memory=0)
    assert held.dtype == mapped.dtype == torch.float16
    assert torch.equal(held, mapped) and torch.equal(labels, again)
    assert len(held) == 2 * len(data)
    rows = training.fit(frozen.upper, (mapped, labels), **OPTIONS).train_loss
    assert rows[-1] < rows[0]


def test_no_room_says_how_much_is_needed(monkeypatch):
    data, backbone = tiny.images(), tiny.resnet()
    frozen = FrozenStages(backbone, "layer1", data.images)
    nothing = type("usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda _: nothing)
    with pytest.raises(CourseError, match=r"takes \d+ MB"):
        frozen.run(data, memory=0)


def test_numbers_that_half_precision_cannot_hold():
    data, backbone = tiny.images(), tiny.resnet()
    with torch.no_grad():
        for parameter in backbone.model.layer1.parameters():
            parameter.mul_(1e6)
    frozen = FrozenStages(backbone, "layer1", data.images)
    with pytest.raises(CourseError, match="float32"):
        frozen.run(data)


def test_a_stage_that_runs_twice_is_refused():
    backbone, net = tiny.resnet(), nn.Conv2d(3, 3, 1)
    backbone.model = nn.Sequential(net, net, nn.Flatten(), nn.Linear(3072, 3))
    with pytest.raises(CourseError, match="once"):
        FrozenStages(backbone, "0", tiny.images().images)


@pytest.mark.parametrize("again, folded", [(0.0, True), (1.0, False)])
def test_frozen_norms_are_folded_unless_the_answer_would_change(again, folded):
    """``again``: how much of the convolution's output is read a second time."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.join, self.fc = nn.Identity(), nn.Linear(4, 3)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(1, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.fc(self.join(self.norm(x) + again * x).mean((2, 3)))

    data, backbone, ran = tiny.images(), tiny.resnet(), []
    torch.manual_seed(0)
    backbone.model, backbone.stages = Net(), {}
    frozen = FrozenStages(backbone, "join", data.images)
    net = backbone.model.eval()
    net.norm.register_forward_hook(lambda _, inputs, __: ran.append(len(inputs[0])))
    found, _ = frozen.run(data, dtype=torch.float32)
    assert (sum(ran) < len(data)) == folded
    with torch.no_grad():
        x = net.conv(backbone.preprocess(data.images))
        torch.testing.assert_close(found, net.norm(x) + again * x)


class Skipping(nn.Module):
    """A network whose last layer reads the first one's output too."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        first = self.first(x)
        joined = torch.cat([first, self.second(first)], 1)
        return self.fc(joined.mean((2, 3)))


class Reversed(nn.Module):
    """A network that registers its head first."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


@pytest.mark.parametrize(
    "network, stage, message",
    [
        (Skipping, "second", "skip connection"),
        (Reversed, "first", "order in which they run"),
    ],
)
def test_networks_that_cannot_be_split_are_refused(network, stage, message):
    backbone = tiny.resnet()
    backbone.model, backbone.stages = network(), {}
    with pytest.raises(CourseError, match=message):
        FrozenStages(backbone, stage, tiny.images().images)


@pytest.mark.parametrize("kernel, stride, size", [(5, 1, 3), (5, 2, 7), (7, 1, 5)])
def test_a_depthwise_convolution_as_matrices(kernel, stride, size):
    torch.manual_seed(0)
    options = dict(stride=stride, padding=kernel // 2, groups=6, bias=False)
    conv = nn.Conv2d(6, 6, kernel, **options)
    x = torch.randn(4, 6, size, size).contiguous(memory_format=torch.channels_last)
    results = []
    for layer in (conv, small_maps.Depthwise(conv)):
        inputs = x.clone().requires_grad_()
        out = layer(inputs)
        conv.weight.grad = None
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        results.append((out, inputs.grad, conv.weight.grad))
    for ours, theirs in zip(results[1], results[0]):
        torch.testing.assert_close(ours, theirs)


def test_only_what_gains_is_replaced():
    net = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, groups=8, bias=False),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(8, 4, 1, stride=2),
    )
    kinds = [type(layer).__name__ for layer in small_maps.as_matrices(net)]
    assert kinds == ["Conv2d", "Depthwise", "Pointwise", "Conv2d"]
