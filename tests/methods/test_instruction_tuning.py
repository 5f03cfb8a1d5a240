"""Instruction tuning: what learns, repeatability, memory for time."""

from dataclasses import replace

import pytest
import torch

from course_lib import datasets
from course_lib.methods import instruction_tuning
from course_lib.models import language_models

NAME = "fab-llama"
DATA = datasets.load("reports", "validation").take(40, seed=0)
REPORTS = list(DATA.metadata["report"])
FEW = replace(instruction_tuning.RECIPE, batch_size=4)


@pytest.fixture
def four_bits():
    return language_models.load(NAME, quantised="nf4")


@pytest.mark.slow
def test_qlora_trains_the_adapter_and_nothing_else(four_bits):
    model, tokenizer = four_bits
    tuned = instruction_tuning.with_lora(model, r=4, seed=3)
    learned = {n for n, p in tuned.named_parameters() if p.requires_grad}
    assert learned and all("lora_" in n for n in learned)
    frozen = {
        n: p.detach().clone() for n, p in tuned.named_parameters() if n not in learned
    }
    state = torch.get_rng_state()
    losses = instruction_tuning.fit(
        tuned, tokenizer, DATA.texts, REPORTS, steps=6, lr=1e-2
    )
    assert torch.equal(state, torch.get_rng_state())
    assert len(losses) == 6 and losses[-1] < losses[0]
    for name, value in frozen.items():
        assert torch.equal(value, dict(tuned.named_parameters())[name])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_adapter():
    def losses(seed):
        model, tokenizer = language_models.load(NAME)
        model = instruction_tuning.with_lora(model, r=2, seed=seed)
        return instruction_tuning.fit(
            model, tokenizer, DATA.texts, REPORTS, steps=3, seed=seed, recipe=FEW
        )

    assert losses(0) == losses(0) != losses(1)


@pytest.mark.slow
def test_checkpointing_changes_memory_and_not_the_losses():
    found = []
    for checkpointing in (False, True):
        model, tokenizer = language_models.load(NAME)
        model = instruction_tuning.with_lora(model, r=2)
        model.enable_input_require_grads()
        found.append(
            instruction_tuning.fit(
                model,
                tokenizer,
                DATA.texts,
                REPORTS,
                steps=3,
                recipe=replace(FEW, checkpointing=checkpointing),
            )
        )
    assert found[0] == pytest.approx(found[1], rel=1e-4)
