"""A training run on disk: tensors and plain values in one file, whole or not at all.

What a run needs to go on exactly where it stopped: weights, the best weights so far,
the optimizer's moments, the generators and the rows of the pass that are still to come
are tensors; everything else is plain JSON in the header of the same safetensors file.
No pickle, and no moment at which one half is newer than the other.  Lesson 13.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from course_lib import files
from course_lib.errors import CourseError

__all__ = ["load", "load_optimizer", "optimizer_state", "save"]

HEADER = "course"  # key of the plain values in the file's header


def save(path: str | os.PathLike, tensors: dict, values: dict) -> Path:
    """Write named tensors and JSON-ready values; the old file stands until then."""
    from safetensors.torch import save as serialised

    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    header = {HEADER: json.dumps(values, allow_nan=False)}
    return files.atomic_write_bytes(path, serialised(plain, metadata=header))


def load(path: str | os.PathLike) -> tuple[dict, dict]:
    """(tensors, values) as they were saved.  Raises CourseError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stored:
            values = json.loads(stored.metadata()[HEADER])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise CourseError(
            f"{path} is no checkpoint of this course ({error}).\nExpected: the file "
            "that an earlier run wrote.\nDo: remove it; the training then starts again."
        ) from None
    return tensors, values


def optimizer_state(optimizer) -> tuple[dict, dict]:
    """An optimizer's state as (named tensors, JSON-ready values)."""
    whole = optimizer.state_dict()
    tensors, state = {}, {}
    for number, entries in whole["state"].items():
        state[str(number)] = {}
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{key}"] = value
            else:
                state[str(number)][key] = value
    groups = [{k: v for k, v in g.items() if k != "params"} for g in
              whole["param_groups"]]  # fmt: skip
    return tensors, {"state": state, "groups": groups}


def load_optimizer(optimizer, tensors: dict, values: dict) -> None:
    """The inverse of :func:`optimizer_state`, into an optimizer of the same groups.

    Moments get the memory layout of their parameters, which they had: sums in another
    order would differ in the last bit.  Raises CourseError when the groups differ.
    """
    ours = optimizer.state_dict()["param_groups"]
    if len(ours) != len(values["groups"]):
        raise CourseError(
            f"The stored run had {len(values['groups'])} parameter groups, this one "
            f"has {len(ours)}.\nExpected: the same set-up as when it was stored.\n"
            "Do: use another folder, or remove the stored state."
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {int(number): dict(entries) for number, entries in values["state"].items()}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state[int(number)][key] = tensor
    groups = []
    for mine, theirs in zip(ours, values["groups"]):
        pairs = {
            key: tuple(value) if isinstance(mine.get(key), tuple) else value
            for key, value in theirs.items()
        }
        groups.append(pairs | {"params": mine["params"]})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
