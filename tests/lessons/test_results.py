"""Committed grids: resumable, dated by sha256, and checked by computing again."""

import ast
import json

import numpy as np
import pytest

from course_lib import datasets, files, paths, training
from course_lib.analysis import statistics
from course_lib.errors import CourseError
from course_lib.lessons import experiments, results

GRID = [{"labels": n, "seed": s} for n in (10, 20) for s in (0, 1)]
calls, calls_allowed = [], []


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A registered grid of four cells over one data file, in a folder of its own."""
    for name in ("DATA", "RESULTS", "CACHE"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    files.atomic_write_bytes(paths.DATA / "images.npz", b"pixels")
    files.update_manifest(["images.npz"], "course data rebuild")
    calls.clear()
    calls_allowed.clear()

    @results.experiment(
        "curve",
        grid=GRID,
        sample=[GRID[0], GRID[3]],
        tolerance={"accuracy": 0.01},
        data=["images.npz"],
    )
    def cell(labels, seed):
        calls.append((labels, seed))
        if calls_allowed and len(calls) > calls_allowed[0]:
            raise KeyboardInterrupt
        return {"accuracy": labels / 30 + seed / 7, "seconds": len(calls)}

    yield cell
    del results.EXPERIMENTS["curve"]


def stored():
    return paths.RESULTS / "curve.json"


def test_a_grid_is_computed_stored_and_loaded(grid):
    experiments.recompute("curve", progress=False)
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


def test_a_killed_run_goes_on_where_it_stopped(grid):
    calls_allowed.append(2)
    with pytest.raises(KeyboardInterrupt):
        experiments.recompute("curve", progress=False)
    assert not stored().exists()
    (journal,) = (paths.CACHE / "results").iterdir()
    with open(journal, "a") as stream:
        stream.write('\n[{"labels": 20, "se')  # killed while writing a line
    calls_allowed.clear()
    experiments.recompute("curve", progress=False)
    assert calls == [(10, 0), (10, 1), (20, 0), (20, 0), (20, 1)]
    assert len(results.load("curve")) == 4 and not journal.exists()


def test_a_part_can_be_computed_again(grid):
    experiments.recompute("curve", progress=False)
    experiments.recompute("curve", only={"seed": 1}, progress=False)
    assert calls[4:] == [(10, 1), (20, 1)]
    rows = results.load("curve")
    assert [r["seconds"] for r in rows] == [1, 5, 3, 6]


def test_results_of_other_weights_are_refused(grid):
    experiments.recompute("curve", progress=False)
    files.atomic_write_bytes(paths.DATA / "images.npz", b"other pixels")
    files.update_manifest(["images.npz"], "course data rebuild")
    with pytest.raises(CourseError, match="stale.*\n.*\n.*--recompute curve"):
        results.load("curve")
    experiments.recompute("curve", progress=False)
    assert len(results.load("curve")) == 4


def test_the_sample_finds_an_invented_number_and_a_missing_cell(grid):
    experiments.recompute("curve", progress=False)
    assert experiments.check_sample("curve") == []
    text = stored().read_text()
    row = results.load("curve")[3]["accuracy"]
    within, beyond = str(row + 0.009), str(row + 0.011)
    stored().write_text(text.replace(str(row), within))
    assert experiments.check_sample("curve") == []
    stored().write_text(text.replace(str(row), beyond))
    (problem,) = experiments.check_sample("curve")
    assert "accuracy" in problem and beyond in problem
    document = json.loads(text)
    document["rows"].pop(1)
    stored().write_text(json.dumps(document))
    (problem,) = experiments.check_sample("curve")
    assert "no row" in problem


def test_short_cells_are_kept_apart_and_stand_for_the_sample(grid):
    """Those of few updates are compared in their losses, too, and full ones as ever."""
    experiments.recompute("curve", progress=False)

    def cell(labels, seed, fraction=1.0):
        calls.append((labels, seed, fraction))
        return {"accuracy": labels / 30 + seed / 7, "loss": 20 * fraction}

    results.experiment(
        "curve",
        grid=GRID,
        sample=[GRID[0]],
        short=[GRID[3] | {"fraction": 0.1}, GRID[1]],
        tolerance={"accuracy": 0.05},
        data=["images.npz"],
    )(cell)
    (problem,) = experiments.check_sample("curve")
    assert "no row for" in problem and "fraction" in problem
    before, calls[:] = results.load("curve").rows, []
    experiments.recompute("curve", short=True, progress=False)
    assert calls == [(20, 1, 0.1)] and results.load("curve").rows == before
    (row,) = results.table("curve")["short"]
    assert (row["fraction"], row["loss"]) == (0.1, 2.0)
    calls.clear()
    assert experiments.check_sample("curve") == []
    assert calls == [(20, 1, 0.1), (10, 1, 1.0)]
    calls.clear()
    assert experiments.check_sample("curve", evidence=True) == []
    assert calls == [(10, 0, 1.0)]
    text = stored().read_text()
    stored().write_text(text.replace('"loss": 2.0', '"loss": 2.04'))  # by 2 %
    (problem,) = experiments.check_sample("curve")
    assert "loss is 2.04" in problem
    accuracy = str(row["accuracy"])
    at = text.rindex(accuracy)
    for moved, problems in ((0.04, 0), (0.06, 1)):
        changed = str(row["accuracy"] + moved)
        stored().write_text(text[:at] + changed + text[at + len(accuracy) :])
        assert len(experiments.check_sample("curve")) == problems


@pytest.mark.slow
def test_a_short_cell_is_smaller_in_all_that_costs():
    assert results.updates(300, 0.05) == 15 and results.updates(30, 0.01) == 1
    assert [results.interval(300, n, 0.05) for n in (1, 2, 10)] == [15, 7, 5]
    assert results.interval(300, 10, 1.0) == 30 and results.updates(300, 1.0) == 300
    data = datasets.load("wafer_micrographs", "test")
    few = results.part(data, 0.05)
    assert set(np.bincount(few.labels)) == {40} and results.part(data, 1.0) is data
    for fraction in (0.0, 1.0, 2):
        with pytest.raises(CourseError, match="more than 0 and less than 1"):
            short = [GRID[0] | {"fraction": fraction}]
            results.experiment("x", grid=GRID, sample=GRID, short=short, tolerance={})
    with pytest.raises(CourseError, match="does not fit"):
        short = [dict(labels=1, seed=0, fraction=0.1)]
        results.experiment("x", grid=GRID, sample=GRID, short=short, tolerance={})
    with pytest.raises(CourseError, match="no such cells"):
        experiments.recompute("frozen_gains", short=True, progress=False)


def test_a_live_cell_is_confirmed_or_refused(grid):
    experiments.recompute("curve", progress=False)
    row = results.load("curve")[2]
    live = {"accuracy": row["accuracy"] + 0.009}
    assert experiments.confirm("curve", live, labels=20, seed=0) == row
    with pytest.raises(CourseError, match="in the file, .* when computed again"):
        experiments.confirm(
            "curve", {"accuracy": row["accuracy"] - 0.011}, labels=20, seed=0
        )
    with pytest.raises(CourseError, match="in the file"):
        experiments.confirm("curve", {"accuracy": float("nan")}, labels=20, seed=0)
    for live, params, message in (
        ({"accuracy": 0.5}, dict(labels=20), "has no cell"),
        ({"accuracy": 0.5}, dict(labels=30, seed=0), "has no cell"),
        ({"seconds": 3}, dict(labels=20, seed=0), "seconds.* cannot be compared"),
        ({}, dict(labels=20, seed=0), "nothing cannot be compared"),
    ):
        with pytest.raises(CourseError, match=message):
            experiments.confirm("curve", live, **params)


def test_what_a_lesson_confirms_needs_no_sample(grid):
    def cell(labels, seed):
        raise AssertionError("nothing is sampled")

    tolerance = {"accuracy": 0.01, "other": 0.1}
    experiments.recompute("curve", progress=False)
    for live, problems in (
        ({"10": ("accuracy", "other")}, 0),
        ({"10": ("accuracy",)}, 1),  # "other" is compared nowhere
    ):
        results.experiment(
            "curve", grid=GRID, tolerance=tolerance, data=["images.npz"], live=live
        )(cell)
        assert len(experiments.check_sample("curve")) == problems
    with pytest.raises(CourseError, match="or a lesson that confirms one"):
        results.experiment("x", grid=GRID, tolerance={})
    with pytest.raises(CourseError, match="without tolerance"):
        results.experiment("x", grid=GRID, tolerance={}, live={"10": ("accuracy",)})


LIVE = [
    (name, lesson, numbers)
    for name in experiments.names()
    for lesson, numbers in experiments.get(name).live.items()
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
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "experiments.confirm"
    ]
    (call,) = (c for c in calls if ast.literal_eval(c.args[0]) == name)
    strings = {
        node.value
        for source in code
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(numbers) <= strings and len(call.args) == 2


PLANTED = results.Grid(
    dict(strategy=s, labels=n, seed=k, accuracy=n + k)
    for s in ("tuned", "frozen")
    for n in (5, 9)
    for k in (1, 0)
)


def test_a_grid_is_a_sequence_of_rows_and_can_be_joined():
    assert len(PLANTED + [PLANTED[0]]) == 9 and PLANTED[-1] in PLANTED
    assert list(PLANTED[:2]) == [*PLANTED][:2]
    assert len(PLANTED.select(strategy="tuned", labels=5)) == 2
    assert len(PLANTED.select(labels=(5, 9), seed=range(1))) == 4
    assert len(PLANTED.select(seed=7)) == 0
    with pytest.raises(CourseError, match="no row has 'label'.*\n.*labels"):
        PLANTED.select(label=5)


def test_values_are_one_number_a_seed_in_the_order_of_seeds():
    assert PLANTED.values("accuracy", strategy="tuned", labels=9).tolist() == [9, 10]
    assert PLANTED.values("accuracy", labels=7).size == 0
    with pytest.raises(CourseError, match="one row a seed.*\n.*strategy"):
        PLANTED.values("accuracy", labels=5)
    with pytest.raises(CourseError, match="one row a seed"):
        results.Grid([dict(case="a", gain=1)]).values("gain")
    with pytest.raises(CourseError, match="1 of 9 rows have no 'accuracy'.*\n.*los"):
        (PLANTED + [dict(strategy="tuned", seed=3, loss=1.0)]).values("accuracy")


def test_a_difference_is_paired_by_the_seeds_that_both_have():
    one = results.Grid(dict(seed=k, accuracy=k**2) for k in (3, 1, 0, 2))
    other = results.Grid(dict(seed=k, accuracy=k) for k in (0, 1, 2, 5))
    found = one.minus(other)
    assert found.mean == pytest.approx((0 + 0 + 2) / 3)
    assert found == statistics.paired_difference([0, 1, 4], [0, 1, 2])


def test_curves_for_a_plot():
    x, series = PLANTED.curves("accuracy", x="labels", series="strategy")
    assert list(x) == [5, 9] and list(series) == ["tuned", "frozen"]
    assert series["tuned"].tolist() == [[5, 9], [6, 10]]
    with pytest.raises(CourseError, match="expected one"):
        PLANTED[1:].curves("accuracy", x="labels", series="strategy")
    with pytest.raises(CourseError, match="2 rows .*expected one"):
        (PLANTED + PLANTED[:1]).curves("accuracy", "labels", "strategy", partial=True)
    _, series = PLANTED[1:].curves("accuracy", "labels", "strategy", partial=True)
    assert [list(r) for r in series["tuned"] != series["tuned"]] == [[0, 0], [1, 0]]


def test_the_best_rate_is_that_of_most_seeds_which_validation_prefers():
    rows = results.Grid(
        [
            dict(seed=1, lr=0.1, val_accuracy=0.2, kind="a"),
            dict(seed=0, lr=0.1, val_accuracy=0.8, kind="a"),
            dict(seed=0, lr=0.2, val_accuracy=0.7, kind="a"),
            dict(seed=0, lr=0.3, val_accuracy=0.9, kind="b"),
            dict(seed=1, lr=0.2, val_accuracy=0.9, kind="a"),
            dict(seed=4, lr=0.1, val_accuracy=1.9, kind="a"),  # compared over 0 to 2
            dict(seed=0, lr=0.5, val_accuracy=0.95, kind="a"),
        ]
    )
    found = rows.best(kind="a")
    assert [(row["seed"], row["lr"]) for row in found] == [(0, 0.2), (1, 0.2)]
    lowest = rows.best(kind="a", lowest=True)
    assert [(row["seed"], row["lr"]) for row in lowest] == [
        (0, 0.1),
        (1, 0.1),
        (4, 0.1),
    ]
    assert rows.select(seed=0).best(kind="a")[0]["lr"] == 0.5
    with pytest.raises(CourseError, match="no row has .*'c'"):
        rows.best(kind="c")


def test_misuse_is_named(grid):
    with pytest.raises(CourseError, match="missing"):
        results.load("curve")
    with pytest.raises(CourseError, match="no experiment"):
        experiments.get("curv")
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

    experiments.recompute("squares", jobs=2, progress=False)
    rows = results.load("squares")
    assert [row["square"] for row in rows] == [0, 1, 4, 9]
    assert {row["threads"] for row in rows} == {1}


# -- the course's own results -----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments.names())
def test_committed_results_can_be_computed_again(name):
    assert experiments.check_sample(name) == []


LONG = [name for name in experiments.names() if experiments.get(name).short]


@pytest.mark.evidence
@pytest.mark.parametrize("name", LONG)
def test_full_cells_can_be_computed_again(name):
    assert experiments.check_sample(name, evidence=True) == []


def other_rate(data, options):
    return data, options | dict(lr=1.25 * options["lr"])


def other_seed(data, options):
    return data, options | dict(seed=options["seed"] + 1)


def other_order(data, options):
    return data.subset(range(len(data))[::-1]), options


@pytest.mark.slow
@pytest.mark.parametrize("planted", [other_rate, other_seed, other_order])
def test_a_short_cell_sees_a_changed_training(planted, monkeypatch):
    fit = training.fit

    def changed(backbone, data, validation, **options):
        data, options = planted(data, options)
        return fit(backbone, data, validation, **options)

    monkeypatch.setattr(training, "fit", changed)
    problems = "\n".join(experiments.check_sample("from_scratch"))
    assert "fraction" in problems and " loss is" in problems
