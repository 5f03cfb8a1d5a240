"""Instruction tuning: what learns, repeatability, memory for time."""

import pytest
import tiny
import torch

from course_lib import datasets
from course_lib.methods import instruction_tuning
from course_lib.methods.instruction_tuning import Updates
from course_lib.models import language_models

DATA = datasets.load("reports", "validation").take(40, seed=0)
REPORTS = list(DATA.metadata["report"])


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    return f"hf/{tiny.llama(tmp_path_factory.mktemp('llama'))}"


def tuned(name, seed=0, quantised=None, number=3, **settings):
    """(model, losses) after a few updates of adapters."""
    model, tokenizer = language_models.load(name, quantised)
    model = instruction_tuning.with_lora(model, r=4, seed=seed)
    rows = language_models.examples(tokenizer, DATA.texts, REPORTS)
    updates = Updates(rate=1e-2, number=number, batch_size=4, seed=seed)
    curve = instruction_tuning.tune(model, rows, updates, lambda: 0.0, **settings)
    return model, curve.train


def test_qlora_trains_the_adapter_and_nothing_else(name):
    fresh, _ = language_models.load(name, "nf4")
    state = torch.get_rng_state()
    model, losses = tuned(name, quantised="nf4", number=6)
    assert torch.equal(state, torch.get_rng_state())
    assert len(losses) == 6 and losses[-1] < losses[0]
    learned = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learned and all("lora_" in n for n in learned)
    frozen = dict(model.get_base_model().named_parameters())
    for key, value in fresh.named_parameters():
        key = key if key in frozen else key.replace(".weight", ".base_layer.weight")
        assert torch.equal(value, frozen[key]), key


def test_the_same_seed_gives_the_same_adapter(name):
    one, again, other = (tuned(name, seed)[1] for seed in (0, 0, 1))
    assert one == again != other


def test_checkpointing_changes_memory_and_not_the_losses(name):
    found = []
    for checkpointing in (False, True):
        model, tokenizer = language_models.load(name)
        model = instruction_tuning.with_lora(model, r=2)
        model.enable_input_require_grads()
        if checkpointing:
            model.gradient_checkpointing_enable(dict(use_reentrant=False))
        rows = language_models.examples(tokenizer, DATA.texts[:4], REPORTS[:4])
        model.train()
        loss = instruction_tuning.padded(model, tokenizer, rows)
        gradient = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((loss, torch.cat([g.flatten() for g in gradient])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
