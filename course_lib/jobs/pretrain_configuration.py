"""The configuration of a `course pretrain --on` job: pictures without labels.

`course pretrain --example` prints a file with all fields, their defaults and what they
mean.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from course_lib.jobs import configuration
from course_lib.jobs.configuration import (
    Count,
    Expected,
    Name,
    Rate,
    Settings,
    Span,
    numbers,
    say,
    several,
    whole,
)

VIEWS = ("crop", "flip", "turn", "colour", "grey", "blur", "noise")
Views = several(
    Annotated[Literal[VIEWS], Expected("a view")],
    f"a list of views, of {', '.join(VIEWS)}",
)


class PretrainConfig(Settings):
    """A job that goes on training a backbone without labels; `example` explains it.

    Made by :func:`from_dict`, which raises CourseError.
    """

    shown_by: ClassVar[str] = "course pretrain --example"

    task: Literal["pretrain"] = say("pretrain", "pretrain")
    model: Name = say(
        "imagenet/efficientnet-lite0",
        "the network that goes on learning: a name as in `course train --example",
        "images`, or the folder of another `course pretrain --on`",
    )
    weights: Literal["pretrained", "random"] = say(
        "pretrained",
        "pretrained: those of the model; random: a start from nothing, which lesson 14",
        "found to gain where pictures are unlike photographs and labels very few",
    )
    strategy: Literal["auto", "last_stage", "full"] = say(
        "auto",
        "last_stage: the blocks of the lowest resolution learn; full: everything;",
        "auto: last_stage from pretrained weights, full from random ones",
    )
    last_blocks: whole("a whole number >= 1", ge=1, le=1000) | None = say(
        None,
        "how many blocks learn, with strategy: last_stage; empty: those of the lowest",
        "resolution (of a transformer, one)",
    )
    objective: Literal["simclr", "barlow_twins", "vicreg"] = say(
        "simclr",
        "what two views of a picture have to fulfil.  simclr: each finds the other",
        "among those of all pictures of the update; the only one that lesson 14",
        "measured on real pictures.  barlow_twins, vicreg: tried there on drawn ones,",
        "and vicreg used few directions after 100 updates",
    )
    views: Views = say(
        ("crop", "noise"),
        "what makes a view; the network becomes blind to it, so none may change what",
        "your labels will tell.  crop (40 to 100 % of the area), noise, flip (left and",
        "right), turn (where up is no direction), colour, grey, blur",
    )
    rate: Rate | None = say(
        None,
        "highest learning rate; empty: 1e-4 from pretrained weights, 1e-3 from random",
    )
    epochs: Count | None = say(
        None,
        "passes over the pictures; empty: 10, or fewer by what `minutes` allows",
    )
    minutes: numbers("minutes above 0", gt=0, le=100_000) = say(
        20, "after which training stops, with what was learned by then"
    )
    batch_size: whole("a whole number from 4 on", ge=4, le=4096) = say(
        32, "pictures an update; with simclr they have to be told from one another"
    )
    image_size: whole("32 to 512 pixels", ge=32, le=512) | None = say(
        None,
        "pixels a side; empty: the model's own; of imagenet/NAME 128, bundled/NAME 64",
    )
    value_range: Span | None = say(
        None, "values of pictures with more than 8 bits that become black and white"
    )
    held_out: numbers("a share above 0, at most 0.5", gt=0, le=0.5) = say(
        0.1, "of the pictures, at most 500 of them, that nothing is learned from"
    )
    samples: whole("1 to 16", ge=1, le=16) = say(8, "pictures with views in the report")
    seed: whole("a whole number >= 0", ge=0, le=2**31) = say(
        0, "of held-out part, order, views and projector"
    )
    licence: Name = say("not stated", "of your pictures, for the model card")
    device: Literal["auto", "cpu", "cuda"] = say("auto", "auto: a GPU if there is one")


ORDER = {
    "What goes on learning": "task",
    "What it learns from": "objective",
    "For how long": "rate",
    "Your pictures": "image_size",
    "What comes with it": "samples",
}


def from_dict(values: Mapping | None, where: str = "configuration") -> PretrainConfig:
    """A checked configuration from {key: value}; what is left out has its default.

    Raises CourseError for unknown keys, wrong values and contradictions.
    """
    config = configuration.checked(PretrainConfig, values or {}, {}, where)
    for found in _contradictions(config):
        raise config.error(*found)
    if config.strategy == "auto":
        chosen = "full" if config.weights == "random" else "last_stage"
        config = config.model_copy(update={"strategy": chosen})
    if config.rate is None:
        rate = 1e-3 if config.weights == "random" else 1e-4
        config = config.model_copy(update={"rate": rate})
    return config


def _contradictions(config) -> Iterator[tuple[str, str, str, str]]:
    """(key, problem, expected, do) of settings that cannot stand together."""
    if config.weights == "random" and config.strategy == "last_stage":
        yield (
            "strategy",
            "is last_stage, and the weights are random",
            "strategy: full with random weights, so that they learn",
            "set strategy: full, or weights: pretrained",
        )
    if config.last_blocks is not None and config.strategy == "full":
        yield (
            "last_blocks",
            "is given, and strategy is full",
            "last_blocks only with strategy: last_stage",
            "set strategy: last_stage, or remove last_blocks",
        )
    if config.last_blocks is not None and config.weights == "random":
        yield (
            "last_blocks",
            "is given, and the weights are random",
            "last_blocks only where the rest holds what was learned before",
            "set weights: pretrained, or remove last_blocks",
        )


def example() -> str:
    """A commented YAML file with every field at its default."""
    plain = configuration.checked(PretrainConfig, {}, {}, "configuration")
    return configuration.commented(plain, ORDER)
