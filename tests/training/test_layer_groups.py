"""Layer groups: an exact, ordered partition for twelve architectures, and the rates."""

import pytest
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.training import layer_groups as lg

TORCHVISION = (
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)
TIMM = ("resnet26d", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050")
HUGGING_FACE = ("bert", "deberta-v2", "distilbert")


def meta_model(name):
    """An architecture without weights."""
    if name in TORCHVISION:
        import torchvision

        with torch.device("meta"):
            return torchvision.models.get_model(name, weights=None)
    if name in TIMM:
        import timm

        with torch.device("meta"):
            return timm.create_model(name, pretrained=False)
    from transformers import AutoConfig, AutoModelForSequenceClassification

    options = {
        "bert": dict(num_hidden_layers=4),
        "deberta-v2": dict(
            num_hidden_layers=4, relative_attention=True, norm_rel_ebd="layer_norm"
        ),
        "distilbert": dict(n_layers=4),
    }[name]
    config = AutoConfig.for_model(name, **options)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def test_the_final_norm_of_a_decoder_belongs_to_its_last_block():
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt2", n_layer=3)
    with torch.device("meta"):
        groups = lg.layer_groups(AutoModelForCausalLM.from_config(config))
    assert "transformer.ln_f.weight" in groups["transformer.h.2"]
    assert "transformer.wte.weight" in groups["stem"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION + TIMM + HUGGING_FACE)
def test_every_parameter_is_in_exactly_one_group_in_order(name):
    net = meta_model(name)
    groups = lg.layer_groups(net)
    names = [n for n, _ in net.named_parameters()]
    listed = [n for members in groups.values() for n in members]
    assert sorted(listed) == sorted(names) and len(set(listed)) == len(listed)
    assert list(groups)[0] == "stem" and list(groups)[-1] == "head"
    assert len(groups) >= 6
    # order from input to output: a block's first parameter is registered after the
    # block before it, and the stem holds the network's very first parameter
    firsts = [names.index(m[0]) for k, m in groups.items() if k not in ("stem", "head")]
    assert firsts == sorted(firsts) and names[0] in groups["stem"]
    head = groups["head"]
    assert any(n.startswith(("fc", "classifier", "head")) for n in head)


def test_what_stands_behind_the_blocks_but_acts_before_them_is_stem():
    groups = lg.layer_groups(meta_model("deberta-v2"))
    assert "deberta.encoder.rel_embeddings.weight" in groups["stem"]
    assert "deberta.encoder.LayerNorm.weight" in groups["stem"]
    assert "pooler.dense.weight" in groups["head"]
    bert = lg.layer_groups(meta_model("bert"))
    assert "bert.pooler.dense.weight" in bert["bert.encoder.layer.3"]
    swin = lg.layer_groups(meta_model("swin_t"))
    assert "norm.weight" in swin["features.7"] and swin["head"][0] == "head.weight"


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION + TIMM + HUGGING_FACE)
def test_rates_follow_the_formula_and_norms_do_not_decay(name):
    net = meta_model(name)
    groups = lg.layer_groups(net)
    optimizer_groups = lg.decayed_groups(net, lr=2e-3, alpha=0.4, head_factor=5)
    body = [g for g in groups if g != "head"]
    expected = {g: 2e-3 * 0.4 ** (len(body) - 1 - i) for i, g in enumerate(body)}
    expected["head"] = 1e-2
    held = 0
    for group in optimizer_groups:
        assert group["lr"] == pytest.approx(expected[group["name"]], rel=1e-12)
        if group["weight_decay"]:
            assert all(p.ndim >= 2 for p in group["params"])
        held += len(group["params"])
    assert held == len(list(net.parameters()))
    plain = {
        id(p) for g in optimizer_groups if not g["weight_decay"] for p in g["params"]
    }
    for parameter_name, parameter in net.named_parameters():
        if parameter.ndim < 2 or parameter_name.endswith("bias"):
            assert id(parameter) in plain or parameter.ndim >= 2


def test_timm_groups_are_named_after_their_blocks():
    groups = lg.layer_groups(meta_model("vit_tiny_patch16_224"))
    assert list(groups)[1:-1] == [f"blocks.{i}" for i in range(12)]
    assert "norm.weight" in groups["blocks.11"]


def test_bundled_backbones_have_stage_groups():
    groups = lg.layer_groups(zoo.load(num_classes=5))
    assert list(groups) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert groups["head"] == ["fc.weight", "fc.bias"]


def test_one_flat_rate_and_frozen_parameters_left_out():
    backbone = zoo.load(num_classes=5)
    flat = lg.decayed_groups(backbone, lr=1e-3, alpha=1.0)
    assert {group["lr"] for group in flat} == {1e-3}
    backbone.model.layer1.requires_grad_(False)
    some = lg.decayed_groups(backbone, lr=1e-3)
    assert "layer1" not in {group["name"] for group in some}


def test_errors_say_what_to_do():
    with pytest.raises(CourseError, match="No blocks"):
        lg.layer_groups(nn.Linear(3, 2))
    backbone = zoo.load(num_classes=5)
    groups = lg.layer_groups(backbone)
    for broken, words in (
        (groups | {"more": ["fc.weight"]}, "two groups"),
        ({k: v for k, v in groups.items() if k != "layer2"}, "no group"),
        (groups | {"more": ["nothing.weight"]}, "not parameters"),
    ):
        with pytest.raises(CourseError, match=words):
            lg.decayed_groups(backbone, lr=1e-3, groups=broken)
    for bad in (dict(lr=0.0, alpha=0.5), dict(lr=1e-3, alpha=1.5)):
        with pytest.raises(CourseError, match="Expected"):
            lg.layer_rates(groups, **bad)
