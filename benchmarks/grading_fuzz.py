"""Fuzz the grader: mutated notebooks for some minutes; every one must have a record.

    python benchmarks/grading_fuzz.py --minutes 10 [--seed 0]

Mutates bytes, JSON values, cells and metadata of a good submission, grades each in the
sandbox, and fails when the grader raises, or gives a record without an outcome or with
more points than there are.  A hundred more for each graded one are read and put back
into the shape of the release, which needs no sandbox.
"""

import argparse
import collections
import copy
import json
import random
import time

from course_lib.course.grading import grade, release, submission

STRANGE = [None, True, -1, 1e308, "", "x", "\ud800", "\0", [], {}, [[]], {"a": {}}]
STRANGE += ["code", "raw", "def", "9" * 50, [1, None], {"nbgrader": []}, "<script>"]
CODE = ["import os; os._exit(0)", "1/0", "while True: pass", "%%bash\nexit 3", "((("]
CODE += ["raise SystemExit", "del __builtins__", "print('x' * 10**6)", "\tx", "?print"]


def places(tree, found=None):
    """All (container, key) of a JSON tree."""
    found = [] if found is None else found
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            places(tree[key], found)
    return found


def mutated(notebook: dict, rng: random.Random) -> bytes:
    """A damaged copy of a notebook, as bytes."""
    notebook = copy.deepcopy(notebook)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        cells = notebook.get("cells")
        kind = rng.randrange(6)
        if kind <= 1 or not isinstance(cells, list) or not cells:
            where = places(notebook)
            if where:
                tree, key = rng.choice(where)
                tree[key] = copy.deepcopy(rng.choice(STRANGE))
        elif kind == 2:
            cells.insert(rng.randrange(len(cells)), copy.deepcopy(rng.choice(cells)))
        elif kind == 3:
            del cells[rng.randrange(len(cells))]
        elif kind == 4:
            rng.shuffle(cells)
        else:
            cell = rng.choice(cells)
            if isinstance(cell, dict):
                cell["source"] = rng.choice(CODE)
    content = json.dumps(notebook).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        content = bytearray(content)
        for _ in range(rng.choice([1, 3, 30])):
            i = rng.randrange(len(content))
            what = rng.randrange(3)
            if what == 0:
                content[i] = rng.randrange(256)
            elif what == 1:
                del content[i : i + rng.randrange(1, 200)]
            else:
                content[i:i] = content[i : i + rng.randrange(1, 200)]
            content = content or bytearray(b"{")
    return bytes(content)


def rebuilt_or_refused(content: bytes, public: dict) -> None:
    """Read a submission: a notebook with every released cell, or Unreadable."""
    try:
        built = submission.rebuild(content, public)
    except submission.Unreadable:
        return
    origins = [origin for origin in built.origin if origin is not None]
    assert origins == list(range(len(public["cells"])))
    json.dumps(built.cells).encode("utf-8")


def main() -> None:
    """Fuzz for the minutes given; exit code 1 at the first surprise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lesson", default="08")
    arguments = parser.parse_args()
    (lesson,) = release.lessons([arguments.lesson])
    public = submission.load_release(release.released(lesson))
    checks = (lesson / "checks.py").read_text("utf-8")
    full = sum(q.points for q in submission.questions(public))
    good = json.loads((lesson / f"{lesson.name}.ipynb").read_text("utf-8"))
    rng, counts = random.Random(arguments.seed), collections.Counter()
    answers, longest = collections.Counter(), 0.0
    end = time.monotonic() + 60 * arguments.minutes
    read = 0
    while time.monotonic() < end:
        for _ in range(100):
            rebuilt_or_refused(mutated(good, rng), public)
            read += 1
        content = mutated(good, rng)
        started = time.monotonic()
        record = grade.grade(content, public, checks, seed=1, seconds=20)
        longest = max(longest, time.monotonic() - started)
        assert record["outcome"] in ("graded", "unreadable"), record["reason"]
        assert 0 <= record["points"] <= record["max_points"] == full
        json.dumps(record)
        counts[record["outcome"]] += 1
        answers.update(a["outcome"] for a in record["answers"].values())
    print(f"{sum(counts.values())} notebooks, longest {longest:.1f} s: {dict(counts)}")
    print(dict(answers))
    print(f"{read} more were read")


if __name__ == "__main__":
    main()
