"""The grids: what the committed rows say about the settings used for them."""

import numpy as np
import pytest

from course_lib import experiments, results


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
