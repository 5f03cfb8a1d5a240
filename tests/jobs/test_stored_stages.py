"""Frozen layers run once: the same training, on their stored output."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from course_lib import training
from course_lib.course import cli
from course_lib.jobs import (
    assembly,
    configuration,
    exported,
    job_runs,
    own_data,
    pipeline,
)
from course_lib.jobs.stored_stages import COPIES, stored
from course_lib.models import zoo


def config(**values):
    usual = {"epochs": 3, "batch_size": 8, "baseline": False, "onnx": False}
    usual |= {"augment": "none", "head_rate": 0.02}
    if values.get("strategy") != "frozen":
        usual["backbone_rate"] = 0.02
    return configuration.from_dict(usual | {"model": "tiny/resnet"} | values)


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, undrawn):
    load = zoo.load

    def chosen(name=None, num_classes=None, seed=0, pretrained=True):
        made = {"tiny/resnet": tiny.resnet, "tiny/vit": tiny.vit}.get(name)
        return made(seed=seed) if made else load(name, num_classes, seed, pretrained)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setenv("CI", "1")


def parts():
    return [tiny.images(n, seed=i) for i, n in enumerate((24, 9, 9))]


def made(chosen):
    backbone = assembly.model(chosen, 3)
    read = own_data.from_parts(*parts(), chosen)
    return backbone, read, assembly.recipe(chosen, backbone, read)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, values, place",
    [
        ("tiny/resnet", {"strategy": "frozen"}, "avgpool"),
        ("tiny/resnet", {"strategy": "frozen", "dropout": 0.2}, "avgpool"),
        ("tiny/resnet", {"strategy": "last_stage"}, "layer3"),
        ("tiny/resnet", {"strategy": "last_stage", "last_blocks": 2}, "layer2"),
        ("tiny/resnet", {"strategy": "gradual", "unfreeze": {1: "layer4"}}, "layer3"),
        ("tiny/vit", {"strategy": "last_stage"}, "blocks.0"),
        ("tiny/resnet", {"strategy": "full"}, None),
        ("tiny/resnet", {"strategy": "gradual", "epochs": 9}, None),
    ],
)
def test_the_network_is_cut_below_all_that_learns(model, values, place):
    chosen = config(model=model, **values)
    backbone, read, _ = made(chosen)
    before = {n: p.requires_grad for n, p in backbone.model.named_parameters()}
    opened = assembly.opened(chosen, backbone)
    found = stored(backbone, read, opened, None, 0)
    assert (found and found.place) == place
    after = {n: p.requires_grad for n, p in backbone.model.named_parameters()}
    assert after == before


@pytest.mark.slow
def test_training_on_the_stored_output_is_training_the_network():
    """The same weights up to half precision, and what was frozen has not moved."""
    chosen = config(strategy="last_stage")
    results = {}
    for way in ("whole", "stored"):
        backbone, read, recipe = made(chosen)
        before = tiny.state(backbone)
        once = None
        if way == "stored":
            opened = assembly.opened(chosen, backbone)
            once = stored(backbone, read, opened, None, 0)
        run = job_runs.trained(chosen, backbone, read, recipe, once)
        results[way] = run["history"]["val_loss"], tiny.state(backbone)
        assert all(n.startswith(("layer4", "fc")) for n in tiny.moved(before, backbone))
    losses = [np.array(losses) for losses, _ in results.values()]
    assert len(losses[0]) == 3 and np.abs(losses[0] - losses[1]).max() < 0.01
    whole, ours = (state["fc.weight"] for _, state in results.values())
    assert torch.allclose(whole, ours, atol=0.01) and not torch.equal(whole, ours)


def test_an_epoch_has_as_many_updates_and_draws_from_all_copies():
    chosen = config(strategy="last_stage", augment="shift")
    backbone, read, recipe = made(chosen)
    opened = assembly.opened(chosen, backbone)
    found = stored(backbone, read, opened, training.AUGMENTATIONS["shift"](32), 0)
    outputs, labels = found.train
    assert len(outputs) == len(labels) == COPIES * 24
    copies = outputs.reshape(COPIES, 24, -1)
    assert not torch.equal(copies[0], copies[1])
    run = job_runs.trained(chosen, backbone, read, recipe, found)
    assert run["history"]["step"] == [3, 6, 9]
    assert run["history"]["epoch"] == [1, 2, 3]
    assert "4 fixed views" in found.said("shift")


@pytest.mark.slow
def test_a_job_says_so_and_its_folder_answers_as_it_did(tmp_path):
    chosen = config(strategy="last_stage", augment="shift")
    result = pipeline.run(chosen, parts(), tmp_path / "out", progress=False)
    assert any("Layers up to layer3 stay frozen" in note for note in result.notes)
    model = exported.load(tmp_path / "out")
    answers = model.predict(parts()[2].images).argmax(1)
    assert answers.tolist() == result.transfer["test"]["predictions"]


def test_without_a_strategy_the_number_of_labels_decides():
    read = own_data.from_parts(*parts(), config(strategy="full"))
    auto = configuration.from_dict({"model": "tiny/resnet"})
    settled, said = assembly.strategy(auto, read)
    assert settled.strategy in ("frozen", "last_stage") and "8 labels a class" in said
    fixed, said = assembly.strategy(config(strategy="full"), read)
    assert fixed.strategy == "full" and not said
    random = configuration.from_dict({"model": "tiny/resnet", "weights": "random"})
    assert assembly.strategy(random, read)[0].strategy == "full"


def test_small_sets_get_more_epochs_until_the_updates_suffice():
    auto = configuration.from_dict({})
    assert assembly.length(auto, 84) == (67, 17)  # three updates an epoch
    assert assembly.length(auto, 1000) == (20, 5)
    fixed = configuration.from_dict({"epochs": 7, "patience": None})
    assert assembly.length(fixed, 84) == (7, None)


def test_lite0_is_opened_from_its_last_resolution_on():
    chosen = configuration.from_dict({"strategy": "last_stage"})
    backbone = zoo.load("imagenet/efficientnet-lite0", 2, pretrained=False)
    opened = assembly.opened(chosen, backbone)
    heads = {name.rpartition(".")[0].split(".")[0] for name in opened}
    assert heads == {"blocks", "conv_head", "bn2", "classifier"}
    blocks = {name.split(".")[1] for name in opened if name.startswith("blocks")}
    assert blocks == {"5", "6"}


# -- without a configuration ------------------------------------------------------


def coloured(root, side=28):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("red", "green")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 120, (side, side, 3))
            pixels[..., k] += 110
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.mark.slow
def test_a_folder_needs_no_configuration_and_small_pictures_are_scaled_up(
    tmp_path, monkeypatch, capsys
):
    """The real default network; the job is stopped where training would begin."""
    seen = {}

    def stopped(config, backbone, *_):
        seen.update(config=config, size=backbone.preprocess.size)
        raise SystemExit(9)

    monkeypatch.setattr(pipeline, "audited", stopped)
    line = ["train", "--data", str(coloured(tmp_path / "data"))]
    with pytest.raises(SystemExit):
        cli.main([*line, "--out", str(tmp_path / "out")])
    assert seen["config"].model == "imagenet/efficientnet-lite0"
    assert seen["config"].image_size == seen["size"] == 128
    said = " ".join(capsys.readouterr().out.split())
    assert "made 128 pixels a side; their own shorter side has 28" in said
    assert "scaled up" in said and "Strategy " in said


def test_without_the_weights_the_message_names_what_brings_them(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path / "none"))
    line = ["train", "--data", str(coloured(tmp_path / "data"))]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "course data fetch efficientnet-lite0" in said
    assert "model: bundled/resnet10-patterns" in said
    assert not (tmp_path / "out").exists()
