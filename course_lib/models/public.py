"""Public image classifiers: torchvision's and timm's, or weights of one's own in them.

Each keeps the preprocessing that was published with its weights.
"""

import copy
import warnings
from pathlib import Path

import torch
from torch import nn

from course_lib import files, profiles
from course_lib.errors import CourseError
from course_lib.models import heads, stages, weight_files
from course_lib.models.backbone import vision
from course_lib.models.bundled import unknown
from course_lib.models.hub import unavailable
from course_lib.models.preprocessing import Preprocess
from course_lib.pretraining import light_imports


def load_torchvision(rest, pretrained):
    """A classifier of torchvision with the preprocessing of its default weights.

    `NAME@FILE` reads the weights from a file; the preprocessing stays that of NAME.
    """
    models = light_imports.torchvision().models

    rest, own, part, notes = own_file(rest, pretrained)
    if rest not in models.list_models(module=models):
        raise CourseError(
            f"torchvision has no classification model called {rest!r}; expected one of "
            "torchvision.models.list_models(), e.g. resnet50."
        )
    weights = models.get_model_weights(rest).DEFAULT
    published = pretrained and own is None
    about = {"heads": {"imagenet": weights.meta["categories"]}}
    about |= {"weights": str(weights)}
    about["input_size"] = (3, *weights.transforms().crop_size * 2)
    try:
        if published:  # torchvision would run code that a weight file brings along
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        model = models.get_model(
            rest, weights=weights if published else None, progress=False
        )
    except Exception as error:  # of the network, the file system, torch's reader
        raise unavailable(f"torchvision/{rest}", error) from error
    if published:
        about |= check_published(weights.url)
    elif own is not None:
        name = f"torchvision/{rest}"
        notes, found = weight_files.put(model, heads.find(model), own, name, part)
        about |= found
    rule = weights.transforms()
    preprocess = Preprocess(
        picture_size(model, rule.crop_size[0]),
        tuple(rule.mean),
        tuple(rule.std),
        interpolation=rule.interpolation.value,
    )
    return vision(model, preprocess, f"torchvision/{rest}", about, notes)


def load_timm(rest, pretrained):
    """A classifier of timm with the preprocessing of its configuration.

    `NAME@FILE` reads the weights from a file; the preprocessing stays that of NAME.
    """
    timm = light_imports.timm()

    rest, own, part, notes = own_file(rest, pretrained)
    published = pretrained and own is None
    try:
        model = timm.create_model(rest, pretrained=published)
    except RuntimeError as error:
        if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
            raise unknown(f"timm/{rest}") from error
        raise unavailable(f"timm/{rest}", error) from error
    except Exception as error:  # the hub raises a family of its own
        raise unavailable(f"timm/{rest}", error) from error
    guard_narrow(model)
    about = dict(model.pretrained_cfg or {})
    if own is not None:
        name = f"timm/{rest}"
        notes, found = weight_files.put(model, heads.find(model), own, name, part)
        about |= found
    rule = timm.data.resolve_model_data_config(model)
    preprocess = Preprocess(
        picture_size(model, rule["input_size"][-1]),
        tuple(rule["mean"]),
        tuple(rule["std"]),
        interpolation=rule["interpolation"],
    )
    backbone = vision(model, preprocess, f"timm/{rest}", about, notes)
    backbone.stages = stages.that_run(model, backbone.stages, preprocess.size)
    return backbone


def own_file(rest, pretrained):
    """`NAME@FILE#PART` as (NAME, path, PART, notes); without a file the path is None.

    With `pretrained=False` the file is not looked for, and a note says so.
    """
    if pretrained:
        return *weight_files.find(rest), []
    name, _, file = rest.partition("@")
    said = f"{file} was not read: random weights were asked for."
    return name, None, "", [said] if file else []


def picture_size(model, own):
    """COURSE_IMAGE_SIZE where the network takes it, else the size it was trained on."""
    wanted = profiles.image_size()
    if wanted in (None, own):
        return own
    try:
        with torch.no_grad():
            copy.deepcopy(model).eval()(torch.zeros(1, 3, wanted, wanted))
    except (AssertionError, RuntimeError, ValueError):
        return own  # a transformer with positions for that size alone
    return wanted


def check_published(url):
    """Is the file in torch's cache the published one?  Its name ends in its sha256.

    Returns what the card says of it; warns of a file that somebody put there.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digest, wanted = files.sha256(path), path.stem.rpartition("-")[2]
    if not digest.startswith(wanted):
        warnings.warn(
            f"{path.name} in torch's cache is not the file that torchvision publishes "
            f"(its sha256 is {digest[:8]}..., expected {wanted}...): other weights, "
            "perhaps another preprocessing.",
            stacklevel=2,
        )
    return {"sha256": digest, "published": digest.startswith(wanted)}


def guard_narrow(model):
    """Strided 1 x 1 convolutions of few channels read channels first in memory.

    With channels last, torch 2.14 on a CPU could not be relied on to train the first
    layers of RepVGG and MobileOne.  The other layout gives the same numbers.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            if layer.in_channels < 16 and layer.stride != (1, 1):
                layer.register_forward_pre_hook(plain_layout)


def plain_layout(layer, inputs):
    """A hook: channels first in memory, as `guard_narrow` wants it."""
    return (inputs[0].contiguous(), *inputs[1:])
