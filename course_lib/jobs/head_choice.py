"""What the new head of a frozen network reads: its last layer, or several stages.

The last layers of a network are made for what it learned from; middle stages can tell
more of pictures of another kind (:mod:`course_lib.models.stage_head`).  Which it is,
cross-validation inside the training part says, on what the frozen layers give in the
one pass that is stored for training anyway.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.analysis import probes
from course_lib.errors import CourseError
from course_lib.jobs import assembly, head_fit
from course_lib.jobs.stored_stages import Stored, stored
from course_lib.models import stage_head

C = 0.01  # inverse penalty of the regression that compares, as for the picture size
LAST = "last"


@dataclass(frozen=True)
class Choice:
    """What the head reads.  stages: empty for the last layer.  said: why."""

    stages: tuple[str, ...] = ()
    said: str = ""


def settled(config, backbone, parts, device, known=None):
    """(configuration with what the head reads, stored output or None, sentence).

    Where that is stages, the backbone's head is exchanged in place.  The output is
    None where nothing had to be compared.  known: a Choice that was made before.
    Raises CourseError for a stage that the network does not have.
    """
    wanted = config.head_reads
    if config.task == "text" or config.strategy != "frozen" or wanted == LAST:
        return config.model_copy(update={"head_reads": LAST}), None, Choice()
    options = _options(config, backbone)
    stages = list(dict.fromkeys(s for some in options.values() for s in some))
    opened = assembly.opened(config, backbone)
    augment = head_fit.views(config, backbone, assembly.augmentation(config, backbone))
    backbone.model.to(device)
    found = stored(backbone, parts, opened, augment, config.seed, stages)
    choice = known or _chosen(config, backbone, parts, options, found)
    backbone.model.cpu()
    if not choice.stages:
        return config.model_copy(update={"head_reads": LAST}), found, choice
    config = config.model_copy(update={"head_reads": choice.stages})
    assembly.model(config, len(parts.classes), backbone)
    return config, found.for_stages(backbone.model, choice.stages), choice


def _options(config, backbone) -> dict[str, tuple[str, ...]]:
    """{what a head may read: stages}, the simplest first."""
    if isinstance(config.head_reads, tuple):
        unknown = [s for s in config.head_reads if s not in backbone.stages]
        if unknown:
            raise config.error(
                "head_reads",
                f"names {unknown[0]!r}, which is no stage of {config.model}",
                f"some of {', '.join(backbone.stages)}",
                "correct the name, or write auto",
            )
        order = list(backbone.stages)
        named = tuple(sorted(set(config.head_reads), key=order.index))
        return {"the stages that the configuration names": named}
    found = stage_head.candidates(backbone)
    if config.head_reads == "stages":
        found = {name: stages for name, stages in found.items() if stages}
    return found


def _chosen(config, backbone, parts, options, found: Stored | None) -> Choice:
    """The choice, by cross-validation where there is one."""
    given = set(found.stages) if found is not None else set()
    options = {name: some for name, some in options.items() if set(some) <= given}
    if not any(options.values()):
        if config.head_reads == "auto":
            return Choice()
        return Choice(
            (),
            f"The head reads the last layer: what the stages of {config.model} give "
            "cannot be read one by one.",
        )
    if len(options) == 1:
        ((name, some),) = options.items()
        return Choice(some, f"The head reads {name}: {', '.join(some)}.")
    rows, groups = head_fit.compared_on(config, parts.train)
    X = {
        name: found.read(some, rows) if some else found.head_inputs(rows)
        for name, some in options.items()
    }
    name, said = compared(X, parts.train.labels[rows], groups, config.seed)
    some = options[name]
    named = f" ({', '.join(some)})" if some else ""
    return Choice(
        some,
        f"The head reads {name}{named}: {said} `head_reads` in a configuration decides "
        "otherwise.",
    )


def compared(X, labels, groups, seed: int = 0) -> tuple[str, str]:
    """(the name taken of X, why in a sentence).

    X: {name: features (N, F)}, the simplest first; labels, groups (N,): rows of one
    group stay on one side.  Of each, a logistic regression is cross-validated; taken is
    the simplest whose accuracy is within one standard error of the best one's (Hastie,
    Tibshirani & Friedman 2009, section 7.10).
    """
    cuts = head_fit.folds(labels, groups, seed)
    if not cuts:
        return next(iter(X)), "a class has too few examples to compare with others."
    right = {name: np.zeros(len(labels), dtype=bool) for name in X}
    for fit, held_out in cuts:
        for name, features in X.items():
            try:
                found = probes.linear_probe(
                    features[fit], labels[fit], features[held_out], labels[held_out],
                    C=C,
                )  # fmt: skip
            except CourseError:  # numbers that are not finite: never the best
                continue
            right[name][held_out] = found.predictions == labels[held_out]
    score = {name: float(r.mean()) for name, r in right.items()}
    best = max(score.values())
    error = (best * (1 - best) / len(labels)) ** 0.5
    taken = next(name for name, one in score.items() if one >= best - error)
    listed = ", ".join(f"{name} {100 * one:.1f} %" for name, one in score.items())
    return taken, (
        f"in {len(cuts)}-fold cross-validation of a logistic regression inside the "
        f"training part, right were: {listed}. Taken is the simplest within one "
        f"standard error ({100 * error:.1f} points) of the best."
    )
