"""Weight files as trainers store them: unwrapped and told, or refused and explained."""

import importlib.util
import json
import re
import types
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import weight_files, zoo

TOOL = Path(__file__).parents[2] / "tools" / "full_profile_check.py"
spec = importlib.util.spec_from_file_location("full_profile_check", TOOL)
standins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(standins)
NAME = "timm/test_resnet"  # of 96 features, timm's smallest ResNet
OWN = zoo.load(NAME, pretrained=False, seed=5).model.state_dict()
OTHER = zoo.load(NAME, pretrained=False, seed=6).model.state_dict()
FIVE = zoo.load(NAME, num_classes=5, pretrained=False, seed=5).model.state_dict()
TRUNK = {k: v for k, v in OWN.items() if not k.startswith("fc.")}


@pytest.fixture(autouse=True)
def few_architectures(monkeypatch):
    """To compare a misfit with; building all of them takes seconds."""
    monkeypatch.setattr(weight_files, "COMMON", ["torchvision/squeezenet1_1"])


def prefixed(state, prefix):
    return {prefix + k: v for k, v in state.items()}


def loaded(tmp_path, content, file="own.pth", part=""):
    """The backbone that a file with this content gives."""
    path = tmp_path / file
    standins.save_torch(content, path)
    return zoo.load(f"{NAME}@{path}{part}")


def check_trunk(backbone, state=OWN):
    """All weights below the head are those of the file."""
    for name, tensor in backbone.model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, state[name].to(tensor.dtype)), name


# -- unwrapped, and told in one line ---------------------------------------------------


WRAPPED = {
    "plain": (OWN, ""),
    "data parallel": (prefixed(OWN, "module."), "prefix 'module.' removed"),
    "compiled": (prefixed(OWN, "_orig_mod."), "_orig_mod removed from names"),
    "both": (prefixed(OWN, "module._orig_mod."), "prefix 'module.' removed"),
    "three": (prefixed(OWN, "model.net.encoder."), "prefix 'model.net.encoder.'"),
    "a sequence": (prefixed(OWN, "0."), "prefix '0.' removed"),
    "blocks compiled": (
        {k.replace("layer1.", "layer1._orig_mod."): v for k, v in OWN.items()},
        "_orig_mod removed",
    ),
    "activations recomputed": (
        {k.replace("1.0.", "1._checkpoint_wrapped_module.0."): v
         for k, v in OWN.items()},
        "_checkpoint_wrapped_module removed",
    ),
    "nested": ({"epoch": 3, "model_state_dict": OWN}, "from 'model_state_dict'"),
    "deeply nested": ({"a": {"b": [{"net": OWN}]}}, "from 'a.b.0.net'"),
    "Lightning": (
        {"epoch": 3, "state_dict": prefixed(OWN, "model."), "callbacks": {},
         "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}},
                               "param_groups": []}]},
        "read from 'state_dict'; prefix 'model.' removed",
    ),
    "settings beside it": (
        {"model": OWN, "args": Namespace(lr=0.1), "best": np.float64(0.7),
         "where": Path("x")},
        "objects of argparse.Namespace",
    ),
    "without counters": (
        {k: v for k, v in OWN.items() if "num_batches" not in k}, "",
    ),
    "parameters": ({k: nn.Parameter(v) if v.is_floating_point() else v
                    for k, v in OWN.items()}, ""),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", WRAPPED)
def test_wrapped_weights_are_read_and_told(tmp_path, case):
    content, told = WRAPPED[case]
    backbone = loaded(tmp_path, content)
    check_trunk(backbone)
    assert torch.equal(backbone.model.fc.weight, OWN["fc.weight"])
    assert (told in " ".join(backbone.notes)) if told else backbone.notes == []
    assert len(backbone.notes) <= 1 and "\n" not in "".join(backbone.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_told(tmp_path, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in OWN.items()}
    save_file(state, tmp_path / "own.safetensors")
    backbone = zoo.load(f"{NAME}@{tmp_path / 'own.safetensors'}")
    check_trunk(backbone, state)
    name = str(dtype).removeprefix("torch.")
    assert f"stored as {name}, used as float32" in backbone.notes[0]
    assert backbone.model.fc.weight.dtype == torch.float32


def test_the_ending_of_the_name_does_not_matter(tmp_path):
    (tmp_path / "model.bin").write_bytes(save(OWN))  # safetensors inside
    check_trunk(zoo.load(f"{NAME}@{tmp_path / 'model.bin'}"))
    check_trunk(loaded(tmp_path, OWN, "last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "content, taken, other",
    [
        ({"model": OTHER, "model_ema": OWN}, "model_ema", "'model'"),
        ({"state_dict": OTHER, "state_dict_ema": OWN}, "state_dict_ema", "state_dict"),
        ({"student": OTHER, "teacher": prefixed(OWN, "backbone.")}, "teacher", "stud"),
        (
            prefixed(OTHER, "module.encoder_k.") | prefixed(OWN, "module.encoder_q."),
            "module.encoder_q.",
            "'module.encoder_k'",
        ),
    ],
)
def test_of_two_sets_the_averaged_is_taken_and_the_other_named(
    tmp_path, content, taken, other
):
    backbone = loaded(tmp_path, content)
    check_trunk(backbone)
    assert taken in backbone.notes[0] and other in backbone.notes[0]


def test_another_set_can_be_chosen(tmp_path):
    content = {"model": OWN, "model_ema": OTHER}
    check_trunk(loaded(tmp_path, content, part="#model"))
    both = prefixed(OTHER, "q.") | prefixed(OWN, "k.")
    check_trunk(loaded(tmp_path, both, part="#k"))
    with pytest.raises(CourseError, match="one of model, model_ema"):
        loaded(tmp_path, content, part="#teacher")


# -- heads -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "head, told",
    [
        ({"fc.weight": torch.ones(5, 96), "fc.bias": torch.ones(5)}, "of 5 classes"),
        ({"fc.1.weight": torch.ones(7, 96), "fc.1.bias": torch.ones(7)}, "7 classes"),
        ({"fc.weight": torch.ones(9, 96)}, "of 9 classes"),
        ({"fc.0.weight": torch.ones(8, 96), "fc.3.weight": torch.ones(2, 8)}, "2 cl"),
        ({}, "it holds no head"),
    ],
)
def test_a_head_that_does_not_fit_is_left_out(tmp_path, head, told):
    backbone = loaded(tmp_path, TRUNK | head)
    check_trunk(backbone)
    assert told in backbone.notes[0] and "new one is drawn" in backbone.notes[0]
    assert backbone.card["heads"] == {}  # nothing says what its outputs mean
    fresh = zoo.load(NAME, pretrained=False)
    assert torch.equal(backbone.model.fc.weight, fresh.model.fc.weight)


def test_what_has_no_place_is_counted(tmp_path):
    extra = {"projector.weight": torch.ones(3, 3), "queue": torch.ones(4)}
    note = loaded(tmp_path, OWN | extra).notes[0]
    assert "2 other tensors (projector.weight, queue) left out" in note


def test_two_heads_of_a_distilled_transformer(tmp_path):
    from timm.models.deit import VisionTransformerDistilled

    from course_lib.models import heads

    small = dict(img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=3)
    made = VisionTransformerDistilled(**small, num_classes=5)
    model = VisionTransformerDistilled(**small, num_classes=10)
    standins.save_torch({"model": made.state_dict()}, tmp_path / "deit.pth")
    notes, _ = weight_files.put(model, heads.find(model), tmp_path / "deit.pth", "deit")
    assert "head of 5 classes is left out" in notes[0]
    assert torch.equal(model.dist_token, made.dist_token)


def test_names_that_timm_translates(tmp_path):
    """DINOv2's own names: timm's are others, and its filter knows both."""
    from timm.models.vision_transformer import VisionTransformer

    small = dict(img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=3)
    model = VisionTransformer(**small, init_values=1.0, num_classes=0)
    published = {k.replace("norm.", "norm."): v for k, v in model.state_dict().items()}
    published["mask_token"] = torch.zeros(1, 24)
    published["register_tokens"] = torch.zeros(1, 4, 24)
    other = VisionTransformer(
        **small, init_values=1.0, num_classes=0, reg_tokens=4, no_embed_class=True
    )
    published["pos_embed"] = torch.zeros(1, 5, 24)
    standins.save_torch(published, tmp_path / "dino.pth")
    notes, _ = weight_files.put(other, ("head",), tmp_path / "dino.pth", "dinov2")
    assert "names translated by timm" in notes[0]


# -- refused, and told what lies in the file -------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Marks:
    """Unpickling would call `calls`, which leaves a mark."""

    def __init__(self, calls, *values):
        self.calls, self.values = calls, values

    def __reduce__(self):
        return self.calls, self.values


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
REFUSED = {
    "optimizer": (OPTIMIZER, "in it lies the state of an optimizer"),
    "optimizer in it": ({"optimizer": OPTIMIZER, "epoch": 1}, "'optimizer': the state"),
    "settings": ({"epoch": 3, "loss": [1.0, 2.0]}, "2 entries (epoch, loss)"),
    "one tensor": (torch.ones(3, 4), "one tensor of shape (3, 4)"),
    "a list": ([1, 2], "in it lies a list"),
    "a number": (3, "in it lies a int"),
    "whole model": (Net(), "a whole model, pickled"),
    "whole in it": ({"model": Net()}, "a whole model, pickled"),
    "adapters": ({"a.lora_A.weight": torch.ones(2, 2)}, "adapters of LoRA"),
    "transformers": (
        {"vit.embeddings.patch_embeddings.projection.weight": torch.ones(2, 3, 4, 4)},
        "names as Hugging Face transformers has them",
    ),
    "half of it": (
        {k: v for k, v in OWN.items() if "layer4" not in k},
        "tensors are missing, 0 are too many, 0 have another shape",
    ),
    "one is missing": (
        {k: v for k, v in OWN.items() if k != "conv1.0.weight"},
        "1 tensors are missing",
    ),
    "another width": (
        OWN | {"layer1.0.conv1.weight": torch.ones(8, 8, 3, 3)},
        "1 have another shape; layer1.0.conv1.weight is (8, 8, 3, 3) in the file",
    ),
    "grey pictures": (
        OWN | {"conv1.0.weight": OWN["conv1.0.weight"][:, :1]},
        "the architecture is right, for pictures of 1 channel(s)",
    ),
    "four channels": (
        OWN | {"conv1.0.weight": OWN["conv1.0.weight"][:, [0, 1, 2, 0]]},
        "weight[:, :3]), and save it",
    ),
    "no tensors": ({"epoch": {}}, "a dict without tensors: 1 entry (epoch)"),
    "whole numbers": (
        OWN | {"layer1.0.conv1.weight": OWN["layer1.0.conv1.weight"].to(torch.int8)},
        "1 have another shape",
    ),
    "not finite": (
        OWN | {"layer1.0.conv1.weight": OWN["layer1.0.conv1.weight"] / 0},
        "1 tensor (layer1.0.conv1.weight) hold values that are no numbers",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_set_of_weights_is_told(tmp_path, case):
    content, told = REFUSED[case]
    with pytest.raises(CourseError) as error:
        loaded(tmp_path, content)
    said = str(error.value)
    assert told in said
    assert "own.pth" in said and "\nExpected: " in said and "\nDo: " in said
    assert not re.search("weights_only|GLOBAL|Unpickl|size mismatch|torch.serial", said)


def test_another_architecture_is_named(tmp_path):
    from torchvision.models import squeezenet1_1

    with pytest.raises(CourseError, match="write torchvision/squeezenet1_1@own.pth"):
        loaded(tmp_path, {"model": squeezenet1_1(num_classes=3).state_dict()})


FORMATS = {
    "empty.pth": (b"", "it is empty"),
    "page.pth": (b"<!DOCTYPE html><html>404</html>", "a web page"),
    "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "model.gguf": (b"GGUF" + bytes(99), "GGUF"),
    "array.npy": (b"\x93NUMPY" + bytes(99), "one array of NumPy"),
    "packed.pth.gz": (b"\x1f\x8b" + bytes(99), "gzip"),
    "config.json": (json.dumps({"a": 1}).encode(), "JSON"),
    "model.safetensors.index.json": (b'{"weight_map": {}}', "index of weights"),
    "model.onnx": (b"\x08\x07" + bytes(99), "ONNX"),
    "noise.pth": (b"noise" * 99, "no file of torch"),
    "noise.safetensors": (b"noise" * 99, "does not begin as a safetensors"),
    "cut.safetensors": (save(OWN)[:-100], "header does not fit"),
}


@pytest.mark.parametrize("file", FORMATS)
def test_files_of_other_kinds_are_named(tmp_path, file):
    content, told = FORMATS[file]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CourseError, match="cannot be read as weights") as error:
        zoo.load(f"{NAME}@{tmp_path / file}")
    assert told in str(error.value) and "\nDo: " in str(error.value)


def test_cut_and_damaged_files_of_torch(tmp_path):
    path = tmp_path / "own.pth"
    standins.save_torch(OWN, path)
    whole = path.read_bytes()
    middle, names = len(whole) // 2, whole.rindex(b"PK\x01\x02")
    for damaged, told in (
        (whole[:-500], "its end is missing"),
        (whole[:middle] + bytes(8) + whole[middle + 8 :], "the checksum of .* not fit"),
        (whole[:names] + b"XXXX" + whole[names + 4 :], "list of contents is damaged"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CourseError, match=told):
            zoo.load(f"{NAME}@{path}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("own/data.pkl", b"\x80\x02}q")
    with pytest.raises(CourseError, match="a part of it is damaged or missing"):
        zoo.load(f"{NAME}@{path}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("own/readme.txt", "hello")
    with pytest.raises(CourseError, match=r"a zip archive with 1 file \(own/readme"):
        zoo.load(f"{NAME}@{path}")


def test_torchscript_is_told_and_not_run(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
    with pytest.raises(CourseError, match="TorchScript program"):
        zoo.load(f"{NAME}@{path}")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CourseError, match="is a folder, with 1 file .model.safetens"):
        zoo.load(f"{NAME}@{tmp_path}")


@pytest.mark.parametrize(
    "calls, values",
    [
        (Path.write_text, (Path("mark"), "ran")),
        (open, ("mark", "w")),
        (print, ("mark",)),
        (types.SimpleNamespace, ()),
        (np.save, ("mark", 1)),
    ],
)
def test_no_code_of_a_file_runs(tmp_path, monkeypatch, capsys, calls, values):
    monkeypatch.chdir(tmp_path)
    standins.save_torch({"model": OWN, "extra": Marks(calls, *values)}, "own.pth")
    capsys.readouterr()
    try:
        notes = zoo.load(f"{NAME}@own.pth").notes
        assert "not opened" in notes[0]
    except CourseError as error:
        assert "whose code the course does not run" in str(error)
    assert [p.name for p in Path().iterdir()] == ["own.pth"]
    assert capsys.readouterr().out == ""


def test_random_weights_do_not_need_the_file():
    backbone = zoo.load(f"{NAME}@nowhere.pth", pretrained=False)
    assert backbone.notes == [
        "nowhere.pth was not read: random weights were asked for."
    ]


# -- in a job --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_says_what_was_unwrapped_and_its_folder_needs_no_file(tmp_path):
    import tiny

    from course_lib.jobs import configuration, exported, pipeline

    path = tmp_path / "five.ckpt"
    standins.save_torch({"state_dict": prefixed(FIVE, "model.")}, path)
    config = configuration.from_dict(
        dict(task="images", model=f"{NAME}@{path}", epochs=1, image_size=32,
             strategy="head", baseline=False, onnx=False, audit="warn")
    )  # fmt: skip
    parts = [
        tiny.images(24, seed=i, split=split)
        for i, split in enumerate(("train", "validation", "test"))
    ]
    result = pipeline.run(config, parts, tmp_path / "out", progress=False)
    told = (
        "five.ckpt: read from 'state_dict'; prefix 'model.' removed; the head of 5 "
        "classes is left out, a new one is drawn."
    )
    assert told in result.notes and told in str(result) and "five.ckpt" in result.html()
    path.unlink()
    assert exported.load(tmp_path / "out").predict(parts[2].images).shape == (24, 3)


@pytest.mark.parametrize("size", [90, 100])
def test_a_picture_size_that_does_not_suit_names_the_one_that_does(size):
    import tiny

    from course_lib.jobs import configuration, pipeline

    config = configuration.from_dict(
        dict(task="images", model="timm/test_vit", weights="random", image_size=size)
    )
    parts = [tiny.images(24, seed=i, split=s) for i, s in enumerate("abc")]
    with pytest.raises(CourseError, match="image_size does not suit.*\n.*160 pixels"):
        pipeline.run(config, parts, progress=False)


def test_the_tensors_of_a_file_without_a_network(tmp_path):
    standins.save_torch({"optimizer": OPTIMIZER, "model": OWN}, tmp_path / "own.pth")
    found = weight_files.tensors(tmp_path / "own.pth")
    assert found.keys() == OWN.keys()
    standins.save_torch(OPTIMIZER, tmp_path / "own.pth")
    with pytest.raises(CourseError, match="the state of an optimizer"):
        weight_files.tensors(tmp_path / "own.pth")
