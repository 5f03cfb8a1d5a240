"""The grids behind the lessons' figures: one function, one cell of a grid.

A cell trains and measures one combination of settings and returns plain numbers.
`course run --recompute` runs the grids over many seeds and writes data/results; the
lessons load those files, and a test recomputes a sample of their cells.  What all
share is in `protocol`; the grids are in a module each for lessons 01 to 03
(`strategies`), 04 (`layer_rates`), 05 (`failures`), 06 (`sources`), 07 (`tickets`),
08 and 09 (`peft`), 10 (`reports`), 11 (`adaptation`), 12 (`gains`, `remedies`,
`diagnosis`), 13 (`decisions`).
"""

from course_lib.lessons import (
    adaptation,
    decisions,
    diagnosis,
    failures,
    gains,
    layer_rates,
    peft,
    remedies,
    reports,
    sources,
    strategies,
    tickets,
)
from course_lib.lessons.protocol import (
    BACKBONE,
    SEEDS,
    STEPS,
    TARGET,
    labelled,
    source_accuracy,
    source_pictures,
    train,
)
from course_lib.lessons.strategies import RATES, TRIED, adapted, compared

__all__ = [
    "BACKBONE",
    "RATES",
    "SEEDS",
    "STEPS",
    "TARGET",
    "TRIED",
    "adaptation",
    "adapted",
    "compared",
    "decisions",
    "diagnosis",
    "failures",
    "gains",
    "labelled",
    "layer_rates",
    "peft",
    "remedies",
    "reports",
    "source_accuracy",
    "source_pictures",
    "sources",
    "strategies",
    "tickets",
    "train",
]
