"""Tickets: deterministic, divided by wording and author, hard to count out."""

import re

import numpy as np
import pytest

from course_lib import datasets
from course_lib.datasets import committed, tickets
from course_lib.errors import CourseError


def has(text, wording):
    return wording.lower() in text.lower()


def test_the_committed_file_is_what_the_generator_writes():
    for split, size in tickets.SIZES.items():
        stored, made = (
            datasets.load("tickets", split),
            tickets.render(size, split=split),
        )
        assert stored.texts == made.texts and stored.classes == made.classes
        assert (stored.labels == made.labels).all()
        for key, column in made.metadata.items():
            assert (stored.metadata[key] == column).all()
            assert stored.metadata[key].dtype.kind == column.dtype.kind


def test_a_ticket_depends_on_nothing_but_seed_split_and_number():
    whole = tickets.render(20, split="pool")
    part = tickets.render(5, split="pool", first=10)
    assert part.texts == whole.texts[10:15]
    other = tickets.render(20, tickets.SEED + 1, "pool")
    assert not set(other.texts) & set(whole.texts)


def test_no_text_stands_in_two_splits():
    seen = [set(datasets.load("tickets", s).texts) for s in tickets.SIZES]
    seen.append(set(datasets.load("tickets", "pool", n=2000).texts))
    together = set.union(*seen)
    # very short shift-log entries may repeat; at most one in a hundred
    assert sum(map(len, seen)) - len(together) <= 0.01 * sum(map(len, seen))


def test_wordings_belong_to_one_class_each():
    every = [w for wordings in tickets.WORDINGS.values() for w in wordings]
    assert len(set(every)) == len(every)
    assert {len(w) for w in tickets.WORDINGS.values()} == {16}


def test_the_training_split_has_neither_rare_wordings_nor_complaints():
    train, test = (datasets.load("tickets", s) for s in ("train", "test"))
    assert set(train.metadata["author"]) == {"engineer", "shift log"}
    assert set(test.metadata["author"]) == set(tickets.AUTHORS)
    assert train.metadata["familiar"].all()
    assert 0.3 < test.metadata["familiar"].mean() < 0.5
    rare = [w for ws in tickets.WORDINGS.values() for w in ws[tickets.COMMON :]]
    assert not any(has(t, w) for t in train.texts for w in rare)
    assert sum(any(has(t, w) for w in rare) for t in test.texts) > 300


def test_the_cause_is_named_and_others_too():
    """Where nothing is misspelt or abbreviated: engineers' tickets."""
    data = datasets.load("tickets", "test")
    engineers = data.subset(data.metadata["author"] == "engineer")
    named = [
        any(has(t, w) for w in tickets.WORDINGS[tickets.CLASSES[label]])
        for t, label in engineers
    ]
    assert np.mean(named) > 0.75
    share = np.bincount(data.metadata["mentions"]) / len(data)
    assert np.abs(share - tickets.MENTIONED).max() < 0.05


def test_misspelling_changes_one_place_only():
    rng = np.random.default_rng(0)
    for word in ("surface", "inspection", "wafer"):
        for _ in range(20):
            assert abs(len(tickets.misspelt(rng, word)) - len(word)) <= 1
    assert tickets.misspelt(rng, "CMP-03") == "CMP-03"
    text = "We found a scratch near the edge."
    assert re.sub(r"\W", "", tickets.written(rng, text, "complaint"))


def test_text_data_sets_sample_and_split_like_images():
    data = datasets.load("tickets", "train")
    few = data.take(50, seed=1)
    assert list(few.counts().values()) == [10] * 5 and few[0][0] in data.texts
    assert data.take(25, seed=1).texts == few.texts[:25]
    assert repr(few) == "TextDataset('tickets', 'train': 50 texts, 5 classes)"
    assert datasets.splits("tickets") == ("train", "validation", "test", "pool")


def test_rebuilding_gives_the_same_bytes(tmp_path):
    (path,) = committed.rebuild(["tickets"], tmp_path)
    stored = committed.paths.DATA / "tickets.csv"
    assert path.read_bytes() == stored.read_bytes()


@pytest.mark.parametrize(
    "content, message",
    [
        ("text,label\n", "no rows"),
        ("text,kind\na,b\n", "no column 'label'"),
        ("text,label\nhello,\n", "row 2: 'label' is empty"),
        ("text,label\na,x\nb,x\n", "at least two classes"),
    ],
)
def test_a_bad_csv_is_explained(tmp_path, content, message):
    path = tmp_path / "own.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(CourseError, match=message):
        datasets.texts_from_csv(path)


def test_own_texts_from_csv(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text('text,label,tool\n"a, b",x,T1\nc,y,T2\n', "utf-8")
    data = datasets.texts_from_csv(path)
    assert data.texts == ("a, b", "c") and data.classes == ("x", "y")
    assert data.metadata["tool"].tolist() == ["T1", "T2"]


def test_texts_that_are_no_strings_are_refused():
    labels = np.zeros(2, np.int64)
    with pytest.raises(CourseError, match="expected a sequence of strings"):
        datasets.TextDataset(("a", 3), labels, ("x", "y"))
    with pytest.raises(CourseError, match="one label for each text"):
        datasets.TextDataset(("a",), labels, ("x", "y"))
    with pytest.raises(CourseError, match="no split"):
        tickets.render(3, split="other")
