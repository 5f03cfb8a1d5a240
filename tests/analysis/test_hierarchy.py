"""The helpers of lesson 01 answer known questions rightly."""

import numpy as np
import pytest

from course_lib.analysis import hierarchy, similarity
from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.models.backbone import vision
from course_lib.show import plots


def plain(colour, n=1, size=16):
    return np.full((n, size, size, 3), colour, dtype=np.uint8)


def test_hues_tell_the_six_main_colours_and_leave_grey_out():
    colours = [(200, 40, 0), (200, 200, 40), (0, 200, 40), (0, 200, 200), (60, 0, 200)]
    images = np.concatenate([plain(c) for c in [*colours, (200, 0, 120), (90, 90, 90)]])
    found = hierarchy.hues(images)
    assert found[-1] == -1
    assert sorted(found[:-1]) == sorted(set(found[:-1])), "each a hue of its own"


def test_angles_follow_gratings_and_leave_plain_pictures_out():
    waves = similarity.gratings(n_orientations=12, n_phases=1)[1::2, 0]
    assert hierarchy.angles(waves, bins=6).tolist() == [0, 1, 2, 3, 4, 5]
    assert hierarchy.angles(plain((90, 90, 90))).tolist() == [-1]


def test_pooled_gives_mean_and_maximum_of_every_stage():
    backbone = zoo.load("bundled/resnet10-patterns")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    mean, peak = hierarchy.pooled(backbone, images, batch_size=2)
    assert list(mean) == list(peak) == list(backbone.stages)
    assert mean["layer4"].shape == (5, backbone.num_features)
    assert (peak["layer2"] >= mean["layer2"]).all()
    whole, _ = hierarchy.pooled(backbone, images)
    assert np.allclose(whole["layer4"], mean["layer4"], atol=1e-4)


def test_notes_are_repeatable_and_consistent():
    notes = hierarchy.shift_notes(50, seed=3)
    assert notes.texts == hierarchy.shift_notes(50, seed=3).texts
    assert notes.texts != hierarchy.shift_notes(50, seed=4).texts
    for text, again, solved in zip(notes.texts, notes.again, notes.solved):
        assert text.endswith(" again.") == bool(again)
        phrases = hierarchy.SOLVED if solved else hierarchy.OPEN
        assert any(f" {phrase} " in text for phrase in phrases)
    assert (notes.step == notes.word // 8).all()


def test_unseen_keeps_every_tested_kind_out_of_the_rest():
    rng = np.random.default_rng(0)
    kinds = rng.integers(8, size=200)
    labels = kinds // 4
    test = hierarchy.unseen(labels, kinds, seed=1)
    assert not set(kinds[test]) & set(kinds[~test])
    for label in (0, 1):
        assert len(set(kinds[test & (labels == label)])) == 2


def test_figures_have_a_line_for_each_label():
    series = {"a": np.array([[0.1, 0.5], [0.2, 0.6]]), "b": [[0.3, 0.3]]}
    fig = hierarchy.by_stage(
        series, ["s", "t"], "title", "y", chance=0.2, legend="outside"
    )
    assert len(plots.png_bytes(fig)) > 1000
    fig = hierarchy.panels(
        {"p": series, "q": series}, ["s", "t"], "title", "y", {"p": 0.1, "q": 0.1}
    )
    assert [ax.get_title(loc="left") for ax in fig.axes[:2]] == ["p", "q"]


def test_pooled_refuses_a_network_without_maps():
    pytest.importorskip("timm")
    from course_lib.models.preprocessing import Preprocess
    from course_lib.pretraining.architectures import small_vit

    model = small_vit(5)
    backbone = vision(model, Preprocess(), "vit", {})
    with pytest.raises(CourseError, match="convolutional"):
        hierarchy.pooled(backbone, np.zeros((2, 64, 64, 3), np.uint8))
