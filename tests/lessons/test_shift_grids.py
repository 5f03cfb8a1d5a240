"""What the grids of lessons 11 and 12 compute, on small planted data."""

import numpy as np
import pytest
import torch

from course_lib.analysis import statistics
from course_lib.datasets import shifted, wafer_micrographs
from course_lib.lessons import (
    lesson06,
    lesson11,
    lesson11_bias,
    lesson11_cells,
    lesson11_figures,
    lesson11_real,
    lesson11_told,
    lesson12_gains,
    lesson12_remedies,
    results,
)


def test_the_mix_enters_the_accuracy_by_the_classes_weights():
    labels = np.repeat(np.arange(5), [1, 2, 3, 4, 10])
    scores = np.eye(5)[labels]
    scores[labels == 0] = np.eye(5)[1]  # every scratch is taken for a particle
    assert lesson11.scored(scores, labels, "tool + mix") == pytest.approx(0.5)
    assert lesson11.scored(scores, labels, "tool") == pytest.approx(0.8)


@pytest.mark.parametrize("kind", lesson11.SETS)
def test_every_set_carries_the_mark_as_often(kind):
    shares = lesson11.mark_shares(kind)
    assert np.mean(shares) == pytest.approx(lesson11.SHARE)
    assert shares[lesson11.NAMED] == lesson11.SETS[kind]


@pytest.mark.slow
def test_balanced_groups_part_mark_and_class():
    data = shifted.marked(wafer_micrographs.render(200), [0.1, 0.9, 0.1, 0.1, 0.1])
    even = lesson11.balanced_groups(data, seed=0)
    groups = 2 * even.labels + even.metadata["mark"]
    assert set(np.bincount(groups)) == {len(even) // 10}


def test_masked_pictures_do_not_show_the_mark():
    data = wafer_micrographs.render(20)
    with_it = shifted.marked(data, [1.0] * 5)
    one, other = (lesson11.masked(d.images).astype(int) for d in (data, with_it))
    assert np.abs(one - other).max() <= 8  # the mean grey of the picture moves a little
    middle = slice(shifted.CORNER, -shifted.CORNER)
    assert np.array_equal(one[:, middle, middle], data.images[:, middle, middle])


def test_the_audit_counts_the_same_pictures_with_and_without_the_mark():
    test = wafer_micrographs.render(50)

    def fooled(images):  # sees a particle wherever the mark is, else knows everything
        known = {x.tobytes(): y for x, y in zip(test.images, test.labels)}
        return np.array([known.get(x.tobytes(), lesson11.NAMED) for x in images])

    found = lesson11.audited(fooled, test)
    assert found["aligned"] == 1.0 and found["pulled"] == 1.0
    assert found["conflicting"] == pytest.approx(0.2)  # the particles without the mark

    def blind(images):
        return np.resize(test.labels, len(images))

    found = lesson11.audited(blind, test)
    assert found == {"aligned": 1.0, "conflicting": 1.0, "pulled": 0.0}


def test_distance_and_gain_are_compared_within_a_target():
    targets = np.repeat(["a", "b", "c"], 4)
    distance = np.tile([1.0, 2, 3, 4], 3)
    offset = np.repeat([0.0, 50, -50], 4)  # of the targets, which says nothing
    r, p = lesson11_figures.within_targets(distance, offset - distance, targets)
    assert r == pytest.approx(-1) and p < 0.01
    rng = np.random.default_rng(0)
    found = [
        lesson11_figures.within_targets(distance, offset + rng.random(12), targets, 199)
        for _ in range(60)
    ]
    assert np.mean([p < 0.05 for _, p in found]) < 0.15  # 5 % by chance


def test_amplified_is_more_than_inherited():
    def rows(both):
        gaps = {("clean", "clean"): 0, ("biased", "clean"): 5}
        gaps |= {("clean", "biased a little"): 2, ("biased", "biased a little"): both}
        return results.Grid(
            dict(source=s, target=t, strategy="full", seed=seed, gap=gap + seed)
            for (s, t), gap in gaps.items()
            for seed in range(3)
        )

    def found(both):
        grid = rows(both)
        return lesson11_figures.interaction(grid, "full", lambda r: r.values("gap"))

    assert found(7).mean() == 0  # 5 inherited and 2 taught
    assert found(10).mean() == 3


@pytest.fixture
def planted_cells(monkeypatch):
    """Stored cells that are their own place, and a thousand more with the frame."""
    labels = lesson11_real.examples("poly", "train").labels
    plain = torch.arange(len(labels)).float()[:, None]
    three = plain, plain + 1000, torch.as_tensor(labels)
    monkeypatch.setattr(lesson11_bias, "stored", lambda kind, split: three)
    return three


@pytest.mark.parametrize("bias", lesson11_bias.SHARES)
def test_a_bias_moves_the_frame_and_not_the_cells(planted_cells, bias):
    x, y = lesson11_bias.job("poly", bias, 50, seed=3)
    framed = x[:, 0] >= 1000
    shares = [framed[y == c].float().mean().item() for c in (0, 1)]
    assert shares == pytest.approx(lesson11_bias.SHARES[bias])
    assert sum(shares) == pytest.approx(1)  # the frame alone is as frequent everywhere
    clean = lesson11_bias.job("poly", "clean", 50, seed=3)[0]
    assert torch.equal(x % 1000, clean % 1000)


def test_the_frame_alone_gives_the_whole_gap(planted_cells):
    found = lesson11_bias.audited(
        lambda x: (x[:, 0] >= 1000).int().numpy(), "poly", "test"
    )
    assert found == {"aligned": 1.0, "conflicting": 0.0}
    labels = planted_cells[2].numpy()
    known = lesson11_bias.audited(lambda x: labels, "poly", "test")
    assert known == {"aligned": 1.0, "conflicting": 1.0}


def test_an_amplified_bias_is_shown_bounded_or_open():
    def state(low, high):
        mean = (low + high) / 2
        return lesson11_bias.settled(statistics.Interval(mean, low, high, 10))

    found = state(1, 3), state(-3, -1), state(-1, 1.5), state(-1, 4)
    assert found == ("shown", "reversed", "bounded", "open")
    assert lesson11_bias.verdict(found) == "qualified"
    assert lesson11_bias.verdict(["shown"] * 4) == "confirmed"
    assert lesson11_bias.verdict(["bounded", "reversed"]) == "refuted"


def test_cases_of_shift_are_named_by_what_moved():
    assert lesson11_told.case("films", "films", False) == "none"
    assert lesson11_told.case("films", "films", True) == "mix"
    assert lesson11_told.case("films", "tweets", False) == "elsewhere"


def test_gains_of_the_small_world_pair_the_seeds_of_both():
    rows = [
        dict(shift="tool", method=m, seed=s, accuracy=a + s / 10, batchnorm=0.9)
        for m, a, seeds in (("source only", 0.2, 5), ("dann", 0.3, 3))
        for s in range(seeds)
    ]
    gain = lesson11_figures.small_gain(results.Grid(rows), "dann", "tool")
    assert gain.n == 3 and gain.mean == pytest.approx(10)


def test_grey_values_of_one_set_become_those_of_another():
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 100, (20, 8, 8, 1)).astype(np.uint8)
    bright = rng.integers(120, 250, (20, 8, 8, 1)).astype(np.uint8)
    table = lesson11_cells.grey_table(dark, like=bright)
    assert (np.diff(table[:100].astype(int)) >= 0).all()
    assert abs(table[dark].mean() - bright.mean()) < 3
    assert np.array_equal(lesson11_cells.grey_table(dark, like=dark)[dark], dark)


def test_accuracy_counts_the_classes_in_the_targets_mix():
    recall = lesson11_real.recalls(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1]))
    assert recall == [1.0, 0.75]
    assert lesson11_real.in_the_mix(recall, 0.2) == pytest.approx(0.95)


def test_a_density_ratio_is_high_where_the_target_is():
    rng = np.random.default_rng(0)
    X, U = rng.normal(0, 1, (400, 2)), rng.normal([1, 0], 1, (400, 2))
    near, far = lesson11_real.density_ratio(X, U, [[2.0, 0]], [[-1.0, 0]])
    assert near[0] > 2 > 0.5 > far[0]


def test_gains_are_differences_to_the_random_start_of_the_same_seed():
    rows = lesson12_gains.all_gains()
    assert not [r for r in rows if r["source"] == "random" and r["strategy"] == "full"]
    one = dict(source=lesson06.SOURCES[-1], target="digits", labels=25, seed=1)
    tuned = results.load("gains").select(**one)[0]["accuracy"]
    scratch = results.load("gains").select(**one | {"source": "random"})
    gain = rows.select(strategy="full", **one)[0]["gain"]
    assert gain == pytest.approx(tuned - scratch[0]["accuracy"])
    at100 = rows.select(strategy="full", labels=100)
    assert len(at100) == 14 * 3


@pytest.mark.slow
def test_frozen_and_tuned_networks_get_the_same_pictures():
    """take() by place, as frozen_gains does it, is take() of the pictures."""
    from dataclasses import replace

    train = wafer_micrographs.render(100)
    places = replace(train, metadata={"place": np.arange(100)}).take(25, seed=2)
    taken = train.take(25, seed=2)
    assert np.array_equal(train.images[places.metadata["place"]], taken.images)


@pytest.mark.slow
def test_a_remedy_keeps_what_it_promises():
    data = lesson06.datasets.load("wafer_maps", "train").take(25, seed=3)
    full = lesson06.load_source(lesson12_remedies.BACKBONE).model.state_dict()
    kept, *_ = lesson12_remedies.prepared("lower layers only", data, 3)
    state = kept.model.state_dict()
    assert (state["layer2.0.conv1.weight"] == full["layer2.0.conv1.weight"]).all()
    assert not (state["layer3.0.conv1.weight"] == full["layer3.0.conv1.weight"]).all()
    assert lesson12_remedies.best_by_logme(data) not in (
        lesson12_remedies.BACKBONE,
        "random",
    )
    *_, changed = lesson12_remedies.prepared("smaller early rates", data, 3)
    rates = [group["lr"] for group in changed["optimization"].param_groups]
    assert min(rates) < max(rates) == lesson12_remedies.LAYERED
