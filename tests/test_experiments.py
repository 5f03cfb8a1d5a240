"""The grids: what the committed rows say about the settings used for them."""

import numpy as np
import pytest
import torch

from course_lib import experiments, results
from course_lib.experiments import failures, sources
from course_lib.experiments.layer_rates import METHODS, TRIED


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
                if row["seed"] in experiments.SEEDS
            ]
        )
        for lr in experiments.TRIED
    }
    assert max(mean, key=mean.get) == experiments.RATES[strategy], mean


def test_the_compared_rows_have_one_rate_a_strategy_and_every_label_count():
    rows = experiments.compared()
    for strategy, rate in experiments.RATES.items():
        found = results.select(rows, strategy=strategy)
        assert {row["lr"] for row in found} == {rate}
        counts = {row["labels"] for row in found}
        assert counts == (
            {100, 500} if strategy == "last_stage" else {*experiments.STEPS}
        )
        seeds = [row["seed"] for row in results.select(found, labels=500)]
        assert seeds == [0, 1, 2, 3, 4]


def test_every_way_to_fine_tune_may_choose_among_the_same_rates():
    rows = results.load("layer_rates")
    for name, how in METHODS.items():
        if name == "by layer, head x 10":
            continue  # around the best rates of the two that it joins
        cells = results.select(rows, labels=100, **how)
        for seed in experiments.SEEDS:
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
