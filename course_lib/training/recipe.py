"""What a training run can be told beside its length, its rate and its seed.

One :class:`Recipe` holds it all.  What most runs ask for stands in it directly: the
batch size, an augmentation, how often to evaluate.  What few ask for stands in three
groups: how the weights move (:class:`Optimization`), what is minimised
(:class:`Objective`), and where and how the run is carried out (:class:`Runtime`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from course_lib.errors import CourseError
from course_lib.training.optimization import make_optimizer
from course_lib.training.schedules import lr_factor


@dataclass(frozen=True)
class Optimization:
    """How the weights move.

    optimizer: "adamw", "sgd" or a ready torch.optim.Optimizer.  param_groups: groups
    with rates of their own, which then stand for the run's ``lr``.  weight_decay: of
    weights; norms and biases have none.  momentum: of SGD.  schedule: "cosine",
    "linear", "constant" or f(step, steps) -> factor, by which all rates are
    multiplied.  warmup: share of the updates in which they rise to their full height,
    before a decay by name; a function is the whole schedule.
    clip_norm: the longest gradient.  Loshchilov & Hutter 2017, 2019; Pascanu et al.
    2013 (clipping).
    """

    optimizer: str | torch.optim.Optimizer = "adamw"
    param_groups: list[dict] | None = None
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: str | Callable[[int, int], float] = "cosine"
    warmup: float = 0.1
    clip_norm: float | None = None

    @property
    def complete(self) -> bool:
        """Are all parameters that learn to be in it, now and later?"""
        ready_made = isinstance(self.optimizer, torch.optim.Optimizer)
        return not ready_made and self.param_groups is None

    def build(self, model, lr: float) -> torch.optim.Optimizer:
        """The optimizer of ``model``'s trainable parameters."""
        return make_optimizer(
            model, self.optimizer, self.param_groups, lr, self.weight_decay,
            self.momentum,
        )  # fmt: skip

    def set_rates(self, optimizer, step: int, steps: int) -> None:
        """Give every parameter group its rate at ``step`` of ``steps``."""
        factor = lr_factor(step, steps, self.schedule, self.warmup)
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


@dataclass(frozen=True)
class Objective:
    """What is minimised: the loss of a batch, and a penalty on anything else.

    loss: f(logits (n, K), labels (n,)) -> scalar; cross-entropy with
    ``label_smoothing`` when None.  penalty: f() -> scalar tensor that is added after
    the forward pass; the history's losses are without it.  Szegedy et al. 2016 (label
    smoothing).
    """

    loss: Callable | None = None
    label_smoothing: float = 0.0
    penalty: Callable[[], torch.Tensor] | None = None

    def __call__(self, logits, labels) -> torch.Tensor:
        if self.loss is not None:
            return self.loss(logits, labels)
        return cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class Runtime:
    """Where and how a run is carried out; its outcome hardly depends on it.

    device: the profile's when None.  amp: "bf16" or "fp16" autocast, True for
    bfloat16, False for none; "auto" is bfloat16 on CUDA only, "native" also on a CPU
    that has instructions for it (AVX-512 BF16, AMX).  threads: of torch, for the run
    alone.  progress: a line that rewrites itself, or f(step, steps, history) after each
    update.  checkpoint: a file that is written after each evaluation and from which the
    same call goes on, to the same weights as without an interruption (bit for bit on
    one machine); the hooks of finished epochs run again before the state comes back.
    Micikevicius et al. 2018 (mixed precision).
    """

    device: str | torch.device | None = None
    amp: str | bool = "auto"
    threads: int | None = None
    progress: bool | Callable = False
    checkpoint: str | Path | None = None


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, beside length, rate and seed.

    by_length: batches of texts of like length, which costs less padding (images: as
    ever).  augment: f(x, generator) on preprocessed batches.  preprocess: the model's
    own when None.  eval_every: updates between evaluations; None: one pass over the
    data or, for a length in steps, as many as give at most 20 evaluations.  patience:
    stop after that many evaluations without a lower validation loss (Prechelt 1998).
    on_epoch: f(epoch, model, optimizer) before each epoch, or {epoch: f(model,
    optimizer)}, for example to unfreeze a stage and add its parameters.
    Raises CourseError when a group is given as something else.
    """

    batch_size: int = 32
    by_length: bool = False
    augment: Callable | None = None
    preprocess: Callable | None = None
    eval_every: int | None = None
    patience: int | None = None
    on_epoch: Callable | Mapping[int, Callable] | None = None
    optimization: Optimization = Optimization()
    objective: Objective = Objective()
    runtime: Runtime = Runtime()

    def __post_init__(self):
        for group in fields(self)[-3:]:
            given, kind = getattr(self, group.name), type(group.default)
            if not isinstance(given, kind):
                raise CourseError(
                    f"Recipe: {group.name} is of type {type(given).__name__}.\n"
                    f"Expected: a training.{kind.__name__}.\nDo: "
                    f"{group.name}=training.{kind.__name__}(...), with its fields."
                )

    def before_epoch(self, epoch: int, model, optimizer) -> None:
        """Call what ``on_epoch`` has for this epoch."""
        if isinstance(self.on_epoch, Mapping):
            if epoch in self.on_epoch:
                self.on_epoch[epoch](model, optimizer)
        elif self.on_epoch is not None:
            self.on_epoch(epoch, model, optimizer)


STANDARD = Recipe()
