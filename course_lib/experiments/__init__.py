"""The grids behind the lessons' figures: one function, one cell of a grid.

A cell trains and measures one combination of settings and returns plain numbers.
`course run --recompute` runs the grids over many seeds and writes data/results; the
lessons load those files, and a test recomputes a sample of their cells.  What all
share is in `protocol`; then one module for each lesson that has grids.
"""

from course_lib.experiments.failures import silent_failures
from course_lib.experiments.layer_rates import layer_rates, schedules
from course_lib.experiments.protocol import (
    BACKBONE,
    SEEDS,
    STEPS,
    TARGET,
    labelled,
    source_accuracy,
    source_pictures,
    train,
)
from course_lib.experiments.sources import cnn_vit, load_source, sources
from course_lib.experiments.strategies import (
    RATES,
    TRIED,
    adapted,
    compared,
    copied_stages,
    from_scratch,
    strategies,
)

__all__ = [
    "BACKBONE",
    "RATES",
    "SEEDS",
    "STEPS",
    "TARGET",
    "TRIED",
    "adapted",
    "cnn_vit",
    "compared",
    "copied_stages",
    "from_scratch",
    "labelled",
    "layer_rates",
    "load_source",
    "schedules",
    "silent_failures",
    "source_accuracy",
    "source_pictures",
    "sources",
    "strategies",
    "train",
]
