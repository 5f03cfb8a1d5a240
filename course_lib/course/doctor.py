"""What works on this machine: each check says what it found and what to do.

A check that breaks is itself a finding: nothing in here raises.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tomllib
from pathlib import Path

from course_lib import __version__, assets, paths, profiles
from course_lib.course import runner
from course_lib.show.console import console

OLDEST, NEWEST = (3, 11), (3, 13)
OK, WARNING, FAILED, NOTE = "ok", "warning", "failed", "note"


def finding(status: str, found: str, advice: str = "") -> dict:
    """One line: how it stands, what was found, and what to do."""
    return {"status": status, "found": found, "advice": advice}


def installed_version(package: str) -> str | None:
    """The version of an installed package; None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# -- the checks: each returns one finding ---------------------------------------------


def check_python() -> dict:
    """Is this Python one for which the course is tested?"""
    version = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return finding(OK, version)
    return finding(FAILED, version, "Install Python 3.11, 3.12 or 3.13; see README.md.")


def check_environment() -> dict:
    """Does the command run in the course's own environment?"""
    if Path(sys.prefix).resolve() == (paths.ROOT / ".venv").resolve():
        return finding(OK, ".venv of the course")
    return finding(
        NOTE,
        "another environment than the course's .venv",
        "Fine if you installed with constraints.txt; otherwise use `make lab`.",
    )


def pins() -> dict[str, str]:
    """{package: exact version} of constraints.txt, for this Python and platform."""
    from packaging.requirements import Requirement

    text = (paths.ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def needed_packages() -> list[str]:
    """Names of the packages that pyproject.toml asks for by name."""
    from packaging.requirements import Requirement

    text = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = tomllib.loads(text)["project"]["dependencies"]
    return [Requirement(line).name for line in wanted]


def check_packages() -> dict:
    """Are all packages there, in the versions of constraints.txt?"""
    pinned = pins()
    repair = "Run `make lab` again (Windows: the pip command of README.md)."
    missing = [name for name in needed_packages() if not installed_version(name)]
    if missing:
        return finding(FAILED, f"missing: {', '.join(missing)}", repair)
    other = []
    for name, version in pinned.items():
        present = installed_version(name)
        if present and present.partition("+")[0] != version:
            other.append(f"{name} {present} (expected {version})")
    if other:
        shown = ", ".join(other[:5]) + (" ..." if len(other) > 5 else "")
        return finding(WARNING, f"{len(other)} other versions: {shown}", repair)
    here = sum(installed_version(name) is not None for name in pinned)
    return finding(OK, f"{here} packages, all in the versions of constraints.txt")


def check_cpu() -> dict:
    """How many cores, and how many threads does torch use?"""
    import torch

    cores = os.cpu_count() or 1
    found = f"{cores} cores, torch {torch.__version__} with {torch.get_num_threads()}"
    found += " threads"
    if cores < 2:
        return finding(WARNING, found, "The stated times are for two cores.")
    return finding(OK, found)


def check_memory() -> dict:
    """Is there the memory that the heaviest lesson needs?"""
    import psutil

    memory = psutil.virtual_memory()
    needed = profiles.OFFLINE.ram_gb
    found = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB of it free"
    if memory.total / 1e9 < needed:
        return finding(FAILED, found, f"A lesson may need {needed:g} GB.")
    if memory.available / 1e9 < needed:
        return finding(
            WARNING, found, f"A lesson may need {needed:g} GB: close something."
        )
    return finding(OK, found)


def check_gpu() -> dict:
    """Is there a GPU that torch can use?"""
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return finding(OK, f"{card.name}, {card.total_memory / 1e9:.0f} GB")
    return finding(NOTE, "none that torch can use (none is needed)")


def check_disk() -> dict:
    """Is there room for what the lessons write, and for the full profile?"""
    free = shutil.disk_usage(paths.ROOT).free / 1e9
    found = f"{free:.1f} GB free where the course lies"
    if free < 0.5:
        return finding(FAILED, found, "Free 1 GB for executed lessons and exports.")
    if free < profiles.FULL.disk_gb:
        return finding(WARNING, found, "Too little for the full profile's models.")
    return finding(OK, found)


def check_assets() -> dict:
    """Are the public weights and data here, for use without a network?"""
    states = {name: assets.problem(name, thorough=False) for name in assets.known()}
    wrong = [f"{name} ({said})" for name, said in states.items() if said]
    here = f"{len(states) - len(wrong)} of {len(states)} in {paths.ASSETS}"
    if wrong:
        advice = "`course data fetch` brings them, with a network, once."
        return finding(WARNING, f"{here}; missing: {', '.join(wrong)}", advice)
    return finding(OK, f"{here}: {', '.join(states)}")


def check_lessons() -> dict:
    """Are the notebooks there?"""
    found = [path.stem[:2] for path in runner.lessons()]
    if not found:
        return finding(FAILED, "no notebooks", "`git checkout -- notebooks`.")
    return finding(OK, ", ".join(found))


def of_library(check: str):
    """A function of `library_checks`, whose file is loaded when it is called.

    A package that is missing shall be a finding, not the end of the doctor.
    """
    name = "course_lib.course.library_checks"
    return lambda: getattr(importlib.import_module(name), check)()


CHECKS = {
    "Python": check_python,
    "environment": check_environment,
    "packages": check_packages,
    "processor": check_cpu,
    "memory": check_memory,
    "GPU": check_gpu,
    "disk": check_disk,
    "data and weights": of_library("check_data"),
    "public data": check_assets,
    "lessons": check_lessons,
    "public models": of_library("check_public_models"),
    "sandbox": of_library("check_sandbox"),
    "promises of grading": of_library("check_promises"),
}


# -- the profiles ------------------------------------------------------------------


def can_offline(checks: dict[str, dict]) -> dict:
    """Can the offline profile run here?"""
    broken = [name for name, check in checks.items() if check["status"] == FAILED]
    if broken:
        why = f"not in order: {', '.join(broken)}"
        return dict(can=False, why=why, advice="Follow the advice on these lines.")
    return dict(can=True, why="everything it needs is here", advice="")


def can_full(checks: dict[str, dict]) -> dict:
    """Can the full profile run here, and does it need a network first?"""
    offline = can_offline(checks)
    if not offline["can"]:
        return offline
    import psutil

    full = profiles.FULL
    total = psutil.virtual_memory().total / 1e9
    if total < full.ram_gb:
        why = f"{total:.1f} GB of memory, {full.ram_gb:g} GB are needed"
        advice = "Stay with the offline profile: it has every lesson."
        return dict(can=False, why=why, advice=advice)
    _, absent, megabytes = of_library("public_models")()
    if absent:
        return {
            "can": False,
            "why": f"{len(absent)} of its models are not in the libraries' caches "
            "(line: public models)",
            "advice": f"Connect to a network ({max(megabytes, 1) / 1000:.1f} GB), then "
            "start with COURSE_PROFILE=full: they are fetched on first use.",
        }
    why = "all its models are in the libraries' caches"
    return dict(
        can=True, why=why, advice="Set COURSE_PROFILE=full before `course lab`."
    )


# -- the report ----------------------------------------------------------------------


def guarded(check, *arguments) -> dict:
    """The check's answer; when it breaks, a finding that says so."""
    try:
        return check(*arguments)
    except Exception as error:  # noqa: BLE001 - a doctor reports, whatever happens
        brief = " ".join(str(error).split())[:200]
        failed = finding(
            FAILED,
            f"could not be checked ({type(error).__name__}: {brief})",
            "Install afresh: `make clean`, then `make lab`.",
        )
        return {**failed, "can": False, "why": failed["found"]}


def examine() -> dict:
    """All checks and both profiles, as plain data; never raises."""
    checks = {name: guarded(check) for name, check in CHECKS.items()}
    try:
        promises = of_library("promises")()
    except Exception:  # noqa: BLE001 - the check of the same name says why
        promises = {}
    current = guarded(lambda: finding(OK, profiles.current().name))
    return {
        "course": __version__,
        "checks": {
            name: {key: check[key] for key in ("status", "found", "advice")}
            for name, check in checks.items()
        },
        "promises": promises,
        "profile": current["found"],
        "profiles": {
            name: {key: answer[key] for key in ("can", "why", "advice")}
            for name, answer in (
                ("offline", guarded(can_offline, checks)),
                ("full", guarded(can_full, checks)),
            )
        },
    }


def show(report: dict, as_json: bool = False) -> None:
    """Print the report: as tables, as JSON, or as plain lines without rich."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    rows = [
        (name, check["status"], _joined(check["found"], check["advice"]))
        for name, check in report["checks"].items()
    ]
    rows += [
        (
            f"profile {name}",
            "can run" if answer["can"] else "cannot",
            _joined(answer["why"], answer["advice"]),
        )
        for name, answer in report["profiles"].items()
    ]
    said = {True: "holds", False: "does not hold", None: "not tried"}
    promised = [
        (name, said[one["holds"]], one["found"])
        for name, one in report["promises"].items()
    ]
    title = f"course {report['course']}, profile in use: {report['profile']}"
    try:
        _show_table(title, rows)
        if promised:
            _show_table("What grading promises, tried here", promised)
    except ImportError:
        print(title)
        for row in [*rows, *promised]:
            print(": ".join(row))


def _joined(found: str, advice: str) -> str:
    return f"{found}\n-> {advice}" if advice else found


def _show_table(title: str, rows) -> None:
    from rich.table import Table
    from rich.text import Text

    colour = {OK: "green", "can run": "green", FAILED: "red", "cannot": "red"}
    colour |= {"holds": "green", "does not hold": "red"}
    table = Table("", "", "what was found, and -> what to do", title=title)
    section = len([row for row in rows if not row[0].startswith("profile")])
    for index, (name, status, text) in enumerate(rows):
        styled = Text(status, style=colour.get(status, "yellow"))
        table.add_row(name, styled, Text(text), end_section=index == section - 1)
    console().print(table)
