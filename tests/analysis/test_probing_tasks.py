"""The answers of the probing tasks are right."""

import numpy as np

from course_lib.analysis import orientation, probing_tasks


def plain(colour, n=1, size=16):
    return np.full((n, size, size, 3), colour, dtype=np.uint8)


def test_hues_tell_the_six_main_colours_and_leave_grey_out():
    colours = [(200, 40, 0), (200, 200, 40), (0, 200, 40), (0, 200, 200), (60, 0, 200)]
    images = np.concatenate([plain(c) for c in [*colours, (200, 0, 120), (90, 90, 90)]])
    found = probing_tasks.hues(images)
    assert found[-1] == -1
    assert sorted(found[:-1]) == sorted(set(found[:-1])), "each a hue of its own"


def test_angles_follow_gratings_and_leave_plain_pictures_out():
    waves = orientation.gratings(n_orientations=12, n_phases=1)[1::2, 0]
    assert probing_tasks.angles(waves, bins=6).tolist() == [0, 1, 2, 3, 4, 5]
    assert probing_tasks.angles(plain((90, 90, 90))).tolist() == [-1]


def test_notes_are_repeatable_and_consistent():
    notes = probing_tasks.shift_notes(50, seed=3)
    assert notes.texts == probing_tasks.shift_notes(50, seed=3).texts
    assert notes.texts != probing_tasks.shift_notes(50, seed=4).texts
    for text, again, solved in zip(notes.texts, notes.again, notes.solved):
        assert text.endswith(" again.") == bool(again)
        phrases = probing_tasks.SOLVED if solved else probing_tasks.OPEN
        assert any(f" {phrase} " in text for phrase in phrases)
    assert (notes.step == notes.word // 8).all()


def test_unseen_keeps_every_tested_kind_out_of_the_rest():
    rng = np.random.default_rng(0)
    kinds = rng.integers(8, size=200)
    labels = kinds // 4
    test = probing_tasks.unseen(labels, kinds, seed=1)
    assert not set(kinds[test]) & set(kinds[~test])
    for label in (0, 1):
        assert len(set(kinds[test & (labels == label)])) == 2
