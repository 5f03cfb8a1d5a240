"""What lesson 03 does to a network before it asks what the network still knows."""

import numpy as np
import pytest
import torch

from course_lib import datasets
from course_lib.lessons import lesson03, protocol
from course_lib.lessons.results import Grid
from course_lib.models import zoo
from course_lib.training import freezing


@pytest.fixture(scope="module")
def original():
    return zoo.load(protocol.BACKBONE)


def state(backbone, kind):
    """Copies of all parameters, or of all running statistics."""
    named = backbone.model.named_parameters
    if kind == "statistics":
        named = backbone.model.named_buffers
    return {
        name: tensor.detach().clone()
        for name, tensor in named()
        if kind == "weights" or "running" in name
    }


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one if name in other)


@pytest.mark.slow
def test_batches_in_train_mode_move_statistics_and_no_weight(original):
    seen, images = zoo.load(protocol.BACKBONE), protocol.labelled(25, 0).images
    lesson03.nothing_learns(seen, images, steps=2, seed=0)
    assert same(state(seen, "weights"), state(original, "weights"))
    moved, before = (state(b, "statistics") for b in (seen, original))
    assert not any(torch.equal(moved[name], before[name]) for name in before)
    back = lesson03.with_old_statistics(seen, original)
    assert same(state(back, "statistics"), before)
    assert not same(state(seen, "statistics"), before), "the one given has changed"


@pytest.mark.slow
def test_from_the_probe_the_head_is_trained_and_every_batchnorm_is_frozen():
    train = protocol.labelled(25, 0)
    held = datasets.load(protocol.TARGET, "validation").take(25, seed=0)
    backbone = zoo.load(protocol.BACKBONE, num_classes=5)
    drawn = backbone.model.get_submodule(backbone.head).weight.detach().clone()
    lesson03.from_probe(backbone, train, held)
    freezing.train_mode(backbone)
    norms = [m for m in backbone.model.modules() if hasattr(m, "running_mean")]
    assert norms and not any(norm.training for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    head = backbone.model.get_submodule(backbone.head)
    assert not torch.equal(head.weight, drawn) and head.weight.requires_grad


def test_crops_of_the_photographs_are_the_same_each_time():
    first = lesson03.crops().copy()
    lesson03.crops.cache_clear()
    assert first.shape == (2 * lesson03.CROPS, 96, 96, 3) and first.dtype == np.uint8
    assert np.array_equal(first, lesson03.crops())


def test_agreement_counts_each_answer_of_the_original_alike(monkeypatch):
    said = np.array([0, 0, 0, 1]), np.array([0, 0, 3, 2])
    monkeypatch.setattr(lesson03, "first_answers", lambda name: said[0])
    monkeypatch.setattr(lesson03, "answers", lambda *_: said[1])
    monkeypatch.setattr(lesson03, "with_old_head", lambda *_: None)
    backbone = zoo.load(protocol.BACKBONE)
    assert lesson03.agreement(backbone, backbone) == pytest.approx((2 / 3 + 0) / 2)


def test_a_grid_that_is_not_stored_has_no_rows():
    assert len(lesson03.stored("no_such_grid")) == 0
    rows = [
        dict(strategy="full", labels=n, lr=lr, seed=0, accuracy=lr, val_accuracy=-lr)
        for n in (25, 100)
        for lr in (1e-3, 1e-2)
    ]
    best = lesson03.at_own_rates(Grid(rows))
    assert [row["lr"] for row in best] == [1e-3, 1e-3]


def test_what_is_left_is_told_by_kind_of_statistics(monkeypatch):
    rows = [
        dict(
            strategy="full", labels=n, lr=lr, seed=seed, accuracy=0.8, source_renewed=lr
        )
        for n in (25, lesson03.FEW)
        for lr in (0.1, 0.2)
        for seed in (0, 1)
    ]
    still = dict(strategy="statistics", labels=lesson03.FEW, lr=None, seed=0)
    rows.append(still | dict(source_renewed=0.9))
    grids = {"forgetting": Grid(rows), "solar_forgetting": Grid(())}
    monkeypatch.setattr(lesson03, "stored", grids.get)
    told = lesson03.forgotten()
    assert [row["rate"] for row in told] == ["0.1", "0.2", "-"]
    assert [row["computed anew"] for row in told] == ["0.10", "0.20", "0.90"]
    assert [row["target"] for row in told] == ["0.80", "0.80", "-"]
    assert {row["as training left them"] for row in told} == {"-"}


def test_a_pair_of_rates_has_the_same_seeds_on_both_sides(monkeypatch):
    rows = [
        dict(strategy=strategy, labels=n, lr=lr, seed=seed, accuracy=lr)
        for strategy in ("full", "last_stage")
        for n, rates in lesson03.PAIRS.items()
        for lr in (*rates, 1e-2)
        for seed in range(7)
    ]
    monkeypatch.setattr(lesson03, "stored", lambda name: Grid(rows))
    for labels, (lower, higher) in lesson03.pairs_of_rates().items():
        assert len(lower) == len(higher) == len(lesson03.PAIRED_SEEDS)
        assert (lower[0]["lr"], higher[0]["lr"]) == lesson03.PAIRS[labels]
        assert higher.minus(lower).mean > 0


def test_a_title_names_only_who_is_surely_ahead():
    reached = {"frozen": (0.5, 0.6), "sure": (0.6, 0.71), "higher": (0.5, 0.9)}
    rows = [
        dict(strategy=s, labels=9, seed=i, accuracy=v)
        for s, values in reached.items()
        for i, v in enumerate(values)
    ]
    rows += [dict(row, labels=5) for row in rows if row["strategy"] != "sure"]
    title = lesson03.who_leads(Grid(rows), "Here", (5, 9), "labels")
    assert title == (
        "Here: no way surely leads frozen with 5 labels,\n"
        "sure leads it by 10.5 points with 9"
    )
