"""Silent failures: what is wrong with a training set-up, before or after it has run.

None of these mistakes raises an error in PyTorch; each costs accuracy, memory or
honesty.  :func:`audit` takes whatever there is, the model, the optimizer, the data,
the history, and returns findings that name the parameter, layer or split.  It looks,
and changes nothing.  Taught in lesson 05.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib import heads
from course_lib.errors import CourseError
from course_lib.features import network
from course_lib.freezing import frozen_in_train_mode

__all__ = ["CHECKS", "Finding", "audit", "report"]

CHECKS = {
    "stale-parameter": "the optimizer holds a parameter that is not in the model",
    "missing-parameter": "a parameter learns, but no optimizer group holds it",
    "double-parameter": "a parameter is in the optimizer twice",
    "frozen-batchnorm": "a frozen BatchNorm layer is in train mode and will drift",
    "tiny-batch": "BatchNorm takes its statistics from very few pictures",
    "preprocessing": "the inputs are not scaled as the weights expect",
    "unshuffled": "training goes through the classes one after the other",
    "head-size": "the head's outputs and the classes differ in number",
    "shared-examples": "the same picture or text is in two splits",
    "test-for-choosing": "validation and test data are the same",
    "unsaved-head": "the adapter's saved files will lack the trained head",
    "last-checkpoint": "the weights kept are not those of the lowest validation loss",
    "half-precision": "parameters that learn are stored in float16",
    "nothing-learns": "every parameter is frozen",
}


@dataclass(frozen=True)
class Finding:
    """One mistake: which check, where (names), what it means and what to do."""

    check: str
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"[{self.check}] {self.where}: {self.message} Do: {self.remedy}"


class Findings(list):
    """The findings, and in ``unseen`` the checks that had nothing to look at."""

    unseen: tuple[str, ...] = ()


def audit(
    model,
    optimizer=None,
    train=None,
    val=None,
    test=None,
    *,
    preprocess=None,
    batch_size: int | None = None,
    history=None,
    kept: int | None = None,
    training: bool = True,
    smallest_batch: int = 8,
) -> Findings:
    """Every mistake that can be seen from what is given; an empty list is good news.

    model: a Backbone, a module, or a peft model.  optimizer: a torch optimizer, or a
    list of parameter groups.  train, val, test: ImageDataset, TextDataset or a torch
    DataLoader; of a training loader one batch is drawn (it must be repeatable), its
    scale and order are looked at, and the batch size is taken.  preprocess: what turns
    the pictures into inputs in *your* loop, compared with the Backbone's own.
    batch_size: of training.  history: a training.History, or anything with
    ``val_loss``; kept: index of the evaluation whose weights are used.  training:
    False after training, when modes no longer matter.  Findings come in the order of
    CHECKS.  Lesson 05.
    """
    net = network(model)
    loader, train = train, _data_of(train)
    val, test = _data_of(val), _data_of(test)
    if batch_size is None:
        batch_size = getattr(loader, "batch_size", None)
    found = [
        *_optimizer_findings(net, optimizer),
        *(_batchnorm_findings(net, batch_size, smallest_batch) if training else ()),
        *_input_findings(model, train, preprocess),
        *_loader_findings(model, loader),
        *_head_findings(model, net, train),
        *_split_findings(train, val, test),
        *_adapter_findings(net),
        *_history_findings(history, kept),
        *_state_findings(net),
    ]
    order = list(CHECKS)
    findings = Findings(sorted(found, key=lambda one: order.index(one.check)))
    blind = {
        "stale-parameter": optimizer is None,
        "missing-parameter": optimizer is None,
        "double-parameter": optimizer is None,
        "frozen-batchnorm": not training,
        "tiny-batch": batch_size is None or not training,
        "preprocessing": train is None or (preprocess is None and loader is train),
        "unshuffled": loader is train,
        "head-size": isinstance(model, nn.Module)
        or not getattr(model, "heads", ())
        or train is None,
        "shared-examples": sum(data is not None for data in (train, val, test)) < 2,
        "test-for-choosing": val is None or test is None,
        "unsaved-head": not hasattr(net, "peft_config"),
        "last-checkpoint": history is None,
    }
    findings.unseen = tuple(check for check in CHECKS if blind.get(check))
    return findings


def report(findings) -> str:
    """The findings as text, one a line, or how many checks found nothing.

    Checks that were given nothing to look at are named: they are no good news.
    """
    if findings:
        return "\n".join(str(finding) for finding in findings)
    unseen = getattr(findings, "unseen", ())
    text = f"no mistake found by {len(CHECKS) - len(unseen)} checks"
    if unseen:
        text += f"; not looked at, for want of input: {', '.join(unseen)}"
    return text


# -- optimizer --------------------------------------------------------------------


def _optimizer_findings(net, optimizer):
    if optimizer is None:
        return
    groups = getattr(optimizer, "param_groups", optimizer)
    if not isinstance(groups, (list, tuple)) or not all(
        isinstance(group, Mapping) and "params" in group for group in groups
    ):
        raise CourseError(
            f"audit: optimizer is a {type(optimizer).__name__}. Expected a torch "
            "optimizer or a list of parameter groups."
        )
    names = {id(p): name for name, p in net.named_parameters()}
    held: dict[int, int] = {}
    for number, group in enumerate(groups):
        for position, parameter in enumerate(group["params"]):
            held[id(parameter)] = held.get(id(parameter), 0) + 1
            if id(parameter) not in names:
                yield Finding(
                    "stale-parameter",
                    f"group {number}, parameter {position}, "
                    f"shape {tuple(parameter.shape)}",
                    "it is no longer in the model and will train in vain.",
                    "make the optimizer after the head has been replaced.",
                )
    for key, times in held.items():
        if times > 1:
            yield Finding(
                "double-parameter",
                names.get(key, "a parameter outside the model"),
                f"it is listed {times} times and moves that many times a step.",
                "put every parameter into one group (layer_groups.decayed_groups).",
            )
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and id(parameter) not in held:
            yield Finding(
                "missing-parameter",
                name,
                "it has requires_grad=True and is in no group: it never moves.",
                "freeze it, or add it with optimizer.add_param_group.",
            )


# -- BatchNorm --------------------------------------------------------------------


def _batchnorm_findings(net, batch_size, smallest):
    for name in frozen_in_train_mode(net):
        yield Finding(
            "frozen-batchnorm",
            name,
            "its weights are frozen, its running mean and variance are not.",
            "freezing.train_mode(model) or freezing.freeze_batchnorm(model).",
        )
    if batch_size is None or batch_size >= smallest:
        return
    for name, layer in net.named_modules():
        learns = any(p.requires_grad for p in layer.parameters(recurse=False))
        if isinstance(layer, _BatchNorm) and learns:
            yield Finding(
                "tiny-batch",
                name,
                f"it normalises by the statistics of {batch_size} pictures.",
                f"batches of {smallest} or more, or keep BatchNorm frozen.",
            )
            return  # one is enough: all layers see the same batch


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


def _head_findings(model, net, train):
    names = getattr(model, "heads", ())
    classes = getattr(train, "classes", None)
    if isinstance(model, nn.Module) or not names or classes is None:
        return
    outputs = heads.outputs(net, names)
    if outputs is not None and outputs != len(classes):
        yield Finding(
            "head-size",
            ", ".join(names),
            f"{outputs} outputs for {len(classes)} classes.",
            f"backbone.to_classes({len(classes)}).",
        )


def _data_of(data):
    """The data set behind a DataLoader, subsets of one resolved."""
    subset = torch.utils.data.Subset
    if isinstance(data, torch.utils.data.DataLoader):
        data = data.dataset
    if isinstance(data, subset) and hasattr(data.dataset, "subset"):
        data = data.dataset.subset(np.asarray(data.indices))
    return data


def _loader_findings(model, loader):
    if not isinstance(loader, torch.utils.data.DataLoader):
        return
    labels = getattr(_data_of(loader), "labels", None)
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


# -- adapters, history, state -----------------------------------------------------


def _adapter_findings(net):
    configs = getattr(net, "peft_config", None)
    if not isinstance(configs, Mapping):
        return
    for adapter, config in configs.items():
        saved = tuple(getattr(config, "modules_to_save", None) or ())
        for name, parameter in net.named_parameters():
            parts = name.split(".")
            adapted = any("lora" in p or "ia3" in p or "prompt" in p for p in parts)
            kept = "modules_to_save" in parts or any(p in saved for p in parts)
            if parameter.requires_grad and not adapted and not kept:
                yield Finding(
                    "unsaved-head",
                    name,
                    f"it learns, but save_pretrained of adapter {adapter!r} leaves it "
                    "out.",
                    f"modules_to_save=[{parts[-2]!r}] in the adapter's config.",
                )


def _history_findings(history, kept):
    losses = getattr(history, "val_loss", None)
    if not losses:
        return
    best = int(np.argmin(losses))
    kept = getattr(history, "best_epoch", None) if kept is None else kept
    if kept is not None and losses[kept] > losses[best]:
        yield Finding(
            "last-checkpoint",
            f"evaluation {kept}",
            f"validation loss {losses[kept]:.3f}, it was {losses[best]:.3f} at "
            f"evaluation {best}.",
            "keep the weights of the lowest validation loss (training.fit does).",
        )


def _state_findings(net):
    parameters = list(net.named_parameters())
    for name, parameter in parameters:
        if parameter.requires_grad and parameter.dtype == torch.float16:
            yield Finding(
                "half-precision",
                name,
                "small updates are rounded away, large gradients overflow.",
                "keep the weights in float32 and compute under torch.autocast.",
            )
            return
    if parameters and not any(p.requires_grad for _, p in parameters):
        yield Finding(
            "nothing-learns",
            f"all {len(parameters)} parameters",
            "nothing has requires_grad=True.",
            "freezing.unfreeze(the head), or freeze less.",
        )
