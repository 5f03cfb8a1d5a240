"""The figures of lessons draw what they are given."""

import numpy as np

from course_lib.lessons import (
    lesson03,
    lesson04,
    lesson05,
    lesson08,
    lesson09,
    lesson13,
)
from course_lib.lessons.results import Grid


def bars(ax):
    return [round(patch.get_width(), 6) for patch in ax.patches]


def test_a_step_is_shown_by_part_and_one_depth_is_marked():
    parts = [(4.0, 8.0, 16.0), (4.0, 2.0, 1.0)]
    fig = lesson03.depth_figure(("nothing", "stem"), [2_000_000, 500_000], parts, 1, 32)
    left, right = fig.axes
    assert bars(left) == [2.0, 0.5] and bars(right) == [4, 8, 16, 4, 2, 1]
    assert [round(patch.get_x()) for patch in right.patches] == [0, 4, 12, 0, 4, 6]
    assert [patch.get_alpha() for patch in left.patches] == [0.45, 1.0]
    assert left.get_title(loc="left") == "up to stem: 500,000 learn"
    assert right.get_title(loc="left") == "7 MB of 28"


def test_the_best_rate_of_each_way_is_a_large_mark():
    rows = [
        dict(lr=lr, seed=s, accuracy=lr + s, val_accuracy=lr, source_texture=1 - lr)
        for s in (1, 0)
        for lr in (0.1, 0.2)
    ]
    fig = lesson04.trade_off_figure({"flat": Grid(rows)}, (0.5, 0.9))
    every, best = fig.axes[0].collections
    assert every.get_offsets()[:, 0].tolist() == [0.1, 0.2, 1.1, 1.2]  # by seed
    assert np.allclose(best.get_offsets(), [[0.7, 0.8]])


def test_costs_are_sorted_and_those_that_do_not_show_are_light():
    costs = {"free": np.array([-1.0, 1.0, 0.5]), "dear": np.array([9.0, 10.0, 11.0])}
    fig = lesson05.cost_figure(costs, "Here")
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dear", "free"]
    dear, free = (patch.get_facecolor() for patch in ax.patches)
    assert dear != free
    assert "Here: 2 measurements; no cost shows in 1" in fig.get_suptitle()


def test_methods_stand_at_what_they_train():
    rows = Grid(
        dict(method=m, lr=1, seed=s, accuracy=0.1 * s, val_accuracy=0, trainable=10 + i)
        for i, m in enumerate(lesson08.METHODS)
        for s in (0, 1, 2)
    )
    text, images = lesson09.accuracy_figure({"text": rows, "images": rows}).axes
    assert [c.lines[0].get_xdata()[0] for c in text.containers] == list(range(10, 19))
    assert {round(c.lines[0].get_ydata()[0], 6) for c in images.containers} == {0.1}


def test_the_ledger_is_stacked_by_verdict():
    counts = np.array([[2, 1], [1, 0]])
    (ax,) = lesson13.ledger_figure(["00", "01"], counts, ("confirmed", "refuted")).axes
    heights = [(patch.get_y(), patch.get_height()) for patch in ax.patches]
    assert heights == [(0, 2), (0, 1), (2, 1), (1, 0)]
    assert ax.get_title(loc="left") == "Of 4 claims 3 came out as told"
