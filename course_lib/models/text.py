"""Fine-tuning text encoders with `transformers.Trainer`.

An encoder from the zoo becomes a classifier by mean pooling and a linear head;
`trainer` sets up the standard recipe of BERT-class models, `adapt` continues
masked-language-model pre-training on unlabelled text.  Lesson 07; used by lessons 08
and 09.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from course_lib import profiles, training
from course_lib.errors import CourseError
from course_lib.models.features import by_length, eval_mode, to_device
from course_lib.models.zoo import mean_pooled

__all__ = [
    "TextClassifier", "adapt", "cut_share", "fit", "predict", "token_lengths",
    "token_limit", "trainer",
]  # fmt: skip


class TextClassifier(nn.Module):
    """Encoder, mean over real tokens, dropout, linear head: tokens to logits (N, K).

    Called with the tokenizer's tensors (N, T); with ``labels`` (N,) also gives the
    cross-entropy, as `transformers.Trainer` expects.  Mean pooling is how the sentence
    encoder was trained (Reimers & Gurevych 2019).  Lesson 07.
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


class _Examples(torch.utils.data.Dataset):
    """Texts tokenised once, one dict each; padded later, batch by batch."""

    def __init__(self, tokenizer, texts: Sequence[str], labels=None, max_length=128):
        if not len(texts):
            raise CourseError("No texts, expected at least one.")
        tokens = tokenizer(list(texts), truncation=True, max_length=max_length)
        self.rows = [
            {key: values[i] for key, values in tokens.items()}
            for i in range(len(texts))
        ]
        if labels is not None:
            for row, label in zip(self.rows, labels, strict=True):
                row["labels"] = int(label)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.rows[index]


# -- how long texts are -----------------------------------------------------------


def token_lengths(backbone, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text, special ones counted, before anything is cut: int (N,).

    Lesson 13.
    """
    _, tokenizer = _required(backbone)
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
    model, tokenizer = _required(backbone)
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


def _required(backbone) -> tuple[nn.Module, object]:
    model = getattr(backbone, "model", None)
    if getattr(backbone, "kind", "") != "text" or not isinstance(model, nn.Module):
        raise CourseError(
            "Expected a text backbone.\nDo: zoo.load('minilm', num_classes=5)."
        )
    return model, backbone.preprocess.tokenizer


@contextmanager
def isolated(seed: int):
    """`training.isolated`, and Python's and numpy's generators, which Trainer seeds."""
    states = random.getstate(), np.random.get_state()
    try:
        with training.isolated(seed, None):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def quiet_arguments(folder: str, seed: int, **arguments) -> dict:
    """TrainingArguments of a run that prints, reports and keeps nothing by itself.

    Linear decay; data order and everything else from ``seed``; on the CPU unless the
    profile has a GPU.  ``arguments`` take precedence.  Lesson 07.
    """
    defaults = dict(
        output_dir=folder,
        lr_scheduler_type="linear",
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        report_to="none",
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        use_cpu=profiles.device().type == "cpu",
        dataloader_pin_memory=False,
    )
    return defaults | arguments


def trainer(
    backbone,
    train,
    val=None,
    *,
    epochs: float = 4,
    steps: int | None = None,
    lr: float = 5e-5,
    batch_size: int = 16,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    groups: list[dict] | None = None,
    patience: int | None = None,
    seed: int = 0,
    folder: str | None = None,
    **arguments,
):
    """A `transformers.Trainer` with the standard recipe, ready for ``.train()``.

    backbone: a text backbone with a head.  train, val: TextDataset.  AdamW, linear
    decay after a warm-up over the first ``warmup`` of the updates; with ``val`` it is
    evaluated after each epoch and the weights of the lowest validation loss are loaded
    at the end; ``patience`` epochs without a lower one end the run.  ``groups``:
    parameter groups with rates of their own (layer_groups.decayed_groups).
    ``folder``: where checkpoints go.  Other arguments are those of
    `transformers.TrainingArguments`.
    Raises CourseError for a backbone without a head or labels outside it.
    Devlin et al. 2019; lesson 07.
    """
    from transformers import (
        DataCollatorWithPadding,
        EarlyStoppingCallback,
        Trainer,
        TrainingArguments,
        set_seed,
    )
    from transformers.trainer_callback import PrinterCallback

    model, tokenizer = _required(backbone)
    outputs = getattr(getattr(model, "head", None), "out_features", None)
    if outputs is not None and outputs != len(train.classes):
        raise CourseError(
            f"The head has {outputs} outputs, the data {len(train.classes)} classes.\n"
            f"Do: zoo.load(name, num_classes={len(train.classes)})."
        )
    if patience is not None and val is None:
        raise CourseError("trainer: patience needs validation data (val=...).")
    defaults = quiet_arguments(
        folder or tempfile.mkdtemp(prefix="course-trainer-"),
        num_train_epochs=epochs,
        max_steps=-1 if steps is None else steps,
        learning_rate=lr,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=32,
        weight_decay=weight_decay,
        warmup_steps=warmup,
        seed=seed,
    )
    if val is not None:
        defaults |= dict(
            eval_strategy="epoch",
            save_strategy="epoch",
            save_only_model=True,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
        )
    settings = TrainingArguments(**defaults | arguments)
    set_seed(seed)
    if groups is None:
        groups = training.param_groups(model, lr, weight_decay)
    learned = _Examples(tokenizer, train.texts, train.labels)
    checked = None
    if val is not None:  # its order changes nothing but the padding
        order = by_length(val.texts) if len(val.texts) else []
        checked = _Examples(
            tokenizer, [val.texts[i] for i in order], np.asarray(val.labels)[order]
        )
    stop = [] if patience is None else [EarlyStoppingCallback(patience)]
    run = Trainer(
        model,
        settings,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=learned,
        eval_dataset=checked,
        processing_class=tokenizer,
        optimizers=(torch.optim.AdamW(groups, lr=lr, fused=True), None),
        callbacks=stop,
    )
    run.remove_callback(PrinterCallback)  # it prints each evaluation as a dict
    return run


def fit(backbone, train, val=None, **options) -> list[dict]:
    """Train with :func:`trainer` and clean up; returns the Trainer's log of losses.

    Checkpoints go to a temporary folder; the global generators come back as they
    were.  Options as in `trainer`.  Lesson 07.
    """
    with tempfile.TemporaryDirectory() as folder, isolated(options.get("seed", 0)):
        run = trainer(backbone, train, val, folder=folder, **options)
        run.train()
    backbone.model.eval()
    return run.state.log_history


def predict(backbone, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """Logits (N, K) float32 in the order of the texts; long and short are sorted apart.

    Raises CourseError without texts, or where one is no string.  Lesson 07.
    """
    model, _ = _required(backbone)
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


def adapt(
    backbone,
    texts: Sequence[str],
    *,
    steps: int = 200,
    lr: float = 1e-4,
    batch_size: int = 32,
    masked: float = 0.15,
    seed: int = 0,
) -> list[float]:
    """Continue masked-language-model pre-training on unlabelled texts, in place.

    15 % of the tokens are hidden (80 % as [MASK], 10 % another token, 10 % as they
    are) and predicted from the rest, through a head whose output matrix is the input
    embedding.  A sentence encoder has lost that head; its transform is learned anew.
    Returns the losses (nats a hidden token).  Gururangan et al. 2020 (DAPT, TAPT),
    Devlin et al. 2019; lesson 07.
    """
    from transformers import (
        DataCollatorForLanguageModeling,
        get_linear_schedule_with_warmup,
    )

    model, tokenizer = _required(backbone)
    encoder = model.encoder if backbone.head else model
    with isolated(seed):
        examples = _Examples(tokenizer, texts)
        collate = DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=masked, seed=seed
        )
        embedding = encoder.get_input_embeddings().weight  # (V, F)
        width = embedding.shape[1]
        transform = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)
        ).to(embedding.device)
        bias = nn.Parameter(torch.zeros(len(embedding), device=embedding.device))
        learned = [p for p in encoder.parameters() if p.requires_grad]
        learning = [*learned, *transform.parameters(), bias]
        optimizer = torch.optim.AdamW(learning, lr=lr, fused=True)
        schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
        generator = torch.Generator().manual_seed(seed)
        encoder.train()
        losses: list[float] = []
        queue: list[int] = []
        for _ in range(steps):
            if len(queue) < batch_size:
                queue += torch.randperm(len(examples), generator=generator).tolist()
            rows, queue = queue[:batch_size], queue[batch_size:]
            batch = collate([dict(examples[i]) for i in rows])
            batch = to_device(dict(batch), embedding.device)
            labels = batch.pop("labels")  # (N, T), -100 where nothing is hidden
            hidden = encoder(**batch).last_hidden_state
            chosen = labels >= 0
            logits = transform(hidden[chosen]) @ embedding.T + bias
            loss = cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    encoder.eval()
    return losses
