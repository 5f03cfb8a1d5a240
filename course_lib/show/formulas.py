"""LaTeX formulas as MathML: read without a script and without a network."""

import re
from html import escape

ARG = re.compile(r"\\arg(?![a-zA-Z])\s*(?:\\(min|max)(?![a-zA-Z]))?")


def mathml(latex: str, display: bool) -> str:
    r"""LaTeX as a <math> element, with the LaTeX as its alternative text.

    latex2mathml does not know ``\arg``: it is written as an operator.  What it does
    not know otherwise stays as LaTeX, see `unread`.  Raises what latex2mathml raises
    for a formula that has no meaning.
    """
    from latex2mathml.converter import convert

    text = latex.strip()
    known = ARG.sub(r"\\operatorname{arg\1}", text)
    made = convert(known, display="block" if display else "inline")
    return made.replace("<math ", f'<math alttext="{escape(text)}" ', 1)


def with_mathml(renderer: type) -> type:
    """A renderer of nbconvert's for Markdown, with its formulas as MathML."""

    class Renderer(renderer):
        def _formula(self, latex: str, display: bool) -> str:
            latex = latex.replace("&lt;", "<")  # as nbconvert and `harmless` write it
            try:
                return mathml(latex, display)
            except Exception:  # no LaTeX that has a meaning: read as it stands
                return f"<code>{escape(latex)}</code>"

        def block_math(self, body):
            return self._formula(body, True)

        def inline_math(self, body):
            return self._formula(body, False)

        def latex_environment(self, name, body):
            return self._formula(rf"\begin{{{name}}}{body}\end{{{name}}}", True)

    return Renderer


def unread(made: str) -> list[str]:
    """The LaTeX commands that were left in a <math> element."""
    return re.findall(r">\s*(\\[a-zA-Z]+)", made)
