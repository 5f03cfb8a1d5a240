"""Public weights, turned once from the file they come in into safetensors.

A pickle is read as tensors only, never executed; a GGUF file is read by transformers
and its four-bit numbers are written out.  :mod:`course_lib.assets` calls these when it
stores an asset; models read the safetensors from then on.
"""

import hashlib
import io
import os
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from safetensors.torch import load, save

from course_lib import files
from course_lib.errors import CourseError


def efficientnet_lite(asset, contents: dict[str, bytes], work: Path) -> None:
    """EfficientNet-Lite as ``model.safetensors`` with timm's names, float32.

    The file holds the tensors in the order of timm's network under other names; both
    are walked together, and every shape must agree.  Raises CourseError where not.
    """
    import timm

    ((name, content),) = contents.items()
    model = timm.create_model(f"tf_{asset.name.replace('-', '_')}", pretrained=False)
    ours = model.state_dict()
    if name.endswith(".safetensors"):  # the second source: timm's names already
        theirs = load(content)
        theirs = {key: theirs.get(key) for key in ours}
    else:
        theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    shapes = [tuple(t.shape) if t is not None else None for t in theirs.values()]
    if shapes != [tuple(t.shape) for t in ours.values()]:
        raise CourseError(f"{name} does not hold the tensors of {asset.title}")
    state = {key: t.contiguous() for key, t in zip(ours, theirs.values())}
    wanted = asset.second.get("tensors")
    if wanted and tensor_digest(state) != wanted:
        raise CourseError(f"{name} holds other weights than those of {asset.package}")
    files.atomic_write_bytes(work / "model.safetensors", save(state))


def tensor_digest(state) -> str:
    """sha256 over names, shapes and values of tensors, in the order of the names.

    It is the same whatever file format or order the tensors are stored in.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def smollm2(asset, contents: dict[str, bytes], work: Path) -> None:
    """SmolLM2 as a plain transformers folder: float16 safetensors, tokenizer, template.

    What transformers loads from a GGUF file cannot be saved as it is: its
    configuration still says that it is quantised.  The numbers are copied into a fresh
    network of the same configuration.  Four-bit values have few digits, so float16
    keeps them to three of them, in half the space of float32.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    ((name, content),) = contents.items()
    source = work / "gguf"
    files.atomic_write_bytes(source / name, content)
    with _quiet():
        read = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(
            source, gguf_file=name, local_files_only=True
        )
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = LlamaForCausalLM(config).half()
    fresh.load_state_dict({key: t.half() for key, t in read.state_dict().items()})
    with _quiet():
        fresh.save_pretrained(work)
        tokenizer.save_pretrained(work)
    (source / name).unlink()
    source.rmdir()


@contextmanager
def _quiet():
    """Progress bars and advice while a file is converted say nothing to a learner."""
    from transformers.utils import logging as hf

    level = hf.get_verbosity()
    hf.set_verbosity_error()
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            yield
    finally:
        hf.set_verbosity(level)
