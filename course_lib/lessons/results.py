"""Grids over many seeds: computed once, committed, and kept honest.

A grid that takes minutes cannot run inside a lesson, so its numbers lie in
``data/results/NAME.json`` together with the command, the versions and the sha256 of
the weights and data that made them.  Here they are defined (:func:`experiment`) and
read (:func:`load`); a file made with other weights is refused.  ``experiments``
computes them again and compares.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from course_lib import assets, files, paths
from course_lib.analysis import statistics
from course_lib.errors import CourseError

SEEDS = (0, 1, 2)  # of most cells; rates are compared over these
DIGITS = 6  # of a stored number
FRACTION = "fraction"  # the param of a short cell: its share of the updates
ASSET = "assets/"  # what the name of public weights or data begins with in a file


@dataclass(frozen=True)
class Experiment:
    """A grid of cells: ``cell(**params)`` gives a dict of numbers for each params."""

    name: str
    cell: Callable[..., dict[str, float]]
    grid: tuple[dict, ...]
    sample: tuple[dict, ...]
    short: tuple[dict, ...]
    tolerance: dict[str, float]
    uses: tuple[str, ...]  # files relative to data/, and assets/NAME
    live: dict[str, tuple[str, ...]]  # {lesson: the numbers that it confirms}

    def params(self, row: Mapping) -> dict:
        """The params among the columns of a row, also of a short one."""
        return {key: row[key] for key in (*self.grid[0], FRACTION) if key in row}


EXPERIMENTS: dict[str, Experiment] = {}  # those of the modules imported so far


def experiment(
    name: str,
    *,
    grid: Sequence[dict],
    sample: Sequence[dict] = (),
    short: Sequence[dict] = (),
    tolerance: Mapping[str, float],
    models: Sequence[str] = (),
    data: Sequence[str] = (),
    live: Mapping[str, Sequence[str]] | None = None,
):
    """Decorator: register ``cell(**params) -> {number: float}`` as a grid of results.

    grid: the params of every cell.  sample: those that a test recomputes, each in the
    grid.  short: where that takes long, what `make test` recomputes in its place (the
    sample is left to `make evidence`): params of the grid with a ``fraction`` besides,
    such as 0.05, with which the cell makes that share of its :func:`updates` and
    evaluates a :func:`part`; params without one are a full cell that is cheap.
    live: {lesson: numbers}, such as {"11": ("accuracy",)} where lesson 11 computes a
    cell live and compares these by :func:`experiments.confirm`.  Sample and lessons
    together cover every number with a tolerance.  tolerance: for each number the
    largest difference that another CPU or thread count may cause, for example
    {"accuracy": 0.01}: a few of 1,000 test images change sides when sums are rounded in
    another order.  Numbers without one (seconds) are not compared.  models: bundled
    names, data: files relative to data/, or "assets/NAME"; their sha256 is stored.
    Raises CourseError on a sample outside the grid or an unknown number of params.
    """
    grid, sample, short = (tuple(map(dict, cells)) for cells in (grid, sample, short))
    live = {lesson: tuple(numbers) for lesson, numbers in (live or {}).items()}
    _check_cells(name, grid, sample, short, live)
    unknown = sorted({n for numbers in live.values() for n in numbers} - set(tolerance))
    if unknown:
        raise CourseError(
            f"experiment {name!r}: {unknown} are live without tolerance.\nExpected: a "
            "tolerance for each number that a lesson confirms.\nDo: add it."
        )
    weights = tuple(f"models/{m.removeprefix('bundled/')}.safetensors" for m in models)

    def register(cell):
        uses = (*weights, *data)
        EXPERIMENTS[name] = Experiment(
            name, cell, grid, sample, short, dict(tolerance), uses, live
        )
        return cell

    return register


def _check_cells(name, grid, sample, short, live) -> None:
    """Raises CourseError where the params of an experiment do not fit one another."""
    keys = [cell_key(params) for params in grid]
    whole = [{k: v for k, v in cell.items() if k != FRACTION} for cell in short]
    outside = [p for p in (*sample, *whole) if cell_key(p) not in keys]
    if outside or not (sample or live) or len(set(keys)) != len(keys):
        raise CourseError(
            f"experiment {name!r}: sample {outside or list(sample)} does not fit its "
            f"grid of {len(grid)} cells ({len(set(keys))} different).\nExpected: a "
            "sample of at least one cell of the grid or a lesson that confirms one, "
            "and no cell twice.\nDo: correct sample=, short= or grid=."
        )
    wrong = [cell for cell in short if not 0 < cell.get(FRACTION, 0.5) < 1]
    if wrong:
        raise CourseError(
            f"experiment {name!r}: the fraction of {wrong[0]} is not that of a short "
            "cell.\nExpected: more than 0 and less than 1.\nDo: correct it, or leave "
            "it out for a full cell."
        )


def updates(number: int, fraction: float) -> int:
    """``fraction`` of a number of updates, at least one."""
    return max(1, round(number * fraction))


def interval(number: int, evaluations: int, fraction: float) -> int:
    """Updates between two evaluations; a short cell makes three at most."""
    evaluations = evaluations if fraction == 1 else min(evaluations, 3)
    return max(1, updates(number, fraction) // evaluations)


def part(data, fraction: float, n: int = 200):
    """What is evaluated of a data set: all, in a short cell n examples of it."""
    return data if fraction == 1 or len(data) <= n else data.take(n, seed=0)


def cell_key(params: Mapping) -> str:
    """The params of a cell as one text, whatever their order."""
    return json.dumps(params, sort_keys=True)


def run_cell(module: str, name: str, params: dict) -> tuple[dict, float]:
    """One cell with one thread: the same numbers alone, in a pool or in the test."""
    if name not in EXPERIMENTS:
        importlib.import_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        values = EXPERIMENTS[name].cell(**params)
    finally:
        torch.set_num_threads(threads)
    clash = set(values) & set(params)
    if clash:
        raise CourseError(
            f"experiment {name!r}: {clash} are both params and numbers.\nExpected: "
            "different names.\nDo: rename the number that the cell returns."
        )
    rounded = {key: round(float(value), DIGITS) for key, value in values.items()}
    return rounded, time.perf_counter() - started


# -- reading ----------------------------------------------------------------------


class Grid(Sequence):
    """The rows of a grid: for each cell a dict of its params and its numbers.

    Grids can be joined, ``one + other``, and made of rows, ``Grid(rows)``.
    """

    def __init__(self, rows: Iterable[dict]):
        self.rows = tuple(rows)

    def __getitem__(self, at):
        return Grid(self.rows[at]) if isinstance(at, slice) else self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: Iterable[dict]) -> Grid:
        return Grid((*self.rows, *other))

    def __repr__(self) -> str:
        return f"Grid of {len(self)} rows"

    def select(self, **params) -> Grid:
        """The rows whose params have these values: ``select(strategy="frozen")``.

        A list, tuple, set or range allows each of its values: ``seed=range(3)``.
        Raises CourseError for a param that no row has.
        """
        columns = {column for row in self for column in row}
        unknown = sorted(set(params) - columns)
        if unknown and columns:
            raise CourseError(
                f"select: no row has {', '.join(map(repr, unknown))}.\nExpected: some "
                f"of {', '.join(sorted(columns))}.\nDo: correct the name."
            )
        wanted = {
            name: value if isinstance(value, (list, tuple, set, range)) else (value,)
            for name, value in params.items()
        }
        return Grid(
            row
            for row in self
            if all(row.get(name) in values for name, values in wanted.items())
        )

    def values(self, number: str, **params) -> np.ndarray:
        """One number a seed, (n_seeds,), in the order of the seeds; params: of which.

        Empty where no such cell was run.  Raises CourseError where a seed has several
        rows, the rows have no seed, or a row lacks the number.
        """
        found = self.select(**params)
        lacking = [row for row in found if number not in row]
        if lacking:
            raise CourseError(
                f"values: {len(lacking)} of {len(found)} rows have no {number!r}.\n"
                f"Expected: a number of each row, such as {', '.join(lacking[0])}.\n"
                "Do: correct the name, or select the rows that have it."
            )
        by_seed = {row.get("seed"): row[number] for row in found}
        if len(by_seed) != len(found) or None in by_seed:
            raise CourseError(
                f"values({number!r}): {len(found)} rows of the seeds {list(by_seed)}.\n"
                "Expected: one row a seed.\nDo: give more params, of "
                f"{', '.join(column for column in found[0] if column != number)}."
            )
        return np.array([by_seed[seed] for seed in sorted(by_seed)])

    def best(self, by: str = "val_accuracy", lowest: bool = False, **params) -> Grid:
        """The rows, one a seed, of the rate ``lr`` that validation prefers.

        by: the number of the highest (``lowest``: the lowest) mean over ``SEEDS``,
        among the rates that most of these seeds ran; params: which rows.
        Raises CourseError where there are none, and as :meth:`values` does.
        """
        found = self.select(**params)
        if not found:
            raise CourseError(
                f"best: no row has {params}.\nExpected: params of some cell.\nDo: look "
                "at the rows, they are a list of dicts."
            )
        rates = dict.fromkeys(row["lr"] for row in found)
        compared = {lr: found.values(by, lr=lr, seed=SEEDS) for lr in rates}
        most = max(map(len, compared.values()))
        means = {lr: v.mean() for lr, v in compared.items() if len(v) == most}
        lr = (min if lowest else max)(means, key=means.get)
        return Grid(sorted(found.select(lr=lr), key=lambda row: row["seed"]))

    def minus(
        self, other: Grid, number: str = "accuracy", confidence: float = 0.95
    ) -> statistics.Interval:
        """Mean difference and its interval, paired by the seeds that both have.

        Raises CourseError as :meth:`values` does.
        """
        seeds = {row["seed"] for row in self} & {row["seed"] for row in other}
        pair = (rows.values(number, seed=seeds) for rows in (self, other))
        return statistics.paired_difference(*pair, confidence)

    def curves(
        self, number: str, x: str, series: str, partial: bool = False
    ) -> tuple[np.ndarray, dict[object, np.ndarray]]:
        """(x values, {series: (n_seeds, n_x)}) for plots.line_with_spread.

        Series keep the order in which they appear.  Raises CourseError when a cell is
        double, or missing; with ``partial`` a missing cell is NaN, which the plot
        leaves out.
        """
        xs, seeds = (sorted({row[column] for row in self}) for column in (x, "seed"))
        cells: dict[tuple, list] = {}
        for row in self:
            cells.setdefault((row[series], row["seed"], row[x]), []).append(row[number])
        out = {}
        for label in dict.fromkeys(row[series] for row in self):
            at = {(s, v): cells.get((label, s, v), []) for s in seeds for v in xs}
            wrong = [place for place, found in at.items() if len(found) != 1]
            if partial:
                wrong = [place for place in wrong if at[place]]
            if wrong:
                seed, value = wrong[0]
                raise CourseError(
                    f"curves: {len(at[wrong[0]])} rows for {series}={label!r}, "
                    f"{x}={value!r}, seed={seed!r}, expected one.\nDo: select "
                    "first, or partial=True where cells are missing."
                )
            numbers = [(*found, np.nan)[0] for found in at.values()]
            out[label] = np.array(numbers, dtype=float).reshape(len(seeds), len(xs))
        return np.array(xs), out


def table(name: str) -> dict:
    """A result file as it is: {name, command, versions, files, seeds, seconds, rows}.

    Where the grid has short cells, ``short`` holds their rows, apart from the others.

    Raises CourseError when it is missing, damaged or made with other weights or data
    than those that are bundled now.
    """
    path = paths.RESULTS / f"{name}.json"
    repair = f"Do: course run --recompute {name}"
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in paths.RESULTS.glob("*.json")))
        raise CourseError(
            f"data/results/{name}.json is missing.\nExpected: a committed result file; "
            f"there are: {there or 'none'}.\n{repair}"
        )
    stored = files.read_json(path)
    for file, digest in stored["files"].items():
        now = digest_of(file)
        if now != digest:
            raise CourseError(
                f"data/results/{name}.json is stale: it was computed with data/{file} "
                f"of sha256 {digest[:12]}, the present one has {now[:12]}.\nExpected: "
                f"results of the weights and data that are bundled.\n{repair}"
            )
    return stored


def load(name: str) -> Grid:
    """The rows of a committed grid: params and numbers of each cell in one dict.

    Raises CourseError as :func:`table` does.
    """
    return Grid(table(name)["rows"])


def digest_of(file: str) -> str:
    """sha256 of a file of data/ by the manifest, or of an asset by the list."""
    if file.startswith(ASSET):
        return assets.find(file.removeprefix(ASSET)).sha256
    known = files.manifest() if (paths.DATA / files.MANIFEST).exists() else {}
    if file in known:
        return known[file]["sha256"]
    path = paths.DATA / file
    return files.sha256(path) if path.exists() else "no such file"
