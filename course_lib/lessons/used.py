"""Which modules of the library each lesson imports: a table for the architecture.

``python -m course_lib.lessons.used`` writes it into docs/architecture.md, between two
markers; a test compares.
"""

import ast
import json
from pathlib import Path

from course_lib import files, paths
from course_lib.errors import CourseError

PAGE = "docs/architecture.md"
BEGIN, END = "<!-- lessons and modules: generated -->", "<!-- end -->"


def modules(path: Path, root: Path) -> set[str]:
    """Modules of course_lib that a notebook imports, such as "models.zoo".

    root: the folder that holds course_lib/.  What a package hands on, as in ``from
    course_lib import datasets``, counts as the package.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    found = set()
    for node in (node for source in code for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            while len(parts) > 1 and parts[0] == "course_lib":
                at = root.joinpath(*parts)
                if at.is_dir() or at.with_suffix(".py").exists():
                    found.add(".".join(parts[1:]))
                    break
                parts.pop()
    return found


def table() -> str:
    """The table in Markdown, a lesson a line."""
    lines = ["| lesson | imports of `course_lib` |", "|---|---|"]
    for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        names = (f"`{name}`" for name in sorted(modules(path, paths.ROOT)))
        lines.append(f"| {path.stem} | {', '.join(names)} |")
    return "\n".join(lines)


def page() -> str:
    """docs/architecture.md with the present table.

    Raises CourseError where a marker is missing.
    """
    text = (paths.ROOT / PAGE).read_text(encoding="utf-8")
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended):
        raise CourseError(
            f"{PAGE} lacks a marker of the table of lessons.\nExpected: {BEGIN} and "
            f"{END}.\nDo: put both back where the table belongs."
        )
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    files.atomic_write_bytes(paths.ROOT / PAGE, page().encode("utf-8"))
