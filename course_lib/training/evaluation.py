"""What a network gets right: predictions, loss and accuracy in evaluation mode."""

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.errors import CourseError
from course_lib.models.features import (
    device_of,
    eval_mode,
    forward,
    network,
    preprocess_of,
    to_device,
)
from course_lib.training.batches import Examples, check_labels
from course_lib.training.distributed import ALONE


def accuracy(predictions, labels) -> float:
    """Share of right answers; ``predictions`` are labels (N,) or scores (N, K)."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim == 2:
        predictions = predictions.argmax(axis=1)
    if predictions.shape != labels.shape or not len(labels):
        raise CourseError(
            f"accuracy: predictions {predictions.shape} against labels {labels.shape}. "
            "Expected two arrays of the same length N >= 1.\n"
            "Do: pass one label for each prediction."
        )
    return float((predictions == labels).mean())


def balanced_accuracy(predictions, labels) -> float:
    """Mean over classes of the share of right answers within the class."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim == 2:
        predictions = predictions.argmax(axis=1)
    members = [labels == c for c in np.unique(labels)]
    return float(np.mean([accuracy(predictions[m], labels[m]) for m in members]))


def predict(model, data, preprocess=None, batch_size: int = 64) -> np.ndarray:
    """Logits (N, K) float32 in evaluation mode, in the data's order."""
    return _logits(model, data, preprocess, batch_size)[0]


def evaluate(model, data, preprocess=None, batch_size: int = 64) -> dict:
    """Loss, accuracy and every prediction, in evaluation mode.

    Returns {loss: mean cross-entropy in nats, accuracy, balanced_accuracy,
    predictions (N,), probabilities (N, K), labels (N,)}.  Raises CourseError on empty
    data or labels outside the head's range.
    """
    logits, labels = _logits(model, data, preprocess, batch_size)
    check_labels(labels, logits.shape[1], "evaluation")
    scores = torch.from_numpy(logits).double()
    predictions = logits.argmax(axis=1)
    return {
        "loss": float(F.cross_entropy(scores, labels)),
        "accuracy": accuracy(predictions, labels),
        "balanced_accuracy": balanced_accuracy(predictions, labels),
        "predictions": predictions,
        "probabilities": scores.softmax(dim=1).numpy(),
        "labels": labels.numpy(),
    }


def _logits(model, data, preprocess, batch_size):
    net = network(model)
    preprocess = preprocess_of(model, preprocess)
    examples = Examples(data, preprocess, batch_size, "evaluation", cache=False)
    device = device_of(net)
    outputs, labels, order = [], [], examples.by_length()
    with torch.no_grad(), eval_mode(net):
        for x, y in examples.once(batch_size, rows=order):
            outputs.append(forward(net, to_device(x, device)).float().cpu())
            labels.append(y)
    outputs, labels = torch.cat(outputs), torch.cat(labels)
    if order is not None:
        back = order.argsort()
        outputs, labels = outputs[back], labels[back]
    return outputs.numpy(), labels


def score(net, examples: Examples, device, batch_size: int = 64, processes=ALONE):
    """(mean cross-entropy in nats, accuracy) of examples, over all processes."""
    total, right, n = 0.0, 0, 0
    share = processes if processes.shares_evaluation else None
    with torch.no_grad(), eval_mode(net):
        for x, y in examples.once(batch_size, share, examples.by_length()):
            logits, y = forward(net, to_device(x, device)).float(), y.to(device)
            total += float(F.cross_entropy(logits, y, reduction="sum"))
            right += int((logits.argmax(dim=1) == y).sum())
            n += len(y)
    total, right, n = processes.total(total, right, n)
    return total / n, right / n
