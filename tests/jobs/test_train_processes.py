"""Several processes: each computes its rows, and together they are one."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file

from course_lib import training
from course_lib.course import cli
from course_lib.training import distributed, evaluation

PROGRAM = """
import json, os, sys
import tiny, torch
from torch import nn
from safetensors.torch import save_file
from course_lib import training
from course_lib.course import cli
from course_lib.training import freezing, distributed, schedules

def sgd(**changed):
    return training.Optimization(optimizer="sgd", **changed)

def vit():
    # batches of 8 of 25 pictures: the last of each pass has a single row
    return tiny.vit(), dict(epochs=2), {}

def uneven():
    recipe = dict(eval_every=3, batch_size=5)
    return tiny.vit(), dict(steps=7), recipe | dict(optimization=sgd(clip_norm=1.0))

def adam():
    recipe = dict(optimization=training.Optimization())
    return tiny.vit(), dict(epochs=2, lr=1e-3), recipe

def gradual():
    backbone = tiny.vit()
    first, plan = schedules.gradual_unfreezing(backbone, 0.02, 0.5)
    return backbone, dict(epochs=3), dict(
        on_epoch=plan, optimization=sgd(param_groups=first)
    )

def frozen_batchnorm():
    backbone = freezing.freeze_backbone(tiny.resnet())
    return backbone, dict(epochs=2), {}

def learning_batchnorm():
    return tiny.resnet(), dict(epochs=2), {}

class Killed(Exception):
    pass

def killed(epoch, model, optimizer):
    if epoch == 2:
        raise Killed

def interrupted():
    return tiny.vit(), dict(epochs=4), {}

def fitted(out, name, backbone, options, changed):
    state = f"{out}/{name}-state.safetensors"
    usual = dict(
        batch_size=8, augment=training.random_flips(), optimization=sgd(),
        runtime=training.Runtime(threads=1, device="cpu", checkpoint=state),
    )
    return training.fit(
        backbone, tiny.images(25), tiny.images(9, seed=1),
        recipe=training.Recipe(**usual | changed), **dict(lr=0.02) | options,
    )

def all_of(out):
    report, together = {}, distributed.current()
    for make in (
        vit, uneven, adam, gradual, interrupted, frozen_batchnorm, learning_batchnorm
    ):
        backbone, options, changed = make()
        if make is interrupted and together.size > 1:
            try:
                fitted(out, make.__name__, backbone, options, dict(on_epoch=killed))
            except Killed:
                backbone, options, changed = make()
        history = fitted(out, make.__name__, backbone, options, changed)
        report[make.__name__] = history.val_loss + history.train_loss
        if together.rank == 0:
            state = {k: v.contiguous() for k, v in backbone.model.state_dict().items()}
            save_file(state, f"{out}/{make.__name__}.safetensors")
    if together.rank == 0:
        with open(f"{out}/report.json", "w") as stream:
            kind = type(together).__name__
            json.dump({"size": together.size, "kind": kind, "losses": report}, stream)

with open(sys.argv[1]) as stream:
    todo = json.load(stream)
for step in todo:
    if "environment" in step:  # as another `accelerate launch` would have set it
        from accelerate.state import AcceleratorState
        os.environ.update(step["environment"])
        AcceleratorState._reset_state()
        distributed.current.cache_clear()
    if "command" in step:
        assert cli.main(step["command"]) == 0
    else:
        all_of(step["out"])
"""


def launched(program, todo):
    """Two processes on the CPU by `accelerate launch`."""
    program.write_text(PROGRAM)
    steps = program.with_suffix(".json")
    steps.write_text(json.dumps(todo))
    here = Path(__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "CI": "1",
    }
    command = [sys.executable, "-m", "accelerate.commands.launch", *DDP]
    done = subprocess.run(
        [*command, str(program), str(steps)],
        env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


TWO = "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
DDP = [*TWO.split(), "--main_process_port", "0", "--multi_gpu"]
FSDP = [*TWO.split(), "--use_fsdp", "--fsdp_version", "2"]


def environment_of(options):
    """What `accelerate launch` adds to the environment for these options."""
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    asked = launch_command_parser().parse_args([*options, "program.py"])
    return {
        name: value
        for name, value in prepare_multi_gpu_env(asked).items()
        if name.startswith(("ACCELERATE_", "FSDP_")) and name not in os.environ
    }


JOB = """
model: bundled/vit-patterns
epochs: 2
batch_size: 8
onnx: false
baseline_rates: [0.0003]
head_rate: 0.001
backbone_rate: 0.0003
device: cpu
strategy: full
"""


def whole_job(tmp_path, out):
    """The command line of a job on forty pictures."""
    if not (tmp_path / "data").exists():
        tiny.write_pictures(tmp_path / "data", 20, 64)
    (tmp_path / "job.yaml").write_text(JOB)
    told = (("config", tmp_path / "job.yaml"), ("data", tmp_path / "data"))
    return ["train", *(f"--{name}={value}" for name, value in (*told, ("out", out)))]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo between processes")
def test_two_processes_end_where_one_ends(tmp_path, monkeypatch, one_thread, undrawn):
    """With the whole network in each (DDP), and with a part of it in each (FSDP).

    And `course train` on the bundled ViT.  One launch does it all: to import torch
    costs the processes more than all their updates.
    """
    monkeypatch.setenv("CI", "1")
    one, *others = [tmp_path / name for name in ("one", "two", "sharded")]
    jobs = [tmp_path / "job-one", tmp_path / "job-two"]
    for folder in (one, *others):
        folder.mkdir()
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps([{"out": str(one)}]))
    program = tmp_path / "program.py"
    lines = [whole_job(tmp_path, out) for out in jobs]
    todo = [{"out": str(others[0])}, {"command": lines[1]}]
    sharded = environment_of(FSDP)
    assert sharded["ACCELERATE_USE_FSDP"] == "true"
    todo.append({"out": str(others[1]), "environment": sharded})
    launched(program, todo)
    monkeypatch.setattr(sys, "argv", [str(program), str(alone)])
    runpy.run_path(str(program))
    assert cli.main(lines[0]) == 0
    same_numbers(one, others)
    same_jobs(*(json.loads((out / "result.json").read_text()) for out in jobs))


def same_numbers(one, others):
    wanted = json.loads((one / "report.json").read_text())
    assert wanted["size"] == 1
    for folder in others:
        report = json.loads((folder / "report.json").read_text())
        assert report["size"] == 2
        assert report["kind"] == ("Sharded" if folder.name == "sharded" else "Together")

        def largest_difference(name, folder=folder):
            ours, theirs = (load_file(f / f"{name}.safetensors") for f in (one, folder))
            pairs = [(ours[k].float(), theirs[k].float()) for k in ours]
            return max(float((a - b).abs().max()) for a, b in pairs)

        for name in ("vit", "uneven", "gradual", "interrupted", "frozen_batchnorm"):
            ours, theirs = (r["losses"][name] for r in (wanted, report))
            assert ours == pytest.approx(theirs, abs=1e-5), (folder.name, name)
            assert largest_difference(name) < 1e-5, (folder.name, name)
        # Adam divides by the gradient's size: rounding shows where that is near zero
        ours, theirs = (r["losses"]["adam"] for r in (wanted, report))
        assert ours == pytest.approx(theirs, abs=1e-3), folder.name
        # and what does not hold: BatchNorm that learns sees half of each batch
        assert largest_difference("learning_batchnorm") > 1e-4


def same_jobs(one, two):
    told = [[n for n in run["notes"] if "processes" in n] for run in (one, two)]
    assert not told[0] and "2 processes" in told[1][0]
    for run in ("transfer", "baseline"):
        losses = [r[run]["history"]["val_loss"] for r in (one, two)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-3)
        answers = [r[run]["test"]["predictions"] for r in (one, two)]
        assert answers[0] == answers[1]


# -- without launching anything ---------------------------------------------------


class Pretended(distributed.Alone):
    """One of several processes that never meet."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    share = distributed.Together.share


@pytest.mark.parametrize("rows, size", [(8, 2), (7, 2), (1, 2), (2, 3), (9, 4)])
def test_shares_are_disjoint_complete_and_weigh_as_the_whole(rows, size):
    batch = torch.arange(rows)
    values = torch.rand(rows, generator=torch.Generator().manual_seed(0))
    seen, mean = [], 0.0
    for rank in range(size):
        own, weight = Pretended(rank, size).share(batch)
        if weight:
            seen += own.tolist()
        mean += weight * float(values[own].mean()) / size
    assert sorted(seen) == list(range(rows))
    assert mean == pytest.approx(float(values.mean()), abs=1e-6)


def test_alone_nothing_is_shared(monkeypatch):
    distributed.current.cache_clear()
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = distributed.current()
    assert (alone.rank, alone.size) == (0, 1) and alone.total(1.5) == (1.5,)
    net = tiny.mlp()
    assert alone.wrapped(net, None) is net is alone.inner(net)


def test_validation_is_shared_out_and_complete():
    net, data = tiny.mlp(), tiny.blobs(31)
    examples = training.Examples(data, None, 8, "validation")
    whole = evaluation.score(net, examples, "cpu", 8)
    parts = []

    class Counting(Pretended):
        def total(self, *numbers):
            parts.append(numbers)
            return numbers

    for rank in range(3):
        evaluation.score(net, examples, "cpu", 8, Counting(rank, 3))
    loss, right, n = map(sum, zip(*parts))
    assert n == 31
    assert (loss / n, right / n) == pytest.approx(whole, abs=1e-6)
