"""A training run that was killed goes on, and ends where it would have ended."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

from course_lib import training
from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.training import (
    Optimization,
    Recipe,
    Runtime,
    freezing,
    resume,
    schedules,
)


class Killed(Exception):
    """Stands for the end of the process."""


def stopping(at, plan=None):
    """Hooks that end the run before epoch ``at``."""

    def hook(epoch, model, optimizer):
        if epoch == at:
            raise Killed
        Recipe(on_epoch=plan).before_epoch(epoch, model, optimizer)

    return hook


def resnet():
    backbone = tiny.resnet()
    backbone.model.to(memory_format=torch.channels_last)
    head = nn.Sequential(nn.Dropout(0.3), backbone.model.fc)
    backbone.model.fc = head
    backbone.head = "fc"
    return backbone, {"lr": 1e-2}, Recipe(optimization=Optimization(clip_norm=1.0))


def momentum():
    recipe = Recipe(optimization=Optimization(optimizer="sgd"))
    return tiny.resnet(), {"lr": 1e-2}, recipe


def gradual():
    backbone, options, _ = resnet()
    first, plan = schedules.gradual_unfreezing(backbone, 1e-2, 0.5)
    optimization = Optimization(param_groups=first, clip_norm=1.0)
    return backbone, options, Recipe(on_epoch=plan, optimization=optimization)


def frozen():
    return freezing.freeze_until(tiny.resnet(), "layer3"), {"lr": 1e-2}, Recipe()


def vit_in_half_precision():
    return tiny.vit(), {"lr": 1e-2}, Recipe(runtime=Runtime(amp="bf16"))


def stopped_early():
    recipe = Recipe(patience=2, optimization=Optimization(clip_norm=0.5))
    return tiny.resnet(), {"lr": 0.3}, recipe


def mid_pass():
    return tiny.resnet(), {"lr": 1e-2, "steps": 17}, Recipe(eval_every=2)


SETUPS = [resnet, momentum, gradual, frozen, vit_in_half_precision, stopped_early,
          mid_pass]  # fmt: skip


def trained(make, path=None, stop=None):
    """(weights, history) of a run, killed before epoch ``stop`` if that is given."""
    backbone, options, recipe = make()
    if "steps" not in options:
        options["epochs"] = 6
    recipe = replace(
        recipe,
        batch_size=7,
        augment=training.compose(training.random_flips(), training.random_crop(2)),
        on_epoch=stopping(stop, recipe.on_epoch),
        runtime=replace(recipe.runtime, checkpoint=path),
    )
    history = training.fit(
        backbone,
        tiny.images(24),
        tiny.images(9, seed=1),
        seed=3,
        recipe=recipe,
        **options,
    )
    history.seconds = 0.0
    return {k: v.clone() for k, v in backbone.model.state_dict().items()}, history


@pytest.mark.slow
@pytest.mark.parametrize("make", SETUPS)
def test_killed_twice_and_resumed_it_ends_bit_for_bit_the_same(make, tmp_path):
    weights, history = trained(make)
    path = tmp_path / "run.safetensors"
    for stop in (1, 2, 4):
        try:
            trained(make, path, stop)
        except Killed:
            pass
        torch.rand(7)  # the generators of this process have moved on meanwhile
    again, resumed = trained(make, path)
    assert resumed == history
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    other, _ = trained(make, tmp_path / "other.safetensors")
    assert all(torch.equal(weights[name], other[name]) for name in weights)


def test_a_finished_run_is_not_trained_again(tmp_path):
    path = tmp_path / "run.safetensors"
    first, history = trained(stopped_early, path)
    written = path.stat().st_mtime_ns
    again, same = trained(stopped_early, path)
    assert path.stat().st_mtime_ns == written and same == history
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_is_stored_is_no_pickle_and_holds_what_is_needed(tmp_path):
    path = tmp_path / "run.safetensors"
    trained(momentum, path)
    tensors, values = resume.load(path)
    kinds = {name.partition(".")[0] for name in tensors}
    assert kinds == {"model", "best", "optimizer", "batches", "random"}
    assert values["history"]["steps"] == 24 and json.dumps(values)
    assert b"pickle" not in path.read_bytes()[:4000]
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        trained(momentum, path, 3)
    with pytest.raises(CourseError, match="another run: parameters"):
        trained(vit_in_half_precision, path)
    with pytest.raises(CourseError, match="another run: updates was 24, now 17"):
        trained(mid_pass, path)
    with pytest.raises(CourseError, match="belongs to another run|parameter groups"):
        trained(gradual, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CourseError, match="(?s)no checkpoint.*remove it"):
        trained(momentum, path)


def test_a_loader_keeps_its_order_to_itself(tmp_path):
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.rand(8, 4), torch.arange(8) % 3)
    )
    with pytest.raises(CourseError, match="(?s)DataLoader.*in memory"):
        training.fit(
            tiny.mlp(),
            loader,
            epochs=1,
            recipe=Recipe(runtime=Runtime(checkpoint=tmp_path / "x")),
        )


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        trained(momentum, path, 3)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        trained(momentum, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


# -- the real thing: kill -9 ------------------------------------------------------

JOB = """
model: bundled/resnet10-patterns
image_size: 32
strategy: gradual
epochs: 6
batch_size: 16
dropout: 0.2
head_rate: 0.01
baseline_rates: [0.001]
onnx: false
"""


def command(tmp_path, out):
    told = (("config", tmp_path / "job.yaml"), ("data", tmp_path / "data"))
    options = [f"--{name}={value}" for name, value in (*told, ("out", out))]
    return ["train", *options]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_kill_9_changes_nothing(tmp_path, monkeypatch, one_thread, undrawn):
    """What is killed runs in processes of its own, the rest in this one."""
    tiny.write_pictures(tmp_path / "data", 60, 32)
    (tmp_path / "job.yaml").write_text(JOB)
    for name in ("CI", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    program = [sys.executable, "-m", "course_lib.course.cli"]

    straight = tmp_path / "straight"
    assert cli.main(command(tmp_path, straight)) == 0
    broken = tmp_path / "broken"
    kills = 0
    for least, name in ((2, "transfer"), (1, "scratch-0.001")):
        run = subprocess.Popen([*program, *command(tmp_path, broken)], **quiet)
        state = broken / "state" / f"{name}.safetensors"
        deadline = time.monotonic() + 240
        while run.poll() is None and time.monotonic() < deadline:
            if state.exists() and epochs_in(state) >= least:
                run.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        run.wait(timeout=300)
    assert kills == 2
    assert not (broken / "result.json").exists()
    assert cli.main(command(tmp_path, broken)) == 0
    results = []
    for out in (straight, broken):
        results.append(json.loads((out / "result.json").read_text()))
        results[-1].pop("seconds")
    assert results[0] == results[1]
    ours, theirs = ((out / "splits.csv").read_bytes() for out in (straight, broken))
    assert ours == theirs


def epochs_in(state) -> int:
    return len(resume.load(state)[1]["history"]["step"])
