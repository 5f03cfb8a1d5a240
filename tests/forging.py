"""The learner's side of a check, played in this process: honest, or forged.

A check gets what the learner's side sends.  Here it gets the answers of a notebook's
code (`Played`), or whatever an attack makes of the request (`Forged`).
"""

import contextlib
import copy
import json
import types
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from course_lib.course.grading import (
    checks,
    grade,
    plain,
    release,
    sandbox,
    submission,
)
from course_lib.errors import CourseError

SEED = 11


def bare_space(notebook):
    """The names that a notebook defines; its tests and its quiz are left out."""
    space = {}
    for cell in notebook["cells"]:
        name = cell.get("id", "")
        if cell["cell_type"] == "code" and name != "quiz" and name[-5:] != "-test":
            exec(compile("".join(cell["source"]), name, "exec"), space)
    return space


@cache
def solved(lesson):
    """Names of the reference solution of a lesson's folder."""
    text = (lesson / f"{lesson.name}.ipynb").read_text("utf-8")
    return bare_space(json.loads(text))


@cache
def untouched(lesson):
    """Names of the exercise as it is released."""
    return bare_space(json.loads(release.released(lesson).read_text("utf-8")))


@cache
def checks_of(lesson):
    return checks.Checks((lesson / "checks.py").read_text("utf-8"))


def answered(lesson, entry):
    """Names of the released notebook with one answer of the bank in its place."""
    public = submission.load_release(release.released(lesson))
    asked = {q.name: q for q in submission.questions(public)}
    space = dict(untouched(lesson))
    stub = public["cells"][asked[entry.question].answer]["source"]
    for name in submission.defined(stub):
        space.pop(name, None)
    with contextlib.suppress(Exception):  # some are wrong because they raise
        exec(compile(entry.source, entry.name, "exec"), space)
    return space


@dataclass
class Call:
    """One request of a check, and the right answer to it as text of `plain`."""

    code: str
    inputs: dict
    index: int
    right: str
    others: list = field(default_factory=list)  # right answers to other draws
    before: str | None = None  # the right answer to the call before

    def answer(self):
        return plain.decode(self.right)


class Played(checks.Learner):
    """Runs a check's code among the names of a notebook, in this process."""

    def __init__(self, space):
        self.space, self.calls = space, []

    def run(self, code, **inputs):
        space = dict(self.space) | plain.decode(plain.encode(inputs))
        try:
            exec(code, space)
            text = plain.encode(space["result"])
        except NotImplementedError:
            raise checks.NotAttempted from None
        except CourseError:
            raise checks.Wrong("no plain data") from None
        except NameError:
            raise checks.Wrong("missing") from None
        except Exception:
            raise checks.Wrong("raises") from None
        self.calls.append(Call(code, copy.deepcopy(inputs), len(self.calls), text))
        return plain.decode(text)


class Here:
    """Stands for `sandbox.Kernel`: the same requests, answered in this process.

    A kernel of its own has to import torch first, which takes longer than a whole bank.
    """

    def __init__(self, isolated=True):
        shell = types.SimpleNamespace(user_ns={})
        self.space = shell.user_ns
        self.space["get_ipython"] = lambda: shell

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def run(self, code, seconds, ask=None):
        error = None
        try:
            exec(code, self.space)
        except Exception as problem:
            error = type(problem).__name__
        answer = repr(self.space.get(ask)) if ask else None
        return sandbox.Ran([], error, answer)


class Forged(Played):
    """Answers each request with ``attack(call)``, never with what is right."""

    def __init__(self, space, attack, record, others):
        super().__init__(space)
        self.attack, self.record, self.others, self.count = attack, record, others, 0

    def run(self, code, **inputs):
        i, self.count = self.count, self.count + 1
        known = i < len(self.record) and self.record[i].code == code
        right = self.record[i].right if known else self.honest(code, inputs)
        others = [o[i].right for o in self.others if i < len(o)]
        before = self.record[i - 1].right if len(self.record) > 1 else None
        call = Call(code, inputs, i, right, others, before)
        try:
            return plain.decode(plain.encode(self.attack(call)))
        except CourseError:
            raise checks.Wrong("no plain data") from None

    def honest(self, code, inputs):
        try:
            return plain.encode(super().run(code, **inputs))
        except checks.Wrong:
            return "null"


class Flagged(Played):
    """A notebook's own numbers, with the flags and texts of the right answer."""

    def __init__(self, space, record):
        super().__init__(space)
        self.record = record

    def run(self, code, **inputs):
        found, i = super().run(code, **inputs), len(self.calls) - 1
        known = i < len(self.record) and self.record[i].code == code
        return flagged(found, self.record[i].answer()) if known else found


def flagged(found, right):
    """Booleans, texts and keys of ``right``, everything else as it was found."""
    if type(right) in (bool, str):
        return right
    if type(right) in (list, tuple) and type(found) in (list, tuple):
        if right and all(type(item) in (bool, str) for item in right):
            return right
        if len(right) == len(found):
            pairs = zip(found, right, strict=True)
            return type(right)(flagged(own, item) for own, item in pairs)
    if isinstance(right, dict) and isinstance(found, dict):
        return {key: flagged(found.get(key), right[key]) for key in right}
    return found


@cache
def recorded(lesson, question, seed=SEED):
    """The calls of a check that the reference solution passes."""
    learner = Played(solved(lesson))
    checks_of(lesson).ask(question, learner, grade.rng_of(seed, question))
    return learner.calls


def credit(lesson, question, learner, seed=SEED):
    """The share of the points: 1 for an accepted answer, 0 for one not attempted."""
    try:
        checks_of(lesson).ask(question, learner, grade.rng_of(seed, question))
    except checks.Wrong as wrong:
        return wrong.credit
    except checks.NotAttempted:
        return 0.0
    return 1.0


# -- attacks ---------------------------------------------------------------------------


def leaves(change):
    """The right answer's lists, dictionaries and shapes around other content."""

    def turned(value):
        if type(value) in (list, tuple):
            return type(value)(turned(item) for item in value)
        if isinstance(value, dict):
            return {key: turned(item) for key, item in value.items()}
        return change(value)

    return lambda call: turned(call.answer())


def like(number, text=""):
    """A leaf of the same kind and shape that holds one number everywhere."""

    def change(leaf):
        if isinstance(leaf, torch.Tensor):
            return torch.full(leaf.shape, number, dtype=torch.float64)
        if isinstance(leaf, np.ndarray):
            return np.full(leaf.shape, number)
        if type(leaf) is bool:
            return bool(number)
        if type(leaf) is str:
            return text
        whole = type(leaf) is int and number == number // 1
        return int(number) if whole else float(number)

    return leaves(change)


def lists(change):
    """Each list that holds no other list, changed; arrays by their first axis."""

    def turned(value):
        if isinstance(value, dict):
            return {key: turned(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            if any(isinstance(item, (list, tuple, dict)) for item in value):
                return type(value)(turned(item) for item in value)
            return type(value)(change(list(value)))
        if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim:
            return change(value)
        return value

    def attack(call):
        made = turned(call.answer())  # an answer without lists is not to stay right
        return [] if plain.encode(made) == call.right else made

    return attack


def outer(change):
    """The answer's outermost list, rows or keys, changed."""

    def turned(call):
        value = call.answer()
        if isinstance(value, dict):
            return dict(change(list(value.items())))
        if type(value) in (list, tuple):
            return type(value)(change(list(value)))
        if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim:
            return change(value)
        return []

    return turned


def one_leaf(kept):
    """All leaves are None but those at the places that ``kept(place, last)`` says."""

    def attack(call):
        counted = [0]
        leaves(lambda leaf: counted.append(0))(call)
        last, place = len(counted) - 2, iter(range(len(counted)))
        made = leaves(lambda leaf: leaf if kept(next(place), last) else None)(call)
        return [] if plain.encode(made) == call.right else made

    return attack


def no_rows(leaf):
    """An array without entries in place of an array, an empty list of a number."""
    return leaf[:0] if getattr(leaf, "ndim", 0) else []


def flat(value):
    """A wrong type for every leaf: texts for numbers, numbers for texts."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return str(value.tolist())
    return len(value) if isinstance(value, str) else str(value)


def given(call):
    """The arguments of a call, or the inputs of a request, as a list."""
    arguments = call.inputs.get("_arguments", tuple(call.inputs.values()))
    return list(arguments)


def items(call, place):
    """One item of each case of the first input that is a list of cases."""
    for value in given(call):
        if type(value) is list and value and isinstance(value[0], (list, tuple)):
            return [case[place] if len(case) else None for case in value]
    return given(call)


def drawn(call):
    """The right shapes around numbers that are drawn from nowhere."""
    rng = np.random.default_rng(call.index)

    def change(leaf):
        if isinstance(leaf, (np.ndarray, torch.Tensor)):
            return rng.standard_normal(tuple(leaf.shape))
        if type(leaf) is bool:
            return bool(rng.integers(2))
        if type(leaf) is str:
            return f"x{rng.integers(10**9)}"
        return float(rng.normal()) if type(leaf) is float else int(rng.integers(9))

    return leaves(change)(call)


def other(number):
    """The right answer to another draw: what a constant would be at best."""

    def attack(call):
        texts = call.others
        return plain.decode(texts[number]) if number < len(texts) else []

    return attack


def alternating(one, two):
    return lambda call: (two if call.index % 2 else one)(call)


def constant(value):
    return lambda call: value


nan, inf = float("nan"), float("inf")
CONSTANTS = {
    "None": None,
    "empty list": [],
    "empty tuple": (),
    "empty dictionary": {},
    "empty text": "",
    "empty array": np.zeros(0),
    "empty tensor": torch.zeros(0),
    "array without columns": np.zeros((3, 0)),
    "tensor without rows": torch.zeros(0, 3),
    "array of no dimension": np.zeros(()),
    "list in a list": [[]],
    "two empty lists": [[], []],
    "two empty tensors": [torch.zeros(0), torch.zeros(0)],
    "three of None": [None, None, None],
    "empty lists down to the end": [[[[[]]]]],
    "empty dictionaries": [{}, {}, {}],
    "dictionary of an empty key": {"": []},
    "nan": nan,
    "a list of nan": [nan, nan],
    "infinity": inf,
    "minus infinity": -inf,
    "minus one": -1,
    "zero": 0,
    "one": 1,
    "a half": 0.5,
    "huge whole number": 10**25,
    "huge number": 1e308,
    "True": True,
    "False": False,
    "a list of True": [True] * 4,
    "a word": "correct",
    "what the transport says": "ok W10=",
}
FORGED = {name: constant(value) for name, value in CONSTANTS.items()}
FORGED |= {
    "zeros": like(0),
    "ones": like(1),
    "minus ones": like(-1),
    "halves": like(0.5),
    "nan everywhere": like(nan),
    "infinity everywhere": like(inf),
    "huge numbers": like(1e300),
    "None everywhere": leaves(lambda leaf: None),
    "empty lists everywhere": leaves(lambda leaf: []),
    "empty texts everywhere": leaves(lambda leaf: ""),
    "True everywhere": leaves(lambda leaf: True),
    "False everywhere": leaves(lambda leaf: False),
    "arrays without rows": leaves(no_rows),
    "wrong types": leaves(flat),
    "numbers from nowhere": drawn,
    "alternating zeros and ones": alternating(like(0), like(1)),
    "alternating None and nothing": alternating(constant(None), constant([])),
    "alternating ones and nan": alternating(like(1), like(nan)),
    "all leaves but the last are None": one_leaf(lambda i, last: 0 < i == last),
    "all leaves but the first are None": one_leaf(lambda i, last: 0 == i < last),
    "the last leaf is None": one_leaf(lambda i, last: i < last),
    "without the last": outer(lambda rows: rows[:-1]),
    "the first alone": outer(lambda rows: rows[:1] if len(rows) > 1 else rows[:0]),
    "the first half": outer(lambda rows: rows[: len(rows) // 2]),
    "nothing of it": outer(lambda rows: rows[:0]),
    "inner lists without the last": lists(lambda rows: rows[:-1]),
    "inner lists emptied": lists(lambda rows: rows[:0]),
    "right answer in a list": lambda call: [call.answer()],
    "right answer as a text": lambda call: str(call.right),
    "right keys, None": lambda call: dict.fromkeys(keys(call)),
    "right keys, empty lists": lambda call: {key: [] for key in keys(call)},
    "right keys, empty dictionaries": lambda call: {key: {} for key in keys(call)},
    "right keys, nan": lambda call: dict.fromkeys(keys(call), nan),
    "right length, None": lambda call: [None] * length(call),
    "right length, empty lists": lambda call: [[]] * length(call),
    "right length, pairs of None": lambda call: [[None, None]] * length(call),
    "right length, triples of nan": lambda call: [[nan] * 3] * length(call),
    "right length, empty dictionaries": lambda call: [{}] * length(call),
    "another draw": other(0),
    "a third draw": other(1),
    "the call before": lambda call: plain.decode(call.before) if call.before else [],
    "the arguments": given,
    "the first argument": lambda call: given(call)[0] if given(call) else None,
    "the last argument": lambda call: given(call)[-1] if given(call) else None,
    "the inputs": lambda call: call.inputs,
    "the names of the inputs": lambda call: list(call.inputs),
    "the request": lambda call: {"code": call.code, "inputs": call.inputs},
    "the code": lambda call: call.code,
    "the first of each case": lambda call: items(call, 0),
    "the last of each case": lambda call: items(call, -1),
}


def keys(call):
    answer = call.answer()
    return list(answer) if isinstance(answer, dict) else ["result"]


def length(call):
    answer = call.answer()
    return len(answer) if isinstance(answer, (list, tuple, dict)) else 2
