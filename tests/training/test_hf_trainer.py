"""Fine-tuning by transformers.Trainer: recipe, repeatability, what may be given."""

import random

import numpy as np
import pytest
import tiny
import torch

from course_lib import datasets
from course_lib.errors import CourseError
from course_lib.models import text
from course_lib.training import hf_trainer, layer_groups
from course_lib.training.hf_trainer import TrainerRecipe


@pytest.fixture(scope="module")
def tickets():
    return [datasets.load("tickets", s, n=20) for s in ("train", "validation")]


@pytest.mark.slow
def test_the_trainer_learns_and_is_repeatable(tickets):
    train, val = tickets
    before = torch.get_rng_state()
    others = random.getstate(), np.random.get_state()[1].copy()
    runs = []
    for _ in range(2):
        backbone = tiny.encoder()
        log = hf_trainer.fit(backbone, train, val, epochs=3, lr=3e-3, seed=1)
        runs.append(text.predict(backbone, train.texts))
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == others[0]
    assert np.array_equal(np.random.get_state()[1], others[1])
    assert np.array_equal(*runs)
    assert (runs[0].argmax(1) == train.labels).mean() > 0.5
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert len(losses) == 3


@pytest.mark.slow
def test_every_training_argument_may_be_given(tickets):
    recipe = TrainerRecipe(arguments=dict(logging_strategy="epoch", eval_strategy="no"))
    log = hf_trainer.fit(tiny.encoder(), tickets[0], epochs=2, lr=1e-3, recipe=recipe)
    assert [row["epoch"] for row in log if "loss" in row] == [1, 2]


@pytest.mark.slow
def test_the_weights_of_the_lowest_validation_loss_are_kept(tickets):
    train, val = tickets
    backbone = tiny.encoder()
    log = hf_trainer.fit(backbone, train, val, epochs=6, lr=1e-2, seed=0)
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    logits = torch.from_numpy(text.predict(backbone, val.texts))
    now = torch.nn.functional.cross_entropy(logits, torch.as_tensor(val.labels))
    assert now.item() == pytest.approx(min(losses), abs=1e-4)


@pytest.mark.slow
def test_patience_ends_a_run_and_steps_limit_it(tickets):
    train, val = tickets
    log = hf_trainer.fit(
        tiny.encoder(), train, val, epochs=30, lr=3e-2, recipe=TrainerRecipe(patience=1)
    )
    assert sum("eval_loss" in row for row in log) < 30
    run = hf_trainer.trainer(tiny.encoder(), train, steps=2)
    run.train()
    assert run.state.global_step == 2


@pytest.mark.slow
def test_rates_by_layer_reach_the_optimizer(tickets):
    backbone = tiny.encoder()
    groups = layer_groups.decayed_groups(backbone, lr=1e-3, alpha=0.5, head_factor=10)
    run = hf_trainer.trainer(
        backbone, tickets[0], steps=1, recipe=TrainerRecipe(groups=groups)
    )
    rates = {group["name"]: group["initial_lr"] for group in _started(run)}
    assert rates["head"] == pytest.approx(1e-2)
    assert rates["stem"] == pytest.approx(2.5e-4)


def _started(run):
    run.train()
    return run.optimizer.param_groups


def test_the_validation_loss_counts_every_text_with_its_label(tickets):
    backbone, (train, val) = tiny.encoder(), tickets
    with hf_trainer.isolated(0):
        run = hf_trainer.trainer(
            backbone,
            train,
            val,
            recipe=TrainerRecipe(arguments=dict(per_device_eval_batch_size=3)),
        )
        loss = run.evaluate()["eval_loss"]
    logits = torch.from_numpy(text.predict(backbone, val.texts))
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(val.labels))
    assert loss == pytest.approx(float(wanted), abs=1e-5)


@pytest.mark.slow
def test_errors_say_what_to_do(tickets):
    train, _ = tickets
    with pytest.raises(CourseError, match="4 outputs, the data 5 classes"):
        hf_trainer.trainer(tiny.encoder(4), train)
    with pytest.raises(CourseError, match="needs validation"):
        hf_trainer.trainer(tiny.encoder(), train, recipe=TrainerRecipe(patience=2))
