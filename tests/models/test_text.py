"""Text encoders: classifier, Trainer recipe, prediction, continued pre-training."""

import random

import numpy as np
import pytest
import tiny
import torch

from course_lib import datasets
from course_lib.errors import CourseError
from course_lib.models import features, text, zoo
from course_lib.training import layer_groups


@pytest.fixture(scope="module")
def tickets():
    return [datasets.load("tickets", s, n=20) for s in ("train", "validation")]


def test_a_text_backbone_gets_a_head_and_keeps_its_features(tickets):
    bare, headed = tiny.encoder(None), tiny.encoder(5)
    texts = tickets[0].texts[:4]
    z = [features.extract(b, texts) for b in (bare, headed)]
    assert z[0].shape == (4, 32) and np.allclose(z[0], z[1], atol=1e-6)
    tokens = headed.preprocess(list(texts))
    with torch.no_grad():
        out = headed.model.eval()(**tokens, labels=torch.tensor([0, 1, 2, 3]))
        alone = headed.model(**headed.preprocess([texts[0]]))
    assert out.logits.shape == (4, 5) and out.loss > 0
    # padding changes nothing
    assert torch.allclose(out.logits[:1], alone.logits, atol=1e-5)
    groups = layer_groups.layer_groups(headed)
    assert list(groups)[-1] == "head" and len(groups) == 4
    assert features.extract(headed, texts, module="layer1").shape == (4, 32)


def test_the_trainer_learns_and_is_repeatable(tickets):
    train, val = tickets
    before = torch.get_rng_state()
    others = random.getstate(), np.random.get_state()[1].copy()
    runs = []
    for _ in range(2):
        backbone = tiny.encoder()
        log = text.fit(backbone, train, val, epochs=3, lr=3e-3, seed=1)
        runs.append(text.predict(backbone, train.texts))
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == others[0]
    assert np.array_equal(np.random.get_state()[1], others[1])
    assert np.array_equal(*runs)
    assert (runs[0].argmax(1) == train.labels).mean() > 0.5
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert len(losses) == 3


def test_every_training_argument_may_be_given(tickets):
    options = dict(epochs=2, lr=1e-3, logging_strategy="epoch", eval_strategy="no")
    log = text.fit(tiny.encoder(), tickets[0], **options)
    assert [row["epoch"] for row in log if "loss" in row] == [1, 2]


def test_the_weights_of_the_lowest_validation_loss_are_kept(tickets):
    train, val = tickets
    backbone = tiny.encoder()
    log = text.fit(backbone, train, val, epochs=6, lr=1e-2, seed=0)
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    logits = torch.from_numpy(text.predict(backbone, val.texts))
    now = torch.nn.functional.cross_entropy(logits, torch.as_tensor(val.labels))
    assert now.item() == pytest.approx(min(losses), abs=1e-4)


def test_patience_ends_a_run_and_steps_limit_it(tickets):
    train, val = tickets
    log = text.fit(tiny.encoder(), train, val, epochs=30, lr=3e-2, patience=1, seed=0)
    assert sum("eval_loss" in row for row in log) < 30
    run = text.trainer(tiny.encoder(), train, steps=2)
    run.train()
    assert run.state.global_step == 2


def test_rates_by_layer_reach_the_optimizer(tickets):
    backbone = tiny.encoder()
    groups = layer_groups.decayed_groups(backbone, lr=1e-3, alpha=0.5, head_factor=10)
    run = text.trainer(backbone, tickets[0], groups=groups, steps=1)
    rates = {group["name"]: group["initial_lr"] for group in _started(run)}
    assert rates["head"] == pytest.approx(1e-2)
    assert rates["stem"] == pytest.approx(2.5e-4)


def _started(run):
    run.train()
    return run.optimizer.param_groups


def test_predictions_come_in_the_order_of_the_texts(tickets):
    backbone, texts = tiny.encoder(), list(tickets[0].texts)
    logits = text.predict(backbone, texts, batch_size=3)
    back = text.predict(backbone, texts[::-1], batch_size=7)
    assert np.allclose(logits, back[::-1], atol=1e-5)
    for wrong in ([*texts, None], [3]):
        with pytest.raises(CourseError, match="not every text is a string"):
            text.predict(backbone, wrong)


def test_texts_of_one_length_share_a_batch(tickets):
    backbone, texts = tiny.encoder(None), list(tickets[0].texts)
    padded, tokenise = [], backbone.preprocess

    def counted(some):
        tokens = tokenise(some)
        padded.append(tokens["attention_mask"].numel())
        return tokens

    Z = features.extract(backbone, texts, batch_size=4, preprocess=counted)
    as_they_come = [tokenise(texts[i : i + 4]) for i in range(0, len(texts), 4)]
    assert sum(padded) < sum(t["attention_mask"].numel() for t in as_they_come)
    alone = np.concatenate([features.extract(backbone, [one]) for one in texts])
    assert np.allclose(Z, alone, atol=1e-5)
    assert len({len(one) for one in texts}) > 5


def test_the_validation_loss_counts_every_text_with_its_label(tickets):
    backbone, (train, val) = tiny.encoder(), tickets
    with text.isolated(0):
        run = text.trainer(backbone, train, val, per_device_eval_batch_size=3)
        loss = run.evaluate()["eval_loss"]
    logits = torch.from_numpy(text.predict(backbone, val.texts))
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(val.labels))
    assert loss == pytest.approx(float(wanted), abs=1e-5)


@pytest.mark.slow
def test_continued_pre_training_lowers_the_loss_and_moves_the_encoder_only():
    texts = datasets.load("tickets", "pool", n=60).texts
    backbone = tiny.encoder()
    head = backbone.model.head.weight.clone()
    encoder = backbone.model.encoder.encoder.layer[0].output.dense.weight.clone()
    losses = text.adapt(backbone, texts, steps=30, lr=3e-3, batch_size=16)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    assert torch.equal(backbone.model.head.weight, head)
    assert not torch.equal(
        backbone.model.encoder.encoder.layer[0].output.dense.weight, encoder
    )
    again = text.adapt(tiny.encoder(), texts, steps=5, lr=3e-3, batch_size=16)
    assert again == text.adapt(tiny.encoder(), texts, steps=5, lr=3e-3, batch_size=16)


def test_errors_say_what_to_do(tickets):
    train, _ = tickets
    with pytest.raises(CourseError, match="4 outputs, the data 5 classes"):
        text.trainer(tiny.encoder(4), train)
    with pytest.raises(CourseError, match="needs validation"):
        text.trainer(tiny.encoder(), train, patience=2)
    with pytest.raises(CourseError, match="text backbone"):
        text.predict(zoo.load(num_classes=5), ["a"])
    with pytest.raises(CourseError, match="no texts"):
        text.predict(tiny.encoder(), [])
