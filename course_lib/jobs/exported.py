"""A trained model as a folder: weights, labels, preprocessing, ONNX, model card.

    exported.export(backbone, folder, examples)      # what `course train` does
    model = exported.load(folder)                    # safetensors, no pickle
    model.predict(images)                            # probabilities (N, K)

`model.safetensors` and `model.json` are all that :func:`load` needs (for texts, the
tokenizer's files in `text/`, too).  `model.onnx` is for programs without PyTorch: it
takes preprocessed batches of any size and gives logits; that both give the same is
checked on test examples when the file is made.  Lesson 13.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from course_lib import datasets, files, training
from course_lib.datasets import delimited, layout, tables
from course_lib.datasets.image_files import named_file
from course_lib.datasets.layout import LeftOut
from course_lib.datasets.scaling import Rule
from course_lib.errors import CourseError
from course_lib.jobs import assembly
from course_lib.models import text as text_models
from course_lib.models import zoo
from course_lib.models.encoders import text_encoder
from course_lib.models.preprocessing import Preprocess

__all__ = ["TOLERANCE", "Answers", "Exported", "answers", "export", "load", "predict"]

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
    image_size, pictures, columns}: from the configuration, how pictures became 8 bits,
    and the columns of the table.  Returns {said: sentences, sha256, onnx: {
    largest_difference, tolerance, same_answers, examples} or {failed: reason}}.
    Lesson 13.
    """
    from safetensors.torch import save

    folder = Path(folder)
    state = backbone.model.state_dict()
    content = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
    stored = _stored(folder, content, onnx)
    if stored is not None:
        return stored
    path = files.atomic_write_bytes(folder / "model.safetensors", content)
    values = {
        "format": FORMAT,
        **(about or {}),
        "kind": backbone.kind,
        "classes": list(classes),
        "preprocessing": _preprocessing(backbone),
        "sha256": files.sha256(path),
    }
    if backbone.kind == "text":
        _save_text_files(backbone, folder / "text")
    found = {"sha256": values["sha256"]}
    said = [
        f"model.safetensors, {len(content) / 1e6:.1f} MB, sha256 "
        f"{values['sha256'][:16]}...; classes and preprocessing in model.json."
    ]
    if onnx:
        found["onnx"] = _onnx(backbone, folder / "model.onnx", examples)
        said.append(_onnx_sentence(found["onnx"]))
    found["said"] = said
    files.atomic_write_json(folder / "model.json", values | {"export": found}, False)
    return found


def _stored(folder, content, onnx):
    """What an earlier call said of the same weights, if its files are still there."""
    import hashlib

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


def _preprocessing(backbone) -> dict:
    if backbone.kind == "text":
        return {"max_length": backbone.preprocess.max_length}
    return asdict(backbone.preprocess)


def _save_text_files(backbone, folder: Path) -> None:
    """The tokenizer and the shape of the encoder: JSON files."""
    backbone.preprocess.tokenizer.save_pretrained(folder)
    backbone.model.config.save_pretrained(folder)


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


def _onnx_sentence(found) -> str:
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
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


# -- in ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    """A model folder in memory.  Lesson 13."""

    backbone: object
    classes: tuple[str, ...]
    about: dict

    def predict(self, examples, batch_size: int = 64) -> np.ndarray:
        """Probabilities (N, K) of uint8 images (N, H, W, 3) or of N texts."""
        if not len(examples):
            raise CourseError("predict: no examples, expected at least one.")
        nothing = np.zeros(len(examples), dtype=np.int64)
        inputs = list(examples) if self.backbone.kind == "text" else examples
        logits = training.predict(self.backbone, (inputs, nothing), None, batch_size)
        return torch.from_numpy(logits).double().softmax(dim=1).numpy()


def load(folder: str | Path) -> Exported:
    """The model of a folder that :func:`export` wrote, its weights checked by sha256.

    Raises CourseError when a file is missing or damaged.  Lesson 13.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    if (folder / "model" / "model.json").exists():  # the folder of the whole job
        folder = folder / "model"
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
    backbone.to_classes(len(classes))
    assembly.with_dropout(backbone, about["dropout"])
    backbone.model.load_state_dict(load_file(weights))
    backbone.model.eval()
    return Exported(backbone, classes, about)


@dataclass(frozen=True)
class Answers:
    """What a model says of a learner's examples.  Lesson 13.

    names (N,), probabilities (N, K).  notes: sentences on what was done to the examples
    and what was left out.  left_out: how many pictures have no answer.
    """

    names: list[str]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    notes: list[str]
    left_out: int = 0


def predict(
    folder: str | Path,
    data: str | Path,
    column: str | None = None,
    reading: tables.Reading | None = None,
):
    """(names, probabilities (N, K), classes) of :func:`answers`, its notes as warnings.

    Lesson 13.
    """
    found = answers(folder, data, column, reading=reading)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.names, found.probabilities, found.classes


def answers(
    folder: str | Path,
    data: str | Path,
    column: str | None = None,
    skip_unreadable: bool = False,
    reading: tables.Reading | None = None,
) -> Answers:
    """Answers for images or texts as people have them.

    data: an image file, a folder of images (with or without sub-folders), a table with
    a column of images or texts (``column``; by default the one that the model was
    trained on, else a usual name), or a .txt file with a text a line.  Pictures are
    scaled as in training.  reading: how a table is read.  Raises CourseError that names
    everything that cannot be read; with ``skip_unreadable`` such pictures are left out
    and named.  Lesson 13.
    """
    model, path = load(folder), Path(data)
    if not path.exists():
        raise CourseError(
            f"The data {path} do not exist.\nExpected: an image, a folder of images, a "
            "table or a .txt file.\nDo: check the path (--data)."
        )
    reading = reading or tables.Reading()
    kind = "text" if model.backbone.kind == "text" else "image"
    trained_on = (model.about.get("columns") or {}).get(kind)
    rows = partial(_rows, kind, column, trained_on, reading)
    if kind == "text":
        names, examples, notes, empty = _texts(path, rows, reading)
        notes = [*notes, *_cut(model.backbone, examples)]
        P = model.predict(examples)
        return Answers(names, P, model.classes, notes, empty)
    reader = datasets.Reader(
        model.about["image_size"],
        skip_unreadable=skip_unreadable,
        rule=Rule.from_dict(model.about.get("pictures")),
        option="--skip-unreadable",
    )
    names, images, left_out, said, empty = _images(path, rows, reader)
    notes = [*said, *reader.notes(), *left_out.sentences()]
    P = model.predict(images)
    return Answers(names, P, model.classes, notes, left_out.pictures + empty)


def _rows(kind, column, trained_on, reading, path) -> tuple[list, list, list, int]:
    """(names of the rows, texts or pictures, notes, rows left out) of a table."""
    usual = tables.TEXT if kind == "text" else tables.IMAGE
    usual = (trained_on, *usual) if trained_on else usual
    table = tables.read(path, [column] if column else usual, reading)
    found = table.column(f"{kind}_column", column, usual)
    table = table.complete([found])
    return table.names(), table[found], table.notes, table.left_out


def _texts(path: Path, rows, reading) -> tuple[list, list, list, int]:
    """(names, texts, notes, rows left out) of a table or a .txt file."""
    if path.is_dir() or path.suffix.lower() not in (*tables.ENDINGS, ".txt"):
        raise CourseError(
            f"{path} holds no texts.\nExpected: a table with a column of texts "
            f"({', '.join(tables.ENDINGS)}), or a .txt file with a text a line.\n"
            "Do: write the texts into one of these."
        )
    if path.suffix.lower() != ".txt":
        return rows(path)
    text, notes = delimited.decoded(
        path.read_bytes(), path, reading.encoding, reading.option
    )
    lines = delimited.split_lines(text)
    numbered = [(f"line {i + 1}", line) for i, line in enumerate(lines) if line.strip()]
    if not numbered:
        raise CourseError(
            f"{path} holds no text.\nExpected: a text a line.\nDo: check the file."
        )
    if len(numbered) < len(lines):
        notes.append(f"Empty lines passed over: {len(lines) - len(numbered)}.")
    names, texts = zip(*numbered)
    return list(names), list(texts), notes, 0


def _cut(backbone, texts) -> list[str]:
    """How many of these texts are longer than what the model reads, if any."""
    most = backbone.preprocess.max_length
    lengths = text_models.token_lengths(backbone, texts)
    cut, words = text_models.cut_share(lengths, most)
    if not cut:
        return []
    return [
        f"{words} are longer than the {most} tokens that this model reads: their end "
        "was cut."
    ]


def _images(path: Path, rows, reader):
    """(names, uint8 images (N, size, size, 3), left out, notes, rows without one)."""
    left_out, notes, empty, root = LeftOut(), [], 0, None
    if path.is_dir():
        files = layout.pictures_below(path, left_out)
        names = [layout.shown(file.relative_to(path).as_posix()) for file in files]
    elif path.suffix.lower() in tables.ENDINGS:
        _, names, notes, empty = rows(path)
        names = [name.strip() for name in names]
        files, root = [named_file(path.parent, name) for name in names], path.parent
    else:
        files, names = [path], [layout.shown(path.name)]
    reader.look(files, names)
    reader.fit(files)
    images, kept = reader.read(files, names)
    reader.check(path, root)
    reader.add_left_out(left_out)
    if not len(kept):
        said = "".join(f"\n{sentence}" for sentence in left_out.sentences())
        raise CourseError(
            f"{path} holds no image that can be read.{said}\nExpected: image files.\n"
            "Do: name another folder."
        )
    return [names[row] for row in kept], images, left_out, notes, empty
