"""The diagnosis of texts, and what it advises: tables, folders, counted words."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from course_lib import datasets
from course_lib.analysis.word_counts import counted
from course_lib.course import cli
from course_lib.datasets.texts import TextDataset
from course_lib.diagnose import explained, judging
from course_lib.diagnose import training_runs as runs
from course_lib.diagnose.diagnosis import Diagnosis, Settings, diagnose
from course_lib.errors import CourseError
from course_lib.models import zoo

pytestmark = pytest.mark.slow

WORDS = "wafer tool film edge lot pump valve gas slot ring stage lamp".split()


def capitals(n=90, seed=0):
    """Is a text written in capitals?  An encoder of lower case cannot see it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    texts = [" ".join(rng.choice(WORDS, 6)) + f" {i}" for i in range(n)]
    texts = tuple(t.upper() if k else t for t, k in zip(texts, labels))
    return TextDataset(texts, labels, ("lower", "upper"), "capitals")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A diagnosis of texts that only characters tell apart."""
    start = tiny.encoder(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "random_start", lambda b, seed: tiny.encoder(None, seed))
        return diagnose(
            start,
            replace(capitals(), metadata={"tool": np.arange(90) % 3}),
            Settings(labels_per_class=8, steps=4, repeats=(2, 2), rates=(1e-3,)),
            folder=tmp_path_factory.mktemp("state"),
            groups=["tool"],
            progress=False,
        )


def test_weights_that_cannot_see_the_classes_are_not_said_to_help(found):
    assert found.arms["counts"]["candidates"] == ["words", "characters"]
    assert set(found.arms["counts"]["taken"]) == {"characters"}
    assert np.mean(found.arms["counts"]["test"]) > 0.95
    assert found.code <= 0 and found.gains["transfer"]["mean"] < -0.2, found.verdict
    assert found.recommended["arm"] == "counts"
    assert "counted characters (TF-IDF)" in found.recommendation


def test_the_report_speaks_of_texts(found, undrawn):
    assert Diagnosis.from_dict(found.to_dict()) == found
    page = found.html()
    for said in (str(found), page):
        assert "texts" in said and "picture" not in said
    assert "90 texts of 2 classes, read with a median of 7 words" in str(found)
    pieces = found.source["vocabulary"]
    assert 1 <= pieces["pieces"] < 3 and pieces["unknown"] == 0
    assert "a word is cut into" in explained.distance_reason(found)
    assert {row["column"] for row in found.subgroups} == {"class", "tool"}


def test_no_cheaper_way_is_within_the_margin_of_the_best(found):
    ways = {"helps": judging.WITH, "hurts": found.arms.keys() - set(judging.WITH)}
    allowed = ways.get(found.kind, found.arms)
    validated = {way: np.mean(found.arms[way]["validation"]) for way in allowed}
    least = max(validated.values()) - found.options["matters"]
    ours = found.recommended["arm"]
    assert validated[ours] >= least - 1e-6
    for way, value in validated.items():
        if value >= least:
            assert judging.COST[ours] <= judging.COST[way]


def test_a_cheaper_way_says_what_it_is_cheaper_than(found):
    best = found.recommended | {"arm": "full", "candidate": "learning rate 0.001"}
    ours = found.recommended | {"arm": "frozen", "candidate": "layer2", "best": best}
    said = replace(found, kind="helps", code=1, recommended=ours).in_words()
    assert said.recommendation.startswith("Use the frozen features of layer2")
    assert "the cheapest way within 2 points" in said.recommendation
    assert explained.points(ours["over"]) + " points ahead" in said.recommendation
    assert "fine-tuning of all layers" in said.recommendation


def test_saturated_scores_are_marked_and_not_used(found, undrawn):
    scores = {"LogME": -0.6, "H-score": 1.0, "kNN": 0.8, "LEEP": None}
    other = {"LogME": -0.7, "H-score": 0.9999, "kNN": 0.6, "LEEP": None}
    both = {"pretrained": scores, "random": other, "saturated": ["H-score"]}
    one = replace(found, scores=both)
    said = explained.score_reason(one)
    used, unused = said.split(" Saturated")
    assert "LogME" in used and "H-score" not in used and "H-score" in unused
    assert "saturated, not used" in one.html()
    ours, theirs = found.scores["pretrained"], found.scores["random"]
    for name in ("LogME", "H-score", "kNN"):
        bound = {"H-score": 1.0, "kNN": 1.0}.get(name, np.inf)
        low = min(ours[name], theirs[name])
        same = abs(ours[name] - theirs[name]) < 1e-3 or low > bound - 1e-3
        assert (name in found.scores["saturated"]) == same


def test_of_a_repeat_the_preferred_rate_is_kept():
    row = dict(accuracy=[0.5, 0.8, 0.8], loss=[0.1, 0.4, 0.3], rates=[1, 2, 3])
    kept, rates = runs.first_choice(row)
    assert kept == dict(accuracy=[0.8], loss=[0.3], rates=[3]) and rates == [3]


def test_counted_characters_see_capitals_and_counted_words_do_not():
    data = capitals()
    train, rest = (data.texts[:40], data.labels[:40]), (data.texts[40:60],)
    pair = (*rest, data.labels[40:60])
    seen, again = (counted("characters", train, pair, data.texts[60:]) for _ in "ab")
    right = (seen.tested.argmax(1) == data.labels[60:]).mean()
    assert right == 1 and np.array_equal(seen.tested, again.tested)
    blind = counted("words", train, pair, data.texts[60:])
    assert (blind.tested.argmax(1) == data.labels[60:]).mean() < 0.8
    signs = counted("words", (["!", "?"], np.array([0, 1])), (["!"], [0]), ["?"])
    assert signs.tested.tolist() == [[0.5, 0.5]]


# -- own texts --------------------------------------------------------------------


def folder_of(root, parts=("",), n=9):
    for part in parts:
        for label in ("good", "bad"):
            (root / part / label).mkdir(parents=True)
            for i in range(n):
                text = f"{label} {part} number {i}\nand a second line"
                (root / part / label / f"{i}.txt").write_text(text, encoding="utf-8")
    return root


def test_a_folder_of_text_files_is_read(tmp_path):
    root = folder_of(tmp_path / "reviews", ("train", "test"))
    (root / "train" / "good" / "0.txt").write_bytes("caf\xe9 good".encode("cp1252"))
    (root / "train" / "good" / "notes.pdf").write_bytes(b"%PDF")
    assert datasets.held(root, {}) == "texts"
    found = datasets.read_own_texts(root)
    assert set(found.parts) == {"train", "test"}
    assert found.parts["train"].counts() == {"bad": 9, "good": 9}
    assert "café good" in found.parts["train"].texts
    said = " ".join(found.notes())
    assert "cp1252" in said and "train/good/0.txt" in said and ".pdf" in said
    (root / "test" / "bad" / "1.txt").write_text(" \n")
    with pytest.raises(CourseError, match="1 text files hold nothing: test/bad/1.txt"):
        datasets.read_own_texts(root)


@pytest.mark.parametrize(
    "head, row, holds",
    [
        ("text,label", "a,b", "texts"),
        ("file,label", "a.png,b", "images"),
        ("said,kind", "some words,b", "texts"),
        ("scan,kind", "a/b.JPG,b", "images"),
    ],
)
def test_tables_are_told_apart_by_names_and_content(head, row, holds, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"{head}\n{row}\n{row}\n")
    assert datasets.held(path, {}) == holds
    assert datasets.held(path, {"text": "kind"}) == "texts"


@pytest.mark.parametrize(
    "options, message",
    [
        (("--backbone", "bundled/vit-patterns"), "is vision, and the data are texts"),
        (("--augment", "flip"), "pictures alone are augmented"),
        (("--text-column", "words"), "no column 'words'"),
        (("--labels-per-class", "40"), "40 labels of each class"),
    ],
)
def test_what_does_not_fit_texts_is_named(
    options, message, tmp_path, capsys, monkeypatch
):
    path, data, load = tmp_path / "t.tsv", capitals(40), zoo.load
    encoder = tiny.encoder(None)
    rows = [f"{t}\t{data.classes[k]}" for t, k in zip(data.texts, data.labels)]
    path.write_text("\n".join(["text\tlabel", *rows]))
    monkeypatch.setattr(
        zoo, "load", lambda n, **o: encoder if n == "minilm" else load(n)
    )
    line = ["diagnose", "--data", str(path), "--out", str(tmp_path / "out"), *options]
    assert cli.main(line) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
