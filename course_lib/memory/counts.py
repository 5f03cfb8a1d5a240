"""Bytes by formula: quantisation constants, optimizer states, activations kept."""

import math
import re
from collections.abc import Iterable

from course_lib.memory.networks import Adapter, Architecture, role
from course_lib.memory.plan_options import DTYPES, OPTIMIZERS, Options

# bitsandbytes' numbers: blocks of nf4, of its constants, and of 8-bit Adam's states;
# smaller tensors keep 32-bit states; smaller ones are never paged
NF4_BLOCK, CONSTANT_BLOCK, ADAM_BLOCK = 64, 256, 256
SMALLEST_8BIT, SMALLEST_PAGED = 4096, 100_000


def constants(n: int, double: bool) -> int:
    """Bytes that bitsandbytes keeps beside a matrix of n numbers in nf4.

    A float32 for 64 numbers; with double quantisation a byte for 64, a float32 for 256
    of those, an offset and a table of 256.  Either way the table of the 16 levels.
    """
    blocks = -(-n // NF4_BLOCK)
    second = -(-blocks // CONSTANT_BLOCK)
    return 4 * 16 + (blocks + 4 * (second + 1 + 256) if double else 4 * blocks)


def states(learned: list[int], number: int, optimizer: str) -> tuple[int, int]:
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


def activations(
    arch: Architecture, chosen: Iterable[Adapter], o: Options, b: int
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
    h, f, L, full = arch.hidden, arch.inner, arch.layers, o.method == "full"
    N, r, a = o.batch * o.sequence, o.r, DTYPES[o.adapter_dtype]
    norm = N * (b * h + 8)  # x, its mean and deviation
    if arch.llama:  # x in float32, 1 / rms; for the norm's own weights x / rms
        norm = N * (4 * h + 4 + b * h * full)
    mixed = N * (b * (2 * arch.queries + 2 * arch.keys) + 4 * arch.heads)
    if o.attention == "eager":  # keys repeated for each head; softmax in float32
        scores = N * o.sequence * arch.heads
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
        place = (block and block[1], role(name))
        need = 0 if full else N * a * r
        if not full and a != b:
            need += N * a * k
        elif place not in seen and place[1] != "out":  # attention has kept that one
            need += N * b * k
        seen.add(place)
        inputs += need * bool(block)
        outside += need * (not block)
    outside += norm + 2 * o.sequence * b * (arch.queries // arch.heads)  # cos, sin
    kept, backward = _expert_activations(arch, chosen, o, b)
    layer = int(arch.norms * norm) + mixed + N * b * arch.kept * f + kept
    if o.checkpointing:
        return L * N * b * h + outside, layer + inputs // L + backward
    first = 0 if full else norm  # nothing before it learns
    return L * layer + inputs + outside - first, layer + inputs // L + backward


def _expert_activations(
    arch: Architecture, chosen, o: Options, b: int
) -> tuple[int, int]:
    """(bytes that the experts of one layer keep, bytes more in its backward pass).

    Each token is copied for each of its experts; where an adapter sits on a parameter
    of experts, peft computes the whole of it anew with the update added, keeps that
    for the backward pass, and the gradient is as large.
    """
    if not arch.experts:
        return 0, 0
    N, blocks = o.batch * o.sequence, {}
    adapted = {one.name for one in chosen}
    for name, shape in arch.experts.items():
        blocks.setdefault(name.rpartition(".")[0], []).append((name, shape))
    members = next(iter(blocks.values()))
    widths = [d + k for _, (_, d, k) in members]
    # inputs and outputs of each, the nonlinearity's, and the weighted sum's
    flow = N * arch.active * b * (sum(widths) + widths[-1])
    copies = b * sum(math.prod(shape) for name, shape in members if name in adapted)
    return flow + copies, copies
