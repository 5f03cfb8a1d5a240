"""Two profiles, one set of notebooks: which models a lesson uses, and where it runs.

``offline`` (the default) uses the bundled weights on the CPU and no network;
``full`` swaps in the well-known public models.  The environment variable
COURSE_PROFILE chooses; in ``full``, one more variable for each model swaps in another
(COURSE_VISION_BACKBONE=torchvision/squeezenet1_1).
"""

import os
from dataclasses import dataclass, replace

from course_lib.errors import CourseError


@dataclass(frozen=True)
class Profile:
    """The models of one profile, by the names that ``models.zoo.load`` takes."""

    name: str
    description: str
    vision_backbone: str  # the residual network of most lessons
    vision_other_source: str  # one from a deliberately different source task
    vit: str  # a vision transformer
    text_encoder: str
    language_model: str  # a decoder, by the names of language_models.load
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
    language_model="smollm2-135m-instruct",
    image_size=None,
    network=False,
    disk_gb=0.0,
    ram_gb=3.0,
)

FULL = Profile(
    name="full",
    description="public models (ResNet-50, ViT-B/16, BERT, Qwen2.5), GPU if any",
    vision_backbone="torchvision/resnet50",
    vision_other_source="timm/resnet50.a1_in1k",
    vit="timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
    text_encoder="hf/google-bert/bert-base-uncased",
    language_model="hf/Qwen/Qwen2.5-0.5B",
    image_size=224,
    network=True,
    disk_gb=3.0,
    ram_gb=8.0,
)

PROFILES = {profile.name: profile for profile in (OFFLINE, FULL)}
SWITCHES = {  # environment variable: the model of the full profile that it replaces
    f"COURSE_{model.upper()}": model
    for model in (
        "vision_backbone",
        "vision_other_source",
        "vit",
        "text_encoder",
        "language_model",
    )
}
CLIP = "hf/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # for zero-shot classification
DOWNLOAD_MB = {  # weights on their hub; torchvision states its own
    "timm/resnet50.a1_in1k": 102,
    "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k": 346,
    "hf/google-bert/bert-base-uncased": 440,
    "hf/Qwen/Qwen2.5-0.5B": 988,
    CLIP: 605,
}


def models(profile: Profile) -> dict[str, str]:
    """{what for: name} of a profile's models; each name once."""
    named = {getattr(profile, role): role for role in reversed(SWITCHES.values())}
    return {role: name for name, role in reversed(named.items())}


def chosen(profile: Profile) -> Profile:
    """The profile with the models that the environment names instead of its own."""
    switched = {SWITCHES[v]: os.environ[v] for v in SWITCHES if os.environ.get(v)}
    return replace(profile, **switched) if switched else profile


def current() -> Profile:
    """The profile that COURSE_PROFILE names; ``offline`` when it is not set.

    Raises CourseError for a name that is no profile, and when a model is switched
    (COURSE_VISION_BACKBONE and the like) in ``offline``, whose lessons check the
    numbers of the bundled models.
    """
    name = os.environ.get("COURSE_PROFILE") or OFFLINE.name
    if name not in PROFILES:
        raise CourseError(
            f"COURSE_PROFILE is {name!r}, which is no profile.\n"
            f"Expected: one of {', '.join(PROFILES)}.\n"
            "Do: set it to one of these, or unset it for offline."
        )
    profile = chosen(PROFILES[name])
    if profile.name == OFFLINE.name and profile is not OFFLINE:
        switched = next(variable for variable in SWITCHES if os.environ.get(variable))
        raise CourseError(
            f"{switched} is set to {os.environ[switched]!r}, but the profile is "
            "offline, whose lessons check the numbers of the bundled models.\n"
            f"Expected: {switched} together with the full profile.\n"
            f"Do: set COURSE_PROFILE=full too, or unset {switched}."
        )
    return profile


def image_size() -> int | None:
    """Pixels a side that COURSE_IMAGE_SIZE asks for; None: each model's own.

    For public networks that take any size, on machines where 224 pixels take too long.
    Raises CourseError unless it is a whole number from 32 to 1024.
    """
    wanted = os.environ.get("COURSE_IMAGE_SIZE")
    if not wanted:
        return None
    if not wanted.isdecimal() or not 32 <= int(wanted) <= 1024:
        raise CourseError(
            f"COURSE_IMAGE_SIZE is {wanted!r}.\nExpected: pixels a side, 32 to 1024.\n"
            "Do: set it to 96, say, or unset it for each model's own size."
        )
    return int(wanted)


def device():
    """The torch.device to compute on: CPU, or CUDA in the full profile.

    ``offline`` always takes the CPU, so that its numbers are those of the page.
    """
    import torch

    use_cuda = current().name == FULL.name and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")
