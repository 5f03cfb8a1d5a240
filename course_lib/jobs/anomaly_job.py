"""A job that finds defects without a defect label: a memory of normal patches.

    result = anomaly_job.run({"defective": "scratched"}, "good_parts", out="trained")
    result.test["alarms"], result.auroc

Normal pictures are split in three: patches of the first part are remembered, the second
sets the threshold, the third measures the false alarms.  Near-duplicates stay together.
Defective pictures, where there are some, are only measured on.  On the command line it
is `course train` with ``task: anomaly``.  Roth et al. 2022.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from course_lib.analysis import statistics
from course_lib.datasets import image_files, layout
from course_lib.datasets.grouped_split import grouped_split
from course_lib.datasets.near_duplicates import picture_groups
from course_lib.errors import CourseError
from course_lib.jobs import anomaly_configuration, anomaly_report
from course_lib.jobs.anomaly_configuration import AnomalyConfig
from course_lib.jobs.anomaly_model import AnomalyModel
from course_lib.jobs.storage import JobFolder
from course_lib.methods import patch_memory
from course_lib.methods.patch_memory import PatchMemory
from course_lib.models import features, zoo

PARTS = ("memory", "threshold", "test")
SAID = {"test": "normal", "defective": "defective"}
STRIDES = (8, 16)  # of the maps that are remembered, as in the paper


@dataclass
class AnomalyResult:
    """What a job found.

    sizes: {part: pictures}.  test: {alarms, low, high, n} of normal test pictures;
    found: the same of defective ones, None without any.  auroc: {mean, low, high} or
    None.  rows: (part, picture, score, alarm) of each picture that was not remembered.
    shown: (picture, heat map, its name and score) of the strangest ones.
    """

    config: dict
    name: str
    sizes: dict[str, int]
    threshold: float
    test: dict
    found: dict | None
    auroc: dict | None
    rows: list[tuple]
    shown: list[tuple]
    notes: list[str]
    about: dict
    seconds: float = 0.0
    folder: Path | None = field(default=None)

    def to_dict(self) -> dict:
        """All numbers, ready for JSON."""
        kept = dataclasses.asdict(dataclasses.replace(self, shown=[], rows=[]))
        kept.pop("shown"), kept.pop("folder")
        kept["rows"] = [list(row) for row in self.rows]
        return kept


def run(
    config: AnomalyConfig | Mapping,
    data: str | Path,
    out: str | Path | None = None,
    *,
    again: bool = False,
    skip_unreadable: bool = False,
) -> tuple[AnomalyResult, AnomalyModel]:
    """Do the whole job; returns (result, model).

    data: a folder of normal pictures.  out: a folder for report.html, result.json,
    scores.csv and the model; without it nothing is written.  again: replace what
    another job left there.  Raises CourseError on a bad configuration and bad data,
    before anything is written.
    """
    began = time.perf_counter()
    if isinstance(config, Mapping):
        config = anomaly_configuration.from_dict(config)
    given = dict(skip_unreadable=skip_unreadable, option="--skip-unreadable")
    size, span = config.image_size, config.value_range
    reader, odd = image_files.Reader(size, value_range=span, **given), None
    names, images, notes = normal = read(Path(data), reader, "normal")
    if config.defective:
        others = image_files.Reader(size, rule=reader.rule, **given)
        odd = read(Path(config.defective), others, "defective")
    folder = JobFolder(out, _key(config, normal, odd), again)
    parts = _split(images, config)
    _check_enough(parts, config)
    folder.begin()
    backbone = zoo.load(config.model)
    stages = _stages(backbone, config)
    P = patch_memory.patches(backbone, images[parts["memory"]], stages)
    memory = PatchMemory.of(P, config.share, config.seed)
    source = config.model if "@" in config.model else None  # weights of one's own
    model = AnomalyModel(backbone, memory, stages, 0.0, size, reader.rule, source)
    held = model.scores(images[parts["threshold"]])
    model.threshold = threshold(held, config.false_alarms)
    result = _measured(model, config, Path(data).name, names, images, parts, odd, held)
    result.notes = [*notes, *(odd[2] if odd else []), *_told(parts, memory, P)]
    result.seconds = round(time.perf_counter() - began, 1)
    if out is not None:
        anomaly_report.write(result, model, config, Path(out))
        result.folder = Path(out)
    return result, model


def _key(config, *folders) -> str:
    """sha256 of the configuration and of the names and pictures of all folders."""
    found = hashlib.sha256(json.dumps(config.to_dict()).encode())
    for names, images, _ in filter(None, folders):
        found.update(json.dumps(names).encode())
        found.update(images.tobytes())
    return found.hexdigest()


def read(path: Path, reader, what: str) -> tuple[list[str], np.ndarray, list[str]]:
    """(names, uint8 pictures (N, size, size, 3), notes) of all pictures of a folder.

    reader: of image_files, one a folder.  Raises CourseError for a folder with several
    folders of pictures, because one of them may hold defects, and for pictures that
    cannot be read.
    """
    if not path.is_dir():
        raise CourseError(
            f"{path} is no folder.\nExpected: a folder of {what} pictures.\nDo: check "
            "the path."
        )
    found = layout.files_below(path, layout.LeftOut())
    below = [file.relative_to(path).parts for file in found]
    tops = sorted({parts[0] for parts in below if len(parts) > 1})
    if len(tops) > 1 or tops and any(file.parent == path for file in found):
        raise CourseError(
            f"{path} holds pictures in {', '.join(map(layout.shown, tops[:5]))}"
            f"{' and elsewhere' if len(tops) > 5 or len(tops) == 1 else ''}.\n"
            f"Expected: one folder of {what} pictures, for a folder among several may "
            f"hold others.\nDo: name that one folder, for example {path / tops[0]}."
        )
    read = image_files.read_unlabelled(path, reader)
    notes = [f"{what.capitalize()} pictures: {len(read.names):,}.", *read.notes]
    return read.names, read.images, notes


def asked(path, model, skip_unreadable: bool = False) -> image_files.Unlabelled:
    """The pictures of a path, as the model reads them, for `course predict`.

    path: a picture, or a folder with pictures at any depth.  Raises CourseError for
    anything else, and for pictures that cannot be read.
    """
    reader = image_files.Reader(
        model.size, skip_unreadable, rule=model.rule, option="--skip-unreadable"
    )
    return image_files.read_unlabelled(path or "given by --data", reader)


def _split(images, config) -> dict[str, np.ndarray]:
    """{part: rows}; near-duplicates are in one part."""
    groups = picture_groups(images)
    shares = dict(zip(PARTS, config.split, strict=True))
    found = grouped_split(np.zeros(len(images), int), groups, shares, config.seed)
    return {part: np.flatnonzero(rows) for part, rows in found.items()}


def _check_enough(parts, config) -> None:
    """CourseError where the threshold would rest on too few pictures."""
    least = int(np.ceil(1 / config.false_alarms - 1e-9))
    n = len(parts["threshold"])
    if n < least or not len(parts["memory"]) or not len(parts["test"]):
        raise CourseError(
            f"{n} normal pictures are left to set the threshold, of "
            f"{sum(map(len, parts.values()))}.\nExpected: at least {least}, one for "
            f"each false alarm allowed (false_alarms: {config.false_alarms:g}), and "
            "some to remember and to test on; near-duplicates stay in one part.\n"
            "Do: give more normal pictures, or allow more false alarms."
        )


def _stages(backbone, config) -> list[str]:
    """The stages that are remembered: named, or the last of each stride."""
    if config.stages:
        for stage in config.stages:
            features.resolve(backbone, stage)
        return list(config.stages)
    side = config.image_size
    x = backbone.preprocess(np.zeros((1, side, side, 3), np.uint8))
    maps = features.activations(backbone, x, list(backbone.stages))
    found = {}
    for stage, m in maps.items():
        if m.ndim == 4:
            found[round(x.shape[-1] / m.shape[-1])] = stage
    chosen = [found[stride] for stride in STRIDES if stride in found]
    if not chosen:
        raise CourseError(
            f"{config.where}: {config.model} has no stage with maps {STRIDES[0]} or "
            f"{STRIDES[1]} times smaller than its pictures.\nExpected: such a stage.\n"
            f"Do: name stages, of {', '.join(backbone.stages)}."
        )
    return chosen


def threshold(scores, rate: float) -> float:
    """The smallest score of which at most the share ``rate`` of the scores is above."""
    allowed = int(rate * len(scores) + 1e-9)
    return float(np.sort(scores)[len(scores) - 1 - allowed])


def _alarms(scores, model) -> dict:
    """{alarms, low, high, n}: the share above the threshold, its 95 % interval."""
    hits = int((scores > model.threshold).sum())
    low, high = statistics.wilson_interval(hits, len(scores))
    return {"alarms": hits / len(scores), "low": low, "high": high, "n": len(scores)}


def auroc(normal, defective, seed: int = 0, draws: int = 1000) -> dict:
    """{mean, low, high}: probability that a defective score is the higher one.

    The interval is that of 1,000 bootstrap draws of both groups.
    """
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [len(normal), len(defective)])
    found = [
        roc_auc_score(y, np.concatenate([rng.choice(s, len(s)) for s in both]))
        for both in [(normal, defective)] * draws
    ]
    low, high = np.quantile(found, (0.025, 0.975))
    mean = roc_auc_score(y, np.concatenate([normal, defective]))
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def _measured(model, config, name, names, images, parts, odd, held) -> AnomalyResult:
    """Scores of all that is not remembered, and what they say."""
    groups = {"test": (images[parts["test"]], [names[i] for i in parts["test"]])}
    if odd:
        groups["defective"] = odd[1], odd[0]
    rows = [("threshold", names[i], s) for i, s in zip(parts["threshold"], held)]
    scores, shown = {}, []
    for part, (pictures, called) in groups.items():
        scores[part], heat = model.scores_and_heat(pictures)
        rows += [(part, n, s) for n, s in zip(called, scores[part])]
        titles = [f"{n}, {SAID[part]}" for n in called]
        shown += zip(pictures, heat, titles, scores[part])
    shown.sort(key=lambda one: -one[3])
    sizes = {part: len(places) for part, places in parts.items()}
    return AnomalyResult(
        config=config.to_dict(),
        name=name,
        sizes=sizes | ({"defective": len(odd[0])} if odd else {}),
        threshold=model.threshold,
        test=_alarms(scores["test"], model),
        found=_alarms(scores["defective"], model) if odd else None,
        auroc=auroc(scores["test"], scores["defective"], config.seed) if odd else None,
        rows=[(*row, float(s), bool(s > model.threshold)) for *row, s in rows],
        shown=shown[: config.samples],
        notes=[],
        about=model.about(),
    )


def _told(parts, memory, P) -> list[str]:
    """What was remembered, in a sentence."""
    return [
        f"Remembered: {len(memory.bank):,} of {P.shape[0] * P.shape[1] * P.shape[2]:,} "
        f"patches of {len(parts['memory']):,} normal pictures; the threshold rests on "
        f"{len(parts['threshold']):,} others, the false alarms on "
        f"{len(parts['test']):,} more."
    ]
