"""The memory that an anomaly job leaves, and what it says of other pictures.

model = anomaly_model.load("trained")
model.scores(images), model.threshold
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from course_lib import files
from course_lib.datasets.scaling import Rule
from course_lib.errors import CourseError
from course_lib.jobs.anomaly_configuration import MODEL_FILE
from course_lib.jobs.outcome import weights_sha256
from course_lib.methods import patch_memory
from course_lib.methods.patch_memory import PatchMemory
from course_lib.models import zoo

FORMAT = 1
WEIGHTS = "memory.safetensors"
TOGETHER = 64  # pictures looked at at once


@dataclass
class AnomalyModel:
    """A frozen network, what it remembers, and the score above which it alarms.

    size: pixels a side of pictures; rule: how pictures become 8 bits.  source: what
    loads the network, where that is not its name (NAME@FILE).
    """

    backbone: object
    memory: PatchMemory
    stages: list[str]
    threshold: float
    size: int
    rule: Rule | None = None
    source: str | None = None

    def scores(self, images) -> np.ndarray:
        """How strange each picture of uint8 (N, size, size, 3) is, (N,)."""
        return self.scores_and_heat(images)[0]

    def scores_and_heat(self, images) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) and heat maps float32 (N, size, size)."""
        scores, heat = [], []
        for start in range(0, len(images), TOGETHER):
            some = images[start : start + TOGETHER]
            P = patch_memory.patches(self.backbone, some, self.stages)
            scores.append(self.memory.scores(P))
            far = self.memory.distances(P)
            heat.append(patch_memory.heat_map(far, some.shape[1:3]).numpy())
        return np.concatenate(scores), np.concatenate(heat)

    def about(self) -> dict:
        """What `load` needs besides the memory."""
        return {
            "format": FORMAT,
            "kind": "anomaly",
            "model": self.source or self.backbone.name,
            "network": weights_sha256(self.backbone.model),
            "stages": list(self.stages),
            "threshold": float(self.threshold),
            "image_size": self.size,
            "pictures": self.rule.to_dict() if self.rule else None,
        }


def save(model: AnomalyModel, folder: Path) -> None:
    """Write the memory, then what belongs to it, each whole or not at all."""
    content = save_tensors({"bank": model.memory.bank.contiguous()})
    files.atomic_write_bytes(folder / WEIGHTS, content)
    files.atomic_write_json(folder / MODEL_FILE, model.about(), False)


def load(folder: str | Path) -> AnomalyModel:
    """The model that a job left in a folder.

    Raises CourseError where it is missing, unfinished, damaged or of another format.
    """
    folder = Path(folder)
    if (folder / "model").is_dir():  # the folder of the whole job
        folder = folder / "model"
    if not (folder / MODEL_FILE).exists() or not (folder / WEIGHTS).exists():
        raise CourseError(
            f"{folder} holds no memory of course train.\nExpected: a folder with "
            f"{WEIGHTS} and {MODEL_FILE}.\nDo: name the folder that course train "
            "wrote, or train again."
        )
    about = files.read_json(folder / MODEL_FILE)
    try:
        bank = load_tensors((folder / WEIGHTS).read_bytes())["bank"]
        if about["format"] != FORMAT or bank.ndim != 2 or bank.dtype != torch.float32:
            raise ValueError
        parts = about["stages"], float(about["threshold"]), int(about["image_size"])
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise CourseError(
            f"{folder} is damaged, or of another version of the course.\nExpected: a "
            "memory as course train writes it.\nDo: train again."
        ) from None
    rule = Rule.from_dict(about["pictures"]) if about.get("pictures") else None
    backbone = zoo.load(about["model"])
    if about.get("network", found := weights_sha256(backbone.model)) != found:
        raise CourseError(
            f"{folder} remembers what {about['model']} saw, and that has other weights "
            "now.\nExpected: the network of the memory.\nDo: bring its weights back, "
            "or train again."
        )
    return AnomalyModel(backbone, PatchMemory(bank), *parts, rule, about["model"])
