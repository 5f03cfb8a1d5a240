"""Names of the packages that the course asks for, without their versions.

For a try against the newest versions, in an environment of its own:

    pip install --upgrade $(python tools/newest.py)
    pip install --no-deps -e .

.github/workflows/newest.yml does this every week.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def names(extras=("test", "web")) -> list[str]:
    """Packages of pyproject.toml: those of every installation, and of these extras."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return [re.match(r"[\w.-]+", line).group() for line in wanted]


if __name__ == "__main__":
    print(*names(*([tuple(sys.argv[1:])] if sys.argv[1:] else [])))
