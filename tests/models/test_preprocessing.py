"""Preprocessing: the numbers a network gets, and what is refused."""

import numpy as np
import pytest
import torch

from course_lib.errors import CourseError
from course_lib.models.preprocessing import Preprocess


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def test_values_are_scaled_and_normalised_by_channel(pixels):
    p = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    expected = (pixels / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.125]
    x = p(pixels)
    assert x.shape == (2, 3, 8, 8) and x.dtype == torch.float32
    np.testing.assert_allclose(x.permute(0, 2, 3, 1), expected, atol=1e-5)


def test_one_image_becomes_a_batch_and_tensors_equal_arrays(pixels):
    p = Preprocess()
    assert torch.equal(p(pixels[0]), p(pixels)[:1])
    assert torch.equal(p(torch.from_numpy(pixels)), p(pixels))


def test_mirrored_views_are_accepted(pixels):
    flipped = pixels[:, :, ::-1]
    assert torch.equal(Preprocess()(flipped), Preprocess()(pixels).flip(3))


def test_bgr_reverses_the_channels_after_normalising(pixels):
    rgb, bgr = Preprocess(), Preprocess(channels="BGR")
    assert torch.equal(bgr(pixels), rgb(pixels).flip(1))
    assert not torch.equal(bgr(pixels), rgb(pixels))


@pytest.mark.parametrize("settings", [{}, {"channels": "BGR"}])
def test_to_images_is_the_inverse(pixels, settings):
    p = Preprocess(**settings)
    np.testing.assert_array_equal(p.to_images(p(pixels)), pixels)


def test_resizing_keeps_proportions_and_cuts_the_centre():
    wide = np.zeros((1, 20, 60, 3), np.uint8)
    wide[:, :, 20:40] = 255  # the central square
    x = Preprocess(size=10, mean=(0, 0, 0), std=(1, 1, 1))(wide)
    assert x.shape == (1, 3, 10, 10)
    assert float(x[..., 2:8].min()) > 0.99


@pytest.mark.parametrize(
    "bad, word",
    [
        (np.zeros((2, 8, 8, 3), np.float32), "uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels last"),
        (np.zeros((8, 8), np.uint8), "N, H, W, 3"),
    ],
)
def test_wrong_input_is_named(bad, word):
    with pytest.raises(CourseError, match=word):
        Preprocess()(bad)


@pytest.mark.parametrize(
    "settings",
    [dict(std=(0, 1, 1)), dict(mean=(0.5,)), dict(channels="GRB"), dict(size=0)],
)
def test_wrong_settings_are_named(settings):
    with pytest.raises(CourseError):
        Preprocess(**settings)
