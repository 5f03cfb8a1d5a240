"""LoRA layers and gated blocks that keep little for their backward pass.

    with fused_lora.fused(model):
        model(...).loss.backward()

A layer W x + s B A x of frozen W (Hu et al. 2022) needs x and A x to give the gradients
of A, B and x; it adds the update into the product's own memory, and makes W anew from
its four bits for either pass (Dettmers et al. 2023).  A gated block (SwiGLU, Shazeer
2020), down(silu(gate x) * up x), keeps the outputs of gate and up, and computes what
lies between them and `down` a second time, where the usual graph keeps four tensors of
that width.  Gradients are those of the layers themselves, up to rounding; factors in
float32 beside weights in 16 bits are rounded to these for the products.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from course_lib.methods import lora
from course_lib.models import quantization

CLOSE = {torch.bfloat16: 0.03, torch.float16: 4e-3}  # of the largest output: a block's
EXACT = 1e-4  # own answer against the fused one; in float32


class _Layer(NamedTuple):
    """A linear layer with its update: A (r, k), B (d, r), s; W (d, k) when asked.

    dtype: of W and of the products.
    """

    A: torch.Tensor
    B: torch.Tensor
    s: float
    matrix: Callable[[], torch.Tensor]
    dtype: torch.dtype

    def forward(self, x):
        """x (T, k) to y (T, d), and s A x (T, r)."""
        low = (x @ self.A.t()).mul_(self.s)
        return (x @ self.matrix().t()).addmm_(low, self.B.t()), low

    def backward(self, gradient, x, low, to_x=None):
        """Gradients of A and B, and that of x, added to ``to_x`` where there is one."""
        inner = (gradient @ self.B).mul_(self.s)  # (T, r)
        to_A, to_B = inner.t() @ x, (low.t() @ gradient).t()
        W = self.matrix()
        to_x = gradient @ W if to_x is None else to_x.addmm_(gradient, W)
        return to_A, to_B, to_x.addmm_(inner, self.A)


class _Adapted(torch.autograd.Function):
    """One layer of x (T, k)."""

    @staticmethod
    def forward(ctx, x, A, B, s, matrix, dtype):
        A, B = A.to(dtype), B.to(dtype)
        y, low = _Layer(A, B, s, matrix, dtype).forward(x)
        ctx.save_for_backward(x, low, A, B)
        ctx.of = s, matrix, dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, low, A, B = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:  # nothing learns before this layer
            inner = (gradient @ B).mul_(ctx.of[0])
            return None, inner.t() @ x, (low.t() @ gradient).t(), None, None, None
        to_A, to_B, to_x = _Layer(A, B, *ctx.of).backward(gradient, x, low)
        return to_x, to_A, to_B, None, None, None


class _Gated(torch.autograd.Function):
    """down(silu(gate x) * up x) of x (T, k)."""

    @staticmethod
    def forward(ctx, x, others, *factors):
        factors = [factor.to(others[0][-1]) for factor in factors]
        gate, up, down = _layers(factors, others)
        g, low_g = gate.forward(x)
        u, low_u = up.forward(x)
        y, low_h = down.forward(silu(g).mul_(u))
        ctx.save_for_backward(x, g, u, low_g, low_u, low_h, *factors)
        ctx.others = others
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, g, u, low_g, low_u, low_h, *factors = ctx.saved_tensors
        gate, up, down = _layers(factors, ctx.others)
        act = silu(g)
        to_Ad, to_Bd, to_h = down.backward(gradient, act * u, low_h)
        to_u = act.mul_(to_h)
        to_g = torch.ops.aten.silu_backward(to_h.mul_(u), g)
        to_Ag, to_Bg, to_x = gate.backward(to_g, x, low_g)
        to_Au, to_Bu, to_x = up.backward(to_u, x, low_u, to_x)
        return to_x, None, to_Ag, to_Bg, to_Au, to_Bu, to_Ad, to_Bd


def _layers(factors, others) -> list[_Layer]:
    """Layers of their (A, B, A, B, ...) and the rest of each, (s, matrix, dtype)."""
    pairs = zip(factors[::2], factors[1::2])
    return [_Layer(*pair, *rest) for pair, rest in zip(pairs, others)]


def _matrix(base, dtype: torch.dtype):
    """(what gives the frozen weights (d, k) of a linear layer without bias, dtype).

    dtype: of the factors; the weights may have 16 bits where these have 32.
    """
    weight = base.weight
    if getattr(base, "bias", None) is not None or weight.requires_grad:
        return None
    if type(base) is nn.Linear:
        matrix, own = (lambda: weight), weight.dtype
    elif isinstance(base, quantization.LinearNF4):
        matrix, own = (lambda: base.dequantized(dtype)), dtype
    else:
        state = getattr(weight, "quant_state", None)  # of bitsandbytes
        if state is None or state.dtype != (base.compute_dtype or state.dtype):
            return None
        from bitsandbytes.functional import dequantize_4bit

        matrix, own = (lambda: dequantize_4bit(weight, state)), state.dtype
    fits = own == dtype or own in CLOSE and dtype == torch.float32
    return (matrix, own) if fits else None


def _layer(module) -> _Layer | None:
    """A plain LoRA layer of this course or of peft; None for any other module."""
    if isinstance(module, lora.LoRALinear):
        A, B, s, base = module.A, module.B, module.scale, module.base
        plain, dropout = not module.merged, module.dropout
    elif hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):  # of peft
        name, *more = module.active_adapters
        if more or name not in module.lora_A or not hasattr(module, "lora_variant"):
            return None
        A, B = module.lora_A[name].weight, module.lora_B[name].weight
        s, base = module.scaling[name], module.get_base_layer()
        dropout, bias = module.lora_dropout[name], module.lora_B[name].bias
        plain = not (module.merged or module.disable_adapters or module.lora_variant)
        plain = plain and bias is None
    else:
        return None
    if not plain or (module.training and getattr(dropout, "p", 0)):
        return None
    found = _matrix(base, A.dtype)
    return _Layer(A, B, s, *found) if found else None


def _adapted(layer: _Layer, own):
    """The forward of a module that is this layer alone, for x (..., k)."""

    def forward(x):
        if x.dtype != layer.dtype:
            return own(x)
        y = _Adapted.apply(x.reshape(-1, x.shape[-1]), *layer)
        return y.view(*x.shape[:-1], -1)

    return forward


def _gated(layers: list[_Layer], own):
    """The forward of a gated block, for x (..., k)."""
    others = [layer[2:] for layer in layers]
    factors = [factor for layer in layers for factor in layer[:2]]

    def forward(x):
        if x.dtype != layers[0].dtype:
            return own(x)
        y = _Gated.apply(x.reshape(-1, x.shape[-1]), others, *factors)
        return y.view(*x.shape[:-1], -1)

    return forward


@torch.no_grad()
def _same(block, forward, first: _Layer) -> bool:
    """Does ``forward`` answer as the block does?"""
    options = dict(dtype=first.dtype, device=first.A.device)
    x = torch.linspace(-2, 2, first.A.shape[1], **options)[None, None]
    expected = block(x)
    atol = CLOSE.get(first.dtype, EXACT) * float(expected.abs().max())
    return torch.allclose(forward(x), expected, rtol=0, atol=atol)


@contextmanager
def fused(model):
    """Inside, plain LoRA layers and gated blocks of them run as described above.

    Layers of peft or of `methods.lora`, over four bits or not; blocks whose three
    layers are called gate_proj, up_proj and down_proj, as in Llama, Qwen and Mistral,
    when the first of a kind answers as the fused one does.  Whatever else there is,
    dropout, DoRA, several adapters, other activations, runs as it is.
    """
    layers = {m: layer for m in model.modules() if (layer := _layer(m)) is not None}
    ways, known = {m: _adapted(layer, m.forward) for m, layer in layers.items()}, {}
    for block in model.modules():
        names = ("gate_proj", "up_proj", "down_proj")
        parts = [layers.get(getattr(block, name, None)) for name in names]
        if all(parts) and len({layer.dtype for layer in parts}) == 1:
            forward = _gated(parts, block.forward)
            if type(block) not in known:
                known[type(block)] = _same(block, forward, parts[0])
            if known[type(block)]:
                ways[block] = forward
    ways = {m: way for m, way in ways.items() if "forward" not in vars(m)}
    for module, way in ways.items():
        module.forward = way
    try:
        yield
    finally:
        for module in ways:
            del module.forward
