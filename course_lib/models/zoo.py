"""One function loads every pretrained model, its preprocessing attached.

    backbone = zoo.load("bundled/resnet10-patterns", num_classes=5)
    logits = backbone.model(backbone.preprocess(images))

The same call takes `imagenet/efficientnet-lite0`, real weights that are there without
a network, `torchvision/resnet50`, `timm/NAME`, `hf/NAME` and `minilm`;
`torchvision/NAME@FILE` and `timm/NAME@FILE` read weights of one's own, `hf/FOLDER` a
local folder, and FOLDER what `course pretrain --on` left there.
"""

from pathlib import Path

import torch

from course_lib import profiles
from course_lib.models import bundled as own
from course_lib.models import continued, encoders, public
from course_lib.models.bundled import bundled, card, names  # noqa: F401

LOADERS = {  # what stands before the slash of a name: f(rest of it, pretrained)
    "bundled": own.load_bundled,
    "imagenet": own.load_imagenet,
    "torchvision": public.load_torchvision,
    "timm": public.load_timm,
    "hf": encoders.load_huggingface,
}


def load(name=None, num_classes=None, seed=0, pretrained=True):
    """Load a backbone by name; without a name, the profile's vision backbone.

    `num_classes` replaces the head (drawn from `seed`); `pretrained=False` gives the
    same architecture with random weights from `seed`.  Raises CourseError for an
    unknown name, a damaged file, or a public model that cannot be fetched.
    """
    name = name or profiles.current().vision_backbone
    source, _, rest = name.partition("/")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "minilm":
            backbone = encoders.load_minilm(pretrained)
        elif source in LOADERS and rest:
            backbone = LOADERS[source](rest, pretrained)
        elif Path(name).is_dir():
            about = continued.description(name)
            backbone = load(about["model"], seed=seed, pretrained=False)
            if pretrained:
                continued.fill(backbone, name, about)
        else:
            raise own.unknown(name)
    if num_classes is not None:
        backbone.to_classes(num_classes, seed)
    backbone.model.eval()
    return backbone
