"""The memory planner: what fine-tuning a model needs, by part, before anything runs.

    total = weights + adapters + gradients + optimizer states
          + activations + the larger of (logits) and (one layer's backward pass)

The network is built on torch's meta device, shapes without numbers, so that a model of
70 billion parameters takes a second to plan.  What is stored (first line) is counted
tensor by tensor; the second line is a formula, made for decoders of Llama's type.
Sizes are in bytes; GB = 10^9 bytes, GiB = 2^30.  Lesson 10.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from course_lib.errors import CourseError
from course_lib.models import language_models

GB, GIB = 10**9, 2**30
PARTS = {  # in the order of tables and bars
    "quantised": "weights in 4 bits",
    "constants": "their quantisation constants",
    "weights": "weights in 16 or 32 bits",
    "master": "float32 master weights",
    "adapters": "adapters",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "activations": "activations kept",
    "logits": "logits and their copies",
    "backward": "one layer's backward pass",
    "workspace": "largest matrix dequantised",
}
STORED = tuple(PARTS)[:7]  # what `measured` counts too
METHODS = ("full", "lora", "qlora")
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
OPTIMIZERS = {  # moments of a learned number, bytes of one (0: as the number), paged
    "adamw": (2, 0, False),
    "paged adamw": (2, 4, True),
    "adamw8bit": (2, 1, False),
    "paged adamw8bit": (2, 1, True),
    "sgd": (0, 0, False),
    "sgd momentum": (1, 0, False),
}
# bitsandbytes' numbers: blocks of nf4, of its constants, and of 8-bit Adam's states;
# smaller tensors keep 32-bit states; smaller ones are never paged
NF4_BLOCK, CONSTANT_BLOCK, ADAM_BLOCK = 64, 256, 256
SMALLEST_8BIT, SMALLEST_PAGED = 4096, 100_000

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

# -- the network --------------------------------------------------------------------


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
        return _built(model, getattr(model, "model_type", "model"))
    known = {m.lower(): m for m in MODELS}.get(str(model).lower())
    return _published(known) if known else _built(configuration(model), str(model))


@functools.lru_cache
def _published(name: str) -> Architecture:
    return _built(configuration(name), name)


def configuration(model):
    """The transformers configuration of a model.

    model: a name of MODELS (upper or lower case), a bundled language model, "minilm",
    the path of a config.json or its folder, or a configuration.  Raises CourseError
    when it is none of these.
    """
    if not isinstance(model, str | Path):
        return model
    name = str(model)
    known = {m.lower(): m for m in MODELS}.get(name.lower())
    if known:
        from transformers import AutoConfig

        kind, *sizes = MODELS[known]
        options = dict(zip(_SIZES, sizes), tie_word_embeddings=False)
        return AutoConfig.for_model(kind, **options)
    if name == "minilm":
        from course_lib.models import zoo

        return _read_config(zoo.minilm_folder())
    if name in language_models.bundled():
        return _read_config(language_models.folder(name))
    if Path(name).exists():
        return _read_config(Path(name))
    problem, remedy = f"There is no model called {name!r}.", "check the spelling"
    if name.startswith("bundled/"):
        problem = f"{name} is no text model."
        remedy = "count its step exactly with resources.training_step_bytes"
    raise CourseError(
        f"{problem}\nExpected: one of {', '.join([*MODELS, *installed()])}, or the "
        f"path of a config.json of transformers.\nDo: {remedy}, or `course memory` "
        "for the list."
    )


def installed() -> list[str]:
    """Names of the text models whose config.json comes with the course."""
    return [*language_models.bundled(), "minilm"]


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


def _built(config, name: str) -> Architecture:
    """Build the network on the meta device and read its shapes."""
    import torch
    from torch import nn
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto import modeling_auto as auto
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kind = getattr(config, "model_type", None)
    decoder = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    decoder &= kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES  # BERT is in both
    try:
        with torch.device("meta"):
            family = AutoModelForCausalLM if decoder else AutoModel
            net = family.from_config(config, dtype=torch.bfloat16)
        text = config.get_text_config()
        h, heads, layers = (
            int(getattr(text, key))
            for key in ("hidden_size", "num_attention_heads", "num_hidden_layers")
        )
    except Exception as error:  # sizes that do not go together fail in many ways
        raise CourseError(
            f"{name}: no transformer can be built from this configuration "
            f"({_reason(error)}).\nExpected: a language model or a text encoder.\n"
            "Do: check the sizes in its config.json."
        ) from None
    matrices = {
        place: tuple(m.weight.shape)[:: -1 if isinstance(m, Conv1D) else 1]
        for place, m in net.named_modules()
        if isinstance(m, nn.Linear | Conv1D)  # GPT-2's Conv1D is stored transposed
    }
    skipped, output = get_keys_to_not_convert(net), net.get_output_embeddings()
    whole = {  # bitsandbytes replaces no subclass
        place
        for place, m in net.named_modules()
        if type(m) is nn.Linear or isinstance(m, Conv1D)
    }
    inner = [k for place, (_, k) in matrices.items() if _role(place) == "down"]
    experts = _experts(net)
    llama = any(place.endswith("mlp.gate_proj") for place in matrices)
    llama |= bool(experts) and any("RMSNorm" in type(m).__name__ for m in net.modules())
    act = getattr(text, "hidden_act", None) or getattr(text, "activation_function", "")
    width = getattr(text, "head_dim", None) or h // heads
    return Architecture(
        name=name,
        tensors={n: tuple(p.shape) for n, p in net.named_parameters()},
        matrices=matrices,
        quantised=frozenset(n for n in whole if should_convert_module(n, skipped)),
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


def _role(name: str) -> str:
    """qkv, out, up or down; layers with one role in a block read the same input."""
    found = (role for role, ends in _ROLES.items() if re.search(f"(?:{ends})$", name))
    return next(found, name)


# -- the plan -----------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What one training run needs, as `plan` computes it.

    ``parts``: bytes by the keys of PARTS at the moment that needs most.
    ``transient``: bytes of the logits, and of one layer's backward pass and workspace
    when the logits' copies are gone; only the larger side is in parts.  ``paged``:
    bytes of optimizer states that may lie in the CPU's memory, in no part.
    ``trainable``: numbers that learn.
    """

    model: Architecture
    options: dict[str, Any]
    parts: dict[str, int]
    transient: dict[str, int]
    paged: int
    trainable: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes that the device must have for this, all parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        o = self.options
        how = o["method"] if o["method"] == "full" else f"{o['method']} r={o['r']}"
        return f"{self.model.name}, {how}, {o['batch']} x {o['sequence']} tokens"


def plan(
    model,
    method: str,
    r: int = 16,
    targets: str | Iterable[str] = "all",
    sequence: int = 512,
    batch: int = 1,
    checkpointing: bool = True,
    dtype: str = "bfloat16",
    optimizer: str = "adamw",
    double_quantisation: bool = True,
    prepared: bool = True,
    master: bool = True,
    adapter_dtype: str = "float32",
    attention: str = "auto",
) -> Plan:
    """Plan the memory of one training run.

    model: see `describe`.  method: "full", "lora" or "qlora" (nf4, blocks of 64).
    r, targets: rank; "all" linear layers but the head, or ends of their names.
    sequence, batch: tokens of a sequence, sequences of a micro-batch.  dtype: of
    weights and computation.  master: full fine-tuning in 16 bits keeps a float32 copy
    of the weights with Adam's states, 2 + 2 + 4 + 8 = 16 bytes a parameter (mixed
    precision; Rajbhandari et al. 2020, section 3.1); without it 2 + 2 + 4, in float32
    4 + 4 + 8.  prepared: QLoRA after peft's prepare_model_for_kbit_training, which
    casts embeddings, head and norms to float32; the activations follow.
    adapter_dtype: float32 is peft's default.  optimizer: see OPTIMIZERS.  attention:
    "sdpa" keeps no T x T matrix, "eager" keeps one a head, "auto" is what transformers
    takes for this architecture.

    Gradients count in full, as they do when they are accumulated.  Left out: the CUDA
    context, fragmentation, copies made in the optimizer's step or by autocast, padding
    masks, dropout.  Raises CourseError on impossible values.  Hu et al. 2022; Dettmers
    et al. 2022, 2023; lesson 10.
    """
    o = dict(locals())
    arch = describe(o.pop("model"))
    o["optimizer"] = _optimizer_name(optimizer)
    o["targets"] = targets if isinstance(targets, str) else tuple(targets)
    if attention == "auto":
        o["attention"] = arch.attention
    _check(o)
    full, quantised = method == "full", method == "qlora"
    b, a = DTYPES[dtype], DTYPES[adapter_dtype]
    chosen = () if full else adapters(arch, o["targets"])
    sizes = [math.prod(shape) for shape in arch.tensors.values()]
    packed = [math.prod(arch.matrices[m]) for m in sorted(arch.quantised)] * quantised
    stream = 4 if quantised and prepared else b  # bytes of a number between layers
    parts = dict.fromkeys(PARTS, 0)
    parts["weights"] = stream * (sum(sizes) - sum(packed))
    parts["weights"] += (4 - stream) * arch.float32
    parts["quantised"] = sum(-(-n // 2) for n in packed)
    parts["constants"] = sum(_constants(n, double_quantisation) for n in packed)
    if full:
        learned, number = sizes, b
        parts["gradients"] = b * sum(sizes)
        if master and b < 4:
            parts["master"], number = 4 * sum(sizes), 4
    else:
        learned, number = [n for one in chosen for n in one.tensors(r)], a
        parts["adapters"] = parts["gradients"] = a * sum(learned)
    parts["optimizer"], paged = _states(learned, number, o["optimizer"])
    parts["activations"], layer = _activations(arch, chosen, o, stream)
    words, casts = batch * sequence * arch.vocabulary, not full and a != stream
    output = stream * words * (1 + arch.capped)
    transient = {
        # the model's output, log-softmax, and a gradient of either in float32; of
        # capped logits their tanh too
        "logits": output + words * (4 + 4 + 4),
        # the layer recomputed, and gradients inside it as the tests have found them
        "backward": layer * checkpointing
        + batch * sequence * (2 * stream * arch.inner + 8 * arch.hidden * casts),
        "workspace": b * max(packed, default=0),
    }
    later = output + transient["backward"] + transient["workspace"]
    first = transient["logits"] > later
    parts |= transient
    parts |= dict(backward=0, workspace=0) if first else dict(logits=output)
    notes = _notes(arch, chosen, o, stream, paged)
    return Plan(arch, o, parts, transient, paged, sum(learned), notes)


def replan(planned: Plan, **changes) -> Plan:
    """The same plan with some of its options changed."""
    return plan(planned.model, **(planned.options | changes))


def _constants(n: int, double: bool) -> int:
    """Bytes that bitsandbytes keeps beside a matrix of n numbers in nf4.

    A float32 for 64 numbers; with double quantisation a byte for 64, a float32 for 256
    of those, an offset and a table of 256.  Either way the table of the 16 levels.
    """
    blocks = -(-n // NF4_BLOCK)
    second = -(-blocks // CONSTANT_BLOCK)
    return 4 * 16 + (blocks + 4 * (second + 1 + 256) if double else 4 * blocks)


def _states(learned: list[int], number: int, optimizer: str) -> tuple[int, int]:
    """(bytes on the device, bytes that may be paged out) of the optimizer's states.

    learned: numbers of each tensor; number: bytes of one.  torch adds a step count to
    each tensor, 8-bit Adam a float32 for each block, and two tables that all share.
    """
    moments, size, pages = OPTIMIZERS[optimizer]
    here = paged = 0
    for n in learned:
        eight = size == 1 and n >= SMALLEST_8BIT
        state = moments * n * (1 if eight else 4 if size else number)
        here += 4 * (optimizer == "adamw")
        here += moments * 4 * -(-n // ADAM_BLOCK) if eight else 0
        if pages and n >= SMALLEST_PAGED:
            paged += state
        else:
            here += state
    tables = size == 1 and max(learned, default=0) >= SMALLEST_8BIT
    return here + 2 * 4 * 256 * tables, paged


def _activations(
    arch: Architecture, chosen: Iterable[str], o: Mapping[str, Any], b: int
) -> tuple[int, int]:
    """(bytes kept for the backward pass, bytes of one layer), b: bytes of a number.

    A linear layer needs its input for the gradient of its weights, and only its weights
    for the gradient of its input: frozen, it keeps nothing.  But an adapter A beside it
    needs that same input, and B needs A x.  So LoRA on all layers keeps what full
    fine-tuning keeps and r numbers more, less only what the norms' own weights need.
    Where adapters are float32 and the rest is not, peft casts the input for each
    adapter anew, and every copy is kept.  With checkpointing a layer keeps its input
    alone (Chen et al. 2016; Korthikanti et al. 2022 count as here).
    """
    h, f, L, full = arch.hidden, arch.inner, arch.layers, o["method"] == "full"
    N, r, a = o["batch"] * o["sequence"], o["r"], DTYPES[o["adapter_dtype"]]
    norm = N * (b * h + 8)  # x, its mean and deviation
    if arch.llama:  # x in float32, 1 / rms; for the norm's own weights x / rms
        norm = N * (4 * h + 4 + b * h * full)
    mixed = N * (b * (2 * arch.queries + 2 * arch.keys) + 4 * arch.heads)
    if o["attention"] == "eager":  # keys repeated for each head; softmax in float32
        scores = N * o["sequence"] * arch.heads
        mixed = 4 * N * b * arch.queries + scores * (4 + b * (b < 4))
        mixed += scores * b * arch.capped_scores
    inputs, outside, seen = 0, 0, set()
    readers = arch.matrices.items()
    if not full:
        readers = [(one.name, (one.d, one.k)) for one in chosen]
    for name, (_, k) in readers:
        if name in arch.experts:
            continue
        block = re.search(r"\.(\d+)\.", name)
        role = (block and block[1], _role(name))
        need = 0 if full else N * a * r
        if not full and a != b:
            need += N * a * k
        elif role not in seen and role[1] != "out":  # attention has kept that one
            need += N * b * k
        seen.add(role)
        inputs += need * bool(block)
        outside += need * (not block)
    outside += norm + 2 * o["sequence"] * b * (arch.queries // arch.heads)  # cos, sin
    kept, backward = _expert_activations(arch, chosen, o, b)
    layer = int(arch.norms * norm) + mixed + N * b * arch.kept * f + kept
    if o["checkpointing"]:
        return L * N * b * h + outside, layer + inputs // L + backward
    first = 0 if full else norm  # nothing before it learns
    return L * layer + inputs + outside - first, layer + inputs // L + backward


def _expert_activations(arch: Architecture, chosen, o, b: int) -> tuple[int, int]:
    """(bytes that the experts of one layer keep, bytes more in its backward pass).

    Each token is copied for each of its experts; where an adapter sits on a parameter
    of experts, peft computes the whole of it anew with the update added, keeps that
    for the backward pass, and the gradient is as large.
    """
    if not arch.experts:
        return 0, 0
    N, blocks = o["batch"] * o["sequence"], {}
    adapted = {one.name for one in chosen}
    for name, shape in arch.experts.items():
        blocks.setdefault(name.rpartition(".")[0], []).append((name, shape))
    members = next(iter(blocks.values()))
    widths = [d + k for _, (_, d, k) in members]
    # inputs and outputs of each, the nonlinearity's, and the weighted sum's
    flow = N * arch.active * b * (sum(widths) + widths[-1])
    copies = b * sum(math.prod(shape) for name, shape in members if name in adapted)
    return flow + copies, copies


def _optimizer_name(name: str) -> str:
    """paged_adamw_8bit, AdamW-8bit, paged adamw8bit: one spelling."""
    words = re.sub(r"[\s_-]+", " ", str(name).lower()).strip()
    return words.replace("adamw 8bit", "adamw8bit").replace("adamw 32bit", "adamw")


def _expert_notes(arch: Architecture, chosen, o, stream: int) -> list[str]:
    """What is particular about experts that are stored as one parameter."""
    numbers = sum(map(math.prod, arch.experts.values()))
    share = f"{numbers / arch.parameters:.0%} of the network"
    notes = ["What experts keep for the backward pass is estimated, to about a tenth."]
    if o["method"] == "qlora":
        cast = ", to which prepare_model_for_kbit_training casts them"
        notes.append(
            f"The experts, {share}, are not quantised: bitsandbytes takes linear "
            f"layers, and they are parameters of their own. They take "
            f"{stream * numbers / GB:.2f} GB in {8 * stream} bits"
            f"{cast * (o['prepared'] and o['dtype'] != 'float32')}."
        )
    if o["method"] != "full":
        adapted = [one for one in chosen if one.name in arch.experts]
        if adapted:
            learned = sum(sum(one.tensors(o["r"])) for one in adapted)
            notes.append(
                f"{learned:,} of the numbers that learn are adapters of experts, and "
                "a step makes a copy of the experts' weights with the update added."
            )
        else:
            notes.append(
                f"No adapter sits on the experts, {share}: peft reaches them by "
                "target_parameters alone."
            )
    return notes


def _check(o: Mapping[str, Any]) -> None:
    """CourseError for options that no run can have."""
    allowed = {
        "method": METHODS,
        "dtype": DTYPES,
        "adapter_dtype": DTYPES,
        "optimizer": OPTIMIZERS,
        "attention": ("sdpa", "eager"),
    }
    for key, values in allowed.items():
        if o[key] not in values:
            raise CourseError(
                f"plan: {key} {o[key]!r} is unknown.\n"
                f"Expected: one of {', '.join(values)}.\nDo: choose one of these."
            )
    for key, what in (("r", "rank"), ("batch", "batch"), ("sequence", "sequence")):
        value = o[key]
        if not isinstance(value, int) or value < 1:
            raise CourseError(
                f"plan: a {what} of {value!r} is not possible.\nExpected: a whole "
                f"number of 1 or more.\nDo: choose {key}=1 at the least."
            )


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


def _notes(
    arch: Architecture, chosen, o: Mapping[str, Any], stream: int, paged: int
) -> tuple[str, ...]:
    notes = _expert_notes(arch, chosen, o, stream) if arch.experts else []
    if o["method"] == "qlora" and not arch.quantised:
        notes.append(
            "Nothing is stored in 4 bits: transformers hands plain linear layers to "
            "bitsandbytes, and this network has none but its own kinds."
        )
    if 0 < arch.positions < o["sequence"]:
        notes.append(
            f"{arch.name} has {arch.positions} positions, fewer than the "
            f"{o['sequence']} tokens of a sequence."
        )
    if not arch.llama:
        notes.append("Not of Llama's type: activations are a rough estimate.")
    if OPTIMIZERS[o["optimizer"]][2]:
        notes.append(
            f"{paged / GB:.2f} GB of optimizer states are paged and not counted: they "
            f"may lie in the CPU's memory (tensors of {SMALLEST_PAGED:,} numbers or "
            "more)."
        )
    return tuple(notes)


# -- what a live model stores ---------------------------------------------------------


def measured(model, optimizer=None) -> dict[str, int]:
    """Bytes that a model and its optimizer hold now, by the keys of STORED.

    Every storage counts once.  Parameters of bitsandbytes with all tensors of their
    quant_state; layers that keep integers in buffers (as methods.quantization): the
    largest buffer is the weight, the others its constants.  Where some parameters are
    frozen, those that learn are the adapters.  Gradients count after backward, states
    after a step (`resources.tensor_bytes`).  Lesson 10.
    """
    import torch

    from course_lib.models.features import network

    net, seen = network(model), set()
    parts = dict.fromkeys(STORED, 0)

    def count(part, *tensors):
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                parts[part] += storage.nbytes()

    parameters = list(net.parameters())
    frozen = any(not p.requires_grad for p in parameters)
    for p in parameters:
        state = getattr(p, "quant_state", None)
        if state is not None:
            second = getattr(state, "state2", None)
            count("quantised", p.data)
            count("constants", state.absmax, state.code, state.offset)
            count("constants", *((second.absmax, second.code) if second else ()))
        else:
            count("adapters" if frozen and p.requires_grad else "weights", p.data)
        count("gradients", p.grad)
    for module in net.modules():
        buffers = sorted(module.buffers(recurse=False), key=lambda t: -t.nbytes)
        if any(t.dtype in (torch.uint8, torch.int8) for t in buffers):
            count("quantised", buffers.pop(0))
            count("constants", *buffers)
        count("weights", *buffers)
    for state in optimizer.state.values() if optimizer is not None else ():
        count("optimizer", *state.values())
    return parts


# -- does it fit? ---------------------------------------------------------------------


class Change(NamedTuple):
    """One thing to change on top of those before it, and the plan that results.

    Bytes: what it saves, and what is then to spare (negative: still missing).
    """

    text: str
    saving: int
    spare: int
    plan: Plan


@dataclass(frozen=True)
class Verdict:
    """Does a plan fit?  Bytes: ``capacity`` of the card, ``reserve`` kept free,
    ``spare`` what is left (negative: what is missing); ``changes`` to make it fit."""

    fits: bool
    capacity: int
    reserve: int
    spare: int
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        size = abs(self.spare) / GB
        size = f"{size:.1f} GB" if size >= 0.1 else f"{size * 1000:.0f} MB"
        return f"yes, {size} to spare" if self.fits else f"no, {size} are missing"


def capacity(gigabytes: float, unit: str = "GiB") -> int:
    """Bytes of a card: sold as "24 GB" it has 24 GiB, 25.8 GB of 10^9 bytes.

    unit "GB" takes the number literally.  Raises CourseError unless it is positive.
    """
    if unit not in ("GiB", "GB") or not 0 < gigabytes < math.inf:
        raise CourseError(
            f"A memory of {gigabytes} {unit} is not possible.\nExpected: a positive "
            "number of GiB or GB.\nDo: give the size of the card, such as 24."
        )
    return int(gigabytes * (GIB if unit == "GiB" else GB))


def fits(
    planned: Plan, gigabytes: float, reserve: float = 1.0, unit: str = "GiB"
) -> Verdict:
    """Does the plan fit on a card, and if not, what to change?

    ``reserve`` (in GiB) is kept for the CUDA context and fragmentation.  Changes are
    made one on top of the other until the plan fits, those first that leave the result
    of training as it is; what saves nothing is left out.  If the plan of the last one
    does not fit either, the card is too small for all of them.  Lesson 10.
    """
    room = capacity(gigabytes, unit)
    held = int(reserve * GIB)
    budget = room - held
    spare = budget - planned.total
    changes, now = [], planned
    for text, new in _suggestions(planned):
        if now.total <= budget:
            break
        better = replan(now, **new)
        saving = now.total - better.total
        if saving > 0:
            changes.append(Change(text, saving, budget - better.total, better))
            now = better
    return Verdict(spare >= 0, room, held, spare, tuple(changes))


def _suggestions(planned: Plan) -> list[tuple[str, dict[str, Any]]]:
    """What may help, from no price at all to another run: [(words, options)]."""
    o = planned.options
    method, (moments, size, paged) = o["method"], OPTIMIZERS[o["optimizer"]]
    quantised, adam = method == "qlora", moments == 2
    of_16 = "bfloat16" if o["dtype"] == "float32" else o["dtype"]
    micro = f"micro-batch of 1, gradients accumulated over {o['batch']}"
    bare = dict(prepared=False)
    single = quantised and not o["double_quantisation"]
    steps = [
        (not o["checkpointing"], "gradient checkpointing", dict(checkpointing=True)),
        (o["batch"] > 1, micro, dict(batch=1)),
        (quantised and o["prepared"], "no cast to float32 (not prepared)", bare),
        (single, "double quantisation", dict(double_quantisation=True)),
        (adam and size != 1, "8-bit AdamW", dict(optimizer="adamw8bit")),
        (adam and not paged, "paged 8-bit AdamW", dict(optimizer="paged adamw8bit")),
        (of_16 != o["dtype"], "bfloat16", dict(dtype=of_16)),
        (method == "full", "LoRA", dict(method="lora")),
        (not quantised, "QLoRA (not prepared)", dict(method="qlora") | bare),
    ]
    found = [(words, options) for use, words, options in steps if use]
    for key, words, least in (("sequence", "sequences of", 128), ("r", "rank", 4)):
        value = o[key]
        while value > least:
            value = max(least, value // 2)
            found.append((f"{words} {value}", {key: value}))
    return found


def largest(
    planned: Plan,
    gigabytes: float,
    what: str = "batch",
    reserve: float = 1.0,
    unit: str = "GiB",
) -> int:
    """The largest batch, or sequence, with which the plan fits; 0 if none does.

    A sequence is at most as long as the model has positions.  Raises CourseError when
    ``what`` is neither.  Lesson 10.
    """
    if what not in ("batch", "sequence"):
        raise CourseError(
            f"largest: {what!r} is unknown.\nExpected: batch or sequence.\n"
            "Do: choose one of these."
        )
    budget = capacity(gigabytes, unit) - int(reserve * GIB)
    top = planned.model.positions if what == "sequence" else 0
    top = top or 2**24

    def too_much(value):
        return replan(planned, **{what: value}).total > budget

    low, high = 0, 1
    while high <= top and not too_much(high):
        low, high = high, 2 * high
    high = min(high, top + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if too_much(middle) else (middle, high)
    return low


# -- for the reader -------------------------------------------------------------------


def report(
    planned: Plan, gigabytes: float | None = None, what: str | None = None
) -> dict[str, Any]:
    """A plan as plain values for JSON, with the verdict of `fits` for that card.

    ``what``: "batch" or "sequence", the largest of which is then added.
    """
    found: dict[str, Any] = {
        "model": planned.model.name,
        "parameters": planned.model.parameters,
        "options": planned.options,
        "bytes": planned.parts,
        "total": planned.total,
        "transient": planned.transient,
        "paged": planned.paged,
        "trainable": planned.trainable,
        "notes": planned.notes,
    }
    if gigabytes is not None:
        verdict = fits(planned, gigabytes)
        found["card"] = {
            "gigabytes": gigabytes,
            "fits": verdict.fits,
            "capacity": verdict.capacity,
            "reserve": verdict.reserve,
            "spare": verdict.spare,
            "verdict": str(verdict),
            "changes": [
                {"change": c.text, "saving": c.saving, "spare": c.spare}
                for c in verdict.changes
            ],
        }
    if what is not None:
        found["largest"] = {what: largest(planned, gigabytes, what)}
    return found


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What a `report` says in words, a line each."""
    lines = list(found["notes"])
    card = found.get("card")
    if card:
        size = f"{card['gigabytes']:g} GB"
        lines.append(f"Fits in {size}: {card['verdict']}.")
        for i, change in enumerate(card["changes"], start=1):
            end = f"saves {change['saving'] / GB:.2f} GB"
            if change["spare"] >= 0:
                end += f", then it fits with {change['spare'] / GB:.1f} GB to spare"
            lines.append(f"  {i}. {change['change']}: {end}")
        if not card["fits"] and not any(c["spare"] >= 0 for c in card["changes"]):
            lines.append("  Even all of this does not make it fit.")
        lines.append(
            f"A card of {size} has {card['capacity'] / GB:.1f} x 10^9 bytes; "
            f"{card['reserve'] / GB:.1f} are kept free for CUDA and fragmentation."
        )
    for what, value in found.get("largest", {}).items():
        lines.append(f"Largest {what} that fits: {value}.")
    return lines


def picture(
    plans: Iterable[Plan] | Mapping[str, Plan],
    gigabytes: float | None = None,
    title: str = "Memory of one training step",
    reserve: float = 1.0,
):
    """Stacked bars of the plans by part, in GB, and a line at the size of the card.

    plans: several, or {label: plan}; gigabytes, reserve: as for `fits`; what is kept
    free is shaded, so that a bar that reaches it does not fit.  Returns the figure.
    """
    from matplotlib.colors import to_rgb

    from course_lib.show import plots

    if not isinstance(plans, Mapping):
        plans = {str(p).replace(", ", "\n", 1): p for p in plans}
    if not plans:
        raise CourseError("picture: no plan to show.\nExpected: one or more.")
    figure, ax = plots.new(width=8.4, height=1.2 + 0.6 * max(len(plans), 3))
    colours = [c for c in plots.COLOURS if c != "#000000"]
    hatches = ("", "///", "..", "\\\\\\", "xx", "--", "++", "oo", "||", "**", "OO")
    rows, left = range(len(plans)), [0.0] * len(plans)
    for i, (part, label) in enumerate(PARTS.items()):
        sizes = [p.parts[part] / GB for p in plans.values()]
        if any(sizes):
            face, edge = colours[i % len(colours)], "white"
            if i >= len(colours):  # the same colours once more, light
                face, edge = tuple(1 - 0.4 * (1 - x) for x in to_rgb(face)), face
            look = dict(facecolor=face, edgecolor=edge, hatch=hatches[i], linewidth=0)
            ax.barh(rows, sizes, left=left, label=label, height=0.6, **look)
        left = [a + b for a, b in zip(left, sizes)]
    for row, total in zip(rows, left):
        place = dict(xytext=(4, 0), textcoords="offset points", va="center")
        place |= dict(bbox=dict(color="white", pad=0.5), zorder=3)
        ax.annotate(f"{total:.1f}", (total, row), fontsize="small", **place)
    end = max(left)
    if gigabytes is not None:
        room, label = capacity(gigabytes) / GB, f"card of {gigabytes:g} GiB"
        end = max(end, room)
        ax.axvline(room, color="black", linestyle="--", linewidth=1.4, label=label)
        free = dict(color="#cccccc", zorder=0, label="of it, kept free")
        ax.axvspan(room - reserve * GIB / GB, room, linewidth=0, **free)
    ax.set_yticks(rows, list(plans))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="GB (10^9 bytes)", title=title, xlim=(0, 1.14 * end))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    return figure
