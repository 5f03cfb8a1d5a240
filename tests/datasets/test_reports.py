"""Reports: deterministic, true to their tickets, and a format that is checked."""

import numpy as np
import pytest

from course_lib import datasets
from course_lib.datasets import reports
from course_lib.errors import CourseError


def test_the_committed_file_is_what_the_generator_writes():
    for split, size in reports.SIZES.items():
        stored = datasets.load("reports", split)
        made = reports.render(size, split=split)
        assert stored.texts == made.texts and (stored.labels == made.labels).all()
        for key, column in made.metadata.items():
            assert (stored.metadata[key] == column).all()


def test_no_ticket_stands_in_two_splits():
    seen = [set(datasets.load("reports", s).texts) for s in reports.SIZES]
    seen.append(set(datasets.load("tickets", "train").texts))
    together = set.union(*seen)
    assert sum(map(len, seen)) - len(together) <= 0.01 * sum(map(len, seen))


def test_every_report_is_in_the_format_and_true():
    data = datasets.load("reports", "test")
    for text, label, about in zip(data.texts, data.labels, data.metadata["report"]):
        facts = reports.parse(about)
        assert facts["Defect"] == reports.CLASSES[label]
        assert facts["Action"] == reports.ACTIONS[facts["Defect"]]
        if facts["Lot"] != reports.NOT_STATED:
            assert facts["Lot"].lower() in text.lower()
    facts = [reports.parse(about) for about in data.metadata["report"]]
    clean = data.metadata["author"] == "engineer"
    for i in np.flatnonzero(clean):
        place = facts[i]["Place"]
        assert place == reports.NOT_STATED or place[:3].lower() in data.texts[i].lower()


RIGHT = reports.report(
    dict(
        Lot="A1234",
        Defect="crack",
        Place="on layer 3",
        Step="etch",
        Action="scrap the wafer",
    )
)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        RIGHT.replace("Lot: ", "lot: "),
        RIGHT.replace("\n", " "),
        RIGHT + "\nTool: CMP-03",
        "\n".join(RIGHT.split("\n")[::-1]),
        RIGHT.replace("A1234", "A123"),
        RIGHT.replace("A1234", "a1234"),
        RIGHT.replace("crack", "fissure"),
        RIGHT.replace("etch", ""),
        RIGHT.replace("on layer 3", "on layer 9"),
        RIGHT.replace("scrap the wafer", "do something"),
    ],
)
def test_a_wrong_format_is_seen(wrong):
    assert reports.parse(RIGHT) is not None
    assert reports.parse(wrong) is None
    assert reports.score([wrong], [RIGHT])["format"] == 0


def test_score_tells_format_from_truth():
    false = RIGHT.replace("A1234", "A1235")
    share = reports.score([RIGHT, false], [RIGHT, RIGHT])
    assert share["format"] == 1 and share["exact"] == 0.5 and share["lot"] == 0.5
    assert share["defect"] == share["action"] == 1
    with pytest.raises(CourseError, match="1 reports for 2 tickets"):
        reports.score([RIGHT], [RIGHT, RIGHT])


def test_unknown_split():
    with pytest.raises(CourseError, match="no split 'dev'"):
        reports.render(3, split="dev")
