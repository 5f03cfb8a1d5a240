"""Lesson 14: what its comparisons rest on, on small inputs."""

import numpy as np
import pytest
import torch

from course_lib.analysis.statistics import Interval
from course_lib.lessons import lesson14, lesson14_drawn, lesson14_pictures
from course_lib.lessons import lesson14_tables as tables
from course_lib.lessons.results import Grid


def test_drawn_stripes_show_their_three_labels():
    x, labels = lesson14_drawn.drawn(200, 0)
    assert x.shape == (200, 3, 24, 24)
    across = x.diff(dim=3).abs().mean(dim=(1, 2, 3))
    along = x.diff(dim=2).abs().mean(dim=(1, 2, 3))
    read = {
        "orientation": across > along,
        "brightness": x.mean(dim=(1, 2, 3)) > 0,
        "colour": x[:, 2].mean(dim=(1, 2)) > x[:, 0].mean(dim=(1, 2)),
    }
    for kind, found in read.items():
        assert (found.numpy() == labels[kind]).mean() > 0.95, kind
    again, _ = lesson14_drawn.drawn(200, 0)
    assert torch.equal(x, again)


def test_views_change_what_they_are_named_for():
    x, _ = lesson14_drawn.drawn(300, 1)
    level = x.mean(dim=(1, 2, 3))
    for name, kept in (("crop", True), ("crop, turns", True), ("crop, levels", False)):
        view = lesson14_drawn.VIEWS[name](x, torch.Generator().manual_seed(0))
        r = np.corrcoef(level, view.mean(dim=(1, 2, 3)))[0, 1]
        assert (r > 0.8) == kept, name
    for target, turned in (("solar", True), ("speech", False)):
        ramp = torch.linspace(-1, 1, 32)[:, None].expand(50, 3, 32, 32)
        view = lesson14_pictures.views(target)(ramp, torch.Generator().manual_seed(0))
        down = view.mean(dim=(1, 3))  # (50, 32)
        upside = (down[:, 0] > down[:, -1]).float().mean()
        assert (upside > 0.1) == turned


def test_rows_with_labels_have_both_classes_and_their_share():
    y = (np.arange(400) % 20 == 0).astype(int)
    for n in (10, 100):
        rows = tables.with_labels(y, n, seed=3)
        assert len(set(rows)) == n and y[rows].sum() == max(2, n // 20)
    X, y = tables.table("digits")
    assert X.shape[1] == 64 and y.mean() == pytest.approx(tables.RARE, abs=0.002)


def test_labels_bought_are_read_from_the_plain_curve_with_both_ends():
    cells = [("frozen", (0.6, 0.7, 0.8)), ("simclr", (0.55, 0.75, 0.9))]
    rows = [
        {"target": "speech", "start": "imagenet", "way": way, "seed": s, "lr": 0.1}
        | {f"accuracy_{n}": v for n, v in zip((3, 10, 20), values)}
        | {"val_accuracy": 0.5}
        for way, values in cells
        for s in range(20 + (way == "frozen"))
    ]
    names = ("ImageNet, continued", "ImageNet, frozen")
    labels, plain = lesson14.curve(
        lesson14.arm(Grid(rows), "speech", names[1]), "speech"
    )
    assert plain.shape == (21, 3)
    assert lesson14.gain(Grid(rows), "speech", *names).mean == pytest.approx(0.05)
    plain = plain.mean(axis=0)
    found = lesson14.bought(labels, plain, 10, Interval(0.05, -0.05, 0.15, 5))
    assert found == "+4 (-5 to beyond +10)"
    found = lesson14.bought(labels, plain, 10, Interval(-0.05, -0.15, 0.0, 5))
    assert found == "-5 (below -7 to 0)"
