"""Interactive figures that are also still pictures.

`explore` shows a figure under some controls.  Its output holds the live widget and the
figure at the controls' first values: JupyterLab with a kernel shows the former, every
other reader (an export, GitHub, a notebook without a kernel) the latter.
"""

from collections.abc import Callable, Mapping

import ipywidgets
from IPython.display import publish_display_data

from course_lib.errors import CourseError
from course_lib.show import plots

LOOK = dict(
    layout=dict(width="95%", max_width="560px"), style=dict(description_width="170px")
)
NUMBER = dict(**LOOK, continuous_update=False)


def slider(label: str, value: float, low: float, high: float, step: float):
    """A slider of evenly spaced numbers; the figure follows when it is let go."""
    span = dict(min=low, max=high, step=step)
    return ipywidgets.FloatSlider(value=value, description=label, **span, **NUMBER)


def log_slider(label: str, value: float, low: int, high: int, step: float = 0.1):
    """A slider over powers of ten: ``low`` and ``high`` are exponents."""
    span = dict(min=low, max=high, step=step, readout_format=".1e")
    return ipywidgets.FloatLogSlider(value=value, description=label, **span, **NUMBER)


def choice(label: str, options, value=None):
    """A menu of names."""
    return ipywidgets.Dropdown(
        options=list(options),
        value=next(iter(options)) if value is None else value,
        description=label,
        **LOOK,
    )


def explore(draw: Callable, controls: Mapping, alt: Callable[..., str]) -> None:
    """Show ``draw(**values)`` above its controls, drawn again when one is moved.

    draw: {name: value} to a matplotlib figure.  controls: {name: widget with a value},
    as `slider`, `log_slider` and `choice` make them.  alt: the same values to the
    alternative text.  The last line of a cell.  Raises CourseError without controls,
    and whatever ``draw`` raises for the first values; later errors are shown in place
    of the figure.
    """
    if not controls:
        raise CourseError("explore: no controls, expected at least one slider or menu.")

    def values():
        return {name: control.value for name, control in controls.items()}

    figure = draw(**values())
    data, metadata = plots.bundle(figure, alt(**values()))
    page = ipywidgets.HTML(data["text/html"])

    def redraw(_):
        now = values()
        try:
            page.value = plots.bundle(draw(**now), alt(**now))[0]["text/html"]
        except CourseError as error:
            page.value = f"<pre>{plots.html.escape(str(error))}</pre>"

    for control in controls.values():
        control.observe(redraw, names="value")
    box = ipywidgets.VBox([page, *controls.values()])
    live = box._repr_mimebundle_()
    publish_display_data({**live, **data}, metadata=metadata)
