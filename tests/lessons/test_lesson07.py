"""The rules of lesson 07's verdicts, on made-up intervals; and the chosen rates."""

from course_lib.analysis.statistics import Interval
from course_lib.lessons import lesson07_pairs, results


def made(ends, mean):
    """{domain: interval in points} with these ends, and that of the mean."""
    names = [*"abcd"[: len(ends)], lesson07_pairs.ALL]
    found = dict(zip(names, (*ends, mean), strict=True))
    return {
        name: Interval((low + high) / 2, low, high, 5)
        for name, (low, high) in found.items()
    }


def test_the_verdict_on_pairs_follows_its_written_rule():
    match, short, open_ = (-1, 3), (-9, -3), (-6, 1)
    verdict = lesson07_pairs.verdict
    assert verdict(made([match] * 3 + [open_], match)) == "confirmed"
    assert verdict(made([match] * 3 + [short], match)) == "qualified"
    assert verdict(made([match] * 4, open_)) == "qualified"
    assert verdict(made([short] * 3 + [open_], short)) == "refuted"
    assert verdict(made([short] * 3 + [match], short)) == "qualified"
    assert verdict(made([short] * 3 + [open_], open_)) == "qualified"
    assert verdict(made([short, short, open_, open_], short)) == "qualified"


def test_every_count_below_is_matched_too():
    match, open_ = (Interval(0, low, 3, 5) for low in (-1, -3))
    assert lesson07_pairs.matched({8: match, 32: match, 100: open_, 400: match}) == 32
    assert lesson07_pairs.matched({8: open_, 32: match}) == 0


def test_the_rates_of_pairs_are_those_that_validation_prefers():
    grid = results.load("opinions_pairs")
    assert lesson07_pairs.chosen(grid) == lesson07_pairs.CHOSEN
