"""The pages of the web edition, as sources for Sphinx.

The folder mirrors the repository: README.md becomes ``index.md``, lessons and exercises
stay notebooks, cards stay Markdown; the ledger, the library and the list of files are
written from what they describe.  ``solutions/`` is never read.
"""

import ast
import base64
import html
import json
import re
import shutil
import struct
from hashlib import sha256
from pathlib import Path

import nbformat

from course_lib import paths
from course_lib.course import exercises, learner_copy, links, runner
from course_lib.errors import CourseError
from course_lib.lessons import claims

EXTRA = "extra"  # copied to the site as it is: figures and notebooks to download
IMAGE = re.compile(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)">')
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
PLACE = re.compile(r"(?<!!)\[([^\]]*)\]\(#([^)\s]+)\)")  # a link within a page
SECTIONS = {  # of the site, in the order of its navigation: {page: title}
    "lessons": "Lessons",
    "exercises/index": "Exercises",
    "claims": "Claims",
    "data/index": "Data and models",
    "library/index": "Library",
    "docs/index": "Running it, changing it",
}
FOLDERS = {  # of the repository: the page that shows them
    "notebooks": ("lessons", ""),
    "exercises": ("exercises/index", ""),
    "data": ("data/index", ""),
    "data/cards": ("data/index", ""),
    "data/claims.csv": ("claims", ""),
    "course_lib": ("library/index", ""),
    "docs": ("docs/index", ""),
}
LISTED = ("tests", "benchmarks", "tools")  # folders of scripts, on the page "files"


def library() -> list[Path]:
    """The modules that have a page."""
    return sorted(
        path
        for path in (paths.ROOT / "course_lib").rglob("*.py")
        if path.name != "__init__.py" or path.parent.name != "course_lib"
    )


def write(
    source: Path,
    lessons: list[Path] | None = None,
    modules: list[Path] | None = None,
) -> None:
    """Write all sources to the new folder ``source``.

    lessons, modules: paths of those that get a page (default: all).  Raises CourseError
    for a lesson without stored outputs.
    """
    lessons = runner.lessons() if lessons is None else lessons
    modules = library() if modules is None else modules
    questions = exercises.notebooks()
    cards = sorted([*paths.DATA.glob("cards/*.md"), *paths.MODELS.rglob("*.md")])
    documents = sorted((paths.ROOT / "docs").glob("*.md"))
    known = dict(FOLDERS)
    for path in [*lessons, *questions, *cards, *documents]:
        known[relative(path)] = (page_of(path), "")
    known |= {path.stem[:2]: known[relative(path)] for path in lessons}
    known |= {relative(path.parent): known[relative(path)] for path in questions}
    for path in modules:
        known |= library_links(path)
    for folder in LISTED:
        known[folder] = ("files", anchor("files", folder))
        for path in sorted((paths.ROOT / folder).glob("*.py")):
            known[relative(path)] = known[folder]

    save(source, "index.md", front_page(known))
    save(source, "lessons.md", lesson_list(lessons))
    for path in lessons:
        save(source, relative(path), notebook_page(path, source, known))
    save(source, "exercises/index.md", exercise_list(questions))
    for path in questions:
        save(source, relative(path), notebook_page(path, source, known, False))
    rows = claims.ledger()
    save(source, "claims.md", claims_page(rows))
    for row in rows:
        save(source, f"{claim_page(row)}.md", claim_text(row, known))
    save(source, "data/index.md", card_list(cards))
    save(source, "library/index.md", library_list(modules))
    for path in modules:
        save(source, f"{library_page(path)}.md", module_page(path))
    save(source, "docs/index.md", document_list(documents))
    for path in [*cards, *documents]:
        save(source, relative(path), with_links(path.read_text("utf-8"), path, known))
        for picture in [*path.parent.glob("*.png"), *path.parent.glob("*.svg")]:
            copy(picture, source / relative(picture))
    save(source, "files.md", file_list())
    save(source, "links.json", json.dumps(known, indent=0))


# -- small things -------------------------------------------------------------------


def relative(path: Path) -> str:
    """A path in the repository, with forward slashes."""
    return path.relative_to(paths.ROOT).as_posix()


def save(source: Path, name: str, content: str | bytes) -> None:
    """Write one source; the folder is a temporary one, so nothing is synchronised."""
    path = source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode("utf-8")
    path.write_bytes(content)


def copy(path: Path, target: Path) -> None:
    """Copy a file, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def anchor(*words: str) -> str:
    """The id of a part of a page, as docutils makes it from these words."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def up(page: str) -> str:
    """From a page's folder to the root of the site."""
    return "../" * page.count("/")


def toctree(entries, caption: str = "") -> str:
    """A hidden table of contents: it makes the navigation."""
    lines = ["```{toctree}", ":hidden:", *[f":caption: {caption}"] * bool(caption)]
    return "\n".join([*lines, "", *entries, "```", ""])


def with_links(text: str, path: Path, known: dict) -> str:
    """Markdown of the repository whose links lead to pages of the site.

    A file without a page is linked in the repository, if its address is set, and is
    else no link.
    """

    def replaced(match):
        words, target, part = match[1], match[2], match[3] or ""
        there = (path.parent / target).resolve()
        if paths.ROOT not in there.parents:
            raise CourseError(f"{relative(path)} links {target}, outside the course.")
        name = relative(there)
        if name in known:
            page, own = known[name]
            here = page_of(path)
            part = part or (f"#{own}" if own else "")
            return f'<a href="{up(here)}{page}.html{part}">{words}</a>'
        outside = links.in_repository(name)
        return f"[{words}]({outside})" if outside else words

    return LINK.sub(replaced, text)


def within(text: str, places: set[str]) -> str:
    """Links to ``places``, anchors that are HTML, as HTML too: MyST knows none such."""

    def replaced(match):
        words, place = match.groups()
        return f'<a href="#{place}">{words}</a>' if place in places else match[0]

    return PLACE.sub(replaced, text)


def page_of(path: Path) -> str:
    """The page that a file of the repository becomes."""
    if path == paths.ROOT / "README.md":
        return "index"
    return relative(path).rpartition(".")[0]


# -- pages from files ---------------------------------------------------------------


def front_page(known: dict) -> str:
    """The README, and the navigation of the site."""
    readme = paths.ROOT / "README.md"
    text = with_links(readme.read_text("utf-8"), readme, known)
    return f"{text}\n\n{toctree([f'{t} <{p}>' for p, t in SECTIONS.items()])}"


def notebook_page(path: Path, source: Path, known: dict, executed: bool = True) -> str:
    """A notebook as it is stored, its figures as files beside it.

    Raises CourseError when ``executed`` and a code cell has not run.
    """
    file = path if executed else learner_copy.as_released(path)
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if executed and not all(cell.execution_count for cell in code):
        raise CourseError(
            f"{relative(path)} has cells that were not executed.\nExpected: a lesson "
            f"with its outputs.\nDo: `course run {path.stem[:2]} --write`."
        )
    notebook = runner.normalise(notebook)
    page = page_of(path)
    cells, places = [], set()
    for cell in notebook.cells:
        places |= set(re.findall(r'<a id="([^"]+)"', cell.source))
    for cell in notebook.cells:
        folded = runner.CHECK in cell.metadata.get("tags", [])
        cell.metadata = {"tags": [f"cell-{cell.id}"] + ["hide-input"] * folded}
        if re.search(r"^ *predict\.(number|choice|text)\(", cell.source, re.MULTILINE):
            note = "*Guess before you read on. In JupyterLab there is a field for it.*"
            cells.append(nbformat.v4.new_markdown_cell(note, id=cell.id))
            continue
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = within(with_links(cell.source, path, known), places)
            continue
        if not executed:
            cell.outputs, cell.execution_count = [], None
        for output in cell.outputs:
            as_file(output, source, page)
        for id in claims.CALLED.findall(cell.source):
            href = f"{up(page)}claims/{id.lower()}.html"
            note = f'<a href="{href}">Claim {id} in the ledger</a>'
            cells.append(
                nbformat.v4.new_markdown_cell(note, id=f"{cell.id}-{id.lower()}")
            )
        if re.search(r"\bexplore\w*\(", cell.source):
            note = "*Open in JupyterLab, this figure has controls that redraw it.*"
            cells.append(nbformat.v4.new_markdown_cell(note, id=f"{cell.id}-note"))
    notebook.cells = cells
    first = notebook.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title}\n\n{ways_to_run(path)}\n{rest}"
    copy(file, source / EXTRA / "files" / relative(path))
    return nbformat.writes(notebook)


def as_file(output, source: Path, page: str) -> None:
    """Replace a figure that is text inside the output by a file of the site."""
    data = output.get("data", {})
    if "image/png" not in data:
        return
    found = IMAGE.search(data.get("text/html", ""))
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    text = found[1] if found else html.escape(alt, quote=True)
    content = base64.b64decode(found[2] if found else data["image/png"])
    name = f"figures/{sha256(content).hexdigest()[:16]}.png"
    save(source, f"{EXTRA}/{name}", content)
    width, height = struct.unpack(">II", content[16:24])
    output["data"] = {
        "text/html": f'<img alt="{text}" src="{up(page)}{name}" width="{width}" '
        f'height="{height}" loading="lazy">'
    }
    output["metadata"] = {}


def ways_to_run(path: Path) -> str:
    """A line of links under a notebook's title: the file, and where it can be run."""
    name = relative(path)
    href = f"{up(page_of(path))}files/{name}"
    parts = [f'<a href="{href}" download>Download this notebook</a>']
    parts += [f"[{place}]({url})" for place, url in links.to_run(name).items()]
    return " · ".join(parts) + "\n"


def heading(path: Path) -> str:
    """The first heading of a notebook or a Markdown file, without its sign."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text("utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells)
    else:
        text = path.read_text("utf-8")
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else path.stem


# -- pages that are lists -----------------------------------------------------------


def lesson_list(lessons: list[Path]) -> str:
    """The lessons with their first question or sentence."""
    lines = ["# Lessons", "", "Each is shown as it was executed and stored.", ""]
    lines += [f"- [{heading(path)}]({relative(path)})" for path in lessons]
    return "\n".join(lines) + "\n\n" + toctree(relative(path) for path in lessons)


def exercise_list(questions: list[Path]) -> str:
    """The exercises and the names of their questions."""
    lines = [
        "# Exercises",
        "",
        "Each answer has a visible test below it that says *not attempted*, "
        "*incorrect* with a hint, or *visible test passes*. `course check` runs them.",
        "",
        "| exercise | questions with a visible test |",
        "|---|---|",
    ]
    for path in questions:
        names = ", ".join(f"`{name}`" for name in exercises.questions(path))
        here = path.relative_to(paths.ROOT / "exercises").as_posix()
        lines.append(f"| [{heading(path)}]({here}) | {names} |")
    entries = [path.relative_to(paths.ROOT / "exercises") for path in questions]
    return "\n".join(lines) + "\n\n" + toctree(e.as_posix() for e in entries)


def card_list(cards: list[Path]) -> str:
    """The cards of data sets and of models."""
    names = [path.relative_to(paths.DATA).as_posix() for path in cards]
    lines = ["# Data and models", "", "Every data set and every pretrained model of"]
    lines += ["the course has a card: how it was made, and what it cannot do.", ""]
    for title, folder in (("Data sets", "cards/"), ("Models", "models/")):
        own = [name for name in names if name.startswith(folder)]
        items = [f"- [{heading(paths.DATA / name)}]({name})" for name in own]
        lines += [f"## {title}", "", *items, ""]
    return "\n".join(lines) + "\n" + toctree(names)


def document_list(documents: list[Path]) -> str:
    """The documents for those who run or change the course."""
    lines = ["# Running it, changing it", ""]
    lines += [f"- [{heading(path)}]({path.name})" for path in documents]
    lines += ["- [Scripts and tests](../files.md)", ""]
    entries = [path.name for path in documents] + ["../files"]
    return "\n".join(lines) + "\n" + toctree(entries)


def file_list() -> str:
    """Scripts of the repository with the first line of what they say of themselves."""
    lines = ["# Scripts and tests", ""]
    for folder in LISTED:
        lines += [f"({anchor('files', folder)})=", f"## {folder}", ""]
        lines += ["| file | what it is |", "|---|---|"]
        for path in sorted((paths.ROOT / folder).glob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            said = plain(said.partition("\n")[0]).replace("|", r"\|")
            outside = links.in_repository(relative(path))
            name = f"[{path.name}]({outside})" if outside else path.name
            lines.append(f"| {name} | {said} |")
        lines.append("")
    return "\n".join(lines)


def claim_page(row: dict) -> str:
    """The page of a claim of the ledger."""
    return f"claims/{row['id'].lower()}"


def claims_page(rows: list[dict]) -> str:
    """The ledger as a table; each id leads to the page of its claim."""
    totals = ", ".join(f"{n} {verdict}" for verdict, n in claims.totals().items())
    names = ("claim", "verdict", "finding", "figure", "source")
    body = []
    for row in rows:
        label = html.escape(f"{row['id']}: {row['verdict']}")
        link = f'<a href="{claim_page(row)}.html" aria-label="{label}">{row["id"]}</a>'
        body.append(
            f'<tr id="{row["id"].lower()}"><th scope="row">{link}</th>'
            + "".join(f"<td>{html.escape(row[name])}</td>" for name in names)
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("id", *names))
    table = (
        '<div class="pst-scrollable-table-container" tabindex="0" role="region" '
        'aria-label="Ledger of claims"><table class="table claims">'
        f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(body)
    )
    return (
        "# Claims\n\nWhat tutorials say about transfer learning, and what this course "
        f"found: {len(rows)} claims, {totals}. An id leads to the page of its claim, "
        "with the cell that shows the verdict. *Qualified* means: true under a "
        "condition that the claim leaves out; *cited*: not tested here.\n\n"
        "```{raw} html\n"
        + table
        + "\n</tbody></table></div>\n```\n\n"
        + toctree(claim_page(row) for row in rows)
    )


def claim_text(row: dict, known: dict) -> str:
    """A claim: what is said, where, what was found in each world, and in which cell."""
    lines = [
        f"# {row['id']}: {row['verdict']}",
        "",
        f"**Claim.** {plain(row['claim'])}",
    ]
    about = {"Figure": "figure", "Source": "source", "How it is tested": "test"}
    for name, key in about.items():
        if row[key]:
            lines += ["", f"**{name}.** {plain(row[key])}"]
    found = claims.by_world(row["finding"] or "not decided yet")
    lines += ["", "## What this course found", ""]
    for world, text in found.items():
        lines += [f"**{world}.** {plain(text)}" if world else plain(text), ""]
    again = plain(row["second_try"] or "none yet")
    lines += [f"**Tried by somebody else.** {again}", ""]
    lesson = known.get(f"notebooks/{row['notebook']}")
    if lesson:
        href = f"../{lesson[0]}.html#cell-{row['cell']}"
        lines.append(
            f'<a href="{href}">The cell in lesson {row["lesson"]}</a> shows it.'
        )
    return "\n".join([*lines, "", '<a href="../claims.html">All claims</a>', ""])


# -- the library --------------------------------------------------------------------


def dotted(path: Path) -> str:
    """``training`` or ``grading.release`` for a module below course_lib."""
    parts = path.relative_to(paths.ROOT / "course_lib").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def library_page(path: Path) -> str:
    """The page of a module."""
    return f"library/{dotted(path)}"


def public(path: Path) -> tuple[str, list]:
    """A module's docstring, and its public functions and classes as syntax trees."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
    return ast.get_docstring(tree) or "", found


def library_links(path: Path) -> dict:
    """{word: (page, anchor)}: the module by path and name, its public names."""
    page, name = library_page(path), dotted(path)
    found = {relative(path): (page, ""), f"course_lib.{name}": (page, "")}
    if path.name == "__init__.py":
        found[relative(path.parent)] = (page, "")
    for node in public(path)[1]:
        found[f"{name}.{node.name}"] = (page, place(name, node))
        found[f"course_lib.{name}.{node.name}"] = found[f"{name}.{node.name}"]
    return found


def place(module: str, node) -> str:
    """The anchor of a name of a module; a class and a function may be `Run`, `run`."""
    kind = ["class"] if isinstance(node, ast.ClassDef) else []
    return anchor(module, *kind, node.name)


def library_list(modules: list[Path]) -> str:
    """The modules with the first line of their docstring."""
    lines = ["# Library", "", "`course_lib`, module by module.", ""]
    lines += ["| module | what it is |", "|---|---|"]
    for path in modules:
        said = plain(public(path)[0].partition("\n")[0]).replace("|", r"\|")
        lines.append(f"| [`{dotted(path)}`]({dotted(path)}.md) | {said} |")
    return "\n".join(lines) + "\n\n" + toctree(f"{dotted(p)}" for p in modules)


def module_page(path: Path) -> str:
    """A module: what it says of itself, and each public name with its docstring."""
    said, found = public(path)
    lines = [f"# {plain(dotted(path))}", "", plain(said), ""]
    for node in found:
        lines += [f"({place(dotted(path), node)})=", f"## {plain(node.name)}", ""]
        lines += ["```python", signature(node), "```", ""]
        lines += [plain(ast.get_docstring(node) or ""), ""]
        if isinstance(node, ast.ClassDef):
            lines += methods(node)
    return "\n".join(lines)


def methods(node: ast.ClassDef) -> list[str]:
    """A class's public methods, as a list."""
    lines = []
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name[0] != "_":
            said = plain((ast.get_docstring(part) or "").partition("\n\n")[0])
            lines += [f"- `{signature(part)}`", "", *indented(said), ""]
    return lines


def indented(text: str) -> list[str]:
    """The lines of a text, two blanks further in."""
    return [f"  {line}" if line else "" for line in text.splitlines()]


def signature(node) -> str:
    """``def name(arguments) -> result`` or ``class Name(bases)``, without a body."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}"


CODE = re.compile(r"(``.+?``|`[^`\n]+`)", re.DOTALL)


def plain(text: str) -> str:
    """A docstring as Markdown that means what it says: only code is marked.

    Signs that Markdown would take for markup are escaped outside of code; the
    double backquotes and the roles of docstrings become single backquotes.
    """
    text = re.sub(r":(?:func|class|mod|meth):`([^`]+)`", r"`\1`", text)
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*_<>\[\]$#{}|~])", r"\\\1", parts[i])
        parts[i] = re.sub(r"(?m)^(\s*)([-+=]+|\d+\.)(?=\s|$)", r"\1\\\2", parts[i])
    return "".join(parts)
