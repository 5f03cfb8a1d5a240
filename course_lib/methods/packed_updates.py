"""Gradients of a causal language model without padding and without idle logits.

    loss = packed_updates.backward(model, rows)   # then optimizer.step()

The loss of fine-tuning on answers is read at the answers' tokens alone, and padding
takes no part in it; yet the usual step computes 49,152 logits for every token of a
padded batch.  Here the sequences of a batch stand one behind the other in a single row
(packing without contamination, Krell et al. 2021): linear layers and norms see no
padding, attention treats each sequence by itself, and the output matrix multiplies
those hidden states alone that a label is for.  What all sequences begin with, the
instruction of a chat template say, stands in the row once, and each attends to it: in
a causal model its states do not depend on what follows (prefix sharing, as Juravsky et
al. 2024 do it in inference).  Sequences run in groups of a bounded number of tokens,
whose gradients add up to the batch's, so that activations of one group are held at a
time (gradient accumulation).

Adapters and gated blocks keep little for their backward pass (`fused_lora`).  Of
weights that bitsandbytes stores in four bits with double quantisation the constants
are expanded once for all passes.  It serves LoRA (Hu et al. 2022), QLoRA (Dettmers et
al. 2023) and full fine-tuning: the layers stay what they are.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from course_lib.errors import CourseError
from course_lib.methods import fused_lora

TOKENS = 450  # in a group; fewer cost time: each group dequantises all weights twice
IGNORED = -100  # the label of a token that is not to be learned
SHARED = 8  # tokens that a common beginning has at least to be run once
SHORT = 256  # tokens up to which bfloat16 on a CPU is faster by plain products: 1.7


def backward(model, rows: Sequence[Mapping], tokens: int = TOKENS) -> float:
    """Add the gradient of a batch's loss to the parameters; returns the loss in nats.

    model: a causal language model of transformers, with adapters of peft or without.
    rows: {"input_ids", "labels"} each, lists of equal length, labels -100 where nothing
    is to be learned.  The loss is the mean over all labels of the batch, as
    transformers computes it.  Raises CourseError where no label is left.
    """
    sequences = [_needed(row) for row in rows]
    first = _common(sequences)
    rests = [(ids[len(first) :], where, labels) for ids, where, labels in sequences]
    pieces = groups(rests, max(tokens - len(first), 1))  # no longer row than planned
    count = sum(len(where) for group in pieces for _, where, _ in group)
    if not count:
        raise CourseError(
            "backward: no token of the batch has a label.\nExpected: labels other than "
            "-100 behind the first token.\nDo: check that the answers are not cut off."
        )
    total = 0.0
    with _apart(model) as lengths, _expanded(model), fused_lora.fused(model):
        for group in pieces:
            loss = _loss(model, first, group, lengths) / count
            loss.backward()
            total += loss.item()
    return total


def groups(sequences: Sequence[tuple], tokens: int = TOKENS) -> list[list[tuple]]:
    """Sequences (ids, ...) in as few groups as hold about ``tokens`` tokens each.

    The longest first, each into the group that has least, so that the groups are of
    nearly equal length (Graham 1969).  Empty sequences are left out.
    """
    some = sorted((s for s in sequences if s[0]), key=lambda s: -len(s[0]))
    number = math.ceil(sum(len(s[0]) for s in some) / tokens)
    made, sizes = [[] for _ in range(number)], [0] * number
    for sequence in some:
        shortest = sizes.index(min(sizes))
        made[shortest].append(sequence)
        sizes[shortest] += len(sequence[0])
    return [group for group in made if group]


def _needed(row: Mapping) -> tuple[list[int], list[int], list[int]]:
    """Tokens up to the last that predicts a label, those that do, and the labels.

    In a causal model no later token has a part in the loss.
    """
    after = list(row["labels"])[1:]
    where = [i for i, label in enumerate(after) if label != IGNORED]
    end = where[-1] + 1 if where else 0
    return list(row["input_ids"])[:end], where, [after[i] for i in where]


def _common(sequences: Sequence[tuple]) -> list[int]:
    """The tokens that all sequences begin with, if they are worth running once.

    No token that predicts a label is among them.
    """
    some = [(ids, where[0]) for ids, where, _ in sequences if ids]
    if len(some) < 2:
        return []
    n = min(start for _, start in some)
    same = [len(set(column)) == 1 for column in zip(*(ids[:n] for ids, _ in some))]
    n = [*same, False].index(False)
    return some[0][0][:n] if n >= SHARED else []


def _loss(model, first: list[int], group, lengths: list[int]) -> torch.Tensor:
    """The summed cross-entropy of a group, whose sequences stand in one row.

    first: what all begin with, the row's beginning; the group has what follows.
    """
    device = next(model.parameters()).device
    ids, positions, kept, labels = list(first), [*range(len(first))], [], []
    for rest, where, wanted in group:
        kept += [len(ids) - len(first) + i for i in where]
        ids += rest
        positions += range(len(first), len(first) + len(rest))
        labels += wanted
    lengths[:] = [len(first), *(len(rest) for rest, _, _ in group)]
    logits = model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        logits_to_keep=torch.tensor(kept, device=device),
        use_cache=False,
    ).logits[0]
    wanted = torch.tensor(labels, device=device)
    return _CrossEntropy.apply(logits.float(), wanted)


class _CrossEntropy(torch.autograd.Function):
    """Summed, of logits (n, words); log-probabilities are not kept."""

    @staticmethod
    def forward(ctx, logits, labels):
        total = logits.logsumexp(1, keepdim=True)
        ctx.save_for_backward(logits, labels, total)
        return (total - logits.gather(1, labels[:, None])).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        logits, labels, total = ctx.saved_tensors
        to_logits = (logits - total).exp_()
        to_logits[torch.arange(len(labels)), labels] -= 1
        return to_logits.mul_(gradient), None


@contextmanager
def _apart(model):
    """Attention within each sequence of a row, and to the beginning that all share.

    Gives the list that sets the lengths: of that beginning, 0 for none, and of the
    sequences.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    lengths: list[int] = []

    def attention(module, query, key, value, attention_mask, **options):
        """(1, heads, T, d) each, to (1, T, heads, d)."""
        options["is_causal"] = True
        (q, *queries), (k, *keys), (v, *values) = (
            x.split(lengths, dim=2) for x in (query, key, value)
        )
        half = query.dtype == torch.bfloat16 and query.device.type == "cpu"
        plain = half and lengths[0] + max(lengths[1:]) <= SHORT
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():

            def one(*parts, mask=None):
                return sdpa_attention_forward(module, *parts, mask, **options)[0]

            if not lengths[0]:
                return torch.cat(list(map(one, queries, keys, values)), dim=1), None
            out = [one(q, k, v)]
            for own, *pair in zip(queries, keys, values):
                both = [torch.cat(two, dim=2) for two in zip((k, v), pair)]
                out.append(one(own, *both, mask=_later(own, lengths[0])))
        return torch.cat(out, dim=1), None

    AttentionInterface.register("apart", attention)
    AttentionMaskInterface.register("apart", lambda *_, **__: None)
    before = model.config._attn_implementation
    model.set_attn_implementation("apart")
    try:
        yield lengths
    finally:
        model.set_attn_implementation(before)


def _later(query: torch.Tensor, n: int) -> torch.Tensor:
    """What each of the tokens behind n others may see, (1, 1, T, n + T) bool."""
    T = query.shape[2]
    seen = torch.ones(T, n + T, dtype=torch.bool, device=query.device)
    return seen.tril(n)[None, None]


@contextmanager
def _expanded(model):
    """bitsandbytes' doubly quantised constants in float32, and back: the same weights.

    They are 1/64 of the weights in number; every pass would expand them anew.
    """
    states = [
        state
        for parameter in model.parameters()
        if getattr(state := getattr(parameter, "quant_state", None), "nested", False)
    ]
    if states:
        from bitsandbytes.functional import dequantize_blockwise
    before = [state.absmax for state in states]
    for state in states:
        state.absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset
        state.nested = False
    try:
        yield
    finally:
        for state, absmax in zip(states, before):
            state.absmax, state.nested = absmax, True
