"""Predictions: kept before the result, judged by rules set before, shown beside it."""

import importlib
import json
import re

import numpy as np
import pytest

from course_lib import paths
from course_lib.course import exercises, learner_progress, predict


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv(predict.SWITCH, raising=False)
    importlib.reload(predict)  # as in a new kernel


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: the boxes of fields."""
    boxes = []
    monkeypatch.setattr("IPython.display.display", boxes.append)
    return boxes


def test_a_guess_is_shown_beside_the_result_and_counted(shown, capsys):
    predict.number("02-ratio", "How many?", within=10)
    _, field, said = shown[0].children
    field.value = "about ten"
    assert "Not a number" in said.value
    field.value = "35 %"
    assert "Noted: 35" in said.value
    predict.reveal("02-ratio", np.float32(40.5))
    assert capsys.readouterr().out == ("You predicted 35; the result is 40.5. Close.\n")
    field.value = "40"  # the result is known: the first guess stays
    assert "not counted" in said.value and "You predicted 35" in said.value
    predict.choice("02-way", "Which?", ["a", "b"])
    shown[1].children[1].value = "a"
    predict.reveal("02-way", "b")
    predict.text("02-words", "Why?")
    shown[2].children[1].value = "because"
    predict.reveal("02-words", "for another reason", judged=False)
    assert "A surprise." in capsys.readouterr().out
    board = exercises.dashboard()
    (row,) = [row for row in board.rows if row.name.startswith("02_")]
    assert (row.predicted_well, row.predicted) == (1, 2) == board.predicted


def test_without_a_guess_nothing_is_shown_and_a_late_one_does_not_count(shown, capsys):
    predict.number("02-ratio", "How many?")
    predict.reveal("02-ratio", 3)
    assert capsys.readouterr().out == ""
    shown[0].children[1].value = "3"
    assert "known already" in shown[0].children[2].value
    assert learner_progress.load() == {}


def test_nobody_is_asked_where_lessons_are_only_run(shown, capsys, monkeypatch):
    predict.note("02-ratio", 3.0)
    monkeypatch.setenv(predict.SWITCH, "off")
    predict.number("02-ratio", "How many?")
    predict.reveal("02-ratio", 3)
    assert shown == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "guess, result, within, is_good",
    [
        (10.0, 19.0, None, True),
        (10.0, 21.0, None, False),
        (-1.0, 1.0, None, False),
        (0.0, 0.0, None, True),
        (0.0, 0.1, None, False),
        (3.0, 4.0, 1, True),
        (3.0, 4.1, 1, False),
        (2.0, 2.0, 0, True),
        ("a", "a", None, True),
        ("a", "b", None, False),
    ],
)
def test_what_is_close(guess, result, within, is_good):
    assert (predict.verdict(guess, result, within) == predict.GOOD) is is_good


def names(pattern):
    """{lesson: names asked for or revealed}, those in loops with their ends open."""
    found = {}
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        lines = "\n".join(code)
        found[path.stem[:2]] = re.findall(pattern, lines)
    return found


def test_every_prediction_of_the_lessons_is_asked_for_and_revealed():
    """By kernel-free means: names in the code, a prefix where a loop makes them."""
    asked = names(r"predict\.(?:number|choice|text)\(\s*f?\"([^\"]+)")
    shown = names(r"\"(\d\d-[\w.-]*)")
    for lesson, found in asked.items():
        assert len(found) == len(set(found)) and found, lesson
        assert all(name.startswith(f"{lesson}-") for name in found)
        for name in found:
            assert shown[lesson].count(name.partition("{")[0]) >= 2, name


def test_every_predict_in_a_text_has_a_field_below_it():
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell, below in zip(cells, cells[1:]):
            text = "".join(cell["source"])
            asks = re.search(r"\*\*Predict|^## Predict", text, re.MULTILINE)
            if cell["cell_type"] == "markdown" and asks:
                if cell["id"] != "how-a-lesson-is-built":
                    assert "predict." in "".join(below["source"]), (path, cell["id"])
