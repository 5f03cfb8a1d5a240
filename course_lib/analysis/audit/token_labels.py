"""Labels of a language model, token by token: what the loss counts, what it misses."""

from collections.abc import Iterator, Mapping

import torch

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen, unseen
from course_lib.analysis.audit.setup import Setup
from course_lib.errors import CourseError

IGNORED = -100  # cross-entropy leaves such labels out
CHECKS_OF_TOKENS = (
    "labels-on-prompt", "labels-on-padding", "shifted-labels", "no-labels",
    "unlearned-end",
)  # fmt: skip


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about the labels of the batch, where there is one for each token."""
    loop = setup.loop
    if not has_token_labels(setup.batch):
        text = loop.tokenizer is not None or loop.prompts is not None
        text = text or hasattr(getattr(setup.net, "config", None), "vocab_size")
        lacks = "batch" if setup.batch is None and text else FOREIGN
        yield from unseen(lacks, *CHECKS_OF_TOKENS)
        return
    batch = {k: v for k, v in setup.batch.items() if isinstance(v, torch.Tensor)}
    ids, labels = batch["input_ids"], batch["labels"]
    real = real_tokens(batch, loop.tokenizer)
    counted = labels != IGNORED
    yield from _empty_findings(counted)
    if real is None:
        yield Unseen("labels-on-padding", "attention_mask or tokenizer")
    else:
        yield from _padding_findings(counted, real, labels, ids)
    if loop.prompts is None:
        yield Unseen("labels-on-prompt", "prompts")
    else:
        lengths = prompt_lengths(ids, real, loop.prompts, loop.tokenizer)
        yield from _prompt_findings(counted, real, lengths)
    if not predicts_tokens(setup.net, ids, labels):
        yield from unseen(FOREIGN, "shifted-labels", "unlearned-end")
        return
    yield from _shift_findings(ids, labels, counted)
    yield from _end_findings(ids, labels, counted, loop.tokenizer)
    if loop.tokenizer is None:
        yield Unseen("unlearned-end", "tokenizer")


def has_token_labels(batch) -> bool:
    """Is it a mapping with a label for each token?"""
    if not isinstance(batch, Mapping):
        return False
    ids, labels = batch.get("input_ids"), batch.get("labels")
    tensors = isinstance(ids, torch.Tensor) and isinstance(labels, torch.Tensor)
    return tensors and ids.ndim == 2 and ids.shape == labels.shape


def predicts_tokens(net, ids, labels) -> bool:
    """Are most labels their own token or the next: a causal language model's?

    Labels of masked words, of classes of tokens or of another sequence are not.
    """
    if getattr(getattr(net, "config", None), "is_encoder_decoder", False):
        return False
    counted = labels != IGNORED
    own, inner = (labels == ids)[counted], counted[:, :-1]
    after = (labels[:, :-1] == ids[:, 1:])[inner]
    return any(len(same) and same.float().mean() > 0.5 for same in (own, after))


def real_tokens(batch, tokenizer=None) -> torch.Tensor | None:
    """(N, T) bool: no padding, by the attention mask or by the tokenizer's pad token.

    Of a run of pad tokens at the end the first is real where padding is the end of
    text.  None where nothing tells.
    """
    mask = batch.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.shape == batch["input_ids"].shape:
        return mask.bool()
    pad = getattr(tokenizer, "pad_token_id", None)
    if pad is None:
        return None
    other = batch["input_ids"] != pad
    before = other.flip(1).cumsum(1).flip(1) > 0  # something else comes at or after it
    real = before & (other.cumsum(1) > 0)
    if pad == getattr(tokenizer, "eos_token_id", None):
        real[:, 1:] |= before[:, :-1] & (other.cumsum(1) > 0)[:, :-1]
    return real


def prompt_lengths(ids, real, prompts, tokenizer) -> list[int]:
    """Tokens of each row that belong to its prompt, padding not counted.

    prompts: numbers, or texts, which the tokenizer turns into tokens; a text's length
    is how far its tokens are those of the row.  Raises CourseError when they do not
    belong to the rows.
    """
    if len(prompts) != len(ids):
        raise CourseError(
            f"audit: {len(prompts)} prompts for a batch of {len(ids)} rows.\n"
            "Expected: one a row, a text or a number of tokens.\n"
            "Do: give the prompts of this batch, in its order."
        )
    if all(isinstance(prompt, int) for prompt in prompts):
        return list(prompts)
    if tokenizer is None:
        raise CourseError(
            "audit: prompts are texts, and there is no tokenizer.\nExpected: the "
            "tokenizer that made the batch, or numbers of tokens.\n"
            "Do: pass tokenizer=, or the lengths."
        )
    lengths = []
    for row, (tokens, prompt) in enumerate(zip(ids, prompts)):
        own = tokens if real is None else tokens[real[row]]
        wanted = tokenizer(prompt)["input_ids"]
        same = 0
        while same < min(len(wanted), len(own)) and wanted[same] == int(own[same]):
            same += 1
        if same < len(wanted) - 2:  # the last may have merged with the answer's first
            raise CourseError(
                f"audit: row {row} of the batch does not begin with its prompt "
                f"({same} of {len(wanted)} tokens agree).\nExpected: the prompts of "
                "this batch, in its order, as the tokenizer made them.\n"
                "Do: check the order and the template, or pass lengths."
            )
        lengths.append(same)
    return lengths


# -- findings ---------------------------------------------------------------------


def _rows(which: torch.Tensor) -> str:
    rows = which.nonzero().flatten().tolist()
    return f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows, {rows[0]} first"


def _empty_findings(counted):
    empty = ~counted[:, 1:].any(1)  # the first token is never predicted
    if empty.any():
        alone = " If no row of a batch has one, the loss is NaN." if empty.all() else ""
        yield Finding(
            "no-labels",
            _rows(empty),
            "no token counts in the loss: the answer was cut off or masked."
            + (alone or " Such rows teach nothing."),
            "cut prompts rather than answers, or leave such rows out.",
        )


def _padding_findings(counted, real, labels, ids):
    # the end of text right behind the last real token is the answer's, not padding
    wrong = counted & ~real
    behind = torch.zeros_like(real)
    behind[:, 1:] = real[:, :-1]
    wrong &= ~(behind & (labels == ids) & (wrong.sum(1, keepdim=True) == 1))
    if wrong.any():
        share = wrong.sum().item() / counted.sum().item()
        yield Finding(
            "labels-on-padding",
            _rows(wrong.any(1)),
            f"{int(wrong.sum())} of {int(counted.sum())} counted tokens ({share:.0%}) "
            "are padding: the model learns to write it.",
            f"labels of {IGNORED} where attention_mask is 0 "
            "(DataCollatorForSeq2Seq pads labels with it).",
        )


def _prompt_findings(counted, real, lengths):
    shape = counted.shape
    places = torch.arange(shape[1]).expand(shape) if real is None else None
    places = real.cumsum(1) - 1 if places is None else places
    prompt = places < torch.as_tensor(lengths, device=counted.device)[:, None]
    prompt &= torch.ones(shape, dtype=torch.bool) if real is None else real
    wrong = counted & prompt
    if wrong.any():
        share = wrong.sum().item() / counted.sum().item()
        yield Finding(
            "labels-on-prompt",
            _rows(wrong.any(1)),
            f"{int(wrong.sum())} of {int(counted.sum())} counted tokens ({share:.0%}) "
            "belong to the prompt: the model learns to write questions.",
            f"labels of {IGNORED} over the prompt (language_models.examples).",
        )


def _shift_findings(ids, labels, counted):
    """Labels that are the next token: the model's own loss shifts once more."""
    inner = counted[:, :-1]
    if not inner.any():
        return
    here = (labels == ids)[:, :-1][inner].float().mean().item()
    after = (labels[:, :-1] == ids[:, 1:])[inner].float().mean().item()
    if after > 0.9 and here < 0.5:
        yield Finding(
            "shifted-labels",
            f"{after:.0%} of the labels are the token after",
            "causal models of transformers shift labels themselves: each token learns "
            "the one after the next.",
            "labels = input_ids, not shifted; or a loss of your own on the logits.",
        )


def _end_findings(ids, labels, counted, tokenizer):
    """The end of text right after what is learned, left out because it is padding."""
    end = getattr(tokenizer, "eos_token_id", None)
    if end is None:
        return
    pad = getattr(tokenizer, "pad_token_id", None)
    places = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    last = torch.where(counted, places, -1).max(1).values  # (N,) -1 without a label
    rows = torch.arange(len(ids), device=ids.device)
    has = (last >= 0) & (last < ids.shape[1] - 1)
    follows = ids[rows, (last + 1).clamp(max=ids.shape[1] - 1)]
    missed = has & (ids[rows, last.clamp(min=0)] != end) & (follows == end)
    if missed.any():
        why = "it is also the padding token" if pad == end else "its label is ignored"
        yield Finding(
            "unlearned-end",
            _rows(missed),
            f"the end of text after the answer does not count in the loss, because "
            f"{why}: the model never learns to stop.",
            "a padding token of its own, or labels by attention mask, not by token.",
        )
