"""Fine-tuning text models with `transformers.Trainer`, the field's usual loop for them.

`trainer` sets up the standard recipe of BERT-class models, `fit` runs it and cleans up.
"""

import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from course_lib import profiles, training
from course_lib.errors import CourseError
from course_lib.models.features import by_length
from course_lib.models.text import required


@dataclass(frozen=True)
class TrainerRecipe:
    """All but the length, the rate and the seed of a run by `transformers.Trainer`.

    AdamW with ``weight_decay``, a warm-up over the first ``warmup`` of the updates,
    linear decay.  ``groups``: parameter groups with rates of their own
    (layer_groups.decayed_groups).  ``patience``: epochs without a lower validation loss
    that end the run.  ``checkpointing`` keeps each block's input only and runs the
    block again in the backward pass (Chen et al. 2016).  ``arguments``: any others of
    `transformers.TrainingArguments`.
    """

    batch_size: int = 16
    weight_decay: float = 0.01
    warmup: float = 0.1
    groups: list[dict] | None = None
    patience: int | None = None
    checkpointing: bool = False
    arguments: Mapping = field(default_factory=dict)

    def settings(self, folder: str, *, epochs, steps, lr: float, seed: int, **more):
        """`transformers.TrainingArguments` of a run; it prints and reports nothing.

        Linear decay; data order and everything else from ``seed``; on the CPU unless
        the profile has a GPU.  The recipe's ``arguments`` come before ``more``.
        """
        from transformers import TrainingArguments

        chosen = quiet_arguments(
            folder,
            seed=seed,
            num_train_epochs=epochs,
            max_steps=-1 if steps is None else steps,
            learning_rate=lr,
            per_device_train_batch_size=self.batch_size,
            per_device_eval_batch_size=32,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup,
        )
        if self.checkpointing:
            chosen |= dict(
                activation_checkpointing=True,
                activation_checkpointing_kwargs=dict(use_reentrant=False),
            )
        return TrainingArguments(**(chosen | more | dict(self.arguments)))


class Examples(torch.utils.data.Dataset):
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
    profile has a GPU.  ``arguments`` take precedence.
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


BEST_OF_EPOCHS = dict(  # with validation data: the weights of the lowest loss come back
    eval_strategy="epoch",
    save_strategy="epoch",
    save_only_model=True,
    save_total_limit=1,
    load_best_model_at_end=True,
    metric_for_best_model="eval_loss",
    greater_is_better=False,
)


def trainer(
    backbone,
    train,
    val=None,
    *,
    epochs: float = 4,
    steps: int | None = None,
    lr: float = 5e-5,
    seed: int = 0,
    recipe: TrainerRecipe = TrainerRecipe(),
):
    """A `transformers.Trainer` with the recipe of BERT-class models, to ``.train()``.

    backbone: a text backbone with a head.  train, val: TextDataset.  For ``epochs``
    passes over the data or ``steps`` updates.  With ``val`` it is evaluated after each
    epoch and the weights of the lowest validation loss are loaded at the end.
    Checkpoints go to ``output_dir`` of the recipe's arguments, else to a new folder.
    Raises CourseError for a backbone without a head or labels outside it.
    Devlin et al. 2019.
    """
    import transformers
    from transformers.trainer_callback import PrinterCallback

    model, tokenizer = required(backbone)
    _check(model, train, val, recipe.patience)
    kept = recipe.arguments.get("output_dir")
    settings = recipe.settings(
        kept or tempfile.mkdtemp(prefix="course-trainer-"),
        epochs=epochs,
        steps=steps,
        lr=lr,
        seed=seed,
        **(BEST_OF_EPOCHS if val is not None else {}),
    )
    transformers.set_seed(seed)
    groups, patience = recipe.groups, recipe.patience
    if groups is None:
        groups = training.param_groups(model, lr, recipe.weight_decay)
    if val is not None:  # short and long texts apart: nothing changes but the padding
        order = by_length(val.texts) if len(val.texts) else []
        texts = [val.texts[i] for i in order]
        val = Examples(tokenizer, texts, np.asarray(val.labels)[order])
    stops = [] if patience is None else [transformers.EarlyStoppingCallback(patience)]
    run = transformers.Trainer(
        model,
        settings,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        train_dataset=Examples(tokenizer, train.texts, train.labels),
        eval_dataset=val,
        processing_class=tokenizer,
        optimizers=(torch.optim.AdamW(groups, lr=lr, fused=True), None),
        callbacks=stops,
    )
    run.remove_callback(PrinterCallback)  # it prints each evaluation as a dict
    return run


def _check(model, train, val, patience) -> None:
    outputs = getattr(getattr(model, "head", None), "out_features", None)
    if outputs is not None and outputs != len(train.classes):
        raise CourseError(
            f"The head has {outputs} outputs, the data {len(train.classes)} classes.\n"
            f"Do: zoo.load(name, num_classes={len(train.classes)})."
        )
    if patience is not None and val is None:
        raise CourseError("trainer: patience needs validation data (val=...).")


def fit(
    backbone,
    train,
    val=None,
    *,
    seed: int = 0,
    recipe: TrainerRecipe = TrainerRecipe(),
    **options,
) -> list[dict]:
    """Train with :func:`trainer` and clean up; returns the Trainer's log of losses.

    Checkpoints go to a temporary folder; the global generators come back as they
    were.  Arguments as in `trainer`; options: its epochs, steps and lr.
    """
    with tempfile.TemporaryDirectory() as folder, isolated(seed):
        kept = {"output_dir": folder} | dict(recipe.arguments)
        recipe = replace(recipe, arguments=kept)
        run = trainer(backbone, train, val, seed=seed, recipe=recipe, **options)
        run.train()
    backbone.model.eval()
    return run.state.log_history
