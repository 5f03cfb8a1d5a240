"""Pages of learners' work: harmless whatever is in them, and bounded in time."""

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest
from test_grading_records import NAME, entered, exported, record, template, toy

from course_lib.course import cli
from course_lib.course.grading import gradebook, nbgrader_settings, rendering
from course_lib.errors import CourseError

pytest.importorskip("nbgrader", reason="nbgrader (the extra `instructor`) is missing")
pytest.importorskip("nh3", reason="nh3 (the extra `instructor`) is missing")
__all__ = ["template", "toy"]  # fixtures

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
PNG += "AABJRU5ErkJggg=="
RUN = "document.title='changed'"
AWAY = "http://127.0.0.1:{port}"  # whoever is asked there takes note of it
TRICKS = {
    "script": f"<script>{RUN}</script>",
    "script, split": f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    "script from afar": f"<script src='{AWAY}/a.js'></script>",
    "module": f"<script type=module>import '{AWAY}/m.js'</script>",
    "picture": f"<img src={AWAY}/a.png onerror={RUN}>",
    "picture, set": f"<img srcset='{AWAY}/b.png 2x' src=x onerror=\"{RUN}\">",
    "picture of markdown": f"![p]({AWAY}/c.png)",
    "picture by reference": f"![p][q]\n\n[q]: {AWAY}/d.png",
    "picture, SVG as data": "![p](data:image/svg+xml;base64,{svg})",
    "link": f"[a](javascript:{RUN})",
    "link, spelled": f"[a](JaVa&#x53;cript&colon;{RUN})",
    "link, spaced": f"[a](<\x01 java\tscript:{RUN}>)",
    "link by reference": f"[a][b]\n\n[b]: javascript:{RUN}",
    "link, automatic": f"<javascript:{RUN}>",
    "link, data": f"[a](data:text/html,<script>{RUN}</script>)",
    "link, vbscript": "[a](vbscript:msgbox)",
    "link, relative": "[a](../../../formgrader?path=/tmp)",
    "link, same scheme": "[a](//127.0.0.1:{port}/x)",
    "link as HTML": f"<a href=' javascript:{RUN}' onclick=\"{RUN}\" ping={AWAY}>a</a>",
    "SVG": f'<svg onload="{RUN}"><script>{RUN}</script><a xlink:href=\'javascript:'
    f"{RUN}'><text>x</text></a><image href='{AWAY}/e.png'/></svg>",
    "SVG, use": f"<svg><use href='{AWAY}/f.svg#x'/><animate onbegin={RUN}></svg>",
    "base": f"<base href='{AWAY}/'>",
    "refresh": f"<meta http-equiv=refresh content='0;url={AWAY}/g'>",
    "policy": "<meta http-equiv=Content-Security-Policy content='script-src *'>",
    "style sheet": f"<link rel=stylesheet href={AWAY}/h.css>",
    "style": f"<style>@import url({AWAY}/i.css); body {{display: none}}</style>",
    "style of a tag": f'<p style="background:url({AWAY}/j.png)">x</p>',
    "prefetch": f"<link rel=prefetch href={AWAY}/k>",
    "form": f"<form action={AWAY}><button autofocus onfocus={RUN}>b</button></form>",
    "button of a form": f"<button formaction='javascript:{RUN}'>b</button>",
    "frame": f"<iframe src={AWAY}/l srcdoc='<script>{RUN}</script>'></iframe>",
    "object": f"<object data={AWAY}/m></object><embed src={AWAY}/n>",
    "media": f"<video src={AWAY}/o poster={AWAY}/p autoplay onplay={RUN}></video>",
    "sound": f"<audio src={AWAY}/q autoplay></audio>",
    "portal": f"<details open ontoggle={RUN}><summary>s</summary></details>",
    "marquee": f"<marquee onstart={RUN}>m</marquee>",
    "names of the page": "<input class=score id=open><p id=open-comment class='score "
    "navbar-fixed-top'>x</p><img name=formgrader><a id=MathJax></a>",
    "way out": f"</pre></div></div></div></main></body></html><script>{RUN}</script>",
    "comment": f"<!--><script>{RUN}</script>--> <!--><img src=x onerror={RUN}>-->",
    "text area": f"<textarea></textarea><img src=x onerror={RUN}><textarea>",
    "title": f"<title></title><script>{RUN}</script>",
    "math as HTML": f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;"
    f"&lt;img src=1 onerror={RUN}&gt;'>",
    "math with a link": f"<math href='javascript:{RUN}'><mi>x</mi></math>",
    "annotation": "<math><annotation-xml encoding='text/html'><img src=x onerror="
    f"{RUN}></annotation-xml></math>",
    "LaTeX link": rf"$\href{{javascript:{RUN}}}{{x}}$",
    "LaTeX text": rf"$\text{{</math><script>{RUN}</script>}}$",
    "LaTeX picture": rf"$$\includegraphics{{{AWAY}/r.png}}$$",
    "LaTeX class": r"$\class{score}{x} \cssId{open}{x}$",
    "code": f"```html\n<script>{RUN}</script>\n```",
    "code's language": f"```<img/src=x/onerror={RUN}>\nx\n```",
    "mermaid": f"```mermaid\ngraph TD; A[<img src=x onerror={RUN}>]\n```",
    "heading": f"# <img src=x onerror={RUN}>",
    "table": f"|a|\n|---|\n|<img src=x onerror={RUN}>|",
    "template": f"<template shadowrootmode=open><script>{RUN}</script></template>",
    "noscript": f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
}


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def spelled(trick, port=9):
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"{RUN}\"/>"
    text = trick.replace("{svg}", base64.b64encode(svg.encode()).decode())
    return text.replace("{port}", str(port))


def harm(html):
    """What in a learner's part of a page is more than text, as a list."""
    found = []
    for tag, attributes in Page(html).tags:
        if tag not in rendering.TAGS:
            found.append(tag)
        for name, value in attributes.items():
            known = rendering.ATTRIBUTES.get(tag, set()) | {"rel"}
            if name not in known:
                found.append(f"{tag} {name}")
            if name == "class" and not set(value.split()) <= CLASSES:
                found.append(f"{tag} class={value}")
            if name == "href" and not value.startswith(("http://", "https://")):
                found.append(f"{tag} {name}={value}")
            if name == "src" and not value.startswith("data:image/png;base64,"):
                found.append(f"{tag} {name}={value}")
    return found


CLASSES = set().union(*rendering.class_names().values())


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_gets_into_a_page(trick, links):
    html = rendering.markdown(f"before\n\n{spelled(TRICKS[trick])}\n\nafter", links)
    assert harm(html) == [], html
    assert "before" in html
    if not links:
        assert "<a " not in html


@pytest.mark.parametrize(
    "text",
    [
        r"$\hspace{-900em} 16 of 16$",
        "<math><mpadded height='-900em' depth='900em'><mi>16</mi></mpadded></math>",
        "<math><mo minsize='90000px'>(</mo><mspace width='1e9em'></mspace></math>",
        "<table><tr><td colspan=1000 rowspan=65534>x</td></tr></table>",
        "<math><mfrac linethickness='500px'><mi>a</mi><mi>b</mi></mfrac></math>",
    ],
)
def test_nothing_is_laid_over_the_rest_of_a_page(text):
    html = rendering.markdown(text, links=True)
    values = [v for _, a in Page(html).tags for k, v in a.items() if k != "alttext"]
    assert not re.search(r"\d{4}|900|500|e9", " ".join(values)), html


def test_usual_gaps_of_formulas_stay():
    html = rendering.markdown(r"$a \quad b \! c \, d$ $\binom{n}{k} \big( x$", True)
    for gap in ("1em", "negativethinmathspace", "0.167em", "1.2em"):
        assert f'"{gap}"' in html, html


def test_text_is_shown_in_the_order_in_which_it_stands():
    source = "ok = 1 # \u202e }2{ \u2066 done"
    output = {"output_type": "stream", "name": "stdout", "text": "\u202dxyz"}
    cells = [
        {"cell_type": kind, "source": source, "outputs": [output], "metadata": {}}
        for kind in ("code", "markdown")
    ]
    made = json.dumps(rendering.tame({"cells": cells}), ensure_ascii=False)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", made)
    assert made.count("[U+202E]") == 2 and "[U+202D]xyz" in made


def test_what_is_harmless_stays():
    text = (
        "# Title\n\n**bold** *slanted* `code` ~~gone~~\n\n1. one\n2. two\n\n> said\n\n"
        "|a|b|\n|---|--:|\n|1|2|\n\n```python\ndef f(): return 1\n```\n\n"
        "[paper](https://arxiv.org/abs/1912.11370) $a<b$ and $$\\frac{a}{b}$$\n\n"
        f"![dot](data:image/png;base64,{PNG})\n\n"
        "<details><summary>Help</summary>text</details>"
    )
    html = rendering.markdown(text, links=True)
    tags = [tag for tag, _ in Page(html).tags]
    for tag in (
        *("h1", "strong", "em", "code", "del", "ol", "li", "blockquote", "table", "td"),
        *("pre", "span", "a", "math", "mfrac", "img", "details", "summary"),
    ):
        assert tag in tags, tag
    assert 'href="https://arxiv.org/abs/1912.11370"' in html and "noopener" in html
    assert harm(html) == []
    shown = rendering.markdown(text, links=False)
    assert "paper (https://arxiv.org/abs/1912.11370)" in shown


def test_what_is_not_shown_is_said():
    html = rendering.markdown("![cat](http://evil.example/c.png) ![d][e]", True)
    assert "picture not shown: cat (http://evil.example/c.png)" in html
    html = rendering.markdown("[a](javascript:1) [b](../x)", True)
    assert html.count("address not shown") == 2
    html = rendering.markdown(r"$\frac$ $\left( x$", True)
    assert r"\frac" in html and r"\left( x" in html


def test_outputs_are_text_and_pictures():
    kinds = {
        "text/html": f"<script>{RUN}</script>",
        "image/svg+xml": f"<svg onload={RUN}>",
        "application/javascript": RUN,
        "text/latex": r"\href{javascript:1}{x}",
        "text/markdown": "[a](javascript:1)",
        "application/vnd.jupyter.widget-view+json": "{}",
        "text/vnd.mermaid": "graph TD",
        "image/png": "AA' onerror='x",
    }
    for kind, content in kinds.items():
        made = {"output_type": "display_data", "metadata": {}, "data": {kind: content}}
        shown = rendering.shown_output(made, False)
        assert shown["output_type"] == "stream" and kind in shown["text"]
        made["data"]["text/plain"] = "as text"
        assert rendering.shown_output(made, False)["text"] == "as text"
    made = {"output_type": "execute_result", "data": {"image/png": [PNG[:9], PNG[9:]]}}
    assert rendering.shown_output(made, False)["data"] == {"image/png": PNG}
    made = {"output_type": "error", "traceback": ["\x1b[31m<script>\x1b[0m"]}
    assert rendering.shown_output(made, False)["name"] == "stderr"


# -- whole pages -----------------------------------------------------------------------


def tricky(port=9):
    """A notebook in which every place that a learner fills holds every trick."""
    tricks = "\n\n".join(spelled(trick, port) for trick in TRICKS.values())
    made = record()["notebook"]
    for cell in made["cells"]:
        if cell["id"] in ("open", "double"):
            cell["source"] = tricks
    made["cells"][2]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": tricks},
        {"output_type": "error", "traceback": [f"\x1b[31m{tricks}\x1b[0m"]},
        {
            "output_type": "display_data",
            "metadata": {"text/html": {"isolated": True}},
            "data": {"text/html": tricks},
        },
        {"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/plain": tricks}},
    ]
    own = {"id": "<script>", "metadata": {"tags": ["'><script>"]}, "source": tricks}
    made["cells"].append({"cell_type": "markdown", **own})
    made["cells"].append({"cell_type": "raw", **own})
    made["metadata"] = {"title": f"</title><script>{RUN}</script>", "widgets": {}}
    made["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": f"</script>{tricks}"}
    }
    return made


RESOURCES = {
    rendering.FEEDBACK: {
        "nbgrader": {"notebook": NAME, "score": 5, "max_score": 6, "late_penalty": 0}
    },
    rendering.FORMGRADE: {
        "assignment_id": NAME,
        "notebook_id": NAME,
        "submission_id": "abc",
        "index": 0,
        "total": 1,
        "base_url": "",
        "student": "ann",
        "last_name": f"<img src=x onerror={RUN}>",
        "first_name": f"</a><script>{RUN}</script>",
        "notebook_path": "/x",
    },
}


class Asked(BaseHTTPRequestHandler):
    """Serves `pages`, and notes what else is asked for."""

    def do_GET(self):
        """A page, or nothing."""
        html = self.server.pages.get(self.path)
        if html is None:
            self.server.asked.append(self.path)
        self.send_response(200 if html else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((html or "").encode())

    do_POST = do_GET  # noqa: N815 - the name is the library's

    def log_message(self, *_):
        """Silent."""


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    server.pages, server.asked = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def pages(site):
    """Both kinds of page of the tricky notebook, made as they are made for a class."""
    made = tricky(site.server_address[1])
    for cell in made["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] |= {"score": 0, "points": 1, "comment": "Hm."}
    with rendering.Renderer() as renderer:
        return {kind: renderer.page(made, kind, RESOURCES[kind]) for kind in RESOURCES}


@pytest.mark.slow
def test_a_page_of_feedback_holds_no_script_and_no_address(pages):
    page = pages[rendering.FEEDBACK]
    assert page.problem == ""
    tags = Page(page.html).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "iframe", "form", "base", "link", "object", "svg"}
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")]
        if "src" in attributes:
            assert tag == "img" and attributes["src"].startswith("data:image/png")
        if "href" in attributes:
            assert re.match(r"https?://|#", attributes["href"]), attributes
    (meta,) = [a["content"] for t, a in tags if t == "meta" and "http-equiv" in a]
    assert meta == page.policy and "default-src 'none'" in meta
    assert "script" not in meta and "img-src data:;" in meta
    text = "".join(Page(page.html).text)
    assert "(Score: 5.0 / 6.0)" in text and "Comments: Hm." in text


@pytest.mark.slow
def test_a_page_of_formgrader_holds_its_own_scripts_alone(pages):
    page = pages[rendering.FORMGRADE]
    assert page.problem == ""
    (nonce,) = re.findall(r"'nonce-([\w-]+)'", page.policy)
    head, _, body = page.html.partition('id="notebook-container"')
    assert "<script" not in body and head.count("<script") > 8
    own = [a for tag, a in Page(page.html).tags if tag == "script"]
    assert {a["nonce"] for a in own} == {nonce}
    assert all(a.get("src", "/").startswith("/formgrader/static/") for a in own[:5])
    handlers = [
        value
        for _, attributes in Page(page.html).tags
        for name, value in attributes.items()
        if name.startswith("on")
    ]
    assert set(handlers) == set(rendering.ON_CLICK)
    ids = re.findall(r'<(?:input|textarea)[^>]* id="([^"]+)"', page.html)
    assert ids.count("open") == 1 and "open-comment" in ids
    assert "<a " not in body and "evil" not in page.policy


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def browsed(address, profile):
    """The page's document after it has been open for some (virtual) seconds."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    flags += ["--disable-background-networking", f"--user-data-dir={profile}"]
    command = [CHROMIUM, *flags, "--virtual-time-budget=4000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    return done.stdout


@needs_chromium
@pytest.mark.slow
def test_a_browser_runs_nothing_and_asks_for_nothing(site, pages, tmp_path):
    """The stand-ins do run where nothing holds them: the test can fail."""
    port = site.server_address[1]
    raw = "".join(f"<div>{spelled(trick, port)}</div>" for trick in TRICKS.values())
    for name in ("refresh", "policy", "base", "way out", "title"):
        raw = raw.replace(spelled(TRICKS[name], port), "")
    site.pages["/raw"] = f"<html><title>t</title><body>{raw}</body></html>"
    site.pages |= {f"/{kind}": page.html for kind, page in pages.items()}
    assert "<title>changed</title>" in browsed(
        f"{AWAY}/raw".format(port=port), tmp_path
    )
    assert {"/a.png", "/a.js"} <= set(site.asked)
    site.asked.clear()
    for kind in RESOURCES:
        shown = browsed(f"{AWAY}/{kind}".format(port=port), tmp_path)
        assert f"<title>{NAME}</title>" in shown and "picture not shown" in shown
    others = {p for p in site.asked if not p.startswith("/formgrader/static/")}
    assert others <= {"/favicon.ico"}


# -- rendering that does not end -------------------------------------------------------

STAND_IN = """
import json, os, sys, time
from course_lib.course.grading import rendering
real = rendering.render
def render(notebook, kind, resources, as_plain):
    text = json.dumps(notebook)
    for word, act in {
        "SLEEPS": lambda: time.sleep(600),
        "SPINS": lambda: [None for _ in iter(int, 1)],
        "DIES": lambda: os.kill(os.getpid(), 9),
        "GROWS": lambda: bytearray(rendering.MEMORY_GB * 2**30),
        "FAILS": lambda: 1 / 0,
        "LONG": lambda: None,
    }.items():
        if word in text and (not as_plain or "ALWAYS" in text):
            act()
    made = real(notebook, kind, resources, as_plain)
    if "LONG" in text and not as_plain:
        made["html"] += " " * (rendering.PAGE_MB * 10**6)
    return made
rendering.render = render
rendering.main()
"""
WHY = {
    "SPINS": "more than 2 s of computing",
    "DIES": "its process ended",
    "GROWS": "MemoryError",
    "FAILS": "ZeroDivisionError",
    "LONG": "more than 40 MB",
}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A renderer that hangs, dies and grows at certain words."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    monkeypatch.setattr(rendering, "COMMAND", (sys.executable, str(path)))
    monkeypatch.setattr(rendering, "SECONDS", 2)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.mark.slow
def test_one_page_that_does_not_end_keeps_nobody_from_theirs(
    toy, small_course, stand_in, capsys
):
    for word in WHY:
        entered(toy, f"bad-{word}", answer=f"{word} here.")
    entered(toy, "bad-always", answer="FAILS ALWAYS.")
    for student in ("ann", "zoe"):
        entered(toy, student)
    entered(toy, "gone")
    shutil.rmtree(small_course / "autograded" / "gone")
    old = small_course / "feedback" / "bad-always" / NAME / f"{NAME}.html"
    old.parent.mkdir(parents=True)
    old.write_text("of an older version")
    note = small_course / "grading" / NAME / "records" / "bad-LONG.json"
    note.parent.mkdir()
    note.write_text('{"student": "bad-LONG"}')
    assert cli.main(["feedback", "90"]) == 1
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "7 pages" in said and "bad-always" in said and "is missing" in said
    for word, why in WHY.items():
        assert f"bad-{word}" in said and why in said, word
        page = small_course / "feedback" / f"bad-{word}" / NAME / f"{NAME}.html"
        assert f"{word} here." in page.read_text() and "<pre>" in page.read_text()
    for student in ("ann", "zoe"):
        page = small_course / "feedback" / student / NAME / f"{NAME}.html"
        assert "(Score: 5.0 / 6.0)" in page.read_text()
    assert not old.exists()
    assert "more than 40 MB" in json.loads(note.read_text())["feedback"]


@pytest.mark.slow
def test_a_page_that_waits_is_ended_by_the_clock(stand_in, monkeypatch):
    """And the next one is made."""
    kind = rendering.FORMGRADE
    with rendering.Renderer() as renderer:
        monkeypatch.setattr(rendering, "WAIT_SECONDS", 0.2)
        with pytest.raises(CourseError, match="as plain text: more than 0.2 s"):
            made = record(answer="SLEEPS ALWAYS")["notebook"]
            renderer.page(made, kind, RESOURCES[kind])
        monkeypatch.setattr(rendering, "WAIT_SECONDS", 60.0)
        page = renderer.page(record()["notebook"], kind, RESOURCES[kind])
    assert page.problem == "" and "Because." in page.html


def test_a_long_text_is_cut_with_a_word():
    long = "x" * 50_005
    made = record(answer=long)["notebook"]
    made["cells"][2]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": long}
    ]
    kind = rendering.FORMGRADE
    page = rendering.render(made, kind, RESOURCES[kind], as_plain=True)["html"]
    assert page.count("[... 30,005 more characters are not shown]") == 2


def test_halves_of_characters_and_odd_cells_are_bounded():
    kind = rendering.FORMGRADE
    made = record(answer="half \ud800 of one, and \x00 \x1b[2J \u202e")["notebook"]
    for as_plain in (False, True):
        job = {"notebook": made, "kind": kind, "resources": RESOURCES[kind]}
        answer = rendering.work({**job, "as_plain": as_plain})
        assert answer.get("problem", "").startswith("it cannot") or answer["html"]
    assert "half ? of one" in answer["html"] and answer["html"].encode()
    for cells in (None, 3, [None], [{}], [{"cell_type": "markdown"}], {"a": 1}):
        job["notebook"] = {"cells": cells}
        assert (
            "cannot be rendered" in rendering.work({**job, "as_plain": True})["problem"]
        )


# -- nbgrader's own command, and formgrader --------------------------------------------


@pytest.mark.slow
def test_nbgraders_own_command_makes_these_pages(toy, small_course):
    from nbgrader.apps import NbGraderAPI

    entered(toy, answer=f"[a](javascript:{RUN}) $x^2$")
    api = NbGraderAPI(config=nbgrader_settings.configuration())
    done = api.generate_feedback(NAME, "ann", force=True)
    assert done["success"], done
    page = small_course / "feedback" / "ann" / NAME / f"{NAME}.html"
    text = page.read_text("utf-8")
    assert "Content-Security-Policy" in text and "<msup>" in text
    assert "<script" not in text and 'href="javascript' not in text


@pytest.fixture
def server(toy, small_course, tmp_path):
    """A Jupyter server with formgrader, started in the course: asks it for a page."""
    entered(toy, answer=f"[a](javascript:{RUN}) $x^2$ ![p](http://127.0.0.1:9/p.png)")
    root = Path(__file__).parents[3]
    shutil.copy(root / "nbgrader_config.py", small_course)
    (small_course / "autograded" / "ann" / NAME / "own.html").write_text("<b>x</b>")
    log = open(tmp_path / "server.log", "w+")
    command = [sys.executable, "-m", "jupyter", "server", "--no-browser", "--port=0"]
    command += ["--allow-root", "--IdentityProvider.token="]
    command += ["--ServerApp.disable_check_xsrf=True"]
    command += [
        "--ServerApp.jpserver_extensions=nbgrader.server_extensions.formgrader=True"
    ]
    process = subprocess.Popen(command, cwd=small_course, stdout=log, stderr=log)
    try:
        for _ in range(300):
            time.sleep(0.2)
            text = (tmp_path / "server.log").read_text()
            found = re.search(r"http://[\w.]+:(\d+)/", text)
            assert process.poll() is None, text
            if found:
                break

        def ask(path, method="GET", body=None):
            address = f"http://127.0.0.1:{found[1]}{path}"
            request = urllib.request.Request(address, body, method=method)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.headers, answer.read().decode()

        ask.address = f"http://127.0.0.1:{found[1]}"
        yield ask
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.mark.slow
def test_formgrader_shows_these_pages_and_takes_points(
    server, small_course, toy, tmp_path
):
    with gradebook.opened(toy) as book:
        where = book.book.find_submission_notebook(NAME, NAME, "ann").id
    headers, page = server(f"/formgrader/submissions/{where}/")
    policy = headers["Content-Security-Policy"]
    assert "'nonce-" in policy and "frame-ancestors 'self'" in policy
    assert "<msup>" in page and "picture not shown: p" in page
    body = page.partition('id="notebook-container"')[2]
    assert "<script" not in body and "<a " not in body
    if CHROMIUM:  # its scripts run under the policy: they ask for the scores
        address = f"{server.address}/formgrader/submissions/{where}/"
        shown = browsed(address, tmp_path / "profile")
        assert re.search(r'id="double-test"[^>]* placeholder="3"', shown)
        assert shown.count('placeholder="Type any comments here') == 3
    headers, _ = server(f"/formgrader/submissions/{where}/own.html")
    assert "sandbox" in headers["Content-Security-Policy"]
    headers, _ = server("/formgrader/gradebook")
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    trap = tmp_path.parent / f"{tmp_path.name}-trap"
    trap.mkdir()
    (trap / "nbgrader_config.py").write_text(f"open({str(trap / 'ran')!r}, 'w')")
    with pytest.raises(HTTPError, match="403"):
        server(f"/formgrader?path={trap}")
    assert not (trap / "ran").exists()
    _, grades = server(f"/formgrader/api/grades?submission_id={where}")
    (row,) = [one for one in json.loads(grades) if one["name"] == "open"]
    row["manual_score"] = 1.0
    server(f"/formgrader/api/grade/{row['id']}", "PUT", json.dumps(row).encode())
    (line,) = exported(small_course)
    assert (line["score"], line["to_mark"]) == ("6.0", "")
