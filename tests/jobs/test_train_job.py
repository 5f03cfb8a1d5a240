"""A whole training job on tiny data: splits, strategies, report, bad data."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from course_lib import training
from course_lib.course import cli
from course_lib.datasets.near_duplicates import digests
from course_lib.errors import CourseError
from course_lib.jobs import assembly, configuration, own_data, pipeline, reporting
from course_lib.models import zoo
from course_lib.training import layer_groups

SHORT = {"epochs": 2, "batch_size": 8, "baseline_rates": [0.001], "onnx": False,
         "augment": "none", "strategy": "full"}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, undrawn):
    """The real job with a tiny backbone and no bar."""
    load = zoo.load

    def chosen(name=None, num_classes=None, seed=0, pretrained=True):
        if name in ("imagenet/efficientnet-lite0", "tiny/resnet"):
            return tiny.resnet(seed=seed + 100 * pretrained)
        if name == "tiny/vit":
            return tiny.vit(seed=seed)
        return load(name, num_classes, seed, pretrained)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setenv("CI", "1")


def folder(root, counts, side=32, first=0):
    """Pictures of noise; the class is their colour.  No two are equal."""
    rng = np.random.default_rng(first)
    for k, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (side, side, 3))
            pixels[..., k % 3] += 110
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def pictures(tmp_path):
    return folder(tmp_path / "pictures", {"red": 20, "green": 20, "blue": 20})


def config(**values):
    return configuration.from_dict(SHORT | values)


# -- a whole job ------------------------------------------------------------------


class Outline(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.headings, self.pictures, self.captions = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.pictures.append(dict(attributes))
        self.captions += tag == "caption"


@pytest.mark.slow
@pytest.mark.drawn
def test_the_command_trains_tests_and_reports(tmp_path, pictures, capsys):
    path, out = tmp_path / "job.yaml", tmp_path / "out"
    path.write_text(config(epochs=4, head_rate=0.01, backbone_rate=0.01).to_yaml())
    hidden = pictures / "red" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "0.png").write_bytes((pictures / "red" / "0.png").read_bytes())
    line = ["train", "--config", str(path), "--data", str(pictures)]
    assert cli.main([*line, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] in said and "report.html" in said
    assert any(".ipynb_checkpoints" in note for note in result["notes"])
    assert all(said.count(note) == 1 for note in result["notes"])  # each is told once
    assert result["data"]["sizes"] == {"train": 42, "validation": 9, "test": 9}
    assert result["transfer"]["test"]["accuracy"] > 0.8
    assert len(result["baseline"]["tried"]) == 1
    assert np.sum(result["confusion"]) == 9

    page = (out / "report.html").read_text()
    outline = Outline(page)
    assert outline.headings[0] == 1 and set(outline.headings[1:]) == {2}
    assert all(len(one["alt"].split()) > 8 for one in outline.pictures)
    assert all(one["src"].startswith("data:") for one in outline.pictures)
    assert len(outline.pictures) >= 3 and outline.captions >= 4
    assert 'lang="en"' in page and "http" not in re.sub(r'src="[^"]+"', "", page)

    with open(out / "splits.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60 and len({row["example"] for row in rows}) == 60
    assert configuration.load(out / "config.yaml") == configuration.load(path)

    before = {p: p.stat().st_mtime_ns for p in (out / "state").iterdir()}
    assert cli.main([*line, "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert without_seconds(again) == without_seconds(result)  # nothing is done twice
    for state, when in before.items():
        assert state.suffix == ".json" or state.stat().st_mtime_ns == when


def without_seconds(result):
    return {key: value for key, value in result.items() if key != "seconds"}


@pytest.mark.slow
def test_another_job_does_not_overwrite_the_first_unasked(tmp_path, pictures):
    out = tmp_path / "out"
    first = pipeline.run(config(baseline=False), pictures, out, progress=False)
    with pytest.raises(CourseError, match="(?s)holds another job.*--again"):
        pipeline.run(config(baseline=False, seed=1), pictures, out, progress=False)
    assert json.loads((out / "result.json").read_text())["config"]["seed"] == 0
    anew = dict(again=True, progress=False)
    pipeline.run(config(baseline=False, seed=1), pictures, out, **anew)
    back = pipeline.run(config(baseline=False), pictures, out, **anew)
    assert back.weights_sha256 == first.weights_sha256


def test_a_run_that_was_still_improving_is_said_to_be(pictures):
    result = pipeline.run(config(), pictures, progress=False)
    said = reporting.done(result)
    for run, words in ((result.transfer, "more epochs might help"),
                       (result.baseline, "might gain from more epochs")):  # fmt: skip
        losses = run["history"]["val_loss"]
        last_is_best = int(np.argmin(losses)) == len(losses) - 1
        assert any(words in line for line in said) == last_is_best


@pytest.mark.slow
def test_without_a_folder_nothing_is_written(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    result = pipeline.run(config(baseline=False), pictures, progress=False)
    assert set(tmp_path.iterdir()) == before and result.folder is None
    assert result.baseline_accuracy is None and "nothing was trained" in result.verdict
    assert result.html().startswith("<!DOCTYPE html>")


def test_data_sets_at_hand_can_be_used(tmp_path):
    parts = [tiny.images(n, seed=i) for i, n in enumerate((24, 9, 9))]
    result = pipeline.run(config(baseline=False), parts, progress=False)
    assert result.data["sizes"] == {"train": 24, "validation": 9, "test": 9}
    with pytest.raises(CourseError, match="different classes"):
        pipeline.run(config(), [*parts[:2], tiny.images(8, num_classes=2)])


# -- strategies -------------------------------------------------------------------


def started(name="tiny/resnet", **values):
    chosen = config(model=name, **values)
    backbone = assembly.model(chosen, 3)
    parts = [tiny.images(24), tiny.images(9, seed=1), tiny.images(9, seed=2)]
    parts = own_data.from_parts(*parts, chosen)
    return backbone, parts, assembly.recipe(chosen, backbone, parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny/resnet", "tiny/vit"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_strategies_open_what_they_say(name, dropout):
    groups = list(layer_groups.layer_groups(assembly.model(config(model=name), 3)))
    body = [g for g in groups if g != "head"]
    expected = {"frozen": [], "last_stage": body[-1:], "full": body, "gradual": []}
    for strategy, opened in expected.items():
        backbone, _, recipe = started(name, strategy=strategy, dropout=dropout)
        learning = {n for n, p in backbone.model.named_parameters() if p.requires_grad}
        named = layer_groups.layer_groups(backbone)
        assert learning == {n for g in [*opened, "head"] for n in named[g]}
        held = [
            p for group in recipe.optimization.param_groups for p in group["params"]
        ]
        assert len(held) == len(learning)


def test_rates_follow_the_configuration():
    _, _, recipe = started(head_rate=0.02, backbone_rate=0.01, layer_decay=0.5)
    rates = {group["name"]: group["lr"] for group in recipe.optimization.param_groups}
    assert rates == pytest.approx(
        {"head": 0.02, "layer4": 0.01, "layer3": 0.005, "layer2": 0.0025,
         "layer1": 0.00125, "stem": 0.000625}
    )  # fmt: skip
    _, _, recipe = started(strategy="frozen", head_rate=0.02)
    assert {group["lr"] for group in recipe.optimization.param_groups} == {0.02}


def test_an_unfreezing_plan_is_followed():
    plan = {1: "layer4", 3: ["layer2", "all"]}
    backbone, parts, recipe = started(strategy="gradual", unfreeze=plan, epochs=5)
    seen = []

    def watch(epoch, model, optimizer):
        recipe.before_epoch(epoch, model, optimizer)
        groups = layer_groups.layer_groups(model)
        net = dict(model.model.named_parameters())
        seen.append({g for g, names in groups.items() if net[names[0]].requires_grad})

    watched = replace(recipe, on_epoch=watch)
    training.fit(backbone, parts.train, epochs=5, recipe=watched)
    assert seen[0] == {"head"} and seen[1] == seen[2] == {"head", "layer4"}
    assert seen[3] == seen[4] == set(layer_groups.layer_groups(backbone))


@pytest.mark.parametrize(
    "values, alone", [(dict(epochs=4), 1), (dict(epochs=20), 5), (dict(epochs=40), 5)]
)
def test_the_head_learns_alone_and_then_everything(values, alone):
    backbone, _, recipe = started(strategy="head_then_full", **values)
    named = layer_groups.layer_groups(backbone)
    learning = {n for n, p in backbone.model.named_parameters() if p.requires_grad}
    assert learning == set(named["head"]) and list(recipe.on_epoch) == [alone]
    optimizer = recipe.optimization.build(backbone, 1e-3)
    recipe.before_epoch(alone, backbone, optimizer)
    assert all(p.requires_grad for p in backbone.model.parameters())
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(list(backbone.model.parameters()))


def test_a_job_with_the_head_first_says_so_and_goes_on_to_the_end(tmp_path, undrawn):
    chosen = config(
        strategy="head_then_full", epochs=4, baseline=False, onnx=False, audit="warn"
    )
    parts = [tiny.images(24), tiny.images(9, seed=1), tiny.images(9, seed=2)]
    made = pipeline.run(chosen, parts, tmp_path / "out", progress=False)
    assert "The head learned alone for 1 epoch, and then" in str(made)
    card = (tmp_path / "out/model/README.md").read_text()
    assert "head_then_full" in card or "head alone first" in card
    again = pipeline.run(chosen, parts, tmp_path / "out", progress=False)
    assert again.weights_sha256 == made.weights_sha256


def test_balanced_class_weights_average_to_one():
    data = tiny.images(30)
    data = data.subset(np.r_[0:30:3, 1:7:3, 2])  # 10, 2 and 1
    loss = assembly.balanced_loss(data, 0.0)
    logits, labels = torch.zeros(13, 3), torch.tensor(data.labels)
    assert float(loss(logits, labels)) == pytest.approx(np.log(3))
    each = [float(loss(logits[:1], torch.tensor([c]))) for c in range(3)]
    assert [10 * each[0], 2 * each[1]] == pytest.approx([each[2], each[2]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "values, message",
    [
        (dict(strategy="gradual", unfreeze={1: "layer9"}), "layer9.*layer4.*all"),
        (dict(strategy="last_stage", last_blocks=9), "last_blocks is 9.*1 to 4"),
        (dict(precision="fp16", device="cpu"), "fp16.*CUDA"),
        (dict(model="bundled/no-such"), "no model called 'bundled/no-such'"),
        (dict(model="minilm"), "a model for text, and the task is images"),
        (dict(batch_size=4), "tiny-batch.*audit: warn"),
        (dict(together="wafer"), "together names the column 'wafer'"),
        (dict(groups=["tool"]), "groups names the column 'tool'"),
    ],
)
def test_settings_that_do_not_fit_model_or_data(values, message, pictures, tmp_path):
    with pytest.raises(CourseError, match=f"(?s){message}"):
        pipeline.run(config(**values), pictures, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(pictures):
    with pytest.raises(CourseError, match="no CUDA device"):
        pipeline.run(config(device="cuda"), pictures)


@pytest.mark.slow
def test_with_audit_warn_the_job_goes_on_and_the_report_says_so(pictures):
    chosen = config(batch_size=4, audit="warn", baseline=False, epochs=1)
    result = pipeline.run(chosen, pictures, progress=False)
    assert "tiny-batch" in result.findings[0] and "tiny-batch" in result.html()
    (rates,) = [note for note in result.notes if "rates" in note]
    for rate in (chosen.head_rate, chosen.backbone_rate):
        assert f"{rate:.3g} for " in rates
    assert "(fc)" in rates and rates in result.html()


def test_the_step_of_the_audit_leaves_the_job_as_it_was(pictures, monkeypatch):
    """The weights are the same with the audit and without."""
    chosen = config(baseline=False, epochs=1)
    audited = pipeline.run(chosen, pictures, progress=False)
    monkeypatch.setattr(pipeline, "audited", lambda *given: [])
    assert not audited.findings
    bare = pipeline.run(chosen, pictures, progress=False)
    assert bare.weights_sha256 == audited.weights_sha256


@pytest.mark.slow
def test_half_precision_on_a_cpu(pictures):
    chosen = config(precision="bf16", device="cpu", baseline=False, epochs=1)
    exact = config(precision="float32", device="cpu", baseline=False, epochs=1)
    half, full = (pipeline.run(c, pictures, progress=False) for c in (chosen, exact))
    assert half.weights_sha256 != full.weights_sha256
    assert next(half.backbone.model.parameters()).dtype == torch.float32


# -- data as people have them -----------------------------------------------------


def table(path, rows, fields=("image", "label")):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(fields)
        writer.writerows(rows)
    return path


def read(path, **values):
    return own_data.read(path, config(**values), 32)


def test_parts_are_stratified_disjoint_and_a_function_of_the_seed(pictures):
    parts = read(pictures)
    for part, n in zip(parts, (14, 3, 3)):
        assert set(part.counts().values()) == {n}
    names = [set(part.metadata["example"]) for part in parts]
    assert len(set.union(*names)) == 60 == sum(map(len, names))
    again, other = read(pictures), read(pictures, seed=1)
    assert again.rows() == parts.rows() and again.key == parts.key
    assert other.rows() != parts.rows()
    shares = read(pictures, split=[0.5, 0.25, 0.25]).counts()
    assert shares["train"]["red"] == 10


def test_copies_stay_on_one_side_and_are_counted(pictures):
    for i in range(8):
        content = (pictures / "red" / f"{i}.png").read_bytes()
        for k in range(3):
            (pictures / "red" / f"copy-{i}-{k}.png").write_bytes(content)
    (pictures / "blue" / "wrong.png").write_bytes(
        (pictures / "red" / "9.png").read_bytes()
    )
    parts = read(pictures)
    seen = [set(digests(part)) for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert any("copies of others: 25" in note for note in parts.notes)
    assert any("different label: 2" in note for note in parts.notes)


def test_rows_of_one_wafer_stay_together(pictures, tmp_path):
    files = sorted(pictures.rglob("*.png"))
    rows = [(p, p.parent.name, f"W{i % 15}", "abc"[i % 3]) for i, p in enumerate(files)]
    path = table(tmp_path / "t.csv", rows, ("image", "label", "wafer", "tool"))
    parts = own_data.read(path, config(together="wafer", groups=["tool"]), 32)
    lookup = {str(p): wafer for p, _, wafer, _ in rows}
    wafers = [{lookup[e] for e in part.metadata["example"]} for part in parts]
    assert not (wafers[0] & wafers[1] or wafers[0] & wafers[2] or wafers[1] & wafers[2])
    assert len(set.union(*wafers)) == 15
    assert set(parts.test.metadata) == {"example", "tool"}


def test_given_splits_are_kept_and_what_they_share_is_dropped(tmp_path):
    root = tmp_path / "given"
    for k, (part, n) in enumerate({"train": 9, "val": 3, "test": 3}.items()):
        folder(root / part, {"a": n, "b": n}, first=k)
    (root / "train" / "a" / "seen.png").write_bytes(
        (root / "test" / "a" / "0.png").read_bytes()
    )
    parts = read(root)
    assert [len(part) for part in parts] == [18, 6, 6]
    assert any("train part that also stand in a later part" in n for n in parts.notes)
    assert "train/a/0.png" in parts.train.metadata["example"]
    for file in sorted((root / "val").rglob("*.png")):
        file.unlink()
    (root / "val" / "a").rmdir(), (root / "val" / "b").rmdir(), (root / "val").rmdir()
    taken = read(root)
    assert [len(part) for part in taken] == [16, 3, 6] or len(taken.validation) >= 2


@pytest.mark.slow
def test_what_was_read_is_told_before_anything_is_trained(
    tmp_path, pictures, capsys, monkeypatch
):
    def refuse(*_, **__):
        raise CourseError("training began")

    monkeypatch.setattr(training, "fit", refuse)
    (pictures / "red" / "cut.png").write_bytes(b"")
    (pictures / "green" / "Thumbs.db").write_bytes(b"x")
    folder(tmp_path / "set" / "predict", {".": 3})
    pictures.rename(tmp_path / "set" / "train")
    folder(tmp_path / "set" / "Test", {"red": 3, "green": 3, "blue": 3}, first=9)
    (tmp_path / "job.yaml").write_text(config(audit="warn").to_yaml())
    line = ["train", "--config", str(tmp_path / "job.yaml"), "--data",
            str(tmp_path / "set"), "--out", str(tmp_path / "out")]  # fmt: skip
    assert cli.main(line) == 1
    said = capsys.readouterr()
    assert "train/red/cut.png cannot be read: it is empty" in said.err
    for option, stream in (((), "out"), (("--json",), "err")):
        assert cli.main([*line, "--skip-unreadable", *option]) == 1
        said = capsys.readouterr()
        assert "training began" in said.err
        told = getattr(said, stream)
        for words in ("red", "validation", "Left out, unreadable", "train/red/cut.png",
                      "train/green/Thumbs.db", "predict (3 pictures)"):  # fmt: skip
            assert words in told
        assert stream == "out" or not said.out


def missing(root):
    return root / "nowhere", "do not exist"


def one_class(root):
    return folder(root / "one", {"a": 9}), "only one class"


def two_pictures(root):
    return folder(root / "few", {"a": 9, "b": 2}), "'b' of 'few' has 2 different"


def all_equal(root):
    data = folder(root / "same", {"a": 9, "b": 1})
    for i in range(1, 9):
        (data / "b" / f"{i}.png").write_bytes((data / "b" / "0.png").read_bytes())
    return data, "'b' of 'same' has 1 different"


def damaged(root):
    data = folder(root / "d", {"a": 9, "b": 9})
    (data / "b" / "3.png").write_bytes(b"\x89PNG nothing")
    return data, "3.png cannot be read"


def empty_class(root):
    data = folder(root / "e", {"a": 9, "b": 9})
    (data / "c").mkdir()
    return data, "holds no picture"


def no_test(root):
    for part in ("train", "val"):
        folder(root / "s" / part, {"a": 9, "b": 9})
    return root / "s", "none for test"


def strange_class(root):
    folder(root / "s" / "train", {"a": 9, "b": 9})
    folder(root / "s" / "test", {"a": 9, "b": 9, "z": 3}, first=1)
    return root / "s", "z is no class"


def no_column(root):
    return table(root / "t.csv", [("front", "x")], ("scan", "label")), "no column"


def no_file(root):
    rows = [("a.png", "x"), ("b.png", "y")]
    return table(root / "t.csv", rows), "row 2"


def no_rows(root):
    return table(root / "t.csv", []), "no rows"


def one_label(root):
    data = folder(root / "l", {"a": 3, "b": 3})
    return table(data / "t.csv", [("a/0.png", "x"), ("a/1.png", "x")]), "only the label"


def bytes_for_a_table(root):
    (root / "t.csv").write_bytes(b"\xff\xfe\x00\x81")
    return root / "t.csv", "cannot be read"


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [missing, one_class, two_pictures, all_equal, damaged, empty_class, no_test,
     strange_class, no_column, no_file, no_rows, one_label, bytes_for_a_table],
)  # fmt: skip
def test_bad_data_are_named_before_anything_is_trained(
    make, tmp_path, capsys, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("trained on bad data")

    monkeypatch.setattr(training, "fit", refuse)
    data, message = make(tmp_path)
    job = tmp_path / "job.yaml"
    job.write_text(config().to_yaml())
    line = ["train", "--config", str(job), "--data", str(data)]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("course train: ") and message in said
    assert "Traceback" not in said and not (tmp_path / "out").exists()


def test_the_output_may_not_lie_in_the_data(pictures):
    with pytest.raises(CourseError, match="lies in the data folder"):
        pipeline.run(config(), pictures, pictures / "out")


def test_a_folder_for_a_text_task(pictures):
    with pytest.raises(CourseError, match="(?s)is a folder.*CSV"):
        own_data.read(pictures, configuration.from_dict({"task": "text"}))
