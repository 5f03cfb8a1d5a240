"""Solar cells, opinions and series: splits, labels and the groups behind them."""

import numpy as np
import pytest

from course_lib import datasets
from course_lib.datasets import near_duplicates, opinions, series, solar_cells
from course_lib.datasets.grouped_split import grouped_split
from course_lib.errors import CourseError

# -- near-duplicates ----------------------------------------------------------------


def noisy(image, rng, amount):
    changed = image.astype(float) + rng.normal(0, amount, image.shape)
    return np.clip(changed, 0, 255).astype(np.uint8)


def test_pictures_that_are_nearly_the_same_are_one_group():
    rng = np.random.default_rng(0)
    base = [rng.integers(0, 256, (64, 64), dtype=np.uint8) for _ in range(4)]
    brighter = (base[0] // 2 + 90).astype(np.uint8)
    images = [*base, noisy(base[0], rng, 4), brighter, noisy(base[2], rng, 4)]
    groups = near_duplicates.picture_groups(np.stack(images))
    assert groups[0] == groups[4] == groups[5] and groups[2] == groups[6]
    assert len(np.unique(groups)) == 4


def test_a_chain_of_near_duplicates_is_one_group():
    rng = np.random.default_rng(1)
    image, chain = rng.integers(0, 256, (64, 64), dtype=np.uint8), []
    for _ in range(12):
        chain.append(image)
        image = noisy(image, rng, 12)
    groups = near_duplicates.picture_groups(np.stack(chain))
    assert len(np.unique(groups)) == 1
    ends = near_duplicates.picture_groups(np.stack([chain[0], chain[-1]]))
    assert len(np.unique(ends)) == 2  # the ends alone are not alike enough


def test_texts_that_differ_in_case_and_marks_are_one_group():
    texts = [
        "The seal of the pump leaks again.", "the SEAL of the pump leaks again!!",
        "The seal of the pump leaks, again", "No fault was found in it.", "!", "",
    ]  # fmt: skip
    groups = near_duplicates.text_groups(texts)
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_merged_groups_hold_both_reasons():
    assert near_duplicates.merged([0, 0, 1, 2], list("abbc")).tolist() == [0, 0, 0, 1]


def test_a_grouped_split_keeps_groups_and_shares():
    rng = np.random.default_rng(2)
    strata, groups = rng.integers(0, 3, 600), rng.integers(0, 150, 600)
    shares = {"train": 0.6, "validation": 0.15, "test": 0.25}
    parts = grouped_split(strata, groups, shares, seed=0)
    assert (sum(parts.values()) == 1).all()
    for name, share in shares.items():
        for stratum in range(3):
            found = parts[name][strata == stratum].mean()
            assert found == pytest.approx(share, abs=0.05)
    members = [set(groups[part]) for part in parts.values()]
    assert not members[0] & members[1] and not members[0] & members[2]
    again = grouped_split(strata, groups, shares, seed=0)
    assert all((again[name] == parts[name]).all() for name in shares)


# -- solar cells ----------------------------------------------------------------------


def test_solar_cells_come_in_splits_without_shared_groups():
    parts = {s: datasets.load("solar_cells", s) for s in datasets.splits("solar_cells")}
    assert sum(map(len, parts.values())) == 1508 + 715  # cells of probability 0 and 1
    groups = [set(part.metadata["group"].tolist()) for part in parts.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    for part in parts.values():
        assert part.images.shape[1:] == (96, 96, 3) and part.classes[1] == "defective"
        assert ((part.metadata["probability"] == 1) == (part.labels == 1)).all()
        assert part.labels.mean() == pytest.approx(715 / 2223, abs=0.02)
        assert (part.metadata["kind"] == "mono").mean() == pytest.approx(0.4, abs=0.03)


def test_all_levels_and_one_kind_of_silicon():
    mono = solar_cells.load("test", labels="levels", kind="mono", size=48)
    assert mono.classes == solar_cells.LEVELS and set(mono.metadata["kind"]) == {"mono"}
    assert (np.rint(3 * mono.metadata["probability"]) == mono.labels).all()
    assert mono.images.shape[1:] == (48, 48, 3)
    for wrong in (dict(labels="three"), dict(kind="thin film")):
        with pytest.raises(CourseError, match="Expected:"):
            solar_cells.load("train", **wrong)


def test_a_copy_of_the_pictures_is_given_that_may_be_changed():
    first = solar_cells.load("test", size=48)
    first.images[:] = 0
    assert solar_cells.load("test", size=48).images.max() > 0


@pytest.mark.slow
def test_the_stored_groups_of_solar_cells_are_found_again():
    stored = solar_cells.groups()
    assert same_groups(solar_cells.find_groups(), stored)
    assert len(np.unique(stored)) == 1630 and np.bincount(stored).max() == 114


# -- opinions -------------------------------------------------------------------------


def test_opinions_of_one_review_stay_in_one_split():
    for domain in opinions.WITH_SOURCE:
        seen = {}
        for split in opinions.SHARES:
            part = datasets.load(f"opinions/{domain}", split)
            for name in part.metadata["id"]:
                assert seen.setdefault(str(name).partition("_")[0], split) == split


def test_opinions_are_labelled_by_their_mean_rating():
    for domain, positive in zip(opinions.DOMAINS, (0.68, 0.50, 0.59, 0.40)):
        part = datasets.load(f"opinions/{domain}", "train")
        assert part.classes == ("negative", "positive")
        assert ((part.metadata["rating"] >= 0.5) == (part.labels == 1)).all()
        assert (np.abs(part.metadata["rating"]) >= 0.5).all()
        assert part.labels.mean() == pytest.approx(positive, abs=0.02)
    sure = opinions.load("films", "test", threshold=2.0)
    assert 0 < len(sure) < len(opinions.load("films", "test"))


def test_unlabelled_opinions_are_of_the_training_part_alone():
    between = opinions.load("editorials", "unlabelled")
    assert (np.abs(between.metadata["rating"]) < 0.5).all()
    test = opinions.load("editorials", "test")
    assert not set(between.metadata["group"]) & set(test.metadata["group"])
    with pytest.raises(CourseError, match="Expected:"):
        opinions.load("novels")
    with pytest.raises(CourseError, match="above 0"):
        opinions.load("films", threshold=0)


def test_no_opinion_is_lost_or_cut_on_the_way():
    rows = opinions.table()
    assert len(rows["text"]) == len(opinions.groups()) == 23_703
    assert sum((rows["domain"] == d).sum() for d in opinions.DOMAINS) == 23_703
    assert all(isinstance(text, str) and text for text in rows["text"])


def same_groups(a, b) -> bool:
    """Are equal entries of a equal in b, and the other way round?"""
    pairs = len(np.unique(np.stack([a, b]), axis=1)[0])
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.slow
def test_the_stored_groups_of_tweets_are_found_again():
    at = opinions.table()["domain"] == "tweets"
    texts = opinions.table()["text"][at]
    assert same_groups(near_duplicates.text_groups(texts), opinions.groups()[at])


# -- series ---------------------------------------------------------------------------


def test_series_have_the_sizes_that_their_card_states():
    sizes = {
        "JapaneseVowels": (270, 370, 12, 9),
        "ACSF1": (100, 100, 1, 10),
        "BasicMotions": (40, 40, 6, 4),
        "GunPoint": (50, 150, 1, 2),
        "OSULeaf": (200, 242, 1, 6),
    }
    assert tuple(sizes) == series.NAMES
    for name, (train, test, channels, classes) in sizes.items():
        parts = [datasets.load(f"series/{name}", s) for s in ("train", "test")]
        assert [len(part) for part in parts] == [train, test]
        for part in parts:
            assert len(part.classes) == classes == len(np.unique(part.labels))
            assert all(x.shape[0] == channels for x in part.series)
            assert all(np.isfinite(x).all() for x in part.series)


def test_series_of_unequal_length_are_padded_with_zeros():
    vowels = series.load("JapaneseVowels", "train")
    lengths = [x.shape[1] for x in vowels.series]
    assert min(lengths) < max(lengths)
    whole = vowels.padded()
    assert whole.shape == (270, 12, max(lengths))
    assert not whole[np.argmin(lengths), :, min(lengths) :].any()
    assert vowels.subset([3, 5]).padded(4).shape == (2, 12, 4)


def test_pictures_of_series_are_scaled_by_the_training_part_alone():
    train, test = series.load("GunPoint", "train"), series.load("GunPoint", "test")
    few = test.subset(range(3))
    alone, together = series.pictures(few, train), series.pictures(test, train)
    assert (alone.images == together.images[:3]).all()
    assert alone.images.shape == (3, 96, 96, 3) and alone.images.dtype == np.uint8
    other = series.pictures(few, few)
    assert (other.images != alone.images).any()
