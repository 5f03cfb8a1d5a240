"""The doctor's checks that need the library or the sandbox, and with them packages.

The doctor loads this file when it checks: a package that is missing is its finding.
"""

from course_lib import files, profiles
from course_lib.course.doctor import (
    FAILED,
    NOTE,
    OK,
    WARNING,
    finding,
    installed_version,
)
from course_lib.course.grading import promises as probes
from course_lib.course.grading import sandbox
from course_lib.datasets import committed
from course_lib.models import hub


def check_data() -> dict:
    """Are data sets and bundled weights what was shipped?"""
    problems = committed.verify()
    if problems:
        shown = " ".join(str(problem) for problem in problems[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        return finding(
            FAILED, shown + more, "`course data rebuild` or `git checkout -- data`."
        )
    entries = files.manifest().values()
    megabytes = sum(entry["bytes"] for entry in entries) / 1e6
    return finding(OK, f"{len(entries)} files, {megabytes:.0f} MB, sha256 as shipped")


def megabytes(name: str) -> float | None:
    """What a public model's weights take to download, in 10^6 bytes, where known."""
    source, _, model = name.partition("/")
    if source == "torchvision" and "@" not in model:
        from torchvision.models import get_model_weights

        return get_model_weights(model).DEFAULT.meta["_file_size"]
    return profiles.DOWNLOAD_MB.get(name)


def public_models() -> tuple[list[str], list[str], float]:
    """The full profile's models: those in the caches, those missing; MB to download.

    Each with its size where that is known.  Uses no network.
    """
    here, absent, total = [], [], 0.0
    names = profiles.models(profiles.chosen(profiles.FULL)).values()
    for name in (*names, profiles.CLIP):
        if "/" not in name or name.startswith("bundled/"):
            continue  # they come with the course
        size = megabytes(name)
        shown = name if size is None else f"{name} ({size:.0f} MB)"
        if hub.cached(name):
            here.append(name)
        else:
            absent.append(shown)
            total += size or 0
    return here, absent, total


def check_public_models() -> dict:
    """Which models of the full profile are in the libraries' caches?"""
    here, absent, total = public_models()
    found = f"{len(here)} of {len(here) + len(absent)} in the libraries' caches"
    if here:
        found += f": {', '.join(here)}"
    if not absent:
        return finding(OK, found)
    found += f"; missing: {', '.join(absent)}"
    return finding(
        NOTE, found, f"Only the full profile wants them: {total:.0f} MB to download."
    )


def check_sandbox() -> dict:
    """Can submissions be graded in a sandbox?  Only instructors need it."""
    problem = sandbox.probe()
    if problem is None:
        return finding(OK, "bubblewrap works (for grading)")
    return finding(NOTE, f"{problem} (only for grading)", sandbox.INSTALL[4:])


def promises() -> dict[str, dict]:
    """{promise of grading: {"holds", "found"}}, each tried here.

    Empty where nobody grades: without the extra `instructor` or without a sandbox.
    """
    if not installed_version("nbgrader") or sandbox.probe() is not None:
        return {}
    found = probes.try_all().items()
    return {name: {"holds": t.holds, "found": t.found} for name, t in found}


def check_promises() -> dict:
    """Does what grading promises hold on this machine?"""
    try:
        tried = promises()
    except Exception as error:  # noqa: BLE001 - lessons run where grading does not
        brief = " ".join(str(error).split())[:200]
        return finding(
            WARNING,
            f"could not be tried ({type(error).__name__}: {brief})",
            "Look at the line: sandbox; only grading needs it.",
        )
    if not tried:
        return finding(NOTE, "not tried: only instructors with a sandbox need them")
    broken = [name for name, one in tried.items() if one["holds"] is False]
    held = sum(one["holds"] is True for one in tried.values())
    found = f"{held} of {len(tried)} hold"
    if not broken:
        return finding(OK, found)
    return finding(
        WARNING,
        f"{found}; not: {', '.join(broken)}",
        "See SECURITY.md for what each protects; grade work of people whom you do not "
        "know only where all of them hold.",
    )
