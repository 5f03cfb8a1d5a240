"""Text through an encoder: tokens, one vector a text, a classifier, its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from course_lib.errors import CourseError
from course_lib.models.features import by_length, eval_mode, to_device


@dataclass
class Tokenise:
    """The preprocessing of text: a list of N strings to token tensors (N, T)."""

    tokenizer: object
    max_length: int = 128

    def __call__(self, texts):
        if isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
            raise CourseError(
                "Text must come as a list of strings, one for each example; got "
                f"{type(texts).__name__}."
            )
        return dict(
            self.tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
        )


def mean_pooled(model, tokens):
    """Sentence vectors (N, F): the mean of the last layer over real tokens.

    Reimers & Gurevych 2019 (Sentence-BERT).
    """
    hidden = model(**tokens).last_hidden_state  # (N, T, F)
    mask = tokens["attention_mask"][..., None]  # (N, T, 1)
    return (hidden * mask).sum(1) / mask.sum(1)


class TextClassifier(nn.Module):
    """Encoder, mean over real tokens, dropout, linear head: tokens to logits (N, K).

    Called with the tokenizer's tensors (N, T); with ``labels`` (N,) also gives the
    cross-entropy, as `transformers.Trainer` expects.  Mean pooling is how the sentence
    encoder was trained (Reimers & Gurevych 2019).
    """

    def __init__(self, encoder: nn.Module, num_classes: int, dropout: float = 0.1):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, num_classes)
        self.config = encoder.config

    def forward(self, input_ids, attention_mask, token_type_ids=None, labels=None):
        from transformers.modeling_outputs import SequenceClassifierOutput

        tokens = dict(input_ids=input_ids, attention_mask=attention_mask)
        if token_type_ids is not None:
            tokens["token_type_ids"] = token_type_ids
        logits = self.head(self.dropout(mean_pooled(self.encoder, tokens)))
        loss = None if labels is None else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def predict(backbone, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """Logits (N, K) float32 in the order of the texts; long and short are sorted apart.

    Raises CourseError without texts, or where one is no string.
    """
    model, _ = required(backbone)
    texts = list(texts)
    order = by_length(texts)
    if order is None:
        raise CourseError(
            f"predict: {'not every text is a string' if texts else 'no texts'}. "
            "Expected a list of strings, at least one."
        )
    device = next(model.parameters()).device
    parts = []
    with torch.no_grad(), eval_mode(model):
        for start in range(0, len(order), batch_size):
            some = [texts[i] for i in order[start : start + batch_size]]
            tokens = to_device(backbone.preprocess(some), device)
            parts.append(model(**tokens).logits.float().cpu())
    logits = torch.cat(parts).numpy()
    return logits[np.argsort(order)]


# -- how long texts are -----------------------------------------------------------


def token_lengths(backbone, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text, special ones counted, before anything is cut: int (N,)."""
    _, tokenizer = required(backbone)
    lengths: list[int] = []
    for start in range(0, len(texts), 1000):
        tokens = tokenizer(
            list(texts[start : start + 1000]),
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )
        lengths += [len(ids) for ids in tokens["input_ids"]]
    return np.array(lengths, dtype=np.int64)


def token_limit(backbone) -> int | None:
    """The most tokens that the encoder reads; None where it states no limit.

    The smaller of what its tokenizer states and its number of positions; RoBERTa and
    its relatives begin to count behind the position of padding.
    """
    model, tokenizer = required(backbone)
    stated = [getattr(tokenizer, "model_max_length", None)]
    stated.append(getattr(model.config, "max_position_embeddings", None))
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            stated.append(module.num_embeddings - first)
    limits = [n for n in stated if isinstance(n, int) and 0 < n < 10**6]
    return min(limits, default=None)


def cut_share(lengths: np.ndarray, max_length: int) -> tuple[int, str]:
    """(how many texts are longer than that, the same in words with the share)."""
    cut, n = int((lengths > max_length).sum()), len(lengths)
    return cut, f"{cut:,} of {n:,} texts ({100 * cut / max(n, 1):.1f} %)"


def required(backbone) -> tuple[nn.Module, object]:
    """(network, tokenizer) of a text Backbone.  Raises CourseError for all else."""
    model = getattr(backbone, "model", None)
    if getattr(backbone, "kind", "") != "text" or not isinstance(model, nn.Module):
        raise CourseError(
            "Expected a text backbone.\nDo: zoo.load('minilm', num_classes=5)."
        )
    return model, backbone.preprocess.tokenizer
