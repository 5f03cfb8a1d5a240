"""Pages that show a learner's work: harmless to who reads them, bounded in time.

nbgrader's templates make the page around the work.  Whatever a learner wrote is kept
out of it while it is made: a mark stands in its place.  The work is rendered by itself,
goes through an allow-list sanitiser (nh3), and takes the place of its mark at the end,
so that nothing in it can change what surrounds it.  A content policy in the page
forbids everything foreign once more: no script but the page's own, no address but data.

Rendering runs in a process of its own, with a limit of time, memory and size for each
learner (`Renderer`).  Where a limit is reached, the work is shown as plain text.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

from course_lib.errors import CourseError
from course_lib.show.formulas import with_mathml

SECONDS = 10  # of processor time for one learner's page; a busy machine does not count
WAIT_SECONDS = 60.0  # for it by the clock
START_SECONDS = 120.0  # for the process to be ready
MEMORY_GB = 3  # address space of the process
PAGE_MB = 40  # of one page
PLAIN_CHARS = 20_000  # of a cell that is shown as plain text
FEEDBACK, FORMGRADE = "feedback", "formgrade"  # nbgrader's templates
COMMAND = (sys.executable, "-m", "course_lib.course.grading.rendering")


# -- what a learner's part of a page may hold ------------------------------------------

MATH = (
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt "
    "mstyle msub msubsup msup mtable mtd mtext mtr munder munderover"
).split()
TAGS = {
    *"a b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6".split(),
    *"hr i img kbd li ol p pre s span strong sub summary sup table tbody".split(),
    *"td tfoot th thead tr u ul".split(),
    *MATH,
}
NOT_EVEN_TEXT = {"script", "style", "template", "noscript", "title", "iframe", "object"}
ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
    "math": {"display"},
    "mtable": {"columnalign", "rowspacing"},
    "mo": {"stretchy", "fence", "form", "accent", "minsize", "maxsize"},
    "mi": {"mathvariant"},
    "mfrac": {"linethickness"},
    "mspace": {"width", "linebreak"},
    "mpadded": {"width", "height", "depth"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "menclose": {"notation"},
    "div": {"class"},
    "span": {"class"},
}
LINK = re.compile(r"(?:https?://|mailto:)[^\s\\]+", re.IGNORECASE)
LENGTH = re.compile(r"-?\d{0,2}(?:\.\d{0,6})?(?:em|ex|px|pt|%)?|100%|[a-z]{4,30}")
SPAN = re.compile(r"\d{1,3}")
BOUNDED = {  # attributes that place or stretch what surrounds them
    **dict.fromkeys(["width", "height", "depth", "minsize", "maxsize"], LENGTH),
    **dict.fromkeys(["linethickness", "rowspacing"], LENGTH),
    **dict.fromkeys(["colspan", "rowspan"], SPAN),
}
TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # marks that turn text around
PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


def class_names() -> dict[str, set[str]]:
    """Class names of highlighted code and of coloured output; no name of the page's."""
    from pygments.token import STANDARD_TYPES

    colours = "black red green yellow blue magenta cyan white default".split()
    ansi = {
        f"ansi-{c}{i}-{w}"
        for c in colours
        for i in ("", "-intense")
        for w in ("fg", "bg")
    }
    styles = {"ansi-bold", "ansi-underline", "ansi-italic"}
    return {
        "span": ({*STANDARD_TYPES.values()} - {""}) | ansi | styles,
        "div": {"highlight", "hl-ipython3", "hl-python"},
    }


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Addresses: links to pages, pictures that are data; all else is dropped.

    So are lengths that would lay a formula over the rest of the page.
    """
    if name == "href":
        return value if tag == "a" and LINK.fullmatch(value.strip()) else None
    if name == "src":
        return value if tag == "img" and PICTURE.fullmatch(value) else None
    if name in BOUNDED and not BOUNDED[name].fullmatch(value.strip()):
        return None
    return value


def sanitised(html: str, links: bool = False) -> str:
    """HTML with nothing in it but what `TAGS` and `ATTRIBUTES` allow, well-formed.

    No script, style, form or frame, no identifier that the page's own scripts would
    find, no relative address, no picture from anywhere.  The text stays.
    """
    import nh3

    return nh3.clean(
        html,
        tags=TAGS if links else TAGS - {"a"},
        clean_content_tags=NOT_EVEN_TEXT,
        attributes={
            tag: names - {"class"}
            for tag, names in ATTRIBUTES.items()
            if links or tag != "a"
        },
        attribute_filter=_attribute,
        allowed_classes=class_names(),
        url_schemes={"http", "https", "mailto", "data"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        generic_attribute_prefixes=set(),
    )


# -- a learner's text as HTML ----------------------------------------------------------


def markdown(source: str, links: bool) -> str:
    """Markdown as sanitised HTML: formulas as MathML, pictures only if they are data.

    ``links``: whether they can be clicked; their address is shown where they cannot.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(with_mathml(IPythonRenderer)):
        def link(self, text, url, title=None):
            if not LINK.fullmatch(unescape(url).strip()):
                return f"{text} [address not shown]"
            if links:
                return f'<a href="{escape(url)}">{text}</a>'
            return text if text in (url, escape(url)) else f"{text} ({escape(url)})"

        def image(self, text, url, title=None):
            if PICTURE.fullmatch(url):
                return f'<img src="{url}" alt="{escape(text)}">'
            where = f" ({escape(url[:200])})" if LINK.fullmatch(url) else ""
            return f"[picture not shown: {escape(text)}{where}]"

        def block_mermaidjs(self, code):
            return f"<pre>{escape(code)}</pre>"

    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return sanitised(MarkdownWithMath(renderer=renderer).render(source), links)


def plain(text: str) -> str:
    """Text as it stands, and a word on how much of a long one is not shown."""
    more = len(text) - PLAIN_CHARS
    note = f"\n[... {more:,} more characters are not shown]" if more > 0 else ""
    return f"<pre>{escape(text[:PLAIN_CHARS] + note)}</pre>"


def unturned(text: str) -> str:
    """Text in the order in which it stands: marks that turn it are spelled out.

    With them code reads as another code than Python runs.
    """
    return TURNS.sub(lambda mark: f"[U+{ord(mark[0]):04X}]", text)


def tame(notebook: dict, as_plain: bool = False) -> dict:
    """The notebook with what a page may show of it, in new cells.

    Of outputs: text, PNG and JPEG; of another kind there is a line that says so.
    ``as_plain``: no pictures, and only the beginning of long texts.
    """
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        kind = "code" if cell["cell_type"] != "markdown" else "markdown"
        ours = cell.get("metadata", {}).get("nbgrader", {})
        named = re.fullmatch(r"[\w.-]{1,100}", str(ours.get("grade_id", "")), re.ASCII)
        made = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "source": unturned("".join(cell["source"])),
            "metadata": {"nbgrader": dict(ours)} if named else {},
        }
        if kind == "code":
            made["execution_count"] = None
            found = cell.get("outputs", [])
            made["outputs"] = [shown_output(one, as_plain) for one in found]
        cells.append(made)
    info = {"name": "python", "pygments_lexer": "ipython3"}
    return {
        "cells": cells,
        "metadata": {"language_info": info},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def shown_output(output: dict, as_plain: bool) -> dict:
    """One output as a stream of text or a picture."""
    kind = output.get("output_type")
    if kind == "stream":
        return _stream(output.get("text", ""), output.get("name"), as_plain)
    if kind == "error":
        lines = output.get("traceback") or [output.get("evalue", "")]
        return _stream("\n".join(map(str, lines)), "stderr", as_plain)
    data = output.get("data", {})
    for mime in ("image/png", "image/jpeg"):
        content = "".join("".join(data.get(mime, "")).split())
        if (
            content
            and not as_plain
            and PICTURE.fullmatch(f"data:{mime};base64,{content}")
        ):
            data = {mime: content}
            return {"output_type": "display_data", "metadata": {}, "data": data}
    if "text/plain" in data:
        return _stream(data["text/plain"], "stdout", as_plain)
    kinds = ", ".join(sorted(map(str, data)))[:200] or str(kind)
    return _stream(f"[output of this kind is not shown: {kinds}]", "stdout", as_plain)


def _stream(text, name, as_plain: bool) -> dict:
    text = unturned("".join(text))
    if as_plain and len(text) > PLAIN_CHARS:
        more = len(text) - PLAIN_CHARS
        text = f"{text[:PLAIN_CHARS]}\n[... {more:,} more characters are not shown]"
    name = "stderr" if name == "stderr" else "stdout"
    return {"output_type": "stream", "name": name, "text": text}


# -- the page --------------------------------------------------------------------------

# formgrader waits for MathJax before it listens to keys: formulas are MathML already
READY = """\
<script>
window.MathJax = {Hub: {Startup: {signal: {Interest: function (told) {
  setTimeout(function () { told("End"); }, 0);
}}}}};
</script>
"""
ON_CLICK = ("toggle_name(true);", "toggle_name(false);")  # formgrader's own, inline


def policy(kind: str, nonce: str) -> str:
    """The content policy of a page; ``nonce`` marks its own scripts."""
    rules = ["default-src 'none'", "img-src data:", "base-uri 'none'"]
    rules += ["form-action 'none'"]
    if kind == FEEDBACK:
        rules += ["style-src 'unsafe-inline'"]
    else:
        hashes = [
            base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
            for code in ON_CLICK
        ]
        own = " ".join(f"'sha256-{value}'" for value in hashes)
        rules += [f"script-src 'nonce-{nonce}' 'unsafe-hashes' {own}"]
        rules += ["style-src 'self' 'unsafe-inline'", "font-src 'self'"]
        rules += ["connect-src 'self'"]
    return "; ".join(rules)


def shown(resources: dict) -> dict:
    """Of nbgrader's resources, what its template for feedback shows."""
    wanted = ("notebook", "score", "max_score", "late_penalty")
    return {"nbgrader": {name: resources["nbgrader"][name] for name in wanted}}


def _templates() -> dict:
    """Where nbgrader keeps its templates and the style that they include."""
    import nbgrader

    base = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader"
    css = base / "static" / "node_modules" / "bootstrap" / "dist" / "css"
    return {
        "extra_template_basedirs": [str(base / "templates")],
        "extra_template_paths": [str(css)],
    }


def render(notebook: dict, kind: str, resources: dict, as_plain: bool) -> dict:
    """The page of one notebook and its policy; see `Renderer` for the limits.

    notebook: with scores and comments in nbgrader's metadata.  kind: `FEEDBACK` or
    `FORMGRADE`.  resources: what the template shows, plain data.
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters import Highlight2HTML, ansi2html
    from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor

    mark, parts, nonce = secrets.token_hex(16), [], secrets.token_urlsafe(16)
    links = kind == FEEDBACK
    ready = READY if kind == FORMGRADE else ""
    without_mathjax = f"{{%- macro mathjax(url='') -%}}{ready}{{%- endmacro -%}}"

    def kept(html: str) -> str:
        parts.append(html)
        return f"{mark}x{len(parts) - 1}x"

    def code(source, *_, **__):
        if as_plain:
            return kept(plain(source))
        return kept(sanitised(Highlight2HTML(pygments_lexer="ipython3")(source)))

    exporter = HTMLExporter(
        template_name=kind,
        preprocessors=[CSSHTMLHeaderPreprocessor],
        extra_loaders=[DictLoader({"mathjax.html.j2": without_mathjax})],
        filters={
            "markdown2html": lambda source: kept(
                plain(source) if as_plain else markdown(source, links)
            ),
            "highlight_code": code,
            "ansi2html": lambda text: kept(sanitised(ansi2html(text))),
        },
        **_templates(),
    )
    nodes = nbformat.from_dict(tame(notebook, as_plain))
    page, _ = exporter.from_notebook_node(nodes, _escaped(resources))
    rules = policy(kind, nonce)
    head, begin, rest = page.partition('id="notebook-container"')
    if kind == FORMGRADE:
        head = head.replace("<script", f'<script nonce="{nonce}"')
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(rules)}">'
    page = head.replace("<head>", f"<head>\n{meta}", 1) + begin + rest
    page = re.sub(rf"{mark}x(\d+)x", lambda found: parts[int(found[1])], page)
    page = page.encode("utf-8", "replace").decode("utf-8")  # halves of characters
    return {"html": page, "policy": rules}


def _escaped(value):
    """Plain data, each text of it escaped: the templates do not do it."""
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    return escape(value) if isinstance(value, str) else value


# -- a process of its own --------------------------------------------------------------


class TooMuch(Exception):
    """A page would have taken more than it may; the message says of what."""


@dataclass(frozen=True)
class Page:
    """A page, its content policy, and why it is shown as plain text, if it is."""

    html: str
    policy: str
    problem: str = ""


TIME_ENDS = [-getattr(signal, n) for n in ("SIGPROF", "SIGALRM") if hasattr(signal, n)]


class Renderer(contextlib.AbstractContextManager):
    """Makes pages in a process of its own, which a new one replaces when it hangs.

    ``with Renderer() as renderer: renderer.page(notebook, FEEDBACK, resources)``.
    """

    process: subprocess.Popen | None = None

    def __exit__(self, *exception) -> None:
        self.close()

    def page(self, notebook: dict, kind: str, resources: dict) -> Page:
        """The page of one learner.

        As plain text, with the reason, when it cannot be made within the limits.
        Raises CourseError when not even that can be made.
        """
        job = {"notebook": notebook, "kind": kind, "resources": resources}
        try:
            return Page(**self._ask({**job, "as_plain": False}))
        except TooMuch as problem:
            why = f"shown as plain text: {problem}"
        try:
            return Page(**self._ask({**job, "as_plain": True}), problem=why)
        except TooMuch as problem:
            raise CourseError(
                f"The page cannot be made, not even as plain text: {problem}.\n"
                "Expected: a page within "
                f"{SECONDS} s and {PAGE_MB} MB.\nDo: look at the notebook in "
                "autograded/; if others fail too, run `course doctor`."
            ) from None

    def _ask(self, job: dict) -> dict:
        if self.process is None:
            self._start()
        reply = self._line(lambda: self._send(job), WAIT_SECONDS)
        if reply is None:
            self.close()
            raise TooMuch(f"more than {WAIT_SECONDS:g} s")
        try:
            answer = json.loads(reply)
        except ValueError:
            code = self.process.wait()
            self.close()
            if code in TIME_ENDS:
                raise TooMuch(f"more than {SECONDS} s of computing") from None
            raise TooMuch(f"its process ended (code {code})") from None
        if "problem" in answer:
            raise TooMuch(answer["problem"])
        return answer

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(SECONDS), str(int(WAIT_SECONDS) + 10)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if self._line(lambda: None, START_SECONDS) != "ready\n":
            self.close()
            raise CourseError(
                "The process that makes pages does not start.\nExpected: nbgrader, nh3 "
                "and latex2mathml.\nDo: `pip install -c constraints.txt -e "
                "'.[instructor]'`, then `course doctor`."
            )

    def _send(self, job: dict) -> None:
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def _line(self, send: Callable[[], None], seconds: float) -> str | None:
        """What the process answers; None when it takes longer."""
        told = []

        def talk(process=self.process):
            try:
                send()
                told.append(process.stdout.readline())
            except (OSError, ValueError):
                told.append("")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        thread.join(seconds)
        return told[0] if told else None

    def close(self) -> None:
        """End the process; may be called again."""
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not sent yet
                    stream.close()


def work(job: dict) -> dict:
    """The answer to one job: a page, or the problem."""
    try:
        made = render(**job)
    except Exception as error:  # whatever a learner's text makes of the libraries
        return {"problem": f"it cannot be rendered ({type(error).__name__})"}
    if len(made["html"]) > PAGE_MB * 10**6:
        return {"problem": f"more than {PAGE_MB} MB"}
    return made


def main() -> None:
    """Work until the input ends.

    The arguments are the most seconds for one job, of processor time and by the clock;
    the system ends the process then, also when its parent is gone.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no page
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import latex2mathml.converter  # noqa: F401 - now, not within the first one's time
    import nbconvert.exporters  # noqa: F401
    import nh3  # noqa: F401

    def clocks(computing: float, waiting: float) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, computing)
            signal.setitimer(signal.ITIMER_REAL, waiting)

    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        clocks(*map(float, sys.argv[1:3]))
        answers.write(json.dumps(work(json.loads(line))) + "\n")
        answers.flush()
        clocks(0, 0)


if __name__ == "__main__":
    main()
