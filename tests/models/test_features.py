"""Feature taps: activations, receptive fields, patches and cached features."""

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import features


@pytest.fixture(scope="module")
def resnet():
    return tiny.resnet()


@pytest.fixture(scope="module")
def data():
    return tiny.images(20)


def test_activations_are_what_the_layers_give(resnet, data):
    x = resnet.preprocess(data.images[:2])
    seen = features.activations(resnet, x, ["stem", "layer1", "layer4", "fc"])
    with torch.no_grad():
        m = resnet.model.eval()
        stem = m.maxpool(m.relu(m.bn1(m.conv1(x))))
        layer1 = m.layer1(stem)
    torch.testing.assert_close(seen["stem"], stem)
    torch.testing.assert_close(seen["layer1"], layer1)
    torch.testing.assert_close(seen["fc"], m(x).detach())


def test_a_tap_before_an_in_place_relu_keeps_negative_values(resnet, data):
    x = resnet.preprocess(data.images[:2])
    assert float(features.activations(resnet, x, ["bn1"])["bn1"].min()) < 0


def test_activations_leave_mode_statistics_and_hooks_alone(data):
    backbone = tiny.resnet()
    backbone.model.train()
    backbone.model.layer1.eval()
    before = backbone.model.bn1.running_mean.clone()
    features.activations(backbone, backbone.preprocess(data.images), ["layer1"])
    assert torch.equal(backbone.model.bn1.running_mean, before)
    assert backbone.model.bn1.training and not backbone.model.layer1[0].bn1.training
    assert not any(m._forward_hooks for m in backbone.model.modules())


def test_unknown_places_are_named(resnet):
    with pytest.raises(CourseError, match="layer9"):
        features.activations(resnet, torch.zeros(1, 3, 32, 32), ["layer9"])


def test_filters_are_scaled_around_grey():
    conv = nn.Conv2d(3, 4, 5)
    conv.weight.data[0] = 0
    shown = features.filters(conv)
    assert shown.shape == (4, 5, 5, 3)
    assert np.all(shown[0] == 0.5)
    assert np.allclose(np.abs(shown[1:] - 0.5).max(axis=(1, 2, 3)), 0.5)
    with pytest.raises(CourseError, match="first"):
        features.filters(nn.Conv2d(8, 4, 3))


def plain_stack():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, stride=2, padding=3),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    )


def test_theoretical_receptive_field_by_hand():
    rows = features.receptive_field(plain_stack())
    # rf: 7; 7 + 2 * 2 = 11; 11 + 4 * 4 = 27.  jump: 2; 4; 4.
    assert [(row["rf"], row["jump"]) for row in rows] == [(7, 2), (11, 4), (27, 4)]
    assert [row["start"] for row in rows] == [0.0, 0.0, 0.0]


def test_theoretical_receptive_field_of_a_public_resnet():
    from torchvision.models import resnet18, resnet50

    stages = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
    with torch.device("meta"):
        rows = {m: features.receptive_field(m(), stages) for m in (resnet18, resnet50)}
    # Figures of Araujo et al. 2019, "Computing Receptive Fields of CNNs".
    assert rows[resnet18][-1]["rf"] == 435 and rows[resnet50][-1]["rf"] == 427
    assert [row["jump"] for row in rows[resnet18]] == [4, 4, 8, 16, 32]


def test_a_downsampling_on_the_main_path_counts():
    import timm

    net = timm.create_model("convnext_atto", pretrained=False)
    rows = features.receptive_field(net, [f"stages.{i}" for i in range(4)])
    assert [row["jump"] for row in rows] == [4, 8, 16, 32]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_measured_extent_is_the_theoretical_field(index):
    net = plain_stack().double().float()
    theory = features.receptive_field(net, [str(index)])[0]["rf"]
    seen = features.measured_receptive_field(net, str(index), size=63, n=16)
    assert abs(seen["extent"] - theory) <= 2
    assert 0 < seen["effective"] <= seen["extent"]
    assert seen["map"].shape == (63, 63) and seen["map"].max() == 1


def test_measured_field_never_exceeds_theory_in_a_residual_network(resnet):
    for stage in ("stem", "layer1"):
        theory = features.receptive_field(resnet, [stage])[0]["rf"]
        seen = features.measured_receptive_field(resnet, stage, size=64)
        assert theory - 2 <= seen["extent"] <= theory


def test_attention_sees_everything():
    backbone = tiny.vit()
    with pytest.raises(CourseError, match="measured_receptive_field"):
        features.receptive_field(backbone)
    seen = features.measured_receptive_field(backbone, "block1", size=32)
    assert seen["extent"] == 32
    patch = features.measured_receptive_field(backbone, "stem", size=32)
    assert patch["extent"] == 8


def test_extract_equals_the_input_of_the_head(resnet, data):
    got = features.extract(resnet, data, batch_size=7)
    x = resnet.preprocess(data.images)
    with torch.no_grad():
        m = resnet.model.eval()
        maps = m.maxpool(m.relu(m.bn1(m.conv1(x))))
        for stage in (m.layer1, m.layer2, m.layer3, m.layer4):
            maps = stage(maps)
    np.testing.assert_allclose(got, maps.mean(dim=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(
        features.extract(resnet, data, module="layer4"), got, atol=1e-5
    )
    assert got.dtype == np.float32


def test_extract_pools_tokens_of_a_transformer(data):
    backbone = tiny.vit()
    assert features.extract(backbone, data).shape == (20, 24)
    tokens = features.activations(
        backbone, backbone.preprocess(data.images), ["block1"]
    )["block1"]
    np.testing.assert_allclose(
        features.extract(backbone, data, module="block1"), tokens.mean(1), atol=1e-5
    )
    first = features.extract(backbone, data, module="block1", pool=lambda t: t[:, 0])
    np.testing.assert_allclose(first, tokens[:, 0], atol=1e-5)


def test_maps_with_channels_last_are_pooled_over_space(data):
    from torchvision.models import SwinTransformer

    torch.manual_seed(0)
    net = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [2, 2], num_classes=3).eval()
    got = features.extract(net, data, module="features.1", preprocess=tiny.PREPROCESS)
    assert got.shape == (20, 24)


def test_padding_does_not_change_the_features_of_a_text():
    output = torch.randn(1, 3, 4)
    padded = torch.cat([output, torch.full((1, 2, 4), 9.0)], dim=1)
    mask = {"attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    torch.testing.assert_close(features.pooled(padded, mask), output.mean(1))


def test_extract_refuses_what_it_cannot_know(resnet, data):
    with pytest.raises(CourseError, match="no data"):
        features.extract(resnet, data.images[:0])
    with pytest.raises(CourseError, match="preprocess"):
        features.extract(resnet.model, data)
    with pytest.raises(CourseError, match="module="):
        features.extract(resnet.model, data, preprocess=tiny.PREPROCESS)
