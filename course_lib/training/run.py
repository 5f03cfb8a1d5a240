"""What stands around the updates of a training run, from its set-up to its history."""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from course_lib import profiles
from course_lib.errors import CourseError
from course_lib.models.features import (
    eval_mode,
    forward,
    network,
    preprocess_of,
    to_device,
)
from course_lib.training import distributed
from course_lib.training.batches import Examples, Feed, check_labels
from course_lib.training.evaluation import score
from course_lib.training.freezing import train_mode
from course_lib.training.optimization import check_covered
from course_lib.training.precision import Precision
from course_lib.training.progress import History, Progress, Tally
from course_lib.training.recipe import Recipe
from course_lib.training.resume import Checkpoint

EVALUATIONS = 20  # at most, when the length is given in steps


class Run:
    """One training run: its parts, and what it has reached.

    The loop takes batches from ``feed``, updates by ``optimizer`` and ``precision``,
    and calls the methods in the order in which they stand here.  ``history``, ``best``
    (the weights of the lowest validation loss) and ``finished`` are what a checkpoint
    stores beside weights and moments.
    Raises CourseError on bad data and a bad recipe.
    """

    def __init__(self, model, train, val, length, lr: float, seed: int, recipe: Recipe):
        self.started, self.seconds_before = time.perf_counter(), 0.0
        if not isinstance(recipe, Recipe):
            raise CourseError(
                f"fit: recipe is of type {type(recipe).__name__}.\n"
                "Expected: a training.Recipe.\nDo: recipe=training.Recipe(...)."
            )
        self.model, self.recipe, self.seed = model, recipe, seed
        self.processes = distributed.current()
        self.processes.begin()
        self.net = network(model)
        preprocess = preprocess_of(model, recipe.preprocess)
        batch_size = recipe.batch_size
        self.train = Examples(train, preprocess, batch_size, "training")
        self.val = None
        if val is not None:
            self.val = Examples(val, preprocess, batch_size, "validation")
        self.steps, self.eval_every = _length(
            *length, recipe.eval_every, self.train.steps
        )
        wanted = self.processes.device or recipe.runtime.device or profiles.device()
        self.device = torch.device(wanted)
        self.net.to(self.device)
        self.optimizer = recipe.optimization.build(model, lr)
        self.precision = Precision(recipe.runtime.amp, self.device)
        self.feed = Feed(self.train, recipe, seed, self.device, self.processes)
        shown = recipe.runtime.progress if self.processes.rank == 0 else False
        self.progress = Progress(shown, self.steps)
        self.checkpoint = Checkpoint(recipe.runtime.checkpoint)
        self.history, self.best, self.best_loss = History(), None, math.inf
        self.finished, self.learning = False, None

    def start(self) -> None:
        """Compare head and labels, and go on from the checkpoint if there is one."""
        self._check_head()
        self.checkpoint.restore(self)

    def epochs(self) -> Iterator[tuple[int, range]]:
        """(epoch, its updates) of what is left; an epoch ends with an evaluation."""
        for epoch, first in enumerate(range(0, self.steps, self.eval_every)):
            if epoch < len(self.history.step):
                continue
            if self.finished:
                break
            yield epoch, range(first, min(first + self.eval_every, self.steps))

    def begin(self, epoch: int):
        """Hooks and modes of an epoch; returns the network as the loop calls it."""
        self.recipe.before_epoch(epoch, self.model, self.optimizer)
        learning = [p.requires_grad for p in self.net.parameters()]
        # a wrapper counts on what learned when it was made
        if learning != self.learning:
            self.called = self.processes.wrapped(self.net, self.optimizer)
            self.learning = learning
        inner = self.processes.inner(self.net)
        if self.recipe.optimization.complete:
            check_covered(inner, self.optimizer)
        train_mode(inner)
        self.tally = Tally()
        return self.called

    def noted(self, loss: torch.Tensor, batch, step: int) -> torch.Tensor:
        """The loss of a batch, noted for the history.

        Of several processes, mine, so weighted that their mean is that of all rows.
        """
        loss = self.processes.weighted(loss, batch.weight)
        mean = self.processes.mean(loss)
        self.tally.losses.append(self._finite(mean, step))
        return loss

    def penalized(self, loss: torch.Tensor, step: int) -> torch.Tensor:
        """The loss of a batch with the penalty, if there is one."""
        penalty = self.recipe.objective.penalty
        if penalty is not None:
            loss = loss + penalty()
            self._finite(loss, step)
        return loss

    def count(self, logits: torch.Tensor, batch, step: int) -> None:
        """Count right answers after the update of ``step``, and show how far it is."""
        hits = int((logits.detach().argmax(dim=1) == batch.labels).sum())
        self.tally.right += hits if batch.weight else 0
        self.tally.seen += batch.size
        self.progress.step(step + 1, self.history)

    def end(self, epoch: int, step: int) -> None:
        """Evaluate after ``step`` updates, keep the best weights, store the run."""
        history = self.history
        history.epoch.append(step / self.train.steps)
        history.step.append(step)
        history.train_loss.append(float(np.mean(self.tally.losses)))
        right = self.processes.total(self.tally.right)[0]
        history.train_accuracy.append(right / self.tally.seen)
        history.lr.append(self.optimizer.param_groups[0]["lr"])
        history.best_epoch = epoch
        if self.val is not None:
            self._validate()
        self.progress.update(step, history)
        patience = self.recipe.patience
        if patience is not None and epoch - history.best_epoch >= patience:
            history.stopped_early = step < self.steps
            self.finished = True
        history.steps = step
        seconds = time.perf_counter() - self.started
        history.seconds = self.seconds_before + seconds
        self.checkpoint.store(self)

    def finish(self) -> History:
        """The best weights come back, in evaluation mode; returns the history."""
        if self.best is not None:
            self.net.load_state_dict(self.best)
        elif self.processes.inner(self.net) is not self.net:
            self.net.load_state_dict(self.processes.weights(self.net))
        self.net.eval()
        return self.history

    def _validate(self) -> None:
        inner = self.processes.inner(self.net)
        loss, accuracy = score(inner, self.val, self.device, processes=self.processes)
        self._finite(
            torch.tensor(loss), self.history.step[-1], " on the validation part"
        )
        self.history.val_loss.append(loss)
        self.history.val_accuracy.append(accuracy)
        if loss < self.best_loss:
            weights = self.processes.weights(self.net)
            self.best = {k: v.detach().clone() for k, v in weights.items()}
            self.best_loss = loss
        self.history.best_epoch = int(np.argmin(self.history.val_loss))

    def _finite(self, loss: torch.Tensor, step: int, part: str = "") -> float:
        """The number that a loss holds.  Raises CourseError unless it is finite."""
        number = float(loss.detach())
        if math.isfinite(number):
            return number
        rate = self.optimizer.param_groups[0]["lr"]
        raise CourseError(
            f"The loss is {number}{part} at step {step}, at a learning rate of "
            f"{rate:.3g}.\nExpected: a finite number.\nDo: lower lr by a factor of 3 "
            "to 10, lengthen the warm-up or pass clip_norm=1.0; if it happens at step "
            "0, look for NaN in the inputs and the weights."
        )

    def _check_head(self) -> None:
        """Compare the head with the labels, on two examples in evaluation mode."""
        train, val = self.train, self.val
        if train.loader is not None:
            x, labels = next(train.once(0))
            x = x[:2] if isinstance(x, torch.Tensor) else x
        else:
            x, _ = train.batch(torch.arange(min(2, train.n)))
            labels = train.labels
            if val is not None and val.loader is None:
                labels = torch.cat([labels, val.labels])
        with torch.no_grad(), eval_mode(self.net):
            shape = tuple(forward(self.net, to_device(x, self.device)).shape)
        if len(shape) != 2:
            raise CourseError(
                f"The model gives outputs of shape {shape}.\nExpected: logits (N, "
                "classes).\nDo: give it a classification head."
            )
        if train.classes is not None and shape[1] != len(train.classes):
            raise CourseError(
                f"The head has {shape[1]} outputs, the data {len(train.classes)} "
                "classes.\nExpected: one output for each class.\n"
                f"Do: backbone.to_classes({len(train.classes)})."
            )
        if labels.ndim == 1:
            check_labels(labels, shape[1], "training and validation")


def _length(epochs, steps, eval_every, per_epoch) -> tuple[int, int]:
    """(number of updates, updates between evaluations)."""
    if (epochs is None) == (steps is None):
        raise CourseError(
            "fit: give either epochs=... or steps=..., and not both.\n"
            "Expected: epochs for passes over the data, steps for a number of "
            "updates.\nDo: leave one of them out."
        )
    wanted = epochs if steps is None else steps
    if int(wanted) != wanted or wanted < 1:
        raise CourseError(
            f"fit: a length of {wanted!r}, expected a whole number >= 1.\n"
            "Do: pass epochs=8 or steps=300, for example."
        )
    if steps is None:
        return int(epochs) * per_epoch, eval_every or per_epoch
    return int(steps), eval_every or max(per_epoch, math.ceil(steps / EVALUATIONS))
