"""Answers without content to every question of every exercise: no points for any.

What the learner's side of a check sends is the learner's choice.  Each question gets
empty, constant, echoed, truncated and forged answers in place of what its check asks
for; none of them may earn a share of the points, nor end the check in an error.
"""

import ast
import base64
import json
import types

import forging
import numpy as np
import pytest
import torch
from forging import FORGED, checks_of, credit, recorded, solved, untouched
from grading_toy import needs_sandbox

from course_lib.course.grading import bank, checks, grade, release

LESSONS = release.lessons()
QUESTIONS = [(one, name) for one in LESSONS for name in checks_of(one).functions]
every_question = pytest.mark.parametrize(
    "lesson, question", QUESTIONS, ids=[f"{one.name[:2]}-{q}" for one, q in QUESTIONS]
)
# The answer is one constant, whatever is drawn: there is no other to it.
WITHOUT_ARGUMENTS = {"nf4_levels": {"another draw", "a third draw"}}


def test_there_are_enough_attacks():
    assert len(FORGED) >= 40 and len(QUESTIONS) >= 60


@pytest.mark.slow
@every_question
def test_no_answer_without_content_earns_points(lesson, question):
    record = recorded(lesson, question)
    others = [recorded(lesson, question, seed) for seed in (5, 8)]
    earned = {}
    with np.errstate(all="ignore"):
        for name, attack in FORGED.items():
            if name in WITHOUT_ARGUMENTS.get(question, ()):
                continue
            learner = forging.Forged(solved(lesson), attack, record, others)
            try:
                share = credit(lesson, question, learner)
            except Exception as problem:
                share = f"{type(problem).__name__}: {problem}"
            if share != 0:
                earned[name] = share
    assert not earned


@every_question
def test_the_released_stub_earns_nothing(lesson, question):
    assert credit(lesson, question, forging.Played(untouched(lesson))) == 0


# -- what a notebook does is told from numbers -----------------------------------------

BEHAVIOUR = {
    "01": {"copy_stages"},
    "02": {"mixture_bug"},
    "03": {"freeze_backbone", "cached_features", "forgetting_bug"},
    "04": {"set_rates"},
    "07": {"mask_words"},
    "08": {"lora_layer", "merge_bug"},
    "09": {"adapter"},
    "11": {"reverse"},
    "13": {"fit_bug"},
}


@pytest.mark.slow
@pytest.mark.parametrize("number", BEHAVIOUR)
def test_flags_and_names_alone_decide_nothing(number):
    """Every wrong answer of the bank stays wrong when its flags are the right ones."""
    (lesson,) = (one for one in LESSONS if one.name.startswith(number))
    tried = 0
    for entry in bank.entries(lesson):
        if entry.hint is None or entry.question not in BEHAVIOUR[number]:
            continue
        record = recorded(lesson, entry.question)
        learner = forging.Flagged(forging.answered(lesson, entry), record)
        assert credit(lesson, entry.question, learner) < 1, entry.name
        tried += 1
    assert tried >= 5 * len(BEHAVIOUR[number])


IN_PLACE = {
    "01": ("copy_stages", {"shared"}),
    "02": ("mixture_bug", {"changed"}),
    "03": ("forgetting_bug", {"changed"}),
    "07": ("mask_words", {"changed"}),
    "08": ("merge_bug", {"argument"}),
}
PATCHES = {
    "clone": lambda self, **named: self,
    "__deepcopy__": lambda self, memo: self,
    "equal": lambda self, other: True,
}


@pytest.mark.parametrize("number", IN_PLACE)
@pytest.mark.parametrize("method", PATCHES)
def test_a_patched_tensor_hides_no_change_in_place(number, method, monkeypatch):
    """Whether an argument was changed is told from its value and from a second call."""
    (lesson,) = (one for one in LESSONS if one.name.startswith(number))
    question, hints = IN_PLACE[number]
    entries = [
        entry
        for entry in bank.entries(lesson)
        if entry.question == question and entry.hint in hints
    ]
    assert entries
    for entry in entries:
        learner = forging.Played(forging.answered(lesson, entry))
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, method, PATCHES[method])
            patched.setattr(torch, "equal", lambda one, other: True)
            assert credit(lesson, question, learner) <= 0.75, entry.name


def test_the_checks_compare_no_lists_of_other_lengths():
    """`zip` stops at the end of the shorter list: with an empty one, at once."""
    for lesson in LESSONS:
        tree = ast.parse((lesson / "checks.py").read_text("utf-8"))
        for call in ast.walk(tree):
            if getattr(getattr(call, "func", None), "id", None) == "zip":
                strict = {word.arg: word.value for word in call.keywords}.get("strict")
                where = f"{lesson.name}, line {call.lineno}"
                assert isinstance(strict, ast.Constant) and strict.value, where


# -- the transport ---------------------------------------------------------------------


def coded(text):
    return f"'ok {base64.b64encode(text.encode()).decode()}'"


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "''",
        "'ok '",
        "'ok'",
        "'ok ===='",
        "'ok W10'",
        "'correct'",
        "ok W10=",
        coded(""),
        coded("{}"),
        coded('{"kind": "tensor"}'),
        coded('{"kind": "array", "npy": ""}'),
        coded('{"kind": ["dict"], "items": []}'),
        coded("[" * 500),
        coded("[]") + "x",
        coded("\ud7ff"),
    ],
)
def test_a_forged_transport_is_no_answer(shown):
    kernel = types.SimpleNamespace(
        run=lambda *a, **k: types.SimpleNamespace(answer=shown)
    )
    learner = checks.Learner(kernel, lambda: 1.0)
    with pytest.raises(checks.Wrong) as caught:
        learner.value("x")
    assert caught.value.credit == 0 and caught.value.hint in checks.COMMON


FORGERY = """
import itertools
from course_lib.course.grading import plain
texts = itertools.cycle({texts!r})
plain.encode = lambda value: next(texts)
exec = lambda code, space: space.update(result=None)
"""
TEXTS = {
    "an empty list": ["[]"],
    "an empty dictionary": ['{"kind": "dict", "items": []}'],
    "nan, then True": ["NaN", "true"],
    "a list of lists": ["[[], [], [], [], [], [], []]"],
    "an empty tensor, then zero": [
        forging.plain.encode(torch.zeros(0)),
        "0",
        "null",
    ],
}


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize("number", ["04", "13"])
def test_forged_packing_earns_nothing_in_the_sandbox(number):
    """The learner's side replaces `plain.encode`; the grader runs all its checks."""
    (lesson,) = (one for one in LESSONS if one.name.startswith(number))
    public = json.loads(release.released(lesson).read_text("utf-8"))
    questions = iter(checks_of(lesson).functions)
    forgeries = [FORGERY.format(texts=texts) for texts in TEXTS.values()]
    for i, cell in enumerate(public["cells"]):
        cell["source"] = "".join(cell["source"])
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            forged = forgeries[i % len(forgeries)] + "\nprint('forged')\n"
            cell["source"] = cell["source"].replace("raise NotImplementedError()", "")
            cell["source"] += forged if cell["cell_type"] == "code" else "Words."
    text = (lesson / "checks.py").read_text("utf-8")
    clean = forging.submission.load_release(release.released(lesson))
    record = grade.grade(json.dumps(public).encode(), clean, text, seed=3)
    assert record["points"] == 0
    outcomes = {name: a["outcome"] for name, a in record["answers"].items()}
    assert {outcomes[name] for name in questions} == {"wrong"}, outcomes
    assert "raises" not in {answer["hint"] for answer in record["answers"].values()}
