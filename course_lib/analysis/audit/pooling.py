"""Pooling: one vector from many places, as in pre-training or otherwise."""

import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from torch import nn

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen
from course_lib.analysis.audit.setup import Setup
from course_lib.models.text import TextClassifier

NAMES = {  # one spelling for each
    "token": "cls", "cls_token": "cls", "first": "cls",
    "avg": "mean", "mean_tokens": "mean", "average": "mean", "gap": "mean",
    "lasttoken": "last", "last_token": "last", "max_tokens": "max",
}  # fmt: skip


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """A finding where the pooling in use is not that of pre-training."""
    used, wanted = pooling_used(setup), pooling_of_pretraining(setup.net)
    if wanted is None:  # no file says how it was
        yield Unseen("pooling", FOREIGN)
    elif not used:
        yield Unseen("pooling", "pooling")
    elif used != wanted:
        yield Finding(
            "pooling",
            f"{used} pooling",
            f"the weights were trained with {wanted} pooling: the other vector was "
            "never trained to say anything.",
            f"{wanted} pooling, as the model's files say; or train long enough for "
            "another, and compare.",
        )


def _name(pooling) -> str | None:
    if not pooling or not isinstance(pooling, str):
        return None
    plain = pooling.lower().removeprefix("pooling_mode_")
    return NAMES.get(plain, plain)


def pooling_used(setup: Setup) -> str | None:
    """What is said in the arguments, else what the network does; None if unknown.

    Read from timm's networks, from the course's text classifier (mean), and from
    classifiers of transformers that read the first token.
    """
    if setup.loop.pooling is not None:
        return _name(setup.loop.pooling)
    return _of_timm(setup.net) or _of_classifier(setup.net)


def _of_timm(net: nn.Module) -> str | None:
    """timm's global_pool: a word, or a layer with its kind, in the network or head."""
    for holder in (net, getattr(net, "head", None), getattr(net, "classifier", None)):
        pool = getattr(holder, "global_pool", None)
        found = _name(pool) or _name(getattr(pool, "pool_type", None))
        if found:
            return found
    return None


def _of_classifier(net: nn.Module) -> str | None:
    """How a classifier around an encoder of transformers makes one vector."""
    core = net.get_base_model() if hasattr(net, "get_base_model") else net
    if isinstance(core, TextClassifier):
        return "mean"
    if not type(core).__name__.endswith("ForSequenceClassification"):
        return None
    config = core.config
    said = getattr(config, "classifier_pooling", None)  # ModernBERT's
    if said:
        return _name(said)
    names = [name for name, _ in core.named_modules()]
    # of BERT, DistilBERT and RoBERTa
    first = ("pooler", "pre_classifier", "classifier.dense")
    if any(name.endswith(first) for name in names):
        return "cls"
    return "last" if hasattr(core, "score") else None  # decoders: the last real token


def pooling_of_pretraining(net: nn.Module) -> str | None:
    """How the weights were trained, as their own files say; None if they do not.

    Of a sentence encoder its folder's 1_Pooling/config.json, of timm's networks the
    architecture's own default.
    """
    core = net.get_base_model() if hasattr(net, "get_base_model") else net
    about = getattr(core, "pretrained_cfg", None) or {}
    if isinstance(about, dict) and about.get("architecture") and "timm" in sys.modules:
        return _timm_default(about["architecture"])
    config = getattr(core, "config", None)
    folder = getattr(config, "_name_or_path", "") or ""
    files = sorted(Path(folder).glob("*_Pooling/config.json")) if folder else []
    if not files:
        return None
    try:
        said = json.loads(files[0].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    modes = said.get("pooling_mode")  # newer files name it
    if isinstance(modes, str):
        return _name(modes)
    on = [
        key
        for key, value in said.items()
        if key.startswith("pooling_") and value is True
    ]
    return _name(on[0]) if len(on) == 1 else None


@lru_cache
def _timm_default(architecture: str) -> str | None:
    """The pooling that timm builds this architecture with, without weights."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            return _of_timm(timm.create_model(architecture))
    except Exception:  # a name of another version: nothing is known then
        return None
