"""Pseudo-labels: confident predictions."""

import numpy as np
import pytest
import tiny
from tiny import Unreadable

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods.self_training import pseudo_labelled


def test_pseudo_labels_are_the_confident_predictions():
    backbone, data = tiny.resnet(), tiny.images(20)
    outcome = training.evaluate(backbone, data)
    confidence = outcome["probabilities"].max(axis=1)
    threshold = float(np.median(confidence))
    kept, share = pseudo_labelled(backbone, Unreadable(data), threshold)
    rows = np.flatnonzero(confidence >= threshold)
    assert share == len(rows) / 20 == 0.5
    assert np.array_equal(kept.metadata["row"], rows)
    assert np.array_equal(kept.images, data.images[rows])
    assert np.array_equal(kept.labels, outcome["predictions"][rows])
    assert kept.metadata["confidence"] == pytest.approx(confidence[rows])
    assert kept.classes == data.classes
    everything, share = pseudo_labelled(backbone, data.images, 0.0)
    assert share == 1.0 and everything.classes == ("0", "1", "2")
    nothing, share = pseudo_labelled(backbone, data, 1.0)
    assert share == 0.0 and len(nothing) == 0
    with pytest.raises(CourseError, match="threshold=90"):
        pseudo_labelled(backbone, data, 90)
    with pytest.raises(CourseError, match="4 outputs.*3 classes"):
        pseudo_labelled(tiny.resnet(4), data)
