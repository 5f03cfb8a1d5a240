"""Columns are known by what they hold where no name says it."""

import pytest

from course_lib.datasets import column_kinds, tables
from course_lib.errors import CourseError
from course_lib.jobs import own_data

ROWS = 24
COLUMNS = {
    "id": [str(i) for i in range(ROWS)],
    "what_happened": [f"the pump of line {i} does not start" for i in range(ROWS)],
    "queue": ["pumps" if i % 3 else "valves" for i in range(ROWS)],
    "part": ["train" if i % 4 else "test" for i in range(ROWS)],
    "hours": [str(i % 4) for i in range(ROWS)],
}


def written(path, columns):
    lines = [",".join(columns), *map(",".join, zip(*columns.values()))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_column_is_known_by_its_content():
    assert column_kinds.texts(COLUMNS) == ["what_happened"]
    assert column_kinds.labels(COLUMNS) == ["queue"]  # neither parts nor numbers
    assert column_kinds.images(COLUMNS) == []
    files = {"scan": ["a.png", "b.JPG", " c.tif"], "said": ["a.b", "", "x"]}
    assert column_kinds.images(files) == ["scan"]
    assert column_kinds.labels({"hours": COLUMNS["hours"]}) == ["hours"]
    assert column_kinds.texts({"empty": ["", ""]}) == []


def test_the_columns_found_are_told(tmp_path):
    path = written(tmp_path / "t.csv", COLUMNS)
    assert own_data.task_of(path) == "text"
    found = tables.examples(path, "text")
    assert found.columns == {"text": "what_happened", "label": "queue"}
    told = " ".join(found.notes)
    assert "The texts are column 'what_happened' of t.csv, found by what it" in told
    assert "The labels are column 'queue'" in told and "'hours'" in told


def test_two_columns_that_may_be_the_label_are_an_error(tmp_path):
    more = COLUMNS | {"urgent": ["yes" if i % 2 else "no" for i in range(ROWS)]}
    path = written(tmp_path / "t.csv", more)
    with pytest.raises(CourseError, match="(?s)could be 'queue', 'urgent'.*Do: name"):
        tables.examples(path, "text")
    assert tables.examples(path, "text", None, "urgent").classes == ["no", "yes"]


def test_the_task_follows_from_the_data(tmp_path):
    assert own_data.task_of(tmp_path) == "images"
    files = {"scan": [f"{i}.png" for i in range(9)], "state": list("aabbaabba")}
    assert own_data.task_of(written(tmp_path / "p.csv", files)) == "images"
    with pytest.raises(CourseError, match="no column holds texts or names of pictures"):
        own_data.task_of(written(tmp_path / "n.csv", {"a": list("1234567")}))
    with pytest.raises(CourseError, match="do not exist"):
        own_data.task_of(tmp_path / "nothing")
