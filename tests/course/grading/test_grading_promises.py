"""Promises of grading: each is tried here, and each probe can find one broken."""

import functools
import re
from pathlib import Path

import pytest
from grading_toy import needs_sandbox

from course_lib.course import doctor
from course_lib.course.grading import promises, rendering, sandbox
from course_lib.course.grading.promises import Tried

pytestmark = [pytest.mark.slow, needs_sandbox]


def test_each_promise_is_tried_and_kept():
    found = promises.try_all()
    assert tuple(found) == promises.PROMISES
    broken = {name: one.found for name, one in found.items() if one.holds is False}
    assert not broken


def test_the_probes_find_what_no_sandbox_allows(monkeypatch):
    """The same code, without a sandbox around it."""
    bare = functools.partial(sandbox.Kernel, isolated=False)
    names = (
        "no network",
        "no files of others",
        "an environment of its own",
        "no processes of others",
        "a filter of system calls",
    )
    with promises.surroundings() as given, bare(promises.LIMITS) as kernel:
        found = {name: promises.found_inside(kernel, name, given) for name in names}
    assert [name for name, one in found.items() if one.holds] == []
    monkeypatch.setattr(promises, "Kernel", bare)
    assert promises.nothing_stays().holds is False


def test_limits_that_are_too_wide_are_found(monkeypatch):
    wide = sandbox.Limits(memory_mb=6000, scratch_mb=500, processes=400)
    told = promises.LIMITS

    def kernel(limits):
        return sandbox.Kernel(wide)

    with promises.surroundings() as given, kernel(told) as inside:
        for name in ("files are limited", "processes are limited"):
            assert promises.found_inside(inside, name, given).holds is False, name
    monkeypatch.setattr(promises, "Kernel", kernel)
    assert promises.memory().holds is False


def test_a_probe_that_ends_early_keeps_no_promise():
    class Ended:
        def run(self, code, seconds):
            raise sandbox.KernelDied("gone")

    found = promises.found_inside(Ended(), "no network", {"port": 1, "key": 0})
    assert found.holds is False and "ended early" in found.found
    found = promises.found_inside(Ended(), "a fresh keyring", {"key": 0})
    assert found.holds is None


def test_the_doctor_says_which_hold(monkeypatch, capsys):
    found = {"no network": Tried(True, ""), "a lock": Tried(False, "it is open")}
    monkeypatch.setattr(promises, "try_all", lambda: found)
    report = doctor.examine()
    check = report["checks"]["promises of grading"]
    assert check["status"] == doctor.WARNING
    assert "1 of 2 hold; not: a lock" in str(check)
    assert "promises" not in report["profiles"]["offline"]["why"]
    doctor.show(report)
    said = capsys.readouterr().out
    assert "does not hold" in said and "it is open" in said

    def broken():
        raise RuntimeError("no kernel")

    monkeypatch.setattr(promises, "try_all", broken)
    report = doctor.examine()
    assert report["checks"]["promises of grading"]["status"] == doctor.WARNING
    assert "promises" not in report["profiles"]["offline"]["why"]
    assert report["promises"] == {}


def test_the_security_page_names_promises_and_tests_that_exist():
    """Each promise of a probe is on the page, and each test that it names is there."""
    root = Path(__file__).parents[3]
    page = (root / "SECURITY.md").read_text("utf-8")
    assert [name for name in promises.PROMISES if name not in page] == []
    tests = {path: path.read_text("utf-8") for path in root.glob("tests/**/*.py")}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 15
    missing = [n for n in named if not any(f"def {n}(" in t for t in tests.values())]
    assert missing == []
    files = re.findall(r"`((?:tests|course_lib)/\w[\w/]*\.py)`", page)
    assert files and [name for name in files if not (root / name).exists()] == []
    for number, unit in (
        (rendering.SECONDS, "s of computing"),
        (int(rendering.WAIT_SECONDS), "s by the clock"),
        (rendering.MEMORY_GB, "GB"),
        (rendering.PAGE_MB, "MB"),
    ):
        assert f"{number} {unit}" in " ".join(page.split())
