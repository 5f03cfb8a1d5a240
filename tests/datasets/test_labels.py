"""Near-equal labels: merged with their counts, kept apart, or refused."""

import pytest

from course_lib.datasets import labels
from course_lib.errors import CourseError

SAME = {
    "blanks": ["leak", "leak ", " leak", "leak\t"],
    "hard blanks": ["hot fan", "hot\u00a0fan", "hot  fan", "hot\u202ffan"],
    "case": ["leak", "Leak", "LEAK"],
    "composition": ["gr\u00fcn", "gru\u0308n"],
    "full-width": ["leak", "\uff4c\uff45\uff41\uff4b"],
    "full-width digits": ["12", "\uff11\uff12"],
    "numbers": ["1", "1.0", "1.00", "+1", "1,0"],
    "minus": ["-1", "\u22121", "-1.0"],
    "hidden": ["leak", "\ufeffleak", "le\u00adak", "leak\u200b"],
    "ligature": ["profile", "pro\ufb01le"],
    "dashes": ["low-high", "low\u2013high", "low\u2011high"],
    "quotes": ["won't start", "won\u2019t start"],
}


@pytest.mark.parametrize("kind", SAME)
def test_near_equal_names_are_merged_to_the_most_frequent_and_said(kind):
    names = SAME[kind]
    given = [names[0]] * 3 + names[1:] + ["other"]
    merged, notes = labels.settled(given, "t.csv")
    assert merged == [names[0]] * (len(given) - 1) + ["other"]
    assert len(notes) == 1 and "t.csv" in notes[0]
    if kind != "blanks":
        assert (
            f"{names[0]!r} (3)" in notes[0] and notes[0].count("(1)") == len(names) - 1
        )


APART = {
    "leading zeros": ["01", "1", "001"],
    "superscript": ["m\u00b2", "m2"],
    "accents": ["cote", "c\u00f4te"],
    "sharp s": ["Ma\u00dfe", "Masse"],
    "signs": ["water_leak", "water-leak", "water leak"],
}


@pytest.mark.parametrize("kind", APART)
def test_names_that_may_be_different_are_kept_apart_and_said(kind):
    names = APART[kind]
    kept, notes = labels.settled(names, "t.csv")
    assert kept == names
    assert len(notes) == 1 and "kept apart" in notes[0]
    for name in names:
        assert repr(name) in notes[0]


@pytest.mark.parametrize(
    "names", [["1", "1.5"], ["1", "1,000"], ["1.1", "1.10"], ["-1", "1"], ["a", "b"]]
)
def test_other_names_are_left_as_they_are_without_a_word(names):
    assert labels.settled(names, "t.csv") == (names, [])


def test_letters_are_an_alphabet_or_a_question():
    alphabet = list("abcdefghABCDEFGH")
    kept, notes = labels.settled(alphabet, "letters")
    assert kept == alphabet and "as an alphabet" in notes[0]
    for names in (["y", "Y", "n"], ["a ", "A", "b"], ["\uff59", "Y"]):
        with pytest.raises(CourseError, match="(?s)only by case.*Expected.*Do: "):
            labels.settled(names, "answers")
    merged, notes = labels.settled(["y", "y", "Y", "n"], "answers", "merge")
    assert merged == ["y", "y", "y", "n"] and "'Y' (1)" in notes[0]
    assert set(labels.settled(alphabet, "letters", "merge")[0]) == set("abcdefgh")


def test_as_written_changes_nothing_and_says_so():
    names = ["a", "A", "leak", "leak ", "1", "1.0"]
    kept, notes = labels.settled(names, "t.csv", "as_written")
    assert kept == names and len(notes) == 1 and "kept apart" in notes[0]
    with pytest.raises(CourseError, match="(?s)is no rule.*as_written"):
        labels.settled(names, "t.csv", "join")


def test_labels_become_numbers_in_the_order_of_the_classes():
    numbers, classes, notes = labels.indexed(["b", "a", "b "], None, "t.csv")
    assert numbers.tolist() == [1, 0, 1] and classes == ["a", "b"] and len(notes) == 1
    numbers, classes, _ = labels.indexed(["LEAK", "fan "], ("Fan", "leak"), "t.csv")
    assert numbers.tolist() == [1, 0] and classes == ["Fan", "leak"]
    with pytest.raises(CourseError, match="(?s)'x' is not one of.*Nor are 1 others"):
        labels.indexed(["a", "x", "z"], ["a"], "t.csv")
