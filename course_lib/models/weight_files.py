"""Weight files as trainers store them: opened without running code, unwrapped, checked.

    notes, about = weight_files.put(model, heads, path, "torchvision/resnet18")

A file of weights is seldom a plain state dict.  It lies under `state_dict`, `model` or
`ema`, next to an optimizer; its names begin with `module.` or `backbone.`; its head is
for other classes.  What was unwrapped and what was left out is said in `notes`; all
weights below the head must be there, else a CourseError says what lies in the file.
"""

import functools
import re
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from course_lib import files
from course_lib.errors import CourseError
from course_lib.models.heads import find as find_head
from course_lib.models.heads import inside, without_numbers

EXPECTED = "a state dict of tensors, as .safetensors or as torch saves one"
# wrappers that stand anywhere in a name; those in front are found by comparison
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
COUNTERS = "num_batches_tracked"  # of BatchNorm; early versions of torch had none
AVERAGED = ("ema", "teacher", "averaged", "swa", "encoder_q")  # taken before others
DEPTH = 4  # levels of dicts that are looked into
SHOWN = 3  # names in a message


# -- which file ---------------------------------------------------------------------


def split(name: str) -> tuple[str, Path | None, str]:
    """`NAME@FILE#PART` as (NAME, path, PART); without a file, (NAME, None, "").

    PART names the entry of the file that holds the weights, where it has several.
    """
    name, _, file = name.partition("@")
    if not file:
        return name, None, ""
    path, part = Path(file).expanduser(), ""
    if not path.exists() and "#" in file:
        file, _, part = file.rpartition("#")
        path = Path(file).expanduser()
    return name, path, part


def find(name: str) -> tuple[str, Path | None, str]:
    """The same; raises CourseError when there is no such file."""
    name, path, part = split(name)
    if path is None:
        return name, path, part
    if path.is_dir():
        inside_it = sorted(p.name for p in path.iterdir() if p.is_file())
        raise CourseError(
            f"{path} is a folder, with {_some(inside_it, 'files')}.\nExpected: one "
            f"weight file behind the @ of {name}.\nDo: name the file in it."
        )
    if not path.is_file():
        raise CourseError(
            f"There is no weight file {path}.\nExpected: the path of a .safetensors or "
            f".pth file behind the @ of {name}.\nDo: check the path; a relative one "
            f"starts at {Path.cwd()}."
        )
    return name, path, part


def _some(names, what: str) -> str:
    """ "3 files (a, b, c)", "102 tensors (a, b, c ...)"."""
    names = list(names)
    if not names:
        return f"no {what}"
    more = " ..." if len(names) > SHOWN else ""
    one = what if len(names) > 1 else what.replace("ies", "ys").removesuffix("s")
    return f"{len(names)} {one} ({', '.join(map(str, names[:SHOWN]))}{more})"


# -- what lies in it ----------------------------------------------------------------


def read(path: Path):
    """(what lies in the file, names of classes in it that were left closed).

    Tensors, numbers, strings, lists and dicts are read; an object of any other class
    becomes an empty stand-in, so that no code of the file runs.  Raises CourseError,
    which says what kind of file it is, for one that cannot be read at all.
    """
    kind = _kind(path)
    if kind == "safetensors":
        try:
            return load_file(path), []
        except (SafetensorError, OSError, ValueError, KeyError):
            raise _unreadable(
                path, "its safetensors header does not fit its content",
                "copy or download it again; it may be cut off"
            ) from None  # fmt: skip
    if kind != "torch":
        raise _unreadable(path, *kind)
    return _read_torch(path)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The largest set of named tensors in a file, by their names there.

    Raises CourseError, which says what lies in it, for a file without any.
    """
    content, closed = read(path)
    parts, other = _parts(content)
    if not parts:
        raise _no_weights(path, content, other, closed)
    return max(parts, key=lambda part: len(part.tensors)).tensors


def _unreadable(path, what: str, do: str) -> CourseError:
    return CourseError(
        f"{path} cannot be read as weights: {what}.\nExpected: {EXPECTED}.\nDo: {do}."
    )


AGAIN = "copy or download it again"
CONVERT = (
    "load it in the program that made it, and save the model's state_dict() with "
    "safetensors.torch.save_file"
)
MAGIC = {
    b"version https://git-lfs": (
        "it is a pointer of Git LFS, not the file itself",
        "fetch the file with `git lfs pull`, or download it from the page",
    ),
    b"\x89HDF": ("it is HDF5, as Keras writes it", CONVERT),
    b"GGUF": (
        "it is GGUF, for llama.cpp and the like",
        "take the model's safetensors file",
    ),
    b"\x93NUMPY": ("it is one array of NumPy", CONVERT),
    b"\x1f\x8b": ("it is packed with gzip", "unpack it first"),
    b"BZh": ("it is packed with bzip2", "unpack it first"),
    b"\xfd7zXZ": ("it is packed with xz", "unpack it first"),
    b"7z\xbc\xaf": ("it is a 7z archive", "unpack it first"),
    b"Rar!": ("it is a rar archive", "unpack it first"),
}


def _kind(path: Path):
    """ "safetensors", "torch", or (what else it is, what to do)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(512)
    if not size:
        return "it is empty", AGAIN
    for magic, told in MAGIC.items():
        if start.startswith(magic):
            return told
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, perhaps of a download that failed", AGAIN
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 1 << 27:
        return "safetensors"
    if path.suffix == ".safetensors":
        return "it does not begin as a safetensors file does", AGAIN
    if text.startswith((b"{", b"[")):
        if path.name.endswith(".index.json"):
            return (
                "it is the index of weights in several files",
                "load the model in its own library, and save the whole in one file",
            )
        return "it is text (JSON), without weights", "name the weight file beside it"
    if path.suffix == ".onnx":
        return "it is ONNX, a computation and not a state dict", CONVERT
    if start.startswith(b"PK"):
        return _archive(path)
    return "torch"


def _archive(path):
    """What a zip file is: torch's, TorchScript, or another."""
    if not zipfile.is_zipfile(path):
        return "its end is missing: it was cut off", AGAIN
    try:
        with zipfile.ZipFile(path) as archive:
            names, bad = archive.namelist(), archive.testzip()
    except Exception as error:  # of a damaged list of contents: many kinds
        return f"its list of contents is damaged ({type(error).__name__})", AGAIN
    if bad:
        return f"the checksum of {bad} in it does not fit: it is damaged", AGAIN
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return (
            "it is a TorchScript program, whose code the course does not run",
            "in a program that you trust: torch.jit.load(FILE).state_dict(), saved "
            "with safetensors.torch.save_file",
        )
    if "data.pkl" in inner:
        return "torch"
    if any(name.endswith(".npy") for name in names):
        return f"it is an archive of NumPy with {_some(names, 'arrays')}", CONVERT
    return f"it is a zip archive with {_some(names, 'files')}", "unpack it first"


def _read_torch(path):
    """torch's reader for tensors alone; classes of others become stand-ins."""
    names = _foreign(path)
    refused = [name for name in names if not _holds_values(name)]
    if refused:
        raise _unreadable(path, _told_objects(names, refused), CONVERT)
    stand_ins = [(_stand_in(name), name) for name in names]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, storage: each has errors of its own
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise _unreadable(path, _told_objects([found[1]], []), CONVERT) from None
        what = "it is no file of torch"
        if zipfile.is_zipfile(path):
            what = "a part of it is damaged or missing"
        what += f" ({path.stat().st_size:,} bytes)"
        raise _unreadable(path, what, AGAIN) from None
    return content, names


def _foreign(path) -> list[str]:
    """Classes and functions that a file of torch names and that hold no tensors."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not torch's newer format; torch.load then judges it
        return []
    return sorted(found)


# builtins and modules whose lower-case names only hold values
VALUES = re.compile(
    r"numpy\.(?:_?core\.)?(?:multiarray\.)?(?:scalar|dtype|ndarray|_reconstruct)"
    r"|numpy\.dtypes\.\w+|collections\.(?:defaultdict|deque)|datetime\.\w+"
    r"|builtins\.(?:set|frozenset|dict|list|tuple|slice|range|object|bool|int|float)"
    r"|_codecs\.encode"
)


def _holds_values(name: str) -> bool:
    """Is this the name of a class, and no function that would be called?"""
    last = name.rpartition(".")[2].lstrip("_")
    return bool(VALUES.fullmatch(name)) or last[:1].isupper()


def _told_objects(names, refused) -> str:
    what = "besides tensors it holds objects, whose code the course does not run"
    if any(name.startswith("torch.nn.") for name in names):
        what = "it is a whole model, pickled with the names of its classes"
    return f"{what}: {', '.join((refused or names)[:SHOWN])}"


class StandIn:
    """In place of an object of a class that is not opened: it does nothing."""

    def __init__(self, *values, **options):
        pass

    def __setstate__(self, state):
        pass


class _EmptyDict:
    """In place of a kind of dict: a plain one, which torch's reader then fills."""

    def __new__(cls, *values, **options):
        return OrderedDict()


def _stand_in(name: str) -> type:
    """A class of its own, for torch's reader, that stands for `name`."""
    last = name.rpartition(".")[2]
    if last.lower().endswith("dict"):
        return type(last, (_EmptyDict,), {})
    bases = (StandIn, list) if last.lower().endswith(("list", "deque")) else (StandIn,)
    return type(last, bases, {"stands_for": name})


# -- which part of it ---------------------------------------------------------------


@dataclass
class Part:
    """One set of tensors in a file, and how it fits a network.

    where: keys that lead to it.  tensors: by their names in the file.  prefix: what
    stands before the network's names.  matched: {the network's name: name in the file}.
    """

    where: tuple[str, ...]
    tensors: dict[str, torch.Tensor]
    prefix: str = ""
    matched: dict[str, str] = field(default_factory=dict)
    translated: bool = False

    @property
    def label(self) -> str:
        """Keys that lead to it."""
        return ".".join(self.where)

    @property
    def place(self) -> str:
        """The same and the prefix, as the user may write it behind `#`."""
        return ".".join(filter(None, (self.label, self.prefix.rstrip("."))))

    def named(self) -> dict[str, str]:
        """{the network's name for it: name in the file}, of all with the prefix."""
        cleaned = {_clean(key): key for key in self.tensors}
        start = len(self.prefix)
        return {k[start:]: v for k, v in cleaned.items() if k.startswith(self.prefix)}


def _clean(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _parts(content) -> tuple[list[Part], list[str]]:
    """The sets of named tensors in a file, and words for what else was met."""
    found, other = [], []

    def look(value, where):
        if isinstance(value, StandIn):
            other.append(f"{_at(where)}an object of class {value.stands_for}")
        elif isinstance(value, Mapping) and {"state", "param_groups"} <= set(value):
            other.append(f"{_at(where)}the state of an optimizer")
        elif isinstance(value, Mapping):
            tensors = {
                k: v
                for k, v in value.items()
                if isinstance(k, str) and isinstance(v, torch.Tensor)
            }
            if tensors:
                found.append(Part(where, tensors))
            if len(where) < DEPTH:
                for key, inner in value.items():
                    if isinstance(inner, (Mapping, StandIn, list, tuple)):
                        look(inner, (*where, str(key)))
        elif isinstance(value, (list, tuple)) and len(where) < DEPTH:
            for i, inner in enumerate(value[:8]):
                if isinstance(inner, Mapping):
                    look(inner, (*where, str(i)))

    look(content, ())
    return found, other


def _at(where) -> str:
    return f"{'.'.join(where)!r}: " if where else ""


def _alike(stored, own) -> bool:
    """Can this tensor take the place of the network's?"""
    plain = stored.layout == torch.strided and not stored.is_quantized
    same = stored.is_floating_point() == own.is_floating_point()
    return plain and same and not stored.is_complex() and stored.shape == own.shape


def _fits(part: Part, own: dict, trunk: set) -> list[Part]:
    """The part under each prefix with which most tensors below the head fit."""
    counts: Counter = Counter()
    for key, tensor in part.tensors.items():
        words = _clean(key).split(".")
        for i in range(len(words)):
            name = ".".join(words[i:])
            if name in trunk and _alike(tensor, own[name]):
                counts["".join(f"{word}." for word in words[:i])] += 1
    most = max(counts.values(), default=0)
    fits = []
    for prefix in [p for p, n in counts.items() if n == most] or [""]:
        one = Part(part.where, part.tensors, prefix, translated=part.translated)
        one.matched = {
            name: key
            for name, key in one.named().items()
            if name in own and _alike(one.tensors[key], own[name])
        }
        fits.append(one)
    return fits


def _best(parts, own: dict, trunk: set, only="") -> tuple[Part, list[Part]]:
    """The part that fits best, and others that fit as well.

    Of several alike, the averaged or teacher's weights are taken, as timm does.  only:
    the place of the one that is wanted.  Raises CourseError when nothing lies there.
    """
    fits = [one for part in parts for one in _fits(part, own, trunk)]
    if only:
        there = [one.place or "the top of the file" for one in fits]
        fits = [one for one in fits if only in (one.label, one.place)]
        if not fits:
            raise CourseError(
                f"The file holds no weights under {only!r}.\nExpected: one of "
                f"{', '.join(there)}.\nDo: correct what stands behind the #."
            )
    count = {id(one): len(trunk & one.matched.keys()) for one in fits}
    most = max(count.values())
    alike = [one for one in fits if count[id(one)] == most]
    alike.sort(key=lambda one: not _averaged(one))  # stable: else as in the file
    return alike[0], alike[1:]


def _averaged(part: Part) -> bool:
    words = re.split(r"[._]", f"{part.label}.{part.prefix}".lower())
    return any(word in words for word in AVERAGED) or "encoder_q." in part.prefix


# -- into a network -----------------------------------------------------------------


def put(model, heads, path: Path, name: str, only: str = "") -> tuple[list[str], dict]:
    """Weights of a file into a model; (what was unusual, what the card says of them).

    heads: names of the classifier's modules.  Its weights are taken when they fit;
    else a note says that they are left out, and the card's `heads` is empty.  only: the
    entry of the file to take.  Raises CourseError unless every tensor below the head is
    there and finite.
    """
    content, closed = read(path)
    parts, other = _parts(content)
    if not parts:
        raise _no_weights(path, content, other, closed)
    own = model.state_dict()
    trunk = {k for k in own if not inside(k, heads)}
    needed = {k for k in trunk if not k.endswith(COUNTERS)}
    best, others = _best(parts, own, trunk, only)
    if not needed <= best.matched.keys():
        translated = _translated_by_timm(model, parts)
        if translated:
            again, more = _best(translated, own, trunk, only)
            if needed <= again.matched.keys():
                best, others = again, more
    if not needed <= best.matched.keys():
        raise _misfit(path, name, best, own, heads)
    wanted = [k for k in own if inside(k, heads)]
    with_head = bool(wanted) and all(k in best.matched for k in wanted)
    state = {
        k: best.tensors[v].detach().to(own[k].dtype)
        for k, v in best.matched.items()
        if k in trunk or with_head
    }
    _check_finite(path, state)
    model.load_state_dict(own | state)
    about = {"weights": path.name, "sha256": files.sha256(path)}
    if not with_head:
        about["heads"] = {}
    return _notes(path, best, others, state, heads, with_head, wanted, closed), about


def _translated_by_timm(model, parts) -> list[Part]:
    """Parts whose names timm turns into its own: what others publish, or older ones."""
    module = sys.modules[type(model).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None)
    found = []
    for part in parts if translate else ():
        try:
            tensors = translate(dict(part.tensors), without_numbers(model))
        except Exception:  # written for files of one kind: others it does not read
            continue
        tensors = {k: v for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        found.append(Part(part.where, tensors, translated=True))
    return found


def _check_finite(path, state) -> None:
    floats = ((k, v) for k, v in state.items() if v.is_floating_point())
    bad = [k for k, v in floats if not v.isfinite().all()]
    if bad:
        raise CourseError(
            f"{path}: {_some(bad, 'tensors')} hold values that are no numbers (NaN or "
            "infinite).\nExpected: weights of a training that did not diverge.\n"
            "Do: take an earlier checkpoint."
        )


def _notes(path, best, others, state, heads, with_head, wanted, closed) -> list[str]:
    """One line about what was unwrapped and left out; none for a plain whole file."""
    said = []
    if best.where:
        said.append(f"read from {best.label!r}")
    if best.prefix:
        said.append(f"prefix {best.prefix!r} removed")
    if best.translated:
        said.append("names translated by timm")
    wrapped = {w for key in best.tensors for w in key.split(".")} & WRAPPERS
    if wrapped:
        said.append(f"{', '.join(sorted(wrapped))} removed from names")
    dtypes = {str(best.tensors[best.matched[k]].dtype).removeprefix("torch.")
              for k, v in state.items() if v.is_floating_point()}  # fmt: skip
    if dtypes != {"float32"}:
        said.append(f"stored as {', '.join(sorted(dtypes))}, used as float32")
    named = best.named()
    stored_head = {k: v for k, v in named.items() if inside(k, heads)}
    if not with_head:
        said.append(_left_head(best, stored_head, wanted))
    used = {*(best.matched[k] for k in state), *stored_head.values()}
    rest = [k for k in best.tensors if k not in used and not k.endswith(COUNTERS)]
    if rest:
        said.append(f"{_some(rest, 'other tensors')} left out")
    if others:
        there = ", ".join(repr(one.place) for one in others)
        said.append(f"{there} would fit as well (write FILE#NAME to take it)")
    if closed:
        said.append(f"objects of {', '.join(closed[:SHOWN])} not opened")
    return [f"{path.name}: {'; '.join(said)}."] if said else []


def _left_head(best, stored, wanted) -> str:
    """What is said of a head that was not loaded."""
    rows = [best.tensors[k] for k in stored.values() if best.tensors[k].ndim]
    if not rows:
        return "it holds no head, a new one is drawn" if wanted else "without a head"
    new = "a new one is drawn" if wanted else "the network has none"
    return f"the head of {rows[-1].shape[0]} classes is left out, {new}"


# -- what cannot be loaded ----------------------------------------------------------


def _no_weights(path, content, other, closed) -> CourseError:
    """There is no set of named tensors: what lies there instead."""
    if isinstance(content, torch.Tensor):
        what = f"one tensor of shape {tuple(content.shape)}, without a name"
    elif other:
        what = "; ".join(other[:SHOWN])
        if any(name.startswith("torch.nn.") for name in closed):
            what = f"a whole model, pickled, whose code the course does not run: {what}"
    elif isinstance(content, Mapping):
        what = f"a dict without tensors: {_some(content, 'entries')}"
    else:
        what = f"a {type(content).__name__}"
    return _unreadable(path, f"in it lies {what}", CONVERT)


HINTS = {
    "lora_": "adapters of LoRA, for a base model that is not in the file",
    "exp_avg": "moments of an optimizer",
    "visual.transformer.resblocks": "names as CLIP has them",
    "patch_embeddings.projection": "names as Hugging Face transformers has them",
    "embedder.embedder.convolution": "names as Hugging Face transformers has them",
    ".attention.attention.query": "names as Hugging Face transformers has them",
    "embeddings.word_embeddings": "a text encoder",
    "embed_tokens": "a language model",
    "transformer.h.0": "a language model",
    "kernel": "names as JAX or TensorFlow has them",
    "roi_heads": "a detector of torchvision",
    "model.0.conv": "names as YOLO has them",
}


def _misfit(path, name, best, own, heads) -> CourseError:
    """The file is another network's: counts, names, and which one it would fit."""
    named = best.named() or {k: k for k in best.tensors}
    missing = own.keys() - named.keys()
    extra = named.keys() - own.keys()
    shapes = [
        k
        for k in own
        if k in named and not _alike(best.tensors[named[k]], own[k])
        and not inside(k, heads)
    ]  # fmt: skip
    lies = [f"{k} {tuple(v.shape)}" for k, v in best.tensors.items()]
    hint = next((said for mark, said in HINTS.items() if mark in " ".join(lies)), "")
    first, there, here = "", (), ()
    if shapes:
        k = shapes[0]
        there, here = tuple(best.tensors[named[k]].shape), tuple(own[k].shape)
        first = f"; {k} is {there} in the file and {here} in the network"
    sharded = re.search(r"-(\d+)-of-(\d+)\.", path.name)
    if sharded:
        hint = f"part {int(sharded[1])} of {int(sharded[2])} of a model"
    where = f" under {best.label!r}" if best.where else ""
    other = _fitting(best.tensors)
    do = "name the architecture that the file was made with"
    if not missing and not extra and len(shapes) == 1 and there[:1] == here[:1]:
        do = _other_channels(there, here) or do
    if other:
        do = f"write {other}@{path.name}: all weights below its head are there"
    return CourseError(
        f"The weights of {path} do not fit {name}: {len(missing)} tensors are missing, "
        f"{len(extra)} are too many, {len(shapes)} have another shape{first}. In the "
        f"file{where}: {_some(lies, 'tensors')}{', ' + hint if hint else ''}.\n"
        f"Expected: all {len(own)} tensors of this architecture, its head excepted.\n"
        f"Do: {do}."
    )


def _other_channels(there, here) -> str:
    """What to do where the first layer alone reads another number of channels."""
    if len(there) != 4 or there[2:] != here[2:]:
        return ""
    way = "keep the three that are red, green and blue: weight[:, :3]"
    if there[1] == 1:
        way = "spread it over three: weight.repeat(1, 3, 1, 1) / 3"
    return (
        f"the architecture is right, for pictures of {there[1]} channel(s), and the "
        f"course's have {here[1]}. Change this tensor in the file ({way}), and save it "
        "with safetensors.torch.save_file"
    )


COMMON = """
torchvision/resnet18 torchvision/resnet34 torchvision/resnet50 torchvision/resnet101
torchvision/resnext50_32x4d torchvision/wide_resnet50_2 torchvision/mobilenet_v2
torchvision/mobilenet_v3_small torchvision/mobilenet_v3_large torchvision/densenet121
torchvision/efficientnet_b0 torchvision/efficientnet_v2_s torchvision/convnext_tiny
torchvision/vit_b_16 torchvision/swin_t torchvision/vgg16 torchvision/squeezenet1_1
timm/resnet50 timm/resnet50d timm/vit_tiny_patch16_224 timm/vit_small_patch16_224
timm/vit_base_patch16_224 timm/vit_small_patch14_dinov2 timm/convnext_tiny
timm/efficientnet_b0 timm/mobilenetv3_large_100 timm/swin_tiny_patch4_window7_224
timm/deit_tiny_distilled_patch16_224 timm/regnety_032
""".split()


def _fitting(tensors) -> str | None:
    """The largest common architecture that all weights below its head are there for."""
    if len(tensors) < 20:  # fewer than any of them
        return None
    part, best = Part((), tensors), (0, None)
    for name in COMMON:
        own, trunk = _shapes(name)
        needed = {k for k in trunk if not k.endswith(COUNTERS)}
        fits = any(needed <= one.matched.keys() for one in _fits(part, own, trunk))
        if fits and len(needed) > best[0]:
            best = len(needed), name
    return best[1]


@functools.cache
def _shapes(name: str) -> tuple[dict, set]:
    """(tensors without memory, names of those below the head) of an architecture."""
    import timm
    from torchvision import models

    source, _, short = name.partition("/")
    build = timm.create_model if source == "timm" else models.get_model
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = build(short)
    own, head = model.state_dict(), find_head(model)
    return own, {k for k in own if not inside(k, head)}
