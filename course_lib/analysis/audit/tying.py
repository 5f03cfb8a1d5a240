"""Tied weights: one tensor in two places, which must stay one."""

import sys
from collections.abc import Iterator

from torch import nn

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen
from course_lib.analysis.audit.setup import Setup, base_layer


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about weights that are, or should be, shared."""
    yield from _apart_findings(setup.net)
    yield from _shared_findings(setup.net, setup.tuners)
    if not tied_pairs(setup.net):
        yield Unseen("untied-weights", FOREIGN)
    if not setup.tuners:
        yield Unseen("tied-adapter", FOREIGN)


def _same(one, other) -> bool:
    """Are two tensors one memory?"""
    return one is other or (
        one.shape == other.shape
        and one.untyped_storage()._cdata == other.untyped_storage()._cdata
    )


def _owners(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Models of transformers in a network that say what is tied, outermost only."""
    if "transformers" not in sys.modules:  # then there can be none
        return []
    from transformers import PreTrainedModel

    found: list[tuple[str, nn.Module]] = []
    for name, module in net.named_modules():
        inside = any(name.startswith(f"{n}." if n else "") for n, _ in found)
        if isinstance(module, PreTrainedModel) and not inside:
            found.append((name, module))
    return found


def _tensor(model: nn.Module, path: str):
    """(module under adapters, its tensor) of a parameter's path as it was once."""
    place, _, own = path.rpartition(".")
    module = model
    for part in place.split(".") if place else []:
        module = getattr(base_layer(module), part, None)
        if module is None:
            return None
    return getattr(base_layer(module), own, None)


def tied_pairs(net: nn.Module) -> list[tuple[str, object, str, object]]:
    """(name, tensor, name, tensor) of every pair that the configuration ties."""
    pairs = []
    for _, model in _owners(net):
        keys = dict(model.all_tied_weights_keys)
        config = getattr(model, "config", None)
        config = config.get_text_config() if config is not None else None
        for target, source in keys.items():
            one, other = _tensor(model, target), _tensor(model, source)
            if one is not None and other is not None:
                pairs.append((target, one, source, other))
        if pairs or not getattr(config, "tie_word_embeddings", False):
            continue
        # dropped from the list when two different tensors were loaded
        ends = (model.get_output_embeddings(), model.get_input_embeddings())
        if None not in ends:
            one, other = (getattr(base_layer(end), "weight", None) for end in ends)
            if one is not None and other is not None:
                pairs.append(("output embeddings", one, "input embeddings", other))
    return pairs


def _apart_findings(net):
    for target, one, source, other in tied_pairs(net):
        if _same(one, other):
            continue
        why = "they learn and are saved apart"
        if one.shape != other.shape or one.dtype != other.dtype:
            why = f"{tuple(one.shape)} {one.dtype}, {tuple(other.shape)} {other.dtype}"
        yield Finding(
            "untied-weights",
            f"{target} and {source}",
            f"the configuration ties them, and they are two tensors: {why}; the next "
            "load may keep one of the two.",
            "model.tie_weights() after the change, ensure_weight_tying=True in the "
            "adapter's config, or tie_word_embeddings=False if they are meant to "
            "differ.",
        )


def _shared_findings(net, tuners):
    """Adapters on a weight of two layers: a merge changes both, or is made twice."""
    owners: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    adapted: dict[int, list[str]] = {}
    for name, layer in tuners:
        if hasattr(layer, "trainable_tokens_delta"):
            continue  # rows that are put in place of others; peft ties those itself
        base = base_layer(layer)
        for parameter in base.parameters(recurse=False):
            holders = {n.rpartition(".")[0] for n in owners.get(id(parameter), ())}
            if len(holders) > 1:
                adapted.setdefault(id(parameter), []).append(name)
    for key, names in adapted.items():
        shared = [n for n in owners[key] if not any(n.startswith(a) for a in names)]
        if len(names) > 1:
            where, what = " and ".join(names), "both merge into it: it is changed twice"
        else:
            where = f"{names[0]} and {', '.join(shared)}"
            what = "a merge changes the other layer too"
        yield Finding(
            "tied-adapter",
            where,
            f"one tensor in two layers, {what}.",
            "leave the tied layer out of target_modules, untie it before "
            "(a copy, tie_word_embeddings=False), or never merge.",
        )
