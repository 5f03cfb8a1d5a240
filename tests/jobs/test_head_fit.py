"""A linear head on stored features is fitted as scikit-learn's logistic regression."""

import json

import numpy as np
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression

from course_lib import training
from course_lib.jobs import assembly, configuration, head_fit, pipeline
from course_lib.jobs.stored_stages import Stored
from course_lib.models import zoo
from course_lib.models.stage_head import standardised_by

PLAIN = training.Objective()


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    made = {"tiny/resnet": tiny.resnet, "tiny/vit": tiny.vit}
    monkeypatch.setattr(zoo, "load", lambda name, *_, seed=0, **__: made[name](3, seed))
    monkeypatch.setenv("CI", "1")


def examples(n=60, F=20, classes=3):
    """Features of different scales that tell the label in part, and labels."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = rng.normal(size=(n, F)) + 0.7 * np.eye(classes, F)[y]
    X = X * np.geomspace(0.1, 10, F) + 3
    return torch.as_tensor(X).float(), torch.as_tensor(y)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_it_is_the_regression_of_scikit_learn(C):
    X, y = examples()
    weight, bias = head_fit.regression(X, y, 3, PLAIN, C)
    Z = standardised_by(X)(X).numpy()
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(Z, y)
    ours = (X.double() @ weight.T + bias).softmax(dim=1)
    assert np.abs(ours.numpy() - theirs.predict_proba(Z)).max() < 1e-3
    again, _ = head_fit.regression(X, y, 3, PLAIN, C, start=(weight, bias))
    assert torch.allclose(again, weight, atol=1e-3)


def test_the_classes_weigh_as_the_job_says():
    """Few of one class: balanced weights call more pictures so."""
    X, y = examples(90)
    rows = np.flatnonzero((y.numpy() != 2) | (np.arange(90) < 15))
    X, y = X[rows], y[rows]
    some = tiny.images(len(rows))
    some.labels[:] = y
    found = [
        (X.double() @ weight.T + bias).argmax(1).eq(2).sum()
        for objective in (PLAIN, training.Objective(assembly.balanced_loss(some, 0)))
        for weight, bias in [head_fit.regression(X, y, 3, objective, 0.01)]
    ]
    assert found[0] < found[1]


def test_the_penalty_is_that_of_the_lowest_loss_on_pictures_left_out():
    """Labels by chance: a strong penalty; a class of one picture: no choice."""
    chosen, read = job(), tiny.images(60)
    rng = np.random.default_rng(1)
    read.labels[:] = rng.permutation(np.arange(60) % 3)
    backbone = assembly.model(chosen, 3)
    once = stored_of(backbone, torch.as_tensor(rng.normal(size=(60, 40))).float())
    parts = type("Parts", (), {"train": read})
    fit = head_fit.fitted(chosen, backbone, parts, once, PLAIN)
    assert fit.C <= 0.01 and fit.folds == head_fit.FOLDS
    assert fit.tried[f"{fit.C:g}"] == min(fit.tried.values()) < np.log(3) + 0.1
    read.labels[:] = np.minimum(np.arange(60), 2)
    alone = head_fit.fitted(chosen, backbone, parts, once, PLAIN)
    assert (alone.C, alone.folds, alone.tried) == (1.0, 0, {})


def test_the_head_is_the_same_with_one_and_two_threads():
    X, y = examples()
    backbone, heads = assembly.model(job(), 3), []
    read = tiny.images(60)
    read.labels[:] = y
    parts = type("Parts", (), {"train": read})
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            once = stored_of(backbone, X)
            head_fit.fitted(job(), backbone, parts, once, PLAIN)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        heads.append(head_fit.linear(backbone).weight.clone())
    assert torch.equal(*heads)


def job(**values):
    usual = dict(model="tiny/resnet", strategy="frozen", epochs=2, onnx=False)
    return configuration.from_dict(usual | {"baseline": False} | values)


def stored_of(backbone, X):
    """These features instead of a network's, in front of a head of their width."""
    head = torch.nn.Linear(X.shape[1], 3)
    backbone.model.set_submodule(backbone.heads[0], head)
    upper = torch.nn.Sequential(torch.nn.Identity(), head)
    return Stored(upper, (X, None), (X, None), "", 1, len(X), "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [dict(dropout=0.2, class_weights="balanced"), dict(model="tiny/vit")]
)
def test_a_job_says_it_and_comes_again_to_the_same(values, tmp_path):
    parts = [tiny.images(n, seed=i) for i, n in enumerate((24, 9, 9))]
    chosen = job(head_reads="last", augment="shift", **values)
    result = pipeline.run(chosen, parts, tmp_path / "out", progress=False)
    assert result.test_accuracy == 1.0 and result.transfer["history"] is None
    assert "on 3 altered copies" not in " ".join(result.notes)
    stored = json.loads((tmp_path / "out/result.json").read_text())
    assert stored["transfer"]["fit"]["tried"]
    page = (tmp_path / "out/report.html").read_text()
    assert "a logistic regression with C = " in page and ">fitted<" in page
    again = pipeline.run(chosen, parts, tmp_path / "out", progress=False)
    assert again.weights_sha256 == result.weights_sha256 and again.notes == result.notes
