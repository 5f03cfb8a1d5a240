"""The grids: what the committed rows say about the settings used for them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.lessons import (
    lesson02,
    lesson05,
    lesson06,
    lesson07,
    lesson08,
    lesson08_opinions,
    lesson08_starts,
    lesson09,
    lesson10_reports,
    protocol,
    results,
)
from course_lib.lessons.lesson04 import METHODS, TRIED
from course_lib.methods import lora, peft_family
from course_lib.models import zoo


@pytest.mark.parametrize(
    "grid, strategy", [("from_scratch", "scratch"), ("strategies", "full")]
)
def test_the_rate_used_is_the_one_that_validation_prefers(grid, strategy):
    best = results.load(grid).best(strategy=strategy, labels=500, lr=lesson02.TRIED)
    assert best[0]["lr"] == protocol.RATES[strategy]


def test_the_compared_rows_have_one_rate_a_strategy_and_every_label_count():
    rows = lesson02.compared()
    for strategy, rate in protocol.RATES.items():
        found = rows.select(strategy=strategy)
        assert {row["lr"] for row in found} == {rate}
        counts = {row["labels"] for row in found}
        assert counts == ({100, 500} if strategy == "last_stage" else {*protocol.STEPS})
        seeds = [row["seed"] for row in found.select(labels=500)]
        assert seeds == [0, 1, 2, 3, 4]


def test_every_way_to_fine_tune_may_choose_among_the_same_rates():
    rows = results.load("layer_rates")
    for name, how in METHODS.items():
        if name == "by layer, head x 10":
            continue  # around the best rates of the two that it joins
        cells = rows.select(labels=100, **how)
        for seed in results.SEEDS:
            tried = {row["lr"] for row in cells.select(seed=seed)}
            assert tried >= set(TRIED)
    for name in {row["schedule"] for row in results.load("schedules")}:
        cells = results.load("schedules").select(schedule=name)
        assert {row["lr"] for row in cells} == set(TRIED)


def test_a_flat_rate_is_the_same_run_in_both_grids():
    """Rates by layer with alpha 1 train as the plain call of fit does."""
    which = dict(labels=100, lr=1e-3, seed=1)
    flat = results.load("layer_rates").select(**which, **METHODS["flat"])
    plain = results.load("strategies").select(**which, strategy="full")
    assert flat[0]["accuracy"] == pytest.approx(plain[0]["accuracy"], abs=0.02)


def test_each_failure_was_run_beside_its_correct_twin_over_five_seeds():
    rows = results.load("silent_failures")
    for setup in lesson05.SETUPS:
        found = rows.select(setup=setup)
        assert [row["seed"] for row in found] == [0, 1, 2, 3, 4], setup
    for size in ("", ", batch 4"):
        still = rows.select(setup=f"head, eval mode{size}")
        drifting = rows.select(setup=f"head, train mode{size}")
        assert all(row["drift"] == 0 for row in still)
        assert all(row["drift"] > 0.01 for row in drifting)
    for size in (2, 8, 32):
        assert 33 * 96 % size == 0  # every batch is full, every size sees as much


def test_no_source_is_judged_on_its_own_renderer():
    pairs = lesson06.pairs()
    assert ("bundled/resnet10-wafer-maps", "wafer_maps") not in pairs
    assert len(pairs) == len(lesson06.SOURCES) * len(lesson06.TARGETS) - 2
    rows = results.load("sources")
    for name, target in pairs:
        cells = rows.select(source=name, target=target)
        first = {r["lr"]: r["val_accuracy"] for r in cells if r["seed"] == 0}
        best = max(sorted(first), key=first.get)
        assert best == lesson06.chosen_rate(name, target), (name, target)
        assert len(cells.select(lr=best)) == 3


def test_the_random_source_has_the_network_but_not_its_weights():
    one, same = lesson06.load_source("random", 5), lesson06.load_source("random", 5)
    trained = lesson06.load_source("bundled/resnet10-patterns", 5)
    weights = [m.model.conv1.weight for m in (one, same, trained)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_long_vit_has_the_rate_that_validation_prefers_and_it_is_no_edge():
    rows = results.load("cnn_vit_long")
    chosen = rows.best(model=lesson06.VIT, seed=0)[0]["lr"]
    assert chosen == lesson06.LONG_CHOSEN[lesson06.VIT]
    tried = lesson06.LONG_TRIED[lesson06.VIT]
    assert min(tried) < chosen < max(tried)
    for of_model in lesson06.long_pair():
        assert [row["seed"] for row in of_model] == [0, 1, 2]


def test_the_rates_of_the_tickets_are_those_that_validation_prefers():
    rows = results.load("tickets")
    for (method, labels), rates in lesson07.CHOSEN.items():
        which = dict(method=method, labels=labels)
        assert rows.best(seed=0, **which)[0]["lr"] in rates, which
        for lr in rates:
            seeds = [row["seed"] for row in rows.select(lr=lr, **which)]
            assert seeds == [0, 1, 2], which
    for n in lesson07.LABELS:
        seeds = [r["seed"] for r in rows.select(method="tfidf", labels=n)]
        assert seeds == [0, 1, 2]


@pytest.mark.parametrize(
    "grid, chosen, whole",
    [
        ("peft_text", lesson08.CHOSEN_TEXT, dict(r=8, targets=lesson08.ALL)),
        ("peft_images", lesson09.CHOSEN, {}),
    ],
)
def test_the_rates_of_peft_are_those_that_validation_prefers(grid, chosen, whole):
    rows = results.load(grid)
    assert set(chosen) == set(lesson08.METHODS) - {"dora"}
    for method in lesson08.METHODS:
        lr = chosen["lora" if method == "dora" else method]
        assert rows.best(seed=0, method=method, **whole)[0]["lr"] == lr, method
        found = rows.best(method=method, **whole)
        assert [(row["lr"], row["seed"]) for row in found] == [
            (lr, seed) for seed in results.SEEDS
        ], method


def test_the_rates_of_the_reports_are_those_that_validation_prefers():
    tried = results.load("smollm_rates")
    for row in results.load("smollm_reports"):
        like = lesson10_reports.RATE_LIKE.get(row["method"], row["method"])
        found = tried.select(method=like)
        lowest = min(found, key=lambda one: one["val_loss"])
        assert row["lr"] == lowest["lr"], row


def test_a_cut_update_is_the_closest_of_its_rank():
    generator = torch.Generator().manual_seed(0)
    start = {"w": torch.randn(9, 6, generator=generator)}
    end = {"w": start["w"] + torch.randn(9, 6, generator=generator)}
    values = torch.linalg.svdvals(end["w"] - start["w"])
    for rank in (0, 2, 6):
        cut = lesson08.truncated(start, end, ["w"], rank)["w"]
        error = (end["w"] - cut).norm()
        assert error == pytest.approx(values[rank:].norm().item(), abs=1e-5)


@pytest.mark.slow
def test_lora_beside_queries_and_values_can_be_as_large_as_beside_all():
    sizes = {}
    for r, targets in ((8, lesson08.ALL), *lesson08.SHAPES):
        backbone = lesson08.put(zoo.load("minilm", 5), "lora", 0, r, targets)
        state = peft_family.trained_state(backbone)
        sizes[r, targets] = sum(v.numel() for v in state.values())
        assert {layer.scale for layer in lora.layers(backbone).values()} == {16 / r}
    assert sizes[36, "query, value"] == sizes[8, lesson08.ALL]


def test_variants_of_lora_are_as_large_as_plain_lora():
    sizes, scales = {}, {}
    for method in ("lora", *lesson08_starts.NAMES):
        backbone = zoo.load("minilm", 2)
        layers, heads = peft_family.parts(backbone), backbone.heads
        lesson08_starts.variant(backbone, method, layers, 0, train=heads)
        state = peft_family.trained_state(backbone)
        sizes[method] = sum(v.numel() for v in state.values())
        (scales[method],) = {x.scale for x in lora.layers(backbone).values()}
    assert len(set(sizes.values())) == 1
    assert scales["rslora"] == 16 / 8**0.5 and scales["attention"] == 16 / 18
    assert {scales[m] for m in ("lora", "pissa", "olora", "plus")} == {2}


@pytest.mark.parametrize("target", lesson08_starts.BOTH)
def test_variants_of_lora_run_at_the_rate_that_validation_prefers(target):
    """It lies inside those tried; variants ran the same seeds, other ranks fewer."""
    for method, rates in lesson08_starts.RATES[target].items():
        best = lesson08_starts.chosen_rate(target, method)
        assert lesson08_starts.CHOSEN[target][method] == best
        assert len(rates) >= 3 and rates[0] < best < rates[-1]
        found = lesson08_starts.rows(target, method).select(lr=best)
        fewer = method in lesson08_starts.RANKS
        n = lesson08_starts.FEWER if fewer else lesson08_starts.SEEDS[target]
        assert sorted(row["seed"] for row in found) == list(range(n))


def test_the_head_has_a_rate_of_its_own():
    """Film reviews: each parameter that learns is in one group, at its rate."""
    encoder = torch.nn.ModuleDict(dict(layer=torch.nn.Linear(4, 4)))
    model = torch.nn.ModuleDict(dict(encoder=encoder, head=torch.nn.Linear(4, 2)))
    lora.inject(model, ("layer",), r=2, train=("head",))
    found = lesson08_opinions.groups(SimpleNamespace(model=model), lr=3e-3)
    rates = {id(p): group["lr"] for group in found for p in group["params"]}
    layer, head = model.encoder.layer, set(map(id, model.head.parameters()))
    assert rates[id(layer.A)] == rates[id(layer.B)] == 3e-3
    assert {rates[place] for place in head} == {lesson08_opinions.HEAD_RATE}
    assert len(rates) == 4 and all(group["weight_decay"] == 0 for group in found)


@pytest.mark.slow
def test_the_share_of_a_gain_has_an_interval_that_knows_a_small_denominator():
    """Fieller: about symmetric where the whole gain is sure, one-sided where not."""
    noise = np.array([-1.0, 1.0, 0.0, 0.5, -0.5])
    ratio, low, high = lesson09.share_of(8 + noise, np.full(5, 10.0))
    assert ratio == pytest.approx(0.8) and high - ratio == pytest.approx(
        ratio - low, abs=2e-3
    )
    _, low, high = lesson09.share_of(0.8 + noise, 1.2 + noise[::-1])
    assert low < 0 and high > 1
