"""`course claims`: the ledger, and one claim with all that is known of it."""

import json

import pytest

from course_lib.course import cli
from course_lib.lessons import claims


@pytest.mark.parametrize("typed", ["C57", "c57", "57"])
def test_one_claim_is_shown_with_its_cell_and_source(typed, capsys):
    assert cli.main(["claims", typed]) == 0
    said, row = capsys.readouterr().out, claims.claim("C57")
    for key in ("claim", "figure", "source", "verdict", "cell", "notebook"):
        assert row[key] in said
    assert all(part in said for part in claims.by_world(row["finding"]).values())
    assert cli.main(["claims", typed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == row


@pytest.mark.parametrize(
    "line, message",
    [("C99", "no claim 'C99'"), ("C57 --lesson 3", "one of them out")],
)
def test_what_is_no_claim_is_refused(line, message, capsys):
    assert cli.main(["claims", *line.split()]) == 1
    assert message in capsys.readouterr().err
