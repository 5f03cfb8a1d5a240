"""Models that are there without a network: the course's own, and fetched weights.

The course's own were pretrained by `course pretrain` and lie in data/models;
EfficientNet-Lite comes with ImageNet weights that `course data fetch` brings.
"""

import torch

from course_lib import assets, files, paths
from course_lib.errors import CourseError
from course_lib.models.backbone import vision
from course_lib.models.preprocessing import Preprocess
from course_lib.pretraining import architectures, light_imports
from course_lib.pretraining.recipes import RECIPES

IMAGENET = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


def bundled():
    """Names of the models in data/models."""
    return sorted(f"bundled/{p.stem}" for p in paths.MODELS.glob("*.safetensors"))


def names():
    """Names that `load` takes without a network."""
    return [*bundled(), *(f"imagenet/{short}" for short in IMAGENET), "minilm"]


def card(name):
    """The model card of a bundled model as a dict: source, metrics, sha256, licence."""
    short = name.removeprefix("bundled/")
    if not (paths.MODELS / f"{short}.json").exists():
        raise unknown(name)
    return files.read_json(files.verified(f"models/{short}.json"))


def unknown(name):
    """The error for a name that is no model, with the names that are."""
    short = name.removeprefix("bundled/")
    if short in RECIPES:
        return CourseError(
            f"The weights of bundled/{short} are not in data/models; there are: "
            f"{', '.join(names())}.\nDo: train them with `course pretrain {short}`."
        )
    return CourseError(
        f"There is no model called {name!r}. Bundled: {', '.join(names())}. Public "
        "ones are written torchvision/NAME, timm/NAME or hf/NAME, for example "
        "torchvision/resnet50; torchvision/resnet50@FILE reads a weight file of yours, "
        "and a folder that `course pretrain --on` left is named by its path."
    )


def load_bundled(short, pretrained):
    """A model of data/models, its file checked against the manifest."""
    from safetensors.torch import load_file

    about = card(f"bundled/{short}")
    classes = sum(len(names) for names in about["heads"].values())
    model = getattr(architectures, about["architecture"])(classes)
    if pretrained:
        state = load_file(files.verified(f"models/{short}.safetensors"))
        model.load_state_dict({k: v.to(model_dtype(v)) for k, v in state.items()})
    if isinstance(model, architectures.NarrowResNet):
        model = model.to(memory_format=torch.channels_last)
    preprocess = Preprocess(mean=tuple(about["mean"]), std=tuple(about["std"]))
    return vision(model, preprocess, f"bundled/{short}", about)


def load_imagenet(short, pretrained):
    """EfficientNet-Lite with ImageNet weights that `course data fetch` brought.

    timm's network with TensorFlow's padding and BatchNorm eps, as it was trained; the
    twin without `tf_` takes the same weights without an error and answers worse.
    Pictures of any size; values are (x - 127) / 128.  Tan & Le 2019.
    """
    from safetensors.torch import load_file

    timm = light_imports.timm()

    if short not in IMAGENET:
        raise unknown(f"imagenet/{short}")
    model = timm.create_model(f"tf_{short.replace('-', '_')}", pretrained=False)
    if pretrained:
        model.load_state_dict(load_file(assets.folder(short) / "model.safetensors"))
    asset, info = assets.find(short), timm.data.ImageNetInfo()
    about = {
        "source": f"{asset.package} {asset.version}",
        "licence": asset.licence,
        "heads": {"imagenet": info.label_descriptions(detailed=False)},
        "input_size": model.pretrained_cfg["input_size"],
    }
    preprocess = Preprocess(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    backbone = vision(model, preprocess, f"imagenet/{short}", about)
    stages = {f"stage{i + 1}": f"blocks.{i}" for i in range(len(model.blocks))}
    backbone.stages = {"stem": "bn1"} | stages | {"conv_head": "bn2"}
    return backbone


def model_dtype(stored):
    """Weights are stored in half precision and used in single."""
    return torch.float32 if stored.is_floating_point() else stored.dtype
