"""Figures in the course's own style, each with a text for those who cannot see it.

Colours are told apart by colour-blind readers (Okabe & Ito 2008), and every line has
its own marker and dashes, so that a grey print is readable.  Every function returns a
matplotlib figure; a cell ends with ``plots.show(fig, alt="...")``.
"""

import base64
import html
import io
import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from course_lib.analysis.statistics import mean_and_interval
from course_lib.errors import CourseError

COLOURS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
BAR = "#6F8091"  # of bars, which are told apart by their names at the axis
MEANING = {  # one colour, one meaning: places in COLOURS of what occurs in many figures
    "scratch": 0,
    "from scratch": 0,
    "random": 0,
    "random start": 0,
    "different random starts": 0,
    "frozen": 1,
    "frozen features": 1,
    "frozen embeddings": 1,
    "full": 2,
    "fine-tuned": 2,
    "transfer": 2,
    "pretrained": 2,
    "pretrained start": 2,
    "same pretrained start": 2,
    "last_stage": 3,
    "frozen_mlp": 4,
    "shuffled rows": 2,
    "brightness, random": 3,
    "brightness, patterns": 4,
    "brightness, ImageNet": 4,
}
WIDTH = 6.4  # inches
DPI = 100
LIMIT = 60_000  # bytes of one PNG; the notebook holds it twice, see show()

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.markersize": 5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.cmap": "cividis",
    "svg.hashsalt": "course",
}


def new(width: float = WIDTH, height: float = 3.6, rows: int = 1, columns: int = 1):
    """(figure, axes) in the house style; axes is an array if there are several."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=COLOURS)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def show(fig, alt: str) -> None:
    """Display a figure with its alternative text, as the last line of a cell.

    ``alt`` says in words what the figure shows: at least a short sentence, or a
    CourseError is raised.  The PNG goes out twice: inside an <img alt> element, which
    JupyterLab and the HTML export prefer and screen readers speak, and as a plain
    image/png for everything else.  Its bytes depend on nothing but the figure.
    """
    from IPython.display import publish_display_data

    data, metadata = bundle(fig, alt)
    publish_display_data(data, metadata=metadata)


def bundle(fig, alt: str) -> tuple[dict, dict]:
    """(data, metadata) of a figure by MIME type, as :func:`show` displays it.

    Raises CourseError when the alternative text is no sentence.
    """
    if len(alt.split()) < 4:
        raise CourseError(
            f"plots.show: the alternative text {alt!r} is too short. Expected a "
            "sentence that says what the figure shows, for readers who cannot see it."
        )
    png = png_bytes(fig)
    encoded = base64.b64encode(png).decode("ascii")
    text = html.escape(" ".join(alt.split()), quote=True)
    picture = f'<img alt="{text}" src="data:image/png;base64,{encoded}">'
    _forget(fig)
    return (
        {"text/html": picture, "image/png": encoded, "text/plain": f"Figure: {alt}"},
        {"image/png": {"alt": alt}},
    )


def _forget(fig) -> None:
    """Keep the notebook from showing a pyplot figure a second time."""
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)


def png_bytes(fig, limit: int = LIMIT) -> bytes:
    """The figure as a PNG of at most ``limit`` bytes where that can be had.

    Plots get a palette of 256 colours, or 64; pictures keep full colour while they
    fit, then 256 colours; then the resolution is lowered.
    """
    pictures = any(axes.images for axes in fig.axes)
    for dpi in (DPI, 80, 64):
        drawn = _drawn(fig, dpi)
        if pictures and len(full := _encoded(drawn, None)) <= limit:
            return full
        for colours in (256,) if pictures else (256, 64):
            small = _encoded(drawn, colours)
            if len(small) <= limit:
                return small
    return small


def _drawn(fig, dpi: int):
    from PIL import Image

    raw = io.BytesIO()
    fig.savefig(raw, format="png", dpi=dpi, metadata={"Software": None})
    return Image.open(raw).convert("RGB")


def _encoded(image, colours: int | None) -> bytes:
    from PIL import Image

    if colours:
        image = image.quantize(colours, Image.Quantize.MEDIANCUT, dither=0)
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return out.getvalue()


# -- curves and bars --------------------------------------------------------------


def line_with_spread(
    x,
    series: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    log_x: bool = False,
    spread: str = "interval",
    ax=None,
):
    """One line for each entry of {label: (n_seeds, n_x)}, with a band for the spread.

    ``spread`` is "interval" (95 % t-interval of the mean) or "range" (lowest to
    highest seed); the legend says which, and over how many seeds.  NaN marks a missing
    seed; a point with one seed has no band, one without any is left out.  Raises
    CourseError on shapes that do not fit.
    """
    figure, ax = (ax.figure, ax) if ax is not None else new()
    x = np.asarray(x)
    counts = []
    for i, (label, values) in zip(places(series), series.items()):
        values = np.atleast_2d(np.asarray(values, dtype=np.float64))
        if values.shape[1:] != x.shape:
            raise CourseError(
                f"line_with_spread: {label!r} has shape {values.shape}, x {x.shape}. "
                "Expected (n_seeds, n_x)."
            )
        look = _look(i)
        columns = [column[np.isfinite(column)] for column in values.T]
        there = [j for j, column in enumerate(columns) if len(column)]
        if not there:
            raise CourseError(f"line_with_spread: {label!r} has no number to draw.")
        columns = [columns[j] for j in there]
        ax.plot(x[there], [column.mean() for column in columns], label=label, **look)
        counts += [len(column) for column in columns]
        low, high = zip(*(_bounds(column, spread) for column in columns))
        ax.fill_between(
            x[there], low, high, color=look["color"], alpha=0.18, linewidth=0
        )
    if log_x:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{v:,g}" for v in x])
        ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    clear_legend(ax, title=_spread_note(spread, counts), title_fontsize="small")
    return figure


def places(labels: Collection[str]) -> list[int]:
    """For each label a place in COLOURS, MARKERS, DASHES: of its `MEANING`, else free.

    So the same thing has the same look in all figures.
    """
    found, taken = {}, set()
    for label in labels:
        if MEANING.get(label) not in (None, *taken):
            found[label] = MEANING[label]
            taken.add(MEANING[label])
    order = list(range(len(COLOURS)))
    if taken:  # beside such a label the others look like nothing that has a meaning
        order.sort(key=lambda i: i in MEANING.values())
    labels = list(labels)
    free = iter([i for i in order if i not in taken] + order * len(labels))
    return [found[label] if label in found else next(free) for label in labels]


def clear_legend(ax, handles=None, labels=None, **options) -> None:
    """A legend where it covers no curve and no band, else to the right of the axes."""
    if handles is None:
        handles, labels = ax.get_legend_handles_labels()
    legend = ax.legend(handles, labels, loc="best", **options)
    ax.figure.draw_without_rendering()
    box = legend.get_window_extent()
    drawn = [(line.get_path(), line.get_transform(), False) for line in ax.get_lines()]
    for band in ax.collections:
        drawn += [(path, band.get_transform(), True) for path in band.get_paths()]
    if any(
        path.transformed(to_pixels).intersects_bbox(box, filled=is_filled)
        for path, to_pixels, is_filled in drawn
    ):
        if options.get("title"):
            options["title"] = options["title"].replace(", ", ",\n")
        where = dict(loc="upper left", bbox_to_anchor=(1, 1))
        box = ax.legend(handles, labels, **where, **options).get_window_extent()
        ax.figure.set_figwidth(ax.figure.get_figwidth() + box.width / ax.figure.dpi)


def _look(i: int) -> dict:
    """Colour, marker and dashes of the i-th series."""
    return dict(
        color=COLOURS[i % len(COLOURS)],
        marker=MARKERS[i % len(MARKERS)],
        linestyle=DASHES[i % len(DASHES)],
    )


def _bounds(values: np.ndarray, spread: str) -> tuple[float, float]:
    """Lower and upper end of the spread of one value a seed (n_seeds,)."""
    if spread not in ("interval", "range"):
        raise CourseError(f"spread={spread!r} is unknown: 'interval' or 'range'.")
    if spread == "range" or len(values) < 2:
        return values.min(), values.max()
    interval = mean_and_interval(values)
    return interval.low, interval.high


def _spread_note(spread: str, counts: Sequence[int]) -> str | None:
    if max(counts, default=1) < 2:
        return None
    low, high = min(counts), max(counts)
    seeds = f"{low}" if low == high else f"{low} to {high}"
    what = "95 % interval" if spread == "interval" else "lowest to highest"
    return f"mean and {what}, {seeds} seeds"


def bars_with_spread(
    groups: Mapping[str, np.ndarray],
    *,
    ylabel: str,
    title: str,
    spread: str = "interval",
    digits: int = 2,
):
    """A bar of the mean of each {label: (n_seeds,)}, error bars, every seed as a dot.

    Raises CourseError when an entry is not one-dimensional.
    """
    values = {k: np.atleast_1d(np.asarray(v, float)) for k, v in groups.items()}
    if any(v.ndim != 1 for v in values.values()):
        raise CourseError("bars_with_spread: expected {label: (n_seeds,)}.")
    figure, ax = new(height=0.9 + 0.42 * len(values))
    for i, v in enumerate(values.values()):
        mean, error = v.mean(), None
        if len(v) > 1:
            low, high = _bounds(v, spread)
            error = [[mean - low], [high - mean]]
        options = dict(color=BAR, alpha=0.75, capsize=3)
        ax.barh([i], [mean], xerr=error, ecolor="#333333", **options)
        dots = dict(color="white", edgecolor="#333333", s=12, zorder=3, linewidth=0.7)
        ax.scatter(v, np.full(len(v), i), **dots)
        text = dict(text=f"{mean:.{digits}f}", textcoords="offset points")
        edge = max(v.max(), mean + (error[1][0] if error else 0))
        ax.annotate(xy=(edge, i), xytext=(5, 0), va="center", **text)
    note = _spread_note(spread, [len(v) for v in values.values()])
    ax.set(title=title, xlabel=f"{ylabel} ({note})" if note else ylabel)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.1)
    return figure


def by_stage(
    series: Mapping[str, Sequence],
    stages: Sequence[str],
    title: str,
    ylabel: str,
    chance: float | None = None,
    legend: str = "best",
    ax=None,
):
    """Lines over the stages for {label: (runs, stages)}, lowest to highest run shaded.

    ``chance`` draws a grey line; ``legend`` is a place, or "outside" at the right.
    With ``ax`` it is one panel of several, without a legend.
    """
    positions = np.arange(len(stages))
    fig = line_with_spread(
        positions,
        series,
        spread="range",
        xlabel="" if ax else "input to output",
        ylabel=ylabel,
        title=title,
        ax=ax,
    )
    panel = ax or fig.axes[0]
    panel.set_xticks(positions, stages)
    if chance is not None:
        panel.axhline(chance, color="grey", linewidth=0.8)
    if ax:
        panel.get_legend().remove()
    elif legend != "best":
        handles, labels = panel.get_legend_handles_labels()
        note = panel.get_legend().get_title().get_text()
        where = dict(loc=legend)
        if legend == "outside":
            where = dict(loc="upper left", bbox_to_anchor=(1.0, 1.0))
            note = note.replace(", ", ",\n")
            fig.set_figwidth(fig.get_figwidth() + 2.2)
        panel.legend(handles, labels, title=note, title_fontsize="small", **where)
    return fig


def stage_panels(
    questions: Mapping[str, Mapping[str, Sequence]],
    stages: Sequence[str],
    title: str,
    ylabel: str,
    chance: Mapping[str, float],
    columns: int = 3,
    note: str = "lowest to highest run\ngrey line: the commonest answer",
):
    """One panel of :func:`by_stage` for each question, the legend in a spare place.

    questions: {question: {label: (runs, stages)}}, the same labels in each.
    """
    rows = -(-len(questions) // columns)
    fig, axes = new(8.4, 2.4 * rows, rows, columns)
    for i, (ax, (question, series)) in enumerate(zip(axes.flat, questions.items())):
        by_stage(
            series,
            stages,
            question,
            ylabel if i % columns == 0 else "",
            chance[question],
            ax=ax,
        )
    spare = axes.flat[len(questions) :]
    for empty in spare:
        empty.axis("off")
    found = ax.get_legend_handles_labels()
    if len(spare):
        spare[0].legend(*found, loc="center", title=note)
    else:
        note = note.replace("\n", ", ")
        where = dict(loc="outside lower center", ncols=len(found[0]))
        fig.legend(*found, title=note, **where)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig


def history(histories, title: str | None = None):
    """Loss and accuracy over training of one History, or of {label: History}.

    Solid: validation; dotted: training; a ring marks the weights that were kept.
    """
    if not isinstance(histories, Mapping):
        histories = {"": histories}
    figure, (left, right) = new(width=7.2, height=3.0, columns=2)
    for i, (label, h) in zip(places(histories), histories.items()):
        colour = COLOURS[i % len(COLOURS)]
        solid = dict(color=colour, marker=MARKERS[i % len(MARKERS)], markersize=3)
        ring = dict(color=colour, marker="o", markersize=10, fillstyle="none")
        for ax, kind in ((left, "loss"), (right, "accuracy")):
            train, val = (getattr(h, f"{part}_{kind}") for part in ("train", "val"))
            ax.plot(h.epoch, train, ":", color=colour, label=f"{label} training")
            if val:
                ax.plot(h.epoch, val, label=f"{label} validation", **solid)
                ax.plot(h.epoch[h.best_epoch], val[h.best_epoch], **ring)
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    right.set(xlabel="epoch", ylabel="accuracy")
    handles, labels = left.get_legend_handles_labels()
    labels = [text.strip() for text in labels]
    clear_legend(right, handles, labels, fontsize="small")
    if title:
        left.set_title(title)
    return figure


# -- tables of numbers ------------------------------------------------------------


def heatmap(
    matrix,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str | None = None,
    label: str | None = None,
    digits: int = 2,
    limits: tuple[float, float] | None = None,
):
    """A matrix (len(rows), len(columns)) as shaded cells with their numbers.

    NaN is an empty cell with a dash.  label: of the colour bar, which is left out
    without one.  limits: of the shades, lowest and highest number by default.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (len(rows), len(columns)):
        raise CourseError(
            f"heatmap: a matrix {matrix.shape} for {len(rows)} rows and {len(columns)} "
            "columns."
        )
    wide = max(2.2 + 0.62 * len(columns), 1.9 + 0.078 * len(title or ""))
    figure, ax = new(width=min(WIDTH, wide), height=1.3 + 0.42 * len(rows))
    low, high = limits or (np.nanmin(matrix), np.nanmax(matrix))
    image = ax.imshow(matrix, vmin=low, vmax=high, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        colour = "white" if value - low < 0.55 * (high - low) else "black"
        text = f"{value:.{digits}f}" if np.isfinite(value) else "-"
        ax.text(j, i, text, ha="center", va="center", color=colour)
    slanted = max(map(len, columns), default=0) > 6
    ax.set_xticks(
        range(len(columns)),
        columns,
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    ax.set_title(title)
    if label:
        figure.colorbar(
            image, ax=ax, label=textwrap.fill(label, max(16, 5 * len(rows)))
        )
    return figure


def confusion(labels, predictions, classes: Sequence[str], title: str | None = None):
    """Counts of true class (row) against predicted class (column)."""
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    figure = heatmap(counts, classes, classes, title=title, digits=0)
    figure.axes[0].set(xlabel="predicted class", ylabel="true class")
    return figure


# -- pictures ---------------------------------------------------------------------


def reliability(curves: Mapping[str, tuple[Sequence[Mapping], float]]):
    """(figure, alternative text): right answers against confidence in ten bins.

    curves: {label: (rows {confidence, accuracy} of the bins, expected calibration
    error)}, shares from 0 to 1.  Niculescu-Mizil & Caruana 2005; Guo et al. 2017.
    """
    figure, ax = new(width=4.6, height=3.6)
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for i, (label, (rows, error)) in enumerate(curves.items()):
        ax.plot(
            [row["confidence"] for row in rows],
            [row["accuracy"] for row in rows],
            color=COLOURS[i],
            marker=MARKERS[i],
            linestyle=DASHES[i],
            label=f"{label}: error {100 * error:.1f} points",
        )
    ax.set(xlabel="confidence", ylabel="share of right answers", xlim=(0, 1.02))
    ax.set(ylim=(0, 1.02), title="Below the line: too sure of itself")
    ax.legend()
    said = ", ".join(
        f"{k} {100 * error:.1f} points" for k, (_, error) in curves.items()
    )
    return figure, (
        "Reliability diagram: share of right answers against confidence in ten bins. "
        f"Expected calibration error {said}."
    )


def image_grid(
    images,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    title: str | None = None,
    size: float = 0.9,
    row_names: Sequence[str] = (),
):
    """Pictures side by side: (N, h, w, 3) uint8 or 0..1, or maps (N, h, w).

    ``size`` is the side of one picture in inches; ``row_names`` stand at the left.
    Maps are each stretched from their lowest to their highest value.
    """
    images = [np.asarray(image) for image in images]
    if not images:
        raise CourseError("image_grid: no image to show, expected at least one.")
    columns = columns or min(len(images), 8)
    rows = -(-len(images) // columns)
    tall = size + (0.22 if titles is not None else 0.04)
    top = 0.35 if title else 0.05
    width = max(columns * (size + 0.04), 3.0)
    width += 0.08 * max(map(len, row_names), default=0)
    figure, axes = new(width, rows * tall + top, rows, columns)
    for ax in np.ravel(axes):
        ax.axis("off")
    for ax, name in zip(np.ravel(axes)[::columns], row_names):
        place = dict(transform=ax.transAxes, ha="right", va="center")
        ax.text(-0.08, 0.5, name, fontsize=9, **place)
    for i, (ax, image) in enumerate(zip(np.ravel(axes), images)):
        ax.imshow(image, cmap="gray", interpolation="nearest")
        if titles is not None:
            ax.set_title(titles[i], fontsize=8, loc="center", pad=2)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def filters(array, columns: int = 8, title: str | None = None):
    """First-layer filters (out, kh, kw, 3) in 0..1, as features.filters gives them."""
    return image_grid(array, columns=columns, title=title, size=0.55)
