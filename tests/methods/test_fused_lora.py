"""Fused LoRA: the gradients of the layers themselves, with less kept for them."""

import pytest
import torch
from torch import nn

from course_lib.methods import fused_lora, instruction_tuning, lora


class Block(nn.Module):
    """A gated block as Llama has it."""

    def __init__(self, activation=nn.SiLU, bias=False):
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(8, 12, bias=bias) for _ in "gu")
        self.down_proj, self.act_fn = nn.Linear(12, 8, bias=bias), activation()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def blocks(**options):
    """Two blocks with LoRA, of which B is not zero."""
    torch.manual_seed(0)
    net = nn.Sequential(Block(**options), Block(**options))
    lora.inject(net, instruction_tuning.LINEAR[4:], r=3, alpha=6.0)
    with torch.no_grad():
        for layer in lora.layers(net).values():
            layer.B.normal_()
    return net.double()


def answered(net):
    """Output, gradients, and how many numbers were kept for the backward pass."""
    torch.manual_seed(1)
    x, kept = torch.randn(2, 5, 8, dtype=torch.double, requires_grad=True), {}
    keep = lambda t: kept.setdefault(t.data_ptr(), t).data_ptr() and t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = net(x)
    (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    found = [out, x.grad, *(p.grad for p in net.parameters() if p.requires_grad)]
    net.zero_grad()
    own = {p.data_ptr() for p in net.parameters()}
    return found, sum(t.numel() for at, t in kept.items() if at not in own)


def test_gradients_are_the_same_and_less_is_kept():
    net = blocks()
    expected, usual = answered(net)
    with fused_lora.fused(net):
        found, kept = answered(net)
    torch.testing.assert_close(found, expected)
    assert kept < 0.75 * usual
    assert not any("forward" in vars(module) for module in net.modules())


@pytest.mark.parametrize(
    "options", [dict(activation=nn.GELU), dict(bias=True)], ids=["gelu", "bias"]
)
def test_other_blocks_run_as_they_are(options):
    net = blocks(**options)
    expected, _ = answered(net)
    with fused_lora.fused(net):
        assert not any("forward" in vars(block) for block in net)
        found, _ = answered(net)
    torch.testing.assert_close(found, expected)


def test_dropout_is_left_to_the_layer_while_training():
    net = blocks()
    for layer in lora.layers(net).values():
        layer.dropout = nn.Dropout(0.5)
    with fused_lora.fused(net.train()):
        assert not any("forward" in vars(module) for module in net.modules())
    with fused_lora.fused(net.eval()):
        assert all("forward" in vars(block) for block in net)


@pytest.mark.parametrize("variant", [dict(use_dora=True), dict(lora_bias=True), {}])
def test_layers_of_peft_that_compute_something_else(variant):
    from peft import LoraConfig, get_peft_model

    net = nn.Sequential(nn.Linear(8, 8, bias="lora_bias" in variant))
    model = get_peft_model(net, LoraConfig(r=2, target_modules=["0"], **variant))
    with fused_lora.fused(model):
        changed = [m for m in model.modules() if "forward" in vars(m)]
    assert len(changed) == (0 if variant else 1)


def test_factors_in_32_bits_beside_weights_in_16():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    targets = list(instruction_tuning.LINEAR[4:])
    net = get_peft_model(
        nn.Sequential(Block(), Block()).to(torch.bfloat16),
        LoraConfig(r=3, target_modules=targets),
    )
    for name, p in net.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p)
    x = torch.randn(2, 5, 8, dtype=torch.bfloat16)

    def gradient():
        net(x).float().square().sum().backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        net.zero_grad()
        assert all(g.dtype == torch.float32 for g in grads)
        return torch.cat([g.flatten() for g in grads])

    expected = gradient()
    with fused_lora.fused(net):
        blocks = [m for m in net.modules() if isinstance(m, Block)]
        assert all("forward" in vars(block) for block in blocks)
        assert (gradient() - expected).norm() < 0.03 * expected.norm()
