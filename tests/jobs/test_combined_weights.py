"""`robust: wise-ft` and `soup: N`: weights of several states, chosen by validation."""

import json

import numpy as np
import pytest
import tiny
import torch

from course_lib import training
from course_lib.course import cli
from course_lib.datasets.texts import TextDataset
from course_lib.errors import CourseError
from course_lib.jobs import (
    assembly,
    combined_report,
    combined_weights,
    configuration,
    exported,
    pipeline,
)
from course_lib.methods import merging
from course_lib.models import zoo
from course_lib.training import resume
from course_lib.training.picture_size import SizeRule

USUAL = {"model": "tiny/resnet", "strategy": "full", "epochs": 2, "batch_size": 8,
         "head_rate": 0.02, "backbone_rate": 0.01, "augment": "none",
         "baseline": False, "onnx": False}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, undrawn):
    load = zoo.load

    def chosen(name=None, num_classes=None, seed=0, pretrained=True):
        if name == "minilm":
            return load(name, num_classes, seed, pretrained)
        if name == "tiny/encoder":
            return tiny.encoder(num_classes=None, seed=seed)
        return tiny.resnet(seed=seed + 100 * pretrained)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setenv("CI", "1")


@pytest.fixture
def states(monkeypatch):
    """[(configuration, weights)] after each run of a job, the head's first."""
    found, learned = [], combined_weights.learned

    def noted(config, backbone, *others):
        run = learned(config, backbone, *others)
        found.append((config, tiny.state(backbone)))
        return run

    monkeypatch.setattr(combined_weights, "learned", noted)
    return found


def config(**values):
    return configuration.from_dict(USUAL | values)


def parts(shuffled=False):
    """Training, validation and test pictures; the test labels in another order."""
    train, validation, test = (
        tiny.images(n, seed=i) for i, n in enumerate((24, 15, 12))
    )
    if shuffled:
        test.labels[:] = np.random.default_rng(5).permutation(test.labels)
    return train, validation, test


def run(values, out=None, data=None):
    return pipeline.run(config(**values), data or parts(), out, progress=False)


def texts(words, n, split):
    names = tuple(words)
    texts = [f"{split} {i} {words[names[i % 2]]}" for i in range(n)]
    return TextDataset(texts, np.arange(n) % 2, names, name="words", split=split)


def same(state, other):
    for name, value in state.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, other[name], msg=name)


def plain(result):
    return {k: v for k, v in result.to_dict().items() if k not in ("seconds", "export")}


# -- WiSE-FT ----------------------------------------------------------------------


def test_weights_are_a_plain_interpolation_at_the_alpha_that_validation_chose(states):
    result = run({"robust": "wise-ft", "alphas": [0.7, 0.4, 0.4]})
    (alone, start), (own, end) = states
    assert (alone.strategy, own.strategy) == ("frozen", "full")
    pretrained = tiny.state(tiny.resnet(seed=100))
    assert all(
        torch.equal(start[name], pretrained[name])
        for name in start
        if not name.startswith("fc")
    )
    assert all(torch.equal(start[n], end[n]) for n in start if "running" in n)
    assert not torch.equal(start["layer4.0.bn1.weight"], end["layer4.0.bn1.weight"])

    net, losses = tiny.resnet(), {}
    for alpha in (0.4, 0.7):
        mixed = {
            name: (1 - alpha) * start[name] + alpha * value
            if value.is_floating_point()
            else value
            for name, value in end.items()
        }
        net.model.load_state_dict(mixed)
        losses[alpha] = training.evaluate(net, parts()[1])["loss"]
    rows = {row["alpha"]: row["loss"] for row in result.combined["alphas"]}
    assert rows == pytest.approx(losses, abs=1e-5) and list(rows) == [0.4, 0.7]
    alpha = result.combined["alpha"]
    assert losses[alpha] == min(losses.values())
    same(tiny.state(result.backbone), merging.interpolate(start, end, alpha))
    assert result.transfer["validation"]["loss"] == pytest.approx(rows[alpha], abs=1e-5)


def test_of_equal_losses_the_smaller_move_is_taken():
    rows = [(1.0, 0.30001), (0.5, 0.30004), (0.0, 0.3002)]
    rows = [dict(alpha=alpha, loss=loss) for alpha, loss in rows]
    assert combined_weights.preferred(rows) == 0.5


def test_nothing_is_chosen_on_the_test_part():
    values = {"soup": 2, "robust": "wise-ft", "audit": "warn"}
    ours, other = run(values), run(values, data=parts(shuffled=True))
    for one in (ours, other):
        for tested in ("best_run", "gain"):
            one.combined.pop(tested)
    assert ours.transfer["test"]["labels"] != other.transfer["test"]["labels"]
    assert ours.combined == other.combined
    assert ours.weights_sha256 == other.weights_sha256


def test_layers_that_stay_frozen_run_once_and_batchnorm_can_learn_afterwards():
    values = {"robust": "wise-ft", "strategy": "last_stage", "augment": "shift"}
    result = run(values)
    assert any("Layers up to layer3 stay frozen" in note for note in result.notes)
    before = tiny.state(tiny.resnet(seed=100))
    moved = tiny.moved(before, result.backbone)
    assert all(name.startswith(("layer4", "fc")) for name in moved)
    assert not any("running" in name for name in moved)
    assert result.backbone.model.train().layer4[0].bn1.training


def test_head_then_full_has_its_head_trained_once(states):
    run({"robust": "wise-ft", "strategy": "head_then_full"})
    ours = [state for _, state in states]
    states.clear()
    run({"robust": "wise-ft"})
    for mine, (_, full) in zip(ours, states, strict=True):
        same(mine, full)


def test_texts_are_mixed_too():
    words = {"a": "red round apple", "b": "green long bean"}
    data = [
        texts(words, n, split)
        for split, n in (("train", 16), ("validation", 8), ("test", 8))
    ]
    values = {"task": "text", "model": "tiny/encoder", "max_length": 16}
    result = run(values | {"robust": "wise-ft", "alphas": [0.5]}, data=data)
    said = " ".join(result.notes)
    assert result.combined["alpha"] == 0.5 and "sets alpha to 0.5" in said
    assert "BatchNorm" not in said


# -- soups ------------------------------------------------------------------------


def test_a_soup_is_the_mean_of_the_runs_that_validation_takes(states):
    result = run({"soup": 3, "soup_factors": [1, 0.5]})
    (_, start), *runs = states
    assert [one.seed for one, _ in runs] == [0, 1, 2]
    assert [one.backbone_rate for one, _ in runs] == [0.01, 0.005, 0.01]
    assert [one.head_rate for one, _ in runs] == [0.02, 0.01, 0.02]
    states_of = [state for _, state in runs]
    net = tiny.resnet()

    def loss(members):
        net.model.load_state_dict(merging.soup([states_of[i] for i in members]))
        return round(training.evaluate(net, parts()[1])["loss"], 4)

    order = sorted(range(3), key=lambda i: loss([i]))
    taken = order[:1]
    for i in order[1:]:
        if loss([*taken, i]) <= loss(taken):
            taken.append(i)
    found = result.combined
    assert [row["taken"] for row in found["runs"]] == [i in taken for i in range(3)]
    mean = {
        name: torch.stack([states_of[i][name].float() for i in taken]).mean(0)
        for name in start
    }
    same(tiny.state(result.backbone), mean)
    assert found["best_run"]["run"] == order[0] + 1
    assert found["soup"]["loss"] <= min(row["loss"] for row in found["runs"]) + 1e-4
    best, ours = (
        np.equal(one["test"]["predictions"], one["test"]["labels"])
        for one in (found["best_run"], result.transfer)
    )
    assert found["gain"]["mean"] == pytest.approx(ours.mean() - best.mean())


def test_a_run_that_diverges_is_left_out_and_said(monkeypatch):
    learned = combined_weights.learned

    def diverging(config, *others):
        if config.seed in lost and config.strategy != "frozen":
            raise CourseError("The loss is nan at step 3.\nExpected: finite.\nDo: no.")
        return learned(config, *others)

    monkeypatch.setattr(combined_weights, "learned", diverging)
    lost = {1}
    result = run({"soup": 3})
    assert [row["run"] for row in result.combined["runs"]] == [1, 3]
    assert any("(1 diverged and was left out)" in note for note in result.notes)
    lost = {0, 1}
    with pytest.raises(CourseError, match="The loss is nan"):
        run({"soup": 2})


def test_what_it_costs_counts_for_the_picture_size():
    backbone = tiny.resnet()
    backbone.card = {"input_size": (3, 32, 32)}
    seconds = []
    for values in ({}, {"soup": 4}):
        rule = assembly.size_rule(config(epochs=20, **values), backbone)
        assert isinstance(rule, SizeRule)
        seconds.append(rule.work(1000, 1400).seconds(128))
    assert 3.5 < seconds[1] / seconds[0] < 4.5


# -- the folder -------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_job_that_was_killed_goes_on_with_the_run_that_was_interrupted(
    tmp_path, monkeypatch
):
    values = {"soup": 2, "robust": "wise-ft", "augment": "shift"}
    straight = run(values, tmp_path / "straight")
    store = resume.Checkpoint.store

    def killed(checkpoint, run):
        store(checkpoint, run)
        if checkpoint.path.stem == "soup-2" and len(run.history.step) == 1:
            raise Killed

    broken = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(resume.Checkpoint, "store", killed)
        run(values, broken)
    assert not (broken / "result.json").exists()
    files = {p: p.stat().st_mtime_ns for p in (broken / "state").glob("*.safetensors")}
    assert {path.stem for path in files} == {"soup-1", "soup-2"}  # the head is fitted
    torch.rand(7)
    result = run(values, broken)
    again = {
        path.stem for path, when in files.items() if path.stat().st_mtime_ns > when
    }
    assert again == {"soup-2"}
    assert plain(result) == plain(straight)


def test_the_command_says_the_cost_first_and_leaves_the_merged_model(tmp_path, capsys):
    tiny.write_pictures(tmp_path / "data", 15, 32)
    path, out = tmp_path / "job.yaml", tmp_path / "out"
    path.write_text(config(soup=2, robust="wise-ft", alphas=[0.5]).to_yaml())
    line = ["train", "--config", str(path), "--data", str(tmp_path / "data")]
    assert cli.main([*line, "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    cost, verdict = said.index("about 2 times as long"), said.index("tiny/resnet ans")
    assert cost < verdict and said.count("about 2 times as long") == 1
    result = json.loads((out / "result.json").read_text())
    assert result["combined"]["alpha"] == 0.5 and result["config"]["soup"] == 2
    page = (out / "report.html").read_text()
    assert "Combined weights" in page and "greedy soup" in page
    card = (out / "model" / "README.md").read_text()
    assert "soup: 2, robust: wise-ft with alpha 0.5" in card
    assert "One soup of 2 runs" in card and "arXiv:2109.01903" in page
    model = exported.load(out)
    read = pipeline.run(config(soup=2, robust="wise-ft", alphas=[0.5]),
                        tmp_path / "data", out, progress=False)  # fmt: skip
    answers = model.predict(read.parts.test.images).argmax(1)
    assert answers.tolist() == result["transfer"]["test"]["predictions"]
    same(tiny.state(model.backbone), tiny.state(read.backbone))


def test_a_job_without_them_says_nothing_of_them():
    result = run({})
    assert result.combined is None
    assert "Combined weights" not in result.html()
    assert "combined" not in " ".join(result.notes)


def test_the_figure_and_the_tables_say_what_was_chosen():
    rows = [dict(alpha=a, loss=l, accuracy=0.5) for a, l in ((0, 0.3), (1, 0.2))]
    found = {"head": dict(loss=0.3, accuracy=0.5, epochs=3), "alphas": rows, "alpha": 1}
    table, picture = combined_report.pieces(found)
    assert table.rows[1] == ("1", "0.2000", "50.0 %", "chosen")
    assert "chosen is 1 with a loss of 0.2000" in picture.alt
