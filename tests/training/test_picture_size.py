"""The size that pictures are made: by their own size, and by the time asked for."""

import pytest

from course_lib.training.picture_size import SIZES, SizeRule, Work


@pytest.mark.parametrize(
    "side, size",
    [(28, 128), (96, 128), (128, 128), (129, 160), (200, 224), (300, 224), (4000, 224)],
)
def test_the_smallest_size_not_below_the_pictures_own(side, size):
    rule = SizeRule(lambda train, total: Work(forward=total), 15, "")
    assert rule(side, 210, 300) == size
    assert f"made {size} pixels a side" in rule.why and f"has {side}" in rule.why
    assert ("scaled up" in rule.why) == (side < size)


def test_the_time_asked_for_caps_it_and_that_is_said():
    def rule(minutes):
        return SizeRule(lambda train, total: Work(learning=20 * train), minutes, "")

    sizes = [rule(minutes)(300, 500, 700) for minutes in (0.01, 2, 5, 60)]
    assert sizes[0] == SIZES[0] and sizes[-1] == 224 and sizes == sorted(sizes)
    capped = rule(2)
    size = capped(300, 500, 700)
    assert Work(learning=10_000).seconds(size) <= 120 and size < 224
    assert "224 pixels might take" in capped.why and "`minutes` is 2" in capped.why


def test_a_job_that_can_do_with_fewer_updates_keeps_a_least_size():
    work = Work(learning=20_000)
    cut = SizeRule(lambda train, total: work, 1, " or give --size", least=96)
    assert cut(300, 500, 700) == 96 and work.seconds(96) > 60
    assert "or give --size. All updates may take" in cut.why
    assert "there will be fewer" in cut.why
    enough = SizeRule(lambda train, total: work, 20, "", least=96)
    assert enough(300, 500, 700) > 96 and "fewer" not in enough.why


def test_memory_caps_it():
    rule = SizeRule(lambda train, total: Work(), 15, "")
    assert rule(300, 70_000, 100_000) ** 2 * 300_000 <= 2 * 1024**3


def test_work_grows_with_pixels_and_an_update_costs_more_than_a_look():
    assert Work(forward=8).seconds(128) == pytest.approx(4 * Work(8).seconds(64))
    assert Work(learning=8).seconds(64) > 2 * Work(forward=8).seconds(64)
