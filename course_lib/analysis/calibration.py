"""Calibration: is a network right as often as it says?"""

import numpy as np

from course_lib.analysis import arguments
from course_lib.errors import CourseError


def reliability(probabilities, labels, bins: int = 15) -> list[dict]:
    """Rows of a reliability diagram: {low, high, n, confidence, accuracy}.

    probabilities (N, K), rows that sum to 1; labels (N,).  Predictions are sorted by
    confidence, the largest probability, into ``bins`` of equal width (low, high]; empty
    ones are left out.  confidence and accuracy are means in the bin.  Raises
    CourseError when rows are not probabilities.  Guo et al. 2017.
    """
    P = arguments.features(probabilities, "reliability", 1)
    labels = arguments.classes(labels, "reliability", P.shape[1])
    arguments.same_length("reliability", probabilities=P, labels=labels)
    arguments.whole_number(bins, 1, np.inf, "bins", "reliability")
    if (P < 0).any() or not np.allclose(P.sum(axis=1), 1, atol=1e-3):
        raise CourseError(
            "reliability: the rows are not probabilities.\nExpected: numbers >= 0 that "
            "sum to 1.\nDo: apply a softmax to the logits."
        )
    confidence, right = P.max(axis=1), P.argmax(axis=1) == labels
    place = np.ceil(confidence * bins - 1e-9).astype(int).clip(1, bins) - 1
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": int((place == b).sum()),
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
        }
        for b in np.unique(place).tolist()
    ]


def expected_calibration_error(probabilities, labels, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by n.

    0 is calibrated: of the predictions made with confidence 0.8, 80 % are right.
    Biased upwards when bins hold few examples.  probabilities (N, K), labels (N,).
    Raises CourseError as reliability does.  Guo et al. 2017.
    """
    rows = reliability(probabilities, labels, bins)
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows]
    return float(sum(gaps) / sum(row["n"] for row in rows))


def temperature(logits, labels) -> float:
    """The T > 0 for which softmax(logits / T) gives the labels the most likelihood.

    logits (N, K), labels (N,), held out; searched between 1/20 and 20.  Right and wrong
    answers stay as they are, only the confidence moves.  Guo et al. 2017.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    Z = arguments.features(logits, "temperature", 1)
    labels = arguments.classes(labels, "temperature", Z.shape[1])
    arguments.same_length("temperature", logits=Z, labels=labels)

    def loss(log_t):
        own = log_softmax(Z / np.exp(log_t), axis=1)[np.arange(len(Z)), labels]
        return -own.mean()

    widest = np.log(20.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-widest, widest)).x))
