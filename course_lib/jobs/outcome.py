"""What a training job reached: its numbers, and what follows from them."""

import hashlib
import platform
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from course_lib import __version__
from course_lib.analysis import statistics
from course_lib.analysis.subgroups import subgroup_table
from course_lib.jobs import assembly, reporting

WORST = 12  # errors shown in the report


@dataclass
class Result:
    """What a job reached, as plain numbers, strings, lists and dicts.

    transfer and baseline: {rate, history, validation, test}, where test holds loss,
    accuracy, balanced_accuracy, low and high (95 % Wilson interval of the accuracy),
    calibration_error, predictions and confidence; of a fitted head rate and history are
    None, and fit is that of `head_fit.Fit`.  baseline is None where none was trained.
    gain: {mean, low, high} of the difference in test accuracy.  combined: how the
    weights of several runs became one (`combined_report`), None for a single run.
    backbone: the trained model, with ``classes``.  Everything but ``seconds`` is the
    same however often the job was interrupted.
    """

    config: dict
    data: dict
    transfer: dict
    baseline: dict | None
    gain: dict | None
    subgroups: list
    confusion: list
    worst: list
    findings: list
    notes: list
    verdict: str
    versions: dict
    weights_sha256: str
    combined: dict | None = None
    export: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    backbone: object = field(default=None, repr=False)
    parts: object = field(default=None, repr=False)
    folder: Path | None = None

    @property
    def test_accuracy(self) -> float:
        """Share of right answers on the test part."""
        return self.transfer["test"]["accuracy"]

    @property
    def baseline_accuracy(self) -> float | None:
        """The same of the network trained from scratch, None where there is none."""
        return self.baseline["test"]["accuracy"] if self.baseline else None

    @property
    def classes(self) -> list[str]:
        return self.data["classes"]

    def to_dict(self) -> dict:
        """What result.json holds."""
        hidden = ("backbone", "parts", "folder")
        return {k: v for k, v in vars(self).items() if k not in hidden}

    def html(self) -> str:
        """The report as one page that needs nothing else."""
        return reporting.html(self)

    def __str__(self) -> str:
        return reporting.text(self)


def right(run) -> np.ndarray:
    """Which test examples a run answered right, booleans (N,)."""
    return np.array(run["test"]["predictions"]) == np.array(run["test"]["labels"])


def concluded(config, parts, backbone, transfer, baseline, findings, notes) -> Result:
    """The result of a job: subgroups, gain, confusion and worst errors of its runs."""
    test, classes = parts.test, list(parts.classes)
    predictions = np.array(transfer["test"]["predictions"])
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (test.labels, predictions), 1)
    columns = {"class": np.array(classes)[test.labels]}
    columns |= {k: v for k, v in test.metadata.items() if k in config.groups}
    subgroups = subgroup_table(test.labels, predictions, columns)
    gain = (
        statistics.paired_accuracies(right(transfer), right(baseline))
        if baseline
        else None
    )
    seconds = {"training": transfer.pop("seconds")}
    if baseline:
        seconds["from scratch"] = baseline.pop("seconds")
    elif config.baseline and config.weights == "random":
        notes = [*notes, "The weights were random already: no baseline was trained."]
    elif config.baseline:
        notes = [*notes, "Training from scratch diverged at every rate."]
    result = Result(
        config=config.to_dict()
        | {"unfreeze": {str(k): list(v) for k, v in config.unfreeze.items()}},
        data={
            "name": parts.name,
            "classes": classes,
            "counts": parts.counts(),
            "sizes": {k: len(p) for k, p in zip(parts.counts(), parts)},
            "key": parts.key,
            "pictures": parts.pictures,
            "size": assembly.image_size(config, backbone)
            if config.task == "images"
            else None,
        },
        transfer=transfer,
        baseline=baseline,
        gain=gain,
        subgroups=subgroups,
        confusion=counts.tolist(),
        worst=_worst(parts, transfer),
        findings=findings,
        notes=list(notes),
        verdict="",
        versions=versions(),
        weights_sha256=weights_sha256(backbone.model),
        seconds=seconds,
        backbone=backbone,
        parts=parts,
    )
    result.verdict = reporting.verdict(result)
    return result


def _worst(parts, transfer) -> list[dict]:
    """The wrong answers of which the network was surest."""
    test, found = parts.test, transfer["test"]
    wrong = np.flatnonzero(np.array(found["predictions"]) != test.labels)
    surest = wrong[np.argsort(-np.array(found["confidence"])[wrong], kind="stable")]
    return [
        {
            "row": int(i),
            "example": str(test.metadata["example"][i]),
            "label": parts.classes[test.labels[i]],
            "answer": parts.classes[found["predictions"][i]],
            "confidence": found["confidence"][i],
        }
        for i in surest[:WORST]
    ]


def versions() -> dict[str, str]:
    """{"course", "torch", "python": version}: what made a result."""
    return {
        "course": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def weights_sha256(net: nn.Module) -> str:
    """sha256 of all weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        value = tensor.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
