"""Trusted checks: they run in the grader and ask the learner's code for plain data.

A check is a function ``check_NAME(learner, rng)`` of ``solutions/NN_name/checks.py``,
one for each graded question.  It draws hidden inputs from ``rng``, asks the learner's
functions in the sandbox, compares with what it computes itself, and raises
``Wrong("key")`` with a key of the file's ``HINTS``.  Expected values never leave the
grader, and no text but a hint comes back to the learner.
"""

import base64
import json
import numbers
import re
import types
from collections.abc import Callable

import numpy as np

from course_lib.course.grading import plain
from course_lib.course.grading.sandbox import Kernel
from course_lib.errors import CourseError

COMMON = {
    "raises": "Your code raises an error for some valid input. Try shapes and values "
    "other than those of the visible test.",
    "missing": "What the question asks for is not defined after its cell has run: "
    "check the name, and that the cell runs without an error.",
    "no plain data": "The result is not of the kind that the question asks for (a "
    "number, a tensor, a list ...), or it is far too large.",
    "died": "The kernel ended while your code ran: it used too much memory, or it "
    "stopped Python.",
    "timeout": "Your code did not finish in the time given. Look for a loop that does "
    "not end, or for training where none is needed.",
}


class Wrong(Exception):
    """The answer is wrong; ``hint`` is a key of HINTS, ``credit`` a share of points."""

    def __init__(self, hint: str, credit: float = 0.0):
        super().__init__(hint)
        self.hint, self.credit = hint, credit


class NotAttempted(Exception):
    """The learner's code says so itself: NotImplementedError."""


ASK = """\
def _course_call(text):
    import base64, json
    from course_lib.course.grading import plain
    request = json.loads(base64.b64decode(text))
    space = dict(get_ipython().user_ns)
    space.update(plain.decode(request["inputs"]))
    try:
        exec(request["code"], space)
        answer = plain.encode(space["result"])
        return "ok " + base64.b64encode(answer.encode()).decode()
    except NotImplementedError:
        return "not attempted"
    except plain.CourseError:
        return "no plain data"
    except NameError:
        return "missing"
    except Exception:
        return "raises"
_course_answer = _course_call({text!r})
"""


class Learner:
    """The learner's side, as a check sees it: a kernel that has run the notebook."""

    def __init__(self, kernel: Kernel, seconds: Callable[[], float]):
        self.kernel, self.seconds = kernel, seconds

    def run(self, code: str, **inputs):
        """Run authored code among the learner's names; the value of ``result``.

        ``code`` and ``inputs`` are visible to the learner's code: they hold nothing
        that gives the expected value away.  What comes back is what the learner's side
        likes to send: `expect` its kind before anything is decided from it.  Raises
        Wrong, NotAttempted, and what `Kernel.run` raises.
        """
        request = json.dumps({"code": code, "inputs": plain.encode(inputs)})
        text = base64.b64encode(request.encode()).decode()
        ran = self.kernel.run(
            ASK.format(text=text), self.seconds(), ask="_course_answer"
        )
        answer = text_of(ran.answer)
        if answer == "not attempted":
            raise NotAttempted
        if answer in COMMON:
            raise Wrong(answer)
        if answer is None or not answer.startswith("ok "):
            raise Wrong("raises")
        try:
            return plain.decode(base64.b64decode(answer[3:], validate=True).decode())
        except (CourseError, ValueError):
            raise Wrong("no plain data") from None

    def call(self, name: str, *arguments, **named):
        """The result of the learner's function ``name`` for plain arguments."""
        return self.run(
            f"result = {name}(*_arguments, **_named)",
            _arguments=arguments,
            _named=named,
        )

    def value(self, name: str):
        """The value of the learner's variable ``name``."""
        return self.run(f"result = {name}")


def text_of(shown: str | None) -> str | None:
    """A text of base64 characters from its `repr`; None when it is none."""
    if isinstance(shown, str) and re.fullmatch(r"'[A-Za-z0-9+/= ]*'", shown):
        return shown[1:-1]
    return None


# -- comparing: nothing here may raise on hostile plain data ---------------------------


def expect(
    value,
    hint: str = "no plain data",
    *,
    kind: type | tuple[type, ...] | None = None,
    length: int | None = None,
    keys=None,
    shape: tuple | None = None,
    finite: bool = True,
):
    """The value, when it is of the form asked for; else Wrong(hint).

    First in every check, before the content: a loop over an empty answer compares
    nothing.  kind: its type or types, exactly (True is no int).  length: of a list,
    tuple, text or dictionary.  keys: those of a dictionary, no more and no fewer.
    shape: of numbers, which come back as a float64 array, every one of them finite
    unless ``finite`` is False.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if kind is not None and type(value) not in kinds:
        raise Wrong(hint)
    if length is not None:
        if type(value) not in (list, tuple, str, dict) or len(value) != length:
            raise Wrong(hint)
    if keys is not None and (type(value) is not dict or set(value) != set(keys)):
        raise Wrong(hint)
    if shape is None:
        return value
    array = as_array(value)
    if array is None or array.shape != tuple(shape):
        raise Wrong(hint)
    if finite and not np.isfinite(array).all():
        raise Wrong(hint)
    return array


def same(value, expected) -> bool:
    """Are two plain values equal, item by item, and of equal length?

    Lists may come as tuples and whole numbers as floats or 0-dimensional arrays; True
    is not 1, and nothing equals nan.
    """
    if isinstance(expected, (list, tuple)):
        return (
            type(value) in (list, tuple)
            and len(value) == len(expected)
            and all(same(v, e) for v, e in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            type(value) is dict
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key]) for key in expected)
        )
    if expected is None or isinstance(expected, (bool, str)):
        return type(value) is type(expected) and value == expected
    if isinstance(value, bool) or (array := as_array(value)) is None:
        return False
    return array.shape == () and float(array) == expected


def close(value, expected, tolerance: float = 1e-4) -> bool:
    """Is the value the expected number, array or tensor, shape included?

    Within ``tolerance`` of the largest expected entry (or of 1, when that is smaller
    than 1e-6).  Numbers may come as 0-dimensional arrays; not-a-number is never close,
    and nothing is close to an array without entries.
    """
    got, wanted = as_array(value), as_array(expected)
    if got is None or wanted is None or got.shape != wanted.shape or not wanted.size:
        return False
    if not np.isfinite(got).all():
        return False
    largest = float(np.abs(wanted).max())
    allowed = tolerance * (largest if largest > 1e-6 else 1.0)
    return bool((np.abs(got - wanted) <= allowed).all())


def told(found, right, wrong, default, tolerance: float = 1e-6) -> None:
    """Nothing when the answers are right; else Wrong with the hint that they fit.

    found: the learner's numbers.  wrong: {hint: [numbers of such a mistake, ...]}.
    """
    if close(found, right, tolerance):
        return
    for hint, values in wrong.items():
        if any(close(found, value, tolerance) for value in values):
            raise Wrong(hint)
    raise Wrong(default)


def all_close(values, expected, tolerance: float = 1e-4) -> bool:
    """Are there as many values as expected ones, and is each `close` to its own?"""
    return (
        type(values) in (list, tuple)
        and len(values) == len(expected) > 0
        and all(close(*pair, tolerance) for pair in zip(values, expected, strict=True))
    )


def as_array(value):
    """Numbers, arrays, tensors and even lists of numbers as float64; else None."""
    if isinstance(value, numbers.Real):
        try:
            return np.array(float(value))
        except OverflowError:
            return None
    if type(value).__module__ == "torch":
        value = value.detach().cpu().double().numpy()
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, (list, tuple)):
        items = [as_array(item) for item in value]
        if all(i is not None for i in items) and len({i.shape for i in items}) <= 1:
            return np.stack(items) if items else np.zeros(0)
    return None


def shape(value) -> tuple | None:
    """The shape of a number, list, array or tensor; None of anything else."""
    array = as_array(value)
    return None if array is None else array.shape


# -- the file of a lesson --------------------------------------------------------------


class Checks:
    """The checks of one lesson: hints, functions by question, and the time they need.

    ``source`` is the text of ``solutions/NN_name/checks.py``, which is trusted.
    Raises CourseError when a hint is missing or is no text.
    """

    def __init__(self, source: str, name: str = "checks"):
        module = types.ModuleType(name)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        self.hints = {**COMMON, **getattr(module, "HINTS", {})}
        self.seconds = getattr(module, "SECONDS", 120)
        self.functions = {
            key.removeprefix("check_"): value
            for key, value in vars(module).items()
            if key.startswith("check_") and callable(value)
        }
        bad = [key for key, text in self.hints.items() if not isinstance(text, str)]
        if bad or not self.functions:
            raise CourseError(
                f"{name}: no checks, or hints that are no texts ({bad}).\nExpected: "
                "functions check_NAME(learner, rng) and HINTS = {key: text}."
            )

    def ask(self, question: str, learner: Learner, rng) -> None:
        """Run one check.  Raises Wrong with a known hint, NotAttempted, or nothing."""
        try:
            self.functions[question](learner, rng)
        except Wrong as wrong:
            if wrong.hint not in self.hints:
                raise CourseError(
                    f"{question}: no hint is called {wrong.hint!r}."
                ) from None
            raise
