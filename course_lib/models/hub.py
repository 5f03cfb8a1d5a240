"""Public models that could not be had: what the caches hold, what to tell people."""

from pathlib import Path

import torch

from course_lib.errors import CourseError
from course_lib.models import weight_files
from course_lib.models.bundled import bundled


def reason_of(error):
    """The first line of an error's message, cut short; without one, its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def unavailable(name, error):
    """What to tell somebody whose public model could not be had, or not be read."""
    reason = reason_of(error)
    if "sentencepiece" in str(error) or "tiktoken" in str(error):
        return CourseError(
            f"The tokenizer of {name} needs a package that is not installed here "
            "(sentencepiece).\nDo: pip install sentencepiece, and start again."
        )
    if "gated repo" in str(error) or "GatedRepo" in type(error).__name__:
        return CourseError(
            f"{name} is gated: its owner wants its licence accepted first.\nDo: accept "
            "it on the model's page of the Hugging Face Hub and log in with `hf auth "
            "login`, or take an open model, such as hf/Qwen/Qwen2.5-0.5B."
        )
    file = cached(name)
    if file is not None:
        return CourseError(
            f"{name} is in this machine's cache, but cannot be loaded ({reason}).\n"
            "Expected: whole files, as its library downloads them.\n"
            f"Do: delete {file}, and load the model again with a network."
        )
    return CourseError(
        f"The weights of {name} are neither in this machine's cache nor could they be "
        f"fetched ({reason}).\nExpected: a network connection, or the file in the "
        "library's cache from an earlier run.\nDo: connect once and load it again "
        "(HF_HUB_OFFLINE unset), or stay offline with COURSE_PROFILE=offline and a "
        f"bundled model ({', '.join(bundled())})."
    )


def cached(name):
    """The weight file of a public model in its library's cache; None: it is not there.

    `name` as for `load`: `torchvision/NAME`, `timm/NAME` or `hf/NAME`; of a name with
    a file or a folder of one's own, that one.  Uses no network.
    """
    source, _, rest = name.partition("/")
    rest, own, _ = weight_files.split(rest)
    if own or (source == "hf" and Path(rest).expanduser().is_dir()):
        path = own or Path(rest).expanduser()
        found = path.glob("*") if path.is_dir() else [path]
    elif source == "torchvision":
        from torchvision.models import get_model_weights

        file = get_model_weights(rest).DEFAULT.url.rpartition("/")[2]
        found = [Path(torch.hub.get_dir()) / "checkpoints" / file]
    else:
        from huggingface_hub.constants import HF_HUB_CACHE

        if source == "timm":
            rest = timm_repository(rest)
        folder = Path(HF_HUB_CACHE) / f"models--{rest.replace('/', '--')}"
        found = folder.glob("snapshots/*/*")
    weights = (".safetensors", ".bin", ".pth", ".pt")
    return next((f for f in sorted(found) if f.suffix in weights and f.exists()), None)


def timm_repository(name):
    """The repository of a timm model on the Hugging Face Hub; the default tag's."""
    if "." not in name:
        import timm

        config = timm.get_pretrained_cfg(name)
        name = f"{name}.{config.tag}" if config and config.tag else name
    return f"timm/{name}"
