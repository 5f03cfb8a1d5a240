"""The web edition: whole, without a broken link, without anything from elsewhere."""

import importlib.util
import io
import json
import re
import sys

import pytest

from course_lib import paths
from course_lib.course import runner
from course_lib.course.grading import release
from course_lib.course.web import page_sources, website
from course_lib.errors import CourseError
from course_lib.lessons import claims

EXTRA = ("sphinx", "myst_nb", "pydata_sphinx_theme", "latex2mathml")
installed = all(importlib.util.find_spec(name) for name in EXTRA)
with_extra = pytest.mark.skipif(not installed, reason="the extra `web` is missing")


def web_check():
    path = paths.ROOT / "tools" / "web_check.py"
    spec = importlib.util.spec_from_file_location("web_check", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@with_extra
@pytest.mark.slow
def test_a_site_of_one_lesson(tmp_path):
    """One test, so that parallel workers build one site.

    Of the library it has every tenth module; the test below reads the pages of all.
    """
    some = page_sources.library()[::10]
    site = website.build(tmp_path / "site", runner.lessons(["08"]), some)
    assert site.warnings == [], "course web exits with 1 for these"
    it_is_whole(site.folder)
    the_lesson_has_its_formulas_figures_and_cells(site.folder)
    a_claim_and_its_cell_lead_to_each_other(site.folder)
    it_asks_nothing_of_other_hosts(site.folder)
    it_can_be_heard(site.folder)
    website.check_folder(site.folder)  # it may be replaced: no error
    it_gives_no_solution_away(site.folder)


def it_is_whole(folder):
    checked, broken, _ = web_check().broken_links(folder)
    assert checked > 1000 and broken == []
    for name in ("index", "claims", "notebooks/08_lora", "data/index", "search"):
        assert (folder / f"{name}.html").is_file(), name
    assert (folder / "searchindex.js").stat().st_size > 10_000


def it_can_be_heard(folder):
    """What axe-core found once: a link in a link, heads and names without words."""
    for path in sorted(folder.rglob("*.html")):
        page = path.read_text("utf-8")
        for link in re.findall(r"<a\b[^>]*>(.*?)</a>", page, re.DOTALL):
            assert "<a " not in link, f"{path.name}: a link in a link: {link[:80]}"
        assert not re.search(r"<th[^>]*>\s*</th>", page), f"{path.name}: an empty head"
        assert "<summary aria-label" not in page, f"{path.name}: a name of other words"


@with_extra
def test_a_link_in_html_is_known_as_one():
    from docutils import nodes

    from course_lib.course.web import extension

    texts = [nodes.Text("Lesson 04") for _ in range(3)]
    tags = [nodes.raw("", tag, format="html") for tag in ('<a href="x">', "</a>")]
    nodes.paragraph("", "", texts[0], tags[0], texts[1], tags[1], texts[2])
    assert [extension.inside_link(text) for text in texts] == [False, True, False]


def the_lesson_has_its_formulas_figures_and_cells(folder):
    page = (folder / "notebooks" / "08_lora.html").read_text("utf-8")
    notebook = json.loads(runner.lessons(["08"])[0].read_text("utf-8"))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])  # a cell that asks needs a kernel: left out
        asks = bool(re.search(r"predict\.(number|choice|text)\(", source))
        shown = f'id="cell-{cell["id"]}"' in page
        assert shown is not asks or cell["cell_type"] == "markdown"
    figures = re.findall(r'<img alt="([^"]+)" src="\.\./(figures/\w+\.png)"', page)
    stored = sum(
        "image/png" in output.get("data", {})
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    )
    assert len(figures) == stored > 0
    assert all((folder / name).is_file() for _, name in figures)
    assert page.count("<math ") > 20 and r"\frac" not in re.sub("<math[^>]*>", "", page)
    assert "this figure has controls" in page


def a_claim_and_its_cell_lead_to_each_other(folder):
    ledger = (folder / "claims.html").read_text("utf-8")
    lesson = (folder / "notebooks" / "08_lora.html").read_text("utf-8")
    for row in claims.ledger():
        page = (folder / "claims" / f"{row['id'].lower()}.html").read_text("utf-8")
        assert f'href="claims/{row["id"].lower()}.html"' in ledger
        if row["lesson"] == "08":
            assert f"../notebooks/08_lora.html#cell-{row['cell']}" in page
            assert f"../claims/{row['id'].lower()}.html" in lesson


def test_a_claim_shows_each_world_by_itself():
    found = "Small world: two points more. Real world (Lite0): none, ± 1"
    row = dict.fromkeys(claims.FIELDS, "x") | {"finding": found, "notebook": ""}
    text = page_sources.claim_text(row, {}).splitlines()
    assert "**Small world.** two points more" in text
    assert any(x.startswith("**Real world.**") and "none, ± 1" in x for x in text)
    assert claims.by_world("both the same") == {"": "both the same"}
    assert claims.by_world(found)["Real world"] == "(Lite0): none, ± 1"


def it_asks_nothing_of_other_hosts(folder):
    loads = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]+"
    found = [
        (path.name, link)
        for path in folder.rglob("*.html")
        for link in re.findall(loads, path.read_text("utf-8"))
    ]
    assert found == []


def it_gives_no_solution_away(folder):
    assert not list(folder.rglob("*solutions*"))
    if release.solutions().is_dir():  # learners have none to compare with
        assert release.lessons() and release.leaks(folder / "files") == []


def complaints(page):
    """What is said of a page of Markdown when it is read."""
    from docutils.core import publish_doctree
    from myst_parser.docutils_ import Parser

    said = io.StringIO()
    settings = dict(warning_stream=said)
    publish_doctree(page, parser=Parser(), settings_overrides=settings)
    return said.getvalue()


@pytest.mark.slow
@with_extra
def test_the_page_of_each_module_is_read_without_a_warning():
    pages = {path: page_sources.module_page(path) for path in page_sources.library()}
    found = {path: complaints(page) for path, page in pages.items()}
    assert {path: said for path, said in found.items() if said} == {}
    page = next(iter(pages.values()))
    for broken in ("### no heading above", "{nosuch}`role`", "```{nosuch}\n```"):
        assert "WARNING" in complaints(f"{page}\n\n{broken}\n"), broken


@pytest.mark.slow
@with_extra
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(CourseError, match="something else"):
        website.build(tmp_path)
    assert mine.read_text() == "mine"
    with pytest.raises(CourseError, match="the course itself"):
        website.build(paths.ROOT)


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    with pytest.raises(CourseError, match=r"Do: .*-e '\.\[web\]'"):
        website.build(tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_lesson_that_was_not_executed_is_refused(write_lesson, small_course):
    path = write_lesson("00_start", "1 + 1")
    with pytest.raises(CourseError, match="not executed"):
        page_sources.notebook_page(path, small_course / "source", {})


def test_links_lead_to_pages_or_are_no_links(monkeypatch):
    monkeypatch.setattr(page_sources.links, "in_repository", lambda name: "")
    known = {"data": ("data/index", ""), "tools": ("files", "files-tools")}
    readme = paths.ROOT / "README.md"
    text = "[a](data), [b](tools), [c](LICENSE), [d](https://example.org), [e](#f)"
    assert page_sources.with_links(text, readme, known) == (
        '<a href="data/index.html">a</a>, <a href="files.html#files-tools">b</a>, '
        "c, [d](https://example.org), [e](#f)"
    )
    with pytest.raises(CourseError, match="outside"):
        page_sources.with_links("[x](../x.md)", readme, known)


@pytest.mark.parametrize(
    "said, shown",
    [
        ("a * b, x_1 [n]", r"a \* b, x\_1 \[n\]"),
        ("``code_1`` and :func:`fit`", "``code_1`` and `fit`"),
        ("- no list", r"\- no list"),
        ("", ""),
    ],
)
def test_docstrings_keep_their_signs(said, shown):
    assert page_sources.plain(said) == shown


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a id="x"></a><a href="b.html#y"></a>')
    (tmp_path / "b.html").write_text('<a href="c.html"><a href="#z"><a href="a.html">')
    checked, broken, _ = web_check().broken_links(tmp_path)
    assert checked == 4
    assert [line.partition(":")[0] for line in broken] == ["a.html", "b.html", "b.html"]


@with_extra
@pytest.mark.parametrize(
    "latex, operator", [(r"\arg\min_j L_j", "argmin"), (r"\tfrac12 \arg z", "arg")]
)
def test_latex_becomes_mathml(latex, operator):
    from course_lib.course.web import extension

    made = extension.mathml(latex, display=True)
    assert 'display="block"' in made and f">{operator}<" in made
    assert "\\" not in made.replace(f'alttext="{latex}"', "")
    assert made.startswith('<math alttext="') and made.count("alttext") == 1


@with_extra
def test_a_heading_that_is_a_formula_can_be_heard():
    from course_lib.course.web import extension

    made = extension.mathml(r"\alpha", display=False)
    cell = f'<th class="head"><p>{made}</p></th>'
    told = extension.FORMULA_HEAD.sub(extension.spoken, cell)
    assert '<span class="visually-hidden">alpha</span></th>' in told
    assert told.count("<math aria-hidden") == 1
