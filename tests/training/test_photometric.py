"""Augmentations of a picture's values, one by one."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import generator

from course_lib import training
from course_lib.methods import self_supervised
from course_lib.training import photometric
from course_lib.training.mixup import Mixup


@pytest.mark.parametrize(
    "augment",
    [
        photometric.random_noise(0.5),
        photometric.random_blur(1.5),
        photometric.random_grey(0.5),
        photometric.random_colour(0.4),
        Mixup(0.5),
        self_supervised.default_views(),
        training.random_resized_crop(),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_augmentations_keep_shape_and_type_and_follow_the_generator(augment, dtype):
    x = torch.randn(9, 3, 12, 10, generator=generator()).to(dtype)
    kept = x.clone()
    torch.manual_seed(0)
    first, again, other = (augment(x, generator(s)) for s in (1, 1, 2))
    assert first.shape == x.shape and first.dtype == dtype
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(x, kept)
    changes = (first - x).abs().flatten(1).amax(dim=1)
    assert len(changes.unique()) > 3  # images are treated differently
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    augment(x, generator())
    assert torch.equal(torch.rand(1), expected)


def test_noise_is_white_and_of_many_strengths():
    x = torch.zeros(200, 3, 16, 16)
    strength = photometric.random_noise(0.4)(x, generator()).flatten(1).std(dim=1)
    assert strength.max() < 0.42 and strength.min() < 0.05
    assert float(strength.mean()) == pytest.approx(0.2, abs=0.03)


def test_blur_is_a_gaussian_of_the_drawn_width():
    x = torch.randn(6, 3, 14, 11, generator=generator(), dtype=torch.double)
    blurred = photometric.random_blur(1.5)(x, generator(4))
    sigmas = 1.5 * torch.rand(6, generator=generator(4))
    assert float(sigmas.max()) > 0.8
    for image, out, sigma in zip(x, blurred, sigmas.tolist()):
        for channel, got in zip(image.numpy(), out.numpy()):
            expected = ndimage.gaussian_filter(channel, sigma, radius=5, mode="nearest")
            np.testing.assert_allclose(got, expected, atol=1e-6)
    assert torch.equal(photometric.random_blur(0.0)(x, generator()), x)


def test_grey_is_the_mean_of_the_channels_for_some():
    x = torch.randn(300, 3, 4, 4, generator=generator())
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    assert torch.equal(photometric.random_grey(1.0)(x, generator()), grey)
    assert torch.equal(photometric.random_grey(0.0)(x, generator()), x)
    some = photometric.random_grey(0.3)(x, generator())
    turned = (some == grey).flatten(1).all(1)
    assert 60 < turned.sum() < 120 and torch.equal(some[~turned], x[~turned])


def test_colour_is_what_it_says():
    x = torch.randn(40, 3, 6, 6, generator=generator(), dtype=torch.double)
    tinted = photometric.random_colour(0.3)(x, generator()).flatten(2)
    centred = x.flatten(2) - x.flatten(2).mean(dim=2, keepdim=True)
    gain = (tinted * centred).sum(dim=2) / (centred**2).sum(dim=2)  # (N, C)
    offset = (tinted - gain[..., None] * x.flatten(2)).mean(dim=2)
    torch.testing.assert_close(
        tinted, gain[..., None] * x.flatten(2) + offset[..., None]
    )
    for drawn in (gain - 1, offset):
        assert 0.25 < drawn.abs().max() <= 0.3 and drawn.std(dim=1).min() > 1e-3
