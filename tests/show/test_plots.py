"""Figures: alternative text, size, repeatable bytes, and what they draw."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from course_lib.errors import CourseError
from course_lib.show import plots
from course_lib.training import History

rng = np.random.default_rng(0)


def curves():
    return plots.line_with_spread(
        [25, 100, 400],
        {"scratch": rng.random((3, 3)), "pretrained": rng.random((3, 3))},
        xlabel="labels",
        ylabel="accuracy",
        title="Finding",
        log_x=True,
    )


def photographs(n=8, size=120):
    noise = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return plots.image_grid(noise, titles=[str(i) for i in range(n)], title="Noise")


HISTORY = History(
    epoch=[1, 2, 3],
    train_loss=[3, 2, 1],
    train_accuracy=[0.2, 0.4, 0.6],
    val_loss=[3, 1, 2],
    val_accuracy=[0.3, 0.6, 0.5],
    best_epoch=1,
)
FIGURES = {
    "curves": curves,
    "bars": lambda: plots.bars_with_spread(
        {"a": [0.5, 0.6, 0.7], "b": [0.9]}, ylabel="accuracy", title="t"
    ),
    "history": lambda: plots.history({"one": HISTORY, "two": HISTORY}, title="t"),
    "confusion": lambda: plots.confusion([0, 1, 1], [0, 1, 0], ["crack", "none"]),
    "photographs": photographs,
    "filters": lambda: plots.filters(rng.random((16, 7, 7, 3))),
    "maps": lambda: plots.image_grid(rng.random((8, 8, 8)), title="t"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_is_small_and_draws_something(kind):
    png = plots.png_bytes(FIGURES[kind]())
    assert len(png) <= 80_000
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert picture.std() > 5 and picture.shape[1] >= 180


def test_bytes_depend_on_the_figure_only():
    def figure(height):
        return plots.bars_with_spread({"a": [height, 0.6]}, ylabel="y", title="t")

    first, again, other = (plots.png_bytes(figure(h)) for h in (0.5, 0.5, 0.7))
    assert first == again != other
    assert b"tEXt" not in first and b"tIME" not in first


def shown(monkeypatch, fig, alt):
    seen = {}

    def publish(data, metadata=None):
        seen.update(data=data, metadata=metadata)

    monkeypatch.setattr("IPython.display.publish_display_data", publish)
    plots.show(fig, alt=alt)
    return seen


@pytest.mark.slow
def test_alternative_text_reaches_notebook_and_html(monkeypatch):
    alt = 'Accuracy rises "fast" & then <levels off> for both.'
    seen = shown(monkeypatch, curves(), alt)
    assert seen["metadata"]["image/png"]["alt"] == alt
    assert base64.b64decode(seen["data"]["image/png"]).startswith(b"\x89PNG")
    from nbconvert import HTMLExporter

    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("display_data", **seen)
    notebook.cells = [nbformat.v4.new_code_cell("", outputs=[output])]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    from bs4 import BeautifulSoup

    (image,) = BeautifulSoup(page, "html.parser").find_all("img")
    assert image["alt"] == alt


@pytest.mark.parametrize("alt", ["", "A figure."])
def test_a_figure_without_alternative_text_is_refused(alt):
    with pytest.raises(CourseError, match="alternative text"):
        plots.show(curves(), alt=alt)


def test_band_is_the_interval_and_lines_differ_without_colour():
    values = np.array([[0.1, 0.5], [0.2, 0.6], [0.3, 0.7]])
    fig = plots.line_with_spread(
        [1, 2], {"a": values, "b": values}, xlabel="x", ylabel="y", title="t"
    )
    ax = fig.axes[0]
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    half = 4.302653 * 0.1 / np.sqrt(3)  # Student's t, 2 degrees of freedom
    assert heights.min() == pytest.approx(0.2 - half, rel=1e-5)
    assert "3 seeds" in ax.get_legend().get_title().get_text()
    with pytest.raises(CourseError, match="n_seeds"):
        plots.line_with_spread([1], {"a": values}, xlabel="x", ylabel="y", title="t")


def test_missing_cells_are_left_out():
    values = np.array([[0.1, np.nan, 0.3], [0.2, np.nan, np.nan]])
    fig = plots.line_with_spread(
        [1, 2, 3], {"a": values}, xlabel="x", ylabel="y", title="t"
    )
    (line,) = fig.axes[0].lines
    assert line.get_xdata().tolist() == [1, 3]
    assert line.get_ydata() == pytest.approx([0.15, 0.3])
    assert "1 to 2 seeds" in fig.axes[0].get_legend().get_title().get_text()


def test_colours_stay_apart_in_grey_or_by_marker():
    assert len(set(plots.COLOURS)) == len(set(plots.MARKERS)) == len(plots.DASHES) == 7


def test_confusion_counts():
    fig = plots.confusion([0, 1, 1, 1], [0, 1, 0, 1], ["a", "b"])
    assert [text.get_text() for text in fig.axes[0].texts] == ["1", "0", "1", "2"]


def test_figures_by_stage_have_a_line_for_each_label():
    series = {"a": np.array([[0.1, 0.5], [0.2, 0.6]]), "b": [[0.3, 0.3]]}
    fig = plots.by_stage(series, ["s", "t"], "title", "y", chance=0.2, legend="outside")
    assert len(plots.png_bytes(fig)) > 1000
    fig = plots.stage_panels(
        {"p": series, "q": series}, ["s", "t"], "title", "y", {"p": 0.1, "q": 0.1}
    )
    assert [ax.get_title(loc="left") for ax in fig.axes[:2]] == ["p", "q"]


@pytest.mark.parametrize("full", [False, True])
def test_a_legend_covers_no_curve_and_no_band(full):
    """Where every corner is taken, it stands beside the axes."""
    x = np.arange(40)
    high = np.where(x % 2, 1.0, 0.0) if full else x / 40
    fig = plots.line_with_spread(
        x, {"a": high, "b": [high, high + 0.1]}, xlabel="x", ylabel="y", title="t"
    )
    fig.draw_without_rendering()
    (ax,) = fig.axes
    legend = ax.get_legend().get_window_extent()
    for artist in (*ax.get_lines(), *ax.collections):
        paths = getattr(artist, "get_paths", lambda one=artist: [one.get_path()])()
        for path in paths:
            shown = path.transformed(artist.get_transform())
            assert not shown.intersects_bbox(legend, filled=False)
    assert (legend.x0 >= ax.bbox.x1 - 1) == full


def test_one_colour_has_one_meaning():
    """The same start looks the same whatever stands beside it, and nothing like it."""
    one = plots.places(["scratch", "frozen", "full"])
    other = plots.places(["patterns", "full", "silhouettes", "from scratch"])
    assert one[0] == other[3] and one[2] == other[1]
    assert not {other[0], other[2]} & set(plots.MEANING.values())
    many = plots.places([str(i) for i in range(9)])
    assert many[:7] == list(range(7)) and set(many) <= set(range(7))
    assert len(plots.places(["random", *map(str, range(9))])) == 10
    assert len(set(plots.places(["scratch", "from scratch", "random"]))) == 3
