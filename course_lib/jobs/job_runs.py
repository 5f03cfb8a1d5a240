"""One training run of a job, what it gives, and the same network from scratch."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from course_lib import training
from course_lib.analysis import calibration, statistics
from course_lib.errors import CourseError
from course_lib.jobs import assembly, head_fit
from course_lib.jobs.storage import JobFolder
from course_lib.jobs.stored_stages import Stored, stored
from course_lib.training import History


@dataclass(frozen=True)
class Place:
    """Where the runs of a job compute, and where each is stored and shown.

    runtime: device and precision.  bar: f(name) -> f(updates, of
    all, what is said), or None.
    """

    runtime: training.Runtime
    folder: JobFolder
    bar: Callable

    def of(self, name: str, shown: str = "") -> training.Runtime:
        """The runtime of one run: a file for its state and a bar that advances."""
        bar = self.bar(shown or name)

        def advance(step, steps, history):
            accuracy = history.val_accuracy[-1:]
            said = f"validation accuracy {accuracy[0]:.3f}" if accuracy else ""
            bar(step, steps, said)

        state = self.folder.state(name)
        shows = advance if bar else False
        return replace(self.runtime, checkpoint=state, progress=shows)


def single(config, backbone, parts, place: Place, recipe, once=None):
    """The one run of a usual job: (what `trained` gives, None, sentences)."""
    recipe = replace(recipe, runtime=place.of("transfer", "training"))
    backbone.model.to(place.runtime.device)
    once = once or run_once(config, backbone, parts, recipe)
    found = trained(config, backbone, parts, recipe, once)
    return found, None, [*told(config, once), *fit_said(found)]


def run_once(config, backbone, parts, recipe) -> Stored | None:
    """What the frozen layers give, stored; None where all layers learn."""
    if config.task == "text" or config.strategy in ("full", "scratch"):
        return None
    opened = assembly.opened(config, backbone)
    augment = head_fit.views(config, backbone, recipe.augment)
    return stored(backbone, parts, opened, augment, config.seed)


def told(config, once) -> list[str]:
    """What was stored, in sentences."""
    return [once.said(config.augment)] if once else []


def fit_said(found) -> list[str]:
    """How a head was fitted, in sentences; none where it was trained."""
    if not (fit := found.get("fit")):
        return []
    chosen = "a class has too few examples to compare penalties"
    if fit["folds"]:
        tried = ", ".join(f"{C} {loss:.3f}" for C, loss in fit["tried"].items())
        chosen = (
            f"chosen by {fit['folds']}-fold cross-validation inside the training part, "
            f"with a loss of: {tried}"
        )
    return [
        "The head is linear, on stored features: it was fitted to the end as a "
        f"multinomial logistic regression, inverse penalty C = {fit['C']:g} ({chosen})."
        " Rates, schedule, epochs, patience, batch size, weight decay, dropout and "
        "augment had no part in it, nor had the validation part."
    ]


def trained(config, backbone, parts, recipe, once=None, rate=None) -> dict:
    """Train in place; the history and what validation and test part say."""
    found = learned(config, backbone, parts, recipe, once, rate)
    return found | measured(backbone, parts)


def learned(config, backbone, parts, recipe, once=None, rate=None) -> dict:
    """Train in place: {rate, history, seconds}; a fitted head has {fit}, too.

    once: the stored output that training reads instead of pictures.  rate and history
    of a fitted head are None.
    """
    if config.strategy == "frozen" and once and head_fit.linear(backbone):
        return _fitted(config, backbone, parts, recipe, once)
    if rate is None:
        head = config.strategy == "frozen"
        rate = config.head_rate if head else config.backbone_rate
    net, train, validation = backbone, parts.train, parts.validation
    length = {"epochs": config.epochs}
    if once is not None:
        net, train, validation = once.upper, once.train, once.validation
        recipe, updates = once.recipe(recipe, config.batch_size)
        length = {"steps": config.epochs * updates}
    history = training.fit(
        net, train, validation, lr=rate, seed=config.seed, recipe=recipe, **length
    )
    if once is not None:  # counted in passes over the pictures, not over their copies
        history.epoch = [step / updates for step in history.step]
    if advance := recipe.runtime.progress:  # finished before: it shows a full bar
        advance(history.steps, history.steps, history)
    backbone.model.eval()
    seconds, history.seconds = history.seconds, 0.0
    return {"rate": rate, "history": history.to_dict(), "seconds": round(seconds, 2)}


def _fitted(config, backbone, parts, recipe, once) -> dict:
    """The same of a linear head on stored features."""
    began = time.perf_counter()
    found = head_fit.fitted(config, backbone, parts, once, recipe.objective)
    if advance := recipe.runtime.progress:
        advance(1, 1, History())
    backbone.model.eval()
    seconds = round(time.perf_counter() - began, 2)
    return {"rate": None, "history": None, "fit": found.to_dict(), "seconds": seconds}


def measured(backbone, parts) -> dict:
    """{validation, test}: measures of both parts, and every answer."""
    return {
        "validation": _tested(backbone, parts.validation),
        "test": _tested(backbone, parts.test),
    }


def _tested(backbone, data) -> dict:
    """Measures of one part, and every answer."""
    found = training.evaluate(backbone, data)
    P, labels = found["probabilities"], found["labels"]
    right = int((found["predictions"] == labels).sum())
    low, high = statistics.wilson_interval(right, len(labels))
    return {
        "n": len(labels),
        "loss": found["loss"],
        "accuracy": found["accuracy"],
        "low": low,
        "high": high,
        "balanced_accuracy": found["balanced_accuracy"],
        "calibration_error": calibration.expected_calibration_error(P, labels, 10),
        "reliability": calibration.reliability(P, labels, 10),
        "predictions": found["predictions"].tolist(),
        "confidence": np.round(P.max(axis=1), 6).tolist(),
        "labels": labels.tolist(),
    }


def from_scratch(config, parts, place: Place, ran: int) -> dict | None:
    """The same network from scratch, at the rate that validation prefers.

    ran: epochs of the transferred run; it stops no earlier, so it has at least as many
    updates.
    """
    tried = []
    changed = {"weights": "random", "strategy": "scratch", "head_reads": "last"}
    fresh = config.model_copy(update=changed)
    for rate in config.baseline_rates:
        net = assembly.model(fresh, len(parts.classes))
        name = f"scratch-{rate:g}"
        recipe = replace(assembly.common(config, net, parts), runtime=place.of(name))
        if config.patience is not None:
            recipe = replace(recipe, patience=max(config.patience, ran))
        try:
            found = trained(fresh, net, parts, recipe, rate=rate)
        except CourseError as error:
            if not diverged(error):
                raise
            continue
        tried.append(found)
    if not tried:
        return None
    best = min(tried, key=lambda one: one["validation"]["loss"])
    others = [
        {"rate": one["rate"], "validation_loss": one["validation"]["loss"]}
        for one in tried
    ]
    spent = round(sum(one["seconds"] for one in tried), 2)
    return best | {"tried": others, "seconds": spent}


def diverged(error: CourseError) -> bool:
    """Did the run end for its loss was no finite number?"""
    return str(error).startswith("The loss is")
