"""Public models from their libraries' caches, and the errors when they are not there.

Each cache is written here in the library's own layout, with tiny random networks.
"""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import profiles
from course_lib.errors import CourseError
from course_lib.models import hub, language_models, zoo

TOOL = Path(__file__).parents[2] / "tools" / "full_profile_check.py"
spec = importlib.util.spec_from_file_location("full_profile_check", TOOL)
standins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(standins)
TINY = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
)
TIMM = "test_vit.r160_in1k"  # timm's own smallest transformer
IMAGES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Empty caches of torch hub and the Hugging Face Hub, and no network."""
    import urllib.request

    import huggingface_hub.constants

    def refuse(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    hub = str(tmp_path / "hf" / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path


# -- what is in a cache is read, with the preprocessing that belongs to it -------------


def test_torchvision_from_torch_hubs_cache(cache):
    standins.put_torchvision(cache, "squeezenet1_1")
    with pytest.warns(UserWarning, match="not the file that torchvision publishes"):
        backbone = zoo.load("torchvision/squeezenet1_1", num_classes=5)
    path = standins.torchvision_file(cache, "squeezenet1_1")
    stored = torch.load(path, weights_only=True)
    name = "features.0.weight"
    assert torch.equal(backbone.model.state_dict()[name], stored[name])
    assert backbone.preprocess.size == 224 and not backbone.card["published"]
    assert backbone.model(backbone.preprocess(IMAGES)).shape == (2, 5)


def test_timm_from_the_hubs_cache(cache):
    standins.put_timm(cache, TIMM)
    backbone = zoo.load(f"timm/{TIMM}", num_classes=5)
    assert backbone.preprocess.size == 160
    assert backbone.preprocess.interpolation == "bicubic"
    assert backbone.preprocess.mean == (0.5, 0.5, 0.5)
    assert backbone.features(backbone.preprocess(IMAGES)).shape[0] == 2
    assert hub.cached(f"timm/{TIMM}").name == "model.safetensors"


def test_a_text_encoder_from_the_hubs_cache(cache):
    standins.put_encoder(cache, "google-bert/bert-base-uncased", "bert", **TINY)
    backbone = zoo.load("hf/google-bert/bert-base-uncased", num_classes=5)
    tokens = backbone.preprocess(["A scratch.", "Two particles near the edge."])
    assert backbone.model.eval()(**tokens).logits.shape == (2, 5)
    assert list(backbone.stages) == ["embeddings", "layer1", "layer2"]


def test_half_precision_and_torch_files_become_float32(cache):
    folder = standins.snapshot(cache / "hf" / "hub", "somebody/encoder")
    standins.put_encoder(cache, "somebody/other", "bert", **TINY)
    source = cache / "hf" / "hub" / "models--somebody--other" / "snapshots"
    for file in source.glob("*/*"):
        shutil.copy(file, folder)
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    standins.save_torch(
        {k: v.half() for k, v in state.items()}, folder / "pytorch_model.bin"
    )
    backbone = zoo.load("hf/somebody/encoder")
    assert next(backbone.model.parameters()).dtype == torch.float32


def test_deberta_as_published_works_or_says_what_it_needs(cache):
    standins.put_deberta(cache, **TINY)
    if importlib.util.find_spec("sentencepiece"):
        backbone = zoo.load(f"hf/{standins.DEBERTA}", num_classes=5)
        tokens = backbone.preprocess(["A scratch."])
        assert backbone.model.eval()(**tokens).logits.shape == (1, 5)
        assert next(backbone.model.parameters()).dtype == torch.float32
    else:
        with pytest.raises(CourseError, match="pip install sentencepiece"):
            zoo.load(f"hf/{standins.DEBERTA}")


@pytest.mark.parametrize("kind, name", [("qwen2", "a/qwen"), ("llama", "a/llama")])
def test_a_language_model_in_four_bits_from_the_hubs_cache(cache, kind, name):
    keys = dict(num_key_value_heads=1, max_position_embeddings=128)
    standins.put_decoder(cache, name, kind, **TINY | dict(hidden_size=64), **keys)
    model, tokenizer = language_models.load(f"hf/{name}", quantised="nf4")
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.uint8 or hasattr(layer, "packed")
    asked = tokenizer(["a scratch"])["input_ids"]
    assert language_models.continued(model, tokenizer, asked, length=2)


# -- weights of one's own --------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_weight_file_behind_the_name(cache, suffix):
    from safetensors.torch import save_file

    made = zoo.load("torchvision/squeezenet1_1", pretrained=False, seed=3).model
    state = {k: v.half() for k, v in made.state_dict().items()}
    path = cache / f"own{suffix}"
    save_file(state, path) if suffix == ".safetensors" else standins.save_torch(
        state, path
    )
    backbone = zoo.load(f"torchvision/squeezenet1_1@{path}")
    name = "features.0.weight"
    assert torch.equal(backbone.model.state_dict()[name], state[name].float())
    assert backbone.card["weights"] == path.name and len(backbone.card["sha256"]) == 64
    assert hub.cached(f"torchvision/squeezenet1_1@{path}") == path


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path("evil"), "ran"))


def test_weight_files_that_do_not_do_are_explained(cache, monkeypatch):
    monkeypatch.chdir(cache)
    name = "torchvision/squeezenet1_1"
    with pytest.raises(CourseError, match="no weight file nothing.pth"):
        zoo.load(f"{name}@nothing.pth")
    Path("noise.pth").write_bytes(b"noise")
    with pytest.raises(CourseError, match="cannot be read as weights"):
        zoo.load(f"{name}@noise.pth")
    standins.save_torch({"a": torch.zeros(2)}, "other.pth")
    with pytest.raises(CourseError, match="52 tensors are missing, 1 are too many"):
        zoo.load(f"{name}@other.pth")
    standins.save_torch({"model": Evil()}, "evil.pth")
    with pytest.raises(CourseError, match="cannot be read as weights"):
        zoo.load(f"{name}@evil.pth")
    shutil.copy("evil.pth", standins.torchvision_file(cache, "squeezenet1_1"))
    with pytest.raises(CourseError, match="in this machine's cache, but cannot"):
        zoo.load(name)
    assert not Path("evil").exists()  # its code was never run


# -- nothing in the cache, no network --------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "torchvision/resnet50",
        "timm/resnet50.a1_in1k",
        "hf/google-bert/bert-base-uncased",
    ],
)
def test_missing_models_are_explained(cache, name):
    with pytest.raises(CourseError, match="neither in this machine's cache") as told:
        zoo.load(name)
    assert name in str(told.value) and "COURSE_PROFILE=offline" in str(told.value)
    assert hub.cached(name) is None


def test_a_missing_language_model_is_explained(cache):
    with pytest.raises(CourseError, match="neither in this machine's cache"):
        language_models.load("hf/Qwen/Qwen2.5-0.5B")


def test_damaged_safetensors_are_explained(cache):
    standins.put_encoder(cache, "a/b", "bert", **TINY)
    file = hub.cached("hf/a/b")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CourseError, match="cannot be loaded") as told:
        zoo.load("hf/a/b")
    assert f"delete {file}" in str(told.value)


def test_an_incomplete_encoder_is_refused(cache):
    from safetensors.torch import load_file, save_file

    standins.put_encoder(cache, "a/b", "bert", **TINY)
    file = hub.cached("hf/a/b")
    state = {k: v for k, v in load_file(file).items() if "layer.1." not in k}
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(CourseError, match="16 tensors of hf/a/b are not in its files"):
        zoo.load("hf/a/b")


def test_gated_models_are_explained():
    error = OSError("You are trying to access a gated repo.\nMake sure to have access")
    assert "licence" in str(hub.unavailable("hf/meta-llama/Llama-3.1-8B", error))


# -- one switch ------------------------------------------------------------------------


def test_one_variable_swaps_a_model_of_the_full_profile(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    monkeypatch.setenv("COURSE_VISION_BACKBONE", "torchvision/squeezenet1_1")
    profile = profiles.current()
    assert profile.vision_backbone == "torchvision/squeezenet1_1"
    assert profile.name == "full" and profile.vit == profiles.FULL.vit
    assert profiles.device().type in ("cpu", "cuda")
    monkeypatch.setenv("COURSE_PROFILE", "offline")
    with pytest.raises(CourseError, match="COURSE_PROFILE=full too"):
        profiles.current()


def test_the_size_of_pictures_can_be_chosen_where_the_network_takes_it(monkeypatch):
    monkeypatch.setenv("COURSE_IMAGE_SIZE", "64")
    loaded = {
        name: zoo.load(name, pretrained=False).preprocess.size
        for name in ("torchvision/squeezenet1_1", "timm/vit_tiny_patch16_224")
    }
    assert list(loaded.values()) == [64, 224]  # a ViT has positions for 224 pixels
    assert zoo.load("bundled/resnet10-patterns").preprocess.size is None
    monkeypatch.setenv("COURSE_IMAGE_SIZE", "small")
    with pytest.raises(CourseError, match="pixels a side, 32 to 1024"):
        profiles.image_size()


def test_a_folder_without_a_model_is_named(tmp_path):
    for load in (zoo.load, language_models.load):
        with pytest.raises(CourseError, match="there is no config.json"):
            load(f"hf/{tmp_path}")


# -- stages and heads of networks that are no ResNets ----------------------------------


@pytest.mark.parametrize(
    "name, stages",
    [
        ("squeezenet1_1", ["features.1", "features.4", "features.7", "features.12"]),
        ("mobilenet_v2", [f"features.{i}" for i in (1, 3, 6, 13, 18)]),
    ],
)
def test_a_stage_ends_where_maps_get_smaller(name, stages):
    backbone = zoo.load(f"torchvision/{name}", num_classes=3, pretrained=False)
    assert list(backbone.stages.values()) == stages
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        head = backbone.model.get_submodule(backbone.head)
        assert torch.allclose(head(backbone.features(x)), backbone.model(x), atol=1e-6)
