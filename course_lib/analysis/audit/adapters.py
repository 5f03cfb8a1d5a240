"""Adapters: where they sit, how strongly they act, whether they learn and are used."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen, unseen
from course_lib.analysis.audit.setup import (
    Setup,
    base_layer,
    some_names,
    tuner_types,
)
from course_lib.methods.lora import LoRALinear

FEW = 0.10  # share of the layers below which adapters are few
LOWEST_SCALE, HIGHEST_SCALE = 0.25, 4.0  # of the factor before B A x; 1 is alpha = r
OF_ADAPTERS = ("few-adapters", "adapter-scale", "frozen-adapter", "idle-adapter")


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about adapters, of peft or of `course_lib.methods.lora`, and modes."""
    training = setup.run.training
    if setup.adapted:
        yield from _few_findings(setup.net, setup.tuners)
        yield from _scale_findings(setup.tuners)
        if training:
            yield from _frozen_findings(setup)
        else:
            yield from _idle_findings(setup.tuners)
        other = "idle-adapter" if training else "frozen-adapter"
        yield Unseen(other, f"training={not training}")
    else:
        yield from unseen(FOREIGN, *OF_ADAPTERS)
    if training:
        yield Unseen("train-mode", "training=False")
    else:
        yield from _mode_findings(setup.net)


# -- where they sit ---------------------------------------------------------------


def adapter_places(net: nn.Module) -> dict[str, bool]:
    """{layer: has it an adapter?} of all that adapters can sit on.

    Linear layers, convolutions, and matrices of experts that are one parameter (E, d,
    k); not the output layer of a language model, nor what is saved whole, unless an
    adapter sits there.
    """
    kinds, found, skipped = tuner_types(), {}, []
    output = getattr(net, "get_output_embeddings", lambda: None)()
    for name, module in net.named_modules():
        if any(name.startswith(prefix) for prefix in skipped):
            continue
        if isinstance(module, kinds):
            skipped.append(name + ".")
            found |= _adapted(name, module)
        elif isinstance(getattr(module, "modules_to_save", None), nn.ModuleDict):
            skipped.append(name + ".")
        elif module is not output and _is_layer(module):
            found[name] = False
        else:
            found |= {f"{name}.{own}": False for own in _experts(module)}
    return found


def _is_layer(module) -> bool:
    """A matrix that an adapter can sit on: linear, of GPT-2's kind, or convolution."""
    linear = hasattr(module, "in_features") and hasattr(module, "out_features")
    conv1d = hasattr(module, "nf") and hasattr(module, "nx")
    return linear or conv1d or isinstance(module, nn.modules.conv._ConvNd)


def _experts(module) -> list[str]:
    parameters = module.named_parameters(recurse=False)
    return [name for name, parameter in parameters if parameter.ndim == 3]


def _adapted(name: str, layer) -> dict[str, bool]:
    """The layer itself; of wrapped parameters of experts each one of the module."""
    wrapped = set()
    inner = layer
    while hasattr(inner, "parameter_name"):
        wrapped.add(inner.parameter_name)
        inner = inner.base_layer
    if not wrapped:
        return {name: True}
    return {f"{name}.{own}": own in wrapped for own in {*_experts(inner), *wrapped}}


def _few_findings(net, tuners):
    if all(hasattr(layer, "trainable_tokens_delta") for _, layer in tuners):
        return  # prompts, prefixes and new tokens sit on no layer
    places = adapter_places(net)
    on = [name for name, has in places.items() if has]
    if len(on) >= FEW * len(places):
        return
    bare = {n.rpartition(".")[2] for n, has in places.items() if not has}
    yield Finding(
        "few-adapters",
        some_names(on),
        f"{len(on)} of {len(places)} layers ({len(on) / len(places):.0%}) have an "
        f"adapter; none on {some_names(sorted(bare), 6)}.",
        'target_modules="all-linear", or check the names: a pattern matches less than '
        "it seems to.",
    )


# -- how strongly they act --------------------------------------------------------


def scales(tuners) -> dict[tuple[float, float, float, bool], list[str]]:
    """{(factor, r, alpha, rank-stabilised): layers} of the active LoRA adapters."""
    found: dict[tuple, list[str]] = {}
    for name, layer in tuners:
        if isinstance(layer, LoRALinear):
            rows = [(layer.scale, layer.r, layer.alpha, layer.rank_stabilised)]
        elif isinstance(getattr(layer, "scaling", None), dict):
            stabilised = getattr(layer, "use_rslora", {})
            alphas = getattr(layer, "lora_alpha", None) or layer.alpha
            # AdaLoRA divides by the rank in the forward pass
            later = hasattr(layer, "ranknum")
            rows = [
                (
                    float(layer.scaling[one]) / (layer.r[one] if later else 1),
                    layer.r[one],
                    alphas[one],
                    bool(stabilised.get(one)),
                )
                for one in layer.active_adapters
                if one in layer.scaling and one in getattr(layer, "r", {})
            ]
        else:
            rows = []
        for row in rows:
            found.setdefault(row, []).append(name)
    return found


def _scale_findings(tuners):
    for (factor, r, alpha, stabilised), names in scales(tuners).items():
        if LOWEST_SCALE <= factor <= HIGHEST_SCALE:
            continue
        rule = "alpha / sqrt(r), rank-stabilised" if stabilised else "alpha / r"
        better = f"{r**0.5:.3g}" if stabilised else f"{r} to {2 * r}"
        yield Finding(
            "adapter-scale",
            some_names(names),
            f"r = {r}, alpha = {alpha}: the update counts {factor:.3g} times ({rule}), "
            f"outside of {LOWEST_SCALE:g} to {HIGHEST_SCALE:g}, so the learning rate "
            "means something else than in others' runs.",
            f"lora_alpha of {better}, or a rate chosen anew for this factor.",
        )


# -- whether they learn and are used ----------------------------------------------


def _adapter_parameters(setup) -> dict[str, nn.Parameter]:
    """Parameters of active adapters, {name: parameter}."""
    found = {}
    for name, layer in setup.tuners:
        base = base_layer(layer)
        own = {id(p) for p in base.parameters()}
        active = getattr(layer, "active_adapters", None)
        for key, parameter in layer.named_parameters():
            mine = active is None or any(one in key.split(".") for one in active)
            if id(parameter) not in own and mine:
                found[f"{name}.{key}"] = parameter
    return found


def _frozen_findings(setup):
    parameters = _adapter_parameters(setup)
    if parameters and not any(p.requires_grad for p in parameters.values()):
        yield Finding(
            "frozen-adapter",
            some_names(parameters),
            f"all {len(parameters)} tensors of the active adapter are frozen: "
            "from_pretrained loads adapters for use, not for training.",
            "PeftModel.from_pretrained(..., is_trainable=True), or "
            "set_adapter(name) to train another.",
        )


def _second_factors(layer) -> list[torch.Tensor]:
    """B of each active adapter of a LoRA layer: zero until it has learned."""
    if isinstance(layer, LoRALinear):
        return [layer.B]
    factors = []
    for kind in ("lora_B", "lora_embedding_B"):
        held = getattr(layer, kind, None) or {}
        for one in getattr(layer, "active_adapters", []):
            if one in held:
                factors.append(getattr(held[one], "weight", held[one]))
    return factors


def _idle_findings(tuners):
    idle, all_of_them = [], 0
    for name, layer in tuners:
        factors = _second_factors(layer)
        all_of_them += bool(factors)
        if factors and not any(f.detach().any() for f in factors):
            idle.append(name)
    off = [name for name, layer in tuners if getattr(layer, "disable_adapters", False)]
    if off:
        yield Finding(
            "idle-adapter",
            some_names(off),
            f"{len(off)} of {len(tuners)} adapters are switched off.",
            "model.enable_adapter_layers().",
        )
    if idle:
        yield Finding(
            "idle-adapter",
            some_names(idle),
            f"in {len(idle)} of {all_of_them} adapters B is zero, as before training: "
            "they change nothing.",
            "load the file into the adapter that is active, under the same name; or "
            "see whether gradients reach it (audit with a batch).",
        )


def _mode_findings(net):
    """Layers that act otherwise in training, and are in train mode when used."""
    dropout = [
        name
        for name, module in net.named_modules()
        if module.training
        and isinstance(module, nn.modules.dropout._DropoutNd)
        and module.p > 0
    ]
    norms = [
        name
        for name, module in net.named_modules()
        if module.training and isinstance(module, _BatchNorm)
    ]
    for names, what in ((dropout, "dropout"), (norms, "statistics of the batch")):
        if names:
            yield Finding(
                "train-mode",
                some_names(names),
                f"{what} in {len(names)} layers: the same input gives another answer "
                "each time or in another batch.",
                "model.eval() before use (is_trainable=True leaves an adapter in "
                "train mode).",
            )
