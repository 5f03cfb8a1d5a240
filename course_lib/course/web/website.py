"""Build the web edition: Sphinx over pages made from the notebooks as they are stored.

Nothing is executed and nothing is fetched: formulas become MathML, figures become
files, and the search index is part of the site.
"""

import io
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from course_lib import paths
from course_lib.course.web import page_sources
from course_lib.errors import CourseError

EXTENSIONS = ["myst_nb", "course_lib.course.web.extension"]
HERE = Path(__file__).parent
MARK = ".course-web"  # lies in a folder that this module made, and may replace


@dataclass
class Site:
    """A finished site: where it is and what is in it."""

    folder: Path
    pages: int  # HTML files
    megabytes: float  # of all files
    warnings: list[str]  # what Sphinx had to say


def require_sphinx() -> None:
    """Raise CourseError unless the extra ``web`` is installed."""
    needed = ("latex2mathml", "myst_nb", "pydata_sphinx_theme", "sphinx")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise CourseError(
            f"The web edition needs {missing[0]}, which is not installed.\nExpected: "
            "the extra `web`.\nDo: `.venv/bin/python -m pip install -c constraints.txt "
            "-e '.[web]'`."
        )


def settings() -> dict:
    """Sphinx's configuration (there is no conf.py)."""
    return {
        "project": "Transfer learning, measured",
        "extensions": EXTENSIONS,
        "exclude_patterns": [f"{page_sources.EXTRA}/**"],
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},  # no script from elsewhere: the still figure is shown
        "myst_enable_extensions": ["dollarmath", "amsmath"],
        "myst_heading_anchors": 3,
        "html_math_renderer": "mathml",
        "html_theme": "pydata_sphinx_theme",
        "html_title": "Transfer learning, measured",
        "html_static_path": [str(HERE / "static")],
        "html_favicon": str(HERE / "static" / "favicon.svg"),
        "html_context": {"default_mode": "auto"},  # light or dark, as the system is
        "templates_path": [str(HERE / "templates")],
        "html_css_files": ["course.css"],
        "html_copy_source": False,
        "html_show_sourcelink": False,
        "html_show_sphinx": False,
        "html_sidebars": {"index": [], "claims": [], "claims/*": [], "search": []},
        "html_theme_options": {
            "navbar_end": ["theme-switcher"],
            "navbar_align": "left",
            "header_links_before_dropdown": 6,
            "footer_start": [],
            "footer_end": [],
            "secondary_sidebar_items": ["page-toc"],
            "show_toc_level": 2,
            "primary_sidebar_end": [],
            "search_bar_text": "Search the course",
            "pygments_light_style": "a11y-high-contrast-light",
            "pygments_dark_style": "a11y-high-contrast-dark",
        },
    }


def build(
    folder: Path,
    lessons: list[Path] | None = None,
    modules: list[Path] | None = None,
) -> Site:
    """Write the site to ``folder``: whole, or not at all.

    ``lessons`` are paths of notebooks, ``modules`` those of the library that get a page
    (default: all).  A site that was built there before is replaced; any other content
    is left alone.  Raises CourseError when the extra is missing, when the folder holds
    something else, and when Sphinx fails.
    """
    require_sphinx()
    folder = Path(folder).resolve()
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".web.") as work:
        source, made = Path(work) / "source", Path(work) / "site"
        page_sources.write(source, lessons, modules)
        warnings = run_sphinx(source, made, Path(work) / "doctrees")
        (made / "_static" / "webpack-macros.html").unlink(missing_ok=True)  # no page
        (made / MARK).write_text("Made by `course web`.\n", encoding="utf-8")
        (made / ".nojekyll").touch()  # for hosts that hide names with an underscore
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    pages = sum(path.suffix == ".html" for path in files)
    return Site(folder, pages, sum(p.stat().st_size for p in files) / 1e6, warnings)


def check_folder(folder: Path) -> None:
    """Raise CourseError unless the site may be written to ``folder``."""
    if folder == paths.ROOT or folder in paths.ROOT.parents:
        problem = "holds the course itself"
    elif folder.is_file():
        problem = "is a file"
    elif folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        problem = "holds something else than a site of `course web`"
    else:
        return
    raise CourseError(
        f"{folder} {problem}.\nExpected: a new or empty folder, or an earlier site.\n"
        "Do: choose another with --to."
    )


def run_sphinx(source: Path, made: Path, doctrees: Path) -> list[str]:
    """One HTML build; the lines of warnings.  Raises CourseError when it fails."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.console import nocolor

    nocolor()
    said = io.StringIO()
    try:
        app = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=made,
            doctreedir=doctrees,
            buildername="html",
            confoverrides={
                **settings(),
                "html_extra_path": [str(source / page_sources.EXTRA)],
            },
            status=None,
            warning=said,
        )
        app.build()
    except SphinxError as error:
        raise CourseError(
            f"Sphinx could not build the site: {error}\nExpected: pages that it can "
            "read.\nDo: correct the page it names."
        ) from None
    shown = said.getvalue().replace(f"{source}/", "")
    return [line for line in shown.splitlines() if line.strip()]
