"""Interpolation, soups and task vectors against definitions and peft's merging."""

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils
from tiny import state
from torch import nn

from course_lib.errors import CourseError
from course_lib.methods import merging


def states(n=3):
    """States of a network with BatchNorm that differ in every number."""
    return [state(tiny.resnet(3, seed=seed).model) for seed in range(n)]


def updates(shape=(6, 5), n=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(n)]


def test_interpolation_has_both_ends_and_running_statistics_in_between():
    start, end = states(2)
    name = next(n for n in start if n.endswith("running_mean"))
    count = next(n for n in start if n.endswith("num_batches_tracked"))
    end[name], end[count] = end[name] + 2, end[count] + 7
    for alpha, same in ((0.0, start), (1.0, end)):
        found = merging.interpolate(start, end, alpha)
        assert all(
            torch.equal(found[n], same[n])
            for n in found
            if found[n].is_floating_point()
        )
    half = merging.interpolate(start, end, 0.25)
    torch.testing.assert_close(half[name], start[name] + 0.5)
    assert int(half[count]) == int(end[count])


def test_a_soup_is_the_mean_and_greedy_keeps_what_does_no_harm():
    every = states(3)
    found = merging.soup(every)
    for name, value in found.items():
        if value.is_floating_point():
            mean = sum(one[name] for one in every) / 3
            torch.testing.assert_close(value, mean)
    points = [{"w": torch.tensor([x])} for x in (1.0, 5.0, -2.0, 2.0)]

    def score(one):  # best at 1.5: 1 and 2 tie, and their mean is better than both
        return -abs(float(one["w"][0]) - 1.5)

    made, members = merging.greedy_soup(points, score)
    assert members == [0, 3] and float(made["w"][0]) == 1.5


def test_states_that_differ_are_told_by_name():
    start, end = states(2)
    name = next(iter(start))
    with pytest.raises(CourseError, match=name):
        merging.interpolate(start, end | {name: torch.zeros(1)}, 0.5)
    with pytest.raises(CourseError, match="no states"):
        merging.soup([])


def test_task_vectors_are_added_and_taken_away():
    start, end = states(2)
    vector = merging.task_vector(start, end)
    for name, value in merging.moved(start, vector).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, end[name])
    back = merging.moved(end, vector, -1.0)
    name = next(iter(vector))
    torch.testing.assert_close(back[name], start[name])


@pytest.mark.parametrize("density", [0.2, 0.5])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0]])
def test_ties_and_arithmetic_equal_pefts(density, weights):
    every = updates()
    w = torch.tensor(weights or [1.0] * 3)
    expected = merge_utils.ties(every, w, density)
    torch.testing.assert_close(merging.ties(every, density, weights), expected)
    expected = merge_utils.task_arithmetic(every, w)
    torch.testing.assert_close(merging.added(every, weights), expected)


def test_dare_equals_pefts_for_the_same_draws_and_keeps_the_mean():
    every = updates()
    torch.manual_seed(3)
    expected = merge_utils.dare_linear(every, torch.ones(3), 0.3)
    torch.manual_seed(3)
    torch.testing.assert_close(merging.dare(every, 0.3), expected)
    generator = torch.Generator().manual_seed(0)
    drawn = [merging.dropped(every[0], 0.5, generator) for _ in range(4000)]
    away = torch.stack(drawn).mean(dim=0) - every[0]
    assert float(away.abs().max()) < 0.15  # of deviation |w| / sqrt(4000) each


def adapted():
    """A peft model with two adapters on one layer, all factors drawn."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 5))
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["0"])
    model = get_peft_model(net, config, adapter_name="a")
    model.add_adapter("b", config)
    layer = model.base_model.model[0]
    for factors in (layer.lora_A, layer.lora_B):
        for name in ("a", "b"):
            nn.init.normal_(factors[name].weight)
    return model, layer


def delta(layer, name):
    product = layer.lora_B[name].weight @ layer.lora_A[name].weight
    return (layer.scaling[name] * product).detach()


def test_cat_is_the_sum_of_updates_and_linear_has_cross_terms():
    model, layer = adapted()
    for kind in ("cat", "linear"):
        model.add_weighted_adapter(["a", "b"], [0.7, 0.4], kind, combination_type=kind)
    pairs = [(layer.lora_A[n].weight, layer.lora_B[n].weight) for n in ("a", "b")]
    A, B = merging.factors_added(pairs, [0.7 * 2, 0.4 * 2])  # s = alpha / r = 2
    right = 0.7 * delta(layer, "a") + 0.4 * delta(layer, "b")
    torch.testing.assert_close((B @ A).detach(), right)
    torch.testing.assert_close(delta(layer, "cat"), right)
    (A1, B1), (A2, B2) = pairs
    cross = 2 * (0.7 * 0.4) ** 0.5 * (B1 @ A2 + B2 @ A1).detach()
    torch.testing.assert_close(delta(layer, "linear"), right + cross)
