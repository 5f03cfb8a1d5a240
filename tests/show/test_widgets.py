"""Interactive figures: a live widget and a still picture in one output."""

import nbformat
import pytest

from course_lib.course import runner
from course_lib.errors import CourseError
from course_lib.show import plots, widgets


@pytest.fixture
def shown(monkeypatch):
    """What `explore` publishes: (data, metadata)."""
    published = []
    monkeypatch.setattr(
        widgets,
        "publish_display_data",
        lambda data, metadata=None: published.append((data, metadata)),
    )
    return published


def draw(height):
    if height > 8:
        raise CourseError("too high: expected at most 8")
    figure, ax = plots.new()
    ax.bar([0], [height])
    return figure


def alt(height):
    return f"One bar of height {height}."


def test_moving_a_control_draws_the_figure_again(shown, monkeypatch):
    pages = []
    import ipywidgets

    class Page(ipywidgets.HTML):
        def __init__(self, value):
            super().__init__(value)
            pages.append(self)

    monkeypatch.setattr(ipywidgets, "HTML", Page)
    control = widgets.slider("height", 2.0, 1.0, 9.0, 1.0)
    widgets.explore(draw, {"height": control}, alt)
    before = pages[0].value
    assert 'alt="One bar of height 2.0."' in before
    control.value = 3.0
    assert "height 3.0" in pages[0].value and pages[0].value != before
    control.value = 9.0
    assert "too high" in pages[0].value and "<img" not in pages[0].value


def test_the_output_is_a_widget_and_a_picture_of_which_the_picture_is_kept(shown):
    widgets.explore(draw, {"height": widgets.slider("h", 2.0, 1.0, 9.0, 1.0)}, alt)
    (data, metadata) = shown[0]
    assert runner.WIDGET in data and "<img alt=" in data["text/html"]
    cell = nbformat.v4.new_code_cell("explore()")
    cell.outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    (kept,) = runner.normalise(notebook).cells[0].outputs
    assert runner.WIDGET not in kept["data"] and kept["data"]["image/png"]


def test_log_slider_and_choice_have_their_first_values():
    assert widgets.log_slider("rate", 1e-3, -5, -1).value == 1e-3
    assert widgets.choice("model", ("a", "b")).value == "a"
    assert widgets.choice("model", ("a", "b"), "b").value == "b"


def test_explore_without_controls_is_an_error():
    with pytest.raises(CourseError, match="no controls"):
        widgets.explore(draw, {}, alt)
