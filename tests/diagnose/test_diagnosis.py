"""The diagnosis: splits, intervals, verdicts, stored steps, signs and the page."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import statistics
from course_lib.datasets import from_arrays
from course_lib.diagnose import explained, judging, modality
from course_lib.diagnose import training_runs as runs
from course_lib.diagnose.diagnosis import Diagnosis, diagnose
from course_lib.diagnose.own_samples import Samples, prepared, splits
from course_lib.diagnose.settings import Settings
from course_lib.errors import CourseError
from course_lib.models import stage_head, zoo

QUICK = dict(labels_per_class=6, steps=8, repeats=(3, 3), rates=(1e-2,))
RUN = ("folder", "groups", "again")


def diagnosed(backbone, data, test=None, progress=False, **given):
    """A diagnosis; of what is given, all but RUN are its settings."""
    settings = Settings(**{k: v for k, v in given.items() if k not in RUN})
    run = {k: v for k, v in given.items() if k in RUN}
    samples = data if test is None else Samples(data, test)
    return diagnose(backbone, samples, settings, progress=progress, **run)


def job_of(backbone, data, groups=None, **settings):
    """The data of a diagnosis, as its steps are given them."""
    return prepared(backbone, Samples(data), groups, Settings(**settings))


def colours(n=150, seed=0, noise=60, num_classes=3):
    """Pictures whose class is their colour, with more or less noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % num_classes
    pixels = rng.normal(110, noise, (n, 32, 32, 3))
    pixels[np.arange(n), :, :, labels % 3] += 30
    return from_arrays(pixels.clip(0, 255).astype(np.uint8), labels, name="colours")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One small diagnosis that several tests read."""
    folder = tmp_path_factory.mktemp("state")
    data = replace(
        colours(240, noise=20),
        classes=("<script>alert(1)</script>", "b & c", '"d"'),
        metadata={"tool": np.array(["A<b>", "B"])[np.arange(240) // 120]},
    )
    return diagnosed(tiny.resnet(), data, folder=folder, groups=["tool"], **QUICK)


# -- splits -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, size, one_test_part",
    [
        (None, 900, True),
        (20, 900, True),
        (None, 75, False),
        (8, 75, True),  # tests on 36, trains on 24
        (12, 75, False),  # 21 would be left for a test part, 36 to train on
    ],
)
def test_parts_are_stratified_disjoint_and_follow_the_seed(n, size, one_test_part):
    labels = np.random.default_rng(0).permutation(np.arange(size) % 3)
    parts, shared = splits(labels, n, repeats=4, seed=1)
    assert shared == one_test_part
    for train, validation, test in parts:
        together = np.concatenate([train, validation, test])
        assert len(set(together)) == len(together)
        for rows in (train, validation, test):
            counts = np.bincount(labels[rows], minlength=3)
            assert counts.min() > 0 and np.ptp(counts) == 0
        if n is not None:
            assert len(train) == 3 * n and len(validation) == 3 * (n // 2)
    first, second = parts[0], parts[1]
    assert set(first[0]) != set(second[0])
    assert np.array_equal(first[2], second[2]) == shared
    again, _ = splits(labels, n, repeats=2, seed=1)
    other, _ = splits(labels, n, repeats=2, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(again[1], parts[1]))
    assert not np.array_equal(other[0][0], parts[0][0])


def test_parts_of_unequal_classes_and_of_large_folders_are_bounded():
    labels = np.repeat([0, 1], [300, 5000])
    parts, shared = splits(labels, 20, repeats=2)
    train, validation, test = parts[0]
    assert shared and np.bincount(labels[train]).tolist() == [20, 20]
    assert len(test) == 1000 and (labels[test] == 0).sum() == 150
    train, validation, test = splits(labels, None, repeats=2)[0][0]
    assert len(test) <= 1000 and len(validation) <= 500
    assert not set(test) & set(train) and not set(validation) & set(train)


def test_a_given_test_part_is_the_test_part_and_nothing_else():
    labels = np.arange(90) % 3
    parts, shared = splits(labels, 5, repeats=3, test=np.arange(60, 90))
    assert shared
    for train, validation, test in parts:
        assert set(test) == set(range(60, 90))
        assert max(*train, *validation) < 60


def test_more_labels_than_there_are_is_refused():
    with pytest.raises(CourseError, match="smallest class has 10"):
        splits(np.arange(30) % 3, 8, repeats=2)


# -- the random start -------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny.resnet, tiny.vit])
def test_a_random_start_has_the_network_and_not_the_weights(make):
    backbone = make()
    before = torch.random.get_rng_state()
    first, again, other = (runs.random_start(backbone, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not first.model.training
    for name, weight in backbone.model.state_dict().items():
        mine = first.model.state_dict()[name]
        assert mine.shape == weight.shape
        assert torch.equal(mine, again.model.state_dict()[name])
        if weight.ndim > 1:
            assert not torch.equal(mine, weight), name
            assert not torch.equal(mine, other.model.state_dict()[name]), name


def test_a_bundled_backbone_starts_as_the_zoo_would_and_with_its_preprocessing():
    backbone = zoo.load("bundled/resnet10-silhouettes", 5)
    backbone.preprocess = tiny.PREPROCESS
    start = runs.random_start(backbone, 3)
    expected = zoo.load("bundled/resnet10-silhouettes", seed=3, pretrained=False)
    assert torch.equal(start.model.conv1.weight, expected.model.conv1.weight)
    assert start.preprocess == expected.preprocess


def test_a_changed_architecture_is_not_taken_from_the_zoo():
    backbone = replace(tiny.resnet(), name="bundled/resnet10-silhouettes")
    start = runs.random_start(backbone, 0)
    assert start.model.conv1.weight.shape == backbone.model.conv1.weight.shape


# -- whole diagnoses --------------------------------------------------------------


@pytest.mark.slow
def test_the_parts_of_a_diagnosis_fit_together(found):
    assert found.plan["repeats"] == 3 and found.plan["steps"] == 8
    assert found.metric == "accuracy" and found.data["shared_test"] is True
    for arm in found.arms.values():
        assert len(arm["test"]) == len(arm["validation"]) == len(arm["taken"]) == 3
    assert found.depth["stages"] == ["stem", "layer1", "layer2", "layer3", "layer4"]
    for name in ("frozen", "random"):
        depth = found.depth["pretrained" if name == "frozen" else name]
        assert np.shape(depth) == (3, 5)
        readings = [*stage_head.candidates(tiny.resnet()), "all stages"]
        assert found.arms[name]["candidates"] == readings
    groups = [row for row in found.subgroups if row["column"] == "tool"]
    assert {row["group"] for row in groups} == {"A<b>", "B"}
    assert found.source["distance"] is None and found.source["heads"] == {}
    assert [sign["raised"] for sign in found.signs].count(True) <= 3
    assert set(found.scores["random"]) == {"LogME", "H-score", "kNN", "LEEP"}


@pytest.mark.slow
def test_the_gain_is_the_difference_of_the_arms_that_validation_prefers(found):
    best = {}
    for side, arms in (
        ("with", ("frozen", "full")),
        ("without", ("scratch", "random")),
    ):
        values = np.array([found.arms[arm]["validation"] for arm in arms])  # (2, R)
        tests = np.array([found.arms[arm]["test"] for arm in arms])
        ours = {found.chosen[side]["test"]}
        tied = np.isclose(*values)
        low, high = (f(tests[:, tied], axis=0).sum() for f in (np.min, np.max))
        clear = tests[values.argmax(axis=0), np.arange(3)][~tied].sum()
        assert clear + low - 1e-9 <= 3 * max(ours) <= clear + high + 1e-9
        best[side] = found.chosen[side]["test"]
    gain = best["with"] - best["without"]
    assert found.gains["transfer"]["mean"] == pytest.approx(gain)
    code = statistics.judge(found.gains["transfer"])[1]
    every_way_hurts = all(found.gains[way]["kind"] == "hurts" for way in judging.WITH)
    assert found.code == (code if code >= 0 or every_way_hurts else 0)


@pytest.mark.slow
def test_a_diagnosis_survives_json(found, tmp_path, undrawn):
    again = Diagnosis.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found and str(again) == str(found)
    page = found.save(tmp_path)
    stored = json.loads((tmp_path / "diagnosis.json").read_text(encoding="utf-8"))
    assert Diagnosis.from_dict(stored) == found
    assert page.read_text(encoding="utf-8") == found.html()


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return ask(tmp_path_factory.mktemp("whole"))


def ask(folder, progress=False):
    data = colours(120, noise=20)
    options = QUICK | dict(repeats=(2, 2))
    return diagnosed(tiny.resnet(), data, folder=folder, progress=progress, **options)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4, 7])
def test_an_interrupted_diagnosis_goes_on_where_it_stopped(
    uninterrupted, tmp_path, after
):
    done = []

    def kill(name):
        done.append(name)
        if len(done) == after:
            raise Killed

    with pytest.raises(Killed):
        ask(tmp_path, kill)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    assert len(files) == after
    resumed = ask(tmp_path)
    assert all(p.stat().st_mtime_ns == time for p, time in files.items())
    assert resumed == uninterrupted


@pytest.mark.slow
def test_a_finished_one_is_shown_at_once_and_computed_again_when_asked(
    uninterrupted, tmp_path
):
    first, seen = ask(tmp_path), []
    second = ask(tmp_path, seen.append)
    assert first == second == uninterrupted and seen == ["diagnosis"]
    assert second.seconds == first.seconds and second.seconds["total"] > 0
    (folder,) = tmp_path.iterdir()
    (folder / "diagnosis.json").unlink()
    (folder / "repeat-01-full.json").write_text('{"key": "of anoth')  # damaged
    assert ask(tmp_path) == first
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    options = QUICK | dict(repeats=(2, 2), again=True)
    data = colours(120, noise=20)
    assert diagnosed(tiny.resnet(), data, folder=tmp_path, **options) == first
    assert all(p.stat().st_mtime_ns > time for p, time in before.items())


def test_weights_data_parts_and_options_have_their_own_state():
    options = dict(labels_per_class=6, repeats=[3, 3], seed=0)
    keys = {
        job_of(net, data, groups, **options | changed).key
        for net, data, groups, changed in (
            (tiny.resnet(), colours(120), None, {}),
            (tiny.resnet(seed=1), colours(120), None, {}),
            (tiny.resnet(), colours(120, seed=1), None, {}),
            (tiny.resnet(), colours(120), {"k": np.arange(120) % 2}, {}),
            (tiny.resnet(), colours(120), None, {"seed": 1}),
            (tiny.resnet(), colours(120), None, {"steps": 9}),
        )
    }
    assert len(keys) == 6


def knowing_start():
    """A backbone that was trained on the task, with many labels and little noise."""
    backbone = tiny.resnet()
    training.fit(backbone, colours(150, seed=9, noise=5), steps=60, lr=1e-2)
    return backbone


@pytest.mark.slow
def test_a_start_that_knows_the_task_helps(tmp_path):
    data = colours(700, noise=90)
    options = QUICK | dict(labels_per_class=4, steps=6)
    good = diagnosed(knowing_start(), data, folder=tmp_path, **options)
    assert good.code == 1 and good.kind == "helps", good.verdict
    assert "Transfer helps by" in good.verdict and "points above" in good.recommendation


def dead_start():
    backbone = tiny.resnet()
    nn.init.constant_(backbone.model.bn1.bias, -1e3)
    return backbone


@pytest.mark.slow
def test_a_start_that_sees_nothing_hurts(tmp_path, undrawn):
    bad = diagnosed(
        dead_start(),
        colours(700, noise=20),
        folder=tmp_path,
        **QUICK | dict(steps=30),
    )
    assert bad.code == -1 and "Transfer hurts by" in bad.verdict
    assert "Do not start from" in bad.recommendation
    assert bad.signs[0]["raised"]
    assert bad.scores["pretrained"]["LogME"] is None  # constant features
    assert "no transferability score" in bad.html()


@pytest.mark.slow
def test_choices_do_not_depend_on_the_test_labels(tmp_path):
    data, test = colours(120), colours(90, seed=5)
    moved = replace(test, labels=np.random.default_rng(0).permutation(test.labels))
    options = QUICK | dict(repeats=(2, 2))
    one, other = (
        diagnosed(tiny.resnet(), data, test=part, folder=tmp_path, **options)
        for part in (test, moved)
    )
    assert one.data["shared_test"] and one.data["test"] == 90
    for arm in one.arms:
        for key in ("validation", "taken", "candidates"):
            assert one.arms[arm][key] == other.arms[arm][key]
        assert one.arms[arm]["test"] != other.arms[arm]["test"]
    for side in ("with", "without"):
        assert one.chosen[side]["arm"] == other.chosen[side]["arm"]


@pytest.mark.slow
def test_a_small_folder_is_split_anew_each_time_and_says_so(tmp_path):
    options = QUICK | dict(labels_per_class=None)
    small = diagnosed(tiny.resnet(), colours(75), folder=tmp_path, **options)
    assert not small.data["shared_test"]
    assert small.gains["transfer"]["half_width"] > 0.03
    assert "the interval (95 %) is widened" in str(small)


@pytest.mark.slow
def test_a_training_run_that_diverges_is_never_chosen(tmp_path, undrawn):
    options = QUICK | dict(rates=(1e-2, 1e30), repeats=(2, 2))
    one = diagnosed(tiny.resnet(), colours(120), folder=tmp_path, **options)
    assert set(one.arms["full"]["taken"]) == {"learning rate 0.01"}
    only = diagnosed(
        tiny.resnet(), colours(120), folder=tmp_path, **options | dict(rates=(1e30,))
    )
    assert only.histories["full"] is None and "diverged" in only.html()


@pytest.mark.slow
def test_the_source_of_a_bundled_backbone_is_looked_at(tmp_path):
    one = diagnosed(
        "bundled/resnet10-silhouettes",
        colours(60),
        folder=tmp_path,
        **QUICK | dict(steps=2, repeats=(2, 2)),
    )
    there = one.source["distance"]
    assert there["a_distance"] > 1.5 > 0.6 > there["a_floor"]
    assert there["frechet"] > 3 * there["frechet_floor"]
    assert one.source["heads"] == {"shape": 38} or len(one.source["heads"]) == 1
    assert set(one.source["forgetting"]) == {"before", "after"}
    assert one.source["forgetting"]["before"]["shape"] > 0.8
    assert one.scores["pretrained"]["LEEP"] < 0
    assert one.scores["random"]["LEEP"] is None


# -- words and the page -----------------------------------------------------------


def judged(found, mean, half, arm="frozen"):
    """The diagnosis as it would read with another gain."""
    interval = dict(mean=mean, half_width=half, low=mean - half, high=mean + half)
    kind, code = statistics.judge(interval)
    gain = found.gains["transfer"] | interval | {"kind": kind, "code": code}
    chosen = found.chosen | {"with": found.chosen["with"] | {"arm": arm}}
    tests = {"arm": arm, "test": chosen["without"]["test"] + mean}
    ours = chosen["with"] | tests
    advised = found.recommended | ours | {"best": ours}
    changed = dict(gains=found.gains | {"transfer": gain}, kind=kind, code=code)
    return replace(found, chosen=chosen, recommended=advised, **changed).in_words()


def test_the_verdict_says_how_much_and_how_sure(found):
    assert judged(found, 0.061, 0.012).verdict == "Transfer helps by 6.1 ± 1.2 points."
    assert judged(found, -0.05, 0.02).verdict == "Transfer hurts by 5.0 ± 2.0 points."
    none = judged(found, 0.003, 0.012).verdict
    assert none == "No difference of 2 points or more: +0.3 ± 1.2 points."
    unsure = judged(found, 0.03, 0.06)
    assert unsure.verdict.startswith("No evidence either way: +3.0 ± 6.0 points.")
    assert re.search(r"about \d+ repeats on [\d,]+ test pictures", unsure.verdict)
    assert "Do not decide" in unsure.recommendation


def test_the_recommendation_names_a_way_and_the_other(found):
    probe = judged(found, 0.09, 0.01).recommendation
    assert probe.startswith("Use the frozen features of ")
    assert "logistic regression" in probe and "9.0 points above" in probe
    assert "fine-tuning" in probe and "at 6 labels a class" in probe
    tuned = judged(found, 0.09, 0.01, arm="full").recommendation
    assert tuned.startswith("Use fine-tuning of all layers")
    assert "a probe on frozen features" in tuned


@pytest.mark.parametrize(
    "kind, of_probe, of_tuning",
    [("helps", "better still", "is worse"), ("hurts", "is worse", "better still")],
)
def test_the_way_not_taken_is_judged_from_its_own_side(
    found, kind, of_probe, of_tuning
):
    gain = found.gains["full over frozen"] | {"kind": kind, "mean": 0.04}
    both = found.gains | {"full over frozen": gain}
    for arm, words, sign in (
        ("frozen", of_probe, "+4.0"),
        ("full", of_tuning, "-4.0"),
    ):
        one = judged(replace(found, gains=both), 0.09, 0.01, arm)
        assert words in one.recommendation and sign in one.recommendation


def test_a_short_time_is_admitted(found):
    short = replace(found, plan=found.plan | {"steps": 40, "full_steps": 300})
    assert "40 updates instead of 300" in str(short)
    assert short.in_words().verdict.startswith(
        "With little time (40 updates a run instead of 300): "
    )


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.headings = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_accessible_and_needs_nothing_else(found):
    page, text = Page(), found.html()
    page.feed(text)
    assert page.open == [] and page.headings[0] == 1
    assert page.headings.count(1) == 1 and max(np.diff(page.headings)) <= 1
    tags = {name for name, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object"}
    assert dict(page.tags)["html"]["lang"] == "en"
    assert ("meta", "viewport") in [(n, a.get("name")) for n, a in page.tags]
    pictures = [a for n, a in page.tags if n == "img"]
    assert len(pictures) == 4
    for attributes in pictures:
        assert attributes["src"].startswith("data:image/png;base64,")
        assert len(attributes["alt"].split()) > 5
    heads = [a for n, a in page.tags if n == "th"]
    assert heads and all(a["scope"] in ("row", "col") for a in heads)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)


@pytest.mark.slow
def test_what_comes_from_files_is_escaped(found, undrawn):
    page = found.html()
    assert "<script>" not in page and "&lt;script&gt;alert(1)" in page
    assert "A<b>" not in page and "A&lt;b&gt;" in page
    odd = replace(found, backbone="<img src=x>", data=found.data | {"name": "<h1>&"})
    page, parsed = odd.html(), Page()
    assert "<img src=x>" not in page and "<h1>&a" not in page
    parsed.feed(page)
    assert parsed.headings.count(1) == 1


def test_figures_have_alternative_texts(found):
    for name, figure, alt in found.figures():
        assert figure.axes and len(alt.split()) > 5, name


def test_every_sentence_is_finished(found):
    for sentence in (*found.reasons, *explained.protocol(found)):
        assert sentence.endswith("."), sentence
        assert "nan" not in sentence and "None" not in sentence, sentence


# -- data that do not fit ---------------------------------------------------------


def small(**changed):
    usual = dict(backbone=tiny.resnet(), data=colours(90), repeats=(2, 2))
    return diagnosed(**QUICK | usual | changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(backbone="bundled/no-such"), "no model called"),
        (dict(backbone="minilm"), "minilm is text"),
        (dict(backbone=nn.Linear(2, 2)), "no backbone"),
        (dict(data=(np.zeros(3), np.zeros(3))), "from_folder"),
        (dict(data=colours(21)), "7 different pictures"),
        (dict(labels_per_class=40), "40 labels"),
        (dict(labels_per_class=1), "labels_per_class=1"),
        (dict(repeats=(1, 1)), "repeats"),
        (dict(augment="wild"), "none, shift, flip, turn"),
        (dict(minutes=0), "minutes=0"),
        (dict(rates=()), "rates"),
        (dict(groups=["tool"]), "no column 'tool'"),
        (dict(groups={"file": [f"{i}.png" for i in range(90)]}), "90 different"),
        (dict(test=colours(30, num_classes=2)), "test set"),
        (dict(backbone=tiny.vit(), data=colours(90)), None),
    ],
)
def test_what_does_not_fit_is_named(changed, message, tmp_path):
    if message is None:
        pictures = colours(90)
        wide = np.repeat(pictures.images, 2, axis=2)
        changed = changed | dict(data=replace(pictures, images=wide))
        message = "cannot read pictures at 32 x 64"
    with pytest.raises(CourseError, match=message):
        small(folder=tmp_path, **changed)
    assert not list(tmp_path.rglob("*.json"))  # before anything was trained


def test_options_reach_the_message_of_a_class_with_two_pictures(tmp_path):
    data = colours(90)
    rows = np.flatnonzero((data.labels != 1) | (np.arange(90) < 6))
    with pytest.raises(CourseError, match="class '1' of 'colours' has 2 different"):
        small(data=data.subset(rows), folder=tmp_path)


def test_copies_are_left_out_with_a_note():
    data = colours(90)
    twice = data.subset(np.concatenate([np.arange(90), np.arange(30)]))
    options = dict(labels_per_class=6, repeats=[2, 2], seed=0)
    job = job_of(tiny.resnet(), twice, **options)
    assert sum(job.about["counts"].values()) == 90
    assert "30 pictures are copies" in job.notes[0]


def test_tiny_pictures_are_enlarged_and_many_are_sampled(monkeypatch):
    data = colours(90)
    less = replace(data, images=np.ascontiguousarray(data.images[:, :28, :28]))
    options = dict(labels_per_class=6, repeats=[2, 2], seed=0)
    job = job_of(tiny.resnet(), less, **options)
    assert job.data.images.shape[1:3] == (64, 64) and "28 x 28" in job.notes[0]
    few = replace(modality.PICTURES, most=60)
    monkeypatch.setattr(modality, "ALL", (few, modality.TEXTS))
    job = job_of(tiny.resnet(), data, **options)
    assert job.about["counts"] == {"0": 20, "1": 20, "2": 20}


def test_unequal_classes_are_judged_by_balanced_accuracy():
    data = colours(300)
    rows = np.flatnonzero((data.labels != 2) | (np.arange(300) < 90))
    options = dict(labels_per_class=6, repeats=[2, 2], seed=0)
    job = job_of(tiny.resnet(), data.subset(rows), **options)
    assert job.balanced and job.score([0, 0, 0, 0], [0, 0, 0, 1]) == 0.5
    assert not job_of(tiny.resnet(), data, **options).balanced


@pytest.mark.slow
def test_the_same_numbers_with_one_thread_and_two_and_quartiles_of_a_column(tmp_path):
    both = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            groups = {"pitch": np.linspace(1, 2, 90)}
            both.append(small(groups=groups, folder=tmp_path / str(threads)))
        finally:
            torch.set_num_threads(1)
    one, two = both
    assert one.chosen["with"]["arm"] == two.chosen["with"]["arm"]
    assert one.gains["transfer"]["mean"] == pytest.approx(
        two.gains["transfer"]["mean"], abs=0.05
    )
    rows = [row for row in one.subgroups if row["column"] == "pitch"]
    assert len(rows) == 4 and all(" to " in row["group"] for row in rows)


@pytest.mark.parametrize("seconds, fewest, most", [(0.5, 300, 300), (4, 68, 75)])
def test_the_steps_are_cut_to_the_time(monkeypatch, seconds, fewest, most):
    options = dict(labels_per_class=6, repeats=[3, 7], seed=0, rates=[1e-3])
    options |= dict(steps=None, minutes=5.0)
    job = job_of(tiny.resnet(), colours(90), **options)
    cost = runs.seconds_by_steps(job)
    assert 0 < cost(10, False) < cost(100, False)
    monkeypatch.setattr(
        runs, "seconds_by_steps", lambda job: lambda n, once: seconds * n
    )
    planned = runs.plan(job)
    assert fewest <= planned["steps"] <= most and planned["full_steps"] == 300
    monkeypatch.setattr(runs, "seconds_by_steps", lambda job: lambda n, once: 1e6)
    assert runs.plan(job)["steps"] == runs.LEAST_STEPS


@pytest.mark.slow
def test_it_stops_at_the_fewest_repeats_when_the_time_is_over(tmp_path):
    over = small(folder=tmp_path, minutes=1e-6, repeats=(2, 3))
    assert over.plan["repeats"] == 2
    within = small(folder=tmp_path, minutes=60, repeats=(2, 3))
    assert within.plan["repeats"] == 3


@pytest.mark.slow
def test_progress_is_quiet_in_ci_and_nothing_of_the_backbone_is_changed(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("CI", "1")
    backbone = tiny.resnet()
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    small(backbone=backbone, folder=tmp_path, progress=True)
    assert capsys.readouterr() == ("", "")
    after = backbone.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    "known, inputs, told",
    [
        ([0.7, 0.9, 0.8], "pictures", True),
        ([0.7, 0.8, 0.9], "pictures", False),
        ([0.7, 0.9, 0.8], "texts", False),
    ],
)
def test_a_better_middle_stage_is_said_with_what_to_set(known, inputs, told):
    depth = {"stages": ["stem", "layer1", "layer2"], "random": [[0.5] * 3]}
    depth["pretrained"] = [known]
    said = explained.depth_reason(SimpleNamespace(depth=depth, data={"inputs": inputs}))
    assert ("`head_reads: stages`" in said) == told
