"""LoRA against peft: outputs, gradients, merged weights, files; and its own errors."""

import copy

import nbformat
import pytest
import torch
from torch import nn

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.methods import lora

CASES = [
    # kind, width, heads, r, alpha, rank-stabilised: twenty draws, fixed
    *(
        (kind, 16 * (1 + i % 4), 2, 1 + (5 * i + 3) % 16, 4.0 * (1 + i % 5), i % 3 == 0)
        for i in range(10)
        for kind in ("encoder", "decoder")
    )
]


def small(kind, width, heads):
    """A BERT encoder or a Llama decoder with random weights, and what to adapt."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    sizes = dict(
        vocab_size=60,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=2 * width + 8,
    )
    if kind == "encoder":
        config = BertConfig(**sizes, max_position_embeddings=32)
        model = BertModel(config, add_pooling_layer=False)
        return model.eval(), ("query", "value", "dense")
    return LlamaModel(LlamaConfig(**sizes)).eval(), ("q_proj", "v_proj", "down_proj")


def pair(kind, width, heads, r, alpha, stable):
    """(ours, peft's): the same base, the same A, and the same non-zero B."""
    from peft import LoraConfig, get_peft_model

    model, targets = small(kind, width, heads)
    ours = lora.inject(copy.deepcopy(model), targets, r, alpha, rank_stabilised=stable)
    config = LoraConfig(
        r=r, lora_alpha=alpha, target_modules=list(targets), use_rslora=stable
    )
    theirs = get_peft_model(model, config)
    gen = torch.Generator().manual_seed(r)
    with torch.no_grad():
        for name, layer in lora.layers(ours).items():
            layer.B.copy_(torch.randn(layer.B.shape, generator=gen) * 0.1)
            other = theirs.base_model.model.get_submodule(name)
            other.lora_A["default"].weight.copy_(layer.A)
            other.lora_B["default"].weight.copy_(layer.B)
    return ours, theirs.eval(), torch.randint(0, 60, (3, 7), generator=gen)


def close(a, b):
    """Equal within 1e-6 of the largest number."""
    return (a - b).abs().max().item() <= 1e-6 * max(1.0, b.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}-r{c[3]}")
def test_outputs_gradients_and_merged_weights_equal_those_of_peft(case):
    ours, theirs, tokens = pair(*case)
    one, two = (m(input_ids=tokens).last_hidden_state for m in (ours, theirs))
    assert close(one, two)
    one.square().mean().backward()
    two.square().mean().backward()
    layers = lora.layers(ours)
    assert layers
    for name, layer in layers.items():
        other = theirs.base_model.model.get_submodule(name)
        assert close(layer.A.grad, other.lora_A["default"].weight.grad)
        assert close(layer.B.grad, other.lora_B["default"].weight.grad)
        assert layer.base.weight.grad is None
    merged, reference = lora.merge(ours), theirs.merge_and_unload()
    for name in layers:
        assert close(
            merged.get_submodule(name).weight, reference.get_submodule(name).weight
        )
    assert close(merged(input_ids=tokens).last_hidden_state, one)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_peft_reads_our_files_and_we_read_those_of_peft(kind, tmp_path):
    from peft import PeftModel

    ours, theirs, tokens = pair(kind, 32, 2, 4, 8.0, kind == "encoder")
    expected = ours(input_ids=tokens).last_hidden_state
    lora.save(ours, tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    fresh, _ = small(kind, 32, 2)
    by_peft = PeftModel.from_pretrained(copy.deepcopy(fresh), tmp_path / "ours").eval()
    assert close(by_peft(input_ids=tokens).last_hidden_state, expected)
    for folder in ("ours", "theirs"):
        by_us = lora.load(copy.deepcopy(fresh), tmp_path / folder)
        assert close(by_us(input_ids=tokens).last_hidden_state, expected)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Linear(12, 10)
        self.norm = nn.LayerNorm(10)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        return self.head(self.norm(self.body(x)).relu())


X = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))


def test_nothing_changes_at_the_start_and_only_a_and_b_learn():
    net = Net()
    before = net(X)
    lora.inject(net, ["body"], r=3)
    assert torch.equal(net(X), before)
    learning = [n for n, p in net.named_parameters() if p.requires_grad]
    assert learning == ["body.A", "body.B"]
    net(X).sum().backward()
    layer = net.body
    assert layer.A.grad.abs().max() == 0  # because B is zero
    assert layer.B.grad.abs().max() > 0
    assert lora.parameter_count([(10, 12)], 3) == layer.A.numel() + layer.B.numel()


def test_the_rank_of_the_update_and_merging_back_and_forth():
    net = lora.inject(Net(), ["body"], r=2, alpha=4)
    nn.init.normal_(net.body.B)
    assert torch.linalg.matrix_rank(net.body.delta()) == 2
    expected, weight = net(X), net.body.base.weight.clone()
    net.body.merge()
    net.body.merge()  # a second time changes nothing
    assert torch.allclose(net(X), expected, atol=1e-6)
    lora.unmerge(net)
    assert torch.allclose(net.body.base.weight, weight, atol=1e-7)
    assert torch.allclose(net(X), expected, atol=1e-6)
    names = set(dict(Net().named_parameters()))
    assert set(dict(lora.merge(net).named_parameters())) == names


def test_a_head_given_as_train_learns_and_is_saved(tmp_path):
    net = lora.inject(Net(), ["body"], r=2, train=["head"])
    nn.init.normal_(net.body.B)
    nn.init.normal_(net.head.weight)
    lora.save(net, tmp_path, base="net")
    again = lora.load(Net(), tmp_path)
    assert torch.equal(again(X), net(X))
    without = lora.inject(Net(), ["body"], r=2)
    nn.init.normal_(without.head.weight)  # trained by hand, frozen again: left out
    lora.save(without, tmp_path / "lost")
    assert not torch.equal(lora.load(Net(), tmp_path / "lost")(X), without(X))


def test_seeds_decide_a_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, two, other = (lora.inject(Net(), ["body"], seed=s).body.A for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: lora.inject(Net(), ["query"]), "no module is called query"),
        (lambda: lora.inject(Net(), ["body"], train=["fc"]), "no module is called fc"),
        (lambda: lora.inject(Net(), ["norm"]), "is a LayerNorm"),
        (lambda: lora.inject(Net(), ["body"], r=0), "rank of 1"),
        (lambda: lora.inject(lora.inject(Net(), ["body"]), ["head"]), "already"),
        (lambda: lora.merge(Net()), "no LoRA layers"),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(CourseError, match=words):
        call()


def test_adapters_that_do_not_fit_are_refused(tmp_path):
    lora.save(lora.inject(Net(), ["body"], r=2), tmp_path)
    wide = Net()
    wide.body = nn.Linear(14, 10)
    with pytest.raises(CourseError, match="does not fit"):
        lora.load(wide, tmp_path)
    with pytest.raises(CourseError, match="missing"):
        lora.load(Net(), tmp_path / "nowhere")
    (tmp_path / lora.WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(CourseError, match="damaged"):
        lora.load(Net(), tmp_path)


def test_the_lesson_s_layer_is_short():
    """The layer, injection and merging that lesson 08 writes out."""
    notebook = nbformat.read(paths.NOTEBOOKS / "08_lora.ipynb", as_version=4)
    cells = {cell["id"]: cell for cell in notebook.cells}
    source = cells["layer"].source + "\n" + cells["inject"].source
    lines = [line for line in source.splitlines() if line.strip()]
    assert "class LoRALinear" in source and "def merge" in source and len(lines) <= 35


def test_quantised_weights_cannot_take_the_update():
    net = lora.inject(Net(), ["body"])
    net.body.base.weight = nn.Parameter(
        torch.zeros(4, dtype=torch.uint8), requires_grad=False
    )
    with pytest.raises(CourseError, match="quantised"):
        net.body.merge()


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_from_the_weights_are_pefts_and_are_not_mistaken_for_an_adapter(
    start, tmp_path
):
    """A and B as in peft, the model unchanged; such files are refused."""
    from peft import LoraConfig, get_peft_model

    model, targets = small("encoder", 32, 2)
    factors = dict(pissa=lora.pissa_factors, olora=lora.olora_factors)[start]
    ours = lora.inject(copy.deepcopy(model), targets, 4, 8.0)
    ours = lora.restart(ours, factors)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=list(targets), init_lora_weights=start
    )
    theirs = get_peft_model(copy.deepcopy(model), config)
    ids = torch.arange(14).view(2, 7)
    before = model(input_ids=ids).last_hidden_state
    for name, layer in lora.layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        assert torch.allclose(
            layer.delta(), other.get_delta_weight("default"), atol=1e-5
        )
        assert torch.allclose(layer.base.weight, other.base_layer.weight, atol=1e-5)
    assert torch.allclose(ours(input_ids=ids).last_hidden_state, before, atol=1e-4)
    with pytest.raises(CourseError, match="restart changed"):
        lora.save(ours, tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(CourseError, match=f"init_lora_weights='{start}'"):
        lora.load(copy.deepcopy(model), tmp_path / "theirs")
    merged = lora.merge(ours)
    assert torch.allclose(merged(input_ids=ids).last_hidden_state, before, atol=1e-4)


def test_lora_plus_trains_b_faster_than_all_else():
    model, targets = small("encoder", 16, 2)
    lora.inject(model, targets, 2)
    slow, fast = lora.plus_rates(model, 1e-3, ratio=8)
    names = {id(p): name for name, p in model.named_parameters()}
    assert (slow["lr"], fast["lr"]) == (1e-3, 8e-3)
    assert {names[id(p)][-2:] for p in fast["params"]} == {".B"}
    assert {names[id(p)][-2:] for p in slow["params"]} == {".A"}
    with pytest.raises(CourseError, match="no LoRA layers"):
        lora.plus_rates(small("encoder", 16, 2)[0], 1e-3)


def test_lora_plus_has_the_groups_of_peft():
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_loraplus_optimizer

    model, targets = small("encoder", 16, 2)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=list(targets))
    theirs = get_peft_model(copy.deepcopy(model), config)
    optimizer = create_loraplus_optimizer(
        theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16
    )
    expected = {}
    names = {id(p): name for name, p in theirs.named_parameters()}
    for group in optimizer.param_groups:
        expected |= {names[id(p)]: group["lr"] for p in group["params"]}
    ours = lora.inject(copy.deepcopy(model), targets, 2, 4.0)
    names = {id(p): name for name, p in ours.named_parameters()}
    found = {}
    for group in lora.plus_rates(ours, 1e-3):
        for parameter in group["params"]:
            layer, _, factor = names[id(parameter)].rpartition(".")
            name = f"base_model.model.{layer}.lora_{factor}.default.weight"
            found[name] = group["lr"]
    assert found == pytest.approx(expected) and set(found.values()) == {1e-3, 1.6e-2}


def test_rslora_is_lora_plus_of_the_ratio_sqrt_r_under_adam():
    """A factor before B A is a faster B, as long as B begins at zero."""
    ids, ends = torch.arange(14).view(2, 7), []
    model, targets = small("encoder", 16, 2)
    for stable, ratio in ((True, 1.0), (False, 4**0.5), (False, 1.0)):
        one = lora.inject(
            copy.deepcopy(model).double(), targets, 4, 8.0, rank_stabilised=stable
        ).double()
        optimizer = torch.optim.AdamW(
            lora.plus_rates(one, 1e-3, ratio), weight_decay=0.0, eps=1e-14
        )
        for _ in range(5):
            optimizer.zero_grad()
            (one(input_ids=ids).last_hidden_state[..., 0] - 1).square().sum().backward()
            optimizer.step()
        ends.append(torch.stack([x.delta() for x in lora.layers(one).values()][:2]))
    assert torch.allclose(ends[0], ends[1], rtol=1e-6, atol=1e-9)
    assert not torch.allclose(ends[0], ends[2], rtol=0.1)


def test_a_tied_head_is_not_merged_into_the_embeddings():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(vocab_size=60, hidden_size=16, intermediate_size=24)
    shape = dict(num_hidden_layers=1, num_attention_heads=2)
    tied = LlamaForCausalLM(LlamaConfig(**sizes, **shape, tie_word_embeddings=True))
    lora.inject(tied, ("lm_head", "q_proj"), 2)
    with pytest.raises(CourseError, match="lm_head and model.embed_tokens.weight"):
        lora.merge(tied)
    assert len(lora.layers(tied)) == 2  # nothing was merged
    untied = LlamaForCausalLM(LlamaConfig(**sizes, **shape, tie_word_embeddings=False))
    assert not lora.layers(lora.merge(lora.inject(untied, ("lm_head",), 2)))
