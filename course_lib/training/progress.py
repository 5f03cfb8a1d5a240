"""What a run reports: its history, and the line that shows how far it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class History:
    """What happened during training, as plain lists: one entry for each evaluation.

    epoch: passes over the training data so far.  step: updates so far.  train_loss,
    train_accuracy: means over the batches since the entry before, in train mode and
    while the weights moved.  lr: rate of the first parameter group.  best_epoch: index
    of the entry whose weights were kept.
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


@dataclass
class Tally:
    """Loss of each batch, right answers and examples since the last evaluation."""

    losses: list[float] = field(default_factory=list)
    right: int = 0
    seen: int = 0


class Progress:
    """One line that rewrites itself, and leaves nothing behind that varies."""

    def __init__(self, wanted: bool | Callable, steps: int):
        quiet = os.environ.get("CI") or os.environ.get("COURSE_PROGRESS") == "0"
        self.call = wanted if callable(wanted) else None
        self.wanted = bool(wanted) and not quiet and self.call is None
        self.steps, self.handle = steps, None

    def __enter__(self):
        if self.wanted:
            from IPython import get_ipython
            from IPython.display import display

            if get_ipython() is not None:
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
