"""Every grid of the course: computed, checked, and confirmed by a lesson.

``course run --recompute NAME`` makes a result file again; a test recomputes a sample
and compares, or a lesson computes a cell live and confirms it.
"""

import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from rich.progress import Progress

from course_lib import assets, files, paths, profiles
from course_lib.errors import CourseError
from course_lib.lessons import (  # noqa: F401  importing one defines its grids
    lesson01,
    lesson02,
    lesson03,
    lesson04,
    lesson05,
    lesson05_solar,
    lesson06,
    lesson06_real,
    lesson07,
    lesson07_adapted,
    lesson07_pairs,
    lesson08,
    lesson08_heads,
    lesson08_opinions,
    lesson08_starts,
    lesson09,
    lesson09_prompts,
    lesson10_reports,
    lesson11,
    lesson11_bias,
    lesson11_cells,
    lesson11_real,
    lesson11_told,
    lesson12_far,
    lesson12_gains,
    lesson12_planted,
    lesson12_remedies,
    lesson12_tuned,
    lesson13,
    lesson13_real,
    lesson13_unseen,
    lesson14_pictures,
    lesson14_tables,
    lesson15_opinions,
    lesson15_solar,
    lesson16_masks,
    lesson16_series,
    lesson16_solar,
    opinions_world,
    solar,
)
from course_lib.lessons.results import (
    ASSET,
    EXPERIMENTS,
    FRACTION,
    Experiment,
    Grid,
    cell_key,
    digest_of,
    load,
    run_cell,
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
LOSS_TOLERANCE = 0.004  # of the losses of short cells, above 1 relative


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
    name: str,
    only: Mapping | None = None,
    jobs: int = 1,
    progress: bool = True,
    short: bool = False,
) -> Path:
    """Compute a grid and write data/results/NAME.json; returns its path.

    Every finished cell is stored at once in a journal in the user's cache, so that a
    killed run goes on where it stopped; the journal starts anew when the code of the
    cell, the weights or the data change.  ``only`` ({param: value}) computes these
    cells and keeps the others of a file that is not stale, ``short`` those of fewer
    updates.  ``jobs`` processes share the cells; each uses one thread.
    Raises CourseError where there are none such.
    """
    one = get(name)
    _verify(one)
    every = (*one.grid, *_shortened(one))
    cells = _shortened(one) if short else Grid(every).select(**(only or {}))
    if not cells:
        raise CourseError(
            f"recompute: {name!r} has no such cells.\nExpected: "
            f"{'short=' if short else 'params'} of its definition.\nDo: look there."
        )
    before = table(name) if only or short else {}
    stored = (*before.get("rows", ()), *before.get("short", ()))
    rows = {cell_key(one.params(row)): row for row in stored}
    journal = _Journal(one)
    todo = [params for params in cells if cell_key(params) not in journal.done]
    with _bar(f"{name}", len(cells), progress) as advance:
        advance(len(cells) - len(todo))
        for params, values, seconds in _computed(one, todo, jobs):
            journal.add(params, values, seconds)
            advance(1)
    seconds = before.get("seconds", 0.0)
    for params in cells:
        values, took = journal.done[cell_key(params)]
        rows[cell_key(params)] = dict(params, **values)
        seconds += took
    document = {
        "name": name,
        "command": f"course run --recompute {name}",
        "versions": _versions(),
        "files": {file: digest_of(file) for file in sorted(one.uses)},
        "seeds": sorted({p["seed"] for p in one.grid if "seed" in p}),
        "seconds": round(seconds, 1),
        "rows": [rows[k] for k in map(cell_key, one.grid) if k in rows],
    }
    if all(FRACTION in params for params in cells):
        document["versions"] = before["versions"]  # those of the full cells
    if len(every) > len(one.grid):
        short = map(cell_key, every[len(one.grid) :])
        document["short"] = [rows[key] for key in short if key in rows]
    path = files.atomic_write_bytes(paths.RESULTS / f"{name}.json", _layout(document))
    journal.remove()
    return path


def _verify(one: Experiment) -> None:
    """Raises CourseError where a file that a grid uses is not what was shipped."""
    for file in one.uses:
        if file.startswith(ASSET):
            assets.folder(file.removeprefix(ASSET))
        else:
            files.verified(file)


def _shortened(one: Experiment) -> tuple[dict, ...]:
    """The cells of fewer updates, which have rows of their own."""
    return tuple(params for params in one.short if FRACTION in params)


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
    tables = {k: v for k, v in document.items() if k in ("rows", "short")}
    head = {k: v for k, v in document.items() if k not in tables}
    text = json.dumps(head, indent=1)[:-2]
    for name, rows in tables.items():
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        text += f',\n "{name}": [\n{lines}\n ]'
    return f"{text}\n}}\n".encode()


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


def check_sample(name: str, evidence: bool = False) -> list[str]:
    """Recompute the sample of a grid; returns every difference in words.

    Its short form where it has one, unless ``evidence``.
    Empty when the file covers the whole grid, is not stale, and each number of the
    sample is within the experiment's tolerance.  Of a short cell the losses are
    compared too, which see what no picture sees: within ``LOSS_TOLERANCE``.
    """
    one = get(name)
    stored = {cell_key(row) for row in map(one.params, _stored(one))}
    grid = {cell_key(params) for params in (*one.grid, *_shortened(one))}
    problems = [f"{name}: no row for {key}" for key in sorted(grid - stored)]
    problems += [f"{name}: {key} is in no grid" for key in sorted(stored - grid)]
    compared = set()
    for params, row, values in recomputed(name, evidence):
        numbers = comparable(one, params, row, values)
        compared.update(numbers)
        lacking = [n for n in numbers if n not in values or n not in row]
        problems += [f"{name}: {cell_key(params)} lacks {n}" for n in lacking]
        both = {n: values[n] for n in numbers if n not in lacking}
        problems += _differences(one, params, row, both)
    compared.update(number for numbers in one.live.values() for number in numbers)
    unseen = sorted(set(one.tolerance) - compared)
    problems += [f"{name}: no cell of the sample has {number}" for number in unseen]
    return problems


def recomputed(name: str, evidence: bool = False) -> Iterator[tuple[dict, dict, dict]]:
    """(params, stored row, numbers now) of each cell that :func:`check_sample` sees."""
    one = get(name)
    stored = {cell_key(one.params(row)): row for row in _stored(one)}
    for params in one.sample if evidence else one.short or one.sample:
        row = stored.get(cell_key(params))
        if row is not None:
            yield params, row, run_cell(one.cell.__module__, name, params)[0]


def _stored(one: Experiment) -> tuple[dict, ...]:
    """The stored rows of a grid, those of the short cells among them."""
    return (*load(one.name), *table(one.name).get("short", ()))


def comparable(one: Experiment, params, row, values) -> list[str]:
    """The numbers that a recomputed cell and its row are compared in."""
    numbers = list(one.tolerance)
    if FRACTION in params:
        numbers += [n for n in row if "loss" in n and n not in one.tolerance]
    return [n for n in numbers if n in values or n in row]  # others: of another kind


def allowed(one: Experiment, number: str, stored: float) -> float:
    """How far a recomputed number may be from the stored one."""
    loss = LOSS_TOLERANCE * max(1.0, abs(stored))
    return one.tolerance.get(number, loss)


def _differences(one, params, row, values) -> list[str]:
    """The numbers that are further from the stored row than their tolerance."""
    found = []
    for number, value in values.items():
        most = allowed(one, number, row[number])
        if not abs(value - row[number]) <= most:
            found.append(
                f"{one.name}: {cell_key(params)}: {number} is {row[number]} in the "
                f"file, {value} when computed again (tolerance {most})"
            )
    return found


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
