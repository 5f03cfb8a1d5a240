"""Freezing: exactly the right parameters, and BatchNorm statistics that stay put."""

import copy

import pytest
import tiny
import torch

from course_lib.errors import CourseError
from course_lib.training import freezing


@pytest.fixture
def resnet():
    return tiny.resnet()


def learns(backbone):
    return {
        n.split(".")[0] for n, p in backbone.model.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize(
    "stage, expected",
    [
        (None, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
        ("stem", {"layer1", "layer2", "layer3", "layer4", "fc"}),
        ("layer3", {"layer4", "fc"}),
        ("layer4", {"fc"}),
    ],
)
def test_freeze_until_freezes_the_stage_and_all_before(resnet, stage, expected):
    freezing.freeze_backbone(resnet)  # whatever was frozen before is forgotten
    assert learns(freezing.freeze_until(resnet, stage)) == expected


def test_freeze_until_covers_embeddings_of_a_transformer():
    backbone = freezing.freeze_until(tiny.vit(), "block1")
    names = {n for n, p in backbone.model.named_parameters() if not p.requires_grad}
    assert {"pos_embed", "cls_token", "patch_embed.proj.weight"} <= names
    assert not any(n.startswith(("blocks.1", "norm", "head")) for n in names)


def test_counts_and_table_agree(resnet):
    freezing.freeze_until(resnet, "layer3")
    table = freezing.parameter_table(resnet)
    assert [row["stage"] for row in table] == [
        "stem", "layer1", "layer2", "layer3", "layer4", "fc",
    ]  # fmt: skip
    total = sum(row["parameters"] for row in table)
    assert total == freezing.total_parameters(resnet)
    trainable = {row["stage"]: row["trainable"] for row in table if row["trainable"]}
    assert set(trainable) == {"layer4", "fc"}
    assert sum(trainable.values()) == freezing.trainable_parameters(resnet)
    assert trainable["fc"] == 16 * 3 + 3


def drift(backbone):
    """Largest move of a running mean while five batches pass."""
    bn = backbone.model.layer1[0].bn1
    before = bn.running_mean.clone()
    torch.manual_seed(0)
    for _ in range(5):
        backbone.model(torch.randn(4, 3, 32, 32) + 1)
    return float((bn.running_mean - before).abs().max())


def test_requires_grad_alone_does_not_stop_batchnorm(resnet):
    freezing.freeze_backbone(resnet)
    resnet.model.train()
    assert "layer1.0.bn1" in freezing.frozen_in_train_mode(resnet)
    assert drift(resnet) > 1e-3


def test_train_mode_stops_it_but_leaves_trainable_layers_training(resnet):
    freezing.freeze_until(resnet, "layer3")
    freezing.train_mode(resnet)
    assert freezing.frozen_in_train_mode(resnet) == []
    assert drift(resnet) == 0
    assert resnet.model.layer4[0].bn1.training


def test_freeze_batchnorm_outlives_train_and_copies_until_unfrozen(resnet):
    freezing.freeze_backbone(resnet)
    names = freezing.freeze_batchnorm(resnet)
    assert "bn1" in names and "layer4.0.bn2" in names
    for backbone in (resnet, copy.deepcopy(resnet)):
        backbone.model.train()
        assert backbone.model.layer1.training
        assert freezing.frozen_in_train_mode(backbone) == []
        assert drift(backbone) == 0
    freezing.unfreeze(resnet)
    resnet.model.train()
    assert resnet.model.bn1.training and drift(resnet) > 0


def test_a_plain_module_does_not_say_its_head(resnet):
    with pytest.raises(CourseError, match="head"):
        freezing.freeze_backbone(resnet.model)
    with pytest.raises(CourseError, match="layer7"):
        freezing.freeze_until(resnet, "layer7")


def test_statistics_stay_while_scale_and_shift_learn(resnet):
    before, layer = tiny.state(resnet), resnet.model.layer1[0].bn1
    with freezing.statistics_frozen(resnet):
        freezing.train_mode(resnet)
        assert resnet.model.training and not layer.training
        resnet.model(torch.rand(4, 3, 32, 32)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0 and not tiny.moved(before, resnet)
    freezing.train_mode(resnet)
    resnet.model(torch.rand(4, 3, 32, 32))
    assert layer.training and "layer1.0.bn1.running_mean" in tiny.moved(before, resnet)
