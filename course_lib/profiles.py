"""Two profiles, one set of notebooks: which models a lesson uses, and where it runs.

``offline`` (the default) uses the bundled weights on the CPU and no network;
``full`` swaps in the well-known public models.  The environment variable
COURSE_PROFILE chooses.  Taught in lesson 00.
"""

import os
from dataclasses import dataclass

from course_lib.errors import CourseError


@dataclass(frozen=True)
class Profile:
    """The models of one profile, by the names that ``course_lib.zoo.load`` takes."""

    name: str
    description: str
    vision_backbone: str  # the residual network of most lessons
    vision_other_source: str  # one from a deliberately different source task
    vit: str  # a vision transformer
    text_encoder: str
    language_model: str  # a decoder, by the names of course_lib.language_models.load
    image_size: int | None  # pixels a side that the backbone wants; None: any
    network: bool  # may models be downloaded?
    disk_gb: float  # what its models take on disk, beyond the installation
    ram_gb: float  # memory that the heaviest lesson needs


OFFLINE = Profile(
    name="offline",
    description="bundled weights, CPU, no network once installed",
    vision_backbone="bundled/resnet10-patterns",
    vision_other_source="bundled/resnet10-silhouettes",
    vit="bundled/vit-patterns",
    text_encoder="minilm",
    language_model="fab-llama",
    image_size=None,
    network=False,
    disk_gb=0.0,
    ram_gb=3.0,
)

FULL = Profile(
    name="full",
    description="public models (ResNet-50, ViT-B/16, DeBERTa-v3, Qwen2.5), GPU if any",
    vision_backbone="torchvision/resnet50",
    vision_other_source="timm/resnet50.a1_in1k",
    vit="timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
    text_encoder="hf/microsoft/deberta-v3-base",
    language_model="hf/Qwen/Qwen2.5-0.5B",
    image_size=224,
    network=True,
    disk_gb=3.0,
    ram_gb=8.0,
)

PROFILES = {profile.name: profile for profile in (OFFLINE, FULL)}


def current() -> Profile:
    """The profile that COURSE_PROFILE names; ``offline`` when it is not set.

    Raises CourseError for a name that is no profile.
    """
    name = os.environ.get("COURSE_PROFILE") or OFFLINE.name
    if name not in PROFILES:
        raise CourseError(
            f"COURSE_PROFILE is {name!r}, which is no profile.\n"
            f"Expected: one of {', '.join(PROFILES)}.\n"
            "Do: set it to one of these, or unset it for offline."
        )
    return PROFILES[name]


def device():
    """The torch.device to compute on: CPU, or CUDA in the full profile.

    ``offline`` always takes the CPU, so that its numbers are those of the page.
    """
    import torch

    use_cuda = current() is FULL and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")
