"""Pre-training continued without labels."""

import numpy as np
import pytest
import tiny
import torch
from tiny import Unreadable, moved, state

from course_lib import datasets, training
from course_lib.errors import CourseError
from course_lib.methods import self_supervised, view_losses
from course_lib.training import freezing, photometric


def test_barlow_twins_by_hand():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20, 4))
    B = A + 0.5 * rng.normal(size=(20, 4))
    C = np.corrcoef(A.T, B.T)[:4, 4:]
    expected = sum(
        (1 - C[i, i]) ** 2 if i == j else 0.03 * C[i, j] ** 2
        for i in range(4)
        for j in range(4)
    )
    value = view_losses.barlow_twins_loss(torch.tensor(A), torch.tensor(B), 0.03)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    scaled = view_losses.barlow_twins_loss(
        torch.tensor(5 * A + 2), torch.tensor(B), 0.03
    )
    assert float(scaled) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(CourseError, match="two views"):
        view_losses.barlow_twins_loss(torch.tensor(A), torch.tensor(B[:9]))


@pytest.mark.slow
def test_continued_pretraining_learns_without_labels_or_head():
    data = tiny.images(24)

    mild = training.compose(training.random_flips(), photometric.random_noise(0.3))

    def trained(data, seed=0, augment=mild):
        backbone = freezing.freeze_until(tiny.resnet(), "stem")
        before = state(backbone)
        losses = self_supervised.continue_pretraining(
            backbone, data, steps=12, batch_size=12, seed=seed, augment=augment
        )
        return losses, moved(before, backbone), state(backbone)

    losses, changed, first = trained(data)
    assert len(losses) == 12 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert {name.split(".")[0] for name in changed} == {
        f"layer{i}" for i in (1, 2, 3, 4)
    }
    torch.manual_seed(1)
    again, _, second = trained(Unreadable(data))
    assert again == losses and all(torch.equal(first[k], second[k]) for k in first)
    assert trained(data, seed=1)[0] != losses
    used = []

    def watch(x, generator):
        used.append(len(x))
        return x

    trained(data, augment=watch)
    assert used == [12] * 24


def test_pretraining_that_cannot_work_is_named():
    frozen = freezing.freeze_backbone(tiny.resnet())
    with pytest.raises(CourseError, match="before the head is frozen"):
        self_supervised.continue_pretraining(frozen, tiny.images(6), steps=1)
    with pytest.raises(CourseError, match="(?s)nan at step 0.*lower lr"):
        self_supervised.continue_pretraining(
            tiny.resnet(), tiny.images(6), steps=1, augment=lambda x, g: x * np.nan
        )


@pytest.mark.slow
def test_continued_pre_training_lowers_the_loss_and_moves_the_encoder_only():
    texts = datasets.load("tickets", "pool", n=60).texts
    backbone = tiny.encoder()
    head = backbone.model.head.weight.clone()
    encoder = backbone.model.encoder.encoder.layer[0].output.dense.weight.clone()
    losses = self_supervised.continue_on_texts(
        backbone, texts, steps=30, lr=3e-3, batch_size=16
    )
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    assert torch.equal(backbone.model.head.weight, head)
    assert not torch.equal(
        backbone.model.encoder.encoder.layer[0].output.dense.weight, encoder
    )
    again = self_supervised.continue_on_texts(
        tiny.encoder(), texts, steps=5, lr=3e-3, batch_size=16
    )
    assert again == self_supervised.continue_on_texts(
        tiny.encoder(), texts, steps=5, lr=3e-3, batch_size=16
    )


@pytest.mark.slow
def test_a_new_head_learns_alone_first_and_the_encoder_only_then():
    texts = datasets.load("tickets", "pool", n=30).texts
    options = dict(steps=3, batch_size=8, like_length=True)
    backbone, weights = tiny.encoder(), {}
    for warm in (3, None, 0):
        trained = tiny.encoder()
        self_supervised.continue_on_texts(trained, texts, warm_head=warm, **options)
        weights[warm] = trained.model.encoder.state_dict()
    for name, before in backbone.model.encoder.state_dict().items():
        assert torch.equal(weights[3][name], before), name
    word = "embeddings.word_embeddings.weight"
    assert not torch.equal(weights[None][word], weights[3][word])
    assert not torch.equal(weights[None][word], weights[0][word])
    with pytest.raises(CourseError, match="(?s)warm_head=4 of 3.*0 to 3"):
        self_supervised.continue_on_texts(backbone, texts, warm_head=4, **options)


def test_each_pass_has_every_row_once_also_where_lengths_are_alike():
    lengths = list(range(48))
    for like_length in (False, True):
        rows = self_supervised.endless_rows(lengths, 4, 0, like_length)
        batches = [next(rows) for _ in range(24)]
        assert all(len(batch) == 4 for batch in batches)
        flat = [row for batch in batches for row in batch]
        assert sorted(flat) == sorted(lengths * 2)
        spread = np.mean([max(batch) - min(batch) for batch in batches])
        assert (spread < 15) == like_length


def test_texts_are_cut_where_the_backbone_cuts_them():
    backbone = tiny.encoder()
    tokenizer = backbone.preprocess.tokenizer
    texts = ["a long line scraped into the surface of the wafer"] * 4
    widths = [
        next(self_supervised.masked_batches(tokenizer, texts, 4, 0, max_length=length))[
            "input_ids"
        ].shape[1]
        for length in (6, 128)
    ]
    assert widths[0] == 6 < widths[1]
