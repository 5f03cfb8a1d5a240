"""Write constraints.txt again: the exact version of everything that gets installed.

For the maintainer, after a change to the dependencies in pyproject.toml:

    python -m pip install uv packaging
    python tools/lock.py

uv resolves for every supported Python and platform at once ("universal"); what it
writes is shortened to names, versions and the conditions that matter here.
"""

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Exact versions of all that the course installs, for Python 3.11-3.13 on Linux,
# macOS and Windows.  Written by tools/lock.py from pyproject.toml.
"""
# Conditions of these kinds are never the reason for two versions of one package,
# and a constraint on a package that is not installed does no harm.
NEVER_HERE = re.compile(
    r"sys_platform == 'emscripten'|implementation_name == 'pypy'", re.IGNORECASE
)
ALWAYS_HERE = re.compile(
    r"sys_platform != 'emscripten'|implementation_name != 'pypy'"
    r"|python_full_version < '3.1[5-9]'|platform_machine == '\w+'",
    re.IGNORECASE,
)


def shortened(line: str) -> str | None:
    """One requirement without the conditions that always hold; None if it never does.

    A condition joined by ``or`` to one that always holds says nothing either.
    """
    requirement = Requirement(line)
    pinned = f"{requirement.name}{requirement.specifier}"
    if requirement.marker is None:
        return pinned
    marker = str(requirement.marker).replace('"', "'")
    if NEVER_HERE.search(marker):
        return None
    kept = []
    for clause in re.split(r" and | or ", marker):
        clause = clause.strip("() ")
        if not ALWAYS_HERE.fullmatch(clause) and clause not in kept:
            kept.append(clause)
    if len(kept) > 1 and " or " in marker:
        if "python" in marker:
            raise SystemExit(f"Cannot shorten this by itself, please look: {line}")
        kept = []
    return f"{pinned} ; {' and '.join(kept)}" if kept else pinned


def main() -> None:
    """Resolve, shorten, write."""
    resolve = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"]
    resolve += ["--universal", "--python-version", "3.11", "--extra", "test"]
    resolve += ["--extra", "instructor", "--extra", "web"]
    resolve += ["--no-header", "--no-annotate", "--quiet"]
    resolve += ["--no-emit-index-url", "--no-emit-find-links"]
    found = subprocess.run(
        resolve, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    lines = [shortened(line) for line in found.stdout.splitlines() if line.strip()]
    text = HEADER + "".join(f"{line}\n" for line in lines if line)
    (ROOT / "constraints.txt").write_text(text, encoding="utf-8", newline="\n")
    print(f"constraints.txt: {text.count('==')} packages")


if __name__ == "__main__":
    main()
