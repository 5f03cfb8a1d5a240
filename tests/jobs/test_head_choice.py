"""What a new head reads is chosen inside the training part, and stays with the job."""

import numpy as np
import pytest
import tiny
import torch

from course_lib.errors import CourseError
from course_lib.jobs import configuration, exported, head_choice, pipeline
from course_lib.models import zoo


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    made = {"tiny/resnet": tiny.resnet, "tiny/vit": tiny.vit}
    monkeypatch.setattr(zoo, "load", lambda name, *_, seed=0, **__: made[name](3, seed))
    monkeypatch.setenv("CI", "1")


def config(**values):
    usual = dict(model="tiny/resnet", strategy="frozen", epochs=2, onnx=False)
    return configuration.from_dict(usual | {"baseline": False} | values)


def parts():
    return [tiny.images(n, seed=i) for i, n in enumerate((24, 9, 9))]


def features(noise, labels, seed):
    told = np.eye(3)[labels] + np.random.default_rng(seed).normal(size=(60, 3)) * noise
    return told.astype(np.float32)


def test_the_simplest_within_one_standard_error_of_the_best_is_taken():
    labels, groups = np.arange(60) % 3, np.arange(60)
    clear, blurred = features(0.1, labels, 0), features(3.0, labels, 1)
    taken, said = head_choice.compared({"a": blurred, "b": clear}, labels, groups)
    assert taken == "b" and "b 100.0 %" in said and "standard error" in said
    taken, _ = head_choice.compared({"a": clear, "b": clear}, labels, groups)
    assert taken == "a"
    taken, said = head_choice.compared({"a": blurred, "b": clear}, labels, labels)
    assert taken == "a" and "too few" in said  # one group a class


def test_rows_of_one_group_stay_on_one_side():
    """Labels that only copies tell: right across folds, a guess with groups."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(30, 40)), 2, axis=0).astype(np.float32)
    labels = np.repeat(rng.permutation(np.arange(30) % 2), 2)
    scores = []
    for groups in (np.arange(60), np.arange(60) // 2):
        _, said = head_choice.compared({"a": X}, labels, groups)
        scores.append(float(said.split("were: a ")[1].split()[0]))
    assert scores[0] > scores[1] + 20


@pytest.mark.slow
def test_a_job_reads_what_it_is_told_and_its_folder_answers_alike(tmp_path):
    result = pipeline.run(
        config(head_reads="stages", onnx=True, dropout=0.2),
        parts(),
        tmp_path / "out",
        progress=False,
    )
    stages = result.config["head_reads"]
    assert stages[0] == "layer2" and any("The head reads" in n for n in result.notes)
    assert result.export["onnx"]["within"]
    assert "The head reads" in (tmp_path / "out/model/README.md").read_text()
    model = exported.load(tmp_path / "out")
    assert list(model.about["head_reads"]) == stages
    answers = model.predict(parts()[2].images).argmax(1)
    assert answers.tolist() == result.transfer["test"]["predictions"]
    again = pipeline.run(  # finished: the same choice and weights, not compared anew
        config(head_reads="stages", onnx=True, dropout=0.2),
        parts(),
        tmp_path / "out",
        progress=False,
    )
    assert again.weights_sha256 == result.weights_sha256 and again.notes == result.notes


@pytest.mark.slow
def test_named_stages_the_last_layer_and_a_wrong_name():
    named = pipeline.run(config(head_reads=["layer3"]), parts(), progress=False)
    assert named.config["head_reads"] == ["layer3"]
    last = pipeline.run(config(head_reads="last"), parts(), progress=False)
    assert last.config["head_reads"] == "last"
    assert not any("The head reads" in note for note in last.notes)
    with pytest.raises(CourseError, match="layer9.*no stage of tiny/resnet"):
        pipeline.run(config(head_reads=["layer9"]), parts(), progress=False)


@pytest.mark.slow
def test_the_standardisation_is_that_of_the_training_part():
    chosen, read = config(head_reads=["layer3"], augment="none"), parts()
    result = pipeline.run(chosen, read, progress=False)
    backbone = result.backbone
    with torch.no_grad():
        X = backbone.model.reader(backbone.preprocess(read[0].images))
    mean = backbone.model.standardise.mean
    assert torch.allclose(mean, X.mean(0), atol=2e-3)
    said = " ".join(result.notes)
    assert "logistic regression" in said and "Learning rates" not in said


@pytest.mark.parametrize(
    "values",
    [
        dict(strategy="full", head_reads="stages"),
        dict(task="text", model="minilm", strategy="full", head_reads="stages"),
    ],
)
def test_other_strategies_do_not_take_it(values):
    with pytest.raises(CourseError, match="head_reads is given"):
        configuration.from_dict(values)
