"""Classifiers that are not one linear layer: found, replaced, frozen, saved."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import audit
from course_lib.errors import CourseError
from course_lib.jobs import assembly, exported
from course_lib.models import heads, zoo
from course_lib.models.backbone import vision
from course_lib.training import freezing, layer_groups

TOOL = Path(__file__).parents[2] / "benchmarks" / "timm_families.py"
spec = importlib.util.spec_from_file_location("timm_families", TOOL)
families = importlib.util.module_from_spec(spec)
spec.loader.exec_module(families)


def distilled(num_classes=3):
    """A Backbone of timm's distilled transformer, tiny: two heads that are averaged."""
    from timm.models.deit import VisionTransformerDistilled

    torch.manual_seed(0)
    small = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3)
    model = VisionTransformerDistilled(**small, num_classes=num_classes).eval()
    return vision(model, tiny.PREPROCESS, "tiny/distilled", {})


def without_head(**options):
    """A Backbone of a tiny transformer without a classifier, as DINOv2 is published."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    small = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3)
    model = VisionTransformer(**small, num_classes=0, **options).eval()
    return vision(model, tiny.PREPROCESS, "tiny/encoder", {})


# -- each kind of head, by an architecture of timm that has it -------------------------

KINDS = {
    "test_vit": "one linear layer",
    "test_convnext": "behind a norm that stays",
    "test_mambaout": "behind a hidden layer that stays; channels last",
    "dla46x_c": "a convolution",
    "deit_tiny_distilled_patch16_224": "two, which read different tokens",
    "levit_128s": "two, each with a norm",
    "efficientvit_m0": "one with a norm",
    "repvit_m0_9": "a module of two",
    "crossvit_tiny_240": "a list, which read different widths",
    "efficientvim_m1": "a list, over the stages",
    "inception_next_atto": "the second layer of a small network",
    "eva02_tiny_patch14_224": "none yet",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_head_of_each_kind(name):
    families.examine(name)


def test_at_least_sixty_families_are_tried():
    from timm.models import _registry

    modules = {
        next(m for m, names in _registry._module_to_models.items() if name in names)
        for name in families.FAMILIES
    }
    assert len(modules) >= 60


# -- what is found ---------------------------------------------------------------------


@pytest.mark.parametrize("name, found", [("resnet18", "fc"), ("vgg11", "classifier.6")])
def test_torchvision_is_as_it_was(name, found):
    with torch.device("meta"):
        from torchvision import models

        assert heads.find(models.get_model(name)) == (found,)


def test_finding_costs_nothing_and_changes_nothing():
    model = tiny.vit().model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(4)
    assert heads.find(model) == ("head",)
    after = torch.rand(1)
    torch.manual_seed(4)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.num_classes == 3


def test_a_network_without_a_layer_that_classifies_is_told():
    with pytest.raises(CourseError, match="No classifier was found in Sequential"):
        heads.find(nn.Sequential(nn.Flatten()))


def test_the_new_head_of_a_transformer_is_the_one_it_always_was():
    """As nn.Linear draws it from the seed: stored results depend on that."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        linear = nn.Linear(24, 5)
    head = tiny.vit().to_classes(5, seed=7).model.head
    assert torch.equal(head.weight, linear.weight)
    assert torch.equal(head.bias, linear.bias)


# -- several modules -------------------------------------------------------------------


def test_two_heads_are_named_and_read_alike():
    backbone = distilled()
    assert backbone.heads == ("head", "head_dist") and backbone.num_features == 24
    with pytest.raises(CourseError, match="go through backbone.heads"):
        _ = backbone.head
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert backbone.features(x).shape == (2, 24)
    assert backbone.copy().heads == backbone.heads


def test_two_heads_are_replaced_from_the_seed_alone():
    def weights(seed, noise):
        torch.manual_seed(noise)
        model = distilled().to_classes(5, seed).model
        return torch.cat([model.head.weight, model.head_dist.weight])

    assert weights(1, 0).shape == (10, 24)
    assert torch.equal(weights(1, 0), weights(1, 9))
    assert not torch.equal(weights(1, 0), weights(2, 0))


def test_a_new_head_is_in_the_mode_of_its_network():
    backbone = zoo.load("timm/levit_128s", pretrained=False).to_classes(3)
    assert not any(m.training for m in backbone.model.modules())  # norms in the head
    backbone.model.train()
    assert all(m.training for m in backbone.to_classes(4).model.modules())


def test_both_heads_learn_when_all_else_is_frozen():
    backbone = freezing.freeze_backbone(distilled())
    learning = {n for n, p in backbone.model.named_parameters() if p.requires_grad}
    assert learning == {
        f"{head}.{kind}" for head in backbone.heads for kind in ("weight", "bias")
    }
    rows = freezing.parameter_table(backbone)
    assert rows[-1]["stage"] == "head, head_dist"
    assert rows[-1]["trainable"] == 2 * (24 * 3 + 3)
    assert sum(row["parameters"] for row in rows) == freezing.total_parameters(backbone)
    assert set(layer_groups.layer_groups(backbone)["head"]) == learning
    assert set(layer_groups.layer_groups(backbone.model)["head"]) == learning


def test_the_audit_counts_the_outputs_of_two_heads():
    data = tiny.images(num_classes=3)
    assert not [f for f in audit.audit(distilled(3), train=data) if "head" in f.check]
    found = audit.audit(distilled(4), train=data)
    assert [f.check for f in found if f.check == "head-size"] == ["head-size"]
    assert "head, head_dist" in str(found) and "4 outputs for 3 classes" in str(found)


def test_dropout_stands_before_each_head():
    backbone = assembly.with_dropout(distilled(), 0.5)
    for name in backbone.heads:
        assert isinstance(backbone.model.get_submodule(name)[0], nn.Dropout)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(backbone.model(x), distilled().model(x))  # in eval mode


def test_a_cached_head_is_refused_where_there_are_two():
    with pytest.raises(CourseError, match="is 2 modules"):
        training.attach_head(distilled(), nn.Linear(24, 3))


def test_a_cached_head_fits_where_there_is_none_yet():
    backbone = training.attach_head(without_head(), nn.Linear(24, 3))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = backbone.model.head(backbone.features(x))
        torch.testing.assert_close(backbone.model(x), logits)


def test_a_body_with_a_part_called_head_loses_no_group():
    backbone = zoo.load("timm/selecsls42", 3, pretrained=False)
    families.check_groups(backbone)
    assert backbone.heads == ("fc",)


# -- no classifier ---------------------------------------------------------------------


def test_an_encoder_gets_its_head_by_its_classes():
    backbone = without_head()
    assert backbone.heads == ("head",) and backbone.num_features == 24
    assert "head" not in layer_groups.layer_groups(backbone)
    assert freezing.trainable_parameters(freezing.freeze_backbone(backbone)) == 0
    backbone.to_classes(3)
    assert freezing.trainable_parameters(freezing.freeze_backbone(backbone)) == 75


def test_an_encoder_that_does_not_pool_is_told_to():
    backbone = without_head(global_pool="", class_token=False)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert backbone.features(x).shape == (2, 24)
        assert backbone.to_classes(3).model(x).shape == (2, 3)


# -- from training to a folder and back ------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["levit_128s", "efficientvim_m1"])
def test_a_model_with_several_heads_is_exported_and_read(tmp_path, name):
    backbone = zoo.load(f"timm/{name}@own.pth", 3, pretrained=False)
    assembly.with_dropout(backbone, 0.2)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    about = dict(model=f"timm/{name}@own.pth", task="images", dropout=0.2,
                 image_size=32)  # fmt: skip
    exported.export(backbone, "abc", tmp_path, images, onnx=False, about=about)
    model = exported.load(tmp_path)  # where there is no own.pth
    with torch.no_grad():
        logits = backbone.model(backbone.preprocess(images))
    expected = logits.double().softmax(1).numpy()
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-6)


@pytest.mark.slow
def test_narrow_strided_convolutions_learn():
    """With channels last in memory, the gradient of such a layer ended the process."""
    backbone = zoo.load("timm/mobileone_s0", 3, pretrained=False)
    guarded = [
        layer
        for layer in backbone.model.modules()
        if isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride) == ((1, 1), (2, 2))
        and layer.in_channels < 16
    ]
    assert guarded
    seen = []
    for layer in guarded:
        layer.register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].is_contiguous())
        )
    x = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        backbone.model(x)
    assert seen and all(seen)
