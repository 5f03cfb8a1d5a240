"""The family of parameter-efficient fine-tuning: a frozen network, small learned parts.

Each function changes a backbone with a head in place: everything is frozen, the parts
of one method are put in and learn together with the head.  They know BERT's layers and
those of timm's vision transformers.  `lora` has a module of its own.
"""

import math
import re
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from course_lib.errors import CourseError
from course_lib.methods import lora
from course_lib.training import freezing

PARTS = {  # what a linear layer or attention module does, by the end of its name
    "attention": r"\.attention\.self|\.attn",
    "query": r"\.query(_proj)?",
    "key": r"\.key(_proj)?",
    "value": r"\.value(_proj)?",
    "qkv": r"\.attn\.qkv",
    "project": r"\.attention\.output\.dense|\.attn\.proj",
    "expand": r"\.intermediate\.dense|\.mlp\.fc1",
    "contract": r"(?<!\.attention)\.output\.dense|\.mlp\.fc2",
}


LINEAR = ("query", "key", "value", "qkv", "project", "expand", "contract")


def parts(backbone) -> dict[str, list[str]]:
    """{what it does: module names} of a transformer: query, key, value (or qkv),
    project, expand, contract, attention.  Raises CourseError for other networks."""
    names = [name for name, _ in backbone.model.named_modules()]
    found = {
        part: [n for n in names if re.search(f"(?:{pattern})$", n)]
        for part, pattern in PARTS.items()
    }
    if not (found["attention"] and found["project"] and found["contract"]):
        raise CourseError(
            f"{backbone.name}: no transformer layers were found.\nExpected: BERT's "
            "names or timm's VisionTransformer, such as minilm or bundled/vit-patterns."
        )
    return found


def _frozen(backbone) -> nn.Module:
    if isinstance(backbone, nn.Module) or not backbone.heads:
        raise CourseError(
            "Expected a backbone with a head. Do: zoo.load(name, num_classes=...)."
        )
    freezing.freeze_backbone(backbone)
    return backbone.model


def _replace(backbone, names, make, seed: int = 0):
    """Put make(module) in place of each module called so; returns the backbone."""
    net = backbone.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            old = net.get_submodule(name)
            net.set_submodule(name, make(old).to(next(old.parameters()).device))
    return backbone


# -- whole parameters ---------------------------------------------------------------


def full(backbone):
    """Full fine-tuning: everything learns."""
    _frozen(backbone)
    return freezing.unfreeze(backbone)


def probe(backbone):
    """Linear probe: the head alone learns."""
    _frozen(backbone)
    return backbone


def bitfit(backbone):
    """BitFit: the biases learn, those of the norms included.

    Ben Zaken, Goldberg & Ravfogel 2022.
    """
    net = _frozen(backbone)
    for name, parameter in net.named_parameters():
        if name.endswith(".bias"):
            parameter.requires_grad_(True)
    return backbone


# -- beside a weight ----------------------------------------------------------------


def lora_everywhere(backbone, r: int = 8, alpha: float = 16.0, seed: int = 0):
    """LoRA (`lora.inject`) on every linear layer of the transformer; the head learns.

    Hu et al. 2022, with the targets of Dettmers et al. 2023.
    """
    _frozen(backbone)
    options = dict(r=r, alpha=alpha, train=backbone.heads, seed=seed)
    return lora.inject(backbone, linear_layers(backbone), **options)


def linear_layers(backbone, wanted: Iterable[str] = LINEAR) -> list[str]:
    """Names of the linear layers of the transformer's blocks, by what they do."""
    found = parts(backbone)
    return [name for part in wanted for name in found[part]]


class DoRALinear(nn.Module):
    """LoRA on the direction of each row of W, its length learned apart.

        W' = m V / ||V||,   V = W + s B A,   m (d,) = ||W|| at first

    One length for each output, a row of W, as the authors' code and peft have it.  The
    norm counts as a constant for the gradient (paper, section 4.3), so that W' is never
    formed in training.  Input (..., k), output (..., d).  Liu et al. 2024.
    """

    def __init__(self, base: nn.Linear, r: int = 8, alpha: float = 16.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.magnitude = nn.Parameter(base.weight.detach().norm(dim=1))  # (d,)
        self.scale = lora.scale(r, alpha)

    @torch.no_grad()
    def direction(self) -> torch.Tensor:
        """V, (d, k)."""
        return self.base.weight + self.scale * (self.B @ self.A)

    @torch.no_grad()
    def weight(self) -> torch.Tensor:
        """W', (d, k): what to write into W when merging."""
        V = self.direction()
        return (self.magnitude / V.norm(dim=1))[:, None] * V

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stretch = self.magnitude / self.direction().norm(dim=1)  # (d,)
        low = (x @ self.A.T) @ self.B.T
        out = stretch * (linear(x, self.base.weight) + self.scale * low)
        return out if self.base.bias is None else out + self.base.bias


def dora(backbone, r: int = 8, alpha: float = 16.0, seed: int = 0):
    """DoRA on every linear layer of the transformer; the head learns."""
    _frozen(backbone)
    names = linear_layers(backbone)
    return _replace(backbone, names, lambda old: DoRALinear(old, r, alpha), seed)


class IA3Linear(nn.Module):
    """A linear layer whose inputs or outputs are scaled, each by a learned factor.

    side: "input" scales x (..., k), "output" the last ``width`` channels of W x + b
    (all by default).  Factors begin at one.  Liu et al. 2022.
    """

    def __init__(self, base: nn.Linear, side: str, width: int | None = None):
        super().__init__()
        self.base, self.side = base, side
        whole = base.in_features if side == "input" else base.out_features
        self.factors = nn.Parameter(torch.ones(width or whole))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.side == "input":
            return self.base(x * self.factors)
        out = self.base(x)
        kept = out.shape[-1] - len(self.factors)
        return torch.cat([out[..., :kept], out[..., kept:] * self.factors], -1)


def ia3(backbone):
    """IA3: factors on keys, on values and inside the feed-forward layers.

    Where query, key and value share a layer, its last two thirds are scaled.
    Liu et al. 2022.
    """
    _frozen(backbone)
    found = parts(backbone)
    single = found["key"] + found["value"]
    _replace(backbone, single, lambda old: IA3Linear(old, "output"))
    _replace(backbone, found["contract"], lambda old: IA3Linear(old, "input"))

    def last_two_thirds(old):
        return IA3Linear(old, "output", old.out_features * 2 // 3)

    return _replace(backbone, found["qkv"], last_two_thirds)


# -- between the layers -------------------------------------------------------------


class Adapter(nn.Module):
    """A layer, then a bottleneck beside a residual: h + U gelu(D h + b) + c.

    D (width, d), U (d, width) zero at first, so that nothing changes.
    Houlsby et al. 2019.
    """

    def __init__(self, base: nn.Linear, width: int):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.out_features, width)
        self.up = nn.Linear(width, base.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.base(x)
        return h + self.up(gelu(self.down(h)))


def adapters(backbone, width: int = 16, seed: int = 0):
    """Bottleneck adapters behind attention and feed-forward of every layer.

    2 (2 d width + d + width) parameters a layer of width d.  The norms stay frozen,
    which the paper trains.  Houlsby et al. 2019.
    """
    _frozen(backbone)
    found = parts(backbone)
    names = found["project"] + found["contract"]
    return _replace(backbone, names, lambda base: Adapter(base, width), seed)


# -- before the input ---------------------------------------------------------------


def _plain(attention) -> bool:
    """Is it softmax attention and nothing else?"""
    from timm.layers import Attention
    from transformers.models.bert.modeling_bert import BertSelfAttention

    if type(attention) is Attention:
        norms = (attention.q_norm, attention.k_norm, attention.norm)
        return all(isinstance(n, nn.Identity) for n in norms) and not attention.gate
    return type(attention) is BertSelfAttention and not attention.is_decoder


class PrefixAttention(nn.Module):
    """Self-attention with ``tokens`` learned keys and values before the real ones.

    keys, values (H, P, d / H), small and random at first.  Works around BERT's and
    timm's attention modules.  Li & Liang 2021.
    """

    def __init__(self, base: nn.Module, tokens: int):
        super().__init__()
        self.base = base
        self.fused = hasattr(base, "qkv")
        if not _plain(base):
            raise CourseError(
                f"PrefixAttention: {type(base).__name__} is not known.\nExpected: the "
                "self-attention of BERT, or that of timm's VisionTransformer without "
                "norms or a gate."
            )
        reads = base.qkv if self.fused else base.query
        self.heads = base.num_heads if self.fused else base.num_attention_heads
        shape = (self.heads, tokens, reads.in_features // self.heads)
        self.keys = nn.Parameter(0.02 * torch.randn(shape))
        self.values = nn.Parameter(0.02 * torch.randn(shape))

    def forward(self, x, attention_mask=None, **options):
        given = {k: v for k, v in options.items() if v is not None and v is not False}
        if self.fused and given:
            raise CourseError(f"PrefixAttention: cannot take {', '.join(given)}.")
        N, T, d = x.shape
        base = self.base
        if self.fused:
            q, k, v = base.qkv(x).chunk(3, -1)
        else:
            q, k, v = base.query(x), base.key(x), base.value(x)
        q, k, v = (t.view(N, T, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        k = torch.cat([self.keys.expand(N, -1, -1, -1), k], 2)  # (N, H, P + T, d / H)
        v = torch.cat([self.values.expand(N, -1, -1, -1), v], 2)
        if attention_mask is not None:  # (N, 1, T, T), bool or to be added
            open_ = attention_mask.dtype == torch.bool
            P = self.keys.shape[1]
            attention_mask = nn.functional.pad(attention_mask, (P, 0), value=open_)
        dropout = base.attn_drop if self.fused else base.dropout
        p = dropout.p if self.training else 0.0
        out = scaled_dot_product_attention(q, k, v, attention_mask, dropout_p=p)
        out = out.transpose(1, 2).reshape(N, T, d)
        if self.fused:
            return base.proj_drop(base.proj(out))
        return out, None


def prefix(backbone, tokens: int = 10, seed: int = 0):
    """Prefix tuning: learned keys and values in front of every attention layer.

    2 P d parameters a layer.  Without the paper's reparametrisation by an MLP.
    Li & Liang 2021.
    """
    _frozen(backbone)
    names = parts(backbone)["attention"]
    return _replace(backbone, names, lambda old: PrefixAttention(old, tokens), seed)


def prompt(backbone, tokens: int = 10, seed: int = 0):
    """Prompt tuning: learned vectors in front of the embedded input, cut off again.

    P d parameters.  Text: they begin as embeddings of random words and get positions
    as words do (Lester et al. 2021).  Images: they join the patches before the first
    block, small and random (VPT-shallow, Jia et al. 2022).
    """
    net = _frozen(backbone)
    parts(backbone)
    generator = torch.Generator().manual_seed(seed)
    if backbone.kind == "text":
        words = net.encoder.get_input_embeddings().weight
        rows = torch.randint(len(words), (tokens,), generator=generator)
        place, before = net.encoder, _prepend_words
        start = words.detach()[rows.to(words.device)].clone()
    else:
        place, before = net.blocks, _prepend_patches
        start = 0.02 * torch.randn(tokens, backbone.num_features, generator=generator)
    place.register_parameter("prompt", nn.Parameter(start))
    place.register_forward_pre_hook(before, with_kwargs=True)
    place.register_forward_hook(_cut)
    return backbone


def _prepend_words(encoder, inputs, tokens):
    """(N, T) ids to (N, P + T, d) embeddings, and a mask for them."""
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    N, P = len(ids), len(encoder.prompt)
    words = encoder.get_input_embeddings()(ids)
    embedded = torch.cat([encoder.prompt.expand(N, -1, -1), words], 1)
    longer = torch.cat([mask.new_ones(N, P), mask], 1)
    return inputs, dict(inputs_embeds=embedded, attention_mask=longer)


def _prepend_patches(blocks, inputs, options):
    """(N, T, d) to (N, P + T, d)."""
    (x,) = inputs
    return (torch.cat([blocks.prompt.expand(len(x), -1, -1), x], 1),), options


def _cut(module, inputs, output):
    """The prompt's own outputs are dropped."""
    P = len(module.prompt)
    if isinstance(output, torch.Tensor):
        return output[:, P:]
    output.last_hidden_state = output.last_hidden_state[:, P:]
    return output


# -- what is stored -----------------------------------------------------------------


def trained_state(backbone) -> dict[str, torch.Tensor]:
    """{name: value} of everything that learns: what one task has to store."""
    named = backbone.model.named_parameters()
    return {n: p.detach().cpu().contiguous() for n, p in named if p.requires_grad}
