"""Inputs, head and splits: what the network is given, against what it expects."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from course_lib.analysis.audit.findings import Finding, Unseen
from course_lib.analysis.audit.setup import Setup, data_of
from course_lib.models import heads


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about inputs, the training loader, the head and the splits."""
    yield from _input_findings(setup.model, setup.train, setup.loop.preprocess)
    yield from _loader_findings(setup.model, setup.loader)
    yield from _head_findings(setup.model, setup.net, setup.train)
    yield from _split_findings(setup.train, setup.val, setup.test)
    no_train, no_val, no_test = (
        data is None for data in (setup.train, setup.val, setup.test)
    )
    no_loader = setup.loader is setup.train
    if no_train or (setup.loop.preprocess is None and no_loader):
        yield Unseen("preprocessing", "preprocess and train")
    if no_loader:
        yield Unseen("unshuffled", "a training loader")
    if no_train or not _heads_of(setup.model):
        yield Unseen("head-size", "train")
    if no_train + no_val + no_test > 1:
        yield Unseen("shared-examples", "two splits")
    if no_val or no_test:
        yield Unseen("test-for-choosing", "val and test")


# -- inputs and head --------------------------------------------------------------


def _input_findings(model, train, preprocess):
    own = getattr(model, "preprocess", None)
    if own is None or preprocess is None or train is None or not len(train):
        return
    images = getattr(train, "images", None)
    if images is None:
        return
    some = images[:16]
    wanted, given = own(some), torch.as_tensor(preprocess(some))
    if wanted.shape == given.shape and torch.allclose(
        wanted, given.to(wanted.dtype), atol=0.02 * float(wanted.std())
    ):
        return
    yield Finding(
        "preprocessing",
        _what_differs(wanted, given),
        "the inputs are not as they were in pre-training.",
        "use backbone.preprocess, which belongs to the weights.",
    )


def _what_differs(wanted, given) -> str:
    if wanted.shape != given.shape:
        return f"shape {tuple(given.shape[1:])} instead of {tuple(wanted.shape[1:])}"
    given = given.float()
    if torch.allclose(wanted, given.flip(1), atol=0.02 * float(wanted.std())):
        return "channels in reverse order (BGR for RGB)"
    axes = (0, 2, 3)
    pairs = zip(
        (wanted.mean(axes), wanted.std(axes)), (given.mean(axes), given.std(axes))
    )
    (m, m_given), (s, s_given) = pairs
    return (
        f"channel means {_short(m_given)} instead of {_short(m)}, deviations "
        f"{_short(s_given)} instead of {_short(s)}"
    )


def _short(values) -> str:
    return "(" + ", ".join(f"{v:.2f}" for v in values.tolist()) + ")"


def _heads_of(model) -> tuple[str, ...]:
    """Names of a Backbone's classifier; of a plain module, which has none, ()."""
    return () if isinstance(model, nn.Module) else getattr(model, "heads", ())


def _head_findings(model, net, train):
    names = _heads_of(model)
    classes = getattr(train, "classes", None)
    if not names or classes is None:
        return
    outputs = heads.outputs(net, names)
    if outputs is not None and outputs != len(classes):
        yield Finding(
            "head-size",
            ", ".join(names),
            f"{outputs} outputs for {len(classes)} classes.",
            f"backbone.to_classes({len(classes)}).",
        )


def _loader_findings(model, loader):
    if not isinstance(loader, torch.utils.data.DataLoader):
        return
    labels = getattr(data_of(loader), "labels", None)
    in_order = isinstance(loader.sampler, torch.utils.data.SequentialSampler)
    if in_order and labels is not None and len(labels) > 1:
        changes = int((np.diff(np.asarray(labels)) != 0).sum())
        classes = len(np.unique(labels))
        if classes > 1 and changes < 2 * classes:
            yield Finding(
                "unshuffled",
                "the training loader",
                f"it keeps the order of the data, and the class changes {changes} "
                f"times in {len(labels)} examples.",
                "DataLoader(..., shuffle=True).",
            )
    own = getattr(model, "preprocess", None)
    mean, std = getattr(own, "mean", None), getattr(own, "std", None)
    if mean is None or std is None:
        return
    x = next(iter(loader))
    x = x[0] if isinstance(x, (tuple, list)) else x
    if not isinstance(x, torch.Tensor) or x.ndim != 4:
        return
    low, high = float(x.min()), float(x.max())
    reach = max(max(abs(m / s), abs((1 - m) / s)) for m, s in zip(mean, std))
    wrong = None
    if not torch.isfinite(x).all():
        wrong = "NaN or infinite numbers"
    elif x.dtype.is_floating_point and max(abs(low), abs(high)) > 1.5 * reach + 0.5:
        wrong = f"numbers from {low:.3g} to {high:.3g}"
    elif x.dtype.is_floating_point and 0 <= low and high <= 1 and min(mean) > 0.1:
        wrong = f"numbers from {low:.2f} to {high:.2f}, scaled but not normalised"
    elif x.shape[1] != 3 and x.dtype.is_floating_point:
        wrong = f"batches of shape {tuple(x.shape)}, channels not second"
    if wrong:
        yield Finding(
            "preprocessing",
            f"the training loader gives {wrong}",
            f"the weights expect about {-reach:.1f} to {reach:.1f}.",
            "use backbone.preprocess, which belongs to the weights.",
        )


# -- splits -----------------------------------------------------------------------


def _digests(data) -> dict[bytes, int]:
    """Fingerprint of each picture or text -> its row; the first of equal ones."""
    images = getattr(data, "images", None)
    if images is not None:
        rows = (row.tobytes() for row in np.ascontiguousarray(images))
    else:
        rows = (" ".join(text.split()).encode() for text in getattr(data, "texts", ()))
    found: dict[bytes, int] = {}
    for i, row in enumerate(rows):
        found.setdefault(hashlib.blake2b(row, digest_size=16).digest(), i)
    return found


def _split_findings(train, val, test):
    parts = {"train": train, "validation": val, "test": test}
    seen = {name: _digests(data) for name, data in parts.items() if data is not None}
    names = list(seen)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = seen[one].keys() & seen[other].keys()
            if not shared:
                continue
            pair = {one, other}
            if pair == {"validation", "test"} and len(shared) > 0.5 * len(seen[other]):
                yield Finding(
                    "test-for-choosing",
                    "validation and test",
                    f"{len(shared)} of {len(seen[other])} test examples also choose "
                    "the weights.",
                    "choose on examples that are not reported on.",
                )
                continue
            digest = min(shared, key=lambda d: seen[one][d])
            yield Finding(
                "shared-examples",
                f"{one} and {other}",
                f"{len(shared)} examples are in both, {one} {seen[one][digest]} = "
                f"{other} {seen[other][digest]} for one.",
                "split by wafer, by patient, by author before anything else.",
            )
