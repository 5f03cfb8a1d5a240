"""One training run of a job, what it gives, and the same network from scratch."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from course_lib import training
from course_lib.analysis import calibration, statistics
from course_lib.errors import CourseError
from course_lib.jobs import assembly
from course_lib.jobs.storage import JobFolder
from course_lib.jobs.stored_stages import Stored, stored


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
    said = [once.said(config.augment)] if once else []
    return trained(config, backbone, parts, recipe, once), None, said


def run_once(config, backbone, parts, recipe) -> Stored | None:
    """What the frozen layers give, stored; None where all layers learn."""
    if config.task == "text" or config.strategy in ("full", "scratch"):
        return None
    opened = assembly.opened(config, backbone)
    return stored(backbone, parts, opened, recipe.augment, config.seed)


def trained(config, backbone, parts, recipe, once=None, rate=None) -> dict:
    """Train in place; the history and what validation and test part say."""
    found = learned(config, backbone, parts, recipe, once, rate)
    return found | measured(backbone, parts)


def learned(config, backbone, parts, recipe, once=None, rate=None) -> dict:
    """Train in place: {rate, history, seconds}.

    once: the stored output that training reads instead of pictures.
    """
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
