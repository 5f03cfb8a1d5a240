"""What measurements are given, checked and as arrays: features, classes, whole numbers.

``who`` names the function in the messages.
"""

import numpy as np

from course_lib.errors import CourseError


def features(X, who: str, least: int = 2) -> np.ndarray:
    """X as finite floats (N, F), N >= least; else CourseError."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or len(X) < least or not X.shape[1]:
        raise CourseError(
            f"{who}: features of shape {X.shape}.\nExpected: (N, F), a row for each "
            f"example, N >= {least}.\nDo: pool maps over space (features.extract does)."
        )
    if not np.isfinite(X).all():
        raise CourseError(
            f"{who}: the features hold NaN or infinite numbers.\nExpected: finite "
            "numbers.\nDo: look for the example or the layer that they come from."
        )
    return X


def pair(X, Y, who: str, least: int = 2):
    """Two domains of the same number of features: X (N, F), Y (M, F)."""
    X, Y = features(X, who, least), features(Y, who, least)
    if X.shape[1] != Y.shape[1]:
        raise CourseError(
            f"{who}: {X.shape[1]} features on one side and {Y.shape[1]} on the other.\n"
            "Expected: the same number.\nDo: take both from the same layer."
        )
    return X, Y


def classes(labels, who: str, num_classes: int | None = None) -> np.ndarray:
    """Classes as int64 (N,), from 0, and below ``num_classes`` where it is given."""
    labels = np.asarray(labels)
    whole = labels.ndim == 1 and len(labels) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() >= (num_classes or np.inf):
        upper = "" if num_classes is None else f" below {num_classes}"
        raise CourseError(
            f"{who}: labels of shape {labels.shape}, {labels.dtype}.\nExpected: one or "
            f"more whole numbers >= 0{upper}, a class for each example.\nDo: "
            "scores.argmax(axis=1), if these are scores."
        )
    return labels.astype(np.int64)


def labelled(labels, predictions, who: str, num_classes: int | None = None):
    """Labels and predictions (N,) of the same examples."""
    labels = classes(labels, who, num_classes)
    predictions = classes(predictions, who, num_classes)
    same_length(who, labels=labels, predictions=predictions)
    return labels, predictions


def same_length(who: str, **columns) -> None:
    """CourseError unless all columns, named for the message, are equally long."""
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise CourseError(f"{who}: {lengths}.\nExpected: one of each an example.")


def whole_number(value, low: int, high: float, name: str, who: str) -> None:
    """CourseError unless value is a whole number, low <= value <= high."""
    if not isinstance(value, (int, np.integer)) or not low <= value <= high:
        upper = "or more" if high == np.inf else f"to {high}"
        raise CourseError(f"{who}: {name}={value!r}.\nExpected: {low} {upper}.")
