"""Shapes of transformers: built on torch's meta device, so without their weights."""

import difflib
import functools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import encoders, language_models

_SIZES = """hidden_size intermediate_size num_hidden_layers num_attention_heads
num_key_value_heads vocab_size max_position_embeddings""".split()
MODELS = {  # as published, none with tied embeddings; Qwen2 has biases on q, k and v
    "LLaMA-65B": ("llama", 8192, 22016, 80, 64, 64, 32000, 2048),
    "Llama-2-7B": ("llama", 4096, 11008, 32, 32, 32, 32000, 4096),
    "Llama-2-13B": ("llama", 5120, 13824, 40, 40, 40, 32000, 4096),
    "Llama-2-70B": ("llama", 8192, 28672, 80, 64, 8, 32000, 4096),
    "Llama-3.1-8B": ("llama", 4096, 14336, 32, 32, 8, 128256, 131072),
    "Llama-3.1-70B": ("llama", 8192, 28672, 80, 64, 8, 128256, 131072),
    "Mistral-7B": ("mistral", 4096, 14336, 32, 32, 8, 32000, 32768),
    "Qwen2.5-7B": ("qwen2", 3584, 18944, 28, 28, 4, 152064, 131072),
    "TinyLlama-1.1B": ("llama", 2048, 5632, 22, 32, 4, 32000, 2048),
}


HUB = {  # names on the Hub, organisation/name, of the same shapes
    "huggyllama/llama-65b": "LLaMA-65B",
    "meta-llama/Llama-2-7b-hf": "Llama-2-7B",
    "meta-llama/Llama-2-7b-chat-hf": "Llama-2-7B",
    "meta-llama/Llama-2-13b-hf": "Llama-2-13B",
    "meta-llama/Llama-2-13b-chat-hf": "Llama-2-13B",
    "meta-llama/Llama-2-70b-hf": "Llama-2-70B",
    "meta-llama/Llama-2-70b-chat-hf": "Llama-2-70B",
    "meta-llama/Llama-3.1-8B": "Llama-3.1-8B",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B",
    "meta-llama/Meta-Llama-3.1-8B": "Llama-3.1-8B",
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B": "Llama-3.1-70B",
    "meta-llama/Llama-3.1-70B-Instruct": "Llama-3.1-70B",
    "mistralai/Mistral-7B-v0.1": "Mistral-7B",
    "mistralai/Mistral-7B-Instruct-v0.1": "Mistral-7B",
    "mistralai/Mistral-7B-Instruct-v0.2": "Mistral-7B",
    "Qwen/Qwen2.5-7B": "Qwen2.5-7B",
    "Qwen/Qwen2.5-7B-Instruct": "Qwen2.5-7B",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "TinyLlama-1.1B",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m-instruct",
    "sentence-transformers/all-MiniLM-L6-v2": "minilm",
}


class Adapter(NamedTuple):
    """LoRA beside a matrix, or beside n matrices of experts that are one parameter.

    Rank r makes A (r n, k) and B (d, r n); where peft joins two projections of an
    expert into one, n counts both.
    """

    name: str
    d: int
    k: int
    n: int = 1

    def tensors(self, r: int) -> tuple[int, int]:
        """How many numbers A and B have."""
        return r * self.n * self.k, self.d * r * self.n


@dataclass(frozen=True)
class Architecture:
    """Shapes of a transformer: all that a plan is computed from.

    ``tensors``: {name: shape} of every parameter, tied ones once.  ``matrices``:
    {module: (d, k)} of every linear layer; ``quantised``: those of them that
    transformers hands to bitsandbytes; ``head``: the output layer, or "".
    ``experts``: {parameter: (E, d, k)} of experts that are stored as one parameter;
    each token passes through ``active`` of them.  ``float32``: how many numbers stay
    in 32 bits whatever the rest is in.  ``network``: built without weights.
    """

    name: str
    tensors: dict[str, tuple[int, ...]]
    matrices: dict[str, tuple[int, int]]
    quantised: frozenset[str]
    head: str
    layers: int
    hidden: int  # h, width of the residual stream
    inner: int  # f, width inside the feed-forward layers
    kept: int  # tensors of that width that their nonlinearity keeps
    heads: int
    queries: int  # width of all queries
    keys: int  # width of all keys; less than queries if these share them
    vocabulary: int  # 0 without a head
    capped: bool  # logits go through a tanh, of which a copy is kept
    capped_scores: bool  # those of attention too
    attention: str  # what transformers takes: "sdpa" or "eager"
    norms: float  # of a block, counted in widths of the residual stream
    positions: int  # longest sequence, 0: no limit
    llama: bool  # RMSNorm and gated feed-forward layers
    experts: dict[str, tuple[int, int, int]]
    active: int  # experts that a token passes through
    float32: int
    network: Any = field(repr=False, compare=False)
    _adapters: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def parameters(self) -> int:
        """How many numbers the network has, tied ones once."""
        return sum(map(math.prod, self.tensors.values()))


def describe(model) -> Architecture:
    """The shapes of a model, built without its weights; nothing is downloaded.

    model: as in `configuration`, or an Architecture.
    """
    if isinstance(model, Architecture):
        return model
    if not isinstance(model, str | Path):
        return build(model, getattr(model, "model_type", "model"))
    name = _plain(str(model))
    return _published(name) if name in MODELS else build(configuration(name), name)


def _plain(name: str) -> str:
    """The name by which the course knows a model; others stay as they are."""
    known = {m.lower(): m for m in MODELS} | {h.lower(): m for h, m in HUB.items()}
    short = re.sub(r"^(hf/|https?://huggingface\.co/)", "", name).rstrip("/")
    return known.get(short.lower(), name)


@functools.lru_cache
def _published(name: str) -> Architecture:
    return build(configuration(name), name)


def configuration(model):
    """The transformers configuration of a model.

    model: a name of MODELS or of the Hub (upper or lower case), a fetched language
    model, "minilm", the path of a config.json or its folder, or a configuration.
    Raises CourseError when it is none of these.
    """
    if not isinstance(model, str | Path):
        return model
    name = _plain(str(model))
    if name in MODELS:
        from transformers import AutoConfig

        kind, *sizes = MODELS[name]
        options = dict(zip(_SIZES, sizes), tie_word_embeddings=False)
        return AutoConfig.for_model(kind, **options)
    if name == "minilm":
        return _read_config(encoders.minilm_folder())
    if name in language_models.PUBLIC:
        return _read_config(language_models.folder(name))
    if Path(name).exists():
        return _read_config(Path(name))
    problem, remedy = f"There is no model called {name!r}.", "check the spelling"
    every = {known.lower(): known for known in (*MODELS, *HUB, *installed())}
    if near := difflib.get_close_matches(name.lower(), every, 3, 0.7):
        problem += f" Near: {', '.join(every[one] for one in near)}."
    if name.count("/") == 1 and not name.startswith("bundled/"):
        remedy = f"check the spelling, or save https://huggingface.co/{name}/raw/main/"
        remedy += "config.json and give its path"
    if name.startswith("bundled/"):
        problem = f"{name} is no text model."
        remedy = "count its step exactly with usage.training_step_bytes"
    raise CourseError(
        f"{problem}\nExpected: one of {', '.join([*MODELS, *installed()])}, or the "
        f"path of a config.json of transformers.\nDo: {remedy}, or `course memory` "
        "for the list."
    )


def installed() -> list[str]:
    """Names of the text models that the course installs or fetches."""
    return [*language_models.PUBLIC, "minilm"]


def _read_config(path: Path):
    """The configuration in a config.json, or in the folder of one."""
    from transformers import CONFIG_MAPPING

    file = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for key in ("quantization_config", "auto_map"):  # the plain model is planned
            content.pop(key, None)
        return CONFIG_MAPPING[content.pop("model_type")].from_dict(content)
    except Exception as error:  # no file, no JSON, no such kind, no such sizes
        raise CourseError(
            f"{file} is no configuration of a model ({_reason(error)}).\nExpected: a "
            'JSON file with a "model_type" that transformers knows, and sizes.\n'
            "Do: take the config.json that was published with the model."
        ) from None


def _reason(error: Exception) -> str:
    """Kind and first line of an error, short enough to stand in another's message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def build(config, name: str) -> Architecture:
    """Build a configuration's network on the meta device and read its shapes.

    Raises CourseError where transformers builds no language model or encoder of it.
    """
    net = _on_meta(config, name)
    text = config.get_text_config()
    h, heads, layers = (int(getattr(text, key)) for key in _NEEDED)
    width = getattr(text, "head_dim", None) or h // heads
    output, matrices, experts = (
        net.get_output_embeddings(),
        _matrices(net),
        _experts(net),
    )
    inner = [k for place, (_, k) in matrices.items() if role(place) == "down"]
    llama = any(place.endswith("mlp.gate_proj") for place in matrices)
    llama |= bool(experts) and any("RMSNorm" in type(m).__name__ for m in net.modules())
    act = getattr(text, "hidden_act", None) or getattr(text, "activation_function", "")
    return Architecture(
        name=name,
        tensors={n: tuple(p.shape) for n, p in net.named_parameters()},
        matrices=matrices,
        quantised=_quantised(net),
        head=next((n for n, m in net.named_modules() if output is m), ""),
        layers=layers,
        hidden=h,
        inner=inner[0] if inner else 0 if experts else 4 * h,
        kept=3 if llama else 4 if act == "gelu_new" else 1,
        heads=heads,
        queries=heads * width,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=text.vocab_size if output is not None else 0,
        capped=bool(getattr(text, "final_logit_softcapping", None)),
        capped_scores=bool(getattr(text, "attn_logit_softcapping", None)),
        attention="eager" if net.config._attn_implementation == "eager" else "sdpa",
        norms=_norms(net, h, heads, width, text) if llama else 2,
        positions=getattr(text, "max_position_embeddings", None) or 0,
        llama=llama,
        experts=experts,
        active=getattr(text, "num_experts_per_tok", None) or 1,
        float32=sum(p.numel() for p in net.parameters() if p.dtype == torch.float32),
        network=net,
    )


_NEEDED = ("hidden_size", "num_attention_heads", "num_hidden_layers")


def _on_meta(config, name: str):
    """The network of a configuration, shapes without numbers."""
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto import modeling_auto as auto

    kind = getattr(config, "model_type", None)
    decoder = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    decoder &= kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES  # BERT is in both
    try:
        with torch.device("meta"):
            family = AutoModelForCausalLM if decoder else AutoModel
            net = family.from_config(config, dtype=torch.bfloat16)
        for key in _NEEDED:
            int(getattr(config.get_text_config(), key))
    except Exception as error:  # sizes that do not go together fail in many ways
        raise CourseError(
            f"{name}: no transformer can be built from this configuration "
            f"({_reason(error)}).\nExpected: a language model or a text encoder.\n"
            "Do: check the sizes in its config.json."
        ) from None
    return net


def _matrices(net) -> dict[str, tuple[int, int]]:
    """{place: (d, k)} of every linear layer; GPT-2's Conv1D is stored transposed."""
    from transformers.pytorch_utils import Conv1D

    return {
        place: tuple(m.weight.shape)[:: -1 if isinstance(m, Conv1D) else 1]
        for place, m in net.named_modules()
        if isinstance(m, nn.Linear | Conv1D)
    }


def _quantised(net) -> frozenset[str]:
    """Which linear layers transformers hands to bitsandbytes: none of a subclass."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    skipped = get_keys_to_not_convert(net)
    whole = (
        place
        for place, m in net.named_modules()
        if type(m) is nn.Linear or isinstance(m, Conv1D)
    )
    return frozenset(place for place in whole if should_convert_module(place, skipped))


def _norms(net, h: int, heads: int, width: int, text) -> float:
    """Norms of a block of Llama's type, those of queries and keys by their share of h.

    2 in most, 4 where the output of attention and feed-forward layers is normed too.
    """
    keys = getattr(text, "num_key_value_heads", None) or heads
    sizes = {"q_norm": heads * width, "k_norm": keys * width}
    found: dict[str, float] = {}
    for place, module in net.named_modules():
        block = re.search(r"\.(\d+)\.(?:.*\.)?(\w+)$", place)
        if block and "Norm" in type(module).__name__:
            found.setdefault(block[1], 0)
            found[block[1]] += sizes.get(block[2], h) / h
    return max(found.values(), default=2)


def _experts(net) -> dict[str, tuple[int, int, int]]:
    """{parameter: (E, d, k)}: matrices of experts that are stored as one parameter."""
    found = {}
    for place, module in net.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3 and "expert" in f"{place}.{own}":
                count, rows, columns = parameter.shape
                if getattr(module, "is_transposed", False):
                    rows, columns = columns, rows
                found[f"{place}.{own}"] = (count, rows, columns)
    return found


_ROLES = {  # what a linear layer does in its block, by the end of its name
    "down": r"down_proj|mlp\.c_proj|(?<!attention)\.output\.dense|\.fc2|\.lin2",
    "up": r"gate_proj|up_proj|mlp\.c_fc|intermediate\.dense|\.fc1|\.lin1",
    "out": r"o_proj|attn\.c_proj|attention\.output\.dense|out_proj|out_lin",
    "qkv": r"[qkv]_proj|c_attn|\.query|\.key|\.value|[qkv]_lin|query_key_value",
}


def role(name: str) -> str:
    """qkv, out, up or down; layers with one role in a block read the same input."""
    found = (role for role, ends in _ROLES.items() if re.search(f"(?:{ends})$", name))
    return next(found, name)


# -- where adapters sit -----------------------------------------------------------


def adapters(arch: Architecture, targets: str | Iterable[str]) -> tuple[Adapter, ...]:
    """Where LoRA adapters sit, by peft's rules.

    targets: "all" (peft's "all-linear"), or ends of names.  In some families peft takes
    the names of the experts' projections for the parameters that they are stored in,
    and adapts those too; in others "all" leaves experts out (`Plan.notes` says so).
    Raises CourseError for a name that nothing has.
    """
    key = targets if isinstance(targets, str) else tuple(targets)
    if key not in arch._adapters:
        arch._adapters[key] = _adapters(arch, key)
    return arch._adapters[key]


def _adapters(arch: Architecture, targets: str | tuple) -> tuple[Adapter, ...]:
    from peft import LoraConfig
    from peft.utils.other import get_pattern_key
    from peft.utils.transformers_weight_conversion import (
        convert_peft_config_for_transformers,
    )

    everything = targets == "all"
    names = (targets,) if isinstance(targets, str) else targets
    config = LoraConfig(r=1, target_modules="all-linear" if everything else list(names))
    try:
        convert_peft_config_for_transformers(config, arch.network, None)
    except ValueError as error:  # one of two projections that are stored as one
        raise _no_target(arch, names, str(error)) from None
    wanted = config.target_modules
    whole = everything and isinstance(wanted, str)
    places = [
        name
        for name in arch.matrices
        if (whole and name != arch.head) or (not whole and _named(name, wanted))
    ]
    inside = [n for n in arch.tensors if _named(n, config.target_parameters or ())]
    hit = [*places, *inside]
    missing = [t for t in wanted if not any(_named(n, (t,)) for n in hit)]
    if not everything and (missing or not names):
        raise _no_target(arch, missing)
    found = [Adapter(name, *arch.matrices[name]) for name in places]
    for name in inside:
        joined = config.rank_pattern.get(get_pattern_key(config.rank_pattern, name), 1)
        count, d, k = arch.experts.get(name) or (1, *arch.tensors[name])
        found.append(Adapter(name, d, k, count * joined))
    return tuple(found)


def _named(name: str, ends: Iterable[str]) -> bool:
    """Does a dotted name end with one of these?"""
    return f".{name}".endswith(tuple(f".{end}" for end in ends))


def _no_target(arch: Architecture, missing, reason: str = "") -> CourseError:
    ends = dict.fromkeys(name.split(".")[-1] for name in arch.matrices)
    return CourseError(
        f"plan: no linear layer of {arch.name} is called "
        f"{', '.join(missing) or '(none given)'}{reason and f' ({reason})'}.\n"
        f"Expected: all, or among {', '.join(ends)}.\n"
        "Do: name the layers that get adapters."
    )
