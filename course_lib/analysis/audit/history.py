"""What a run has logged: the weights it kept, and losses that are no numbers."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from course_lib.analysis.audit.findings import Finding, Unseen
from course_lib.analysis.audit.setup import Setup

ORDINARY = 0.05  # nats: a loss does not fall from here to exactly 0 in one entry


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about the history of a run; NaN losses are measured too (`steps`)."""
    if setup.run.history is None:
        yield Unseen("last-checkpoint", "history")
    else:
        yield from _kept_findings(setup.run.history, setup.run.kept)
        yield from _nan_findings(setup.run.history)


def _kept_findings(history, kept):
    losses = logged(history).get("val_loss")
    if not losses or not np.isfinite(losses).any():
        return
    best = int(np.nanargmin(losses))
    kept = getattr(history, "best_epoch", None) if kept is None else kept
    if kept is not None and losses[kept] > losses[best]:
        yield Finding(
            "last-checkpoint",
            f"evaluation {kept}",
            f"validation loss {losses[kept]:.3f}, it was {losses[best]:.3f} at "
            f"evaluation {best}.",
            "keep the weights of the lowest validation loss (training.fit does).",
        )


def logged(history) -> dict[str, list[float]]:
    """{name: values} of a history in any of its forms.

    A training.History or the like; a mapping of lists; a list of losses; a list of
    rows as transformers logs them, or the state or trainer that holds it.
    """
    for field in ("state", "log_history"):
        history = getattr(history, field, history)
    if isinstance(history, Mapping):
        series = history
    elif isinstance(history, (list, tuple)):
        if not all(isinstance(row, Mapping) for row in history):
            return {"loss": [float(value) for value in history]}
        names = {"eval_loss": "val_loss"}
        series = {}
        for row in history:
            for key, value in row.items():
                if isinstance(value, (int, float)):
                    series.setdefault(names.get(key, key), []).append(value)
    else:
        fields = ("train_loss", "val_loss", "loss", "grad_norm")
        series = {f: getattr(history, f, None) for f in fields}
    return {
        name: [float(value) for value in values]
        for name, values in series.items()
        if isinstance(values, (list, tuple, np.ndarray)) and len(values)
    }


def _nan_findings(history):
    series = logged(history)
    for name in ("train_loss", "loss", "val_loss", "grad_norm"):
        values = series.get(name, [])
        bad = [i for i, value in enumerate(values) if not math.isfinite(value)]
        if bad:
            yield Finding(
                "nan-loss",
                f"{name}, entry {bad[0]}",
                f"{len(bad)} of {len(values)} entries are NaN or infinite.",
                "lower the rate, clip gradients, look for rows without labels.",
            )
            return
    for name in ("train_loss", "loss", "val_loss"):
        values = series.get(name, [])
        for i, value in enumerate(values):
            before = values[i - 1] if i else math.inf
            if value == 0 and before > ORDINARY:
                start = f"after {before:.3g}" if i else "from the first entry on"
                yield Finding(
                    "nan-loss",
                    f"{name}, entry {i}",
                    f"exactly 0 {start}: a NaN that was logged as zero "
                    "(nan_to_num, logging_nan_inf_filter) looks like this.",
                    "log the loss as it is (logging_nan_inf_filter=False), and stop "
                    "at the first that is not finite.",
                )
                return
