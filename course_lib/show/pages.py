"""Reports as one page of HTML that needs nothing else, and as plain text.

Plain elements, a language, one heading of the first level, tables with captions and
scopes, figures with alternative text; every text from outside is escaped (jinja2's
autoescape).  `course train` and `course diagnose` make their pages here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from course_lib.show import plots


@dataclass(frozen=True)
class Table:
    """A table of a report; the first cell of a row heads it."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence]


@dataclass(frozen=True)
class Picture:
    """A figure of a report, and a sentence that says what it shows."""

    figure: Any  # of matplotlib
    alt: str

    def html(self) -> Markup:
        """The figure as an image inside the page."""
        return Markup(plots.bundle(self.figure, self.alt)[0]["text/html"])


def report(
    title: str,
    heading: str,
    verdict: Sequence[str],
    sections: Mapping[str, Sequence[str | list[str] | Picture | Table]],
    kind: str = "open",
) -> str:
    """A whole page.

    verdict: what stands out, the first sentence largest; kind: its colour, "helps",
    "hurts" or any other word for none.  sections: {heading, "" for none: pieces}, where
    a piece is a paragraph, a list of sentences, a figure or a table.
    """
    about = dict(title=title, heading=heading, verdict=verdict, kind=kind)
    return render("report.html", sections=sections, **about)


def render(template: str, **values) -> str:
    """A template of show/templates with its values filled in.

    Values are escaped in templates that end in .html.  A name that is missing raises
    jinja2.UndefinedError.
    """
    return _TEMPLATES.get_template(template).render(**values)


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"


def shortened(text: str, most: int) -> str:
    """The text, or its beginning with a sign for what is left away."""
    return text if len(text) <= most else text[: most - 1] + "…"


def commands(text: str) -> Markup:
    """The text escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def interval(row: Mapping) -> str:
    """The ends of an interval of shares, as percentages."""
    return f"{percent(row['low'])} to {percent(row['high'])}"


def group_tables(
    rows: Sequence[Mapping], inputs: str, others: Mapping[str, str] | None = None
) -> list[Table]:
    """Right answers by group, a table for each column of a subgroup table.

    rows: {column, group, n, accuracy, low, high}.  inputs: "pictures" or "texts".
    others: {head: key of a further accuracy in each row}.
    """
    others = others or {}
    return [
        Table(
            f"Right answers by {column}, the worst first",
            (column, inputs, "right", "95 % interval", *others),
            [
                (
                    row["group"],
                    row["n"],
                    percent(row["accuracy"]),
                    interval(row),
                    *(percent(row[key]) for key in others.values()),
                )
                for row in rows
                if row["column"] == column
            ],
        )
        for column in dict.fromkeys(row["column"] for row in rows)
    ]


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("course_lib.show"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"commands": commands, "percent": percent, "interval": interval}
_TEMPLATES.tests |= {
    "numeric": lambda cell: str(cell)[:1].isdigit() or str(cell)[:1] in "+-",
    "picture": lambda piece: isinstance(piece, Picture),
}
