"""Looking inside a network: activations, filters, receptive fields, cached features.

Every function takes a zoo ``Backbone`` or a plain ``torch.nn.Module``, and names a
place in it by a stage ("layer3") or by a module's dotted name ("layer3.0.conv1").
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn

from course_lib.errors import CourseError

# -- which network, which place in it ---------------------------------------------


def network(model) -> nn.Module:
    """The torch module inside a Backbone; a module is returned as it is."""
    return model if isinstance(model, nn.Module) else model.model


def resolve(model, place: str) -> str:
    """The dotted module name of a stage or module.  Raises CourseError if unknown."""
    stages = {} if isinstance(model, nn.Module) else model.stages
    name = stages.get(place, place)
    try:
        network(model).get_submodule(name)
    except AttributeError:
        top = [child for child, _ in network(model).named_children()]
        raise CourseError(
            f"There is no module {place!r} in this network.\n"
            f"Expected: a stage ({', '.join(stages) or 'none named'}) or a dotted "
            f"module name that starts with one of {', '.join(top)}.\n"
            "Do: list them with dict(model.named_modules())."
        ) from None
    return name


def preprocess_of(model, preprocess=None):
    """The given preprocessing, else the backbone's own, else None."""
    return preprocess or getattr(model, "preprocess", None)


@contextmanager
def eval_mode(module: nn.Module):
    """Evaluation mode inside the block; afterwards each layer's mode is restored."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for layer, training in modes:
            layer.training = training


def forward(module: nn.Module, inputs):
    """Output tensor for a tensor, or for a dict of tensors as tokenizers make them.

    Hugging Face models return an object; its ``logits`` (or last hidden state) is
    taken.
    """
    out = module(**inputs) if isinstance(inputs, Mapping) else module(inputs)
    for field in ("logits", "last_hidden_state"):
        out = getattr(out, field, out)
    return out


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters are; the CPU for a module without any."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def to_device(inputs, device):
    """A tensor, or a dict of tensors, on the given device.

    Images (N, C, H, W) are laid out channels last in memory: the same numbers, and
    convolutions on a CPU run up to 1.6 times as fast.
    """
    if isinstance(inputs, Mapping):
        return {key: value.to(device) for key, value in inputs.items()}
    layout = torch.channels_last if inputs.ndim == 4 else torch.preserve_format
    return inputs.to(device, memory_format=layout)


# -- activations ------------------------------------------------------------------


def activations(model, x, modules: Sequence[str]) -> dict[str, torch.Tensor]:
    """Outputs of the named modules for inputs ``x`` (already preprocessed).

    Forward hooks collect copies during one pass in evaluation mode without
    gradients, so BatchNorm statistics do not move.  A module that runs several times
    in one pass gives its last output.  Raises CourseError on an unknown name.
    """
    module = network(model)
    kept: dict[str, torch.Tensor] = {}

    def keep(place, _, __, output):
        output = output[0] if isinstance(output, (tuple, list)) else output
        # a copy, because an in-place ReLU behind it would alter the original
        kept[place] = output.detach().clone()

    with ExitStack() as hooks, torch.no_grad(), eval_mode(module):
        for place in modules:
            layer = module.get_submodule(resolve(model, place))
            hooks.enter_context(layer.register_forward_hook(partial(keep, place)))
        forward(module, to_device(x, device_of(module)))
    missing = [place for place in modules if place not in kept]
    if missing:
        raise CourseError(
            f"{', '.join(missing)} did not run in the forward pass, so there is no "
            "activation. Name a module that the network uses."
        )
    return {place: kept[place] for place in modules}


def filters(conv: nn.Conv2d) -> np.ndarray:
    """First-layer filters as pictures: (out, kh, kw, 3) in 0..1, grey is zero weight.

    Each filter is scaled by its own largest weight.  Raises CourseError for a layer
    that does not read an image (1 or 3 channels).  Zeiler & Fergus 2014.
    """
    weight = getattr(conv, "weight", None)
    if weight is None or weight.ndim != 4 or weight.shape[1] not in (1, 3):
        shape = None if weight is None else tuple(weight.shape)
        raise CourseError(
            f"filters: weights of shape {shape} are no pictures. Expected a first "
            "convolution (out, 3, kh, kw); for deeper layers use top_patches."
        )
    w = weight.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    w = np.broadcast_to(w, (*w.shape[:3], 3))
    largest = np.abs(w).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * w / np.maximum(largest, 1e-12)


# -- receptive fields -------------------------------------------------------------

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def receptive_field(model, modules: Sequence[str] | None = None) -> list[dict]:
    """Theoretical receptive field after each convolution and pooling, in pixels.

    Walks the layers in order: rf += (kernel - 1) * jump, then jump *= stride.
    Returns rows {module, kernel, stride, rf, jump, start}, where ``start`` is the
    centre of unit 0 in input pixels; with ``modules`` one row for each named stage
    or module.  Side branches of residual blocks (downsample) are left out: they
    never see more.  For torchvision ResNets and sequential networks; raises
    CourseError for networks with attention, which see everything at once.
    Dumoulin & Visin 2016.
    """
    module = network(model)
    if any("attention" in type(layer).__name__.lower() for layer in module.modules()):
        raise CourseError(
            "receptive_field: this network has attention layers, each of which sees "
            "the whole image. Use measured_receptive_field."
        )
    rows = []
    rf, jump, start = 1, 1, 0.0
    for name, layer in module.named_modules():
        if not isinstance(layer, (nn.Conv2d, *_POOLS)):
            continue
        before, found, _ = name.partition(".downsample")
        # the shortcut of a residual block, parallel to its convolutions; in ConvNeXt a
        # module of the same name stands in the main path of a stage
        if found and hasattr(module.get_submodule(before), "conv1"):
            continue
        kernel, stride, padding = (
            _first(getattr(layer, key)) for key in ("kernel_size", "stride", "padding")
        )
        kernel = (kernel - 1) * _first(getattr(layer, "dilation", 1)) + 1
        start += ((kernel - 1) / 2 - padding) * jump
        rf += (kernel - 1) * jump
        jump *= stride
        geometry = dict(kernel=kernel, stride=stride, rf=rf, jump=jump, start=start)
        rows.append({"module": name} | geometry)
    if modules is None:
        return rows
    return [_row_at(model, rows, place) for place in modules]


def _first(value) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


def _row_at(model, rows: list[dict], place: str) -> dict:
    """State after the last convolution or pooling that is in, or before, ``place``."""
    target = resolve(model, place)
    order = {name: i for i, (name, _) in enumerate(network(model).named_modules())}
    inside = [i for name, i in order.items() if (name + ".").startswith(target + ".")]
    reached = [row for row in rows if order[row["module"]] <= max(inside)]
    if not reached:
        raise CourseError(f"receptive_field: no convolution runs before {place!r}.")
    return {**reached[-1], "module": place}


def measured_receptive_field(
    model, module: str, size: int = 64, n: int = 8, seed: int = 0
) -> dict:
    """Where the centre unit of a layer looks: its gradient on the input pixels.

    The mean absolute gradient over ``n`` noise images (size, size).  Returns
    {"map": (size, size) with maximum 1, "extent": side of the box that holds every
    non-zero gradient, "effective": side of a square as large as the area above
    4.55 % of the maximum (two standard deviations of a Gaussian)}, in pixels.
    Luo et al. 2016.
    """
    net, name = network(model), resolve(model, module)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, size, size, generator=generator).to(device_of(net))
    x.requires_grad_(True)
    kept = []
    hook = net.get_submodule(name).register_forward_hook(
        lambda _, __, output: kept.append(output.clone())
    )
    with hook, eval_mode(net), torch.enable_grad():
        forward(net, x)
        (gradient,) = torch.autograd.grad(_centre_unit(kept[-1]).sum(), x)
    seen = gradient.abs().mean(dim=(0, 1)).cpu().numpy()  # (size, size)
    seen = seen / max(seen.max(), 1e-30)
    rows, columns = np.nonzero(seen)
    extent = 0
    if len(rows):
        extent = int(max(np.ptp(rows), np.ptp(columns))) + 1
    effective = float(np.sqrt((seen > 0.0455).sum()))
    return {"map": seen, "extent": extent, "effective": effective}


def _centre_unit(output: torch.Tensor) -> torch.Tensor:
    """All channels of the middle position of (N, C, h, w), or of tokens (N, T, D)."""
    if output.ndim == 4:
        return output[:, :, output.shape[2] // 2, output.shape[3] // 2]
    if output.ndim == 3:
        side = int(np.sqrt(output.shape[1]))
        extra = output.shape[1] - side * side  # class token comes first
        return output[:, extra + (side // 2) * side + side // 2]
    raise CourseError(
        f"measured_receptive_field: activations of shape {tuple(output.shape)} have no "
        "centre. Choose a layer with maps (N, C, h, w) or tokens (N, T, D)."
    )


# -- cached feature extraction ----------------------------------------------------


def extract(
    backbone,
    data,
    module: str | None = None,
    batch_size: int = 64,
    preprocess=None,
    pool: Callable | None = None,
) -> np.ndarray:
    """Features (N, F) float32 of every example: the frozen backbone, run once.

    data: ImageDataset, uint8 (N, H, W, 3), or texts for a text encoder.
    ``module`` None gives the pooled features before the head; a stage or module name
    gives that layer, averaged over space (N, C, h, w) or tokens (N, T, D) unless
    ``pool`` says otherwise.  Each backbone output is computed once, so a head can be
    trained on the result for hundreds of epochs at no further cost.  Raises
    CourseError on empty data.
    """
    examples = _examples(data)
    if not len(examples):
        raise CourseError("extract: no data, expected at least one example.")
    prepare = _required(backbone, preprocess)
    if module is None and isinstance(backbone, nn.Module):
        raise CourseError(
            "extract: a plain torch module does not say where its features are. Name "
            "the layer: extract(model, data, module='layer4', preprocess=...)."
        )
    net = network(backbone)
    device = device_of(net)
    order = by_length(examples)
    if order is not None:
        examples = [examples[i] for i in order]
    parts = []
    with torch.no_grad(), eval_mode(net):
        for start in range(0, len(examples), batch_size):
            x = to_device(prepare(examples[start : start + batch_size]), device)
            if module is None:
                features = backbone.features(x)  # (N, F)
            else:
                output = activations(backbone, x, [module])[module]
                if output.ndim == 4 and channels_come_last(net):
                    output = output.permute(0, 3, 1, 2)
                features = pool(output) if pool else pooled(output, x)
            parts.append(features.float().cpu().numpy())
    found = np.concatenate(parts)
    return found if order is None else found[np.argsort(order)]


def channels_come_last(net: nn.Module) -> bool:
    """Some networks keep their maps as (N, h, w, C), not (N, C, h, w).

    timm says which; of torchvision's these are the Swin Transformers.
    """
    if hasattr(net, "forward_head"):
        return getattr(net, "output_fmt", "NCHW") == "NHWC"
    return "swin" in type(net).__name__.lower()


def pooled(output: torch.Tensor, x) -> torch.Tensor:
    """Mean over space or tokens; padding tokens of a text are left out."""
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    if output.ndim == 3 and isinstance(x, Mapping) and "attention_mask" in x:
        mask = x["attention_mask"].unsqueeze(-1).to(output.dtype)  # (N, T, 1)
        return (output * mask).sum(1) / mask.sum(1).clamp(min=1)
    if output.ndim == 3:
        return output.mean(dim=1)
    return output.flatten(1)


def _required(model, preprocess):
    prepare = preprocess_of(model, preprocess)
    if prepare is None:
        raise CourseError(
            "A plain torch module carries no preprocessing. Expected: preprocess=..., "
            "with the size, mean and std that its weights were trained with. Do: "
            "load the model by course_lib.models.zoo.load, which attaches it."
        )
    return prepare


def _examples(data):
    """Images (N, H, W, 3) or a list of texts out of whatever was given."""
    return data.images if hasattr(data, "images") else data


def by_length(examples) -> np.ndarray | None:
    """Row numbers (N,) of texts from the shortest to the longest; None for images.

    A batch is padded to its longest text, so that texts of one length together cost up
    to 40 % less than as they come.
    """
    texts = isinstance(examples, (list, tuple)) and len(examples)
    if not texts or not all(isinstance(text, str) for text in examples):
        return None
    return np.argsort([len(text) for text in examples], kind="stable")
