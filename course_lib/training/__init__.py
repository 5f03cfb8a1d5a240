"""The training loop of the course, and what belongs to it.

One function, :func:`fit`, trains any classifier on arrays, data sets or loaders.  It
keeps the weights of the lowest validation loss, draws its batches from a seeded
generator, leaves frozen parts frozen (BatchNorm statistics included), and returns its
history as plain data.  Lessons 00, 02 and 03; schedules and groups in lesson 04.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import features as taps
from course_lib.models.features import forward, network, preprocess_of, to_device
from course_lib.training import checkpoints, distributed
from course_lib.training.freezing import train_mode

CACHE_BYTES = 1 << 29  # images whose tensors are larger are preprocessed per batch
EVALUATIONS = 20  # at most, when the length is given in steps


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators.  Lesson 00."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# -- numbers ----------------------------------------------------------------------


def accuracy(predictions, labels) -> float:
    """Share of right answers; ``predictions`` are labels (N,) or scores (N, K)."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim == 2:
        predictions = predictions.argmax(axis=1)
    if predictions.shape != labels.shape or not len(labels):
        raise CourseError(
            f"accuracy: predictions {predictions.shape} against labels {labels.shape}. "
            "Expected two arrays of the same length N >= 1."
        )
    return float((predictions == labels).mean())


def balanced_accuracy(predictions, labels) -> float:
    """Mean over classes of the share of right answers within the class."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim == 2:
        predictions = predictions.argmax(axis=1)
    members = [labels == c for c in np.unique(labels)]
    return float(np.mean([accuracy(predictions[m], labels[m]) for m in members]))


@dataclass
class History:
    """What happened during training, as plain lists: one entry for each evaluation.

    epoch: passes over the training data so far.  step: updates so far.  train_loss,
    train_accuracy: means over the batches since the entry before, in train mode and
    while the weights moved.  lr: rate of the first parameter group.  best_epoch: index
    of the entry whose weights were kept.  Lesson 00.
    """

    epoch: list[float] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    steps: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict:
        """Numbers, lists and booleans only: ready for json.dumps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> History:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


# -- data -------------------------------------------------------------------------


class Examples:
    """Training or evaluation data in one of two forms.

    ``inputs`` (a tensor, or a dict of tensors) and ``labels`` in memory; or, for a
    torch Dataset or DataLoader, a ``loader`` that is iterated as it is.
    """

    def __init__(self, data, preprocess, batch_size: int, where: str, cache=True):
        self.prepare = None
        self.loader = None
        self.classes = getattr(data, "classes", None)
        if isinstance(data, torch.utils.data.DataLoader):
            self.loader, self._preprocess = data, preprocess
            self.n, self.steps = len(data.dataset), len(data)
            self.classes = getattr(data.dataset, "classes", None)
            return
        images, labels = _inputs_and_labels(data, where)
        self.labels = _checked_labels(labels, len(images), where)
        self.n = len(self.labels)
        if not self.n:
            raise CourseError(
                f"The {where} data are empty.\nExpected: at least one example.\n"
                "Do: check the split or the folder that they were loaded from."
            )
        if self.classes is not None:
            _check_range(self.labels, len(self.classes), where)
        alone = self.n > 1 and self.n % batch_size == 1  # BatchNorm needs two examples
        self.steps = math.ceil(self.n / batch_size) - alone
        self.inputs, self.prepare = _prepared(images, preprocess, where, cache)

    def batch(self, rows: torch.Tensor):
        """Inputs and labels of the given rows; tokens end with the longest of them."""
        if isinstance(self.inputs, Mapping):
            some = {k: v[rows] for k, v in self.inputs.items()}
            return _trimmed(some), self.labels[rows]
        x = self.inputs[rows]
        return (self.prepare(x) if self.prepare else x), self.labels[rows]

    def endless(self, batch_size: int, generator: torch.Generator):
        """Training batches for ever, reshuffled at the start of each pass."""
        if self.loader is not None:
            return _Loaded(self._loaded)
        return Batches(self, batch_size, generator)

    def once(self, batch_size: int, together=None):
        """Every example once, in order, for evaluation; of several processes, mine."""
        if self.loader is not None:
            yield from self._loaded()
            return
        for rows in torch.arange(self.n).split(batch_size):
            own, weight = together.share(rows) if together else (rows, 1.0)
            if weight:
                yield self.batch(own)

    def _loaded(self):
        for x, y in self.loader:
            if getattr(x, "dtype", None) == torch.uint8 and self._preprocess:
                x = self._preprocess(x)
            yield x, torch.as_tensor(y)


class Batches:
    """Training batches for ever, reshuffled at the start of each pass.

    ``rows()`` gives the rows of the next batch alone.  ``state()`` and ``restore()``
    bring the order back in the middle of a pass: the rows still to come and the
    generator, which augmentations share.
    """

    def __init__(self, examples: Examples, batch_size: int, generator):
        self.examples, self.batch_size = examples, batch_size
        self.generator, self.left = generator, torch.empty(0, dtype=torch.int64)

    def rows(self) -> torch.Tensor:
        n = self.examples.n
        if len(self.left) == 0 or (len(self.left) == 1 and n > 1):
            self.left = torch.randperm(n, generator=self.generator)
        rows, self.left = self.left[: self.batch_size], self.left[self.batch_size :]
        return rows

    def __iter__(self):
        return self

    def __next__(self):
        return self.examples.batch(self.rows())

    def state(self) -> dict[str, torch.Tensor]:
        return {"left": self.left, "generator": self.generator.get_state()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self.left = state["left"]
        self.generator.set_state(state["generator"].clone())


class _Loaded:
    """The batches of a DataLoader for ever: their order is its own affair."""

    def __init__(self, passes: Callable):
        self.batches = (batch for _ in iter(int, 1) for batch in passes())

    def __iter__(self):
        return self.batches

    def __next__(self):
        return next(self.batches)


def _trimmed(tokens: dict) -> dict:
    """Tokens (N, T) without the columns that are padding in every row."""
    mask = tokens.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return tokens
    used = mask.any(dim=0).nonzero()
    last = int(used.max()) + 1 if len(used) else 1
    return {
        k: v[:, :last] if v.shape[:2] == mask.shape else v for k, v in tokens.items()
    }


def _inputs_and_labels(data, where: str):
    if hasattr(data, "texts") and hasattr(data, "labels"):
        return data.texts, data.labels
    if hasattr(data, "images") and hasattr(data, "labels"):
        return data.images, data.labels
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data
    if isinstance(data, torch.utils.data.Dataset):
        pairs = [data[i] for i in range(len(data))]
        inputs = [x if isinstance(x, str) else torch.as_tensor(x) for x, _ in pairs]
        if inputs and isinstance(inputs[0], torch.Tensor):
            inputs = torch.stack(inputs)
        return inputs, torch.as_tensor([int(y) for _, y in pairs])
    raise CourseError(
        f"The {where} data are of type {type(data).__name__}.\n"
        "Expected: an ImageDataset, a pair (inputs, labels), a torch Dataset or a "
        "DataLoader.\nDo: course_lib.datasets.from_arrays or from_folder makes one."
    )


def _checked_labels(labels, n: int, where: str) -> torch.Tensor:
    labels = torch.as_tensor(labels)
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise CourseError(
            f"The {where} labels are {labels.dtype}.\nExpected: whole numbers, the "
            "index of the class.\nDo: labels.astype('int64')."
        )
    if len(labels) != n:
        raise CourseError(
            f"The {where} data hold {n} inputs and {len(labels)} labels.\n"
            "Expected: one label for each input."
        )
    return labels.long()


def _check_range(labels: torch.Tensor, classes: int, where: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise CourseError(
            f"The {where} labels run from {low} to {high}.\nExpected: 0 to "
            f"{classes - 1}, one number for each of {classes} classes.\n"
            "Do: renumber the labels, or give the model a head of "
            f"{high + 1} outputs (backbone.to_classes({high + 1}))."
        )


def _prepared(images, preprocess, where: str, cache: bool):
    """(inputs, function applied per batch): preprocessed once when that fits."""
    if isinstance(images, Mapping):
        return images, None
    if isinstance(images, (list, tuple)) and images and isinstance(images[0], str):
        if preprocess is None:
            raise CourseError(f"The {where} data are texts; pass preprocess=tokenizer.")
        return dict(preprocess(list(images))), None
    x = images if isinstance(images, torch.Tensor) else torch.as_tensor(images)
    if x.dtype == torch.float64:
        x = x.float()
    if x.dtype.is_floating_point:
        return x, None
    if x.dtype != torch.uint8:
        raise CourseError(
            f"The {where} inputs are {x.dtype}.\nExpected: uint8 images (N, H, W, 3), "
            "or float features that need no preprocessing."
        )
    if preprocess is None:
        raise CourseError(
            f"The {where} inputs are uint8 images, and the model carries no "
            "preprocessing.\nExpected: the scaling that the weights were trained with."
            "\nDo: pass preprocess=..., or a Backbone from course_lib.zoo.load."
        )
    if len(x) == 0:
        return x.float(), None
    example = preprocess(x[:1])
    if not cache or example.numel() * example.element_size() * len(x) > CACHE_BYTES:
        return x, preprocess
    prepared = torch.empty((len(x), *example.shape[1:]), dtype=example.dtype)
    for start in range(0, len(x), 512):
        prepared[start : start + 512] = preprocess(x[start : start + 512])
    return prepared, None


# -- augmentation: augment(x, generator) -> x, on preprocessed batches -------------


def random_flips(p: float = 0.5, vertical: bool = False) -> Callable:
    """Mirror each image left-right with probability p, and top-bottom if asked.

    A function of a batch (N, C, H, W) and a torch.Generator.  Lesson 02.
    """

    def augment(x, generator):
        for axis in (3, 2) if vertical else (3,):
            chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < p
            x = torch.where(chosen.to(x.device), x.flip(axis), x)
        return x

    return augment


def random_dihedral() -> Callable:
    """One of the eight turns and mirrorings of a square picture, each equally likely.

    For pictures without an up and a down, such as wafers under a microscope.  A
    function of a batch (N, C, H, H) and a torch.Generator.  Lesson 02.
    """
    mirrored = random_flips(0.5, vertical=True)

    def augment(x, generator):
        chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        x = torch.where(chosen.to(x.device), x.transpose(2, 3), x)
        return mirrored(x, generator)

    return augment


def random_crop(pad: int) -> Callable:
    """Shift each image by up to ``pad`` pixels; the border shows the mean colour.

    A function of a batch (N, C, H, W) and a torch.Generator.  Lesson 02.
    """

    def augment(x, generator):
        n, _, height, width = x.shape
        shift = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator)
        rows = (shift[0] + torch.arange(height)).to(x.device)  # (N, H)
        columns = (shift[1] + torch.arange(width)).to(x.device)  # (N, W)
        padded = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1)  # (N, H', W', C)
        image = torch.arange(n, device=x.device)[:, None, None]
        cropped = padded[image, rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2)

    return augment


def compose(*augmentations: Callable) -> Callable:
    """Several augmentations, one after the other."""

    def augment(x, generator):
        for one in augmentations:
            x = one(x, generator)
        return x

    return augment


# -- optimizer and schedule -------------------------------------------------------


def exempt_from_decay(net: nn.Module) -> set[str]:
    """Names of norms, biases and what the model itself exempts.  Lesson 04."""
    own = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()
    return own | {name for name, p in net.named_parameters() if p.ndim < 2}


def param_groups(model, lr: float, weight_decay: float = 0.01) -> list[dict]:
    """Trainable parameters in two groups: weights with decay; norms, biases without.

    Ready for an optimizer, or for ``optimizer.add_param_group`` when a part is
    unfrozen later.  Parameters that the model itself exempts (timm's
    ``no_weight_decay``: position embeddings, class token) get no decay either.
    Lesson 04.
    """
    net = network(model)
    exempt = exempt_from_decay(net)
    decay, no_decay = [], []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            (no_decay if name in exempt else decay).append(parameter)
    groups = [(decay, weight_decay), (no_decay, 0.0)]
    return [
        dict(params=params, lr=lr, weight_decay=wd) for params, wd in groups if params
    ]


def lr_factor(step: int, steps: int, schedule="cosine", warmup: float = 0.1) -> float:
    """Learning rate at ``step`` of ``steps`` as a multiple of the base rate.

    Linear warm-up over the first ``warmup`` share of the steps, then "cosine" to zero
    (Loshchilov & Hutter 2017), "linear" to zero, or "constant".  A callable(step,
    steps) is used as it is.  Raises CourseError on an unknown name.  Lesson 04.
    """
    if callable(schedule):
        return float(schedule(step, steps))
    if schedule not in ("cosine", "linear", "constant"):
        raise CourseError(
            f"schedule={schedule!r} is unknown. Expected 'cosine', 'linear', "
            "'constant' or a function of (step, steps) that returns a factor."
        )
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    progress = (step - rise) / max(1, steps - rise)
    if schedule == "linear":
        return max(0.0, 1 - progress)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(
    model,
    optimizer="adamw",
    groups: list[dict] | None = None,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters, or over ``groups``.

    A ready optimizer is returned as it is.  Raises CourseError when everything is
    frozen.  Loshchilov & Hutter 2019 (AdamW); lesson 04.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    if groups is None:
        groups = param_groups(model, lr, weight_decay)
    if not groups:
        raise CourseError(
            "Nothing to train: every parameter is frozen.\nExpected: at least the "
            "head learns.\nDo: freezing.unfreeze(model.fc), or freeze_until(backbone, "
            "stage)."
        )
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
    if optimizer == "sgd":
        options = dict(lr=lr, weight_decay=weight_decay, momentum=momentum)
        return torch.optim.SGD(groups, **options)
    raise CourseError(
        f"optimizer={optimizer!r} is unknown. Expected 'adamw', 'sgd' or a "
        "torch.optim.Optimizer."
    )


def _check_covered(net: nn.Module, optimizer) -> None:
    """Raise if an on_epoch hook unfroze a parameter that the optimizer lacks."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and id(parameter) not in known:
            raise CourseError(
                f"{name} was unfrozen during training, but the optimizer does not hold "
                "it, so it would never learn.\nExpected: each newly unfrozen part is "
                "added.\nDo: for group in training.param_groups(part, lr): "
                "optimizer.add_param_group(group)."
            )


# -- the loop ---------------------------------------------------------------------


def fit(
    model,
    train,
    val=None,
    *,
    preprocess=None,
    epochs: int | None = None,
    steps: int | None = None,
    eval_every: int | None = None,
    lr: float = 1e-3,
    optimizer="adamw",
    param_groups: list[dict] | None = None,
    weight_decay: float = 0.01,
    momentum: float = 0.9,
    batch_size: int = 32,
    schedule="cosine",
    warmup: float = 0.1,
    patience: int | None = None,
    augment: Callable | None = None,
    label_smoothing: float = 0.0,
    loss: Callable | None = None,
    penalty: Callable | None = None,
    clip_norm: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    amp="auto",
    progress: bool | Callable = False,
    on_epoch=None,
    checkpoint: str | Path | None = None,
    device=None,
) -> History:
    """Train ``model`` in place and restore the weights of the lowest validation loss.

    model: a Backbone or a torch module that gives logits (N, K).  train, val:
    ImageDataset, TextDataset, (inputs, labels), torch Dataset or DataLoader; uint8
    images and texts are preprocessed, float features are taken as they are.
    Length: ``epochs`` passes, or ``steps`` updates (for comparisons at equal work; then
    evaluated every ``eval_every`` steps, at most 20 times).
    Rates: ``lr`` for all trainable parameters, or ``param_groups`` with rates of their
    own, or a ready optimizer; all follow ``schedule``.
    patience: stop after that many evaluations without a lower validation loss.
    penalty: f() -> scalar tensor that is added to the loss of each step, after the
    forward pass; the history's losses are without it.
    augment: f(x, generator) on preprocessed batches.  on_epoch: f(epoch, model,
    optimizer) before each epoch, or {epoch: f(model, optimizer)}, for example to
    unfreeze a stage and add its parameters.  amp: "bf16" or "fp16" autocast, True for
    bfloat16, False for none; "auto" means bfloat16 on CUDA only.  device: the
    profile's by default.  progress: a line that rewrites itself, or f(step, steps,
    history) after each update.  Frozen parameters stay out of the optimizer, and
    BatchNorm layers that are frozen keep their statistics.
    checkpoint: a file that is written after each evaluation and from which the same
    call goes on, to the same weights as without an interruption (bit for bit on one
    machine).  The hooks of finished epochs run again before the state comes back.
    Under `accelerate launch` each process computes its rows of the batches, which
    therefore count all processes; see :mod:`course_lib.training.distributed`.
    Raises CourseError on data that do not fit the head, on nothing to train, on a
    checkpoint of another run, and as soon as the loss is not finite.  Prechelt 1998
    (early stopping), Micikevicius et al. 2018 (mixed precision); lessons 00-05, 13.
    """
    from course_lib import profiles

    started = time.perf_counter()
    together = distributed.current()
    together.begin()
    net = network(model)
    preprocess = preprocess_of(model, preprocess)
    train = Examples(train, preprocess, batch_size, "training")
    val = None if val is None else Examples(val, preprocess, batch_size, "validation")
    steps, eval_every = _length(epochs, steps, eval_every, train.steps)
    device = getattr(together, "device", device or profiles.device())
    device = torch.device(device)
    net.to(device)
    ready_made = isinstance(optimizer, torch.optim.Optimizer)
    complete = not ready_made and param_groups is None
    optimizer = make_optimizer(
        model, optimizer, param_groups, lr, weight_decay, momentum
    )
    criterion = loss or nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    generator = torch.Generator().manual_seed(seed)
    autocast, scaler = _autocast(amp, device)
    state = _State(net, optimizer, scaler)
    with (
        isolated(seed + together.rank, threads),
        _Progress(progress if together.rank == 0 else False, steps) as bar,
    ):
        batches = train.endless(batch_size, generator)
        _check_head(net, train, val, device)
        facts = _facts(net, train, val, steps, eval_every, batch_size, seed, together)
        state.resume(checkpoint, facts, batches, together, on_epoch, model)
        history, ready = state.history, None
        for epoch, first in enumerate(range(0, steps, eval_every)):
            if epoch < len(history.step):
                continue
            if state.finished:
                break
            _call(on_epoch, epoch, model, optimizer)
            learning = [p.requires_grad for p in net.parameters()]
            if learning != ready:  # a wrapper counts on what learned when it was made
                run, ready = together.wrapped(net, optimizer), learning
            inner = together.inner(net)
            if complete:
                _check_covered(inner, optimizer)
            train_mode(inner)
            losses, right, seen = [], 0, 0
            for step in range(first, min(first + eval_every, steps)):
                x, y, weight, n = _next_batch(
                    batches, augment, generator, device, together
                )
                factor = lr_factor(step, steps, schedule, warmup)
                for group in optimizer.param_groups:
                    group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
                with autocast():
                    logits = forward(run, x)
                    value = criterion(logits, y)
                if together.size > 1:
                    value = value * weight  # averaged later: the mean over all rows
                    (mean,) = together.total(float(value.detach()) / together.size)
                    losses.append(_finite(torch.tensor(mean), step, optimizer))
                else:
                    losses.append(_finite(value, step, optimizer))
                if penalty is not None:
                    value = value + penalty()
                    _finite(value, step, optimizer)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(value).backward()
                if clip_norm is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(inner.parameters(), clip_norm)
                scaler.step(optimizer)
                scaler.update()
                hits = int((logits.detach().argmax(dim=1) == y).sum())
                right += hits if weight else 0
                seen += n
                bar.step(step + 1, history)
            history.epoch.append((step + 1) / train.steps)
            history.step.append(step + 1)
            history.train_loss.append(float(np.mean(losses)))
            history.train_accuracy.append(together.total(right)[0] / seen)
            history.lr.append(optimizer.param_groups[0]["lr"])
            history.best_epoch = epoch
            if val is not None:
                val_loss, val_accuracy = _score(inner, val, device, together=together)
                history.val_loss.append(val_loss)
                history.val_accuracy.append(val_accuracy)
                if val_loss < state.best_loss:
                    state.best_loss = val_loss
                    state.best = _snapshot(together.weights(net))
                history.best_epoch = int(np.argmin(history.val_loss))
            bar.update(step + 1, history)
            if patience is not None and epoch - history.best_epoch >= patience:
                history.stopped_early = step + 1 < steps
                state.finished = True
            history.steps = step + 1
            history.seconds = state.seconds_before + time.perf_counter() - started
            state.store(checkpoint, facts, batches, together)
    if state.best is not None:
        net.load_state_dict(state.best)
    elif together.inner(net) is not net:
        net.load_state_dict(together.weights(net))
    net.eval()
    return history


def _next_batch(batches, augment, generator, device, together):
    """(inputs, labels, weight, size of the whole batch) of this process.

    An augmentation draws for the whole batch, so that one process or several see the
    same pictures.
    """
    if augment is None and hasattr(batches, "rows"):
        rows = batches.rows()
        own, weight = together.share(rows)
        x, y = batches.examples.batch(own)
        return to_device(x, device), y.to(device), weight, len(rows)
    x, y = next(batches)
    x, y = to_device(x, device), y.to(device)
    if augment is not None:
        x = augment(x, generator)
    n = len(y)
    if isinstance(x, Mapping):
        x = {key: together.share(values)[0] for key, values in x.items()}
    else:
        x, _ = together.share(x)
    y, weight = together.share(y)
    return x, y, weight, n


# -- interruptions ----------------------------------------------------------------


class _State:
    """What a run has reached; it can be stored after each evaluation and come back."""

    def __init__(self, net, optimizer, scaler):
        self.net, self.optimizer, self.scaler = net, optimizer, scaler
        self.history, self.best, self.best_loss = History(), None, math.inf
        self.finished, self.seconds_before = False, 0.0

    def store(self, path, facts: dict, batches, together) -> None:
        """Write everything to ``path``, if there is one; the first process does."""
        if path is None:
            return
        random_states = together.every(torch.get_rng_state())
        weights = together.weights(self.net)
        moments, groups = checkpoints.optimizer_state(self.optimizer)
        moments = {name: together.whole(tensor) for name, tensor in moments.items()}
        if together.rank:
            return together.wait()
        parts = {
            "model": weights,
            "best": self.best or {},
            "optimizer": moments,
            "batches": batches.state(),
            "random": {"cpu": random_states} | _cuda_random_state(),
        }
        tensors = {
            f"{part}.{name}": tensor
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        values = {
            "facts": facts,
            "history": self.history.to_dict(),
            "finished": self.finished,
            "optimizer": groups,
            "scaler": self.scaler.state_dict(),
        }
        checkpoints.save(path, tensors, values)
        together.wait()

    def resume(self, path, facts, batches, together, on_epoch, model) -> None:
        """Bring back what ``path`` holds, if it is there."""
        if path is None:
            return
        if not isinstance(batches, Batches):
            raise CourseError(
                "fit: a run on a DataLoader cannot be taken up again: its order is its "
                "own.\nExpected: data in memory with checkpoint=.\n"
                "Do: pass an ImageDataset or arrays, or leave checkpoint out."
            )
        if not Path(path).exists():
            return
        tensors, values = checkpoints.load(path)
        _check_facts(path, values.get("facts"), facts)
        self.history = History.from_dict(values["history"])
        for epoch in range(len(self.history.step)):
            _call(on_epoch, epoch, model, self.optimizer)
        parts: dict = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        self.net.load_state_dict(parts.get("model", {}))
        self.best = parts.get("best")
        if self.history.val_loss:
            self.best_loss = min(self.history.val_loss)
        moments = parts.get("optimizer", {})
        checkpoints.load_optimizer(self.optimizer, moments, values["optimizer"])
        self.scaler.load_state_dict(values["scaler"])
        batches.restore(parts["batches"])
        # set_rng_state reads from the start of the storage: a row needs a copy
        torch.set_rng_state(parts["random"].pop("cpu")[together.rank].clone())
        for number, random_state in parts["random"].items():
            torch.cuda.set_rng_state(random_state.clone(), int(number))
        self.finished = values["finished"]
        self.seconds_before = self.history.seconds


def _cuda_random_state() -> dict[str, torch.Tensor]:
    if not torch.cuda.is_initialized():
        return {}
    return {str(i): state for i, state in enumerate(torch.cuda.get_rng_state_all())}


def _facts(net, train, val, steps, eval_every, batch_size, seed, together) -> dict:
    """What a stored run and the present one must have in common."""
    shapes = [(name, tuple(p.shape)) for name, p in net.named_parameters()]
    return {
        "updates": steps,
        "updates between evaluations": eval_every,
        "batch size": batch_size,
        "seed": seed,
        "training examples": train.n,
        "validation examples": val.n if val is not None else 0,
        "processes": together.size,
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


def _length(epochs, steps, eval_every, per_epoch) -> tuple[int, int]:
    """(number of updates, updates between evaluations)."""
    if (epochs is None) == (steps is None):
        raise CourseError(
            "fit: give either epochs=... or steps=..., and not both.\n"
            "Expected: epochs for passes over the data, steps for a number of updates."
        )
    wanted = epochs if steps is None else steps
    if int(wanted) != wanted or wanted < 1:
        raise CourseError(f"fit: a length of {wanted!r}, expected a whole number >= 1.")
    if steps is None:
        return int(epochs) * per_epoch, eval_every or per_epoch
    return int(steps), eval_every or max(per_epoch, math.ceil(steps / EVALUATIONS))


def _check_head(net, train, val, device) -> None:
    """Compare the head with the labels, on two examples in evaluation mode."""
    if train.loader is not None:
        x, labels = next(train.once(0))
        x = x[:2] if isinstance(x, torch.Tensor) else x
    else:
        x, _ = train.batch(torch.arange(min(2, train.n)))
        labels = train.labels
        if val is not None and val.loader is None:
            labels = torch.cat([labels, val.labels])
    with torch.no_grad(), taps.eval_mode(net):
        shape = tuple(forward(net, to_device(x, device)).shape)
    if len(shape) != 2:
        raise CourseError(
            f"The model gives outputs of shape {shape}.\nExpected: logits (N, classes)."
            "\nDo: give it a classification head."
        )
    if train.classes is not None and shape[1] != len(train.classes):
        raise CourseError(
            f"The head has {shape[1]} outputs, the data {len(train.classes)} classes.\n"
            "Expected: one output for each class.\n"
            f"Do: backbone.to_classes({len(train.classes)})."
        )
    if labels.ndim == 1:
        _check_range(labels, shape[1], "training and validation")


def _finite(value: torch.Tensor, step: int, optimizer) -> float:
    number = float(value.detach())
    if math.isfinite(number):
        return number
    rate = optimizer.param_groups[0]["lr"]
    raise CourseError(
        f"The loss is {number} at step {step}, at a learning rate of {rate:.3g}.\n"
        "Expected: a finite number.\nDo: lower lr by a factor of 3 to 10, lengthen the "
        "warm-up or pass clip_norm=1.0; if it happens at step 0, look for NaN in the "
        "inputs and the weights."
    )


def _call(on_epoch, epoch: int, model, optimizer) -> None:
    if isinstance(on_epoch, Mapping):
        if epoch in on_epoch:
            on_epoch[epoch](model, optimizer)
    elif on_epoch is not None:
        on_epoch(epoch, model, optimizer)


def _snapshot(state: Mapping[str, torch.Tensor]) -> dict:
    return {key: value.detach().clone() for key, value in state.items()}


PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _autocast(amp, device: torch.device):
    """(context of the forward pass, scaler of the loss) of a precision.

    Gradients of float16 underflow, so that the loss is scaled up for them.
    """
    if amp not in ("auto", True, False, *PRECISIONS):
        raise CourseError(
            f"amp={amp!r} is unknown, expected 'auto', True, False, 'bf16' or 'fp16'."
        )
    if amp is True or (amp == "auto" and device.type == "cuda"):
        amp = "bf16"
    dtype = PRECISIONS.get(amp)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    if dtype is None:
        return nullcontext, scaler
    return lambda: torch.autocast(device.type, dtype=dtype), scaler


@contextmanager
def isolated(seed: int, threads: int | None):
    """Dropout draws from ``seed``; the caller's generator and threads come back."""
    before = torch.get_num_threads()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class _Progress:
    """One line that rewrites itself, and leaves nothing behind that varies."""

    def __init__(self, wanted: bool | Callable, steps: int):
        quiet = os.environ.get("CI") or os.environ.get("COURSE_PROGRESS") == "0"
        self.call = wanted if callable(wanted) else None
        self.wanted = bool(wanted) and not quiet and self.call is None
        self.steps, self.handle = steps, None

    def __enter__(self):
        if self.wanted:
            from IPython import get_ipython

            if get_ipython() is not None:
                from IPython.display import display

                self.handle = display(_Line("training"), display_id=True)
        return self

    def step(self, step: int, history: History) -> None:
        if self.call is not None:
            self.call(step, self.steps, history)

    def update(self, step: int, history: History) -> None:
        if not self.wanted:
            return
        loss = history.train_loss[-1]
        text = f"step {step} of {self.steps}, training loss {loss:.3f}"
        if history.val_loss:
            text += f", validation accuracy {history.val_accuracy[-1]:.3f}"
        self._show(text)

    def _show(self, text: str) -> None:
        if self.handle is not None:
            self.handle.update(_Line(text))
        else:
            print("\r" + text.ljust(78), end="", flush=True)

    def __exit__(self, *_):
        if self.wanted:
            self._show("")


class _Line(str):
    def __repr__(self) -> str:
        return str(self)


# -- evaluation -------------------------------------------------------------------


def predict(model, data, preprocess=None, batch_size: int = 64) -> np.ndarray:
    """Logits (N, K) float32 in evaluation mode, in the data's order.  Lesson 00."""
    return _logits(model, data, preprocess, batch_size)[0]


def evaluate(model, data, preprocess=None, batch_size: int = 64) -> dict:
    """Loss, accuracy and every prediction, in evaluation mode.

    Returns {loss: mean cross-entropy in nats, accuracy, balanced_accuracy,
    predictions (N,), probabilities (N, K), labels (N,)}.  Raises CourseError on empty
    data or labels outside the head's range.  Lesson 00.
    """
    logits, labels = _logits(model, data, preprocess, batch_size)
    _check_range(labels, logits.shape[1], "evaluation")
    scores = torch.from_numpy(logits).double()
    predictions = logits.argmax(axis=1)
    return {
        "loss": float(F.cross_entropy(scores, labels)),
        "accuracy": accuracy(predictions, labels),
        "balanced_accuracy": balanced_accuracy(predictions, labels),
        "predictions": predictions,
        "probabilities": scores.softmax(dim=1).numpy(),
        "labels": labels.numpy(),
    }


def _logits(model, data, preprocess, batch_size):
    net = network(model)
    preprocess = preprocess_of(model, preprocess)
    examples = Examples(data, preprocess, batch_size, "evaluation", cache=False)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    outputs, labels = [], []
    with torch.no_grad(), taps.eval_mode(net):
        for x, y in examples.once(batch_size):
            outputs.append(forward(net, to_device(x, device)).float().cpu())
            labels.append(y)
    return torch.cat(outputs).numpy(), torch.cat(labels)


def _score(net, examples: Examples, device, batch_size: int = 64, together=None):
    """(mean cross-entropy, accuracy), for the loop."""
    total, right, n = 0.0, 0, 0
    share = together if together is not None and together.shares_evaluation else None
    with torch.no_grad(), taps.eval_mode(net):
        for x, y in examples.once(batch_size, share):
            logits, y = forward(net, to_device(x, device)).float(), y.to(device)
            total += float(F.cross_entropy(logits, y, reduction="sum"))
            right += int((logits.argmax(dim=1) == y).sum())
            n += len(y)
    if together is not None:
        total, right, n = together.total(total, right, n)
    return total / n, right / n


# -- heads on cached features -----------------------------------------------------


class Standardise(nn.Module):
    """(x - mean) / std by column, with the statistics of the training features."""

    def __init__(self, features: np.ndarray):
        super().__init__()
        features = torch.as_tensor(features).float()
        self.register_buffer("mean", features.mean(dim=0))
        std = features.std(dim=0, correction=0)
        self.register_buffer("std", torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x):  # (N, F) -> (N, F)
        return (x - self.mean) / self.std


def make_head(
    num_features: int,
    num_classes: int,
    hidden: int | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    standardise=None,
) -> nn.Module:
    """A linear head, or an MLP with one hidden layer, ReLU and dropout.

    ``standardise``: training features (N, num_features) whose mean and deviation the
    head divides out first, so that it still takes raw features.  Lesson 03.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        if standardise is not None:
            layers.append(Standardise(standardise))
        if hidden is not None:
            layers += [nn.Linear(num_features, hidden), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(hidden or num_features, num_classes))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def fit_head(
    features,
    labels,
    val=None,
    *,
    num_classes: int | None = None,
    hidden: int | None = None,
    dropout: float = 0.0,
    standardise: bool = True,
    seed: int = 0,
    **fit_options,
) -> tuple[nn.Module, History]:
    """Train a head on cached features (N, F); returns (head, History).

    The other half of :func:`models.features.extract`: an epoch costs a matrix
    product, not a pass through the backbone.  val: (features, labels).  fit_options go
    to :func:`fit`.  Raises CourseError as fit does.  Lesson 03.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or not len(features):
        raise CourseError(
            f"fit_head: features of shape {features.shape}. Expected (N, F), N >= 1, "
            "as features.extract returns them."
        )
    num_classes = num_classes or int(np.max(labels)) + 1
    head = make_head(
        features.shape[1],
        num_classes,
        hidden,
        dropout,
        seed,
        standardise=features if standardise else None,
    )
    return head, fit(head, (features, labels), val, seed=seed, **fit_options)


def attach_head(backbone, head: nn.Module):
    """Put a head trained on cached features into its backbone; returns the backbone.

    A copy of the head goes in, so that training the whole leaves the original alone.
    Raises CourseError for a classifier of several modules.  Lesson 03.
    """
    backbone.model.set_submodule(backbone.head, copy.deepcopy(head))
    return backbone
