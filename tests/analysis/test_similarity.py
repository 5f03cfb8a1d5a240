"""CKA and orientation selectivity: known values and invariances."""

import numpy as np
import pytest

from course_lib.analysis import orientation, similarity
from course_lib.errors import CourseError

rng = np.random.default_rng(0)


def kernel_cka(X, Y):
    """The definition with Gram matrices and a centring matrix."""
    H = np.eye(len(X)) - 1 / len(X)
    K, L = H @ X @ X.T @ H, H @ Y @ Y.T @ H
    return np.trace(K @ L) / np.sqrt(np.trace(K @ K) * np.trace(L @ L))


@pytest.mark.parametrize("n, p, q", [(50, 6, 9), (10, 40, 7), (10, 40, 30)])
def test_both_forms_equal_the_kernel_definition(n, p, q):
    X, Y = rng.normal(2, 1, (n, p)), rng.normal(-1, 1, (n, q))
    Y[:, : min(p, q)] += X[:, : min(p, q)]
    assert similarity.linear_cka(X, Y) == pytest.approx(kernel_cka(X, Y), abs=1e-10)


def test_invariance_to_rotation_scale_and_shift_but_not_to_stretching():
    X = rng.normal(size=(200, 5))
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    assert similarity.linear_cka(X, 3 * X @ Q + 7) == pytest.approx(1)
    assert similarity.linear_cka(X, X * [1, 1, 1, 1, 30]) < 0.7


def test_unrelated_features_are_near_zero_only_with_many_examples():
    many = similarity.linear_cka(*rng.normal(size=(2, 5000, 5)))
    few = similarity.linear_cka(*rng.normal(size=(2, 20, 100)))
    assert many < 0.01 and few > 0.5


def test_cka_refuses_unequal_rows_and_constants():
    with pytest.raises(CourseError, match="same N"):
        similarity.linear_cka(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(CourseError, match="constant"):
        similarity.linear_cka(np.ones((3, 2)), rng.normal(size=(3, 2)))


def test_selectivity_of_known_units():
    one = np.eye(12)[:, 3]
    flat = np.ones(12)
    theta = np.pi * np.arange(12) / 12
    cosine = 1 + np.cos(2 * (theta - 0.4))  # resultant of exactly one half
    got = orientation.orientation_selectivity(np.stack([one, flat, cosine, 0 * one], 1))
    assert got[:3] == pytest.approx([1, 0, 0.5])
    assert np.isnan(got[3])


def test_selectivity_refuses_negative_responses():
    with pytest.raises(CourseError, match="negative"):
        orientation.orientation_selectivity(-np.ones((4, 2)))


def test_gratings_have_their_orientation_and_wavelength():
    shown = orientation.gratings(n_orientations=4, wavelength=8, n_phases=2, size=32)
    assert shown.shape == (4, 2, 32, 32, 3) and shown.dtype == np.uint8
    grey = shown[..., 0].astype(float)
    assert np.ptp(grey[0, 0], axis=0).max() == 0  # varies along x only
    assert np.ptp(grey[2, 0], axis=1).max() == 0  # varies along y only
    spectrum = np.abs(np.fft.rfft(grey[0, 0, 0] - grey[0, 0, 0].mean()))
    assert spectrum.argmax() == 32 / 8


def test_a_bar_detector_is_tuned_and_a_blob_is_not():
    import tiny
    import torch

    backbone = tiny.resnet()
    weight = torch.zeros_like(backbone.model.conv1.weight)
    x = torch.arange(7) - 3.0
    bar = torch.cos(2 * torch.pi * x / 6)
    weight[0] = (bar - bar.mean())[None, None, :]  # vertical bars: orientation 0
    blob = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / 2)
    weight[1] = blob - blob.mean()
    backbone.model.conv1.weight.data = weight
    tuning = orientation.orientation_tuning(
        backbone, "conv1", n_orientations=8, size=32
    )
    assert tuning.shape == (8, 8)
    assert tuning[:, 0].argmax() == 0
    index = orientation.orientation_selectivity(tuning)
    assert index[0] > 0.5 > 0.1 > index[1]
