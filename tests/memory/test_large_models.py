"""The measurement on a GPU: what of it can be checked without one."""

import pytest
import torch

from course_lib import memory
from course_lib.errors import CourseError
from course_lib.memory import large_models


@pytest.fixture
def config():
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def test_the_network_is_what_the_planner_counts(config):
    net = large_models.quantised_from_config(config, device="cpu")
    stored = memory.measured(net)
    plan = memory.plan(config, memory.Options("qlora", prepared=False))
    for part in ("quantised", "weights"):
        assert stored[part] == pytest.approx(plan.parts[part], rel=0.02)
    assert not any(p.is_meta for p in net.parameters())
    assert all((p == 1).all() for p in net.parameters() if p.ndim == 1)
    flags = [getattr(m, "support_avx512bf16_for_cpu", None) for m in net.modules()]
    assert flags.count(False) == 14 and True not in flags  # 7 layers of 2 blocks
    assert not any(b.is_meta for b in net.buffers())
    with torch.no_grad():
        logits = net(input_ids=torch.arange(10)[None]).logits
    assert logits.shape == (1, 10, 300) and logits.isfinite().all()


def test_a_step_is_made_and_compared_with_the_plan(config):
    options = memory.Options("qlora", r=4, sequence=32, prepared=False)
    row = large_models.measure_step(config, options, steps=2, device="cpu")
    plan = memory.plan(config, options)
    for part in ("adapters", "gradients", "optimizer"):
        assert row[part] == pytest.approx(plan.parts[part], rel=0.02)
    assert row["planned"] == plan.total and row["tokens_per_second"] > 0
    assert row["peak"] != row["peak"]  # not measured


def test_unknown_architecture():
    with pytest.raises(CourseError, match="no model called 'Llama-9'"):
        large_models.quantised_from_config("Llama-9", device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_is_as_planned():
    large_models.capped(24)
    row = large_models.measure_step("Llama-3.1-8B")
    assert row["peak"] == pytest.approx(row["planned"], rel=0.1)
