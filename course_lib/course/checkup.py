"""What a check of the doctor answers: one line of its report."""

import importlib.metadata

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
