"""The PEFT family: against peft where peft has it, against the formula elsewhere."""

import copy

import pytest
import tiny
import torch
from torch.nn.functional import gelu

from course_lib import datasets
from course_lib.errors import CourseError
from course_lib.methods import peft_family
from course_lib.models import text, zoo
from course_lib.models.backbone import Backbone
from course_lib.training import freezing, hf_trainer

METHODS = {
    "full": peft_family.full,
    "probe": peft_family.probe,
    "bitfit": peft_family.bitfit,
    "lora": peft_family.lora_everywhere,
    "dora": peft_family.dora,
    "ia3": peft_family.ia3,
    "adapters": peft_family.adapters,
    "prefix": peft_family.prefix,
    "prompt": peft_family.prompt,
}
SAME_AT_FIRST = {"full", "probe", "bitfit", "lora", "dora", "ia3", "adapters"}


def vit():
    return zoo.load("bundled/vit-patterns", 5)


def tokens(backbone):
    return backbone.preprocess(["a scratch on die 3, no residue", "bridge"])


def logits(backbone, x):
    out = backbone.model(**x) if isinstance(x, dict) else backbone.model(x)
    return getattr(out, "logits", out)


@pytest.fixture(params=["text", "images"])
def case(request):
    """A fresh backbone, and an input for it."""
    if request.param == "text":
        backbone = tiny.encoder()
        backbone.model.eval()
        return backbone, dict(tokens(backbone))
    images = datasets.load("wafer_micrographs", "validation").images[:2]
    backbone = vit()
    return backbone, backbone.preprocess(images)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_only_the_parts_of_a_method_and_the_head_learn(case, method):
    backbone, x = case
    before = {n: p.detach().clone() for n, p in backbone.model.named_parameters()}
    with torch.no_grad():
        first = logits(backbone, x)
    assert METHODS[method](backbone) is backbone
    backbone.model.eval()
    out = logits(backbone, x)
    assert out.shape == first.shape
    assert torch.allclose(out, first, atol=1e-5) == (method in SAME_AT_FIRST)
    learning = {n for n, p in backbone.model.named_parameters() if p.requires_grad}
    assert {f"{backbone.head}.weight", f"{backbone.head}.bias"} <= learning
    if method not in ("full", "bitfit", "probe"):
        assert not (learning & set(before)) - {n for n in before if "head" in n}
    optimizer = torch.optim.SGD(
        [p for p in backbone.model.parameters() if p.requires_grad], lr=0.5
    )
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(
            logits(backbone, x), torch.tensor([1, 2])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    names = dict(backbone.model.named_parameters())
    for name, old in before.items():
        new = names.get(name, names.get(name.replace(".weight", ".base.weight")))
        new = names.get(name.replace(".bias", ".base.bias")) if new is None else new
        if new is not None and new.shape == old.shape:
            assert name in learning or torch.equal(new, old), name
    moved = peft_family.trained_state(backbone)
    assert set(moved) == learning
    assert sum(v.numel() for v in moved.values()) == freezing.trainable_parameters(
        backbone
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_copy_is_independent(case, method):
    backbone, x = case
    METHODS[method](backbone).model.eval()
    other = backbone.copy()
    with torch.no_grad():
        same = torch.equal(logits(other, x), logits(backbone, x))
        for parameter in other.model.parameters():
            parameter += 0.1
        assert same and not torch.allclose(logits(other, x), logits(backbone, x))


def randomised(backbone, seed=0):
    """Every learned part moved away from its start, so that it has an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in backbone.model.named_parameters():
            if p.requires_grad and "head" not in name:
                p += 0.1 * torch.randn(p.shape, generator=generator)
    return backbone


def same_with_peft(backbone, config, names, x):
    """Outputs and gradients of ours and of peft's, given the same parameters."""
    from peft import get_peft_model

    theirs = get_peft_model(copy.deepcopy(tiny.encoder().model), config).eval()
    ours = backbone.model.eval()
    other = dict(theirs.named_parameters())
    pairs = [
        (p, other[f"base_model.model.{names(n)}"])
        for n, p in ours.named_parameters()
        if p.requires_grad and not n.startswith("head")
    ]
    with torch.no_grad():
        for mine, their in pairs:
            their.copy_(mine.reshape(their.shape))
    labels = torch.tensor([1, 2])
    outs = []
    for model in (ours, theirs):
        model.zero_grad()
        out = model(**x, labels=labels)
        out.loss.backward()
        outs.append(out.logits)
    assert torch.allclose(*outs, atol=1e-6)
    assert pairs
    for mine, their in pairs:
        assert torch.allclose(mine.grad, their.grad.reshape(mine.shape), atol=1e-6)


@pytest.mark.slow
def test_dora_is_pefts():
    from peft import LoraConfig

    backbone = randomised(peft_family.dora(tiny.encoder(), r=4, alpha=8))
    targets = peft_family.linear_layers(tiny.encoder())
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, use_dora=True)

    def names(name):
        for ours, theirs in (
            (".A", ".lora_A.default.weight"),
            (".B", ".lora_B.default.weight"),
            (".magnitude", ".lora_magnitude_vector.default.weight"),
        ):
            if name.endswith(ours):
                return name.removesuffix(ours) + theirs
        raise AssertionError(name)

    same_with_peft(backbone, config, names, dict(tokens(backbone)))


@pytest.mark.slow
def test_ia3_is_pefts():
    from peft import IA3Config

    backbone = randomised(peft_family.ia3(tiny.encoder()))
    found = peft_family.parts(tiny.encoder())
    inside = found["contract"]
    config = IA3Config(
        target_modules=found["key"] + found["value"] + inside,
        feedforward_modules=inside,
    )

    def names(name):
        return name.replace(".factors", ".ia3_l.default")

    same_with_peft(backbone, config, names, dict(tokens(backbone)))


@pytest.mark.slow
def test_prompt_tuning_is_pefts():
    from peft import PromptTuningConfig, TaskType, get_peft_model

    backbone = peft_family.prompt(tiny.encoder(), tokens=3)
    config = PromptTuningConfig(
        task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=3
    )
    theirs = get_peft_model(copy.deepcopy(tiny.encoder().model.encoder), config).eval()
    with torch.no_grad():
        learned = theirs.prompt_encoder["default"].embedding.weight
        learned.copy_(backbone.model.encoder.prompt)
        x = dict(tokens(backbone))
        out = backbone.model.eval().encoder(**x).last_hidden_state
        x.pop("token_type_ids", None)
        expected = theirs(**x).last_hidden_state[:, 3:]
    assert torch.allclose(out, expected, atol=1e-6)


def test_an_adapter_is_its_formula():
    torch.manual_seed(0)
    layer = peft_family.Adapter(torch.nn.Linear(6, 4), 3)
    torch.nn.init.normal_(layer.up.weight)
    x = torch.randn(2, 6)
    h = layer.base(x)
    D, b, U, c = layer.down.weight, layer.down.bias, layer.up.weight, layer.up.bias
    assert torch.allclose(layer(x), h + gelu(h @ D.T + b) @ U.T + c, atol=1e-6)


def test_a_prefix_is_more_keys_and_values(case):
    """The layer's output, one query at a time, by the softmax written out."""
    backbone, x = case
    name = peft_family.parts(backbone)["attention"][0]
    randomised(peft_family.prefix(backbone, tokens=3)).model.eval()
    layer = backbone.model.get_submodule(name)
    d = layer.base.qkv.in_features if layer.fused else layer.base.query.in_features
    hidden = torch.randn(2, 5, d, generator=torch.Generator().manual_seed(0))
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    mask = None if layer.fused else real[:, None, None, :].expand(2, 1, 5, 5)
    with torch.no_grad():
        out = layer(hidden, mask)
        base = layer.base
        if layer.fused:
            q, k, v = base.qkv(hidden).split(d, -1)
        else:
            out = out[0]
            q, k, v = base.query(hidden), base.key(hidden), base.value(hidden)
        width = d // layer.heads
        for n in range(2):
            mixed = torch.empty(5, d)
            for h in range(layer.heads):
                part = slice(h * width, (h + 1) * width)
                seen = slice(None) if layer.fused else real[n]
                keys = torch.cat([layer.keys[h], k[n, seen, part]])
                values = torch.cat([layer.values[h], v[n, seen, part]])
                weights = (q[n, :, part] @ keys.T / width**0.5).softmax(-1)
                mixed[:, part] = weights @ values
            expected = base.proj(mixed) if layer.fused else mixed
            assert torch.allclose(out[n], expected, atol=1e-5)


@pytest.mark.slow
def test_counts_follow_the_formulas():
    backbone = zoo.load("minilm", 5, pretrained=False)
    L, d, f, head = 6, 384, 1536, 5 * 384 + 5
    expected = {
        "probe": 0,
        "lora": 8 * L * (3 * 2 * d + 2 * d + 2 * (d + f)),
        "dora": 8 * L * (4 * 2 * d + 2 * (d + f)) + L * (5 * d + f),
        "ia3": L * (2 * d + f),
        "adapters": L * 2 * (2 * d * 16 + d + 16),
        "prefix": L * 2 * 10 * d,
        "prompt": 10 * d,
    }
    for method, count in expected.items():
        adapted = METHODS[method](backbone.copy())
        assert freezing.trainable_parameters(adapted) == count + head, method


@pytest.mark.slow
def test_padding_changes_nothing_behind_a_prompt_or_prefix():
    for method in ("prompt", "prefix", "adapters"):
        backbone = randomised(METHODS[method](tiny.encoder()))
        backbone.model.eval()
        with torch.no_grad():
            both = logits(backbone, dict(tokens(backbone)))
            alone = logits(backbone, dict(backbone.preprocess(["bridge"])))
        assert torch.allclose(both[1:], alone, atol=1e-5), method


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "prefix", "prompt", "ia3"])
def test_the_trainer_moves_every_part_and_lowers_the_loss(method):
    train = datasets.load("tickets", "train", n=20)
    backbone = METHODS[method](tiny.encoder())
    start = peft_family.trained_state(backbone.copy())

    def loss():
        scores = torch.as_tensor(text.predict(backbone, train.texts))
        return torch.nn.functional.cross_entropy(scores, torch.tensor(train.labels))

    before = loss()
    hf_trainer.fit(backbone, train, epochs=30, lr=1e-2, seed=1)
    end = peft_family.trained_state(backbone)
    assert not [name for name in start if torch.equal(start[name], end[name])]
    assert loss() < before - 0.05


def test_deberta_is_known_but_has_no_prefix():
    from transformers import AutoConfig, AutoModel

    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    config = AutoConfig.for_model("deberta-v2", **sizes, intermediate_size=64)
    encoder = AutoModel.from_config(config)
    model = text.TextClassifier(encoder, 3)
    backbone = Backbone(model, None, "deberta", "text", "head", {}, 32)
    assert len(peft_family.linear_layers(backbone)) == 2 * 6
    adapted = peft_family.lora_everywhere(backbone.copy())
    ids = torch.ones(2, 5, dtype=torch.long)
    out = adapted.model(input_ids=ids, attention_mask=ids, labels=torch.tensor([0, 2]))
    assert out.logits.shape == (2, 3) and out.loss > 0
    with pytest.raises(CourseError, match="is not known"):
        peft_family.prefix(backbone)


def test_a_prefix_refuses_attention_that_does_more():
    from timm.layers import Attention
    from timm.models.swin_transformer import WindowAttention

    normed = Attention(16, 2, qk_norm=True, norm_layer=torch.nn.LayerNorm)
    for attention in (normed, WindowAttention(16, 2, window_size=4)):
        with pytest.raises(CourseError, match="is not known"):
            peft_family.PrefixAttention(attention, 3)
    with pytest.raises(CourseError, match="cannot take is_causal"):
        plain = peft_family.PrefixAttention(Attention(16, 2), 3)
        plain(torch.randn(1, 4, 16), is_causal=True)


def test_errors_name_what_is_expected():
    with pytest.raises(CourseError, match="no transformer layers"):
        peft_family.adapters(zoo.load("bundled/resnet10-patterns", 5))
    with pytest.raises(CourseError, match="with a head"):
        peft_family.prefix(zoo.load("minilm", pretrained=False))
    with pytest.raises(CourseError, match="with a head"):
        peft_family.probe(torch.nn.Linear(2, 2))
