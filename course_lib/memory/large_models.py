"""One QLoRA step of a large architecture, measured on a GPU under a cap.

The network is built from its configuration with random weights, matrix by matrix on
the device, each quantised at once: the model in 16 bits exists nowhere.  Memory and
speed do not depend on what the weights are.  `benchmarks/qlora_gpu.py` stores a dated
measurement.
"""

import time

import torch
from torch import nn

from course_lib.memory.networks import configuration, describe
from course_lib.memory.plan_options import Options
from course_lib.memory.planning import GIB, plan
from course_lib.memory.stored import measured
from course_lib.methods.instruction_tuning import with_lora
from course_lib.models import language_models


def quantised_from_config(model, dtype=torch.bfloat16, device="cuda", seed: int = 0):
    """A causal language model in NF4 with double quantisation and random weights.

    model: what `memory.describe` takes by name, or a configuration of transformers.
    The linear layers of the blocks are quantised; embeddings, norms and head are in
    ``dtype``.  Raises CourseError for an unknown name.
    """
    import bitsandbytes
    from transformers import AutoModelForCausalLM

    config = configuration(model)
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config, dtype=dtype)
    net.requires_grad_(False)
    draws = torch.Generator(device).manual_seed(seed)

    def drawn(shape):
        weight = torch.randn(shape, device=device, dtype=dtype, generator=draws)
        return weight.mul_(0.02)

    def ones(shape):
        return torch.ones(shape, device=device, dtype=dtype)

    for name in sorted(describe(model).quantised):
        old = net.get_submodule(name)
        new = bitsandbytes.nn.Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=dtype,
            quant_type="nf4",
            device="meta",
        )
        new.weight = bitsandbytes.nn.Params4bit(
            drawn(old.weight.shape), requires_grad=False, quant_type="nf4"
        ).to(device)  # quantised by being moved
        if old.bias is not None:
            new.bias = nn.Parameter(drawn(old.bias.shape), requires_grad=False)
        new.requires_grad_(False)
        net.set_submodule(name, new)
    for name, parameter in list(net.named_parameters()):
        if parameter.is_meta:
            owner, _, last = name.rpartition(".")
            weight = drawn if parameter.ndim > 1 else ones  # of a norm
            new = nn.Parameter(weight(parameter.shape), requires_grad=False)
            setattr(net.get_submodule(owner), last, new)
    net.tie_weights()
    rotary = type(net.model.rotary_emb)  # its frequencies were on the meta device too
    net.model.rotary_emb = rotary(config).to(device)
    net.is_loaded_in_4bit = True
    language_models.never_repack(net)
    return net


def capped(gigabytes: float, device: int = 0) -> None:
    """Let this process use so many GiB of the GPU, as if the card had no more.

    What would exceed it raises torch.cuda.OutOfMemoryError.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, gigabytes * GIB / total), device
    )


BARE = Options("qlora", prepared=False)  # norms and embeddings are not cast to float32


def measure_step(
    model, options: Options = BARE, *, steps: int = 4, device="cuda"
) -> dict[str, float]:
    """Train some updates by QLoRA and say what they took.

    options: of which r, sequence, batch, checkpointing, prepared and optimizer
    ("adamw" or "paged adamw8bit") count.  Returns {peak, planned: bytes;
    tokens_per_second; and, of what is stored, the bytes by the keys of memory.STORED}.
    ``peak`` is that of torch's allocator on a GPU, NaN elsewhere.
    """
    net = _with_adapters(quantised_from_config(model, device=device), options)
    updater = _updater(net, options.optimizer)
    on_gpu = torch.device(device).type == "cuda"
    shape = options.batch, options.sequence
    tokens = torch.zeros(shape, dtype=torch.long, device=device)
    net.train()
    for step in range(steps):
        if step == 1:  # the first makes the optimizer's states
            if on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
        net(input_ids=tokens, labels=tokens).loss.backward()
        updater.step()
        stored = measured(net, updater)
        updater.zero_grad()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if on_gpu else float("nan")
    speed = tokens.numel() * (steps - 1) / seconds
    total = plan(model, options).total
    return stored | dict(peak=peak, planned=total, tokens_per_second=speed)


def _with_adapters(net, options: Options):
    if options.prepared:
        from peft import prepare_model_for_kbit_training

        net = prepare_model_for_kbit_training(net, use_gradient_checkpointing=False)
    net = with_lora(net, options.r)
    if options.checkpointing:
        net.enable_input_require_grads()
        net.activation_checkpointing_enable(
            activation_checkpointing_kwargs=dict(use_reentrant=False)
        )
    return net


def _updater(net, optimizer: str):
    learned = [p for p in net.parameters() if p.requires_grad]
    if optimizer == "adamw":
        return torch.optim.AdamW(learned, lr=1e-4)
    import bitsandbytes

    return bitsandbytes.optim.PagedAdamW8bit(learned, lr=1e-4)
