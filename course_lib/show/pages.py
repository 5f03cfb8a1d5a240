"""Pieces of the reports: one page of HTML that needs nothing else.

Plain elements, a language, one heading of the first level, tables with captions and
scopes, figures with alternative text; every text from outside is escaped.  Used by
`course diagnose` and `course train`.  Lessons 12 and 13.
"""

from __future__ import annotations

from html import escape

__all__ = ["STYLE", "bullets", "page", "percent", "table"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 56rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { margin-top: 2rem; }
.verdict { border-left: .5rem solid #555; background: #f3f3f3; padding: .75rem 1rem; }
.verdict p { margin: .25rem 0; } .verdict strong { font-size: 1.25rem; }
.helps { border-color: #0072B2; } .hurts { border-color: #D55E00; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .75rem .25rem 0;
  text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def page(title: str, parts) -> str:
    """A whole document from pieces of its body; empty pieces are left out."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"


def bullets(sentences) -> str:
    """Sentences as an HTML list."""
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>\n{items}\n</ul>"


def table(caption: str, heads, rows) -> str:
    """An HTML table; the first cell of a row heads it, numbers come as strings."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f'<td class="number">{escape(cell)}</td>'
            if cell[:1].isdigit() or cell[:1] in "+-"
            else f"<td>{escape(cell)}</td>"
            for cell in map(str, rest)
        )
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
