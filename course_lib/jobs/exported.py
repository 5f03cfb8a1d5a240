"""A trained model as a folder: weights, labels, preprocessing, ONNX, model card.

    exported.export(backbone, folder, examples)      # what `course train` does
    model = exported.load(folder)                    # safetensors, no pickle
    model.predict(images)                            # probabilities (N, K)

`model.safetensors` and `model.json` are all that :func:`load` needs (for texts, the
tokenizer's files in `text/`, too).  `model.onnx` is for programs without PyTorch: it
takes preprocessed batches of any size and gives logits; that both give the same is
checked on test examples when the file is made.
"""

import hashlib
import json
import logging
import os
import shlex
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from course_lib import files, training
from course_lib.errors import CourseError
from course_lib.jobs import assembly
from course_lib.models import continued, zoo
from course_lib.models.encoders import text_encoder
from course_lib.models.preprocessing import Preprocess

FORMAT = 1
TOLERANCE = 1e-4  # of the largest logit, or of 1: what ONNX may differ by
COMPARED = 64  # examples
TOKENS = ("input_ids", "attention_mask")


# -- out --------------------------------------------------------------------------


def export(
    backbone, classes, folder: str | Path, examples, onnx: bool = True, about=None
) -> dict:
    """Write the model folder; returns what is in it and how the outputs compare.

    backbone: with a head for ``classes``.  examples: uint8 images (N, H, W, 3) or N
    texts, on which ONNX is compared with PyTorch.  about: {model, task, dropout,
    head_reads, image_size, pictures, columns}: from the configuration, how pictures
    became 8 bits, and the columns of the table.  Returns {said: sentences, sha256,
    onnx: {largest_difference, tolerance, same_answers, examples} or {failed: reason}}.
    """
    from safetensors.torch import save

    folder = Path(folder)
    state = backbone.model.state_dict()
    content = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
    stored = _stored(folder, content, onnx)
    if stored is not None:
        return stored
    path = files.atomic_write_bytes(folder / "model.safetensors", content)
    if backbone.kind == "text":
        preprocessing = {"max_length": backbone.preprocess.max_length}
        backbone.preprocess.tokenizer.save_pretrained(folder / "text")
        backbone.model.config.save_pretrained(folder / "text")
    else:
        preprocessing = asdict(backbone.preprocess)
    values = {
        "format": FORMAT,
        **(about or {}),
        "kind": backbone.kind,
        "classes": list(classes),
        "preprocessing": preprocessing,
        "sha256": files.sha256(path),
    }
    found = {"sha256": values["sha256"]}
    said = [
        f"model.safetensors, {len(content) / 1e6:.1f} MB, sha256 "
        f"{values['sha256'][:16]}...; classes and preprocessing in model.json."
    ]
    if onnx:
        found["onnx"] = _onnx(backbone, folder / "model.onnx", examples)
        said.append(onnx_sentence(found["onnx"]))
    found["said"] = said
    files.atomic_write_json(folder / "model.json", values | {"export": found}, False)
    return found


def _stored(folder, content, onnx):
    """What an earlier call said of the same weights, if its files are still there."""
    if not (folder / "model.json").exists():
        return None
    try:
        values = files.read_json(folder / "model.json")
        same = values["sha256"] == hashlib.sha256(content).hexdigest()
        same = same and files.sha256(folder / "model.safetensors") == values["sha256"]
        found = values["export"]
    except (CourseError, OSError, KeyError, TypeError):
        return None
    complete = not onnx or "onnx" in found and (folder / "model.onnx").exists()
    return found if same and complete else None


class _Tokens(nn.Module):
    """A text classifier of two tensors, as a graph without dicts wants it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, input_ids, attention_mask):
        return self.net(input_ids=input_ids, attention_mask=attention_mask).logits


def _onnx(backbone, path: Path, examples) -> dict:
    """Export with torch.export's graph, and compare the outputs."""
    some = list(examples[:COMPARED])
    prepared = backbone.preprocess(some if backbone.kind == "text" else np.stack(some))
    net = backbone.model.cpu().eval()
    batch = torch.export.Dim.DYNAMIC
    if backbone.kind == "text":
        net, names = _Tokens(net).eval(), list(TOKENS)
        inputs = [prepared[name] for name in names]
        shapes = ({0: batch, 1: batch}, {0: batch, 1: batch})
    else:
        inputs, names, shapes = [prepared], ["images"], ({0: batch},)
    sample = [x[:2] if len(x) > 1 else torch.cat([x, x]) for x in inputs]
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet():
            torch.onnx.export(
                net, tuple(sample), part, dynamo=True, dynamic_shapes=shapes,
                input_names=names, output_names=["logits"], external_data=False,
                verbose=False,
            )  # fmt: skip
        found = _compared(net, part, dict(zip(names, inputs)))
        os.replace(part, path)
        return found
    except Exception as error:  # an exporter fails in many ways; the rest is written
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return {"failed": reason[:200]}
    finally:
        part.unlink(missing_ok=True)


def _compared(net, path, inputs: dict) -> dict:
    """Largest difference of logits, one example alone and all others together."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    n = len(next(iter(inputs.values())))
    ours, theirs = [], []
    for rows in (slice(0, 1), slice(1, n)) if n > 1 else (slice(0, 1),):
        some = {name: x[rows] for name, x in inputs.items()}
        with torch.no_grad():
            ours.append(net(*some.values()).numpy())
        arrays = {name: x.numpy() for name, x in some.items()}
        theirs.append(session.run(None, arrays)[0])
    ours, theirs = np.concatenate(ours), np.concatenate(theirs)
    allowed = TOLERANCE * max(1.0, float(np.abs(ours).max()))
    difference = float(np.abs(ours - theirs).max())
    return {
        "examples": n,
        "largest_difference": difference,
        "tolerance": allowed,
        "within": bool(difference <= allowed),
        "same_answers": int((ours.argmax(1) == theirs.argmax(1)).sum()),
    }


def onnx_sentence(found) -> str:
    """Whether the ONNX file was written, and whether it answers as torch does."""
    if "failed" in found:
        return (
            f"ONNX could not be written ({found['failed']}); the safetensors folder is "
            "complete without it."
        )
    judged = "within" if found["within"] else "NOT within"
    return (
        f"model.onnx: on {found['examples']} test examples its logits differ from "
        f"PyTorch's by at most {found['largest_difference']:.1e}, {judged} the "
        f"tolerance of {found['tolerance']:.1e}; {found['same_answers']} answers are "
        "the same."
    )


@contextmanager
def _quiet():
    """The exporter's own progress, advice and warnings say nothing to a learner."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    with warnings.catch_warnings(), ExitStack() as afterwards:
        warnings.simplefilter("ignore")
        for logger in loggers:
            afterwards.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield


# -- in ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    """A model folder in memory."""

    backbone: object
    classes: tuple[str, ...]
    about: dict

    def predict(self, examples, batch_size: int = 64) -> np.ndarray:
        """Probabilities (N, K) of uint8 images (N, H, W, 3) or of N texts."""
        if not len(examples):
            raise CourseError(
                "predict: no examples.\nExpected: at least one.\nDo: give some."
            )
        nothing = np.zeros(len(examples), dtype=np.int64)
        inputs = list(examples) if self.backbone.kind == "text" else examples
        logits = training.predict(self.backbone, (inputs, nothing), None, batch_size)
        return torch.from_numpy(logits).double().softmax(dim=1).numpy()


def load(folder: str | Path) -> Exported:
    """The model of a folder that :func:`export` wrote, its weights checked by sha256.

    Raises CourseError when a file is missing or damaged.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    if (folder / "model" / "model.json").exists():  # the folder of the whole job
        folder = folder / "model"
    if continued.holds(folder):
        raise CourseError(
            f"{folder} holds a start for training, not a model: it has learned without "
            "labels and knows no classes.\nExpected: the folder of a job of course "
            "train.\nDo: train from it with `course train --data LABELLED --backbone "
            f"{shlex.quote(str(folder))} --out trained`, and name that folder here."
        )
    if not (folder / "model.json").exists():
        raise CourseError(
            f"{folder} holds no exported model.\nExpected: a folder with model.json "
            "and model.safetensors.\nDo: name the folder that course train wrote."
        )
    weights = folder / "model.safetensors"
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        damaged = not weights.exists() or files.sha256(weights) != about["sha256"]
    except (ValueError, KeyError, TypeError):
        damaged = True
    if damaged:
        raise CourseError(
            f"{folder}: model.json or model.safetensors is damaged or missing.\n"
            "Expected: both as they were exported (the sha256 is in model.json).\n"
            "Do: copy the folder again, or run course train again."
        )
    classes = tuple(about["classes"])
    if about["kind"] == "text":
        where = str(folder / "text")
        backbone = text_encoder(where, about["model"], False, {}, offline=True)
        backbone.preprocess.max_length = about["preprocessing"]["max_length"]
    else:
        backbone = zoo.load(about["model"], pretrained=False)
        values = about["preprocessing"]
        pairs = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        backbone.preprocess = Preprocess(**pairs)
    reads = about.get("head_reads")
    assembly.headed(backbone, len(classes), reads, about["dropout"])
    backbone.model.load_state_dict(load_file(weights))
    backbone.model.eval()
    return Exported(backbone, classes, about)
