"""The grids: what the committed rows say about the settings used for them."""

import numpy as np
import pytest
import torch

from course_lib import lessons
from course_lib.lessons import (
    failures,
    peft,
    protocol,
    reports,
    results,
    sources,
    tickets,
)
from course_lib.lessons.layer_rates import METHODS, TRIED
from course_lib.methods import lora, peft_family
from course_lib.models import zoo


@pytest.mark.parametrize(
    "grid, strategy", [("from_scratch", "scratch"), ("strategies", "full")]
)
def test_the_rate_used_is_the_one_that_validation_prefers(grid, strategy):
    rows = results.select(results.load(grid), strategy=strategy, labels=500)
    mean = {
        lr: np.mean(
            [
                row["val_accuracy"]
                for row in results.select(rows, lr=lr)
                if row["seed"] in lessons.SEEDS
            ]
        )
        for lr in lessons.TRIED
    }
    assert max(mean, key=mean.get) == lessons.RATES[strategy], mean


def test_the_compared_rows_have_one_rate_a_strategy_and_every_label_count():
    rows = lessons.compared()
    for strategy, rate in lessons.RATES.items():
        found = results.select(rows, strategy=strategy)
        assert {row["lr"] for row in found} == {rate}
        counts = {row["labels"] for row in found}
        assert counts == ({100, 500} if strategy == "last_stage" else {*lessons.STEPS})
        seeds = [row["seed"] for row in results.select(found, labels=500)]
        assert seeds == [0, 1, 2, 3, 4]


def test_every_way_to_fine_tune_may_choose_among_the_same_rates():
    rows = results.load("layer_rates")
    for name, how in METHODS.items():
        if name == "by layer, head x 10":
            continue  # around the best rates of the two that it joins
        cells = results.select(rows, labels=100, **how)
        for seed in lessons.SEEDS:
            tried = {row["lr"] for row in results.select(cells, seed=seed)}
            assert tried >= set(TRIED)
    for name in {row["schedule"] for row in results.load("schedules")}:
        cells = results.select(results.load("schedules"), schedule=name)
        assert {row["lr"] for row in cells} == set(TRIED)


def test_a_flat_rate_is_the_same_run_in_both_grids():
    """Rates by layer with alpha 1 train as the plain call of fit does."""
    flat = results.select(
        results.load("layer_rates"), labels=100, lr=1e-3, seed=1, **METHODS["flat"]
    )
    plain = results.select(
        results.load("strategies"), strategy="full", labels=100, lr=1e-3, seed=1
    )
    assert flat[0]["accuracy"] == pytest.approx(plain[0]["accuracy"], abs=0.02)


def test_each_failure_was_run_beside_its_correct_twin_over_five_seeds():
    rows = results.load("silent_failures")
    for setup in failures.SETUPS:
        found = results.select(rows, setup=setup)
        assert [row["seed"] for row in found] == [0, 1, 2, 3, 4], setup
    for size in ("", ", batch 4"):
        still = results.select(rows, setup=f"head, eval mode{size}")
        drifting = results.select(rows, setup=f"head, train mode{size}")
        assert all(row["drift"] == 0 for row in still)
        assert all(row["drift"] > 0.01 for row in drifting)
    for size in (2, 8, 32):
        assert 33 * 96 % size == 0  # every batch is full, every size sees as much


def test_no_source_is_judged_on_its_own_renderer():
    pairs = sources.pairs()
    assert ("bundled/resnet10-wafer-maps", "wafer_maps") not in pairs
    assert len(pairs) == len(sources.SOURCES) * len(sources.TARGETS) - 2
    rows = results.load("sources")
    for name, target in pairs:
        cells = results.select(rows, source=name, target=target)
        first = {r["lr"]: r["val_accuracy"] for r in cells if r["seed"] == 0}
        best = max(sorted(first), key=first.get)
        assert best == sources.chosen_rate(name, target), (name, target)
        assert len(results.select(cells, lr=best)) == 3


def test_the_random_source_has_the_network_but_not_its_weights():
    one, same = sources.load_source("random", 5), sources.load_source("random", 5)
    trained = sources.load_source("bundled/resnet10-patterns", 5)
    weights = [m.model.conv1.weight for m in (one, same, trained)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_rates_of_the_tickets_are_those_that_validation_prefers():
    rows = results.load("tickets")
    for (method, labels), rates in tickets.CHOSEN.items():
        which = dict(method=method, labels=labels)
        assert protocol.first_choice(rows, **which) in rates, which
        for lr in rates:
            seeds = [row["seed"] for row in results.select(rows, lr=lr, **which)]
            assert seeds == [0, 1, 2], which
    for n in tickets.LABELS:
        seeds = [r["seed"] for r in results.select(rows, method="tfidf", labels=n)]
        assert seeds == [0, 1, 2]


@pytest.mark.parametrize(
    "grid, chosen, whole",
    [
        ("peft_text", peft.CHOSEN_TEXT, dict(r=8, targets=peft.ALL)),
        ("peft_images", peft.CHOSEN_IMAGES, {}),
    ],
)
def test_the_rates_of_peft_are_those_that_validation_prefers(grid, chosen, whole):
    rows = results.load(grid)
    assert set(chosen) == set(peft.METHODS) - {"dora"}
    for method in peft.METHODS:
        lr = chosen["lora" if method == "dora" else method]
        assert protocol.first_choice(rows, method=method, **whole) == lr, method
        found = protocol.chosen(rows, method=method, **whole)
        assert [(row["lr"], row["seed"]) for row in found] == [
            (lr, seed) for seed in lessons.SEEDS
        ], method


def test_the_rates_of_the_reports_are_those_that_validation_prefers():
    rows, by = results.load("reports"), reports.validation
    for method in reports.METHODS:
        lr = reports.CHOSEN[reports.rate_like(method)]
        if method in reports.TRIED:
            which = dict(by=by, method=method, steps=reports.STEPS)
            assert protocol.first_choice(rows, **which) == lr, method
            assert min(reports.TRIED[method]) < lr < max(reports.TRIED[method])
        for steps in (reports.STEPS, reports.LONGER):
            if steps == reports.LONGER and method not in reports.RAN_LONGER:
                continue
            found = protocol.chosen(rows, by=by, method=method, steps=steps)
            assert [(row["lr"], row["seed"]) for row in found] == [
                (lr, seed) for seed in lessons.SEEDS
            ], method


def test_chosen_takes_the_best_rate_that_every_seed_ran():
    rows = [
        dict(seed=1, lr=0.1, val_accuracy=0.2, kind="a"),
        dict(seed=0, lr=0.1, val_accuracy=0.8, kind="a"),
        dict(seed=0, lr=0.2, val_accuracy=0.7, kind="a"),
        dict(seed=0, lr=0.3, val_accuracy=0.9, kind="b"),
        dict(seed=1, lr=0.2, val_accuracy=0.9, kind="a"),
        dict(seed=0, lr=0.5, val_accuracy=0.95, kind="a"),
    ]
    found = protocol.chosen(rows, kind="a")
    assert [(row["seed"], row["lr"]) for row in found] == [(0, 0.2), (1, 0.2)]
    assert protocol.first_choice(rows, kind="a") == 0.5


def test_a_cut_update_is_the_closest_of_its_rank():
    generator = torch.Generator().manual_seed(0)
    start = {"w": torch.randn(9, 6, generator=generator)}
    end = {"w": start["w"] + torch.randn(9, 6, generator=generator)}
    values = torch.linalg.svdvals(end["w"] - start["w"])
    for rank in (0, 2, 6):
        cut = peft.truncated(start, end, ["w"], rank)["w"]
        error = (end["w"] - cut).norm()
        assert error == pytest.approx(values[rank:].norm().item(), abs=1e-5)


def test_lora_beside_queries_and_values_can_be_as_large_as_beside_all():
    sizes = {}
    for r, targets in ((8, peft.ALL), *peft.SHAPES):
        backbone = peft.put(zoo.load("minilm", 5), "lora", 0, r, targets)
        state = peft_family.trained_state(backbone)
        sizes[r, targets] = sum(v.numel() for v in state.values())
        assert {layer.scale for layer in lora.layers(backbone).values()} == {16 / r}
    assert sizes[36, "query, value"] == sizes[8, peft.ALL]
