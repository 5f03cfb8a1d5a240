"""NF4 from first principles: weights in four bits and a bit (Dettmers et al. 2023).

    w  ~  a L[c],   c in 0..15,   a = max |w| of its block of 64 weights

Code books L, rounding to them block by block, two codes in a byte, the constants a
quantised in turn, and a linear layer that keeps its weights so, for machines where
bitsandbytes has no kernel.  Bytes, constants and values are those of bitsandbytes 0.50
on a CPU, bit for bit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear, pad

from course_lib.errors import CourseError
from course_lib.models.features import network

OFFSET = 0.9677083  # probability of NF4's largest level: mean of 1 - 1/32, 1 - 1/30
SECOND = 256  # constants in a block when they are quantised themselves
STEPS = 65535  # of the grid on which bitsandbytes looks up 8-bit codes
TINY = 1e-38  # its least divisor

# -- code books -------------------------------------------------------------------


def _normal_quantiles(n: int) -> torch.Tensor:
    """n positive quantiles of N(0, 1), (n,) float64, falling from that of OFFSET.

    Their probabilities are evenly spaced down to 1/2, which is left out, and rounded to
    float32, as those of the published table were.
    """
    probability = torch.linspace(OFFSET, 0.5, n + 1)[:-1].double()
    return math.sqrt(2) * torch.erfinv(2 * probability - 1)


def nf4_levels() -> torch.Tensor:
    """NormalFloat: sixteen quantiles of N(0, 1), (16,) float32 from -1 to 1.

    Eight positive, seven negative and an exact zero.  Dettmers et al. 2023, appendix E
    (the same bits).
    """
    positive, negative = _normal_quantiles(8), _normal_quantiles(7)
    levels = torch.cat([-negative, torch.zeros(1), positive.flip(0)]).float()
    return levels / levels.max()


def fp4_levels() -> torch.Tensor:
    """The four-bit floats of bitsandbytes, (16,) float32 in the order of their codes.

    A bit of sign, two of exponent, one of fraction.  A larger exponent field means a
    smaller number, and the level next to zero is 1/192, where the E2M1 format has 1/12.
    """
    normal = [2.0 ** (4 - e) * (1 + m / 2) for e in (1, 2, 3) for m in (0, 1)]
    positive = torch.tensor([0.0, 1 / 16, *normal]) / max(normal)
    return torch.cat([positive, 0 - positive])  # no negative zero


def dynamic_levels() -> torch.Tensor:
    """Eight bits, of which the exponent takes what it needs, (256,) float32, rising.

    Of either sign, 2^i levels between 10^(i - 7) and 10^(i - 6), i = 0..6: the middles
    of equal intervals.  Then 0, and 1, but not -1: the lowest level is -0.993.
    Dettmers 2016, Dettmers et al. 2022.
    """
    positive = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        positive.append(10.0 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2))
    negative = [-decade for decade in positive]
    return torch.cat([*negative, torch.tensor([0.0, 1.0]), *positive]).sort().values


LEVELS = {
    "nf4": nf4_levels(),
    "fp4": fp4_levels(),
    "int4": torch.arange(-7, 8) / 7,  # symmetric integers, (15,) float32
    "int8": torch.arange(-127, 128) / 127,  # the same, (255,)
    "dynamic": dynamic_levels(),
}


def _book(levels: str | torch.Tensor) -> torch.Tensor:
    """The code book of that name, or the one given."""
    book = LEVELS.get(levels) if isinstance(levels, str) else levels
    if book is None or not 2 <= len(book) <= 256:
        what = repr(levels) if book is None else f"{len(book)} of them"
        raise CourseError(
            f"There are no such levels: {what}.\nExpected: {', '.join(LEVELS)}, or a "
            "tensor of 2 to 256 levels from -1 to 1."
        )
    return book


# -- blocks -----------------------------------------------------------------------


def blocks(x: torch.Tensor, block: int = 64) -> torch.Tensor:
    """x of any shape in rows of ``block`` numbers, (b, block) float32; zeros fill up.

    Raises CourseError unless x has numbers, and all of them real and finite.
    """
    if block < 1 or not x.numel() or not x.is_floating_point():
        raise CourseError(
            f"blocks: cannot quantise {x.dtype} of shape {tuple(x.shape)}, {block} a "
            "block.\nExpected: one or more floating-point numbers, 1 or more a block.\n"
            "Do: quantise the weights as they are before any quantisation."
        )
    flat = x.detach().reshape(-1).float()
    wrong = int((~flat.isfinite()).sum())
    if wrong:
        raise CourseError(
            f"blocks: {wrong} of {len(flat)} numbers are NaN or infinite.\nExpected: "
            "finite numbers; each other one would spoil its block.\n"
            "Do: look for a training that diverged, or for an overflow in float16."
        )
    return pad(flat, (0, -len(flat) % block)).view(-1, block)


def nearest(scaled: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Codes of the nearest levels, uint8 in the same shape; in a tie, of the lower."""
    order = levels.argsort(stable=True)
    middles = (levels[order][:-1] + levels[order][1:]) / 2
    return order.to(torch.uint8)[torch.bucketize(scaled, middles, out_int32=True)]


def quantize(
    x: torch.Tensor, levels: str | torch.Tensor = "nf4", block: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (n,) uint8 and absolute maxima (b,) float32 of x, flattened, by blocks.

    As bitsandbytes computes: full blocks times the reciprocal of the maximum, a shorter
    one at the end divided by it.  A block of zeros has the maximum 0 (the shorter one
    1e-38) and the code of zero.  Raises CourseError as `blocks` does, and for unknown
    levels.
    """
    book, rows = _book(levels).to(x.device), blocks(x, block)
    absmax = rows.abs().amax(1)
    scaled = rows * (1 / absmax.clamp(min=TINY))[:, None]
    if x.numel() % block:
        absmax[-1] = absmax[-1].clamp(min=TINY)
        scaled[-1] = rows[-1] / absmax[-1]
    return nearest(scaled.clamp(-1, 1), book).view(-1)[: x.numel()], absmax


def dequantize(
    codes: torch.Tensor,
    absmax: torch.Tensor,
    levels: str | torch.Tensor,
    shape: Iterable[int],
    dtype: torch.dtype = torch.float32,
    block: int = 64,
) -> torch.Tensor:
    """a L[c] in the shape and precision wanted, multiplied in float32.

    Raises CourseError when codes, constants and shape do not belong together.
    """
    shape, n = tuple(shape), codes.numel()
    if math.prod(shape) != n or absmax.numel() != -(-n // block):
        raise CourseError(
            f"dequantize: {n} codes and {absmax.numel()} constants for {shape}.\n"
            f"Expected: {math.prod(shape)} codes, a constant for each {block} of them."
        )
    values = _book(levels).to(codes.device)[codes.reshape(-1).int()]
    rows = pad(values, (0, -n % block)).view(-1, block) * absmax[:, None]
    return rows.view(-1)[:n].view(shape).to(dtype)


def pack(codes: torch.Tensor, fill: int = 0) -> torch.Tensor:
    """Two codes in a byte, the first in its high half: (n,) to (ceil(n / 2),) uint8.

    ``fill``: the last half when n is odd.  Raises CourseError for codes above 15.
    """
    if codes.numel() and codes.max() > 15:
        raise CourseError(f"pack: code {int(codes.max())}, expected 0 to 15.")
    pairs = pad(codes.reshape(-1), (0, codes.numel() % 2), value=fill).view(-1, 2)
    return pairs[:, 0] << 4 | pairs[:, 1]


def unpack(packed: torch.Tensor, n: int) -> torch.Tensor:
    """The n codes in ceil(n / 2) bytes, (n,) uint8.  Raises CourseError otherwise."""
    if packed.numel() != (n + 1) // 2:
        raise CourseError(
            f"unpack: {packed.numel()} bytes for {n} codes, expected {(n + 1) // 2}."
        )
    return torch.stack([packed >> 4, packed & 15], -1).view(-1)[:n]


# -- double quantisation ----------------------------------------------------------


class Compressed(NamedTuple):
    """Constants in 8 bits: codes (b,) uint8; absmax (b / 256,), offset () float32."""

    codes: torch.Tensor
    absmax: torch.Tensor
    offset: torch.Tensor


def compress(absmax: torch.Tensor, block: int = SECOND) -> Compressed:
    """Quantise the constants themselves: dynamic levels about their mean.

    bitsandbytes looks the codes up on a grid of 65536 points in [-1, 1], to which
    values are rounded first: one code in 700 or so is not the nearest, but less than
    3.1e-5 farther.  A block of zeros has code 0.  Dettmers et al. 2023, section 3.
    """
    offset = absmax.mean()
    rows = blocks(absmax - offset, block)
    largest = rows.abs().amax(1)
    scaled = (rows * (1 / largest.clamp(min=TINY))[:, None]).clamp(-1, 1)
    point = ((scaled + 1) / 2 * STEPS + 0.5).floor()
    codes = nearest(2 * point / STEPS - 1, LEVELS["dynamic"].to(absmax.device))
    codes[largest == 0] = 0
    return Compressed(codes.view(-1)[: absmax.numel()], largest, offset)


def expand(compressed: Compressed, block: int = SECOND) -> torch.Tensor:
    """The constants again, (b,) float32, up to rounding."""
    codes, absmax, offset = compressed
    return dequantize(codes, absmax, "dynamic", codes.shape, block=block) + offset


# -- a tensor ---------------------------------------------------------------------


@dataclass(frozen=True)
class Quantized:
    """A quantised tensor: what is stored of it, and how to get numbers from that.

    packed: (ceil(n / 2),) uint8, or (n,) where there are more than 16 levels.
    absmax: (b,) float32, or `Compressed`.  shape, dtype: what it was.
    """

    packed: torch.Tensor
    absmax: torch.Tensor | Compressed
    shape: tuple[int, ...]
    dtype: torch.dtype
    levels: str = "nf4"
    block: int = 64

    @classmethod
    def of(cls, x, levels: str = "nf4", block: int = 64, double: bool = True):
        """x, quantised.  Raises CourseError as `quantize` does."""
        codes, absmax = quantize(x, levels, block)
        book = LEVELS[levels]
        if len(book) <= 16:
            codes = pack(codes, fill=int((book == 0).nonzero()[0]))
        absmax = compress(absmax) if double else absmax
        return cls(codes, absmax, tuple(x.shape), x.dtype, levels, block)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What is stored: packed and absmax, the latter as one or as three."""
        double = isinstance(self.absmax, Compressed)
        return (self.packed, *self.absmax) if double else (self.packed, self.absmax)

    @property
    def nbytes(self) -> int:
        """Bytes of these tensors.  Code books are extra: all tensors share them."""
        return sum(t.numel() * t.element_size() for t in self.tensors())

    def dequantize(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor again, up to rounding, in its own precision or another."""
        codes, absmax = self.packed, self.absmax
        if len(LEVELS[self.levels]) <= 16:
            codes = unpack(codes, math.prod(self.shape))
        if isinstance(absmax, Compressed):
            absmax = expand(absmax)
        dtype = dtype or self.dtype
        return dequantize(codes, absmax, self.levels, self.shape, dtype, self.block)


def nf4(x: torch.Tensor, double: bool = True, block: int = 64) -> Quantized:
    """x in NF4, its constants in 8 bits unless double is False."""
    return Quantized.of(x, "nf4", block, double)


def bits_per_parameter(block: int = 64, double: bool = False) -> float:
    """Bits stored for a weight in a 4-bit code, with its share of the constants.

    4 + 32 / 64 = 4.5; double: 4 + 8 / 64 + 32 / (64 * 256) = 4.127, and 32 bits for the
    tensor as a whole, its offset.  Dettmers et al. 2023, section 3.
    """
    constant = 8 + 32 / SECOND if double else 32
    return 4 + constant / block


class Error(NamedTuple):
    """What a round trip loses: mean |x - x'|, and ||x - x'|| / ||x|| (Euclidean)."""

    mean: float
    rms: float


def error(x, levels: str = "nf4", block: int = 64, double: bool = False) -> Error:
    """The loss of quantising x and back: mean in x's units, rms relative."""
    x = x.detach().float()
    lost = x - Quantized.of(x, levels, block, double).dequantize()
    return Error(lost.abs().mean().item(), (lost.norm() / x.norm()).item())


# -- a layer ----------------------------------------------------------------------


def _join(tensors, layout: dict) -> Quantized:
    """The inverse of `Quantized.tensors`."""
    packed, *constants = tensors
    absmax = Compressed(*constants) if len(constants) > 1 else constants[0]
    return Quantized(packed, absmax, **layout)


class DequantisedProduct(torch.autograd.Function):
    """x W^T + b.  W is made anew for either pass and kept after neither."""

    @staticmethod
    def forward(ctx, x, bias, layout, *tensors):
        ctx.save_for_backward(*tensors)
        ctx.layout = layout
        return linear(x, _join(tensors, layout).dequantize(x.dtype), bias)

    @staticmethod
    def backward(ctx, gradient):
        to_x = to_bias = None
        if ctx.needs_input_grad[0]:
            W = _join(ctx.saved_tensors, ctx.layout).dequantize(gradient.dtype)
            to_x = gradient @ W
        if ctx.needs_input_grad[1]:
            to_bias = gradient.reshape(-1, gradient.shape[-1]).sum(0)
        return to_x, to_bias, None, *(None for _ in ctx.saved_tensors)


class LinearNF4(nn.Linear):
    """A frozen linear layer whose weights (d, k) are stored in NF4.

    ``weight`` is a buffer of packed bytes, (ceil(d k / 2),) uint8, as bitsandbytes has
    it, so that `lora.merge` sees that there is no room for an update; `dequantized` is
    the matrix.  Both passes compute in the precision of their input, and gradients
    reach x only.  The constants stay in float32 when the module is cast.  Input
    (..., k), output (..., d).  Dettmers et al. 2023.
    """

    def __init__(self, base: nn.Linear, block: int = 64, double: bool = True):
        nn.Module.__init__(self)  # nn.Linear's own would make a full weight
        self.in_features, self.out_features = base.in_features, base.out_features
        quantized = nf4(base.weight, double, block)
        fields = [f"absmax_{name}" for name in Compressed._fields]
        names = ["weight", *(fields if double else ["absmax"])]
        for name, tensor in zip(names, quantized.tensors()):
            self.register_buffer(name, tensor)
        bias = None if base.bias is None else base.bias.detach().clone()
        self.bias = bias if bias is None else nn.Parameter(bias, requires_grad=False)
        self.layout = dict(shape=quantized.shape, dtype=quantized.dtype, block=block)

    @property
    def quantized(self) -> Quantized:
        """The weight as it is stored; its bytes are ``quantized.nbytes``."""
        return _join(self.buffers(), self.layout)

    def dequantized(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """W, (d, k), in the precision that it had, or another."""
        return self.quantized.dequantize(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return DequantisedProduct.apply(x, bias, self.layout, *self.buffers())

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            if self._buffers[name].dtype != tensor.dtype:  # .half() and the like
                self._buffers[name] = tensor.to(self.weight.device)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, block={self.layout['block']}"


def quantize_linear(
    model,
    names: Iterable[str] | None = None,
    skip: Iterable[str] = ("lm_head",),
    block: int = 64,
    double: bool = True,
):
    """Put LinearNF4 in place of the linear layers; returns the model.

    names: module names or their last parts, as `lora.inject` has them; without them,
    all but those in ``skip``.  Subclasses of nn.Linear stay: other modules read their
    weights.  One layer at a time, so that a second copy of the model is never held.
    Raises CourseError when nothing matches.
    """
    net, only = network(model), names is not None
    listed = tuple(f".{name}" for name in (names if only else skip))
    plain = [n for n, m in net.named_modules() if type(m) is nn.Linear and n]
    chosen = [n for n in plain if f".{n}".endswith(listed) == only]
    if not chosen:
        there = sorted({n.split(".")[-1] for n in plain})
        raise CourseError(
            "quantize_linear: no linear layer of the model is asked for.\nExpected: "
            f"names among {', '.join(there) or 'none; it has no nn.Linear inside'}.\n"
            "Do: quantise a model once; a layer by itself with LinearNF4(layer)."
        )
    for name in chosen:
        net.set_submodule(name, LinearNF4(net.get_submodule(name), block, double))
    return model
