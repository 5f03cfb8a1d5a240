"""Committed grids: resumable, dated by sha256, and checked by computing again."""

import ast
import json

import pytest

from course_lib import files, paths
from course_lib.errors import CourseError
from course_lib.lessons import results

GRID = [{"labels": n, "seed": s} for n in (10, 20) for s in (0, 1)]
calls = []


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A registered grid of four cells over one data file, in a folder of its own."""
    for name in ("DATA", "RESULTS", "CACHE"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    files.atomic_write_bytes(paths.DATA / "images.npz", b"pixels")
    files.update_manifest(["images.npz"], "course data rebuild")
    monkeypatch.setattr(results, "_experiments", {})
    monkeypatch.setattr(results, "DEFINED_IN", "course_lib.no_such_module")
    calls.clear()

    @results.experiment(
        "curve",
        grid=GRID,
        sample=[GRID[0], GRID[3]],
        tolerance={"accuracy": 0.01},
        data=["images.npz"],
    )
    def cell(labels, seed):
        calls.append((labels, seed))
        return {"accuracy": labels / 30 + seed / 7, "seconds": len(calls)}

    return cell


def stored():
    return paths.RESULTS / "curve.json"


def test_a_grid_is_computed_stored_and_loaded(grid):
    results.recompute("curve", progress=False)
    rows = results.load("curve")
    assert [(r["labels"], r["seed"]) for r in rows] == [
        (10, 0),
        (10, 1),
        (20, 0),
        (20, 1),
    ]
    assert rows[1]["accuracy"] == round(10 / 30 + 1 / 7, 6)
    table = results.table("curve")
    assert table["command"] == "course run --recompute curve"
    assert table["seeds"] == [0, 1] and table["versions"]["torch"]
    assert list(table["files"]) == ["images.npz"]
    text = stored().read_text()
    assert '{"labels": 20, "seed": 1, ' in text and json.loads(text) == table


def test_a_killed_run_goes_on_where_it_stopped(grid, monkeypatch):
    real = results._run_cell

    def killed_at_third(module, name, params):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(module, name, params)

    monkeypatch.setattr(results, "_run_cell", killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        results.recompute("curve", progress=False)
    assert not stored().exists()
    (journal,) = (paths.CACHE / "results").iterdir()
    with open(journal, "a") as stream:
        stream.write('\n[{"labels": 20, "se')  # killed while writing a line
    monkeypatch.setattr(results, "_run_cell", real)
    results.recompute("curve", progress=False)
    assert calls == [(10, 0), (10, 1), (20, 0), (20, 1)]
    assert len(results.load("curve")) == 4 and not journal.exists()


def test_a_part_can_be_computed_again(grid):
    results.recompute("curve", progress=False)
    results.recompute("curve", only={"seed": 1}, progress=False)
    assert calls[4:] == [(10, 1), (20, 1)]
    rows = results.load("curve")
    assert [r["seconds"] for r in rows] == [1, 5, 3, 6]


def test_results_of_other_weights_are_refused(grid):
    results.recompute("curve", progress=False)
    files.atomic_write_bytes(paths.DATA / "images.npz", b"other pixels")
    files.update_manifest(["images.npz"], "course data rebuild")
    with pytest.raises(CourseError, match="stale.*\n.*\n.*--recompute curve"):
        results.load("curve")
    results.recompute("curve", progress=False)
    assert len(results.load("curve")) == 4


def test_the_sample_finds_an_invented_number_and_a_missing_cell(grid):
    results.recompute("curve", progress=False)
    assert results.check_sample("curve") == []
    text = stored().read_text()
    row = results.load("curve")[3]["accuracy"]
    within, beyond = str(row + 0.009), str(row + 0.011)
    stored().write_text(text.replace(str(row), within))
    assert results.check_sample("curve") == []
    stored().write_text(text.replace(str(row), beyond))
    (problem,) = results.check_sample("curve")
    assert "accuracy" in problem and beyond in problem
    document = json.loads(text)
    document["rows"].pop(1)
    stored().write_text(json.dumps(document))
    (problem,) = results.check_sample("curve")
    assert "no row" in problem


def test_a_live_cell_is_confirmed_or_refused(grid):
    results.recompute("curve", progress=False)
    row = results.load("curve")[2]
    live = {"accuracy": row["accuracy"] + 0.009}
    assert results.confirm("curve", live, labels=20, seed=0) == row
    with pytest.raises(CourseError, match="in the file, .* when computed again"):
        results.confirm(
            "curve", {"accuracy": row["accuracy"] - 0.011}, labels=20, seed=0
        )
    with pytest.raises(CourseError, match="in the file"):
        results.confirm("curve", {"accuracy": float("nan")}, labels=20, seed=0)
    for live, params, message in (
        ({"accuracy": 0.5}, dict(labels=20), "has no cell"),
        ({"accuracy": 0.5}, dict(labels=30, seed=0), "has no cell"),
        ({"seconds": 3}, dict(labels=20, seed=0), "seconds.* cannot be compared"),
        ({}, dict(labels=20, seed=0), "nothing cannot be compared"),
    ):
        with pytest.raises(CourseError, match=message):
            results.confirm("curve", live, **params)


def test_what_a_lesson_confirms_needs_no_sample(grid):
    def cell(labels, seed):
        raise AssertionError("nothing is sampled")

    tolerance = {"accuracy": 0.01, "other": 0.1}
    results.recompute("curve", progress=False)
    for live, problems in (
        ({"10": ("accuracy", "other")}, 0),
        ({"10": ("accuracy",)}, 1),  # "other" is compared nowhere
    ):
        results.experiment(
            "curve", grid=GRID, tolerance=tolerance, data=["images.npz"], live=live
        )(cell)
        assert len(results.check_sample("curve")) == problems
    with pytest.raises(CourseError, match="or a lesson that confirms one"):
        results.experiment("x", grid=GRID, tolerance={})
    with pytest.raises(CourseError, match="without tolerance"):
        results.experiment("x", grid=GRID, tolerance={}, live={"10": ("accuracy",)})


LIVE = [
    (name, lesson, numbers)
    for name in results.names()
    for lesson, numbers in results.get(name).live.items()
]


@pytest.mark.parametrize("name, lesson, numbers", LIVE, ids=[n for n, *_ in LIVE])
def test_the_lesson_that_stands_for_a_sample_confirms_a_cell(name, lesson, numbers):
    (path,) = paths.NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    calls = [
        node
        for source in code
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "results.confirm"
    ]
    (call,) = (c for c in calls if ast.literal_eval(c.args[0]) == name)
    strings = {
        node.value
        for source in code
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(numbers) <= strings and len(call.args) == 2


def test_curves_for_a_plot(grid):
    rows = [
        dict(strategy=s, labels=n, seed=k, accuracy=n + k)
        for s in ("tuned", "frozen")
        for n in (5, 9)
        for k in (1, 0)
    ]
    x, series = results.curves(rows, "accuracy", x="labels", series="strategy")
    assert list(x) == [5, 9] and list(series) == ["tuned", "frozen"]
    assert series["tuned"].tolist() == [[5, 9], [6, 10]]
    with pytest.raises(CourseError, match="expected one"):
        results.curves(rows[1:], "accuracy", x="labels", series="strategy")
    _, series = results.curves(rows[1:], "accuracy", "labels", "strategy", partial=True)
    assert [list(r) for r in series["tuned"] != series["tuned"]] == [[0, 0], [1, 0]]
    assert len(results.select(rows, strategy="tuned", labels=5)) == 2


def test_misuse_is_named(grid):
    with pytest.raises(CourseError, match="missing"):
        results.load("curve")
    with pytest.raises(CourseError, match="no experiment"):
        results.get("curv")
    with pytest.raises(CourseError, match="sample"):
        results.experiment("x", grid=GRID, sample=[{"labels": 1}], tolerance={})


@pytest.mark.slow
def test_several_processes_give_the_same_file(grid, tmp_path, monkeypatch):
    module = tmp_path / "some_experiments.py"
    module.write_text(
        "from course_lib.lessons import results\n"
        "@results.experiment('squares', grid=[{'n': i} for i in range(4)],\n"
        "                    sample=[{'n': 1}], tolerance={'square': 0})\n"
        "def cell(n):\n"
        "    import torch\n"
        "    return {'square': n * n, 'threads': torch.get_num_threads()}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import some_experiments  # noqa: F401

    results.recompute("squares", jobs=2, progress=False)
    rows = results.load("squares")
    assert [row["square"] for row in rows] == [0, 1, 4, 9]
    assert {row["threads"] for row in rows} == {1}


# -- the course's own results -----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", results.names())
def test_committed_results_can_be_computed_again(name):
    assert results.check_sample(name) == []
