"""The page for practitioners: each piece of advice names what supports it."""

import re

from course_lib import paths
from course_lib.lessons import claims

PAGE = paths.ROOT / "docs" / "what_we_would_do.md"


def advice():
    """The numbered pieces of advice, each as one line."""
    said = PAGE.read_text(encoding="utf-8").split("## What we do not")[0]
    text = " ".join(said.split())
    return re.split(r"\s\d+\. (?=\*\*)", text)[1:]


def test_each_advice_names_a_lesson_or_a_row_that_there_is():
    known = {row["id"] for row in claims.ledger()}
    assert len(advice()) >= 15
    for one in advice():
        rows = re.findall(r"\bC\d\d\b", one)
        lessons = re.findall(r"\(\.\./(notebooks/[\w.]+)\)", one)
        assert rows or lessons, one
        assert set(rows) <= known, one
        assert all((paths.ROOT / path).exists() for path in lessons), one
