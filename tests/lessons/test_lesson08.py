"""A rate of the head's own (lessons 08 and 09): parameter groups and the rules."""

import pytest

from course_lib.analysis.statistics import Interval
from course_lib.lessons import lesson08_heads as heads
from course_lib.lessons import lesson08_opinions


def interval(low, high):
    return Interval((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    "ends, verdict",
    [
        ([(-0.02, 0.05), (-0.01, 0.01)], "confirmed"),
        ([(-0.09, -0.04), (-0.2, -0.031)], "refuted"),
        ([(-0.02, 0.05), (-0.04, 0.01)], "qualified"),
        ([(-0.02, 0.05), (-0.09, -0.04)], "qualified"),
    ],
)
def test_a_claim_is_judged_by_both_ends_of_all_intervals(ends, verdict):
    assert heads.judged([interval(*one) for one in ends], margin=0.03) == verdict


@pytest.mark.parametrize("task", [heads.TICKETS, heads.PICTURES])
@pytest.mark.parametrize("method", ["full", "rank 4", "probe"])
def test_the_head_has_a_group_of_its_own(task, method):
    backbone = heads.prepared(task, method, seed=0)
    groups = lesson08_opinions.groups(backbone, lr=1e-4, head=1e-2)
    learning = [p for p in backbone.model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(learning)
    (head,) = (group["params"] for group in groups if group["lr"] == 1e-2)
    assert sorted(tuple(p.shape) for p in head) == [(5,), (5, backbone.num_features)]
    others = [group["lr"] for group in groups if group["lr"] != 1e-2]
    assert set(others) == (set() if method == "probe" else {1e-4})


def test_the_rates_are_those_that_validation_prefers():
    for (task, method), rates in heads.CHOSEN.items():
        assert heads.preferred(task, method) == rates
        assert len(heads.chosen(task, method)) == len(heads.SEEDS)
        assert inner(heads.TRIED[task][method], rates)


def inner(tried, best):
    """Is a pair of rates the last one tried in no direction that was searched?"""
    for at, other in ((0, 1), (1, 0)):
        line = {pair[at] for pair in tried if pair[other] == best[other]}
        if len(line) > 1 and best[at] in (min(line), max(line)):
            return False
    return True
