"""The classifier of a picture model: where it is, what it reads, how it is replaced.

timm says all of it (`get_classifier`, `reset_classifier`, `forward_head`), and it is
asked, because its heads are many kinds: one linear layer, two that are averaged
(distilled transformers), several that read other widths (CrossViT), a small network, or
none yet.  Elsewhere the classifier is the last layer with weights.
"""

import copy

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import device_of


def find(model: nn.Module) -> tuple[str, ...]:
    """Dotted names of the modules that are new when the classes are others.

    The classifier itself comes first.  Of a model without one, such as an encoder of
    timm, the place where it will be.  Raises CourseError when there is none.
    """
    if hasattr(model, "reset_classifier"):
        return _found_by_reset(model)
    layers = [
        name
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear)
        or (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    ]
    if not layers:
        raise CourseError(
            f"No classifier was found in {type(model).__name__}.\nExpected: a linear "
            "layer or a 1 x 1 convolution as the last one with weights.\n"
            "Do: choose a model that classifies."
        )
    return (layers[-1],)


def _found_by_reset(model) -> tuple[str, ...]:
    """What timm's `reset_classifier` makes anew, tried on a copy without numbers."""
    trial = without_numbers(model)
    old = {id(p) for p in trial.parameters()}
    kept = list(trial.parameters())  # so that no id is used twice
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        _reset(trial, 2)
    fresh = [name for name, p in trial.named_parameters() if id(p) not in old]
    del kept
    classifier = trial.get_classifier()  # one module, a tuple or a list
    several = isinstance(classifier, (tuple, list, nn.ModuleList))
    found = [
        name
        for wanted in (classifier if several else [classifier])
        for name, m in trial.named_modules()
        if m is wanted and all(id(p) not in old for p in m.parameters())
    ]
    for name in fresh:
        if not inside(name, found):
            found.append(name.rpartition(".")[0])
    return tuple(_joined(found, dict(trial.named_modules())))


def _joined(found, modules) -> list[str]:
    """Parts that are all of one module become that module: a norm and its linear."""
    whole = list(dict.fromkeys(found))
    for parent in dict.fromkeys(name.rpartition(".")[0] for name in found):
        held = [n for n, _ in modules[parent].named_parameters(prefix=parent)]
        parts = [name for name in whole if inside(name, [parent])]
        list_of_heads = isinstance(modules[parent], nn.ModuleList)
        if not parent or list_of_heads or len(parts) < 2:
            continue
        if all(inside(name, parts) for name in held):
            whole[whole.index(parts[0])] = parent
            whole = [name for name in whole if name not in parts]
    return whole


def without_numbers(model) -> nn.Module:
    """A copy on the meta device: shapes alone, no memory."""
    tensors = [*model.parameters(), *model.buffers()]
    memo = {id(t): _empty(t) for t in tensors}
    return copy.deepcopy(model, memo)


def _empty(tensor):
    bare = tensor.detach().to("meta")
    if not isinstance(tensor, nn.Parameter):
        return bare
    return nn.Parameter(bare, requires_grad=tensor.requires_grad)


def _reset(model, num_classes: int) -> None:
    """timm's own replacement; a model that does not pool yet is told to."""
    if getattr(model, "global_pool", "avg") in ("", None):
        model.reset_classifier(num_classes, global_pool="avg")
    else:
        model.reset_classifier(num_classes)


def inside(name: str, places) -> bool:
    """Is this module or parameter one of the places, or within one?"""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def width(model, heads) -> int:
    """Numbers that the classifier reads of one example: the length of `features`."""
    if hasattr(model, "reset_classifier"):
        return getattr(model, "head_hidden_size", model.num_features)
    layer = model.get_submodule(heads[0])
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def features(model, heads, x):
    """What the classifier reads, one vector an example: (N, width).

    timm gives it itself.  Elsewhere the network runs, and the input of the classifier
    is kept.  Gradients flow.
    """
    if hasattr(model, "forward_head"):
        maps = model.forward_features(x)
        return as_vectors(model.forward_head(maps, pre_logits=True))
    seen = []
    with model.get_submodule(heads[0]).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    ):
        model(x)
    return as_vectors(seen[0])


def as_vectors(x):
    """(N, F) as it is; maps (N, F, H, W) and tokens (N, T, F) by their mean."""
    if x.ndim == 4:
        return x.mean((2, 3))
    return x.mean(1) if x.ndim == 3 else x


def outputs(model, heads) -> int | None:
    """Number of classes that the classifier answers with; None: it does not say."""
    layers = model.get_submodule(heads[0]).modules() if heads else ()
    sizes = [
        getattr(layer, "out_features", getattr(layer, "out_channels", None))
        for layer in layers
    ]
    return next((size for size in reversed(sizes) if size is not None), None)


def replace(model, heads, num_features: int, num_classes: int) -> tuple[str, ...]:
    """Put a fresh classifier in place, drawn from torch's generator; its names."""
    device = device_of(model)
    if hasattr(model, "reset_classifier"):
        _reset(model, num_classes)
    else:
        heads = _replaced_by_linear(model, heads[0], num_features, num_classes)
    for name in heads:
        model.get_submodule(name).to(device).train(model.training)
    return heads


def _replaced_by_linear(model, head, num_features, num_classes) -> tuple[str, ...]:
    old, parent = model.get_submodule(head), head.rpartition(".")[0]
    if not isinstance(old, nn.Conv2d):
        new = nn.Linear(num_features, num_classes)
    elif isinstance(model.get_submodule(parent), nn.Sequential):
        # SqueezeNet's: convolution, ReLU, pooling.  Pooled first, the head is linear
        # in `features`, as everywhere else.
        new = nn.Linear(old.in_channels, num_classes)
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), new)
        model.set_submodule(parent, pooled)
        return (f"{parent}.2",)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, 1)
    model.set_submodule(head, new)
    return (head,)
