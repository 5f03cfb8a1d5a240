"""The configuration of a `task: anomaly` job: a memory of what normal pictures show.

`course train --example anomaly` prints a file with all fields, their defaults and what
they mean.
"""

from collections.abc import Mapping
from typing import Literal

from course_lib.jobs import configuration
from course_lib.jobs.configuration import (
    Count,
    Name,
    Names,
    Settings,
    Span,
    Split,
    numbers,
    say,
    whole,
)

MODEL_FILE = "anomaly.json"  # beside the memory; the last file of the model


class AnomalyConfig(Settings):
    """A job that finds what is not normal.  Every field is explained in `example`.

    Made by :func:`from_dict`, which raises CourseError.
    """

    task: Literal["anomaly"] = say("anomaly", "anomaly; see also images and language")
    model: Name = say(
        "imagenet/efficientnet-lite0",
        "the frozen network that looks at the patches; see also task: images",
    )
    stages: Names = say(
        (),
        "whose maps are remembered, the finer first; empty: the last ones whose maps",
        "are 8 and 16 times smaller than the pictures",
    )
    share: numbers("a share above 0, at most 1", gt=0, le=1) = say(
        0.01, "of all patches of the memory's pictures that is kept"
    )
    false_alarms: numbers("a share above 0, at most 0.5", gt=0, le=0.5) = say(
        0.05, "of normal pictures that may raise an alarm; it sets the threshold"
    )
    defective: Name | None = say(
        None, "a folder of defective pictures, to measure with; none is learned from"
    )
    image_size: whole("32 to 512 pixels", ge=32, le=512) = say(96, "pixels a side")
    value_range: Span | None = say(
        None, "values of pictures with more than 8 bits that become black and white"
    )
    split: Split = say(
        (0.6, 0.2, 0.2), "of the normal pictures: memory, threshold, test"
    )
    samples: Count = say(8, "heat maps shown in the report")
    seed: whole("a whole number >= 0", ge=0, le=2**31) = say(0, "of split and memory")
    licence: Name = say("not stated", "of your data and the memory, for the model card")


ORDER = {
    "What is remembered": "task",
    "When it alarms": "false_alarms",
    "Your data": "image_size",
    "What comes with it": "samples",
}


def from_dict(values: Mapping | None, where: str = "configuration") -> AnomalyConfig:
    """A checked configuration from {key: value}; what is left out has its default.

    Raises CourseError for unknown keys and wrong values.
    """
    return configuration.checked(AnomalyConfig, values or {}, {}, where)


def example() -> str:
    """A commented YAML file with every field at its default."""
    return configuration.commented(from_dict({}), ORDER)
