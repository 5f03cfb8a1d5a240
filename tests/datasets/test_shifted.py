"""The second fabs of lesson 11: each differs from the first in exactly one way."""

import numpy as np
import pytest

from course_lib import datasets
from course_lib.datasets import shifted, wafer_micrographs
from course_lib.errors import CourseError


@pytest.fixture(scope="module")
def home():
    return wafer_micrographs.render(100, split="pool")


@pytest.mark.parametrize("kind", ["tool", "lighting"])
def test_a_covariate_shift_changes_pictures_and_nothing_else(home, kind):
    there = shifted.shifted(home, kind)
    assert np.array_equal(there.labels, home.labels)
    assert there.images.shape == home.images.shape and there.images.dtype == np.uint8
    assert np.abs(there.images.astype(int) - home.images).mean() > 15
    for column, values in home.metadata.items():
        assert np.array_equal(there.metadata[column], values)


def test_the_tool_blurs_and_adds_noise_in_each_channel(home):
    flat = wafer_micrographs.render(2)
    flat.images[:] = 128
    there = shifted.tool(flat).images / 255
    expected = 128 / 255 * shifted.CAST
    assert np.allclose(there.mean((0, 1, 2)), expected, atol=0.02)
    noise = there - there.mean(axis=2, keepdims=True)  # without the stripes
    assert noise.std() == pytest.approx(0.05, rel=0.1)
    red, green = noise[..., 0].ravel(), noise[..., 1].ravel()
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.05


def test_dark_field_light_inverts(home):
    there = shifted.lighting(home).images.astype(float)
    for one, other in zip(home.images[:20], there):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.2
    assert there.mean() < home.images.mean()


@pytest.mark.slow
def test_the_mix_keeps_pictures_and_sets_the_proportions():
    home = wafer_micrographs.render(400)
    there = shifted.shifted(home, "mix")
    shares = np.bincount(there.labels, minlength=5) / len(there)
    assert np.allclose(shares, shifted.MIX, atol=0.01)
    known = {image.tobytes(): label for image, label in zip(home.images, home.labels)}
    assert all(
        known[image.tobytes()] == label
        for image, label in zip(there.images, there.labels)
    )
    assert len({image.tobytes() for image in there.images}) == len(there)


def test_the_other_labelling_moves_the_short_and_the_small_only(home):
    there = shifted.shifted(home, "labelling")
    assert there.images is home.images or np.array_equal(there.images, home.images)
    moved = there.labels != home.labels
    assert 0.1 < moved.mean() < 0.3
    pairs = set(zip(home.labels[moved].tolist(), there.labels[moved].tolist()))
    assert pairs == {(4, 0), (2, 1)}
    size = home.metadata["defect_size"]
    assert (size[moved & (home.labels == 4)] < shifted.SHORT_CRACK).all()
    assert (size[~moved & (home.labels == 4)] >= shifted.SHORT_CRACK).all()
    assert (home.labels != there.labels).sum() and home.labels[4] == 4


def test_shifts_combine_in_one_order_and_depend_on_the_seed(home):
    one, other = (shifted.shifted(home, k) for k in ("tool + mix", "mix+tool"))
    assert np.array_equal(one.images, other.images)
    again = shifted.shifted(home, "tool", seed=1)
    assert not np.array_equal(again.images, shifted.shifted(home, "tool").images)
    prefix = shifted.shifted(home.subset(np.arange(10)), "tool")
    assert np.array_equal(prefix.images, shifted.shifted(home, "tool").images[:10])


def test_the_original_is_left_alone(home):
    before = home.images.copy(), home.labels.copy()
    for kind in shifted.KINDS:
        shifted.shifted(home, kind)
    shifted.marked(home, [1.0] * 5)
    assert np.array_equal(home.images, before[0])
    assert np.array_equal(home.labels, before[1])


def test_the_mark_stands_in_a_corner_as_often_as_asked(home):
    there = shifted.marked(home, [0.0, 1.0, 0.5, 0.0, 0.0])
    mark = there.metadata["mark"]
    assert not mark[np.isin(home.labels, (0, 3, 4))].any()
    assert mark[home.labels == 1].all()
    assert 0 < mark[home.labels == 2].mean() < 1
    changed = (there.images != home.images).any(axis=3)  # (N, 64, 64)
    assert np.array_equal(changed.any(axis=(1, 2)), mark)
    cut = shifted.CORNER
    assert not changed[:, cut:-cut].any() and not changed[:, :, cut:-cut].any()
    corners = {
        tuple(np.argwhere(picture).mean(axis=0) > 32) for picture in changed[mark]
    }
    assert len(corners) == 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: shifted.shifted(d, "weather"), "no shift 'weather'"),
        (lambda d: shifted.shifted(d, "tool + rain"), "no shift 'rain'"),
        (lambda d: shifted.shifted(datasets.load("digits"), "tool"), "wafer microg"),
        (lambda d: shifted.marked(d, [0.5] * 4), "each of the 5 classes"),
        (lambda d: shifted.marked(d, [0.5, 2, 0, 0, 0]), "a probability"),
    ],
)
def test_bad_input_is_named(home, call, words):
    with pytest.raises(CourseError, match=words):
        call(home)
