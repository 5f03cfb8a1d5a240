"""A small exercise for the tests of grading: two questions, one open one, no torch."""

import copy
import json

import pytest

from course_lib.course.grading import grade, sandbox

PROBLEM = sandbox.probe()
needs_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"{PROBLEM}")

CHECKS = """
from course_lib.course.grading.checks import Wrong, close
HINTS = {"double": "HINT: twice the argument.", "sum": "HINT: the sum."}
SECONDS = 40
def check_double(learner, rng):
    for _ in range(3):
        x = float(rng.normal())
        if not close(learner.call("double", x), 2 * x):
            raise Wrong("double")
def check_total(learner, rng):
    items = rng.normal(size=5)
    if not close(learner.call("total", items), items.sum()):
        raise Wrong("sum")
"""
STUB = "def {}(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
DOUBLE, TOTAL = "def double(x):\n    return 2 * x", "def total(x):\n    return x.sum()"


def cell(name, source, kind="code", **ours):
    made = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
    if kind == "code":
        made |= {"outputs": [], "execution_count": None}
    made["metadata"]["nbgrader"] = {
        "grade_id": name,
        "schema_version": 3,
        "grade": False,
        "solution": False,
        "locked": True,
        "task": False,
        "cell_type": kind,
        **ours,
    }
    return made


def release():
    answer = dict(solution=True, locked=False)
    cells = [
        cell("title", "# Exercise", "markdown"),
        cell("imports", "import math"),
        cell("double", STUB.format("double"), **answer),
        cell("double-test", "assert double(1) == 2", grade=True, points=3),
        cell("total", STUB.format("total"), **answer),
        cell("total-test", "assert total([1]) == 1", grade=True, points=2),
        cell("open", "YOUR ANSWER HERE", "markdown", grade=True, points=1, **answer),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def submitted(double=None, total=None, open=None, extra=()):
    notebook = copy.deepcopy(release())
    by_name = {c["id"]: c for c in notebook["cells"]}
    for name, source in (("double", double), ("total", total), ("open", open)):
        if source is not None:
            by_name[name]["source"] = source
    notebook["cells"][2:2] = extra
    return json.dumps(notebook).encode()


def graded(content, seed=1, seconds=30, **limits):
    limits = {"memory_mb": 400, "scratch_mb": 20, "file_mb": 10, **limits}
    return grade.grade(
        content,
        release(),
        CHECKS,
        seed,
        limits=sandbox.Limits(**limits),
        seconds=seconds,
    )


def outcomes(record):
    return {name: answer["outcome"] for name, answer in record["answers"].items()}
