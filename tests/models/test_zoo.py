"""The zoo: one call for every source, each with its own preprocessing."""

import numpy as np
import pytest
import torch

from course_lib import files, paths
from course_lib.errors import CourseError
from course_lib.models import text, zoo

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
BUNDLED = zoo.bundled()


def test_the_profile_models_are_bundled():
    from course_lib.profiles import OFFLINE

    wanted = {OFFLINE.vision_backbone, OFFLINE.vision_other_source, OFFLINE.vit}
    assert wanted <= set(BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_give_source_logits_and_features(name):
    backbone = zoo.load(name)
    x = backbone.preprocess(IMAGES)
    classes = sum(map(len, zoo.card(name)["heads"].values()))
    with torch.no_grad():
        assert backbone.model(x).shape == (4, classes)
        assert backbone.features(x).shape == (4, backbone.num_features)
    for module in backbone.stages.values():
        backbone.model.get_submodule(module)


@pytest.mark.parametrize("name", BUNDLED)
def test_features_are_what_the_head_reads(name):
    backbone = zoo.load(name)
    x = backbone.preprocess(IMAGES)
    head = backbone.model.get_submodule(backbone.head)
    with torch.no_grad():
        logits = head(backbone.features(x))
        torch.testing.assert_close(logits, backbone.model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_card_knows_its_file(name):
    card = zoo.card(name)
    short = name.removeprefix("bundled/")
    assert card["sha256"] == files.sha256(paths.MODELS / f"{short}.safetensors")
    assert not card["trial"], "trial weights must not be bundled"
    text = (paths.MODELS / f"{short}.md").read_text(encoding="utf-8")
    assert card["sha256"] in text and card["command"] in text
    for head, share in card["accuracy_held_out"].items():
        assert f"{100 * share:.1f} %" in text, f"{head} accuracy"
    assert f"{card['minutes']:g} minutes" in text and "MIT" in text


@pytest.mark.parametrize("name", BUNDLED)
def test_half_precision_costs_nothing_measurable(name):
    card = zoo.card(name)
    for head, share in card["accuracy_held_out"].items():
        assert abs(share - card["accuracy_held_out_single_precision"][head]) <= 0.002


def test_bundled_models_stay_small():
    total = sum(p.stat().st_size for p in paths.MODELS.glob("*.safetensors"))
    assert total <= 40e6


def test_a_new_head_depends_on_its_seed_only():
    def head(seed, noise):
        torch.manual_seed(noise)
        return zoo.load(num_classes=5, seed=seed).model.fc.weight

    assert torch.equal(head(1, noise=0), head(1, noise=9))
    assert not torch.equal(head(1, noise=0), head(2, noise=0))


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    zoo.load(num_classes=5, pretrained=False, seed=8)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def test_random_weights_differ_from_the_pretrained_ones():
    pretrained, random = zoo.load(), zoo.load(pretrained=False)
    assert not torch.equal(pretrained.model.conv1.weight, random.model.conv1.weight)


def test_a_copy_is_independent():
    backbone = zoo.load(num_classes=5)
    other = backbone.copy()
    with torch.no_grad():
        other.model.fc.weight.zero_()
    assert backbone.model.fc.weight.abs().sum() > 0


def test_one_class_is_refused():
    with pytest.raises(CourseError, match="two or more"):
        zoo.load(num_classes=1)


@pytest.mark.parametrize("name", ["resnet", "bundled/nothing", "torchvision/nothing"])
def test_an_unknown_name_says_what_there_is(name):
    with pytest.raises(CourseError, match="resnet"):
        zoo.load(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size",
    [
        ("torchvision/resnet18", 64),
        ("torchvision/squeezenet1_1", 64),
        ("timm/convnext_atto", 64),
        ("timm/vit_tiny_patch16_224", 224),
    ],
)
def test_public_architectures_go_through_the_same_call(name, size):
    backbone = zoo.load(name, num_classes=5, pretrained=False)
    x = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        assert backbone.model(x).shape == (2, 5)
        assert backbone.features(x).shape == (2, backbone.num_features)


def test_a_missing_network_is_explained(monkeypatch, tmp_path):
    import urllib.request

    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(CourseError, match="COURSE_PROFILE=offline"):
        zoo.load("torchvision/resnet18")


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    name = BUNDLED[0].removeprefix("bundled/")
    manifest = files.manifest()
    folder = tmp_path / "models"
    folder.mkdir()
    for suffix in (".json", ".safetensors"):
        content = (paths.MODELS / f"{name}{suffix}").read_bytes()
        (folder / f"{name}{suffix}").write_bytes(content)
    damaged = bytearray((folder / f"{name}.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / f"{name}.safetensors").write_bytes(bytes(damaged))
    monkeypatch.setattr(paths, "DATA", tmp_path)
    monkeypatch.setattr(paths, "MODELS", folder)
    monkeypatch.setattr(files, "manifest", lambda: manifest)
    with pytest.raises(CourseError, match="damaged"):
        zoo.load(f"bundled/{name}")


@pytest.mark.slow
def test_the_text_encoder_is_the_real_one():
    backbone = zoo.load("minilm")
    texts = ["a scratch on the wafer", "a scrape across the wafer", "lunch is at noon"]
    with torch.no_grad():
        vectors = backbone.features(backbone.preprocess(texts))
    near, far = torch.nn.functional.cosine_similarity(
        vectors[[0, 0]], vectors[[1, 2]]
    ).tolist()
    assert vectors.shape == (3, 384) and near > far + 0.3


def test_text_must_be_a_list_of_strings():
    with pytest.raises(CourseError, match="list of strings"):
        text.Tokenise(tokenizer=None)("one string")
