"""BatchNorm statistics of the target, and the mean of several views."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from tiny import Unreadable, moved, state
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods import test_time
from course_lib.models import features
from course_lib.models.backbone import Backbone
from course_lib.training import freezing


def inputs_by_hand(backbone, images):
    """Running statistics in float64: everything in one batch, momentum one."""
    net = copy.deepcopy(backbone.model).double().train()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net(backbone.preprocess(images).double())
    return {k: v for k, v in net.state_dict().items() if "running" in k}


@pytest.mark.parametrize("batch_size", [7, 64])
def test_adapted_statistics_are_those_of_all_target_images(batch_size):
    backbone, target = tiny.resnet(), tiny.images(15, seed=2)  # 7 + 7 + 1
    before = state(backbone)
    adapted = test_time.adapt_batchnorm(backbone, Unreadable(target), batch_size)
    after, expected = state(adapted), inputs_by_hand(backbone, target.images)
    for name, value in expected.items():
        assert float((after[name] - value).abs().max()) < 1e-5
    assert not moved(before, backbone)
    assert moved(before, adapted) == set(expected) and not adapted.model.training
    x = backbone.preprocess(target.images).double().numpy()
    weight = backbone.model.conv1.weight.detach().double()
    maps = nn.functional.conv2d(torch.tensor(x), weight, stride=2, padding=3).numpy()
    np.testing.assert_allclose(
        after["bn1.running_mean"], maps.mean(axis=(0, 2, 3)), atol=1e-5
    )
    np.testing.assert_allclose(
        after["bn1.running_var"], maps.var(axis=(0, 2, 3), ddof=0), rtol=2e-3
    )


def test_frozen_layers_adapt_too_and_momentum_moves_part_of_the_way():
    backbone = freezing.freeze_backbone(tiny.resnet())
    freezing.freeze_batchnorm(backbone)
    target = tiny.images(9, seed=2)
    before = backbone.model.bn1.running_mean.clone()
    exact = test_time.adapt_batchnorm(backbone, target)
    partly = test_time.adapt_batchnorm(backbone, target, momentum=0.25)
    moment = exact.model.bn1.running_mean
    torch.testing.assert_close(
        partly.model.bn1.running_mean, 0.75 * before + 0.25 * moment
    )
    assert partly.model.bn1.momentum == backbone.model.bn1.momentum
    assert not any(layer.training for layer in partly.model.modules())


def test_adapted_statistics_undo_another_camera():
    """Half the contrast about the mean colour: the same features after adaptation."""
    backbone, data = tiny.resnet(), tiny.images(12)
    backbone = test_time.adapt_batchnorm(backbone, data)
    dim = replace(data, images=(data.images // 2 + 64).astype(np.uint8))
    reference = features.extract(backbone, data)
    scale = np.linalg.norm(reference - reference.mean(axis=0))
    apart = np.linalg.norm(features.extract(backbone, dim) - reference)
    adapted = test_time.adapt_batchnorm(backbone, dim)
    near = np.linalg.norm(features.extract(adapted, dim) - reference)
    assert near < 0.25 * apart and apart > 0.5 * scale


def test_statistics_that_cannot_be_adapted():
    with pytest.raises(CourseError, match="(?s)tiny/vit has no BatchNorm.*LayerNorm"):
        test_time.adapt_batchnorm(tiny.vit(), tiny.images(4))
    for options in ({"momentum": 0.0}, {"momentum": 1.5}):
        with pytest.raises(CourseError, match="momentum"):
            test_time.adapt_batchnorm(tiny.resnet(), tiny.images(4), **options)
    with pytest.raises(CourseError, match="one image"):
        test_time.adapt_batchnorm(tiny.resnet(), tiny.images(1))


def test_predictions_over_eight_views_do_not_depend_on_the_orientation():
    backbone, data = tiny.resnet(), tiny.images(5)
    scores = test_time.predict_tta(backbone, Unreadable(data), batch_size=2)
    assert scores.shape == (5, 3) and scores.dtype == np.float32
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    turned = np.ascontiguousarray(np.rot90(data.images, 1, (1, 2))[:, :, ::-1])
    np.testing.assert_allclose(
        test_time.predict_tta(backbone, turned), scores, atol=1e-4
    )
    single = [
        training.evaluate(backbone, (images, data.labels))["probabilities"]
        for images in (data.images, turned)
    ]
    assert abs(single[0] - single[1]).max() > 1e-3
    pair = [lambda x: x, lambda x: x.flip(3)]
    by_hand = [
        training.evaluate(backbone, (im, data.labels))["probabilities"]
        for im in (data.images, np.ascontiguousarray(data.images[:, :, ::-1]))
    ]
    np.testing.assert_allclose(
        test_time.predict_tta(backbone, data, pair),
        np.log(np.mean(by_hand, axis=0)),
        atol=1e-4,
    )
    with pytest.raises(CourseError, match="no views"):
        test_time.predict_tta(backbone, data, [])


def test_a_network_without_orientation_gains_nothing_from_views():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    backbone = Backbone(net, tiny.PREPROCESS, "tiny/mean", "vision", "2", {}, 3)
    data = tiny.images(4)
    plain = torch.tensor(training.predict(backbone, data)).log_softmax(dim=1)
    np.testing.assert_allclose(test_time.predict_tta(backbone, data), plain, atol=1e-5)
    x = torch.arange(9.0).view(1, 1, 3, 3)
    seen = {tuple(v(x).flatten().tolist()) for v in test_time.dihedral_views()}
    assert len(seen) == 8


def small_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )


def test_tent_moves_scales_and_offsets_alone_and_lowers_the_entropy():
    net, x = small_network(), torch.randn(96, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    logits = torch.tensor(
        test_time.tent(net, x, batch_size=32, lr=0.01, passes=20, seed=1)
    )
    assert logits.shape == (20, 96, 3)
    entropy = -(logits.softmax(2) * logits.log_softmax(2)).sum(2).mean(1)
    assert entropy[-1] < entropy[0] - 0.05
    changed = {n for n, v in net.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"1.weight", "1.bias"}


def test_tent_without_a_rate_is_the_batches_own_statistics():
    net, x = small_network(), torch.randn(40, 6)
    found = test_time.tent(net, x, batch_size=40, lr=0.0)[0]
    with torch.no_grad():
        assert np.allclose(found, small_network().train()(x), atol=1e-5)


def test_tent_wants_a_batchnorm():
    with pytest.raises(CourseError, match="no BatchNorm"):
        test_time.tent(torch.nn.Linear(2, 2), torch.zeros(4, 2))
