"""The memory planner against tiny real models of many families, counted."""

import pytest
import torch
from test_memory import Alive

from course_lib import memory
from course_lib.errors import CourseError
from course_lib.memory import Options

SIZES = dict(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=300,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
ROUTED = dict(num_experts_per_tok=2, moe_intermediate_size=64)
LATENT = dict(q_lora_rank=32, kv_lora_rank=32, qk_rope_head_dim=16, qk_nope_head_dim=16)
GROUPED = dict(n_routed_experts=4, n_group=1, topk_group=1)
FAMILIES = {  # every kind of attention, norm, head and expert that differs in memory
    "llama": {},
    "qwen2": {},
    "qwen3": dict(head_dim=16),
    "gemma": dict(head_dim=16),
    "gemma2": dict(head_dim=16),
    "gemma3_text": dict(head_dim=16),
    "phi3": {},
    "gpt2": dict(n_embd=64, n_layer=2, n_head=4, n_positions=128),
    "gpt_neox": {},
    "opt": dict(ffn_dim=96, word_embed_proj_dim=64),
    "falcon": {},
    "cohere": {},
    "bert": {},
    "modernbert": {},
    "mixtral": dict(num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": ROUTED | dict(num_experts=4, shared_expert_intermediate_size=64),
    "qwen3_moe": ROUTED | dict(num_experts=4, head_dim=16),
    "olmoe": dict(num_experts=4, num_experts_per_tok=2),
    "gpt_oss": dict(num_local_experts=4, num_experts_per_tok=2, head_dim=16),
    "granitemoe": dict(num_local_experts=4, num_experts_per_tok=2),
    "llama4_text": dict(num_local_experts=4, head_dim=16, intermediate_size_mlp=96),
    "ernie4_5_moe": ROUTED | dict(moe_num_experts=4, moe_k=2),
    "deepseek_v3": ROUTED
    | GROUPED
    | LATENT
    | dict(v_head_dim=16, first_k_dense_replace=1, num_key_value_heads=4),
    "qwen3_next": ROUTED
    | dict(num_experts=4, shared_expert_intermediate_size=64, head_dim=16),
}
ADAPTED_EXPERTS = {"mixtral", "qwen3_moe", "olmoe", "ernie4_5_moe", "deepseek_v3"}
ADAPTED_EXPERTS |= {"qwen3_next"}


def configuration(kind, **more):
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **SIZES | FAMILIES[kind] | more)


def family(planned):
    from transformers import AutoModel, AutoModelForCausalLM

    return AutoModelForCausalLM if planned.model.vocabulary else AutoModel


def built(planned, config, dtype=torch.bfloat16):
    torch.manual_seed(0)
    return family(planned).from_config(config, dtype=dtype)


def learning(net, r, targets):
    """Numbers that learn by peft's own count."""
    from peft import LoraConfig, get_peft_model

    targets = targets if isinstance(targets, str) else list(targets)
    return get_peft_model(net, LoraConfig(r=r, target_modules=targets))


def bytes_of(net):
    return sum(p.nbytes for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_what_learns_and_what_is_stored_is_counted_exactly(kind, tmp_path):
    from transformers import BitsAndBytesConfig

    config = configuration(kind)
    lora = memory.plan(config, Options("lora", r=4))
    net = built(lora, config)
    assert lora.parts["weights"] == bytes_of(net)
    net.save_pretrained(tmp_path)
    assert (
        lora.trainable
        == learning(net, 4, "all-linear").get_nb_trainable_parameters()[0]
    )

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    loaded = family(lora).from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=how
    )
    stored = memory.measured(loaded)
    planned = memory.plan(config, Options("qlora", r=4, prepared=False))
    for part in ("quantised", "constants"):
        assert planned.parts[part] == stored[part]
    own_kind = kind == "falcon"  # FalconLinear, which bitsandbytes is not given
    assert (stored["quantised"] == 0) == own_kind
    assert any("Nothing is stored in 4 bits" in n for n in planned.notes) == own_kind
    plain = [p for p in loaded.parameters() if not hasattr(p, "quant_state")]
    assert planned.parts["weights"] == sum(p.nbytes for p in plain)

    experts = [n for n, p in net.named_parameters() if "expert" in n and p.ndim == 3]
    said = " ".join(planned.notes)
    assert bool(experts) == ("are not quantised" in said) == bool(lora.model.experts)
    adapted = any(
        one.name in lora.model.experts for one in memory.adapters(lora.model, "all")
    )
    assert adapted == (kind in ADAPTED_EXPERTS)
    assert ("No adapter sits on the experts" in said) == (bool(experts) and not adapted)


@pytest.mark.parametrize(
    "kind, targets",
    [
        ("mixtral", ("q_proj", "w1", "w2", "w3")),
        ("mixtral", ("gate",)),
        ("qwen3_moe", ("gate_proj", "up_proj", "down_proj")),
        ("qwen3_moe", ("down_proj", "v_proj")),
        ("deepseek_v3", ("gate_proj", "up_proj", "o_proj")),
        ("qwen2_moe", ("gate_proj", "q_proj")),
        ("llama", ("gate_proj", "layers.1.mlp.up_proj")),
    ],
    ids=str,
)
def test_names_of_projections_mean_what_peft_takes_them_for(kind, targets):
    config = configuration(kind)
    planned = memory.plan(config, Options("lora", r=8, targets=targets))
    net = learning(built(planned, config), 8, targets)
    assert planned.trainable == net.get_nb_trainable_parameters()[0]


def test_one_of_two_joined_projections_is_refused():
    with pytest.raises(CourseError, match="w1.*\n?.*Expected: all"):
        memory.plan(configuration("mixtral"), Options("lora", targets=("w1",)))


def test_experts_of_published_sizes():
    """Mixtral 8x7B: 46.7 of the 47 GB are experts when it is loaded in 4 bits."""
    from transformers import MixtralConfig

    arch = memory.describe(MixtralConfig())
    assert arch.parameters == 46_702_792_704
    experts = 32 * 8 * 3 * 4096 * 14336
    bare = memory.plan(arch, Options("qlora", prepared=False))
    assert bare.parts["weights"] > 2 * experts
    assert memory.plan(arch, Options("qlora")).parts["weights"] > 4 * experts
    assert f"{2 * experts / 1e9:.2f} GB in 16 bits" in " ".join(bare.notes)
    attention = 32 * 16 * (4096 * 6 + 2 * 1024)
    fused = 32 * 8 * 16 * (2 * (4096 + 2 * 14336) + (14336 + 4096))
    router = 32 * 16 * (4096 + 8)
    assert bare.trainable == attention + fused + router


WIDE = dict(
    hidden_size=128, intermediate_size=256, num_hidden_layers=3, use_cache=False
)
PEAKS = {
    "Gemma-2, capped logits, 32 bits": (
        "gemma2",
        "float32",
        True,
        dict(vocab_size=4000),
    ),
    "Gemma-2, capped logits": ("gemma2", "bfloat16", True, dict(vocab_size=4000)),
    "Gemma-2, no checkpointing": ("gemma2", "bfloat16", False, {}),
    "Mixtral": ("mixtral", "bfloat16", True, {}),
    "Mixtral, no checkpointing": ("mixtral", "float32", False, {}),
    "Qwen3-MoE": ("qwen3_moe", "bfloat16", True, dict(num_experts=8)),
    "Qwen2-MoE": ("qwen2_moe", "float32", True, dict(num_experts=8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PEAKS)
def test_the_peak_of_a_step_with_adapters(name):
    """Live tensors of two backward passes and an update, counted one by one."""
    kind, dtype, checkpointing, more = PEAKS[name]
    config = configuration(kind, **WIDE | more)
    o = dict(r=8, batch=4, sequence=64, checkpointing=checkpointing, dtype=dtype)
    planned = memory.plan(config, Options("lora", **o))
    net = built(planned, config, getattr(torch, dtype))
    if checkpointing:
        net.enable_input_require_grads()
    net = learning(net, 8, "all-linear").train()
    if checkpointing:
        net.base_model.model.activation_checkpointing_enable(dict(use_reentrant=False))
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(3, config.vocab_size, (4, 64), generator=draws)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
    net(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    states = [t for state in optimizer.state.values() for t in state.values()]
    with Alive(*net.parameters(), *net.buffers(), *states) as alive:
        for _ in range(2):
            out = net(input_ids=ids, labels=ids)
            out.loss.backward()
            del out
        optimizer.step()
    assert planned.total == pytest.approx(alive.top, rel=0.06)


def test_capped_logits_keep_a_copy():
    plain, capped = (
        memory.plan(
            configuration("gemma2", final_logit_softcapping=cap), Options("lora")
        )
        for cap in (None, 30.0)
    )
    words = 512 * 300
    more = capped.transient["logits"] - plain.transient["logits"]
    assert more == 2 * words  # its tanh, in bfloat16
    assert memory.describe(configuration("gemma2")).attention == "eager"
    assert (
        memory.plan(configuration("llama"), Options("lora")).options.attention == "sdpa"
    )
