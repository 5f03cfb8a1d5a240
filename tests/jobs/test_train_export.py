"""Exported models: the same answers from the folder, from ONNX, and in the card."""

import csv
import json

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.jobs import assembly, configuration, exported, pipeline
from course_lib.models import zoo
from course_lib.models.encoders import text_encoder
from course_lib.models.preprocessing import Preprocess


def tiny_text(folder):
    """A text encoder of two layers, as a folder that the zoo can read."""
    backbone = tiny.encoder(None, positions=64)
    backbone.model.save_pretrained(folder)
    backbone.preprocess.tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tiny_text(folder)
    return folder


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, text_folder, undrawn):
    load = zoo.load

    def chosen(name=None, num_classes=None, seed=0, pretrained=True):
        if name in ("tiny/resnet", "imagenet/efficientnet-lite0"):
            return tiny.resnet(seed=seed)
        if name == "tiny/vit":
            return tiny.vit(seed=seed)
        if name in ("tiny/text", "minilm"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return text_encoder(str(text_folder), name, pretrained, {}, True)
        return load(name, num_classes, seed, pretrained)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setenv("CI", "1")


SEEN = ("scratches", "particles and a very long story about them", "rings")
TEXTS = [f"lot {i} has {word} on the wafer" for i in range(8) for word in SEEN]


def made(name, folder, dropout=0.0, onnx=False):
    """(backbone with a random head and moved statistics, examples, export report)."""
    task = "text" if "text" in name else "images"
    config = configuration.from_dict({"task": task, "model": name, "dropout": dropout})
    backbone = assembly.model(config, 3)
    examples = TEXTS if task == "text" else tiny.images(20).images
    about = {"model": name, "task": task, "dropout": dropout, "image_size": 32}
    found = exported.export(backbone, "abc", folder, examples, onnx, about)
    backbone.model.eval()
    with torch.no_grad():
        x = backbone.preprocess(examples)
        logits = backbone.model(**x).logits if task == "text" else backbone.model(x)
    return logits.softmax(1).numpy(), examples, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny/resnet", "tiny/vit", "tiny/text"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_folder_gives_the_same_probabilities(name, dropout, tmp_path):
    P, examples, found = made(name, tmp_path / "model", dropout)
    model = exported.load(tmp_path / "model")
    assert np.abs(model.predict(examples, batch_size=7) - P).max() < 1e-5
    assert model.classes == ("a", "b", "c") and "onnx" not in found
    suffixes = {p.suffix for p in (tmp_path / "model").rglob("*") if p.is_file()}
    assert suffixes == {".safetensors", ".json"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny/resnet", "tiny/vit", "tiny/text"])
def test_onnx_gives_the_same_logits_for_batches_of_any_size(name, tmp_path):
    import onnxruntime

    P, examples, found = made(name, tmp_path, onnx=True)
    report = found["onnx"]
    assert report["within"] and report["largest_difference"] < report["tolerance"]
    assert report["same_answers"] == report["examples"] == len(examples)
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    model = exported.load(tmp_path)
    for n in (1, 3, 20):
        x = model.backbone.preprocess(examples[:n])
        inputs = {"images": x} if name != "tiny/text" else x
        asked = {one.name for one in session.get_inputs()}
        inputs = {k: v.numpy() for k, v in inputs.items() if k in asked}
        (logits,) = session.run(None, inputs)
        ours = torch.from_numpy(logits).softmax(1).numpy()
        assert np.abs(ours - P[:n]).max() < 1e-4
    before = (tmp_path / "model.onnx").stat().st_mtime_ns
    again = made(name, tmp_path, onnx=True)[2]
    assert again == found and (tmp_path / "model.onnx").stat().st_mtime_ns == before


def test_a_model_that_onnx_cannot_hold_is_exported_all_the_same(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    _, examples, found = made("tiny/resnet", tmp_path, onnx=True)
    assert found["onnx"] == {"failed": "no such operator"}
    assert "could not be written" in found["said"][1]
    assert exported.load(tmp_path).predict(examples).shape == (20, 3)
    assert not list(tmp_path.glob("*.onnx")) and not list(tmp_path.glob(".*"))


def test_a_difference_beyond_the_tolerance_is_said():
    said = exported.onnx_sentence(
        dict(examples=9, largest_difference=0.2, tolerance=1e-4, within=False,
             same_answers=7)
    )  # fmt: skip
    assert "NOT within" in said and "7 answers" in said


def test_damage_is_noticed(tmp_path):
    made("tiny/resnet", tmp_path)
    with pytest.raises(CourseError, match="no exported model"):
        exported.load(tmp_path / "nowhere")
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CourseError, match="damaged"):
        exported.load(tmp_path)
    weights.unlink()
    with pytest.raises(CourseError, match="damaged or missing"):
        exported.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CourseError, match="damaged"):
        exported.load(tmp_path)


def test_preprocessing_travels_with_the_weights(tmp_path):
    backbone = tiny.resnet()
    backbone.preprocess = Preprocess(24, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "BGR")
    about = {"model": "tiny/resnet", "dropout": 0.0, "image_size": 24}
    exported.export(backbone, "abc", tmp_path, tiny.images(4).images, False, about)
    assert exported.load(tmp_path).backbone.preprocess == backbone.preprocess


# -- a job's model, and course predict --------------------------------------------


def trained_on(tmp_path, values, data):
    config = configuration.from_dict(
        {"epochs": 2, "batch_size": 8, "baseline": False, "onnx": False}
        | {"strategy": "full"}
        | values
    )
    return pipeline.run(config, data, tmp_path / "out", progress=False)


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("red", "green", "blue")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 120, (32, 32, 3))
            pixels[..., k] += 110
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def predicted(capsys, *line):
    assert cli.main(["predict", *map(str, line)]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


@pytest.mark.slow
def test_predict_answers_as_the_job_did(tmp_path, pictures, capsys):
    result = trained_on(tmp_path, {"head_rate": 0.01, "backbone_rate": 0.01}, pictures)
    rows = predicted(capsys, "--model", tmp_path / "out", "--data", pictures)
    assert len(rows) == 60 and rows[0]["example"] == "blue/0.png"
    answers = {f"data/{row['example']}": row["answer"] for row in rows}
    test = result.parts.test
    ours = [answers[name] for name in test.metadata["example"]]
    theirs = [result.classes[k] for k in result.transfer["test"]["predictions"]]
    assert ours == theirs
    for row in rows:
        shares = [float(row[c]) for c in ("red", "green", "blue")]
        assert abs(sum(shares) - 1) < 1e-3 and float(row["probability"]) == max(shares)

    one = predicted(capsys, "--model", tmp_path / "out/model", "--data",
                    pictures / "red" / "3.png")  # fmt: skip
    assert [row["example"] for row in one] == ["3.png"]
    table = pictures / "some.csv"
    table.write_text("file\nred/1.png\ngreen/2.png\n")
    listed = predicted(capsys, "--model", tmp_path / "out", "--data", table,
                       "--column", "file")  # fmt: skip
    assert [row["answer"] for row in listed] == [
        answers["data/red/1.png"], answers["data/green/2.png"]
    ]  # fmt: skip
    line = ["predict", "--model", str(tmp_path / "out"), "--data", str(table)]
    assert cli.main([*line, "--column", "file", "--to", str(tmp_path / "p.csv")]) == 0
    assert "2 answers" in capsys.readouterr().out
    for data, message in (("nowhere", "do not exist"), ("out/state", "no image")):
        line[-1] = str(tmp_path / data)
        assert cli.main(line) == 1
        said = capsys.readouterr().err
        assert message in said and "Traceback" not in said


@pytest.mark.slow
def test_predict_scales_deep_pictures_as_in_training(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            values = rng.integers(0, 400, (32, 32)) + 700 * k
            image = Image.fromarray(values.astype(np.uint16))
            image.save(tmp_path / "data" / name / f"{i}.tif")
    values = {"head_rate": 0.01, "backbone_rate": 0.01, "audit": "warn"}
    result = trained_on(tmp_path, values, tmp_path / "data")
    stored = json.loads((tmp_path / "out" / "model" / "model.json").read_text())
    (span,) = stored["pictures"]["ranges"].values()
    assert span[0] == 0 and 1000 < span[1] < 1100
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert f"0 to {span[1]:g} became 0 to 255" in card and "| dark |" in card
    assert f"0 to {span[1]:g} became 0 to 255" in result.html()
    model = exported.load(tmp_path / "out")
    rows = predicted(capsys, "--model", tmp_path / "out", "--data", tmp_path / "data")
    shown = {f"data/{row['example']}": float(row["dark"]) for row in rows}
    P = model.predict(result.parts.test.images)
    for name, share in zip(result.parts.test.metadata["example"], P[:, 0]):
        assert abs(shown[name] - share) < 1e-3
    alone = tmp_path / "data" / "dark" / "3.tif"  # the same numbers, not its own
    (one,) = predicted(capsys, "--model", tmp_path / "out", "--data", alone)
    assert abs(float(one["dark"]) - shown["data/dark/3.tif"]) < 1e-3


@pytest.mark.slow
def test_predict_counts_and_names_what_it_leaves_out(tmp_path, pictures, capsys):
    trained_on(tmp_path, {"epochs": 1}, pictures)
    line = ["predict", "--model", str(tmp_path / "out"), "--data", str(pictures)]
    hidden = pictures / "red" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "old.png").write_bytes((pictures / "red" / "1.png").read_bytes())
    assert cli.main(line) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 61 and "red/.ipynb_checkpoints" in said.err
    (pictures / "blue" / "shot.nef").write_bytes(b"raw")
    assert cli.main(line) == 3
    assert "ending .nef, which no reader takes: 1 (blue/shot.nef)" in (
        capsys.readouterr().err
    )
    for i in range(3):
        (pictures / f"cut{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert cli.main(line) == 1
    said = capsys.readouterr()
    assert "3 of 63 pictures cannot be read" in said.err and not said.out
    assert "--skip-unreadable" in said.err and "cut2.png" in said.err
    assert cli.main([*line, "--skip-unreadable"]) == 3
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 61 and "cut1.png" in said.err


def test_the_card_says_what_matters(tmp_path, pictures):
    result = trained_on(tmp_path, {"licence": "CC BY 4.0"}, pictures)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    stored = json.loads((tmp_path / "out" / "model" / "model.json").read_text())
    for words in (
        "## Intended use", "## Data", "## Limits", "## Measures", "CC BY 4.0",
        "blue, green, red",
        result.verdict, stored["sha256"], "licence", "| red |",
    ):  # fmt: skip
        assert words in card
    share = result.transfer["test"]["accuracy"]
    assert f"| accuracy | {100 * share:.1f} % |" in card


@pytest.mark.drawn
@pytest.mark.slow
def test_a_text_job_from_csv_to_prediction(tmp_path, capsys):
    rng = np.random.default_rng(0)
    words = {"rings": "ring centre edge", "lines": "scratch line long"}
    table = tmp_path / "texts.csv"
    with open(table, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "tool"])
        for i in range(60):
            label = list(words)[i % 2]
            text = " ".join(rng.choice(words[label].split(), 5)) + f" number {i}"
            writer.writerow([text, label, f"T{i % 3}"])
    values = dict(
        task="text",
        model="tiny/text",
        groups=["tool"],
        epochs=8,
        head_rate=0.01,
        backbone_rate=0.005,
        strategy="last_stage",
        baseline=True,
        baseline_rates=[0.001],
    )
    result = trained_on(tmp_path, values, table)
    assert result.test_accuracy > 0.8 and result.baseline_accuracy is not None
    columns = {row["column"] for row in result.subgroups}
    assert columns == {"class", "tool"}
    page = result.html()
    assert "texts" in page and "Right answers by tool" in page
    lines = tmp_path / "new.txt"
    lines.write_text("ring edge centre\n\nscratch long line\n")
    rows = predicted(capsys, "--model", tmp_path / "out", "--data", lines)
    assert [row["answer"] for row in rows] == ["rings", "lines"]
    assert [row["example"] for row in rows] == ["line 1", "line 3"]
    rows = predicted(capsys, "--model", tmp_path / "out", "--data", table)
    assert len(rows) == 60
    line = ["predict", "--model", str(tmp_path / "out"), "--data", str(tmp_path)]
    assert cli.main(line) == 1
    assert "holds no texts" in capsys.readouterr().err
