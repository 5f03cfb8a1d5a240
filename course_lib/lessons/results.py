"""Grids over many seeds: computed once, committed, and kept honest.

A grid that takes minutes cannot run inside a lesson, so its numbers lie in
``data/results/NAME.json`` together with the command, the versions and the sha256 of
the weights and data that made them.  ``course run --recompute NAME`` makes them again;
a test recomputes a sample and compares, or a lesson computes a cell live and confirms
it; a file made with other weights is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course_lib import files, paths
from course_lib.errors import CourseError

DEFINED_IN = "course_lib.lessons"  # importing it registers the course's grids
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "peft",
    "bitsandbytes",
    "numpy",
    "scikit-learn",
)
DIGITS = 6


@dataclass(frozen=True)
class Experiment:
    """A grid of cells: ``cell(**params)`` gives a dict of numbers for each params."""

    name: str
    cell: Callable[..., dict[str, float]]
    grid: tuple[dict, ...]
    sample: tuple[dict, ...]
    tolerance: dict[str, float]
    uses: tuple[str, ...]  # data files, relative to data/
    live: dict[str, tuple[str, ...]]  # {lesson: the numbers that it confirms}


_experiments: dict[str, Experiment] = {}


def experiment(
    name: str,
    *,
    grid: Sequence[dict],
    sample: Sequence[dict] = (),
    tolerance: Mapping[str, float],
    models: Sequence[str] = (),
    data: Sequence[str] = (),
    live: Mapping[str, Sequence[str]] | None = None,
):
    """Decorator: register ``cell(**params) -> {number: float}`` as a grid of results.

    grid: the params of every cell.  sample: those that the test recomputes; each must
    be in the grid and cheap.  live: {lesson: numbers}, such as {"11": ("accuracy",)}
    where lesson 11 computes a cell live and compares these by :func:`confirm`.  Sample
    and lessons together cover every number with a tolerance.  tolerance: for each
    number the largest difference that another CPU or thread count may cause, for
    example {"accuracy": 0.01}: a few of 1,000 test images change sides when sums are
    rounded in another order.  Numbers without one (seconds) are not compared.
    models: bundled names, data: files relative to data/; their sha256 is stored.
    Raises CourseError on a sample outside the grid or an unknown number of params.
    """
    grid, sample = tuple(map(dict, grid)), tuple(map(dict, sample))
    live = {lesson: tuple(numbers) for lesson, numbers in (live or {}).items()}
    keys = [_key(params) for params in grid]
    outside = [params for params in sample if _key(params) not in keys]
    if outside or not (sample or live) or len(set(keys)) != len(keys):
        raise CourseError(
            f"experiment {name!r}: sample {outside or list(sample)} does not fit its "
            f"grid of {len(grid)} cells ({len(set(keys))} different). Expected a "
            "sample of at least one cell of the grid or a lesson that confirms one, "
            "and no cell twice."
        )
    unknown = sorted({n for numbers in live.values() for n in numbers} - set(tolerance))
    if unknown:
        raise CourseError(f"experiment {name!r}: {unknown} are live without tolerance.")
    weights = tuple(f"models/{m.removeprefix('bundled/')}.safetensors" for m in models)

    def register(cell):
        uses = (*weights, *data)
        _experiments[name] = Experiment(
            name, cell, grid, sample, dict(tolerance), uses, live
        )
        return cell

    return register


def names() -> list[str]:
    """Names of the registered grids."""
    if importlib.util.find_spec(DEFINED_IN) is not None:
        importlib.import_module(DEFINED_IN)
    return sorted(_experiments)


def get(name: str) -> Experiment:
    """A registered grid by name.  Raises CourseError for an unknown one."""
    if name not in _experiments and name not in names():
        raise CourseError(
            f"There is no experiment {name!r}.\nExpected: one of "
            f"{', '.join(_experiments) or '(none)'}."
        )
    return _experiments[name]


def _key(params: Mapping) -> str:
    return json.dumps(params, sort_keys=True)


# -- reading ----------------------------------------------------------------------


def table(name: str) -> dict:
    """A result file as it is: {name, command, versions, files, seeds, seconds, rows}.

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
        now = _digest(file)
        if now != digest:
            raise CourseError(
                f"data/results/{name}.json is stale: it was computed with data/{file} "
                f"of sha256 {digest[:12]}, the present one has {now[:12]}.\nExpected: "
                f"results of the weights and data that are bundled.\n{repair}"
            )
    return stored


def load(name: str) -> list[dict]:
    """The rows of a committed grid: params and numbers of each cell in one dict.

    Raises CourseError as :func:`table` does.
    """
    return table(name)["rows"]


def select(rows: Sequence[dict], **params) -> list[dict]:
    """The rows whose params have the given values: select(rows, strategy="frozen")."""
    return [row for row in rows if all(row.get(k) == v for k, v in params.items())]


def curves(
    rows: Sequence[dict],
    value: str,
    x: str,
    series: str,
    seed: str = "seed",
    partial: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(x values, {series: (n_seeds, n_x)}) for plots.line_with_spread.

    Series keep the order in which they appear.  Raises CourseError when a cell is
    double, or missing; with ``partial`` a missing cell is NaN, which the plot leaves
    out.
    """
    xs, seeds = (sorted({row[key] for row in rows}) for key in (x, seed))
    out = {}
    for label in dict.fromkeys(row[series] for row in rows):
        values = np.empty((len(seeds), len(xs)))
        for i, s in enumerate(seeds):
            for j, at in enumerate(xs):
                found = select(rows, **{series: label, seed: s, x: at})
                if partial and not found:
                    values[i, j] = np.nan
                    continue
                if len(found) != 1:
                    raise CourseError(
                        f"curves: {len(found)} rows for {series}={label!r}, {x}={at!r},"
                        f" {seed}={s!r}, expected one. Select first, or partial=True."
                    )
                values[i, j] = found[0][value]
        out[label] = values
    return np.array(xs), out


def _digest(file: str) -> str:
    """sha256 of a file of data/, from the manifest where it stands there."""
    entry = files.manifest().get(file) if _has_manifest() else None
    if entry:
        return entry["sha256"]
    path = paths.DATA / file
    return files.sha256(path) if path.exists() else "no such file"


def _has_manifest() -> bool:
    return (paths.DATA / files.MANIFEST).exists()


# -- computing --------------------------------------------------------------------


def recompute(
    name: str, only: Mapping | None = None, jobs: int = 1, progress: bool = True
) -> Path:
    """Compute a grid and write data/results/NAME.json; returns its path.

    Every finished cell is stored at once in a journal in the user's cache, so that a
    killed run goes on where it stopped; the journal starts anew when the code of the
    cell, the weights or the data change.  ``only`` ({param: value}) computes these
    cells and keeps the others of a file that is not stale.  ``jobs`` processes share
    the cells; each uses one thread.
    """
    one = get(name)
    for file in one.uses:
        files.verified(file)
    cells = [p for p in one.grid if select([p], **(only or {}))]
    kept = {_key(_params(row, one)): row for row in load(name)} if only else {}
    before = table(name)["seconds"] if only else 0.0
    journal = _Journal(one)
    todo = [params for params in cells if _key(params) not in journal.done]
    with _bar(f"{name}", len(cells), progress) as advance:
        advance(len(cells) - len(todo))
        for params, values, seconds in _computed(one, todo, jobs):
            journal.add(params, values, seconds)
            advance(1)
    done = journal.done
    rows = {k: dict(params, **done[k][0]) for params in cells if (k := _key(params))}
    rows = kept | rows
    document = {
        "name": name,
        "command": f"course run --recompute {name}",
        "versions": _versions(),
        "files": {file: _digest(file) for file in sorted(one.uses)},
        "seeds": sorted({p["seed"] for p in one.grid if "seed" in p}),
        "seconds": round(before + sum(done[_key(p)][1] for p in cells), 1),
        "rows": [rows[_key(p)] for p in one.grid if _key(p) in rows],
    }
    path = files.atomic_write_bytes(paths.RESULTS / f"{name}.json", _layout(document))
    journal.remove()
    return path


def _params(row: Mapping, one: Experiment) -> dict:
    return {key: row[key] for key in one.grid[0]}


def _computed(one: Experiment, todo: Sequence[dict], jobs: int):
    """(params, numbers, seconds) of each cell as it is finished."""
    if jobs <= 1:
        for params in todo:
            yield params, *_run_cell(one.cell.__module__, one.name, params)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(_run_cell, one.cell.__module__, one.name, params): params
            for params in todo
        }
        for future in as_completed(futures):
            yield futures[future], *future.result()


def _run_cell(module: str, name: str, params: dict) -> tuple[dict, float]:
    """One cell with one thread: the same numbers alone, in a pool or in the test."""
    import torch

    if name not in _experiments:
        importlib.import_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        values = _experiments[name].cell(**params)
    finally:
        torch.set_num_threads(threads)
    clash = set(values) & set(params)
    if clash:
        raise CourseError(f"experiment {name!r}: {clash} are both params and numbers.")
    rounded = {key: round(float(value), DIGITS) for key, value in values.items()}
    return rounded, time.perf_counter() - started


class _Journal:
    """Finished cells of an unfinished run, one JSON line each."""

    def __init__(self, one: Experiment):
        made_of = inspect.getsource(one.cell) + "".join(map(_digest, one.uses))
        tag = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        self.path = paths.CACHE / "results" / f"{one.name}-{tag}.jsonl"
        self.done: dict[str, tuple[dict, float]] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    params, values, seconds = json.loads(line)
                except ValueError:  # the line that was being written when it was killed
                    continue
                self.done[_key(params)] = (values, seconds)

    def add(self, params: dict, values: dict, seconds: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write("\n" + json.dumps([params, values, seconds]))
            stream.flush()
            os.fsync(stream.fileno())
        self.done[_key(params)] = (values, seconds)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _layout(document: dict) -> bytes:
    """JSON with one row a line: a reader, and git, see each cell."""
    head = {k: v for k, v in document.items() if k != "rows"}
    text = json.dumps(head, indent=1)[:-2]
    rows = ",\n".join("  " + json.dumps(row) for row in document["rows"])
    return f'{text},\n "rows": [\n{rows}\n ]\n}}\n'.encode()


class _bar:
    """A rich progress bar over cells, or nothing."""

    def __init__(self, title: str, total: int, wanted: bool):
        self.title, self.total, self.progress = title, total, None
        if wanted:
            from rich.progress import Progress

            self.progress = Progress(transient=True)

    def __enter__(self) -> Callable[[int], None]:
        if self.progress is None:
            return lambda n: None
        self.progress.start()
        task = self.progress.add_task(self.title, total=self.total)
        return lambda n: self.progress.advance(task, n)

    def __exit__(self, *_) -> None:
        if self.progress is not None:
            self.progress.stop()


# -- checking ---------------------------------------------------------------------


def check_sample(name: str) -> list[str]:
    """Recompute the sample of a grid; returns every difference in words.

    Empty when the file covers the whole grid, is not stale, and each number of the
    sample is within the experiment's tolerance.
    """
    one = get(name)
    stored = {_key(_params(row, one)): row for row in load(name)}
    grid = {_key(params) for params in one.grid}
    problems = [f"{name}: no row for {key}" for key in sorted(grid - set(stored))]
    problems += [f"{name}: {key} is in no grid" for key in sorted(set(stored) - grid)]
    compared = set()
    for params in one.sample:
        row = stored.get(_key(params))
        if row is None:
            continue
        values, _ = _run_cell(one.cell.__module__, name, params)
        for number in one.tolerance:
            if number not in values and number not in row:
                continue  # another kind of cell has it
            compared.add(number)
            if number not in values or number not in row:
                problems.append(f"{name}: {_key(params)} lacks {number}")
            else:
                problems += _differences(one, params, row, {number: values[number]})
    compared.update(number for numbers in one.live.values() for number in numbers)
    unseen = sorted(set(one.tolerance) - compared)
    problems += [f"{name}: no cell of the sample has {number}" for number in unseen]
    return problems


def _differences(one, params, row, values) -> list[str]:
    """The numbers that are further from the stored row than their tolerance."""
    return [
        f"{one.name}: {_key(params)}: {number} is {row[number]} in the file, "
        f"{value} when computed again (tolerance {one.tolerance[number]})"
        for number, value in values.items()
        if not abs(value - row[number]) <= one.tolerance[number]
    ]


def confirm(name: str, numbers: Mapping[str, float], **params) -> dict:
    """The stored cell that a lesson has just computed live; raises where they differ.

    name: of the grid.  numbers: what came out live, {number: value}; each must have a
    tolerance there.  params: those of one cell, all of them.  Returns the stored row.
    On a GPU, where training computes in 16 bits, nothing is compared.
    Raises CourseError when there is no such cell, when it lacks a number or that has no
    tolerance, and when one differs by more than it.  Lessons 10 and 11.
    """
    from course_lib import profiles

    one = get(name)
    rows = [row for row in load(name) if _params(row, one) == params]
    if not rows:
        raise CourseError(
            f"confirm: {name!r} has no cell with {params}.\nExpected: a value of each "
            f"of {list(one.grid[0])}, as in the grid.\nDo: look at the cells with "
            f"results.load({name!r})."
        )
    comparable = [number for number in one.tolerance if number in rows[0]]
    unknown = sorted(set(numbers) - set(comparable))
    if unknown or not numbers:
        raise CourseError(
            f"confirm: {unknown or 'nothing'} cannot be compared in {name!r}.\n"
            f"Expected: some of {comparable}, which have a tolerance.\nDo: name these, "
            "or give the number a tolerance where the grid is defined."
        )
    if str(profiles.device()) != "cpu":
        return rows[0]
    problems = _differences(one, params, rows[0], numbers)
    if problems:
        raise CourseError(
            "\n".join(problems) + "\nExpected: the same cell, computed live.\nDo: if "
            "you changed a setting above, change it back, or go on below this cell; if "
            f"not, the file is stale: course run --recompute {name}."
        )
    return rows[0]
