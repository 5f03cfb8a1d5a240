"""Rebuilding notebooks as learners leave them: right answers keep their points."""

import copy
import json

import numpy as np
import pytest
from grading_toy import (
    DOUBLE,
    STUB,
    TOTAL,
    cell,
    graded,
    needs_sandbox,
    outcomes,
    release,
    submitted,
)

from course_lib.course import exercises
from course_lib.course.grading import bank, submission
from course_lib.course.grading import release as releasing

OPEN = "One, two, three."
HELPED = "def double(x):\n    return twice(x)"
TWICE = "def twice(x):\n    return 2 * x"
ANSWER = dict(solution=True, locked=False)


def own(source, kind="code", name="new"):
    """A cell of the learner's own."""
    made = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def again(name, source, kind="code"):
    """A copy of an answer's cell, as Jupyter splits and copies cells."""
    return cell(name, source, kind, **ANSWER) | {"id": f"{name}-copy"}


def notebook(double=DOUBLE, total=TOTAL, open=OPEN):
    return json.loads(submitted(double, total, open))


def where(cells, name):
    return next(i for i, c in enumerate(cells) if c["id"] == name)


def put(name, *extra, above=False, **answers):
    """The right notebook with cells above or below one of its cells."""
    made = notebook(**answers)
    at = where(made["cells"], name) + (0 if above else 1)
    made["cells"][at:at] = extra
    return made


def without(*names, **answers):
    made = notebook(**answers)
    made["cells"] = [c for c in made["cells"] if c["id"] not in names]
    return made


def split_helper_above():
    return put("double", again("double", HELPED), double=TWICE)


def split_helper_below():
    return put("double", again("double", TWICE), double=HELPED)


def split_in_three_with_a_base():
    """What the last part needs when it is defined stands in the first."""
    parts = (
        again("double", "LIMIT = FACTOR"),
        again("double", "def double(x, by=LIMIT):\n    return by * x"),
    )
    return put("double", *parts, double="FACTOR = 2")


def cut_within_the_function():
    parts = again("double", "    return y")
    return put("double", parts, double="def double(x):\n    y = 2 * x")


def cut_and_names_lost():
    return put("double", own("    return y"), double="def double(x):\n    y = 2 * x")


def stub_copied_below():
    return put("double", again("double", STUB.format("double")))


def stub_copied_above():
    extra = again("double", STUB.format("double"))
    return put("double", extra, above=True)


def stub_below_without_its_name():
    return put("double", own(STUB.format("double") + "  # later"))


def idle_copies():
    idle = "def double(x):\n    '''Doubles.'''\n    pass"
    half = "def double(x):\n    y = x\n    raise NotImplementedError('to do')"
    return put("double", again("double", idle), again("double", half), own(half))


def empty_rest():
    return put("double", again("double", ""), again("double", "# nothing\n"))


def try_below():
    tries = again("double", "double(3) + undefined"), own("1 / 0"), own("def double(")
    return put("double", *tries)


def try_above():
    tries = again("double", "print(no_such_thing)"), own("raise SystemError")
    return put("double", *tries, above=True)


def test_cell_copied():
    extra = cell("double-test", "assert double(1) == 2", grade=True, points=3)
    return put("double-test", extra | {"id": "x"}, own("assert double(1) == 2"))


def test_cell_with_the_answer():
    made = notebook(double=STUB.format("double"))
    at = where(made["cells"], "double-test")
    made["cells"][at]["source"] = f"{DOUBLE}\nassert double(1) == 2"
    return made


def import_in_a_locked_cell():
    made = notebook(double="def double(x):\n    return operator.mul(2, x)")
    at = where(made["cells"], "imports")
    made["cells"][at]["source"] = "import math\nimport operator"
    return made


def answer_in_a_new_cell_above():
    return put("double", own(DOUBLE), above=True, double=STUB.format("double"))


def answer_in_a_new_cell_far_below():
    extra = own("K = 2"), own("def double(x, k=K):\n    return k * x")
    return put("open", *extra, double=STUB.format("double"))


def answer_as_a_lambda():
    return put("double", own("double = lambda x: 2 * x"), double=STUB.format("double"))


def merged():
    return without("total", double=f"{DOUBLE}\n\n{TOTAL}")


def merged_with_the_stub_left():
    return notebook(double=f"{DOUBLE}\n\n{TOTAL}", total=STUB.format("total"))


def merged_with_the_test():
    return without("double-test", double=f"{DOUBLE}\nassert double(1) == 2")


def swapped():
    return notebook(double=TOTAL, total=DOUBLE)


def other_order():
    made = put("double", own(TWICE), above=True, double=HELPED)
    made["cells"].reverse()
    return made


def helper_moved_with_the_answer():
    made = notebook()
    cells = made["cells"]
    moved = cells.pop(where(cells, "double"))
    moved["source"] = "class Twice(Base):\n    pass\ndouble = Twice()"
    base = "class Base:\n    def __call__(self, x):\n        return 2 * x"
    cells[0:0] = own("import math"), own(base), moved
    return made


def turned_to_text():
    made = notebook()
    for c in made["cells"]:
        c["cell_type"] = "raw" if c["id"] == "double" else c["cell_type"]
    made["cells"][where(made["cells"], "total")]["cell_type"] = "markdown"
    return made


def fenced_text():
    made = notebook(double=f"```python\n{DOUBLE}\n```")
    made["cells"][where(made["cells"], "double")]["cell_type"] = "markdown"
    return made


def stripped(open=OPEN):
    made = notebook(open=open)
    for c in made["cells"]:
        c["metadata"] = {}
        c.pop("id")
    return made


def by_colab():
    made = stripped()
    for i, c in enumerate(made["cells"]):
        c["metadata"] = {"id": f"x{i}", "outputId": "y"}
        c["source"] = c["source"].splitlines(keepends=True)
    return made | {"nbformat_minor": 0, "metadata": {"colab": {"provenance": []}}}


def format_3():
    made = notebook()
    for c in made["cells"]:
        c.pop("id")
        if c["cell_type"] == "code":
            c["input"] = c.pop("source").splitlines(keepends=True)
            c.update(language="python", prompt_number=1)
    sheets = [{"cells": made["cells"], "metadata": {}}]
    return {"worksheets": sheets, "metadata": {}, "nbformat": 3, "nbformat_minor": 0}


def by_jupyters_server():
    return {"type": "notebook", "name": "a.ipynb", "content": notebook()}


AWKWARD = [
    split_helper_above,
    split_helper_below,
    split_in_three_with_a_base,
    cut_within_the_function,
    cut_and_names_lost,
    stub_copied_below,
    stub_copied_above,
    stub_below_without_its_name,
    idle_copies,
    empty_rest,
    try_below,
    try_above,
    test_cell_copied,
    test_cell_with_the_answer,
    import_in_a_locked_cell,
    answer_in_a_new_cell_above,
    answer_in_a_new_cell_far_below,
    answer_as_a_lambda,
    merged,
    merged_with_the_stub_left,
    merged_with_the_test,
    swapped,
    other_order,
    helper_moved_with_the_answer,
    turned_to_text,
    fenced_text,
    stripped,
    by_colab,
    format_3,
    by_jupyters_server,
]
for function in AWKWARD:
    function.__test__ = False


def rebuilt(made):
    return submission.rebuild(json.dumps(made).encode(), release())


def opened(made):
    """The open answer as it is shown."""
    built = rebuilt(made)
    return built.cells[built.origin.index(6)]["source"]


@pytest.mark.parametrize("make", AWKWARD, ids=lambda make: make.__name__)
def test_right_answers_stay_right(make):
    """Run cell by cell, whatever fails, as the grader's kernel does."""
    built, names = rebuilt(make()), {}
    for origin, c in zip(built.origin, built.cells):
        if c["cell_type"] == "code" and origin not in (3, 5):
            try:
                exec(c["source"], names)
            except Exception:
                pass
    assert names["double"](4) == 8 and names["total"](np.ones(3)) == 3
    assert not built.untouched and OPEN in opened(make())


@needs_sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [split_helper_above, idle_copies, merged_with_the_stub_left, other_order, format_3],
    ids=lambda make: make.__name__,
)
def test_right_answers_keep_their_points(make):
    record = graded(json.dumps(make()).encode())
    assert record["points"] == 5, record["answers"]
    assert outcomes(record)["open"] == "to be graded by hand"


@pytest.mark.parametrize("make", AWKWARD, ids=lambda make: make.__name__)
def test_course_check_runs_what_is_graded(make, small_course):
    """The same cells, in the same order; locked ones as they were released."""
    folder = small_course / "exercises" / "90_toy"
    folder.mkdir(parents=True)
    (folder / exercises.RELEASED).write_text(json.dumps(release()))
    path = folder / "90_toy.ipynb"
    path.write_text(json.dumps(make()))
    checked, notes = exercises.rebuilt(path)
    built = rebuilt(make())
    assert [c.source for c in checked.cells] == [c["source"] for c in built.cells]
    assert notes == built.reasons and not built.untouched
    origins = [origin for origin in built.origin if origin is not None]
    assert origins == list(range(7))
    for origin, c in zip(built.origin, built.cells):
        if origin in (0, 1, 3, 5):
            assert c["source"] == release()["cells"][origin]["source"]


@pytest.mark.slow
def test_course_check_says_what_the_visible_tests_say(
    small_course, capsys, monkeypatch
):
    """In a kernel: on a split answer, on a moved one, on none."""
    monkeypatch.setenv("COURSE_PROGRESS", str(small_course / "progress.json"))
    public = release()
    for at, name in ((3, "double"), (5, "total")):
        test = public["cells"][at]["source"].replace("total([1])", "total(np.ones(1))")
        public["cells"][at]["source"] = (
            "import numpy as np\nfrom course_lib.course import exercises\n"
            f'with exercises.visible("90", "{name}"):\n    {test}'
        )
    folder = small_course / "exercises" / "90_toy"
    folder.mkdir(parents=True)
    (folder / exercises.RELEASED).write_text(json.dumps(public))
    for made, wanted in (
        (split_helper_above(), {"double": "correct", "total": "correct"}),
        (
            answer_in_a_new_cell_far_below() | {},
            {"double": "correct", "total": "correct"},
        ),
        (release(), {"double": "not attempted", "total": "not attempted"}),
    ):
        (folder / "90_toy.ipynb").write_text(json.dumps(made))
        assert exercises.check(["90"]) == (set(wanted.values()) != {"correct"})
        assert exercises.progress()["90"] == wanted
        capsys.readouterr()


# -- open answers ----------------------------------------------------------------------


def test_open_answers_are_shown_whole():
    more = again("open", "Two.", "markdown"), own("Three.", "markdown")
    assert opened(put("open", *more, open="One.")) == "One.\n\nTwo.\n\nThree."
    first = own("One.", "markdown")
    assert opened(put("open", first, above=True, open="Two.")) == "One.\n\nTwo."
    beside = own("One.", "markdown"), own("x = 1"), own("Two.", "markdown")
    assert opened(put("open", *beside, open="YOUR ANSWER HERE")) == "One.\n\nTwo."
    stub = (
        again("open", "*YOUR ANSWER HERE*", "markdown"),
        again("open", "", "markdown"),
    )
    assert opened(put("open", *stub)) == OPEN
    assert opened(put("open", *stub, above=True)) == OPEN


def test_open_answers_without_names_are_found_by_their_place():
    assert opened(stripped()) == OPEN
    made = stripped()
    made["cells"].append(own("And four.", "markdown"))
    assert opened(made) == f"{OPEN}\n\nAnd four."
    assert opened(put("total-test", own("Mine.", "markdown"), open=None)) == "Mine."
    made = without("open")
    made["cells"].append(own("Mine.", "markdown"))
    assert opened(made) == "Mine."
    made = put("open", own("Because it is so."), own("K = 3"), open=None)
    assert opened(made) == "Because it is so."
    assert "K = 3" in [c["source"] for c in rebuilt(made).cells]


def test_an_open_answer_typed_into_the_question_is_found():
    public = release()
    text = cell("open-text", "## Why?\n\n*Open*", "markdown")
    public["cells"].insert(6, text)
    made = copy.deepcopy(public)
    made["cells"][6]["source"] += "\n\nBecause."
    built = submission.rebuild(json.dumps(made).encode(), public)
    assert built.cells[7]["source"] == "Because." and "open" not in built.untouched
    assert built.cells[6]["source"] == text["source"]
    made["cells"][6]["source"] = "## Why? A newer wording"
    built = submission.rebuild(json.dumps(made).encode(), public)
    assert "open" in built.untouched


# -- nothing is gained -----------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        None,
        "",
        "# my answer",
        "def double(x):\n    raise NotImplementedError",
        "def double(x):\n    '''Doubles.'''\n\n    # YOUR CODE HERE\n"
        "    raise NotImplementedError('later')",
    ],
)
def test_a_stub_is_no_attempt(source):
    built = rebuilt(notebook(double=source, open="  your answer here  "))
    assert built.untouched == {"double", "open"}
    made = put("double", again("double", STUB.format("double")), double=source)
    assert "double" in rebuilt(made).untouched


def test_the_released_notebook_is_untouched_in_every_form():
    for made in (release(), stripped(open=None) | {"cells": release()["cells"]}):
        assert rebuilt(made).untouched == {"double", "total", "open"}
    bare = release()
    for c in bare["cells"]:
        c["metadata"] = {}
        c.pop("id")
    assert rebuilt(bare).untouched == {"double", "total", "open"}


def test_a_released_cell_is_nobodys_answer():
    """A locked example with the name that is asked for, such as the bug to find."""
    public = release()
    public["cells"].insert(2, cell("bug", "def double(x):\n    return x + x + 1"))
    built = submission.rebuild(json.dumps(public).encode(), public)
    assert "double" in built.untouched


def test_locked_cells_come_from_the_release():
    made = notebook()
    for c in made["cells"]:
        if c["id"] in ("double-test", "title"):
            c["source"] = "double = None" if c["cell_type"] == "code" else "# Mine"
    built = rebuilt(made)
    for origin, c in zip(built.origin, built.cells):
        if origin in (0, 3):
            assert c["source"] == release()["cells"][origin]["source"]


def test_missing_points_have_reasons():
    assert "missing" in rebuilt(without("double")).reasons["double"]
    assert "2 cells" in rebuilt(split_helper_above()).reasons["double"]
    assert "'double'" in rebuilt(merged()).cells[4]["source"]
    assert "in the cell of double" in rebuilt(merged()).reasons["total"]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"%PDF-1.7 x", "a PDF page"),
        (b"PK\x03\x04\x14\x00", "a zip archive"),
        (b"\x1f\x8b\x08", "an archive"),
        (b"<!DOCTYPE html><html>", "a page (HTML)"),
        (b"# %%\nimport math\n", "a script of cells"),
        (b"import math\n\ndef double(x):", "a script"),
        (json.dumps({"worksheets": [{"x": 1}]}).encode(), "no notebook"),
    ],
)
def test_what_is_no_notebook_is_named(content, said):
    with pytest.raises(
        submission.Unreadable, match=said.replace("(", "\\(").replace(")", "\\)")
    ):
        submission.cells(content)


def test_a_flood_of_text_is_refused():
    """Notebooks are short; what is put together must not take the grader's time."""
    made = notebook()
    made["cells"] += [own("x = 1\n" * 16_000, name=f"x{i}") for i in range(25)]
    with pytest.raises(submission.Unreadable, match="2,000,000 characters"):
        rebuilt(made)


def test_what_is_joined_is_no_longer_than_a_cell():
    """Else each of many parts would be read again with all that is above it."""
    made = notebook()
    made["cells"] += [own("    x\n" * 1500, name="double") for _ in range(40)]
    built = rebuilt(made)
    sizes = [len(cell["source"]) for cell in built.cells]
    assert 50_000 < max(sizes) < submission.MAX_SOURCE
    assert sum("    x" in cell["source"] for cell in built.cells) >= 3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_notebooks_in_other_encodings_are_read(encoding):
    text = json.dumps(notebook(open="Ünïcode"), ensure_ascii=False)
    assert "Ünïcode" in submission.cells(text.encode(encoding))[-1]["source"]


# -- the bank --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "lesson",
    releasing.lessons() if releasing.solutions().is_dir() else [],
    ids=lambda p: p.name,
)
def test_every_answer_of_the_bank_is_an_attempt_at_its_question(lesson, tmp_path):
    """In its own cell, or in a new one below the stub: the same code is graded."""
    seen = set()
    public = submission.load_release(releasing.released(lesson))
    for entry in bank.entries(lesson):
        question = next(
            q for q in submission.questions(public) if q.name == entry.question
        )
        in_place, below = copy.deepcopy(public), copy.deepcopy(public)
        in_place["cells"][question.answer]["source"] = entry.source
        below["cells"].insert(question.answer + 1, own(entry.source))
        forms = (in_place,) if entry.question in seen else (in_place, below)
        seen.add(entry.question)
        for made in forms:
            built = submission.rebuild(json.dumps(made).encode(), public)
            at = built.origin.index(question.answer)
            name = f"{entry.question}, {entry.name}"
            assert entry.question not in built.untouched, name
            assert built.cells[at]["source"] == entry.source, name
            assert len(built.untouched) == len(submission.questions(public)) - 1
