"""EfficientNet-Lite with real ImageNet weights, exactly as timm computes it."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from course_lib import assets, datasets
from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.models.preprocessing import Preprocess
from course_lib.training import layer_groups

LITE0 = "imagenet/efficientnet-lite0"


def photographs(preprocess, size=224) -> torch.Tensor:
    """Two photographs, resized and cut as timm does: (2, 3, 224, 224)."""
    larger = Preprocess(256, preprocess.mean, preprocess.std, interpolation="bicubic")
    rest = (256 - size) // 2
    x = torch.cat([larger(image) for image in datasets.photographs().values()])
    return x[..., rest : rest + size, rest : rest + size]


@torch.no_grad()
def answers(backbone, x) -> list[str]:
    names = backbone.card["heads"]["imagenet"]
    return [names[k].partition(",")[0] for k in backbone.model(x).argmax(1).tolist()]


def test_it_names_what_is_on_two_photographs():
    backbone = zoo.load(LITE0)
    assert answers(backbone, photographs(backbone.preprocess)) == ["palace", "daisy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "n, parameters", [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)]
)
def test_features_and_logits_are_timms_bit_for_bit(n, parameters):
    backbone = zoo.load(f"imagenet/efficientnet-lite{n}")
    assert sum(p.numel() for p in backbone.model.parameters()) == parameters
    other = timm.create_model(f"tf_efficientnet_lite{n}", pretrained=False).eval()
    folder = assets.folder(f"efficientnet-lite{n}")
    other.load_state_dict(load_file(folder / "model.safetensors"))
    images = np.random.default_rng(n).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    x = backbone.preprocess(images)
    with torch.no_grad():
        pooled = other.forward_head(other.forward_features(x), pre_logits=True)
        assert torch.equal(backbone.features(x), pooled)
        assert torch.equal(backbone.model(x), other(x))
    assert pooled.shape == (2, 1280) == (2, backbone.num_features)


def test_values_are_what_the_weights_were_trained_on():
    x = zoo.load(LITE0).preprocess(np.array([[[[0, 127, 255]]]], dtype=np.uint8))
    expected = (torch.tensor([0.0, 127.0, 255.0]) - 127) / 128
    assert torch.allclose(x.flatten(), expected, atol=1e-6)


def test_the_twin_takes_the_weights_without_an_error_and_answers_otherwise():
    right = zoo.load(LITE0)
    twin = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    twin.load_state_dict(right.model.state_dict())  # every name and shape agrees
    x = photographs(right.preprocess)
    with torch.no_grad():
        a, b = right.model(x).softmax(1), twin(x).softmax(1)
    assert (a - b).abs().max() > 0.05
    assert b[[0, 1], a.argmax(1)].sum() < a.max(1).values.sum()


def test_stages_groups_and_head_are_those_of_the_network():
    backbone = zoo.load(LITE0, num_classes=5)
    assert list(backbone.stages) == [
        "stem", *(f"stage{i}" for i in range(1, 8)), "conv_head",
    ]  # fmt: skip
    for name in backbone.stages.values():
        backbone.model.get_submodule(name)
    groups = layer_groups.layer_groups(backbone)
    members = [name for names in groups.values() for name in names]
    assert sorted(members) == sorted(n for n, _ in backbone.model.named_parameters())
    x = backbone.preprocess(np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert backbone.model(x).shape == (2, 5)
    same = zoo.load(LITE0, num_classes=5).model.classifier.weight
    assert torch.equal(backbone.model.classifier.weight, same)


def test_random_weights_need_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path))
    a, b = (zoo.load(LITE0, pretrained=False).model.conv_stem.weight for _ in "ab")
    assert torch.equal(a, b)
    with pytest.raises(CourseError, match="course data fetch efficientnet-lite0"):
        zoo.load(LITE0)
    with pytest.raises(CourseError, match="imagenet/efficientnet-lite0"):
        zoo.load("imagenet/efficientnet-lite9")
