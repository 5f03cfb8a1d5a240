"""Instruction tuning of a language model: LoRA or QLoRA, and the answers to learn.

    model, tokenizer = language_models.load("fab-llama", quantised="nf4")
    model = instruction_tuning.with_lora(model, r=16)
    instruction_tuning.fit(model, tokenizer, texts, answers, steps=150)

The work is done by transformers and peft; beside this course's own quantised layers by
`course_lib.methods.lora`.  Hu et al. 2022; Dettmers et al. 2023.
"""

import tempfile
from collections.abc import Sequence

import torch

from course_lib.methods import lora
from course_lib.models import quantization
from course_lib.models.language_models import examples
from course_lib.training.hf_trainer import TrainerRecipe, isolated

# of a block of the Llama architecture
LINEAR = tuple("q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split())
RECIPE = TrainerRecipe(weight_decay=0.0)


def with_lora(
    model, r: int = 16, alpha: float = 16.0, targets=LINEAR, dropout=0.0, seed: int = 0
):
    """The model with LoRA beside its linear layers, everything else frozen.

    By peft; beside this course's own quantised layers by `methods.lora`.  A is
    drawn from ``seed``.  Hu et al. 2022.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if any(isinstance(m, quantization.LinearNF4) for m in model.modules()):
            return lora.inject(model, targets, r, alpha, dropout=dropout)
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(targets),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)


def fit(
    model,
    tokenizer,
    texts: Sequence[str],
    answers: Sequence[str],
    *,
    steps: int = 150,
    lr: float = 2e-3,
    seed: int = 0,
    recipe: TrainerRecipe = RECIPE,
) -> list[float]:
    """Fine-tune what is trainable to answer texts; returns the loss of each update.

    `transformers.Trainer` with AdamW, warm-up and linear decay, gradients clipped to
    norm 1.
    """
    from transformers import DataCollatorForSeq2Seq, Trainer
    from transformers.trainer_callback import PrinterCallback

    parameters = recipe.groups or [p for p in model.parameters() if p.requires_grad]
    decay, each = recipe.weight_decay, dict(logging_strategy="steps", logging_steps=1)
    with tempfile.TemporaryDirectory() as where, isolated(seed):
        run = Trainer(
            model,
            recipe.settings(where, epochs=1, steps=steps, lr=lr, seed=seed, **each),
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
            train_dataset=examples(tokenizer, texts, answers),
            processing_class=tokenizer,
            optimizers=(torch.optim.AdamW(parameters, lr=lr, weight_decay=decay), None),
        )
        run.remove_callback(PrinterCallback)
        run.train()
    model.eval()
    return [row["loss"] for row in run.state.log_history if "loss" in row]
