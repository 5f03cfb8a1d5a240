"""A job that goes on training a backbone on pictures without labels.

    result = pretrain_job.run({}, "archive", out="pretrained")
    result.before["rankme"], result.after["rankme"]

Two views of each picture have to agree, and pictures have to stay apart.  What is left
is a backbone as a folder, a start for ``course train``.  Killed at any moment and
started again, the job goes on and ends with the same weights.  On the command line it
is `course pretrain --on FOLDER`.  Chen et al. 2020; Gururangan et al. 2020 (continued
pre-training).
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from course_lib import training
from course_lib.analysis import effective_rank
from course_lib.datasets import image_files
from course_lib.errors import CourseError
from course_lib.jobs import (
    assembly,
    pretrain_configuration,
    pretrain_data,
    pretrain_report,
)
from course_lib.jobs.outcome import versions, weights_sha256
from course_lib.jobs.pretrain_configuration import PretrainConfig
from course_lib.jobs.storage import JobFolder, check_apart
from course_lib.methods import self_supervised
from course_lib.methods.view_losses import LOSSES
from course_lib.models import continued, features, zoo
from course_lib.models.heads import inside
from course_lib.show.console import training_bars
from course_lib.training import freezing, resume
from course_lib.training.picture_size import Work

FORMAT = 1  # of the stored state
WITHOUT_EFFECT = ("minutes", "epochs", "samples", "licence", "held_out", "device")
PASSES = 10  # over the pictures, where the configuration does not say how many
LAST_STAGE = 0.25  # of the cost of learning everything
SIZE, SMALL = 128, 64  # pixels: of networks that read any size; of 64 pixels' networks
EVALUATIONS = 10  # on held-out pictures, beside the first
STORED = 30  # seconds after which the state is written


@dataclass
class PretrainResult:
    """What a job did, as plain numbers, strings, lists and dicts.

    sizes: {part: pictures}.  losses: of each update.  curve: [updates, held-out loss].
    before and after: {rankme, spread, loss, n} on held-out pictures.  planned: updates
    that were to be made, of which the time may have allowed fewer.  shown: (pictures,
    one view, other view) for the report.
    """

    config: dict
    name: str
    origin: str
    sizes: dict[str, int]
    image_size: int
    batch_size: int
    planned: int
    losses: list[float]
    curve: list
    before: dict
    after: dict
    notes: list[str]
    evidence: list[str]
    versions: dict
    weights_sha256: str
    backbone: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    shown: tuple = ()
    folder: Path | None = None

    @property
    def updates(self) -> int:
        return len(self.losses)

    def to_dict(self) -> dict:
        """What result.json holds."""
        return {k: v for k, v in vars(self).items() if k not in ("shown", "folder")}


def run(
    config: PretrainConfig | Mapping,
    data: str | Path,
    out: str | Path | None = None,
    *,
    again: bool = False,
    skip_unreadable: bool = False,
    evidence: Sequence[str] = (),
    progress: bool = True,
    on_data: Callable[[pretrain_data.Pool], None] | None = None,
) -> tuple[PretrainResult, object]:
    """Do the whole job; returns (result, backbone).

    data: a folder of pictures.  out: a folder for report.html, result.json,
    pictures.csv, the backbone in model/ and the state from which an interrupted job
    goes on; without it nothing is written.  again: forget what another job left there.
    evidence: what is known of such training, the plainest sentence first; the report
    has all, the rest only that one.  progress: show a bar.  on_data(pool) is called
    before anything is trained.  Raises CourseError on a bad configuration and bad data,
    before anything is written.
    """
    began = time.perf_counter()
    if isinstance(config, Mapping):
        config = pretrain_configuration.from_dict(config)
    device = torch.device(assembly.device(config))
    check_apart(Path(data), out)
    backbone = started(config)
    pool = _pool(config, backbone, Path(data), skip_unreadable)
    planned, said = plan(config, backbone, pool, device)
    pool = replace(pool, notes=[*pool.notes, *said])
    assembly.check_forward(config, backbone, pool.images)
    folder = JobFolder(out, _key(config, planned, backbone, pool), again)
    if on_data is not None:
        on_data(pool)
    learning = Learning(config, backbone, pool, planned, device)
    folder.begin()
    before = learning.measured()
    with training_bars(progress) as bar:
        learning.go_on(folder.state("pretrain"), bar("pre-training"))
    result = _concluded(learning, pool, before, evidence)
    result.seconds["this session"] = round(time.perf_counter() - began, 1)
    if folder.path is not None:
        pretrain_report.write(result, backbone, pool, config, folder.path)
        result.folder = folder.path
    return result, backbone


def _pool(config, backbone, data: Path, skip_unreadable: bool) -> pretrain_data.Pool:
    """The pictures, at the size that the network is to read."""
    reader = image_files.Reader(
        image_size(config, backbone),
        skip_unreadable=skip_unreadable,
        value_range=config.value_range,
        option="--skip-unreadable",
    )
    return pretrain_data.read(data, reader, config)


def _concluded(learning, pool, before: dict, evidence) -> PretrainResult:
    """The result of a finished training; before: what was measured at its start."""
    config, backbone, curve = learning.config, learning.backbone, learning.curve
    result = PretrainResult(
        config=config.to_dict(),
        name=pool.name,
        origin=continued.origin(backbone),
        sizes={"learned from": len(pool.images), pretrain_data.HELD: len(pool.held)},
        image_size=pool.images.shape[1],
        batch_size=learning.batch,
        planned=learning.run.steps,
        losses=learning.run.losses,
        curve=curve,
        before=before | {"loss": curve[0][1]},
        after=learning.measured() | {"loss": curve[-1][1]},
        notes=[*backbone.notes, *pool.notes],
        evidence=list(evidence),
        versions=versions(),
        weights_sha256=weights_sha256(backbone.model),
        seconds={"training": round(learning.seconds, 1)},
        shown=learning.examples(config.samples),
    )
    result.notes += pretrain_report.warnings(result)
    return result


def started(config):
    """The network that goes on, with its preprocessing.  CourseError where there is
    none, or it is for texts."""
    backbone = assembly.loaded(config)
    if backbone.kind != "vision":
        raise config.error(
            "model",
            f"is {config.model}, a model for texts, and the job is for pictures",
            f"for pictures, for example {', '.join(zoo.bundled())}",
            "choose another model",
        )
    if config.image_size:
        size = config.image_size
        backbone.preprocess = replace(backbone.preprocess, size=size)
    return backbone


def image_size(config, backbone) -> int:
    """Pixels a side: the configuration's, else the model's own, else what it learned
    from or `course train` gives it at least."""
    usual = SIZE if "input_size" in backbone.card else SMALL
    return config.image_size or backbone.preprocess.size or usual


def plan(config, backbone, pool, device) -> tuple[int, list[str]]:
    """(updates, sentences).

    Without `epochs` PASSES of them, or on a CPU as many as `minutes` allow by what
    EfficientNet-Lite0 costs on two cores.
    """
    n, said = len(pool.images), []
    batch = min(config.batch_size, n)
    if batch < config.batch_size:
        said.append(f"Updates of {batch} pictures: there are no more to learn from.")
    whole = n // batch  # updates of a pass
    if config.epochs:
        return config.epochs * whole, said
    updates = PASSES * whole
    cost = LAST_STAGE if config.strategy == "last_stage" else 1.0
    work = Work(forward=2 * batch, learning=cost * 2 * batch)
    size = image_size(config, backbone)
    allowed = max(1, int(60 * config.minutes / work.seconds(size)))
    if device.type == "cpu" and allowed < updates:
        said.append(
            f"{allowed:,} updates are planned, {allowed / whole:.1f} passes over the "
            f"pictures: more might take longer than `minutes`, {config.minutes:g}, on "
            "two cores."
        )
        updates = allowed
    return updates, said


def _key(config, planned, backbone, pool) -> str:
    """sha256 of all that the weights depend on."""
    values = {k: v for k, v in config.to_dict().items() if k not in WITHOUT_EFFECT}
    values |= {"updates": planned, "start": weights_sha256(backbone.model)}
    text = json.dumps([FORMAT, values, pool.key])
    return hashlib.sha256(text.encode()).hexdigest()


class Learning:
    """The updates of a job; which pictures and views an update has hangs on the seed
    and its number alone, so that an interrupted job goes on as if it had not been."""

    def __init__(self, config, backbone, pool, planned: int, device):
        self.config, self.backbone, self.device = config, backbone, device
        self.images, self.held = pool.images, pool.held
        self.batch = min(config.batch_size, len(pool.images))
        self.every = max(1, -(-planned // EVALUATIONS))
        self.views = self_supervised.views(config.views)
        self.curve: list[list] = []  # [updates, held-out loss]
        self.seconds = 0.0
        backbone.model.to(device)
        freezing.unfreeze(backbone)
        opened = assembly.opened(config, backbone)
        for name, parameter in backbone.model.named_parameters():
            learns = name in opened and not inside(name, backbone.heads)
            parameter.requires_grad_(learns)
        with training.isolated(config.seed, None):
            self.run = self_supervised.ViewTraining(
                backbone.features,
                backbone.model,
                backbone.num_features,
                LOSSES[config.objective],
                steps=planned,
                lr=config.rate,
                device=device,
            )

    def _pair(self, images, seed: int) -> list[torch.Tensor]:
        """Two views of each picture, on the device."""
        generator = torch.Generator().manual_seed(seed)
        x = self.backbone.preprocess(images)
        views = [self.views(x, generator) for _ in range(2)]
        return [features.to_device(view, self.device) for view in views]

    def _update(self) -> None:
        step, whole = self.run.step, len(self.images) // self.batch
        turn, part = divmod(step, whole)
        order = np.random.default_rng((self.config.seed, turn))
        rows = order.permutation(len(self.images))[part * self.batch :][: self.batch]
        seed = (self.config.seed << 31) + step
        torch.manual_seed(seed)  # of dropout and stochastic depth
        freezing.train_mode(self.backbone)
        self.run.projector.train()
        try:
            self.run.update(self._pair(self.images[rows], seed))
        except CourseError:  # of the loss
            raise self._diverged(self.run.losses[-1]) from None

    def _diverged(self, loss: float) -> CourseError:
        return self.config.error(
            "rate",
            f"{self.config.rate:g} led to a loss of {loss} in update "
            f"{self.run.step + 1}",
            "a rate at which the loss stays a finite number",
            "lower rate by a factor of 3 to 10",
        )

    @torch.no_grad()
    def held_loss(self) -> float:
        """The loss on held-out pictures, always on the same views of them."""
        self.backbone.model.eval()
        batch = min(self.batch, len(self.held))
        starts = range(0, len(self.held) - batch + 1, batch)
        losses = [
            float(self.run.value(self._pair(self.held[s : s + batch], s)))
            for s in starts
        ]
        if not np.isfinite(losses).all():
            raise self._diverged(float(np.mean(losses)))
        return float(np.mean(losses))

    def measured(self) -> dict:
        """{rankme, spread, n} of the network on held-out pictures."""
        Z = features.extract(self.backbone, self.held)
        signs = {"rankme": effective_rank.rankme(Z)}
        return signs | {"spread": effective_rank.spread(Z), "n": len(Z)}

    def go_on(self, state: Path | None, progress: Callable | None = None) -> None:
        """Train until all updates are made or the minutes are over.

        state: a file that is written now and then, and read where it is there.
        """
        if state is not None and state.exists():
            self._restore(state)
        began = time.perf_counter() - self.seconds
        stored = time.perf_counter()
        with training.isolated(self.config.seed, None):
            while True:
                step, now = self.run.step, time.perf_counter()
                over = now - began >= 60 * self.config.minutes
                last = over or step == self.run.steps
                due = last or step % self.every == 0
                if due and step not in [at for at, _ in self.curve]:
                    self.curve.append([step, self.held_loss()])
                if due or now - stored >= STORED:
                    self.seconds = time.perf_counter() - began
                    self._store(state)
                    stored = time.perf_counter()
                if progress is not None:
                    said = f"held-out loss {self.curve[-1][1]:.3f}"
                    progress(step, self.run.steps, said)
                if last:
                    break
                self._update()
        self.backbone.model.eval()

    def _store(self, state) -> None:
        if state is None:
            return
        tensors, values = self.run.state()
        values |= {"curve": self.curve, "seconds": self.seconds}
        resume.save(state, tensors, values)

    def _restore(self, state) -> None:
        tensors, values = resume.load(state)
        self.run.restore(tensors, values)
        self.curve, self.seconds = values["curve"], values["seconds"]

    def examples(self, count: int) -> tuple:
        """(pictures, one view, other view), uint8 (n, size, size, 3) each."""
        some = self.images[np.linspace(0, len(self.images) - 1, count).astype(int)]
        x = self.backbone.preprocess(some)
        generator = torch.Generator().manual_seed(self.config.seed)
        shown = [x, *(self.views(x, generator) for _ in range(2))]
        return tuple(map(self.backbone.preprocess.to_images, shown))
