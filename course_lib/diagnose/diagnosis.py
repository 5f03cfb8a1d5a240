"""Does transferring help here, how should it be done, and how sure is that?

:func:`diagnose` takes a backbone and labelled pictures or texts, and trains with and
without the pretrained weights on several draws of a few labels.  Both sides get the
same choices (a logistic regression on frozen features of any stage, or all layers
trained at one of two rates; without transfer, for texts, one on counted words too),
made on validation examples; the difference on test examples is the gain, and its
interval counts the draws, the seeds and the test examples.  Beside it stand the
reasons: probes by depth, distance from the source, transferability scores, forgetting,
calibration, subgroups and the three warning signs of negative transfer.

Every finished step is stored, so that an interrupted diagnosis goes on where it
stopped.  The text, the figures and the page are made in ``explained``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from course_lib import files, paths
from course_lib.datasets.labelled import Labelled
from course_lib.diagnose import explained
from course_lib.diagnose import training_runs as runs
from course_lib.diagnose.judging import concluded
from course_lib.diagnose.own_samples import Samples, prepared
from course_lib.diagnose.settings import Settings
from course_lib.errors import CourseError
from course_lib.models import zoo


@dataclass
class Diagnosis:
    """What :func:`diagnose` found, as plain numbers, strings, lists and dicts.

    kind: "helps", "hurts", "no difference" or "no evidence"; code: +1, -1, 0, 0.
    gains: {what: interval} of "transfer" (the headline), "frozen" and "full" against
    no transfer, and "full over frozen"; shares, not points.  arms: {name: accuracy by
    repeat, choices}.  recommended: the cheapest way within the margin of the best.
    """

    backbone: str
    data: dict
    options: dict
    plan: dict
    metric: str
    code: int
    kind: str
    notes: list[str]
    gains: dict
    chosen: dict
    recommended: dict
    arms: dict
    depth: dict
    scores: dict
    source: dict
    calibration: dict
    confident: dict
    subgroups: list[dict]
    signs: list[dict]
    histories: dict
    key: str
    verdict: str = ""
    recommendation: str = ""
    reasons: list[str] = field(default_factory=list)
    seconds: dict = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict:
        """Plain data, ready for json.dumps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Diagnosis:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)

    def in_words(self) -> Diagnosis:
        """The same with verdict, recommendation and reasons written out."""
        return replace(
            self,
            verdict=explained.verdict(self),
            recommendation=explained.recommendation(self),
            reasons=explained.reasons(self),
        )

    def __str__(self) -> str:
        return explained.text(self)

    def figures(self) -> list[tuple]:
        """(name, matplotlib figure, alternative text) of each figure."""
        return explained.figures(self)

    def html(self) -> str:
        """One page that needs nothing else: figures, tables and sentences."""
        return explained.html(self)

    def save(self, folder: str | Path) -> Path:
        """Write report.html and diagnosis.json; returns the path of the page."""
        folder = Path(folder)
        files.atomic_write_json(folder / "diagnosis.json", self.to_dict(), False)
        page = self.html().encode("utf-8")
        return files.atomic_write_bytes(folder / "report.html", page)


TRAINED = ("scratch", "full")  # the arms that have learning rates

# -- the diagnosis ----------------------------------------------------------------


def diagnose(
    backbone,
    data: Labelled | Samples,
    settings: Settings | None = None,
    *,
    groups=None,
    folder: str | Path | None = None,
    again: bool = False,
    progress: bool | Callable[[str], None] = True,
) -> Diagnosis:
    """Compare training with and without a backbone's pretrained weights, and judge.

    backbone: a name for zoo.load, or a Backbone.  data: pictures or texts, which are
    split here, see :func:`own_samples.splits`; or Samples, which may have a test set of
    their own.  settings: see :class:`Settings`.
    groups: names of metadata columns, or {column: values}, for the subgroup table.
    folder: where finished steps are kept (default: the user's cache); the same call
    goes on from there unless ``again``.  progress: a bar, or a function that is called
    with the name of each finished step.
    Raises CourseError on data that are too few or do not fit.
    """
    settings = settings or Settings()
    backbone = zoo.load(backbone) if isinstance(backbone, str) else backbone
    samples = data if isinstance(data, Samples) else Samples(data)
    job = prepared(backbone, samples, groups, settings)
    _check_forward(job)
    folder = Path(folder) if folder else paths.CACHE / "diagnosis"
    with _progress(
        progress, total=2 + len(runs.arms(job)) * settings.repeats[1]
    ) as advance:
        state = _State(folder / job.key[:16], job.key, again, advance)
        whole = state.step("diagnosis", lambda: _run(job, state).to_dict())
    return replace(Diagnosis.from_dict(whole), seconds=state.spent())


def _run(job, state) -> Diagnosis:
    """All steps, stored one by one, and what follows from them."""
    plan = state.step("plan", lambda: runs.plan(job))
    job = replace(job, steps=plan["steps"])
    looked = state.step("source", lambda: runs.look(job))
    rows, (fewest, most) = [], job.settings.repeats
    for r in range(most):
        row = {}
        for arm, run in runs.arms(job).items():
            name = f"repeat-{r:02d}-{arm}"
            row[arm] = state.step(name, lambda run=run, r=r: run(job, r))
        if plan["rates_once"] and not rows:
            for arm in TRAINED:
                row[arm], job.rates[arm] = runs.first_choice(row[arm])
        rows.append(row)
        spent = sum(state.seconds.values())
        if len(rows) >= fewest and spent * (1 + 1 / len(rows)) > plan["seconds"]:
            break
    found = concluded(job, plan | {"repeats": len(rows)}, looked, rows)
    return Diagnosis(**found).in_words()


def _check_forward(job) -> None:
    """Can the network read such inputs?"""
    try:
        job.modality.features(job.backbone, job.data.inputs[:2])
    except (RuntimeError, AssertionError, ValueError, IndexError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"diagnose: {job.backbone.name} cannot read {job.modality.inputs} "
            f"{job.about['read']} ({reason}).\nExpected: the size that it was "
            "trained with.\nDo: choose another size, or another backbone."
        ) from error


# -- steps that are stored --------------------------------------------------------


class _State:
    """A folder of finished steps, one JSON file each, written whole or not at all."""

    def __init__(self, folder: Path, key: str, again: bool, advance: Callable):
        self.folder, self.key, self.advance = folder, key, advance
        self.seconds: dict[str, float] = {}
        if again:
            for path in folder.glob("*.json"):
                path.unlink()

    def step(self, name: str, compute: Callable[[], dict]) -> dict:
        """The stored result, or that of compute(), stored at once."""
        path = self.folder / f"{name}.json"
        stored = self._read(path)
        if stored is None:
            before, started = sum(self.seconds.values()), time.perf_counter()
            result = compute()
            inner = sum(self.seconds.values()) - before
            spent = max(time.perf_counter() - started - inner, 0.0)
            stored = {"key": self.key, "seconds": round(spent, 3), "result": result}
            text = json.dumps(stored).encode()
            files.atomic_write_bytes(path, text)
            stored = json.loads(text)  # the same types whether resumed or not
        self.seconds[name] = stored["seconds"]
        self.advance(name)
        return stored["result"]

    def spent(self) -> dict[str, float]:
        """Seconds of every stored step, and of all."""
        stored = {p.stem: self._read(p) for p in sorted(self.folder.glob("*.json"))}
        seconds = {name: one["seconds"] for name, one in stored.items() if one}
        return seconds | {"total": round(sum(seconds.values()), 3)}

    def _read(self, path: Path):
        if not path.exists():
            return None
        try:
            stored = files.read_json(path)
        except CourseError:  # damaged: compute it again
            return None
        return stored if stored.get("key") == self.key else None


@contextmanager
def _progress(wanted: bool | Callable, total: int):
    """A rich bar on standard error that names the step that was finished."""
    if callable(wanted):
        yield wanted
        return
    if not wanted or os.environ.get("CI") or os.environ.get("COURSE_PROGRESS") == "0":
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("diagnosis", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)
