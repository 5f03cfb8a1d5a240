"""A training run on disk: tensors and plain values in one file, whole or not at all.

What a run needs to go on exactly where it stopped: weights, the best weights so far,
the optimizer's moments, the generators and the rows of the pass that are still to come
are tensors; everything else is plain JSON in the header of the same safetensors file.
No pickle, and no moment at which one half is newer than the other.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised

from course_lib import files
from course_lib.errors import CourseError
from course_lib.training.batches import Batches
from course_lib.training.progress import History

HEADER = "course"  # key of the plain values in the file's header


def save(path: str | os.PathLike, tensors: dict, values: dict) -> Path:
    """Write named tensors and JSON-ready values; the old file stands until then."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    header = {HEADER: json.dumps(values, allow_nan=False)}
    return files.atomic_write_bytes(path, serialised(plain, metadata=header))


def load(path: str | os.PathLike) -> tuple[dict, dict]:
    """(tensors, values) as they were saved.  Raises CourseError for a damaged file."""
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


class Checkpoint:
    """The file of one run: written after each evaluation, read when it goes on.

    Without a path both do nothing.  run: a training.run.Run.
    """

    def __init__(self, path: str | os.PathLike | None):
        self.path = None if path is None else Path(path)

    def store(self, run) -> None:
        """Write all that ``run`` has reached; of several processes the first does."""
        if self.path is None:
            return
        processes = run.processes
        random_states, on_gpus = processes.every(torch.get_rng_state()), ()
        if torch.cuda.is_initialized():
            on_gpus = enumerate(torch.cuda.get_rng_state_all())
        weights = processes.weights(run.net)
        moments, groups = optimizer_state(run.optimizer)
        moments = {name: processes.whole(tensor) for name, tensor in moments.items()}
        if processes.rank:
            return processes.wait()
        parts = {
            "model": weights,
            "best": run.best or {},
            "optimizer": moments,
            "batches": run.feed.batches.state(),
            "random": {"cpu": random_states} | {str(i): s for i, s in on_gpus},
        }
        tensors = {
            f"{part}.{name}": tensor
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        values = {
            "facts": _facts(run),
            "history": run.history.to_dict(),
            "finished": run.finished,
            "optimizer": groups,
            "scaler": run.precision.scaler.state_dict(),
        }
        save(self.path, tensors, values)
        processes.wait()

    def restore(self, run) -> None:
        """Bring ``run`` to where the file says, if there is one.

        Raises CourseError for a damaged file, for the file of another run, and for
        data whose order cannot be brought back.
        """
        if self.path is None:
            return
        if not isinstance(run.feed.batches, Batches):
            raise CourseError(
                "fit: a run on a DataLoader cannot be taken up again: its order is its "
                "own.\nExpected: data in memory with checkpoint=.\n"
                "Do: pass an ImageDataset or arrays, or leave checkpoint out."
            )
        if not self.path.exists():
            return
        tensors, values = load(self.path)
        _check_facts(self.path, values.get("facts"), _facts(run))
        run.history = History.from_dict(values["history"])
        for epoch in range(len(run.history.step)):
            run.recipe.before_epoch(epoch, run.model, run.optimizer)
        parts: dict = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        run.net.load_state_dict(parts.get("model", {}))
        run.best = parts.get("best")
        if run.history.val_loss:
            run.best_loss = min(run.history.val_loss)
        load_optimizer(run.optimizer, parts.get("optimizer", {}), values["optimizer"])
        run.precision.scaler.load_state_dict(values["scaler"])
        run.feed.batches.restore(parts["batches"])
        # set_rng_state reads from the start of the storage: a row needs a copy
        torch.set_rng_state(parts["random"].pop("cpu")[run.processes.rank].clone())
        for number, random_state in parts["random"].items():
            torch.cuda.set_rng_state(random_state.clone(), int(number))
        run.finished = values["finished"]
        run.seconds_before = run.history.seconds


def _facts(run) -> dict:
    """What a stored run and the present one must have in common."""
    shapes = [(name, tuple(p.shape)) for name, p in run.net.named_parameters()]
    return {
        "updates": run.steps,
        "updates between evaluations": run.eval_every,
        "batch size": run.recipe.batch_size,
        "seed": run.seed,
        "training examples": run.train.n,
        "validation examples": run.val.n if run.val is not None else 0,
        "processes": run.processes.size,
        "parameters": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
    }


def _check_facts(path, stored, facts) -> None:
    different = [k for k in facts if (stored or {}).get(k) != facts[k]]
    if different:
        name = different[0]
        raise CourseError(
            f"{path} belongs to another run: {name} was {(stored or {}).get(name)!r}, "
            f"now {facts[name]!r}.\nExpected: the run that wrote it.\n"
            "Do: name another file, or remove this one to start again."
        )
