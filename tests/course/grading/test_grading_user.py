"""The sandbox for an ordinary user: an account that the test makes and removes.

Root, which runs many a test machine, may do what others may not: own cgroups, other
users for the sandboxes, every file.  Here the tests of the sandbox run as somebody who
may do nothing of the kind, started in a folder of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from grading_toy import needs_sandbox

pytestmark = [needs_sandbox, pytest.mark.slow]
NAME = f"course-test-{os.getpid()}"
TESTS = (  # each promise once: what depends on who asks
    "hold_counts and (watch and (folders or sockets or content))",
    "no_key",
    "nothing_of_this_machine",
    "folders_as_deep",
    "replaced_later",
    "python_needs",
    "refused and calls",
    "daemon_dies",
    "cannot_be_seen",
    "are_not_there",
)


def why_not() -> str | None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root makes accounts"
    missing = [x for x in ("useradd", "userdel", "setpriv") if not shutil.which(x)]
    return f"no {', '.join(missing)} here" if missing else None


REASON = why_not()


def closed(path: Path) -> Path | None:
    """The uppermost folder on the way to ``path`` that others may not pass; or None."""
    for folder in [*reversed(path.parents), path]:
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def opened(needed: list[Path]) -> str:
    """Shell lines that make folders passable, in a mount namespace of their own.

    Over a closed folder comes an empty one, with nothing but what is needed in it.
    """
    lines, hidden = [], {}
    for path in needed:
        if folder := closed(path):
            hidden.setdefault(folder, []).append(path)
    for folder, inside in hidden.items():
        for n, path in enumerate(inside):
            lines += [f"mkdir -p $KEEP/{n}", f"mount --bind '{path}' $KEEP/{n}"]
        lines.append(f"mount -t tmpfs -o mode=755 none '{folder}'")
        for n, path in enumerate(inside):
            lines += [f"mkdir -p '{path}'", f"mount --bind $KEEP/{n} '{path}'"]
    return "\n".join(lines)


@pytest.fixture
def account():
    """The name of a new user with a home of its own; both go afterwards."""
    home = Path("/home") / NAME
    subprocess.run(["useradd", "-m", "-d", home, NAME], check=True, capture_output=True)
    yield NAME
    subprocess.run(["userdel", "-r", NAME], capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(REASON is not None, reason=f"{REASON}")
def test_the_promises_hold_for_an_ordinary_user(account, tmp_path_factory):
    project = Path(__file__).parents[3]
    keep = tmp_path_factory.mktemp("keep")
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), project}
    chosen = " or ".join(f"({name})" for name in TESTS)
    command = (
        f"set -e; KEEP='{keep}'\n{opened(sorted(needed))}\n"
        f"cd /home/{account}\n"
        f"exec setpriv --reuid {account} --regid {account} --init-groups "
        "--inh-caps=-all --bounding-set=-all --no-new-privs --reset-env "
        '"$@"'
    )
    here = Path(__file__)
    files = [here.with_name(f"test_grading_{x}.py") for x in ("sandbox", "attacks")]
    pytest_line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest_line += ["-c", "/dev/null", "--rootdir", "/tmp", "-rs", "-k", chosen]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", *pytest_line, *files],
        capture_output=True,
        text=True,
        timeout=500,
    )
    said = done.stdout[-5000:] + done.stderr[-2000:]
    assert done.returncode == 0 and " passed" in said, said
