"""Every grid of the course: computed, checked, and confirmed by a lesson.

``course run --recompute NAME`` makes a result file again; a test recomputes a sample
and compares, or a lesson computes a cell live and confirms it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.progress import Progress

from course_lib import assets, files, paths, profiles
from course_lib.errors import CourseError
from course_lib.lessons import (  # noqa: F401  importing one defines its grids
    lesson01,
    lesson02,
    lesson04,
    lesson05,
    lesson06,
    lesson07,
    lesson08,
    lesson09,
    lesson10,
    lesson11,
    lesson12_gains,
    lesson12_planted,
    lesson12_remedies,
    lesson13,
    solar,
)
from course_lib.lessons.results import (
    ASSET,
    EXPERIMENTS,
    Experiment,
    Grid,
    cell_key,
    digest_of,
    load,
    table,
)

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


def names() -> list[str]:
    """Names of the grids."""
    return sorted(EXPERIMENTS)


def get(name: str) -> Experiment:
    """A grid by name.  Raises CourseError for an unknown one."""
    if name not in EXPERIMENTS:
        raise CourseError(
            f"There is no experiment {name!r}.\nExpected: one of "
            f"{', '.join(names()) or '(none)'}.\nDo: correct the name."
        )
    return EXPERIMENTS[name]


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
        if file.startswith(ASSET):
            assets.folder(file.removeprefix(ASSET))
        else:
            files.verified(file)
    cells = Grid(one.grid).select(**(only or {}))
    kept = {cell_key(one.params(row)): row for row in load(name)} if only else {}
    before = table(name)["seconds"] if only else 0.0
    journal = _Journal(one)
    todo = [params for params in cells if cell_key(params) not in journal.done]
    with _bar(f"{name}", len(cells), progress) as advance:
        advance(len(cells) - len(todo))
        for params, values, seconds in _computed(one, todo, jobs):
            journal.add(params, values, seconds)
            advance(1)
    done = journal.done
    rows = {
        k: dict(params, **done[k][0]) for params in cells if (k := cell_key(params))
    }
    rows = kept | rows
    document = {
        "name": name,
        "command": f"course run --recompute {name}",
        "versions": _versions(),
        "files": {file: digest_of(file) for file in sorted(one.uses)},
        "seeds": sorted({p["seed"] for p in one.grid if "seed" in p}),
        "seconds": round(before + sum(done[cell_key(p)][1] for p in cells), 1),
        "rows": [rows[cell_key(p)] for p in one.grid if cell_key(p) in rows],
    }
    path = files.atomic_write_bytes(paths.RESULTS / f"{name}.json", _layout(document))
    journal.remove()
    return path


def _computed(one: Experiment, todo: Sequence[dict], jobs: int):
    """(params, numbers, seconds) of each cell as it is finished."""
    if jobs <= 1:
        for params in todo:
            yield params, *run_cell(one.cell.__module__, one.name, params)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(run_cell, one.cell.__module__, one.name, params): params
            for params in todo
        }
        for future in as_completed(futures):
            yield futures[future], *future.result()


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


class _Journal:
    """Finished cells of an unfinished run, one JSON line each."""

    def __init__(self, one: Experiment):
        made_of = inspect.getsource(one.cell) + "".join(map(digest_of, one.uses))
        tag = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        self.path = paths.CACHE / "results" / f"{one.name}-{tag}.jsonl"
        self.done: dict[str, tuple[dict, float]] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    params, values, seconds = json.loads(line)
                except ValueError:  # the line that was being written when it was killed
                    continue
                self.done[cell_key(params)] = (values, seconds)

    def add(self, params: dict, values: dict, seconds: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write("\n" + json.dumps([params, values, seconds]))
            stream.flush()
            os.fsync(stream.fileno())
        self.done[cell_key(params)] = (values, seconds)

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


@contextmanager
def _bar(title: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over cells, or nothing: gives the function that advances it."""
    if not wanted:
        yield lambda n: None
        return
    with Progress(transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda n: progress.advance(task, n)


# -- checking ---------------------------------------------------------------------


def check_sample(name: str) -> list[str]:
    """Recompute the sample of a grid; returns every difference in words.

    Empty when the file covers the whole grid, is not stale, and each number of the
    sample is within the experiment's tolerance.
    """
    one = get(name)
    stored = {cell_key(one.params(row)): row for row in load(name)}
    grid = {cell_key(params) for params in one.grid}
    problems = [f"{name}: no row for {key}" for key in sorted(grid - set(stored))]
    problems += [f"{name}: {key} is in no grid" for key in sorted(set(stored) - grid)]
    compared = set()
    for params in one.sample:
        row = stored.get(cell_key(params))
        if row is None:
            continue
        values, _ = run_cell(one.cell.__module__, name, params)
        for number in one.tolerance:
            if number not in values and number not in row:
                continue  # another kind of cell has it
            compared.add(number)
            if number not in values or number not in row:
                problems.append(f"{name}: {cell_key(params)} lacks {number}")
            else:
                problems += _differences(one, params, row, {number: values[number]})
    compared.update(number for numbers in one.live.values() for number in numbers)
    unseen = sorted(set(one.tolerance) - compared)
    problems += [f"{name}: no cell of the sample has {number}" for number in unseen]
    return problems


def _differences(one, params, row, values) -> list[str]:
    """The numbers that are further from the stored row than their tolerance."""
    return [
        f"{one.name}: {cell_key(params)}: {number} is {row[number]} in the file, "
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
    tolerance, and when one differs by more than it.
    """
    one = get(name)
    rows = [row for row in load(name) if one.params(row) == params]
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
