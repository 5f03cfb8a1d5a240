"""`course pretrain --on`: pictures without labels, a start for training, bad input."""

import csv
import json
import re
import shutil

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from course_lib.course import cli
from course_lib.course.cli import pretrain_commands
from course_lib.errors import CourseError
from course_lib.jobs import (
    anomaly_job,
    anomaly_model,
    configuration,
    exported,
    pipeline,
    pretrain_configuration,
    pretrain_job,
)
from course_lib.lessons import claims
from course_lib.methods.self_supervised import ViewTraining
from course_lib.models import continued, zoo
from course_lib.training import resume

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("undrawn", "one_thread"),
]

MODEL = "bundled/resnet10-patterns"
SETTINGS = {"model": MODEL, "image_size": 32, "batch_size": 16, "epochs": 3}


def write(folder, n, seed, shade=(20, 150)):
    """n pictures of stripes with a square of any colour anywhere."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        pixels = rng.integers(0, 60, (32, 32, 3))
        pixels[:, :: int(rng.integers(3, 9))] += int(rng.integers(*shade))
        y, x = rng.integers(0, 20, 2)
        pixels[y : y + 10, x : x + 10] = rng.integers(0, 255, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A folder of pictures in two folders, a table of labels beside them."""
    where = tmp_path_factory.mktemp("pool") / "archive"
    write(where / "monday", 30, 0)
    write(where / "tuesday", 30, 1)
    (where / "labels.csv").write_text("image,label\nmonday/00.png,good\n")
    return where


@pytest.fixture(scope="module")
def job(pool, tmp_path_factory):
    """The folder of a finished job, by the command line; its figures are drawn."""
    where = tmp_path_factory.mktemp("pretrained")
    (where / "job.yaml").write_text(yaml.safe_dump(SETTINGS))
    typed = ["pretrain", "--on", str(pool), "--config", str(where / "job.yaml")]
    typed += ["--threads", "1", "--out", str(where / "out")]  # as in the tests
    threads = torch.get_num_threads()
    assert cli.main(typed) == 0
    torch.set_num_threads(threads)
    return where / "out"


def weights(folder):
    return (folder / "model" / continued.WEIGHTS).read_bytes()


def test_a_job_leaves_a_start_and_says_what_it_did(job, pool):
    found = json.loads((job / "result.json").read_text())
    assert found["sizes"] == {"learned from": 52, "held out": 8}
    assert len(found["losses"]) == found["planned"] == 9  # 3 passes of 52 // 16
    assert [at for at, _ in found["curve"]] == list(range(10))
    assert found["before"]["loss"] == found["curve"][0][1]
    said = " ".join(found["notes"])
    assert "2 folders (monday, tuesday)" in said and "none was used" in said
    assert ".csv, which no reader takes: 1 (labels.csv)" in said
    with (job / "pictures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == {"learned from", "held out"}
    assert sorted(row["picture"] for row in rows) == sorted(
        path.relative_to(pool).as_posix() for path in pool.rglob("*.png")
    )
    page = (job / "report.html").read_text()
    assert page.count("<img alt=") == 2 and "C72" in page and "It may not help" in page
    assert "9 updates of SimCLR" in page and "`" not in page
    assert f"<code>course train --data LABELLED --backbone {job}</code>" in page
    assert "16 pictures apart, the measurement only the 8" in page
    card = (job / "model/README.md").read_text()
    assert "It may not help" in card and MODEL in card and "{" not in card


def test_only_the_last_stage_learned_and_the_folder_is_a_model(job):
    plain, went_on = zoo.load(MODEL), zoo.load(str(job))
    assert went_on.went_on and not plain.went_on
    assert "went on learning without labels" in went_on.notes[0]
    before, after = (continued.body(one) for one in (plain, went_on))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("layer4") for name in changed)
    again = zoo.load(str(job / "model"), num_classes=3)
    assert again.num_features == plain.num_features
    fresh = zoo.load(str(job), seed=4, pretrained=False)
    expected = zoo.load(MODEL, seed=4, pretrained=False)
    for one, other in zip(fresh.model.parameters(), expected.model.parameters()):
        assert torch.equal(one, other)


def test_an_interrupted_job_ends_with_the_same_weights(
    job, pool, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    update, done = ViewTraining.update, []

    def killed(self, views):
        if len(done) == 5:
            raise Killed
        done.append(self.step)
        return update(self, views)

    monkeypatch.setattr(ViewTraining, "update", killed)
    with pytest.raises(Killed):
        pretrain_job.run(SETTINGS, pool, tmp_path / "o", progress=False)
    assert not (tmp_path / "o" / "model").exists()
    monkeypatch.setattr(ViewTraining, "update", update)
    result, _ = pretrain_job.run(SETTINGS, pool, tmp_path / "o", progress=False)
    assert weights(tmp_path / "o") == weights(job)
    whole = json.loads((job / "result.json").read_text())
    assert result.losses == whole["losses"] and result.curve == whole["curve"]
    with pytest.raises(CourseError, match="another job"):
        pretrain_job.run({**SETTINGS, "seed": 1}, pool, tmp_path / "o", progress=False)


def test_the_time_is_kept_and_told(pool):
    hurried = {**SETTINGS, "epochs": 10_000, "minutes": 1e-3}
    result, _ = pretrain_job.run(hurried, pool, progress=False)
    assert result.updates < result.planned == 30_000
    assert any("The time was over after" in note for note in result.notes)
    planned, said = pretrain_job.plan(
        pretrain_configuration.from_dict({"minutes": 0.05, "image_size": 224}),
        zoo.load(MODEL),
        pretrain_job.pretrain_data.Pool("p", [], np.zeros((320, 1)), [], None, []),
        torch.device("cpu"),
    )
    assert planned < 100 and "might take longer" in said[0]


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "vicreg", "weights": "random"},
        {"objective": "barlow_twins", "views": list(pretrain_configuration.VIEWS)},
    ],
)
def test_other_objectives_views_and_starts(pool, change):
    result, backbone = pretrain_job.run(
        {**SETTINGS, "epochs": 1, **change}, pool, progress=False
    )
    assert result.updates == 3 and np.isfinite(result.losses).all()
    assert result.folder is None and not backbone.model.training


def test_train_takes_it_as_a_start_and_does_not_need_it_afterwards(
    job, tmp_path, capsys
):
    started = tmp_path / "started"
    shutil.copytree(job, started)
    for k, shade in enumerate([(20, 40), (120, 150)]):
        write(tmp_path / "data" / f"class{k}", 20, 10 + k, shade)
    settings = dict(image_size=32, epochs=1, baseline=False, onnx=False)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(settings))
    typed = ["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "o")]
    typed += ["--config", str(tmp_path / "job.yaml"), "--backbone", str(started)]
    assert cli.main(typed) == 0
    assert "went on learning without labels" in capsys.readouterr().out
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"model": MODEL}))
    assert cli.main(typed) == 1
    assert f"says model: {MODEL}" in capsys.readouterr().err
    about = started / "model" / continued.FILE
    other = json.loads(about.read_text()) | {"sha256": "0" * 64}
    about.write_text(json.dumps(other))
    with pytest.raises(CourseError, match="damaged"):
        zoo.load(str(started))
    shutil.rmtree(started)
    model = exported.load(tmp_path / "o")
    assert model.about["model"] == MODEL
    image = np.array(Image.open(tmp_path / "data/class0/00.png"))[None]
    assert model.predict(image).shape == (1, 2)


def test_a_change_of_the_start_is_another_job(job, tmp_path):
    for k, shade in enumerate([(20, 40), (120, 150)]):
        write(tmp_path / "data" / f"class{k}", 12, 10 + k, shade)
    settings = dict(model=str(tmp_path / "s"), image_size=32, epochs=1, baseline=False)
    settings |= dict(onnx=False, head_reads="last")
    shutil.copytree(job, tmp_path / "s")
    pipeline.run(settings, tmp_path / "data", tmp_path / "o", progress=False)
    backbone = zoo.load(str(tmp_path / "s"))
    about = backbone.card["continued"]
    with torch.no_grad():
        next(iter(backbone.model.parameters())).add_(1)
    kept = {key: about[key] for key in ("said", "licence")}
    assert continued.save(backbone, tmp_path / "s" / "model", kept)["model"] == MODEL
    with pytest.raises(CourseError, match="another job"):
        pipeline.run(settings, tmp_path / "data", tmp_path / "o", progress=False)


def test_a_memory_of_normal_pictures_takes_it_too(job, pool, tmp_path):
    settings = {"model": str(job), "image_size": 64, "false_alarms": 0.2}
    settings |= {"stages": ["layer3"]}
    shutil.copytree(job, tmp_path / "s")
    settings["model"] = str(tmp_path / "s")
    _, model = anomaly_job.run(settings, pool / "monday", tmp_path / "o")
    images = np.zeros((1, 64, 64, 3), np.uint8)
    loaded = anomaly_model.load(tmp_path / "o")
    assert np.allclose(loaded.scores(images), model.scores(images))
    about = json.loads((tmp_path / "o/model/anomaly.json").read_text())
    about["network"] = "0" * 64
    (tmp_path / "o/model/anomaly.json").write_text(json.dumps(about))
    with pytest.raises(CourseError, match="other weights"):
        anomaly_model.load(tmp_path / "o")


# -- pictures that do not do --------------------------------------------------------


def test_a_start_is_no_model_and_damaged_files_are_told(job, pool, tmp_path, capsys):
    assert cli.main(["predict", "--model", str(job), "--data", str(pool)]) == 1
    said = capsys.readouterr().err
    assert "a start for training, not a model" in said and "Do: train from it" in said
    out = shutil.copytree(job, tmp_path / "out")
    (out / "model" / continued.FILE).write_text("{")
    with pytest.raises(CourseError, match="backbone.json or .* is damaged"):
        zoo.load(str(out))
    resume.save(out / "state" / "pretrain.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(CourseError, match="no checkpoint of this job"):
        pretrain_job.run(SETTINGS, pool, out, progress=False)
    (out / "state" / "job.json").write_text("[]")
    with pytest.raises(CourseError, match=r"job.json is damaged(.|\n)*--again"):
        pretrain_job.run(SETTINGS, pool, out, progress=False)
    pretrain_job.run(SETTINGS, pool, out, again=True, progress=False)
    assert weights(out) == weights(job)


def test_bad_folders_are_told(pool, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "one", 1, 0)
    shutil.copytree(pool / "monday", tmp_path / "broken")
    (tmp_path / "broken" / "x.png").write_bytes(b"no picture")
    for on, said in (
        (tmp_path / "nowhere", "does not exist"),
        (pool / "labels.csv", "is a table, and no labels are used"),
        (pool / "monday" / "00.png", "is a file"),
        (tmp_path / "empty", "holds no picture"),
        (tmp_path / "one", "1 different pictures"),
        (tmp_path / "broken", r"x\.png cannot be read"),
    ):
        typed = ["pretrain", "--on", str(on), "--backbone", MODEL]
        assert cli.main([*typed, "--out", str(tmp_path / "o")]) == 1
        error = capsys.readouterr().err
        assert re.search(said, error) and "Do:" in error and "Traceback" not in error
    assert not (tmp_path / "o").exists()
    with pytest.raises(CourseError, match="lies in the data folder"):
        pretrain_job.run(SETTINGS, pool, pool / "out")


def test_what_teaches_nothing_is_left_out_and_named(pool, tmp_path):
    folder = tmp_path / "p"
    shutil.copytree(pool, folder)
    shutil.copy(folder / "monday/00.png", folder / "copy.png")
    Image.new("RGB", (32, 32), "red").save(folder / "red.png")
    (folder / "x.png").write_bytes(b"no picture")
    near = np.asarray(Image.open(folder / "monday/01.png")).astype(int) + 3
    Image.fromarray(near.clip(0, 255).astype(np.uint8)).save(folder / "near.png")
    settings = {**SETTINGS, "epochs": 1}
    result, _ = pretrain_job.run(settings, folder, skip_unreadable=True, progress=False)
    said = " ".join(result.notes)
    assert "of one colour, which teach nothing and were left out: 1 (red.png)" in said
    assert "exact copies of others" in said and "(monday/00.png)" in said
    assert re.search(r"Left out, unreadable: .*: 1 \(x\.png\)", said)
    assert "Near-duplicates: 2 pictures" in said and sum(result.sizes.values()) == 61


# -- what can be set ----------------------------------------------------------------


@pytest.mark.parametrize(
    "change, said",
    [
        ({"views": ["crop", "zoom"]}, "a list of views"),
        ({"objective": "simcrl"}, "write objective: simclr"),
        ({"weights": "random", "strategy": "last_stage"}, "strategy: full"),
        ({"epoch": 3}, "`course pretrain --example` shows all"),
        ({"model": "minilm"}, "a model for texts"),
        ({"model": "nowhere"}, "no model called 'nowhere'"),
    ],
)
def test_bad_settings_are_told(pool, change, said):
    with pytest.raises(CourseError, match=said):
        pretrain_job.run({**SETTINGS, **change}, pool, progress=False)


@pytest.mark.parametrize("finite", [1, 4])  # in an update, or on held-out pictures
def test_a_loss_that_is_no_number_is_told(pool, monkeypatch, finite):
    value, asked = ViewTraining.value, []

    def diverged(self, views):
        asked.append(self.step)
        return value(self, views) * (1.0 if len(asked) <= finite else float("nan"))

    monkeypatch.setattr(ViewTraining, "value", diverged)
    with pytest.raises(CourseError, match="led to a loss of nan(.|\n)*lower rate"):
        pretrain_job.run(SETTINGS, pool, progress=False)


def test_options_that_do_not_fit_are_told(capsys):
    for typed, said in (
        (["resnet10-patterns", "--on", "x"], "or leave out --on"),
        (["--epochs", "3"], "--epochs belongs to --on"),
        (["--on", "x", "--config", "nowhere.yaml"], "`course pretrain --example > job"),
    ):
        assert cli.main(["pretrain", *typed]) == 1
        assert said in capsys.readouterr().err


def test_the_example_is_the_default_and_fits_the_schema(capsys):
    assert cli.main(["pretrain", "--example"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    default = pretrain_configuration.from_dict({})
    assert pretrain_configuration.from_dict(values) == default
    assert cli.main(["pretrain", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["title"] == "A job of course pretrain"
    assert schema == json.loads(
        json.dumps(configuration.schema(pretrain_configuration.PretrainConfig))
    )
    jsonschema.validate(values, schema)


def test_plain_words_say_what_the_ledger_says():
    far = claims.claim("C72")["finding"]

    def ends(after):
        found = re.search(re.escape(after) + r" \S+ \((\S+) to (\S+)\)", far)
        return tuple(map(float, found.groups()))

    low, high = ends("Lite0 continued from ImageNet")
    assert low < -7 < high < 0  # seven points on speech
    low, high = ends("near (solar cells, 100 a class, 16 seeds) continued")
    assert -3 < low < high < 0  # a point or two on cells
    low, high = ends("but")
    assert low < 0 < high and "+4.3 (+2.3 to +6.3) at 3 labels" in far
    rank = claims.claim("C73")["finding"]
    assert "solar cells +0" in rank and "speech -0" in rank  # with it, and against it
    assert "It may not help" in pretrain_commands.evidence()[0]
