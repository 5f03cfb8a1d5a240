"""NF4 from scratch: bit for bit against bitsandbytes; its layer against plain torch."""

import copy
import math
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import linear

from course_lib.errors import CourseError
from course_lib.methods import lora
from course_lib.models import quantization
from course_lib.models.quantization import LinearNF4, Quantized, nf4

SHAPES = [  # odd and even rows, shorter and longer last blocks, one and several blocks
    (1,),
    (63,),
    (64,),
    (1001,),
    (5, 13),
    (7, 50),
    (33, 77),
    (48, 64),
    (130, 192),
    (3, 5, 11),
]
TYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def bnb():
    """bitsandbytes' functions, never compiled, so that a sum is a sum."""
    functional = pytest.importorskip("bitsandbytes.functional", exc_type=ImportError)
    torch.compiler.set_stance("force_eager")
    yield functional
    torch.compiler.set_stance("default")


@pytest.fixture(scope="module")
def native(bnb):
    """The same where its compiled kernels are there: only these use the grid."""
    from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib

    if isinstance(lib, ErrorHandlerMockBNBNativeLibrary):
        pytest.skip("bitsandbytes has no native library here")
    return bnb


def same(a, b):
    """The same bits, in the same type, up to shape and the sign of zero."""
    a, b = a.reshape(-1), b.reshape(-1)
    return a.dtype == b.dtype and torch.equal(a, b)


def bits(x):
    return x.view({2: torch.int16, 4: torch.int32}[x.element_size()])


def numbers(shape, seed=0, dtype=torch.float32):
    gen = torch.Generator().manual_seed(seed)
    spread = 10 ** torch.empty(1).uniform_(-3, 2, generator=gen)
    return (torch.randn(shape, generator=gen) * spread).to(dtype)


def values_of(functional, packed, state, shape, dtype):
    """bitsandbytes' values, as if the tensor were one long row.

    With AVX-512, version 0.50 takes wrong constants where a row is a multiple of 16
    but not of the block: it counts n // block blocks for each row.
    """
    absmax = state.absmax
    if state.nested:
        absmax = functional.dequantize_blockwise(absmax, state.state2) + state.offset
    out = torch.ops.bitsandbytes.dequantize_4bit.default(
        packed, absmax, state.blocksize, state.quant_type, (math.prod(shape),), dtype
    )
    return out.view(shape)


# -- code books -------------------------------------------------------------------


def test_code_books_have_the_bits_of_bitsandbytes(bnb):
    ours, theirs = quantization.nf4_levels(), bnb.get_4bit_type("nf4", "cpu")
    assert (ours - theirs).abs().max() <= 1e-7
    assert torch.equal(bits(ours), bits(theirs))
    fp4 = bnb.get_4bit_type("fp4", "cpu")
    assert torch.equal(bits(quantization.fp4_levels()), bits(fp4))
    dynamic = bnb.create_dynamic_map()
    assert torch.equal(bits(quantization.dynamic_levels()), bits(dynamic))


def test_nf4_is_made_of_normal_quantiles():
    levels = quantization.nf4_levels()
    assert levels[7] == 0 and levels[0] == -1 and levels[-1] == 1
    assert (levels.diff() > 0).all() and len(levels) == 16
    quantile, top = statistics.NormalDist().inv_cdf, quantization.OFFSET
    for side, n in ((levels[7:], 8), (-levels[:8].flip(0), 7)):
        p = [0.5 + (top - 0.5) * i / n for i in range(n + 1)]
        exact = torch.tensor([quantile(q) / quantile(top) for q in p])
        assert (side - exact).abs().max() < 2e-7  # rounded probabilities: 1.1e-7


@pytest.mark.parametrize("name", quantization.LEVELS)
def test_every_code_book_keeps_zero_and_the_largest_number(name):
    book = quantization.LEVELS[name]
    assert book.dtype == torch.float32 and book.max() == 1 and (book == 0).any()
    x = torch.cat([numbers(200), torch.zeros(3)])
    codes, absmax = quantization.quantize(x, name)
    back = quantization.dequantize(codes, absmax, name, x.shape)
    assert (back[-3:] == 0).all()
    largest = x[:64].abs().argmax()
    if x[largest] > 0 or name != "dynamic":  # which has no -1
        assert back[largest] == x[largest]
    gap = book.sort().values.diff().max() / 2 if name != "dynamic" else 0.0071
    assert ((x - back).abs() <= absmax.repeat_interleave(64)[:203] * gap * 1.001).all()


# -- against bitsandbytes -----------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("levels", ["nf4", "fp4"])
def test_packed_bytes_constants_and_values_equal_bitsandbytes(
    bnb, shape, dtype, levels
):
    x = numbers(shape, seed=sum(shape), dtype=dtype)
    for block in (64, 128):
        packed, state = bnb.quantize_4bit(x, blocksize=block, quant_type=levels)
        ours = Quantized.of(x, levels, block, double=False)
        assert same(ours.packed, packed)
        assert torch.equal(bits(ours.absmax), bits(state.absmax))
        back = ours.dequantize()
        assert back.shape == x.shape and back.dtype == x.dtype
        assert same(back, values_of(bnb, packed, state, shape, dtype))
        if len(shape) > 1 and (shape[-1] % 16 or shape[-1] % block == 0):
            assert same(back, bnb.dequantize_4bit(packed, state))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (300, 250)], ids=str)
def test_double_quantisation_equals_bitsandbytes(native, shape, dtype):
    x = numbers(shape, seed=1 + sum(shape), dtype=dtype)
    packed, state = native.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    ours = nf4(x)
    assert same(ours.packed, packed)
    assert same(ours.absmax.codes, state.absmax)
    assert torch.equal(bits(ours.absmax.absmax), bits(state.state2.absmax))
    assert torch.equal(ours.absmax.offset, state.offset)
    constants = native.dequantize_blockwise(state.absmax, state.state2) + state.offset
    assert torch.equal(bits(quantization.expand(ours.absmax)), bits(constants))
    assert same(ours.dequantize(), values_of(native, packed, state, shape, dtype))


def test_many_constants_get_the_codes_of_bitsandbytes_nearest_within_its_grid(native):
    absmax = numbers((40_000, 64), seed=5).abs().amax(1)
    ours = quantization.compress(absmax)
    codes, state = native.quantize_blockwise(absmax - ours.offset, blocksize=256)
    assert same(ours.codes, codes) and same(ours.absmax, state.absmax)
    exact, largest = quantization.quantize(absmax - ours.offset, "dynamic", 256)
    assert 0 < (exact != codes).float().mean() < 0.003
    scaled = quantization.blocks(absmax - ours.offset, 256) / largest[:, None]
    book, scaled = quantization.LEVELS["dynamic"], scaled.view(-1)[: len(codes)]
    far, near = ((scaled - book[c.int()]).abs() for c in (codes, exact))
    assert (far - near).max() <= 1.01 * 2 / quantization.STEPS


def test_values_at_the_edges_of_the_grid_get_the_codes_of_bitsandbytes(native):
    steps, book = quantization.STEPS, quantization.LEVELS["dynamic"]
    codes = quantization.nearest(2 * torch.arange(steps + 1.0) / steps - 1, book)
    edges = codes.int().diff().nonzero().flatten()  # where codes change, 248 places
    x = ((edges.double() + 0.5) / steps * 2 - 1).float()
    near = [x]
    for end in (-2.0, 2.0):
        beyond = x
        for _ in range(20):
            beyond = beyond.nextafter(torch.tensor(end))
            near.append(beyond)
    x = torch.stack(near)
    # mirrored, and with -1 and 1: an offset of next to nothing, maxima of 1
    x = torch.cat([x, -x, torch.ones(len(x), 4), -torch.ones(len(x), 4)], 1)
    x = torch.cat([x, torch.zeros(len(x), -x.shape[1] % 256)], 1)
    ours = quantization.compress(x.flatten())
    codes, _ = native.quantize_blockwise(x.flatten() - ours.offset, blocksize=256)
    assert same(ours.codes, codes)


@pytest.mark.parametrize("levels", ["nf4", "fp4"])
def test_blocks_of_zeros(bnb, levels):
    for shape, zeros in (((3, 64), 128), ((150,), 150), ((64,), 64), ((2, 35), 64)):
        x = numbers(shape)
        x.view(-1)[:zeros] = 0
        packed, state = bnb.quantize_4bit(x, quant_type=levels)
        ours = Quantized.of(x, levels, double=False)
        assert same(ours.packed, packed) and same(ours.absmax, state.absmax)
        assert (ours.dequantize().view(-1)[:zeros] == 0).all()
    whole, last = Quantized.of(torch.zeros(65), levels, double=False).absmax
    assert whole == 0 and last == torch.tensor(1e-38)


def test_constants_that_are_all_equal(native):
    x = torch.ones(64 * 300)
    _, state = native.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    ours = nf4(x)
    assert same(ours.absmax.codes, state.absmax) and (ours.absmax.codes == 0).all()
    assert torch.equal(ours.dequantize(), x)


@pytest.mark.parametrize("levels", ["nf4", "fp4"])
def test_ties_and_their_neighbours_are_decided_alike(bnb, levels):
    book = quantization.LEVELS[levels].sort().values
    middles = (book[1:] + book[:-1]) / 2
    up, down = (middles.nextafter(torch.tensor(s)) for s in (2.0, -2.0))
    near = torch.cat([torch.ones(1), middles, up, down])  # 46 numbers
    for scale in (1.0, 3.0, 0.7, 1e-3, 41.7):  # a full block and a shorter one
        x = torch.cat([near, torch.zeros(18), near]) * scale
        packed, state = bnb.quantize_4bit(x, quant_type=levels)
        ours = Quantized.of(x, levels, double=False)
        assert same(ours.packed, packed) and same(ours.absmax, state.absmax)
    if levels == "nf4":
        codes, _ = quantization.quantize(near)
        assert codes[1:16].tolist() == list(range(15))  # the lower of two
        assert codes[16:31].tolist() == list(range(1, 16))


def test_a_shorter_block_is_divided_by_its_maximum():
    """Only there: a full one is multiplied by the reciprocal.  They differ seldom."""
    gen = torch.Generator().manual_seed(0)
    book = quantization.nf4_levels()
    middles, differ = (book[1:] + book[:-1]) / 2, 0
    for scale in torch.rand(200, generator=gen) + 0.5:
        x = torch.cat([scale[None], middles * scale])
        short, _ = quantization.quantize(x)
        full, _ = quantization.quantize(torch.cat([x, torch.zeros(48)]))
        assert torch.equal(short, quantization.nearest(x / scale, book))
        assert torch.equal(full[:16], quantization.nearest(x * (1 / scale), book))
        differ += int((short != full[:16]).sum())
    assert differ


# -- bytes --------------------------------------------------------------------------


def test_two_codes_in_a_byte_the_first_on_top():
    codes = torch.tensor([1, 15, 0, 7, 9], dtype=torch.uint8)
    packed = quantization.pack(codes)
    assert packed.tolist() == [0x1F, 0x07, 0x90]
    assert quantization.pack(codes, fill=7).tolist() == [0x1F, 0x07, 0x97]
    assert torch.equal(quantization.unpack(packed, 5), codes)
    gen = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (1000,), dtype=torch.uint8, generator=gen)
    for n in (1, 2, 999, 1000):
        back = quantization.unpack(quantization.pack(codes[:n]), n)
        assert torch.equal(back, codes[:n])


def test_bytes_stored_are_those_of_the_formula():
    assert quantization.bits_per_parameter() == 4.5
    assert quantization.bits_per_parameter(double=True) == pytest.approx(
        4.127, abs=1e-4
    )
    assert quantization.bits_per_parameter(128) == 4.25
    x = numbers((512, 64 * 32))
    for block in (32, 64, 128):
        for double in (False, True):
            expected = quantization.bits_per_parameter(block, double) * x.numel() / 8
            offset = 4 if double else 0
            assert nf4(x, double, block).nbytes == expected + offset
    assert nf4(torch.ones(65), double=False).nbytes == 33 + 2 * 4
    eight = Quantized.of(x, "int8", double=False)
    assert eight.nbytes == x.numel() * (1 + 4 / 64)


def test_errors_on_normal_numbers():
    x = torch.randn(2**18, generator=torch.Generator().manual_seed(0))
    rms = {name: quantization.error(x, name).rms for name in quantization.LEVELS}
    assert rms["int8"] < rms["dynamic"] < rms["nf4"] < rms["int4"] < rms["fp4"]
    expected = {"nf4": 0.092, "int4": 0.108, "fp4": 0.122, "int8": 0.0059}
    for name, value in expected.items():
        assert rms[name] == pytest.approx(value, rel=0.02)
    once, twice = (quantization.error(x, double=d) for d in (False, True))
    assert once.rms < twice.rms < 1.002 * once.rms
    assert 0.06 < once.mean < 0.08
    assert quantization.error(3 * x).mean == pytest.approx(3 * once.mean, rel=1e-3)


# -- the layer ----------------------------------------------------------------------


def layer(k=50, d=13, seed=0, **options):
    torch.manual_seed(seed)
    return LinearNF4(nn.Linear(k, d, **options))


def plain(quantised):
    """An ordinary linear layer with the weight that came back."""
    made = nn.Linear(quantised.in_features, quantised.out_features)
    made.weight.data = quantised.dequantized()
    if quantised.bias is None:
        made.bias = None
    else:
        made.bias.data = quantised.bias.clone()
    return made


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(50,), (6, 50), (2, 3, 50)], ids=str)
def test_outputs_and_gradients_are_those_of_a_plain_layer(double, bias, shape):
    torch.manual_seed(0)
    base = nn.Linear(50, 13, bias=bias)
    quantised = LinearNF4(base, double=double)
    assert torch.equal(quantised.dequantized(), nf4(base.weight, double).dequantize())
    x, y = (numbers(shape).requires_grad_() for _ in range(2))
    one, two = quantised(x), plain(quantised)(y)
    assert torch.equal(one, two)
    weights = numbers(one.shape, seed=1)
    (one * weights).sum().backward()
    (two * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad, rtol=1e-6, atol=1e-6)
    assert not list(p for p in quantised.parameters() if p.requires_grad)


def test_gradients_are_those_of_finite_differences():
    quantised = layer(10, 4)
    quantised.bias.requires_grad_()  # nothing forbids it
    x = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    stored, layout = tuple(quantised.buffers()), quantised.layout
    apply = quantization.DequantisedProduct.apply
    assert torch.autograd.gradcheck(
        lambda a, b: apply(a, b, layout, *stored), (x, bias)
    )
    quantised(torch.randn(5, 10)).sum().backward()
    assert torch.equal(quantised.bias.grad, torch.full((4,), 5.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_and_autocast(dtype):
    quantised = layer()
    x = torch.randn(6, 50)
    low = x.to(dtype).requires_grad_()
    out = quantised(low)
    W, b = quantised.dequantized(dtype), quantised.bias.to(dtype)
    assert out.dtype == dtype and torch.equal(out, linear(low, W, b))
    out.sum().backward()
    assert low.grad.dtype == dtype
    x.requires_grad_()
    with torch.autocast("cpu", dtype):
        mixed = quantised(x)
    assert mixed.dtype == dtype
    mixed.sum().backward()
    assert x.grad.dtype == torch.float32
    assert torch.allclose(x.grad, low.grad.float(), rtol=0.01, atol=0.01)


def test_the_weight_is_not_kept_for_the_backward_pass():
    quantised, kept = layer(64, 32), []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    x = torch.randn(4, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = quantised(x)
    stored = {t.data_ptr() for t in quantised.buffers()}
    assert kept and {t.data_ptr() for t in kept} <= stored
    assert sum(t.nbytes for t in kept) == quantised.quantized.nbytes < 64 * 32
    out.sum().backward()
    assert torch.allclose(x.grad[0], quantised.dequantized().sum(0), atol=1e-5)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        plain(quantised)(x)
    assert any(t.numel() == 64 * 32 for t in kept)  # as an ordinary layer does


@pytest.mark.parametrize("double", [True, False])
def test_state_dicts_go_back_and_forth(double, tmp_path):
    one, two = (LinearNF4(nn.Linear(50, 13), double=double) for _ in range(2))
    x = torch.randn(3, 50)
    assert not torch.equal(one(x), two(x))
    save_file(one.state_dict(), tmp_path / "layer.safetensors")
    two.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(one(x), two(x))
    state = one.state_dict()
    assert state["weight"].dtype == torch.uint8 and len(state["weight"]) == 325
    assert sum(v.nbytes for v in state.values()) == one.quantized.nbytes + 13 * 4
    assert torch.equal(copy.deepcopy(one)(x), one(x))
    with pytest.raises(RuntimeError, match="absmax"):
        LinearNF4(nn.Linear(50, 13), double=not double).load_state_dict(state)


def test_casting_a_module_leaves_the_constants_alone():
    quantised = layer()
    before = [t.clone() for t in quantised.buffers()]
    for cast in (nn.Module.half, nn.Module.bfloat16, nn.Module.double):
        cast(quantised)
        assert all(torch.equal(a, b) for a, b in zip(before, quantised.buffers()))
        assert [t.dtype for t in quantised.buffers()] == [t.dtype for t in before]
    assert quantised.bias.dtype == torch.float64
    assert {t.device.type for t in quantised.to("meta").buffers()} == {"meta"}


def test_a_layer_keeps_the_precision_that_it_had():
    quantised = LinearNF4(nn.Linear(64, 2).bfloat16())
    assert quantised.dequantized().dtype == torch.bfloat16
    assert quantised.dequantized(torch.float32).dtype == torch.float32
    assert "in_features=64, out_features=2, bias=True, block=64" in repr(quantised)


# -- models ---------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lm_head = nn.Linear(8, 3)

    def forward(self, x):
        h = self.body(x)
        return self.lm_head(self.attention(h, h, h)[0])


X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2))


def quantised_names(net):
    return [n for n, m in net.named_modules() if isinstance(m, LinearNF4)]


def test_linear_layers_are_replaced_besides_the_head():
    net = Net()
    before = net(X)
    assert quantization.quantize_linear(net) is net
    assert quantised_names(net) == ["body.0", "body.2"]
    after = net(X)
    assert 0 < (after - before).abs().max() < 0.2
    for names, expected in (
        (["2"], ["body.2"]),
        (["body.0", "lm_head"], ["body.0", "lm_head"]),
        (["head", "0"], ["body.0"]),  # whole parts of names only
    ):
        net = quantization.quantize_linear(Net(), names, double=False, block=32)
        assert quantised_names(net) == expected
        assert net.body[0 if "0" in expected[0] else 2].layout["block"] == 32
    every = quantization.quantize_linear(Net(), skip=())
    assert quantised_names(every) == ["body.0", "body.2", "lm_head"]


@pytest.mark.parametrize("first", ["quantise", "inject"])
def test_qlora_trains_a_and_b_only_and_cannot_merge(first):
    net = Net()
    if first == "quantise":
        quantization.quantize_linear(net)
        lora.inject(net, ["0", "2"], r=2)
    else:
        lora.inject(net, ["0", "2"], r=2)
        quantization.quantize_linear(net)
    found = lora.layers(net)
    assert all(isinstance(m.base, LinearNF4) for m in found.values())
    before = {n: t.clone() for n, t in net.state_dict().items()}
    learning = [p for p in net.parameters() if p.requires_grad]
    assert len(learning) == 4
    optimizer = torch.optim.SGD(learning, lr=0.1)
    losses = []
    for _ in range(3):
        losses.append(net(X).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {f"{n}.{m}" for n in found for m in "AB"}
    for call in (lora.merge, lambda m: m.body[0].merge()):
        with pytest.raises(CourseError, match=r"quantised \(LinearNF4\)"):
            call(net)


def test_a_lora_layer_on_it_computes_what_one_on_a_plain_layer_does():
    base = layer()
    one, two = lora.LoRALinear(base, r=3), lora.LoRALinear(plain(base), r=3)
    with torch.no_grad():
        for name in "AB":
            value = nn.init.normal_(getattr(one, name))
            getattr(two, name).copy_(value)
    x = torch.randn(7, 50)
    assert torch.allclose(one(x), two(x), atol=1e-6)
    one(x).square().sum().backward()
    two(x).square().sum().backward()
    assert torch.allclose(one.A.grad, two.A.grad, rtol=1e-4, atol=1e-4)
    assert torch.allclose(one.B.grad, two.B.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nf4(torch.tensor([1.0, math.nan])), "1 of 2 numbers are NaN"),
        (lambda: nf4(torch.tensor([math.inf, -math.inf])), "2 of 2 numbers"),
        (lambda: nf4(torch.tensor([1e300], dtype=torch.float64)), "infinite"),
        (lambda: nf4(torch.empty(0)), "one or more floating-point numbers"),
        (lambda: nf4(torch.ones(4, dtype=torch.uint8)), "before any quantisation"),
        (lambda: nf4(torch.ones(4), block=0), "0 a block"),
        (lambda: LinearNF4(layer()), "before any quantisation"),
        (lambda: quantization.compress(torch.tensor([math.nan])), "NaN"),
        (lambda: Quantized.of(torch.ones(4), "nf5"), "no such levels: 'nf5'"),
        (lambda: quantization.quantize(torch.ones(4), torch.ones(300)), "300 of them"),
        (lambda: quantization.pack(torch.tensor([16])), "code 16, expected 0 to 15"),
        (
            lambda: quantization.unpack(torch.zeros(3, dtype=torch.uint8), 7),
            "3 bytes for 7 codes, expected 4",
        ),
        (
            lambda: quantization.dequantize(
                torch.zeros(65, dtype=torch.uint8), torch.ones(1), "nf4", (65,)
            ),
            "65 codes and 1 constants",
        ),
        (
            lambda: quantization.dequantize(
                torch.zeros(4, dtype=torch.uint8), torch.ones(1), "nf4", (2, 3)
            ),
            "Expected: 6 codes",
        ),
        (lambda: quantization.quantize_linear(Net(), ["query"]), "names among 0, 2"),
        (lambda: quantization.quantize_linear(nn.ReLU()), "no nn.Linear inside"),
        (
            lambda: quantization.quantize_linear(
                quantization.quantize_linear(Net(), skip=())
            ),
            "quantise a model once",
        ),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(CourseError, match=words):
        call()


def test_the_module_needs_no_bitsandbytes():
    source = Path(quantization.__file__).read_text(encoding="utf-8")
    imported = [line for line in source.splitlines() if "import " in line]
    assert imported and not any("bitsandbytes" in line for line in imported)
