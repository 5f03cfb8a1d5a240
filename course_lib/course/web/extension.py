"""What the web edition adds to Sphinx: MathML, links from words, honest tables.

Formulas are turned into MathML when the site is built, so that a reader needs neither
a script nor a network.  Names of files, functions and lessons in the prose become
links.  Tables without a heading row get their first column as headings.
"""

import json
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from course_lib.show import formulas

LOG = logging.getLogger(__name__)
LESSONS = re.compile(r"\b[Ll]essons? \d\d\b(?:(?:, | and | or | to )\d\d\b)*")
LESSON = re.compile(r"(?:[Ll]essons? )?(\d\d)")
CELL_TAG = "tag_cell-"  # class that a cell's tag becomes: its anchor


# -- formulas -----------------------------------------------------------------------


def mathml(latex: str, display: bool) -> str:
    """`formulas.mathml`, with a warning for what it cannot write."""
    made = formulas.mathml(latex, display)
    left = formulas.unread(made)
    if left:
        LOG.warning("no MathML for %s in: %s", ", ".join(left), latex)
    return made


def visit_math(self, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def visit_math_block(self, node: nodes.math_block) -> None:
    """Write a displayed formula, which scrolls by itself where it is too wide."""
    formula = mathml(node.astext(), display=True)
    self.body.append(f'<div class="math" tabindex="0">{formula}</div>\n')
    raise nodes.SkipNode


# -- anchors, links, tables ---------------------------------------------------------


class Anchors(SphinxPostTransform):
    """Give each cell of a notebook the anchor ``cell-ID``."""

    default_priority = 5

    def run(self, **kwargs) -> None:
        """Add the anchors."""
        for cell in self.document.findall(nodes.container):
            for name in cell.get("classes", ()):
                if name.startswith(CELL_TAG):
                    cell["ids"].append("cell-" + name.removeprefix(CELL_TAG))


class Links(SphinxPostTransform):
    """Link files, functions and lessons that the prose names."""

    default_priority = 6

    def run(self, **kwargs) -> None:
        """Replace the words by links."""
        known = self.env.course_links
        here = self.env.docname
        for literal in list(self.document.findall(nodes.literal)):
            target = known.get(literal.astext().rstrip("/").removesuffix("()"))
            if target and not inside_link(literal) and not in_heading(literal):
                self.link(literal, [literal.deepcopy()], target)
        for text in list(self.document.findall(nodes.Text)):
            if inside_link(text) or in_heading(text) or in_code(text):
                continue
            found = [
                (group.start() + one.start(), group.start() + one.end(), known[one[1]])
                for group in LESSONS.finditer(text)
                for one in LESSON.finditer(group[0])
                if one[1] in known and known[one[1]][0] != here
            ]
            parts, done = [], 0
            for start, end, target in found:
                parts.append(nodes.Text(text[done:start]))
                parts.append(self.reference([nodes.Text(text[start:end])], target))
                done = end
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[done:])])

    def link(self, node, children, target) -> None:
        if target[0] != self.env.docname:
            node.parent.replace(node, self.reference(children, target))

    def reference(self, children, target) -> nodes.reference:
        page, anchor = target
        uri = relative_uri(f"{self.env.docname}.html", f"{page}.html")
        if anchor:
            uri += f"#{anchor}"
        return nodes.reference("", "", *children, internal=True, refuri=uri)


def inside_link(node) -> bool:
    """Does a link hold this node already, one of the document or one in HTML?"""
    kinds = (nodes.reference, addnodes.pending_xref)
    return has_parent(node, kinds) or inside_html_link(node)


def inside_html_link(node) -> bool:
    """Is there an ``<a>`` before this node that its ``</a>`` has not closed?"""
    while node.parent is not None:
        is_open = False
        for sibling in node.parent.children:
            if sibling is node:
                break
            if isinstance(sibling, nodes.raw):
                is_open = opened(sibling.astext(), is_open)
        if is_open:
            return True
        node = node.parent
    return False


def opened(markup: str, before: bool) -> bool:
    """Is a link open after this markup, if one was, or was not, before it?"""
    start, end = markup.rfind("<a "), markup.rfind("</a>")
    return before if start == end else start > end


def in_heading(node) -> bool:
    """Is this part of a heading?"""
    return has_parent(node, (nodes.title, addnodes.toctree))


def in_code(node) -> bool:
    """Is this code or a formula?"""
    kinds = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block)
    return has_parent(node, (*kinds, nodes.raw))


def has_parent(node, kinds) -> bool:
    """Is one of the nodes above of these kinds?"""
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


class Tables(SphinxPostTransform):
    """Make every table one that a screen reader can read.

    Where the corner is empty, the first column names the rows: it gets to be headings.
    A heading row without a word (Markdown wants one) goes; an empty corner of another
    is written as a plain cell, by `repair_html`.
    """

    default_priority = 7

    def run(self, **kwargs) -> None:
        """Repair the tables."""
        for group in self.document.findall(nodes.tgroup):
            heads = [n for n in group.children if isinstance(n, nodes.thead)]
            columns = [n for n in group.children if isinstance(n, nodes.colspec)]
            for head in heads:
                corner = next(iter(head.findall(nodes.entry)), None)
                if corner is not None and not corner.astext().strip():
                    columns[0]["stub"] = 1  # the first column names the rows
                if not head.astext().strip():
                    group.remove(head)


EMPTY_HEAD = re.compile(r'<th(?: class="head([^"]*)")?>(?:\s*<p>\s*</p>)?\s*</th>')
FOLDED = re.compile(r'<summary aria-label="[^"]*">')  # the words seen name it better
STUB = re.compile(r'<th class="stub([^"]*)">')
FORMULA_HEAD = re.compile(
    r'<th class="head([^"]*)">(<p><math alttext="([^"]*)"[^>]*>'
    r"(?:(?!<p>).)*</math></p>)\s*</th>"
)


def repair_html(app, pagename, templatename, context, doctree) -> None:
    """The last strokes, on a page's HTML."""
    if "body" in context:
        body = EMPTY_HEAD.sub(r'<td class="corner\1"></td>', context["body"])
        body = FOLDED.sub("<summary>", body)
        body = FORMULA_HEAD.sub(spoken, body)
        context["body"] = STUB.sub(r'<th scope="row" class="stub\1">', body)


def spoken(head: re.Match) -> str:
    """A heading that is a formula only, with a word for those who hear the table."""
    formula = head[2].replace("<math ", '<math aria-hidden="true" ', 1)
    said = f'<span class="visually-hidden">{head[3]}</span>'.replace("\\", "")
    return f'<th class="head{head[1]}">{formula}{said}</th>'


# -- set-up -------------------------------------------------------------------------


def read_links(app, env, docnames) -> None:
    """The names that become links, as pages.write left them in the source folder."""
    listed = json.loads((app.srcdir / "links.json").read_text(encoding="utf-8"))
    env.course_links = {word: tuple(target) for word, target in listed.items()}


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(visit_math, None),
        block_renderers=(visit_math_block, None),
    )
    for transform in (Anchors, Links, Tables):
        app.add_post_transform(transform)
    app.connect("env-before-read-docs", read_links)
    app.connect("html-page-context", repair_html)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
