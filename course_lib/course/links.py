"""Where the course can be fetched and run: links, from one address.

The address of the repository that learners see stands in pyproject.toml, in the table
``[tool.course]``; it is empty until an instructor publishes one.  docs/where_to_run.md.
"""

import re
import tomllib
from pathlib import Path
from urllib.parse import quote

from course_lib import paths
from course_lib.course import runner
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes

ADDRESS = re.compile(r"https://([\w.-]+)/([\w.-]+(?:/[\w.-]+)+?)(?:\.git)?/?")
INSTALL_ID = "install-on-colab"  # of the cell that add_install_cell adds


def settings() -> dict[str, str]:
    """{"repository", "branch"} of pyproject.toml; an empty address: none is set."""
    try:
        text = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
        found = tomllib.loads(text).get("tool", {}).get("course", {})
    except (OSError, tomllib.TOMLDecodeError):
        found = {}
    address, branch = found.get("repository", ""), found.get("branch", "main")
    if address:
        check_address(address)
    return {"repository": address.rstrip("/"), "branch": branch}


def check_address(address: str) -> tuple[str, str]:
    """(host, path) of a repository's address.  Raises CourseError when it is none."""
    found = ADDRESS.fullmatch(address)
    if not found:
        raise CourseError(
            f"{address!r} is no address of a repository.\nExpected: for example "
            "https://github.com/someone/course.\nDo: correct `repository` in the "
            "table [tool.course] of pyproject.toml."
        )
    return found[1], found[2]


def required() -> dict[str, str]:
    """As `settings`; raises CourseError when no address is set."""
    found = settings()
    if not found["repository"]:
        raise CourseError(
            "The course does not know where it is published.\nExpected: an address in "
            'pyproject.toml, [tool.course], such as repository = "https://github.com/'
            'someone/course".\nDo: write it there, or give --repository.'
        )
    return found


def in_repository(name: str, where: dict[str, str] | None = None) -> str:
    """The page of a file or folder in the published repository; "" without one."""
    where = where or settings()
    if not where["repository"]:
        return ""
    host, path = check_address(where["repository"])
    between = "-/blob" if "gitlab" in host else "blob"
    return f"https://{host}/{path}/{between}/{where['branch']}/{quote(name)}"


def to_run(name: str, where: dict[str, str] | None = None) -> dict[str, str]:
    """{"Open in Colab": link, "Open in Binder": link} of a notebook, where there are.

    Colab opens notebooks of GitHub only; Binder also of GitLab.  Empty without an
    address.
    """
    where = where or settings()
    if not where["repository"]:
        return {}
    host, path = check_address(where["repository"])
    branch, file = where["branch"], quote(name)
    found = {}
    if host == "github.com":
        colab = f"https://colab.research.google.com/github/{path}/blob/{branch}/{file}"
        found["Open in Colab"] = colab
        kind, named = "gh", path
    elif host == "gitlab.com":
        kind, named = "gl", quote(path, safe="")
    else:
        kind, named = "git", quote(where["repository"], safe="")
    ref = quote(branch, safe="")
    shown = quote(f"/lab/tree/{name}", safe="")
    found["Open in Binder"] = (
        f"https://mybinder.org/v2/{kind}/{named}/{ref}?urlpath={shown}"
    )
    return found


def nbgitpuller(hub: str, name: str, where: dict[str, str] | None = None) -> str:
    """The link that copies the repository to a learner of a JupyterHub, and opens it.

    hub: the hub's address, such as https://hub.example.org.  The hub needs the
    package nbgitpuller.
    """
    where = where or required()
    if not re.fullmatch(r"https?://[^\s?#]+", hub):
        raise CourseError(
            f"{hub!r} is no address of a JupyterHub.\nExpected: for example "
            "https://hub.example.org.\nDo: correct --hub."
        )
    folder = check_address(where["repository"])[1].rpartition("/")[2]
    return (
        f"{hub.rstrip('/')}/hub/user-redirect/git-pull"
        f"?repo={quote(where['repository'], safe='')}"
        f"&branch={quote(where['branch'], safe='')}"
        f"&urlpath={quote(f'lab/tree/{folder}/{name}', safe='')}"
    )


# -- Colab ----------------------------------------------------------------------------


def install_cell(where: dict[str, str] | None = None) -> str:
    """The code of a cell that installs the course on Colab, and nowhere else."""
    where = where or required()
    folder = check_address(where["repository"])[1].rpartition("/")[2]
    template = Path(__file__).with_name("colab_cell.txt").read_text("utf-8")
    return template.format(folder=folder, **where).rstrip("\n")


def add_install_cell(path: Path, where: dict[str, str] | None = None) -> None:
    """Put the installing cell behind a lesson's title, or renew it there."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.get("id") != INSTALL_ID]
    cell = nbformat.v4.new_code_cell(install_cell(where), id=INSTALL_ID)
    notebook.cells = [cells[0], cell, *cells[1:]]
    text = nbformat.writes(runner.normalise(notebook)) + "\n"
    atomic_write_bytes(path, text.encode("utf-8"))


# -- course links ----------------------------------------------------------------------


def rows(where: dict[str, str], hub: str = "") -> list[tuple[str, str, str]]:
    """(lesson, place, link) of every lesson and every place."""
    found = []
    for path in runner.lessons():
        name = f"notebooks/{path.name}"
        places = to_run(name, where)
        if hub:
            places["JupyterHub"] = nbgitpuller(hub, name, where)
        for place, link in places.items():
            found.append((path.stem[:2], place.removeprefix("Open in "), link))
    return found
