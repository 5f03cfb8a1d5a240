"""The pyramid head: linear, so that the order of its steps does not matter."""

import pytest
import torch
from tiny import generator
from torch.nn.functional import conv2d, interpolate

from course_lib.methods import segmentation
from course_lib.methods.segmentation import PyramidHead, Scaled


def maps(seed=0):
    gen = generator(seed)
    shapes = ((2, 3, 16, 16), (2, 5, 8, 8), (2, 7, 4, 4))
    return [torch.randn(*shape, generator=gen) for shape in shapes]


def test_the_pyramid_is_that_of_timm():
    import timm

    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0").eval()
    levels = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    levels.load_state_dict(net.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 64, generator=generator())
    with torch.no_grad():
        found, expected = segmentation.pyramid(net, x), levels(x)
    assert [m.shape[2] for m in found] == [32, 16, 8, 4, 2]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_head_is_one_convolution_of_the_enlarged_maps():
    head, levels = PyramidHead((3, 5, 7), outputs=2, seed=1), maps()
    large = [interpolate(m, (16, 16), mode="bilinear") for m in levels]
    weight = torch.cat([score.weight for score in head.scores], dim=1)
    bias = sum(score.bias for score in head.scores)
    plain = conv2d(torch.cat(large, dim=1), weight, bias)
    plain = interpolate(plain, (32, 32), mode="bilinear")
    assert torch.allclose(head(levels, (32, 32)), plain, atol=1e-5)


def test_scaled_maps_have_mean_0_and_deviation_1():
    scale = Scaled(maps())
    for m in scale(maps()):
        assert float(m.mean((0, 2, 3)).abs().max()) < 1e-5
        assert m.std((0, 2, 3)) == pytest.approx(torch.ones(m.shape[1]), abs=1e-4)
    other = scale(maps(seed=1))
    assert float(other[2].mean((0, 2, 3)).abs().max()) > 0.05  # not by its own


def test_iou_of_known_masks():
    masks = torch.tensor([[1.0, 1, 0, 0]])
    assert segmentation.iou(torch.tensor([[5.0, -5, 5, -5]]), masks) == 1 / 3
    assert segmentation.iou(masks - 0.5, masks) == 1
    assert segmentation.iou(torch.full((1, 4), -1.0), torch.zeros(1, 4)) == 0


def test_fitting_keeps_the_best_weights_of_validation():
    levels, seen = maps(), []
    wanted = (levels[0][:, :1] > 0).float()
    head = PyramidHead((3, 5, 7))

    def validate():
        seen.append(segmentation.iou(head(levels, (16, 16)), wanted))
        return seen[-1]

    best = segmentation.fit(
        lambda rows: head([m[rows] for m in levels], (16, 16)),
        head,
        wanted,
        validate,
        steps=60,
        lr=0.05,
    )
    assert len(seen) == 6 and best == max(seen) > 0.8
    assert validate() == best and not head.training
